"""Whisper models of CTranslate2 made folders of transformers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from models.speech.ctranslate2_files import write_ctranslate2
from models.speech.small_whisper import beeps, save_whisper
from safetensors.torch import load_file

from moli.models.speech.ctranslate2 import convert_whisper
from moli.models.speech.whisper import SpeechRecognizer
from moli.records.errors import ModelError


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("whisper")
    save_whisper(folder, languages=())
    settings = folder / "generation_config.json"
    changed = {**json.loads(settings.read_text()), "max_initial_timestamp_index": 50}
    settings.write_text(json.dumps(changed))  # as published models have it
    return str(folder)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_the_weights_are_those_that_it_was_written_from(
    source: str, tmp_path: Path, dtype: torch.dtype
) -> None:
    from transformers import WhisperForConditionalGeneration

    folder = tmp_path / "folder"
    folder.mkdir()
    convert_whisper(write_ctranslate2(source, tmp_path / "theirs", dtype), folder)
    model, report = WhisperForConditionalGeneration.from_pretrained(
        folder, output_loading_info=True
    )
    assert not report["missing_keys"] and not report["unexpected_keys"]
    expected = WhisperForConditionalGeneration.from_pretrained(source, dtype=dtype).state_dict()
    for name, weight in load_file(folder / "model.safetensors").items():
        assert weight.dtype == dtype
        assert torch.equal(weight, expected[name]), name
    assert model.config.decoder_start_token_id == 28


@pytest.mark.slow
def test_it_writes_what_the_model_wrote(source: str, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    theirs = write_ctranslate2(source, tmp_path / "theirs")
    convert_whisper(theirs, folder)
    sound = beeps(300, 3.1)
    first, *others = (
        SpeechRecognizer(str(name)).transcribe(sound)
        for name in (source, folder, theirs)  # the last one is converted as it is loaded
    )
    assert first.text
    assert others == [first, first]


@pytest.mark.slow
def test_what_is_not_converted_is_told(source: str, tmp_path: Path) -> None:
    theirs = write_ctranslate2(source, tmp_path / "theirs")
    data = (theirs / "model.bin").read_bytes()
    for damaged in (b"", data[:5], data[: len(data) // 2], b"\7" + data[1:]):
        (theirs / "model.bin").write_bytes(damaged)
        with pytest.raises(ModelError, match="not a Whisper model of CTranslate2"):
            convert_whisper(theirs, tmp_path)
    assert not (tmp_path / "config.json").exists()
