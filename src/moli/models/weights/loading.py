"""What a model reference stands for: its folder, its tokenizer, and texts cut to its length."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from moli.models.weights.reference import ModelReference
from moli.records.errors import ModelError
from moli.workspace.shipped import shipped

# transformers is for one thread at a time: while it is imported it puts another module in its
# place, and a thread that waits for the import of another gets the first one, which is empty; and
# two models that are loaded at once leave each other weights without data.
transformers_lock = threading.RLock()


def is_gguf(reference: str) -> bool:
    """Whether a reference names a file that llama.cpp runs; such a file has no configuration."""
    return ModelReference.parse(reference).scheme == "gguf"


def folder_of(reference: str) -> str:
    """The folder or hub name that transformers loads a reference from.

    Raises:
        ModelError: it names a model that is not made of weights on this machine.
        NotFoundError: no model of that name ships with Moli.
    """
    parsed = ModelReference.parse(reference)
    if parsed.scheme == "hub":
        return parsed.name
    if parsed.scheme == "gguf":
        raise ModelError(
            "a GGUF file, which can answer but not be trained",
            where=reference,
            fix="Name the folder or the name on the hub that it was made from.",
        )
    if parsed.scheme != "builtin":
        raise ModelError(
            "not a model with local weights",
            where=reference,
            fix="Name a folder, org/name, builtin:minilm or builtin:starter.",
        )
    if parsed.name == "minilm":
        from moli.models.weights.builtin import builtin_encoder_folder

        return str(builtin_encoder_folder())
    model = shipped(reference)
    if model.manifest.method != "full":
        raise ModelError(
            f"an adapter in {model.manifest.base}, not a model of its own",
            where=reference,
            fix=f"Name {model.manifest.base}.",
        )
    return str(model.folder)


def runs_locally(reference: str) -> bool:
    """Whether a reference names weights that are run on this machine; nothing is loaded to tell.

    Raises:
        ModelError: it names none that there is, a folder without a model, or a file that cannot
            be run here.
        NotFoundError: no model of that name ships with Moli.
    """
    parsed = ModelReference.parse(reference)
    if parsed.scheme == "gguf":
        from moli.models.weights.gguf_file import resolve_gguf_file

        resolve_gguf_file(parsed.name)
        return True
    if parsed.scheme not in ("hub", "builtin"):
        return False
    folder = Path(folder_of(reference))
    if folder.is_dir() and not (folder / "config.json").is_file():
        raise ModelError(
            "the folder has no config.json",
            where=str(folder),
            fix="Name the folder of a model in the format of transformers.",
        )
    return True


def load_config(reference: str) -> Any:
    """The configuration of a model.

    Raises:
        ModelError: there is none, or it is of an unknown kind.
    """
    return load_pretrained("AutoConfig", reference, "it cannot be loaded")


def load_model(kind: str, reference: str, **options: Any) -> Any:
    """The model of a reference with its weights, by a class of transformers such as AutoModel.

    Raises:
        ModelError: its files are not available, or the class does not fit it.
    """
    return load_pretrained(kind, reference, "cannot be loaded", **options)


def load_pretrained(kind: str, reference: str, failed: str, **options: Any) -> Any:
    """What a class of transformers loads from the files of a reference.

    Args:
        kind: the class's name, such as AutoConfig.
        failed: how the error message begins.

    Raises:
        ModelError: the files are not available, or the class does not fit them.
    """
    from safetensors import SafetensorError

    try:
        with transformers_lock:
            import transformers

            source = folder_of(reference)
            if Path(source).is_dir():  # there is nothing to fetch of which to show the progress
                transformers.logging.disable_progress_bar()
            return getattr(transformers, kind).from_pretrained(source, **options)
    except (OSError, ValueError, SafetensorError) as error:
        raise ModelError(
            f"{failed} ({str(error).splitlines()[0]})",
            where=reference,
            fix="Check the name; without a network, give a folder.",
        ) from error


def is_encoder(config: Any) -> bool:
    """Whether a model of this kind is bidirectional and fills gaps, and does not generate text."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES

    fills_gaps = config.model_type in MODEL_FOR_MASKED_LM_MAPPING_NAMES
    decodes = config.is_encoder_decoder or getattr(config, "is_decoder", False)
    return fills_gaps and not decodes


def is_decoder(config: Any) -> bool:
    """Whether a model of this kind continues a text, each token seeing those before it."""
    return not (config.is_encoder_decoder or is_encoder(config))


def max_positions(reference: str) -> int:
    """How many tokens a model has positions for; a large number if it does not say."""
    config = load_config(reference)
    places = getattr(config, "max_position_embeddings", 0) or getattr(config, "n_positions", 0)
    padding = config.pad_token_id
    if config.model_type in ("roberta", "xlm-roberta", "camembert") and padding is not None:
        places -= padding + 1  # its places begin after the padding's
    return int(places) or 1 << 20
