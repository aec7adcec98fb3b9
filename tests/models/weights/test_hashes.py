from __future__ import annotations

import json
from pathlib import Path

from training import small_models

from moli.models.weights.hashes import hash_tokenizer, hash_weights, hashes_of


def test_a_tokenizer_is_the_same_however_it_was_used_last(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    small_models.write_model(tmp_path / "base", "bert")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "base")
    fresh = hash_tokenizer(tokenizer)
    tokenizer(["w1 w2 w3", "w1"], truncation=True, padding=True, max_length=4)
    assert hash_tokenizer(tokenizer) == fresh
    tokenizer.save_pretrained(tmp_path / "saved")
    assert hash_tokenizer(AutoTokenizer.from_pretrained(tmp_path / "saved")) == fresh
    path = tmp_path / "base" / "tokenizer.json"
    path.write_text(path.read_text().replace('"w1"', '"x1"'))
    assert hash_tokenizer(AutoTokenizer.from_pretrained(tmp_path / "base")) != fresh
    assert hash_tokenizer(None) == ""


def test_a_base_is_known_by_its_weights(tmp_path: Path) -> None:
    import hashlib

    (tmp_path / "config.json").write_text(json.dumps({}))
    assert hash_weights(str(tmp_path)) == ""
    for name, content in (("b", b"two"), ("a", b"one")):
        (tmp_path / f"{name}.safetensors").write_bytes(content)
    parts = hashlib.sha256(b"one").digest() + hashlib.sha256(b"two").digest()
    assert hashes_of(str(tmp_path)).base == hashlib.sha256(parts).hexdigest()
