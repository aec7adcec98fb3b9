"""transformers' generate, and PEFT's `adapter_names`, on random prompts: tokens a second.

plain: one batch without adapters. mixed: each row names an adapter, ROWS over ADAPTERS of them.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--adapters", type=Path, help="a folder of adapters, for `mixed`")
    parser.add_argument("--count", type=int, default=8, help="adapters among the rows")
    parser.add_argument("--rows", type=int, default=16)
    parser.add_argument("--prompt", type=int, default=64)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--precision", choices=("bf16", "fp32"), required=True)
    parser.add_argument("--out", type=Path, required=True)
    return parser.parse_args()


def main() -> None:
    args = arguments()
    from transformers import AutoModelForCausalLM

    dtype = {"bf16": torch.bfloat16, "fp32": torch.float32}[args.precision]
    model: Any = AutoModelForCausalLM.from_pretrained(args.model, dtype=dtype).eval()
    options: dict[str, Any] = {}
    if args.adapters:
        from peft import PeftModel

        names = sorted(each.name for each in args.adapters.iterdir())[: args.count]
        model = PeftModel.from_pretrained(model, args.adapters / names[0], adapter_name=names[0])
        for name in names[1:]:
            model.load_adapter(args.adapters / name, adapter_name=name)
        model = model.to(dtype).eval()
        options["adapter_names"] = [names[row % len(names)] for row in range(args.rows)]
    draw = torch.Generator().manual_seed(0)
    ids = torch.randint(5, 1000, (args.rows, args.prompt), generator=draw)

    def write(tokens: int) -> float:
        begun = time.perf_counter()
        with torch.inference_mode():
            model.generate(
                input_ids=ids, attention_mask=torch.ones_like(ids), min_new_tokens=tokens,
                max_new_tokens=tokens, do_sample=False, pad_token_id=0, **options,
            )  # fmt: skip
        return time.perf_counter() - begun

    write(2)
    # The prompt's time is in both, and falls out.
    few, many = write(2), write(args.tokens + 2)
    rate = args.rows * args.tokens / (many - few)
    args.out.write_text(json.dumps({"tokens_per_second": round(rate, 1)}), encoding="utf-8")


if __name__ == "__main__":
    main()
