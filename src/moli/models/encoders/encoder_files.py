"""The files of a sentence encoder besides its weights, as sentence-transformers lays them out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from moli.models.encoders.prompts import Prompts, read_prompts
from moli.models.protocols.encoder import Role
from moli.models.weights.json_files import read_json
from moli.models.weights.loading import OFFSET_POSITIONS, check_tokenizer_size, load_pretrained
from moli.records.errors import ModelError

# Ways of pooling by their older names, each a switch; the newer `pooling_mode` has the name itself.
_POOLING_SWITCHES = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
# Endings of the names of models for something else; decoders are encoders if modules.json says so.
_NO_ENCODERS = (
    "ForCausalLM",
    "ForSequenceClassification",
    "ForTokenClassification",
    "ForQuestionAnswering",
)
POOLING = tuple(_POOLING_SWITCHES.values())
# Modules of sentence-transformers that are understood, by the last part of their types' names.
_MODULES = ("Transformer", "Pooling", "Normalize", "Dense")
# Everyday Chinese. A tokenizer of English has no token for most of it.
_CHINESE = "这个文件在哪里可以找到请问公司的假期有几天怎样申请付款说明"
_MAX_UNKNOWN = 0.2


@dataclass(frozen=True)
class EncoderFiles:
    """An encoder's configuration and tokenizer.

    Attributes:
        config: contents of config.json.
        pooling: how the hidden states of a text's tokens become one vector, one of `POOLING`.
        pools_prompt: whether a prompt's tokens count in it.
        dense: folders of linear layers that follow the pooling.
        max_tokens: tokens that the encoder reads of a text.
        tokenizer: without padding, and cutting off what is beyond `max_tokens`.
    """

    folder: Path
    config: Mapping[str, Any]
    pooling: str
    pools_prompt: bool
    dense: tuple[Path, ...]
    max_tokens: int
    prompts: Prompts
    lower_case: bool
    tokenizer: Tokenizer

    @property
    def model_type(self) -> str:
        """The architecture, by its name in transformers."""
        return str(self.config.get("model_type"))

    def token_ids(self, texts: Sequence[str], role: Role) -> list[list[int]]:
        """Token ids of each text, with its role's prompt and special tokens."""
        prompt = self.prompts.get(role, "")
        prompted = [prompt + text for text in texts]
        if self.lower_case:
            prompted = [text.lower() for text in prompted]
        return [encoding.ids for encoding in self.tokenizer.encode_batch_fast(prompted)]

    def prompt_length(self, role: Role) -> int:
        """Number of tokens of a role's prompt, with the special ones before it."""
        prompt = self.prompts.get(role, "")
        if not prompt:
            return 0
        alone = self.tokenizer.encode(prompt.lower() if self.lower_case else prompt).ids
        # The special token that ends a text does not follow the prompt.
        ends = self.tokenizer.encode("").ids[-1:]
        return len(alone) - (alone[-1:] == ends)

    @cached_property
    def reads_chinese(self) -> bool:
        """Whether the tokenizer knows everyday Chinese."""
        encoding = self.tokenizer.encode(_CHINESE, add_special_tokens=False)
        unknown = sum(
            end - start
            for token, (start, end) in zip(encoding.tokens, encoding.offsets, strict=True)
            if token in ("[UNK]", "<unk>")
        )
        return unknown <= _MAX_UNKNOWN * len(_CHINESE)


def read_encoder_files(folder: Path, reference: str) -> EncoderFiles:
    """Read an encoder's configuration and tokenizer.

    Args:
        reference: the name that the encoder is loaded by.

    Raises:
        ModelError: files are missing or cannot be read, or ask for what is not supported.
    """
    modules = _modules(folder)
    model_folder = folder / modules.get("Transformer", ("",))[0]
    config = read_json(model_folder / "config.json")
    if config is None:
        raise ModelError(
            "no model: there is no config.json",
            where=str(model_folder),
            fix="Give a folder of an encoder.",
        )
    pooling_folder = folder / modules.get("Pooling", ("1_Pooling",))[0]
    if not modules and not pooling_folder.is_dir():
        _check_architecture(model_folder, config)
    pooling, pools_prompt = _pooling(pooling_folder)
    options = read_json(model_folder / "sentence_bert_config.json") or {}
    max_tokens = _max_tokens(model_folder, config, options)
    return EncoderFiles(
        folder=model_folder,
        config=config,
        pooling=pooling,
        pools_prompt=pools_prompt,
        dense=tuple(folder / path for path in modules.get("Dense", ())),
        max_tokens=max_tokens,
        prompts=read_prompts(folder, config, reference),
        lower_case=bool(options.get("do_lower_case")),
        tokenizer=_tokenizer(model_folder, config, max_tokens),
    )


def _check_architecture(folder: Path, config: Mapping[str, Any]) -> None:
    """Check that a model whose files say nothing of sentences is no model for something else.

    Raises:
        ModelError: it is a language model, a classifier or a reranker.
    """
    for architecture in config.get("architectures") or ():
        if architecture.endswith(_NO_ENCODERS):
            raise ModelError(
                f"a model for something else ({architecture}), not an encoder",
                where=str(folder),
                fix="Give an encoder, with its modules.json and 1_Pooling/config.json.",
            )


def _modules(folder: Path) -> dict[str, tuple[str, ...]]:
    """Folders of the encoder's modules in their order, by the kind of module.

    Raises:
        ModelError: a module of another kind changes the vectors.
    """
    folders: dict[str, tuple[str, ...]] = {}
    for module in read_json(folder / "modules.json") or ():
        kind = module["type"].rpartition(".")[2]
        if kind not in _MODULES:
            raise ModelError(
                f"a module '{kind}' is not supported in an encoder",
                where=str(folder / "modules.json"),
                fix=f"Use an encoder with these modules only: {', '.join(_MODULES)}.",
            )
        folders[kind] = (*folders.get(kind, ()), module["path"])
    return folders


def _pooling(folder: Path) -> tuple[str, bool]:
    """The way of pooling in a model's files, and whether the prompt's tokens count.

    Raises:
        ModelError: there are several, or it is an unknown one.
    """
    options = read_json(folder / "config.json") or {}
    switched = [name for switch, name in _POOLING_SWITCHES.items() if options.get(switch)]
    chosen = options.get("pooling_mode") or switched or ["mean"]
    names = [chosen] if isinstance(chosen, str) else list(chosen)
    if len(names) != 1 or names[0] not in POOLING:
        ways = " + ".join(map(str, names))
        raise ModelError(
            f"pooling by {ways} is not supported",
            where=str(folder / "config.json"),
            fix=f"Use an encoder with one of: {', '.join(POOLING)}.",
        )
    return names[0], bool(options.get("include_prompt", True))


def _max_tokens(folder: Path, config: Mapping[str, Any], options: Mapping[str, Any]) -> int:
    """Tokens that the encoder was trained to read, which can be fewer than it has positions for."""
    positions = config.get("max_position_embeddings")
    if positions and has_offset_positions(config):
        positions -= int(config.get("pad_token_id", 1)) + 1
    tokenizer_options = read_json(folder / "tokenizer_config.json") or {}
    limits = (positions, options.get("max_seq_length"), tokenizer_options.get("model_max_length"))
    return int(min(limit for limit in (*limits, 1 << 20) if limit))


def has_offset_positions(config: Mapping[str, Any]) -> bool:
    """Whether a text's positions begin after the padding token's id, as RoBERTa's do."""
    return config.get("model_type") in OFFSET_POSITIONS


def _tokenizer(folder: Path, config: Mapping[str, Any], max_tokens: int) -> Tokenizer:
    """The tokenizer in a folder, without padding.

    Raises:
        ModelError: there is none, it cannot be read, or it has more tokens than the model.
    """
    path = folder / "tokenizer.json"
    if path.is_file() or not (folder / "vocab.txt").is_file():
        try:
            tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # the library has no narrower class for its errors
            raise ModelError(
                f"the tokenizer cannot be read ({error})",
                where=str(path),
                fix="Put the model's own tokenizer.json there.",
            ) from error
    else:  # an older model, whose tokenizer transformers makes of its words
        failure = "its tokenizer cannot be loaded"
        tokenizer = load_pretrained("AutoTokenizer", str(folder), failure).backend_tokenizer
    check_tokenizer_size(str(folder), tokenizer.get_vocab_size(), config.get("vocab_size"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_tokens)
    return tokenizer
