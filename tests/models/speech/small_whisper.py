"""A small Whisper model, and sounds for it to transcribe."""

from __future__ import annotations

import io
from pathlib import Path
from string import ascii_lowercase
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

RATE = 16_000
WINDOW = 2.0  # seconds that the small model hears at once
MARKS = [
    "<|endoftext|>", "<|startoftranscript|>", "<|en|>", "<|zh|>", "<|translate|>",
    "<|transcribe|>", "<|startoflm|>", "<|startofprev|>", "<|nospeech|>", "<|notimestamps|>",
]  # fmt: skip


def save_whisper(
    folder: Path, *, languages: tuple[str, ...] = ("en", "zh"), letters: str = ascii_lowercase
) -> str:
    """A random Whisper that hears windows of two seconds and writes 26 letters."""
    import torch
    from transformers import (
        GenerationConfig,
        WhisperConfig,
        WhisperFeatureExtractor,
        WhisperForConditionalGeneration,
    )

    tokenizer = _letters(letters)
    tokenizer.save_pretrained(folder)
    WhisperFeatureExtractor(feature_size=8, chunk_length=int(WINDOW)).save_pretrained(folder)
    ids = {mark: tokenizer.convert_tokens_to_ids(mark) for mark in MARKS}
    ends = dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"), ids["<|endoftext|>"])
    ends["decoder_start_token_id"] = ids["<|startoftranscript|>"]
    torch.manual_seed(2)
    model = WhisperForConditionalGeneration(
        WhisperConfig(
            vocab_size=len(tokenizer), num_mel_bins=8, d_model=32, encoder_layers=1,
            decoder_layers=1, encoder_attention_heads=2, decoder_attention_heads=2,
            encoder_ffn_dim=32, decoder_ffn_dim=32, max_source_positions=int(WINDOW * 50),
            max_target_positions=32, init_std=0.3, **ends,
        )
    )  # fmt: skip
    with torch.no_grad():  # else it would write hardly anything but times
        model.get_input_embeddings().weight[: ids["<|endoftext|>"]] *= 1.5
        model.model.decoder.layer_norm.weight *= 4  # else it would be sure of nothing
    model.generation_config = GenerationConfig(
        **ends,
        max_length=32,
        is_multilingual=bool(languages),
        no_timestamps_token_id=ids["<|notimestamps|>"],
        prev_sot_token_id=ids["<|startofprev|>"],
    )
    if languages:
        model.generation_config.lang_to_id = {
            f"<|{each}|>": ids[f"<|{each}|>"] for each in languages
        }
        model.generation_config.task_to_id = {
            task: ids[f"<|{task}|>"] for task in ("transcribe", "translate")
        }
    model.save_pretrained(folder)
    return str(folder)


def _letters(letters: str) -> Any:
    from tokenizers import AddedToken
    from transformers import WhisperTokenizer

    vocabulary = {each: number for number, each in enumerate(["Ġ", *letters, MARKS[0]])}
    tokenizer = WhisperTokenizer(vocab=vocabulary, merges=[])
    tokenizer.add_special_tokens({"additional_special_tokens": MARKS[1:]})
    times = [f"<|{number / 50:.2f}|>" for number in range(int(WINDOW * 50) + 1)]
    tokenizer.add_tokens([AddedToken(each, special=False) for each in times])
    return tokenizer


def tone(pitch: float, seconds: float, rate: int = RATE) -> NDArray[np.float64]:
    return 0.5 * np.sin(2 * np.pi * pitch * np.arange(int(seconds * rate)) / rate)


def beeps(pitch: float, seconds: float) -> NDArray[np.float32]:
    """A tone that is off as long as it is on."""
    loud = np.arange(int(seconds * RATE)) % 12_000 < 6_000
    return (tone(pitch, seconds) * loud).astype(np.float32)


def as_file(sound: Any, kind: str = "WAV", rate: int = RATE, **options: Any) -> io.BytesIO:
    file = io.BytesIO()
    soundfile.write(file, sound, rate, format=kind, **options)
    file.seek(0)
    return file
