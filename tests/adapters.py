"""Small adapters to put into a workspace: files in PEFT's layout, and manifests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from moli.records.models import Manifest

CONFIG = {"peft_type": "LORA", "r": 8, "target_modules": ["k_proj", "q_proj", "v_proj"]}


def write_adapter(folder: Path, weights: str = "weights", **config: Any) -> Path:
    """An adapter's folder. The weights are no real ones: a store does not look into them."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(CONFIG | config, indent=2, sort_keys=True)
    (folder / "adapter_config.json").write_text(text, encoding="utf-8")
    (folder / "adapter_model.safetensors").write_bytes(weights.encode())
    return folder


def manifest_of(**fields: Any) -> Manifest:
    """A manifest with every field filled in."""
    defaults: dict[str, Any] = {
        "task": "classification",
        "method": "lora",
        "base": "org/base",
        "base_hash": "b" * 64,
        "tokenizer_hash": "c" * 64,
        "template_hash": "",
        "stop_tokens": (2, 7),
        "dataset_hash": "d" * 64,
        "parent": "",
        "recipe": {"rate": 1e-3, "labels": ["退款", "other"], "seed": None},
        "metrics": {"loss": 0.25, "accuracy": 0.9375},
        "created_at": 1_700_000_000.5,
    }
    return Manifest(**defaults | fields)
