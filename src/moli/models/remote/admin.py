"""What a vLLM or SGLang server is and has, and how it is given adapters."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import httpx

from moli.models.remote.wire import SERVERS, Kind, error_in, fix_of
from moli.models.weights.json_files import read_json
from moli.records.errors import ModelError

_QUICK = 10.0  # seconds for what a server knows by heart
_LOADING = 300.0  # seconds for an adapter, which it may have to read over a network
_MERGE = "Merge it into its base instead: moli models export NAME FOLDER --merge."


@dataclass(frozen=True, slots=True)
class Facts:
    """What a server has and takes.

    Attributes:
        version: of the server's software.
        base: the name that its base goes by there.
        places: maximum tokens of a prompt and its answer.
        loads: whether it can be asked to load adapters while it runs; None where only the first
            one shows.
    """

    version: str
    base: str
    places: int
    loads: bool | None


def preflight(url: str, base: str, *, kind: Kind = "vllm", key: str = "") -> Facts:
    """Inspect a server, without changing anything on it.

    Args:
        url: with or without the /v1 at its end.
        base: the model that is expected, by the name it is served under or its path.
        key: that the server was started with.

    Raises:
        ModelError: it cannot be reached, serves another base, or is too old.
    """
    with Desk(url, kind, key) as desk:
        return desk.facts(base)


class Desk:
    """Where a server is asked about itself.

    Attributes:
        url: without /v1.
        headers: that go with every request.
    """

    def __init__(self, url: str, kind: Kind, key: str) -> None:
        self.server = SERVERS[kind]
        self.url = url.rstrip("/").removesuffix("/v1")
        self.headers = {"Authorization": f"Bearer {key}"} if key else {}
        try:
            self._client = httpx.Client(base_url=self.url, headers=self.headers, timeout=_QUICK)
        except (httpx.InvalidURL, UnicodeEncodeError) as error:
            part = "the key" if isinstance(error, UnicodeEncodeError) else "the address"
            raise self._error(f"{part} cannot be used", f"Correct {part}.") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def facts(self, base: str) -> Facts:
        """What the server has and takes.

        Raises:
            ModelError: as for `preflight`.
        """
        name = self.server.name
        cards = self._cards()
        bases = [each for each in cards if not each.get("parent")]
        found = next((each for each in bases if base in (each["id"], each.get("root"))), None)
        if found is None:
            served = ", ".join(str(each["id"]) for each in bases)
            raise self._error(f"it serves {served}, not {base}", f"Start {name} with {base}.")
        version = str(self._get(self.server.version).get("version", ""))
        places = found.get("max_model_len")
        if not places:
            raise self._error("it does not report max_model_len", f"Install a newer {name}.")
        return Facts(version, str(found["id"]), int(places), self._loads(version))

    def load(self, name: str, folder: Path) -> None:
        """Have an adapter loaded, unless one of that name is.

        Raises:
            ModelError: it is refused.
        """
        if name in self._names():
            return
        config = read_json(folder / "adapter_config.json") or {}
        if odd := next(filter(config.get, self.server.misread), ""):
            raise ModelError(
                f"{self.server.name} ignores '{odd}', and would serve a different adapter",
                where=str(folder),
                fix=_MERGE,
            )
        path = str(folder.absolute())
        response = self._call(
            "POST", self.server.load, {"lora_name": name, "lora_path": path}, timeout=_LOADING
        )
        # Another process may have been quicker with the same content, which is as good.
        if response.is_success or name in self._names():
            return
        said = error_in(response)["message"]
        raise self._error(
            f"{self.server.name} refuses the adapter ({response.status_code}: {said})",
            fix_of(self.server, said, config, path),
        )

    def _names(self) -> set[str]:
        return {str(each["id"]) for each in self._cards()}

    def _cards(self) -> list[dict[str, Any]]:
        """The base, under each of its names, and the adapters."""
        cards = self._get("/v1/models").get("data")
        if not isinstance(cards, list) or not all(isinstance(e, dict) and "id" in e for e in cards):
            raise self._error("its answer is not a list of models", "Check the address.")
        return cards

    def _loads(self, version: str) -> bool | None:
        """By its own description, which it can be told not to give.

        Raises:
            ModelError: it does not know a field that it would be sent.
        """
        response = self._call("GET", "/openapi.json")
        try:
            told = response.json()
            body = told["paths"]["/v1/completions"]["post"]["requestBody"]
            schema = body["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
            known = set(told["components"]["schemas"][schema]["properties"])
        except (KeyError, TypeError, ValueError):
            return None
        if missing := sorted(self.server.known - known):
            name, oldest = self.server.name, self.server.oldest
            raise self._error(
                f"{name} {version} does not support {', '.join(missing)}",
                f"Install {name} {oldest} or newer.",
            )
        return self.server.load in told["paths"]

    def _get(self, path: str) -> dict[str, Any]:
        response = self._call("GET", path)
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

    def _call(
        self, method: str, path: str, body: Any = None, timeout: float = _QUICK
    ) -> httpx.Response:
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
        return ModelError(what, where=self.url, fix=fix)
