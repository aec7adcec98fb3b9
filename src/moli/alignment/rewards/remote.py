"""Rewards of a model on another machine, over HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import httpx

from moli.alignment.rollouts.buffer import SampledAnswer, TrainingPrompt
from moli.records.errors import ModelError
from moli.records.messages import message_row


class RemoteReward:
    """A reward model behind a URL.

    It gets a POST with `{"inputs": [{"messages": [...], "answer": "..."}, ...]}`, where messages
    have `role` and `content`, and returns `{"scores": [...]}`, a number for each input in order.

    Args:
        url: where to POST.
        timeout: seconds that the server may take for a batch.
        batch: maximum number of answers in a request.
        transport: replaces the network in tests.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout: float = 120.0,
        batch: int = 64,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.url = url
        self._batch = batch
        self._client = httpx.Client(timeout=timeout, transport=transport)

    def __call__(
        self, prompts: Sequence[TrainingPrompt], answers: Sequence[SampledAnswer], /
    ) -> list[float]:
        inputs = [
            {
                "messages": [message_row(message) for message in prompt.messages],
                "answer": answer.text,
            }
            for prompt, answer in zip(prompts, answers, strict=True)
        ]
        parts = (inputs[at : at + self._batch] for at in range(0, len(inputs), self._batch))
        return [score for part in parts for score in self._post(part)]

    def _post(self, inputs: list[dict[str, Any]]) -> list[float]:
        """The server's scores for some answers.

        Raises:
            ModelError: it cannot be reached, or returns something else.
        """
        try:
            response = self._client.post(self.url, json={"inputs": inputs})
            response.raise_for_status()
            scores = response.json()["scores"]
            if len(scores) != len(inputs):
                raise ValueError(f"{len(scores)} scores for {len(inputs)} answers")
            return [float(score) for score in scores]
        except httpx.HTTPStatusError as error:
            raise ModelError(
                f"the server answered {error.response.status_code}: {error.response.text[:200]}",
                where=self.url,
                fix="See the server's log.",
            ) from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise ModelError(
                f"the reward model cannot be reached ({error})",
                where=self.url,
                fix="Start its server, or correct the address.",
            ) from error
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(
                f"the server's answer holds no scores ({error})",
                where=self.url,
                fix='Return {"scores": [...]} with one number for each input.',
            ) from error
