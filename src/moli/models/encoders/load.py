"""Loading sentence encoders by their references."""

from __future__ import annotations

from pathlib import Path

from moli.models.encoders.hashing import HashEncoder
from moli.models.protocols.encoder import Encoder
from moli.models.weights.builtin import builtin_encoder_folder
from moli.models.weights.known import known_folder
from moli.models.weights.reference import ModelReference
from moli.records.errors import ModelError


def load_encoder(reference: str) -> Encoder:
    """Load the encoder that a reference names.

    Raises:
        ModelError: no encoder has that name, or its files are not available.
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
        return BertEncoder(_model_folder(parsed.name), name=reference)
    raise ModelError(
        "encoders run locally", where=reference, fix="Name a folder or org/name, or builtin:minilm."
    )


def _model_folder(name: str) -> Path:
    """The folder with the files of a model, downloaded from the hub if the name is no folder.

    Raises:
        ModelError: the files are not available.
    """
    if Path(name).is_dir():
        return Path(name)
    if (known := known_folder(name)) is not None:
        return known
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    patterns = ["*.json", "*.safetensors", "vocab.txt"]
    try:
        return Path(snapshot_download(name, allow_patterns=patterns))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise ModelError(
            f"not a folder, and not available from the hub ({type(error).__name__})",
            where=name,
            fix="Check the name and the network, or use builtin:minilm.",
        ) from error
