"""Inspection of vLLM and SGLang servers, and loading of adapters onto them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from moli.models.remote.completions import parse_error
from moli.models.remote.servers import SERVERS, ServerKind, advise_on_refusal
from moli.models.weights.json_files import read_json
from moli.records.errors import ModelError

_TIMEOUT = 10.0  # seconds for requests that a server answers from memory
_LOAD_TIMEOUT = 300.0  # seconds for an adapter, which it may have to read over a network
_MERGE = "Merge it into its base instead: moli models export NAME FOLDER --merge."


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """The capabilities of a server.

    Attributes:
        version: version of the server's software.
        base: name of the base model on the server.
        max_model_len: maximum tokens of a prompt and its answer.
        loads_adapters: whether the server loads adapters while it runs; None if only the first
            attempt will show.
    """

    version: str
    base: str
    max_model_len: int
    loads_adapters: bool | None


class ServerAdmin:
    """A client for the administration of one server.

    Args:
        url: address with or without the /v1 at its end.
        key: API key that the server was started with; "" for none.

    Attributes:
        url: address without /v1.
        headers: headers that authenticate every request.

    Raises:
        ModelError: the address or the key is malformed.
    """

    def __init__(self, url: str, kind: ServerKind, key: str) -> None:
        self.server = SERVERS[kind]
        self.url = url.rstrip("/").removesuffix("/v1")
        self.headers = {"Authorization": f"Bearer {key}"} if key else {}
        try:
            self._client = httpx.Client(base_url=self.url, headers=self.headers, timeout=_TIMEOUT)
        except (httpx.InvalidURL, UnicodeEncodeError) as error:
            part = "the key" if isinstance(error, UnicodeEncodeError) else "the address"
            raise self._error(f"{part} cannot be used", f"Correct {part}.") from error

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def inspect(self, base: str) -> ServerInfo:
        """Check that the server serves a base model, without changing anything on it.

        Args:
            base: the name of the model on the server, or its path there.

        Raises:
            ModelError: the server cannot be reached, serves another base, or is too old.
        """
        name = self.server.name
        bases = [card for card in self._model_cards() if not card.get("parent")]
        card = next((card for card in bases if base in (card["id"], card.get("root"))), None)
        if card is None:
            served = ", ".join(str(card["id"]) for card in bases)
            raise self._error(f"it serves {served}, not {base}", f"Start {name} with {base}.")
        version = str(self._get_json(self.server.version_path).get("version", ""))
        max_model_len = card.get("max_model_len")
        if not max_model_len:
            raise self._error("it does not report max_model_len", f"Install a newer {name}.")
        loads_adapters = self._check_api(version)
        return ServerInfo(version, str(card["id"]), int(max_model_len), loads_adapters)

    def load_adapter(self, name: str, folder: Path) -> None:
        """Have the server load an adapter, unless it has one of that name.

        Raises:
            ModelError: the server refuses it, or would serve it wrongly.
        """
        if name in self._served_names():
            return
        config = read_json(folder / "adapter_config.json") or {}
        if ignored := next(filter(config.get, self.server.ignored_adapter_settings), ""):
            raise ModelError(
                f"{self.server.name} ignores '{ignored}', and would serve a different adapter",
                where=str(folder),
                fix=_MERGE,
            )
        path = str(folder.absolute())
        body = {"lora_name": name, "lora_path": path}
        response = self._send("POST", self.server.load_adapter_path, body, timeout=_LOAD_TIMEOUT)
        # Another process may have loaded the same content in the meantime, which is as good.
        if response.is_success or name in self._served_names():
            return
        message = parse_error(response)["message"]
        raise self._error(
            f"{self.server.name} refuses the adapter ({response.status_code}: {message})",
            advise_on_refusal(self.server, message, config, path),
        )

    def _served_names(self) -> set[str]:
        """The names of the base model and of the loaded adapters."""
        return {str(card["id"]) for card in self._model_cards()}

    def _model_cards(self) -> list[dict[str, Any]]:
        """The served models: the base, once for each of its names, and the adapters."""
        cards = self._get_json("/v1/models").get("data")
        if not isinstance(cards, list) or not all(isinstance(e, dict) and "id" in e for e in cards):
            raise self._error("its answer is not a list of models", "Check the address.")
        return cards

    def _check_api(self, version: str) -> bool | None:
        """Check the fields of completion requests in the server's OpenAPI description.

        Returns:
            Whether it loads adapters; None if the server was started without the description.

        Raises:
            ModelError: it does not know a field that it would be sent.
        """
        response = self._send("GET", "/openapi.json")
        try:
            description = response.json()
            body = description["paths"]["/v1/completions"]["post"]["requestBody"]
            schema = body["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
            fields = set(description["components"]["schemas"][schema]["properties"])
        except (KeyError, TypeError, ValueError):
            return None
        if missing := sorted(self.server.required_fields - fields):
            name, oldest = self.server.name, self.server.oldest_version
            raise self._error(
                f"{name} {version} does not support {', '.join(missing)}",
                f"Install {name} {oldest} or newer.",
            )
        return self.server.load_adapter_path in description["paths"]

    def _get_json(self, path: str) -> dict[str, Any]:
        """The JSON object at a path.

        Raises:
            ModelError: the server cannot be reached, or answers with something else.
        """
        response = self._send("GET", path)
        try:
            answer = response.json()
        except ValueError:
            answer = None
        if not response.is_success or not isinstance(answer, dict):
            raise self._error(
                f"it answered {response.status_code} to {path}",
                f"Check that {self.server.name} listens there.",
            )
        return answer

    def _send(
        self, method: str, path: str, body: Any = None, timeout: float = _TIMEOUT
    ) -> httpx.Response:
        """Send a request with an optional JSON body.

        Raises:
            ModelError: the server cannot be reached, or does not accept the key.
        """
        try:
            response = self._client.request(method, path, json=body, timeout=timeout)
        except httpx.HTTPError as error:
            why = str(error) or type(error).__name__
            raise self._error(
                f"{self.server.name} cannot be reached ({why})", "Is it running?"
            ) from error
        if response.status_code in (401, 403):
            raise self._error(
                f"{self.server.name} expects a different key",
                "Use the one that it was started with.",
            )
        return response

    def _error(self, what: str, fix: str) -> ModelError:
        """An error that names the server's address."""
        return ModelError(what, where=self.url, fix=fix)
