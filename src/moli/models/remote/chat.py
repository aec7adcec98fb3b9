"""Chat models behind any server that speaks OpenAI's chat API (vLLM, Ollama, a cloud)."""

from __future__ import annotations

import os
from collections.abc import Sequence

import httpx

from moli.records.errors import ModelError
from moli.records.messages import Message

KEY_VARIABLE = "OPENAI_API_KEY"


class RemoteChat:
    """A model on a server. The API key comes from the environment, `OPENAI_API_KEY`.

    Args:
        model: name of the model on the server.
        url: base URL of the API, usually ending in /v1.
        name: the model reference.
        timeout: seconds that the server may take to answer.
        transport: replaces the network in tests.

    Raises:
        ModelError: the address or the key is malformed.
    """

    template_sha256 = ""  # the template is on the server

    def __init__(
        self,
        model: str,
        url: str,
        *,
        name: str,
        timeout: float = 120.0,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.name = name
        self._model = model
        key = os.environ.get(KEY_VARIABLE, "")
        try:
            self._client = httpx.Client(
                base_url=url,
                timeout=timeout,
                headers={"Authorization": f"Bearer {key}"} if key else {},
                transport=transport,
            )
        except (httpx.InvalidURL, UnicodeEncodeError) as error:
            part = KEY_VARIABLE if isinstance(error, UnicodeEncodeError) else "the address"
            raise ModelError(
                f"{part} cannot be used ({error})", where=name, fix=f"Correct {part}."
            ) from error

    def complete(
        self,
        messages: Sequence[Message],
        *,
        max_tokens: int = 512,
        cache_namespace: str = "",  # noqa: ARG002
    ) -> str:
        """The assistant's next message, decoded greedily by the server."""
        body = {
            "model": self._model,
            "messages": [
                {"role": message.role, "content": message.content} for message in messages
            ],
            "max_tokens": max_tokens,
            "temperature": 0,
        }
        try:
            response = self._client.post("/chat/completions", json=body)
            response.raise_for_status()
            content = response.json()["choices"][0]["message"]["content"]
        except httpx.HTTPStatusError as error:
            status = error.response.status_code
            hint = f"Set {KEY_VARIABLE}." if status == 401 else "See the server's log."
            raise ModelError(
                f"the server answered {status}: {error.response.text[:200]}",
                where=self.name,
                fix=hint,
            ) from error
        except httpx.HTTPError as error:
            raise ModelError(
                f"the server cannot be reached ({error})", where=self.name, fix="Is it running?"
            ) from error
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise ModelError(
                "the server's answer is not a chat completion",
                where=self.name,
                fix="Check that the address is the base URL of the API, usually ending in /v1.",
            ) from error
        return str(content or "")
