"""Sentence encoders: text to unit vectors whose dot product is a similarity."""

from __future__ import annotations

from pathlib import Path

from moli.models.encoders.hashing import HashEncoder
from moli.models.protocols.encoder import Encoder
from moli.models.weights.builtin import builtin_encoder_folder
from moli.models.weights.reference import ModelReference
from moli.records.errors import ModelError


def load_encoder(reference: str) -> Encoder:
    """The encoder a reference names.

    Raises:
        ModelError: there is none by that name, or its files are not on this machine.
    """
    parsed = ModelReference.parse(reference)
    if parsed.scheme == "scripted":
        return HashEncoder(reference)
    from moli.models.encoders.bert import BertEncoder

    if parsed.scheme == "builtin":
        if parsed.name != "minilm":
            raise ModelError(
                "no such built-in encoder", where=reference, fix="There is: builtin:minilm."
            )
        return BertEncoder(builtin_encoder_folder(), name=reference)
    if parsed.scheme == "hub":
        return BertEncoder(_folder_of(parsed.name), name=reference)
    raise ModelError(
        "encoders run locally", where=reference, fix="Name a folder or org/name, or builtin:minilm."
    )


def _folder_of(name: str) -> Path:
    if Path(name).is_dir():
        return Path(name)
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    wanted = ["*.json", "*.safetensors", "vocab.txt"]
    try:
        return Path(snapshot_download(name, allow_patterns=wanted))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise ModelError(
            f"not a folder, and not available from the hub ({type(error).__name__})",
            where=name,
            fix="Check the name and the network, or use builtin:minilm.",
        ) from error
