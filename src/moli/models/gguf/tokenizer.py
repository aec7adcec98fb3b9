"""The tokenizer of a GGUF file, run by llama.cpp.

A file names its pre-tokenizer by a keyword (`llama-bpe`, `qwen2` and many more), and only llama.cpp
knows them all.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from moli.models.gguf.model import Model
from moli.models.weights.gguf_file import resolve_gguf_file
from moli.models.weights.loading import transformers_lock
from moli.records.errors import ModelError

if TYPE_CHECKING:
    from tokenizers import AddedToken

_PLACES = 1 << 20  # of a model that does not say how many it has
_NAMED = ("bos", "eos", "pad", "sep")  # tokens that templates may write by name


class GgufTokenizer:
    """The tokenizer of a file, with what Moli uses of a tokenizer of transformers.

    Attributes:
        chat_template: a template, or several by name; None where the file has none.
        model_max_length: tokens that the model has positions for.
    """

    is_fast = False

    def __init__(self, model: Model) -> None:
        self._model, self._llama, self._words = model, model.llama, model.vocabulary
        architecture = model.said("general.architecture")
        self.model_max_length = int(model.said(f"{architecture}.context_length") or _PLACES)
        self.chat_template = _templates(model)
        self._pieces: dict[tuple[int, bool], bytes] = {}
        # Some vocabularies begin words with a space, and the first of a text with one of its own.
        self._opening = self._joined(self._cut("a", special=False), special=True).startswith(b" ")
        ids = {name: getattr(self._llama, f"llama_vocab_{name}")(self._words) for name in _NAMED}
        self.bos_token_id, self.eos_token_id, self.pad_token_id, _ = (
            ids[name] if ids[name] >= 0 else None for name in _NAMED
        )
        self.special_tokens_map = {
            f"{name}_token": self.decode([each]) for name, each in ids.items() if each >= 0
        }
        self.all_special_tokens = list(self.special_tokens_map.values())
        self.bos_token = self.special_tokens_map.get("bos_token")
        self.eos_token = self.special_tokens_map.get("eos_token")

    def __len__(self) -> int:
        return int(self._llama.llama_vocab_n_tokens(self._words))

    def __call__(self, text: str, *, add_special_tokens: bool = True, **_: Any) -> dict[str, Any]:
        return {"input_ids": self._cut(text, special=add_special_tokens)}

    def decode(self, ids: Iterable[int], *, skip_special_tokens: bool = False, **_: Any) -> str:
        raw = self._joined(ids, special=not skip_special_tokens)
        if self._opening:
            raw = raw.removeprefix(b" ")
        return raw.decode("utf-8", "replace")

    @cached_property
    def added_tokens_decoder(self) -> dict[int, AddedToken]:
        """Tokens that are read whole wherever they stand; special are those that are no text."""
        from tokenizers import AddedToken

        llama, ask = self._llama, self._llama.llama_vocab_get_attr
        control, own = llama.LLAMA_TOKEN_ATTR_CONTROL, llama.LLAMA_TOKEN_ATTR_USER_DEFINED
        kinds = {each: ask(self._words, each) for each in range(len(self))}
        return {
            each: AddedToken(self.decode([each]), special=bool(kind & control))
            for each, kind in kinds.items()
            if kind & (control | own)
        }

    def get_added_vocab(self) -> dict[str, int]:
        """The same, by their text."""
        return {added.content: each for each, added in self.added_tokens_decoder.items()}

    def get_chat_template(self, *, tools: Sequence[Any] | None = None) -> str:
        named = self.chat_template
        if named is None:
            raise ValueError("the file has no chat template")
        if isinstance(named, str):
            return named
        return named["default" if tools is None else "tool_use"]

    def apply_chat_template(
        self,
        conversation: Sequence[dict[str, Any]],
        tools: Sequence[dict[str, Any]] | None = None,
        *,
        tokenize: bool = True,
        add_generation_prompt: bool = False,
    ) -> str | dict[str, Any]:
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

    def guided(self, ends: list[int] | None) -> Any:
        """The same tokenizer as llguidance has it."""
        from llguidance import LLTokenizer, TokenizerWrapper

        return LLTokenizer(TokenizerWrapper(_Guided(self)), eos_token=ends)

    def piece(self, token: int, *, special: bool = True) -> bytes:
        """What a token writes; without `special` nothing for those that are no text."""
        if (known := self._pieces.get((token, special))) is not None:
            return known
        room = 64
        while True:
            text = ctypes.create_string_buffer(room)
            count = self._llama.llama_token_to_piece(self._words, token, text, room, 0, special)
            if count >= 0:
                return self._pieces.setdefault((token, special), text.raw[:count])
            room = -count

    def _cut(self, text: str, *, special: bool) -> list[int]:
        raw = text.encode("utf-8", "replace")
        room = len(raw) + 2  # a token has a byte at least, and two may mark the ends
        while True:
            ids = (ctypes.c_int32 * room)()
            count = self._llama.llama_tokenize(self._words, raw, len(raw), ids, room, special, True)
            if count >= 0:
                return ids[:count]
            room = -count

    def _joined(self, ids: Iterable[int], *, special: bool) -> bytes:
        return b"".join(self.piece(int(each), special=special) for each in ids)


class _Guided:
    """What llguidance asks for of a tokenizer that it does not know."""

    def __init__(self, tokenizer: GgufTokenizer) -> None:
        self._tokenizer = tokenizer
        self.bos_token_id, self.eos_token_id = tokenizer.bos_token_id, tokenizer.eos_token_id or 0
        self.tokens = [tokenizer.piece(each) for each in range(len(tokenizer))]
        # Some that are read whole are runs of spaces, and may stand in a text as others do.
        self.special_token_ids = [
            each
            for each, added in tokenizer.added_tokens_decoder.items()
            if added.special or re.fullmatch("<.*>", added.content)
        ]

    def __call__(self, text: str) -> list[int]:
        return list(self._tokenizer(text, add_special_tokens=False)["input_ids"])


def load_gguf_tokenizer(name: str) -> GgufTokenizer:
    """The tokenizer of `gguf:NAME`.

    Raises:
        ModelError: the file is missing or unreadable, or has no tokenizer.
    """
    model = Model(resolve_gguf_file(name), words=True)
    if model.llama.llama_vocab_type(model.vocabulary) == model.llama.LLAMA_VOCAB_TYPE_NONE:
        raise ModelError("it has no tokenizer", where=f"gguf:{name}", fix="Convert it with one.")
    return GgufTokenizer(model)


def _templates(model: Model) -> str | dict[str, str] | None:
    """The file's chat templates."""
    key = "tokenizer.chat_template"
    default, tool_use = model.said(key), model.said(f"{key}.tool_use")
    if default and tool_use:
        return {"default": default, "tool_use": tool_use}
    return default or tool_use or None
