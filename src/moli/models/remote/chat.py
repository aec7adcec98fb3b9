"""Chat models behind any server that speaks OpenAI's chat API (vLLM, Ollama, a cloud)."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import Any

import httpx

from moli.models.protocols.chat import TextCallback
from moli.records.errors import ModelError
from moli.records.messages import Message

KEY_VARIABLE = "OPENAI_API_KEY"
_PATH = "/chat/completions"


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
        on_text: TextCallback | None = None,
    ) -> str:
        """The assistant's next message, decoded greedily by the server."""
        body: dict[str, object] = {
            "model": self._model,
            "messages": [
                {"role": message.role, "content": message.content} for message in messages
            ],
            "max_tokens": max_tokens,
            "temperature": 0,
        }
        try:
            return self._stream(body, on_text) if on_text else self._post(body)
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
        except (AttributeError, KeyError, IndexError, TypeError, ValueError) as error:
            raise ModelError(
                "the server's answer is not a chat completion",
                where=self.name,
                fix="Check that the address is the base URL of the API, usually ending in /v1.",
            ) from error

    def _post(self, body: dict[str, object]) -> str:
        """The answer to a request, once it is complete."""
        response = self._client.post(_PATH, json=body)
        response.raise_for_status()
        return _text_of(response.json())

    def _stream(self, body: dict[str, object], on_text: TextCallback) -> str:
        """The answer to a request, whose text is passed on as it is generated."""
        texts: list[str] = []
        with self._client.stream("POST", _PATH, json=body | {"stream": True}) as response:
            if response.is_error:
                response.read()  # the error's message
            response.raise_for_status()
            if "event-stream" not in response.headers.get("content-type", ""):
                on_text(text := _text_of(json.loads(response.read())))
                return text
            for line in response.iter_lines():
                data = line.removeprefix("data:").strip()
                if data and data != line.strip() and data != "[DONE]":
                    texts.append(self._text_of_event(json.loads(data)))
                    on_text(texts[-1])
        return "".join(texts)

    def _text_of_event(self, event: dict[str, Any]) -> str:
        """The piece of text in an event of a stream.

        Raises:
            ModelError: the event says that the answer failed.
        """
        if error := event.get("error"):
            message = error.get("message") if isinstance(error, dict) else error
            raise ModelError(
                f"the answer broke off: {message}", where=self.name, fix="See the server's log."
            )
        choices = event["choices"]  # none in the event with the usage
        return str(choices[0]["delta"].get("content") or "") if choices else ""


def _text_of(completion: dict[str, Any]) -> str:
    """The text of a chat completion."""
    return str(completion["choices"][0]["message"]["content"] or "")
