from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from training import small_models
from training.stored_models import train_and_store, write_masked_model, write_spans

from moli.records.errors import InputError, ModelError
from moli.training.trained.export import export
from moli.workspace.content import StoredModel

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("exported")
    small_models.write_labelled(root / "data.jsonl", 40)
    write_masked_model(root / "base")
    return root


@pytest.fixture(scope="module")
def lora(root: Path) -> StoredModel:
    """Its last weights, not those of the best evaluation, which may be almost the first ones."""
    data, base = root / "data.jsonl", str(root / "base")
    return train_and_store(
        root / "home", data, base, method="lora", held_out=0.0, learning_rate=1e-2
    )


def ids() -> dict[str, torch.Tensor]:
    draw = torch.Generator().manual_seed(1)
    rows = torch.randint(4, 44, (3, 12), generator=draw)
    return {"input_ids": rows, "attention_mask": torch.ones_like(rows)}


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        actual: torch.Tensor = model.eval()(**ids()).logits
    return actual


def test_a_merged_model_is_the_adapter_in_its_base(
    root: Path, lora: StoredModel, tmp_path: Path
) -> None:
    """Both loaded by plain transformers and peft."""
    from peft import PeftModel
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    done = export(lora, tmp_path / "merged", merge=True)
    assert {"config.json", "model.safetensors", "tokenizer.json", "task.json"} <= set(done.files)
    assert not (tmp_path / "merged" / "adapter_config.json").exists()
    merged = AutoModelForSequenceClassification.from_pretrained(tmp_path / "merged")
    assert merged.config.id2label == {0: "a", 1: "b"}
    base = AutoModelForSequenceClassification.from_pretrained(root / "base")
    adapted = PeftModel.from_pretrained(base, str(lora.folder))
    assert torch.allclose(logits(merged), logits(adapted), atol=1e-5)
    with adapted.disable_adapter():  # which has a meaning of its own
        assert not torch.allclose(logits(merged), logits(adapted), atol=1e-2)
    assert done.parity is not None
    assert done.parity.exact < 1e-5 and done.parity.written < 1e-5
    assert (done.parity.agreement, done.parity.precision) == (1.0, "float32")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "merged")
    assert tokenizer("w1 w2")["input_ids"] == [2, 5, 6, 3]


def test_a_base_in_bfloat16_is_merged_in_float32_and_rounded_once(
    root: Path, tmp_path: Path
) -> None:
    from transformers import AutoModel, AutoModelForSequenceClassification

    small_models.write_model(tmp_path / "half", "bert")
    AutoModel.from_pretrained(tmp_path / "half", dtype=torch.bfloat16).save_pretrained(
        tmp_path / "half"
    )
    kept = train_and_store(
        root / "home", root / "data.jsonl", str(tmp_path / "half"), method="lora", epochs=2
    )
    done = export(kept, tmp_path / "merged", merge=True)
    assert done.parity is not None
    assert done.parity.exact < 1e-5 < done.parity.written < 0.1
    assert done.parity.precision == "bfloat16"
    merged = AutoModelForSequenceClassification.from_pretrained(tmp_path / "merged", dtype="auto")
    assert merged.dtype == torch.bfloat16
    # By hand: the base's weight and the adapter's product, added in float32, rounded once.
    from safetensors.torch import load_file

    adapter = load_file(kept.folder / "adapter_model.safetensors")
    name = "bert.encoder.layer.0.intermediate.dense"
    down, up = (
        adapter[f"base_model.model.{name}.lora_{each}.weight"].float() for each in ("A", "B")
    )
    config = json.loads((kept.folder / "adapter_config.json").read_text())
    weight = load_file(tmp_path / "half" / "model.safetensors")[
        name.removeprefix("bert.") + ".weight"
    ]
    expected = weight.float() + config["lora_alpha"] / config["r"] * up @ down
    actual = merged.state_dict()[f"{name}.weight"]
    assert torch.equal(actual, expected.bfloat16())


def test_an_adapter_is_copied_for_peft(root: Path, lora: StoredModel, tmp_path: Path) -> None:
    from peft import AutoPeftModelForSequenceClassification

    done = export(lora, tmp_path / "adapter")
    assert done.parity is None
    for name in ("adapter_model.safetensors", "tokenizer.json", "task.json", "manifest.json"):
        copied = (tmp_path / "adapter" / name).read_bytes()
        assert copied == (lora.folder / name).read_bytes()
    model = AutoPeftModelForSequenceClassification.from_pretrained(tmp_path / "adapter")
    export(lora, tmp_path / "merged", merge=True)
    from transformers import AutoModelForSequenceClassification

    merged = AutoModelForSequenceClassification.from_pretrained(tmp_path / "merged")
    assert torch.allclose(logits(model), logits(merged), atol=1e-5)
    # transformers by itself knows the folder for an adapter, and finds its base.
    alone = AutoModelForSequenceClassification.from_pretrained(tmp_path / "adapter")
    assert torch.allclose(logits(alone), logits(merged), atol=1e-5)


def test_what_cannot_be_merged_is_told(root: Path, lora: StoredModel, tmp_path: Path) -> None:
    kept = train_and_store(
        root / "home", root / "data.jsonl", str(root / "base"), method="adapter", epochs=1
    )
    with pytest.raises(InputError, match="cannot be merged: bottleneck layers are not linear"):
        export(kept, tmp_path / "merged", merge=True)
    assert not list(tmp_path.iterdir())
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "note.txt").write_text("mine")
    with pytest.raises(InputError, match="it already exists"):
        export(lora, tmp_path / "full")
    assert (tmp_path / "full" / "note.txt").read_text() == "mine"


def test_a_merge_that_answers_otherwise_is_refused(
    lora: StoredModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from peft.tuners.lora import Linear

    right = Linear.get_delta_weight

    def wrong(self: Any, adapter: str) -> torch.Tensor:
        return right(self, adapter) * 1.05

    monkeypatch.setattr(Linear, "get_delta_weight", wrong)
    with pytest.raises(ModelError, match="outputs differ from the unmerged adapter"):
        export(lora, tmp_path / "merged", merge=True)
    assert not list(tmp_path.iterdir())


def test_a_span_model_and_a_language_model_are_merged(root: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoModelForQuestionAnswering

    spans = write_spans(root / "spans.jsonl")
    base = small_models.write_model(tmp_path / "bert", "bert")
    kept = train_and_store(root / "home", spans, base, task="span", method="rslora", epochs=1)
    done = export(kept, tmp_path / "span", merge=True)
    assert done.parity is not None and done.parity.exact < 1e-4
    AutoModelForQuestionAnswering.from_pretrained(tmp_path / "span")
    talks = small_models.write_conversations(root / "talks.jsonl")
    base = small_models.write_model(tmp_path / "llama", "llama")
    kept = train_and_store(root / "home", talks, base, task="instruction", method="dora", epochs=1)
    done = export(kept, tmp_path / "talk", merge=True)
    assert done.parity is not None and done.parity.exact < 1e-4
    assert (tmp_path / "talk" / "chat_template.jinja").is_file()
    AutoModelForCausalLM.from_pretrained(tmp_path / "talk")


def test_an_encoder_keeps_what_sentence_transformers_reads(root: Path, tmp_path: Path) -> None:
    rows = [{"query": f"w{n}", "positive": f"w{n} w{n + 1}"} for n in range(30)]
    data = root / "matches.jsonl"
    data.write_text("".join(json.dumps(each) + "\n" for each in rows))
    base = small_models.write_model(tmp_path / "bert", "bert")
    kept = train_and_store(root / "home", data, base, task="embedding", method="lora", epochs=1)
    done = export(kept, tmp_path / "encoder", merge=True)
    assert {"modules.json", "1_Pooling/config.json", "model.safetensors"} <= set(done.files)

    # By hand: the mean of the merged model's states, of unit length.
    from transformers import AutoModel, AutoTokenizer

    from moli.records.examples import Text
    from moli.training.trained.load import load_trained
    from moli.training.trained.predict import predict

    model = AutoModel.from_pretrained(tmp_path / "encoder").eval()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "encoder")
    with torch.no_grad():
        states = model(**tokenizer("w1 w2 w3", return_tensors="pt")).last_hidden_state[0]
    expected = torch.nn.functional.normalize(states.mean(0), dim=0)
    vector = predict(load_trained(kept), [Text("w1 w2 w3")])[0]["vector"]
    assert torch.allclose(torch.tensor(vector), expected, atol=1e-5)
