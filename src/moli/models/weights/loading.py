"""Loading models by their references, with transformers; and what kind of model a reference is."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from moli.models.weights.known import known_folder, suggest_known
from moli.models.weights.reference import ModelReference, is_hub_name
from moli.records.errors import ModelError
from moli.workspace.shipped import shipped

# transformers is for one thread at a time: while it is imported it replaces its own module, and a
# thread that waits for another's import gets the first module, which is empty; and two models that
# are loaded at once leave each other weights without data.
transformers_lock = threading.RLock()


def is_gguf(reference: str) -> bool:
    """Whether a reference names a file that llama.cpp runs; such a file has no configuration."""
    return ModelReference.parse(reference).scheme == "gguf"


def folder_of(reference: str) -> str:
    """The folder, or name on the hub, that transformers loads a reference from.

    Raises:
        ModelError: the reference is not to weights that can be loaded on this machine.
        NotFoundError: no model of that name ships with Moli.
    """
    parsed = ModelReference.parse(reference)
    if parsed.scheme == "hub":
        path = Path(reference).expanduser()
        if path.is_dir():
            return str(path)
        if (known := known_folder(reference)) is not None:
            return str(known)
        if not is_hub_name(reference):
            raise _no_such_model(reference)
        return parsed.name
    if parsed.scheme == "gguf":
        raise ModelError(
            "a GGUF file, not a folder of transformers",
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


def _no_such_model(reference: str) -> ModelError:
    """An error about a reference that is no folder, and is not written as names on the hub are."""
    if reference.endswith(".gguf"):
        fix = f"Write it as gguf:{reference}."
    else:
        similar = suggest_known(reference)
        fix = f"{similar}Give a folder, org/name, or a name that 'moli models list' shows."
    is_file = Path(reference).expanduser().is_file()
    what = "a file, not a folder" if is_file else "no such folder, and no name on the hub"
    return ModelError(what, where=reference, fix=fix)


def runs_locally(reference: str) -> bool:
    """Whether a reference is to weights that this machine runs, found out without loading them.

    Raises:
        ModelError: there is no such model, the folder has no model, or the file cannot be run here.
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
    """Load the configuration of a model.

    Raises:
        ModelError: the model has no configuration, or one of an unknown kind.
    """
    return load_pretrained("AutoConfig", reference, "it cannot be loaded")


def load_model(class_name: str, reference: str, **options: Any) -> Any:
    """Load a model with its weights, by a class of transformers such as AutoModel.

    Raises:
        ModelError: its files are not available, or the class does not fit it.
    """
    return load_pretrained(class_name, reference, "cannot be loaded", **options)


def load_pretrained(class_name: str, reference: str, failure: str, **options: Any) -> Any:
    """Load an object of a class of transformers from the files of a reference.

    Args:
        class_name: a class with a method `from_pretrained`, such as AutoConfig.
        failure: the beginning of the error message.

    Raises:
        ModelError: the files are not available, or the class does not fit them.
    """
    from safetensors import SafetensorError

    try:
        with transformers_lock:
            import transformers

            source = folder_of(reference)
            if Path(source).is_dir():  # nothing is fetched, so there is no progress to show
                transformers.logging.disable_progress_bar()
            return getattr(transformers, class_name).from_pretrained(source, **options)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise ModelError(
            f"{failure} ({describe_failure(error)})",
            where=reference,
            fix="Check the name; without a network, give a folder.",
        ) from error


def check_tokenizer_size(reference: str, tokens: int, rows: int | None) -> None:
    """Check that a model has an embedding for each token of its tokenizer.

    A model may have more embeddings than there are tokens: many are padded to a round number.

    Args:
        tokens: number of the tokenizer's tokens.
        rows: number of the model's embeddings; None if its configuration does not say.

    Raises:
        ModelError: it has fewer.
    """
    if rows and tokens > rows:
        raise ModelError(
            f"its tokenizer has {tokens:,} tokens, but the model has embeddings for {rows:,}",
            where=reference,
            fix="Use the model's own tokenizer, or give the new tokens embeddings with "
            "transformers: model.resize_token_embeddings(len(tokenizer)).",
        )


def describe_failure(error: Exception) -> str:
    """The first line of what transformers says on a model that cannot be loaded.

    Raises:
        RuntimeError: `error`, unless it is on weights of other sizes than the configuration has.
    """
    if isinstance(error, RuntimeError):
        if "mismatched_sizes" not in str(error):
            raise error
        return "its weights have other sizes than its config.json says"
    return str(error).splitlines()[0]


def is_encoder(config: Any) -> bool:
    """Whether a configuration is of a bidirectional masked language model such as BERT."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES

    is_masked_lm = config.model_type in MODEL_FOR_MASKED_LM_MAPPING_NAMES
    generates = config.is_encoder_decoder or getattr(config, "is_decoder", False)
    return is_masked_lm and not generates


def is_decoder(config: Any) -> bool:
    """Whether a configuration is of a causal language model, without an encoder."""
    return not (config.is_encoder_decoder or is_encoder(config))


# Architectures whose positions begin after the padding token's id.
OFFSET_POSITIONS = ("roberta", "xlm-roberta", "camembert", "mpnet")
NO_LIMIT = 1 << 20  # positions of a model that has no highest one


def max_positions(reference: str) -> int:
    """Number of positions that a model has; NO_LIMIT if its configuration has none."""
    config = load_config(reference)
    positions = getattr(config, "max_position_embeddings", 0) or getattr(config, "n_positions", 0)
    padding = config.pad_token_id
    if config.model_type in OFFSET_POSITIONS and padding is not None:
        positions -= padding + 1
    return int(positions) or NO_LIMIT
