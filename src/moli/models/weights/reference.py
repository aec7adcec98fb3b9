"""Model references: one string names any model.

org/name, a folder     transformers weights, from the local hub cache or a folder
e5, smollm2, ...       what `moli models get` has put on this machine
openai:NAME@URL        any server that speaks OpenAI's chat API
gguf:FILE              a file that llama.cpp runs in this process; needs the extra gguf
builtin:NAME           ships with Moli
scripted:TEXT          answers TEXT; for tests
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from moli.records.errors import ModelError

Scheme = Literal["hub", "openai", "gguf", "builtin", "scripted"]


@dataclass(frozen=True, slots=True)
class ModelReference:
    """A parsed reference.

    Attributes:
        name: a name on the hub, a folder or file, the name of a built-in model or of one on a
            server, or a scripted answer.
        url: the server's address; "" for models without one.
    """

    scheme: Scheme
    name: str
    url: str = ""

    @classmethod
    def parse(cls, text: str) -> ModelReference:
        """Parse a reference.

        Raises:
            ModelError: it is empty, or an `openai:` reference lacks its address.
        """
        scheme, colon, rest = text.partition(":")
        if colon and scheme == "openai":
            name, at, url = rest.rpartition("@")
            if not (at and name and url.startswith(("http://", "https://"))):
                raise ModelError(
                    "an openai: reference needs a name and an address",
                    where=text,
                    fix="Write it as openai:NAME@http://HOST:PORT/v1.",
                )
            return cls("openai", name, url.rstrip("/"))
        if colon and scheme == "gguf":
            return cls("gguf", rest)
        if scheme == "builtin":  # also without a colon: it is no name on the hub
            return cls("builtin", rest)
        if colon and scheme == "scripted":
            return cls("scripted", rest)
        if not text.strip():
            raise ModelError("the model reference is empty", fix="Name one, as org/name.")
        return cls("hub", text)


def is_hub_name(reference: str) -> bool:
    """Whether a reference is written as names on the hub are: org/name."""
    return bool(re.fullmatch(r"\w[\w.-]*/[\w.-]+", reference))
