"""A live server with a language model and two adapters of it."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import uvicorn
from fastapi import FastAPI

from moli.models.tokenizers import load_tokenizer
from moli.models.weights.hashes import hashes_of
from moli.models.weights.loading import folder_of
from moli.records.models import Manifest
from moli.serving.app import create_app
from moli.serving.connections import server_config
from moli.workspace import Workspace

BASE = "builtin:starter"
TALK: Any = [{"role": "user", "content": "Tell me of the sea."}]


def add_adapter(workspace: Workspace, folder: Path, alias: str, seed: int) -> str:
    """A random adapter of the starter, as `moli tune` would keep it; returns its hash."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_pretrained(folder_of(BASE), dtype=torch.float32)
    adapted = get_peft_model(model, LoraConfig(r=4, target_modules="all-linear"))
    with torch.no_grad():
        for name, weight in adapted.named_parameters():
            if "lora_B" in name:
                weight.normal_(0, 0.2)
    adapted.save_pretrained(str(folder))
    tokenizer = load_tokenizer(BASE)
    tokenizer.save_pretrained(folder)
    hashes = hashes_of(folder_of(BASE), tokenizer)
    manifest = Manifest(
        task="instruction",
        method="lora",
        base=BASE,
        base_hash=hashes.base,
        tokenizer_hash=hashes.tokenizer,
        template_hash=hashes.template,
        stop_tokens=hashes.stop_tokens,
        dataset_hash="",
        parent="",
        recipe={"task": "instruction", "base": BASE, "data": "data.jsonl", "method": "lora"},
        metrics={},
        created_at=time.time(),
    )
    return workspace.models.add(folder, manifest, alias=alias).hash


@contextlib.contextmanager
def serving(workspace: Workspace, app: FastAPI | None = None) -> Iterator[str]:
    """A server of a workspace in this process, and its address."""
    config = server_config(app or create_app(workspace), workspace.settings, port=0)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()
