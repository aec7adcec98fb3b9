"""The tokenizer of a GGUF file, run by llama.cpp.

A file names its pre-tokenizer by a keyword (`llama-bpe`, `qwen2` and many more), and only llama.cpp
implements them all.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from moli.models.gguf.model import GgufModel
from moli.models.weights.gguf_file import resolve_gguf_file
from moli.models.weights.loading import transformers_lock
from moli.records.errors import ModelError

if TYPE_CHECKING:
    from tokenizers import AddedToken

_UNLIMITED = 1 << 20  # positions of a model whose file does not say how many it has
_NAMED = ("bos", "eos", "pad", "sep")  # special tokens that templates may write by name


class GgufTokenizer:
    """The tokenizer of a file, with the methods of transformers' tokenizers that Moli uses.

    Attributes:
        chat_template: a template, or several by name; None where the file has none.
        model_max_length: tokens that the model has positions for.
    """

    is_fast = False

    def __init__(self, model: GgufModel) -> None:
        self._model, self._llama, self._vocabulary = model, model.llama, model.vocabulary
        architecture = model.metadata("general.architecture")
        limit = model.metadata(f"{architecture}.context_length")
        self.model_max_length = int(limit or _UNLIMITED)
        self.chat_template = _chat_templates(model)
        self._pieces: dict[tuple[int, bool], bytes] = {}  # by token and whether special ones count
        # Some vocabularies begin words with a space, and the first of a text with one of its own.
        first = self._join(self._encode("a", special=False), special=True)
        self._adds_space = first.startswith(b" ")
        ids = {
            name: getattr(self._llama, f"llama_vocab_{name}")(self._vocabulary) for name in _NAMED
        }
        self.bos_token_id, self.eos_token_id, self.pad_token_id, _ = (
            ids[name] if ids[name] >= 0 else None for name in _NAMED
        )
        self.special_tokens_map = {
            f"{name}_token": self.decode([token_id])
            for name, token_id in ids.items()
            if token_id >= 0
        }
        self.all_special_tokens = list(self.special_tokens_map.values())
        self.bos_token = self.special_tokens_map.get("bos_token")
        self.eos_token = self.special_tokens_map.get("eos_token")

    def __len__(self) -> int:
        return int(self._llama.llama_vocab_n_tokens(self._vocabulary))

    def __call__(self, text: str, *, add_special_tokens: bool = True, **_: Any) -> dict[str, Any]:
        return {"input_ids": self._encode(text, special=add_special_tokens)}

    def decode(self, ids: Iterable[int], *, skip_special_tokens: bool = False, **_: Any) -> str:
        """The text of tokens."""
        raw = self._join(ids, special=not skip_special_tokens)
        if self._adds_space:
            raw = raw.removeprefix(b" ")
        return raw.decode("utf-8", "replace")

    @cached_property
    def added_tokens_decoder(self) -> dict[int, AddedToken]:
        """Tokens that are never split, by their id; control tokens among them are special."""
        from tokenizers import AddedToken

        llama, attributes = self._llama, self._llama.llama_vocab_get_attr
        control, user_defined = llama.LLAMA_TOKEN_ATTR_CONTROL, llama.LLAMA_TOKEN_ATTR_USER_DEFINED
        kinds = {token_id: attributes(self._vocabulary, token_id) for token_id in range(len(self))}
        return {
            token_id: AddedToken(self.decode([token_id]), special=bool(kind & control))
            for token_id, kind in kinds.items()
            if kind & (control | user_defined)
        }

    def get_added_vocab(self) -> dict[str, int]:
        """Ids of the tokens that are never split, by their text."""
        tokens = self.added_tokens_decoder.items()
        return {added.content: token_id for token_id, added in tokens}

    def get_chat_template(self, *, tools: Sequence[Any] | None = None) -> str:
        """The chat template: "tool_use" if there are two and tools are given, else "default"."""
        templates = self.chat_template
        if templates is None:
            raise ValueError("the file has no chat template")
        if isinstance(templates, str):
            return templates
        return templates["default" if tools is None else "tool_use"]

    def apply_chat_template(
        self,
        conversation: Sequence[dict[str, Any]],
        tools: Sequence[dict[str, Any]] | None = None,
        *,
        tokenize: bool = True,
        add_generation_prompt: bool = False,
    ) -> str | dict[str, Any]:
        """A conversation as text, or as token ids in a dictionary, by the chat template."""
        with transformers_lock:
            from transformers.utils import chat_template_utils
        render: Any = chat_template_utils.render_jinja_template
        [text], _ = render(
            conversations=[conversation],
            tools=tools,
            chat_template=self.get_chat_template(tools=tools),
            add_generation_prompt=add_generation_prompt,
            **self.special_tokens_map,
        )
        return self(text, add_special_tokens=False) if tokenize else str(text)

    def llguidance_tokenizer(self, stop_token_ids: list[int] | None) -> Any:
        """The tokenizer as llguidance needs it, to constrain answers to a grammar."""
        from llguidance import LLTokenizer, TokenizerWrapper

        return LLTokenizer(TokenizerWrapper(_LLGuidanceView(self)), eos_token=stop_token_ids)

    def piece(self, token_id: int, *, special: bool = True) -> bytes:
        """The bytes of a token.

        Args:
            special: whether special tokens have bytes too; otherwise theirs are empty.
        """
        if (known := self._pieces.get((token_id, special))) is not None:
            return known
        to_piece, size = self._llama.llama_token_to_piece, 64
        while True:
            text = ctypes.create_string_buffer(size)
            count = to_piece(self._vocabulary, token_id, text, size, 0, special)
            if count >= 0:
                return self._pieces.setdefault((token_id, special), text.raw[:count])
            size = -count

    def _encode(self, text: str, *, special: bool) -> list[int]:
        """The token ids of a text.

        Args:
            special: whether to add the tokens that begin and end every text.
        """
        raw = text.encode("utf-8", "replace")
        tokenize, size = self._llama.llama_tokenize, len(raw) + 2  # a token has a byte at least
        while True:
            ids = (ctypes.c_int32 * size)()
            count = tokenize(self._vocabulary, raw, len(raw), ids, size, special, True)
            if count >= 0:
                return ids[:count]
            size = -count

    def _join(self, ids: Iterable[int], *, special: bool) -> bytes:
        """The bytes of tokens one after another; of special tokens only if `special`."""
        return b"".join(self.piece(int(token_id), special=special) for token_id in ids)


class _LLGuidanceView:
    """A tokenizer in the form that llguidance's `TokenizerWrapper` needs."""

    def __init__(self, tokenizer: GgufTokenizer) -> None:
        self._tokenizer = tokenizer
        self.bos_token_id, self.eos_token_id = tokenizer.bos_token_id, tokenizer.eos_token_id or 0
        self.tokens = [tokenizer.piece(token_id) for token_id in range(len(tokenizer))]
        # Some that are never split are runs of spaces, and may stand in a text as others do.
        self.special_token_ids = [
            token_id
            for token_id, added in tokenizer.added_tokens_decoder.items()
            if added.special or re.fullmatch("<.*>", added.content)
        ]

    def __call__(self, text: str) -> list[int]:
        return list(self._tokenizer(text, add_special_tokens=False)["input_ids"])


def load_gguf_tokenizer(name: str) -> GgufTokenizer:
    """Load the tokenizer of `gguf:NAME`.

    Raises:
        ModelError: the file is missing or unreadable, or has no tokenizer.
    """
    model = GgufModel(resolve_gguf_file(name), vocabulary_only=True)
    if model.llama.llama_vocab_type(model.vocabulary) == model.llama.LLAMA_VOCAB_TYPE_NONE:
        raise ModelError("it has no tokenizer", where=f"gguf:{name}", fix="Convert it with one.")
    return GgufTokenizer(model)


def _chat_templates(model: GgufModel) -> str | dict[str, str] | None:
    """The file's chat template, its templates by name if there are two, or None."""
    key = "tokenizer.chat_template"
    default, tool_use = model.metadata(key), model.metadata(f"{key}.tool_use")
    if default and tool_use:
        return {"default": default, "tool_use": tool_use}
    return default or tool_use or None
