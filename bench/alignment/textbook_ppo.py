"""PPO as textbooks have it: five models, all weights of policy and value function trained.

Policy, reference, value function and two reward models are models of their own. Rollouts are
transformers' `generate`; sequences are padded; logits of all positions are computed.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[1] / "training" / "peers"))
import measure
import rollouts
import torch
from transformers import AutoModelForCausalLM, AutoModelForTokenClassification

EPOCHS, MINIBATCHES, BETA, CLIP = 4, 2, 0.01, 0.2


class Textbook:
    """The five models and the two optimizers."""

    def __init__(self, folder: str) -> None:
        torch.manual_seed(0)
        causal = AutoModelForCausalLM.from_pretrained
        headed = AutoModelForTokenClassification.from_pretrained
        self.policy, self.reference = (causal(folder, dtype=torch.float32) for _ in range(2))
        self.value, self.safety, self.helpfulness = (
            headed(folder, num_labels=1, dtype=torch.float32) for _ in range(3)
        )
        self.end = self.policy.config.eos_token_id
        models = (self.policy, self.value)
        self.optimizers = [torch.optim.AdamW(m.parameters(), lr=rollouts.RATE) for m in models]

    def roll_out(self, prompts: list[list[int]]) -> dict[str, torch.Tensor]:
        """Sequences with answers, the mask of tokens that are not padding, and that of answers."""
        width = max(map(len, prompts))
        ids = torch.tensor([[0] * (width - len(each)) + each for each in prompts])
        mask = torch.tensor([[0] * (width - len(each)) + [1] * len(each) for each in prompts])
        with torch.no_grad():
            full = self.policy.generate(
                ids, attention_mask=mask, do_sample=True, top_k=0, top_p=1.0, pad_token_id=0,
                max_new_tokens=rollouts.TOKENS, eos_token_id=self.end,
            )  # fmt: skip
        answers = full[:, width:]
        ended = (answers == self.end).long().cumsum(1)
        is_answer = (ended - (answers == self.end).long()) == 0
        return {"ids": full, "mask": torch.cat([mask, is_answer.long()], 1), "answer": is_answer}

    def logits(self, model: Any, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """Outputs of the states before the answers' tokens, [B, T, ...]."""
        mask = batch["mask"]
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        output = model(input_ids=batch["ids"], attention_mask=mask, position_ids=positions)
        return output.logits[:, -batch["answer"].shape[1] - 1 : -1]

    def logprobs(self, model: Any, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """Log probabilities of the answers' tokens, [B, T]."""
        ids = batch["ids"][:, -batch["answer"].shape[1] :]
        return self.logits(model, batch).log_softmax(-1).gather(2, ids[..., None])[..., 0]

    def score(self, batch: dict[str, torch.Tensor]) -> None:
        """Add rewards, advantages and returns to a batch."""
        answer = batch["answer"]
        with torch.no_grad():
            batch["old"] = self.logprobs(self.policy, batch)
            reference = self.logprobs(self.reference, batch)
            batch["values"] = self.logits(self.value, batch)[..., 0] * answer
            rewards = -BETA * (batch["old"] - reference) * answer
            last = answer.sum(1) - 1
            both = [self.logits(m, batch)[..., 0] for m in (self.safety, self.helpfulness)]
            rows = torch.arange(len(answer))
            safety, helpfulness = (each[rows, last] for each in both)
            rewards[rows, last] += torch.where(safety < -1.7346, safety, helpfulness)
        following, estimate, advantages = 0.0, 0.0, torch.zeros_like(rewards)
        for t in reversed(range(answer.shape[1])):
            delta = rewards[:, t] + following - batch["values"][:, t]
            estimate = delta + 0.95 * estimate
            advantages[:, t] = estimate
            following = batch["values"][:, t]
        batch["returns"] = advantages + batch["values"]
        chosen = advantages[answer]
        batch["advantages"] = (advantages - chosen.mean()) / (chosen.std() + 1e-8)

    def update(self, batch: dict[str, torch.Tensor]) -> float:
        """One update of policy and value function; the loss."""
        answer = batch["answer"]
        ratio = (self.logprobs(self.policy, batch) - batch["old"]).exp()
        clipped = ratio.clamp(1 - CLIP, 1 + CLIP)
        gain = torch.maximum(-batch["advantages"] * ratio, -batch["advantages"] * clipped)
        values = self.logits(self.value, batch)[..., 0]
        near = batch["values"] + (values - batch["values"]).clamp(-0.2, 0.2)
        errors = torch.maximum((values - batch["returns"]) ** 2, (near - batch["returns"]) ** 2)
        loss = gain[answer].mean() + 0.1 * 0.5 * errors[answer].mean()
        for optimizer in self.optimizers:
            optimizer.zero_grad()
        loss.backward()
        for model, optimizer in zip((self.policy, self.value), self.optimizers, strict=True):
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
        return loss.item()

    def step(self, prompts: list[list[int]]) -> tuple[int, list[float]]:
        """A step; the number of answers' tokens, and the losses."""
        batch = self.roll_out(prompts)
        self.score(batch)
        losses = []
        for _ in range(EPOCHS):
            parts = torch.randperm(len(prompts)).chunk(MINIBATCHES)
            losses += [self.update({name: v[rows] for name, v in batch.items()}) for rows in parts]
        return int(batch["answer"].sum()), losses


def main() -> None:
    args = measure.parser(__doc__.splitlines()[0], ("full",)).parse_args()
    measure.offline()
    textbook = Textbook(args.model)
    prompts = rollouts.prompt_ids(args.model, args.examples + rollouts.PROMPTS)
    textbook.step(prompts[: rollouts.PROMPTS])  # warm-up
    tokens, losses = 0, []
    begun, processor = time.perf_counter(), time.process_time()
    for at in range(rollouts.PROMPTS, len(prompts), rollouts.PROMPTS):
        own, part = textbook.step(prompts[at : at + rollouts.PROMPTS])
        tokens, losses = tokens + own, losses + part
    seconds = time.perf_counter() - begun
    settings = {"processor_seconds": round(time.process_time() - processor, 2)}
    measure.write(args, "transformers", settings, measure.Pass(seconds, tokens, losses))


if __name__ == "__main__":
    main()
