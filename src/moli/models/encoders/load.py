"""Loading sentence encoders by their references."""

from __future__ import annotations

from pathlib import Path

from moli.models.encoders.hashing import HashEncoder
from moli.models.protocols.encoder import Encoder
from moli.models.weights.builtin import builtin_encoder_folder
from moli.models.weights.known import check_purpose, installed_folder
from moli.models.weights.loading import folder_of
from moli.models.weights.reference import ModelReference
from moli.records.errors import ModelError
from moli.workspace import Workspace

_AUTO, _BEST, _BUILTIN = "auto", "e5", "builtin:minilm"

# Encoders whose cosines change by less than .001 if the layers of attention are in 8 bits too.
_ATTENTION_IN_8_BITS = ("e5",)


def load_encoder(reference: str, root: Path = Path()) -> Encoder:
    """Load the encoder that a reference names.

    Args:
        root: folder that the path of a folder may start from too, besides the current one.

    Raises:
        ModelError: no encoder has that name, or its files are not available or do not fit together.
    """
    parsed = ModelReference.parse(reference)
    if parsed.scheme == "scripted":
        return HashEncoder(reference)
    if parsed.scheme == "builtin":
        if parsed.name != "minilm":
            raise ModelError(
                "no such built-in encoder", where=reference, fix="There is: builtin:minilm."
            )
        return _load_folder(builtin_encoder_folder(), reference)
    if parsed.scheme == "hub":
        return _load_folder(_model_folder(reference, root), reference)
    raise ModelError(
        "encoders run locally", where=reference, fix="Name a folder or org/name, or builtin:minilm."
    )


def load_workspace_encoder(workspace: Workspace) -> Encoder:
    """Load the encoder of a workspace's documents.

    Raises:
        ModelError: it is not available.
    """
    name = encoder_of(workspace)
    if name == _BEST and workspace.settings.encoder == _AUTO and not installed_folder(_BEST):
        raise ModelError(
            "the encoder of these documents is not on this machine",
            where=name,
            fix=f'Run: moli models get {name}. Or set encoder = "{_BUILTIN}" in moli.toml, '
            "and run: moli index rebuild.",
        )
    return load_encoder(name, workspace.root)


def encoder_of(workspace: Workspace, loaded: str = "") -> str:
    """The reference of a workspace's encoder.

    With `encoder = "auto"`, documents keep the encoder that they came with. The first ones get e5
    where it is on this machine, and the built-in encoder where it is not.

    Args:
        loaded: reference of the encoder in memory, which stays unless documents came with another.
    """
    chosen = workspace.settings.encoder
    if chosen != _AUTO:
        return loaded or chosen
    newest = workspace.passages.newest_encoder()
    return newest or loaded or (_BEST if installed_folder(_BEST) else _BUILTIN)


def _load_folder(folder: Path, reference: str) -> Encoder:
    """Load the encoder in a folder.

    Raises:
        ModelError: it is incomplete, of an architecture that is not supported, or its files do not
            fit together.
    """
    try:
        encoder = _make_encoder(folder, reference)
        encoder.encode(["a text"])  # some files that do not fit show when they are used
    except (AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise ModelError(
            f"its files do not fit together ({_describe(error)})",
            where=str(folder),
            fix="Give the whole folder of an encoder, with all files from the same origin.",
        ) from error
    return encoder


def _describe(error: Exception) -> str:
    """The fault in files, by the error that it caused."""
    match error:
        case KeyError():
            return f"{error} is missing in one"
        case AttributeError() | TypeError():
            return "one has another form than such files have"
    return str(error).strip().partition("\n")[0]


def _make_encoder(folder: Path, reference: str) -> Encoder:
    """The encoder in a folder, by OpenVINO if that can run it, else by transformers."""
    from moli.models.encoders.bert import BertEncoder, is_bert_shaped
    from moli.models.encoders.encoder_files import read_encoder_files

    files = read_encoder_files(folder, reference)
    if is_bert_shaped(files):
        return BertEncoder(
            files, name=reference, quantize_attention=reference in _ATTENTION_IN_8_BITS
        )
    from moli.models.encoders.transformers_encoder import TransformersEncoder

    return TransformersEncoder(files, name=reference)


def _model_folder(name: str, root: Path) -> Path:
    """The folder with the files of a model, downloaded from the hub if it is a name there.

    Raises:
        ModelError: the files are not available.
    """
    if (root / name).is_dir():
        return root / name
    check_purpose(name, "encoder")
    folder = Path(folder_of(name))
    if folder.is_dir():
        return folder
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
