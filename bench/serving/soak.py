"""Many clients at once, many of them rude, for minutes; then a server that is killed.

Use: make soak-serving    (or: python bench/serving/soak.py --clients 128 --minutes 5)

The server is `moli serve` on a workspace with one base and adapters. Each client does one thing
after the other: asks and compares the answer with what the same model said when it was alone,
streams, leaves in mid-stream, reads slowly, sends what is no request, prompts that are too long,
or half a request. Meanwhile the server's memory, open files and threads are watched. In the end
nothing may be left at work. Then feedback is given as fast as it goes and the server killed with
SIGKILL: all that was acknowledged has to be there after the next start.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

REPO = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPO / "tests"))
MOLI = str(Path(sys.executable).with_name("moli"))
BASE = "builtin:starter"
ADAPTERS = 4
TOKENS = 24
PROMPTS = [
    f"Tell me of {what} and of {other}."
    for what in ("the sea", "the king", "a horse", "my brother", "the war", "a house")
    for other in ("the night", "the rain", "an old friend", "the garden")
]
KINDS = {  # what a client does, and how often
    "ask": 40, "stream": 25, "leave": 12, "slow": 5, "malformed": 8, "too long": 5, "broken": 5,
}  # fmt: skip


@dataclass
class Tally:
    """Counts and times of what the clients did, and all that went wrong."""

    done: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    first: list[float] = field(default_factory=list)
    busy: int = 0


class Server:
    """`moli serve` in a process of its own."""

    def __init__(self, folder: Path) -> None:
        with (folder / "server.log").open("a", encoding="utf-8") as log:
            self.process = subprocess.Popen(
                [MOLI, "serve", "--port", "0", "-w", str(folder)],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        assert self.process.stdout
        line = self.process.stdout.readline()
        self.address = next(word for word in line.split() if word.startswith("http"))

    def figures(self) -> tuple[float, int, int]:
        """Memory in MB, open files and threads."""
        place = Path(f"/proc/{self.process.pid}")
        status = dict(
            line.split(":", 1)
            for line in (place / "status").read_text().splitlines()
            if ":" in line
        )
        files = len(list((place / "fd").iterdir()))
        return int(status["VmRSS"].split()[0]) / 1024, files, int(status["Threads"])


def make(folder: Path) -> list[str]:
    """A workspace with adapters; the names of its models."""
    from conformance.served import add_adapter

    from moli.workspace import Workspace

    (folder / "moli.toml").write_text(f'model = "{BASE}"\nqueue = 256\n', encoding="utf-8")
    names = [f"toy{number}" for number in range(ADAPTERS)]
    with Workspace.init(folder) as workspace:
        for number, name in enumerate(names):
            add_adapter(workspace, folder / f"made{number}", name, number)
    return [BASE, *names]


def body(model: str, prompt: str, **options: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": prompt}]
    return {
        "model": model, "messages": messages, "temperature": 0, "max_tokens": TOKENS, **options
    }  # fmt: skip


async def clients(
    address: str, models: list[str], known: dict[tuple[str, str], str], count: int, until: float
) -> Tally:
    tally = Tally()
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=address, timeout=300, limits=limits) as client:
        one = [Client(client, models, known, tally, seed) for seed in range(count)]
        await asyncio.gather(*(each.run(until) for each in one))
    return tally


class Client:
    """One of many."""

    def __init__(
        self, client: httpx.AsyncClient, models: list[str], known: Any, tally: Tally, seed: int
    ) -> None:
        self._client, self._known, self._tally = client, known, tally
        self._models, self._draw = models, random.Random(seed)

    async def run(self, until: float) -> None:
        while time.monotonic() < until:
            [kind] = self._draw.choices([*KINDS], [*KINDS.values()])
            begun = time.monotonic()
            try:
                good = await getattr(self, kind.replace(" ", "_"))()
            except (httpx.HTTPError, OSError) as error:
                self._tally.wrong.append(f"{kind}: {type(error).__name__} {error}")
                continue
            if good:
                self._tally.done[kind] += 1
                self._tally.seconds[kind].append(time.monotonic() - begun)

    def _choose(self) -> tuple[str, str]:
        return self._draw.choice(self._models), self._draw.choice(PROMPTS)

    def _check(self, kind: str, chosen: tuple[str, str], text: str) -> bool:
        if text != self._known[chosen]:
            self._tally.wrong.append(
                f"{kind}: {chosen} answered {text!r}, not {self._known[chosen]!r}"
            )
        return True

    async def _busy(self, response: httpx.Response) -> bool:
        if response.status_code != 429:
            return False
        self._tally.busy += 1
        await asyncio.sleep(int(response.headers["retry-after"]) * self._draw.random())
        return True

    async def ask(self) -> bool:
        chosen = self._choose()
        answer = await self._client.post("/v1/chat/completions", json=body(*chosen))
        if await self._busy(answer):
            return False
        return self._check("ask", chosen, answer.json()["choices"][0]["message"]["content"])

    async def stream(self, *, stop: int = 1 << 30, pause: float = 0.0) -> bool:
        chosen, texts, begun = self._choose(), [], time.monotonic()
        request = body(*chosen, stream=True)
        async with self._client.stream("POST", "/v1/chat/completions", json=request) as answer:
            if await self._busy(answer):
                return False
            async for line in answer.aiter_lines():
                if line == "data: [DONE]":
                    return self._check("stream", chosen, "".join(texts))
                if line.startswith("data: "):
                    if not texts:
                        self._tally.first.append(time.monotonic() - begun)
                    choice = json.loads(line[6:])["choices"][0]
                    texts.append(choice["delta"].get("content", ""))
                    if len(texts) >= stop:
                        return True
                    await asyncio.sleep(pause)
        self._tally.wrong.append(f"stream: {chosen} ended without [DONE]")
        return True

    async def leave(self) -> bool:
        return await self.stream(stop=self._draw.randint(1, TOKENS // 2))

    async def slow(self) -> bool:
        return await self.stream(pause=0.3)

    async def malformed(self) -> bool:
        bodies = [
            b"",
            b"{",
            b"[]",
            b'{"messages": 3}',
            b"\xff",
            b'{"model": "none", "prompt": "x"}',
        ]
        path = self._draw.choice(["chat/completions", "completions", "responses", "feedback"])
        answer = await self._client.post(
            f"/v1/{path}",
            content=self._draw.choice(bodies),
            headers={"content-type": "application/json"},
        )
        if answer.status_code not in (400, 404):
            self._tally.wrong.append(f"malformed: {path} gave {answer.status_code}")
        return True

    async def too_long(self) -> bool:
        prompt = "the sea " * self._draw.choice([3000, 200_000])
        answer = await self._client.post("/v1/chat/completions", json=body(BASE, prompt))
        if answer.status_code not in (400, 413):
            self._tally.wrong.append(f"too long: {answer.status_code}")
        return True

    async def broken(self) -> bool:
        place = urlsplit(str(self._client.base_url))
        _, writer = await asyncio.open_connection(place.hostname, place.port)
        text = json.dumps(body(*self._choose()))
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {place.netloc}\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(text)}\r\n\r\n{text}"
        writer.write(head[: self._draw.randint(1, len(head))].encode())
        await writer.drain()
        await asyncio.sleep(self._draw.random() * 0.2)
        writer.close()
        return True


def alone(address: str, models: list[str]) -> dict[tuple[str, str], str]:
    """Answers of each model to each prompt when there are no other requests."""
    answers = {}
    for model in models:
        for prompt in PROMPTS:
            answer = httpx.post(
                f"{address}/v1/chat/completions", json=body(model, prompt), timeout=300
            )
            assert answer.status_code == 200, answer.text
            answers[model, prompt] = answer.json()["choices"][0]["message"]["content"]
    return answers


async def watch(server: Server, until: float) -> list[tuple[float, int, int]]:
    seen = []
    while time.monotonic() < until:
        seen.append(server.figures())
        await asyncio.sleep(2)
    return seen


def at_work(address: str) -> float:
    """Number of requests that wait or are being answered."""
    text = httpx.get(f"{address}/metrics", timeout=60).text
    names = ("moli_waiting ", "moli_working ")
    return sum(float(line.split()[1]) for line in text.splitlines() if line.startswith(names))


def kill(folder: Path, models: list[str]) -> tuple[int, int]:
    """Give feedback until the server is killed; how much was acknowledged, and how much is lost."""
    from moli.workspace import Workspace

    server = Server(folder)
    acknowledged: list[tuple[str, int]] = []
    try:
        while True:
            made = httpx.post(
                f"{server.address}/v1/chat/completions",
                json=body(models[0], PROMPTS[0], max_tokens=1),
                timeout=60,
            ).json()["id"]
            feedback = {"id": made, "rating": "up"}
            added = httpx.post(f"{server.address}/v1/feedback", json=feedback, timeout=60)
            acknowledged.append((made.removeprefix("chatcmpl-"), added.json()["id"]))
            if len(acknowledged) > 50 and random.random() < 0.1:
                server.process.send_signal(signal.SIGKILL)
    except httpx.HTTPError:
        server.process.wait()
    with Workspace.open(folder) as workspace:
        kept = {each.id for each in workspace.feedback.list(limit=1 << 20)}
        there = {each.id for each in workspace.exchanges.recent(limit=1 << 20)}
    lost = sum(answer not in there or number not in kept for answer, number in acknowledged)
    return len(acknowledged), lost


def percentiles(values: list[float]) -> str:
    if len(values) < 2:
        return "-"
    cuts = statistics.quantiles(values, n=20)
    return f"{statistics.median(values):.2f} / {cuts[18]:.2f} s"


async def run(server: Server, models: list[str], known: Any, options: Any) -> tuple[Tally, Any]:
    until = time.monotonic() + options.minutes * 60
    tally, seen = await asyncio.gather(
        clients(server.address, models, known, options.clients, until), watch(server, until)
    )
    return tally, seen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, default=128)
    parser.add_argument("--minutes", type=float, default=5)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="moli-soak-"))
    models = make(folder)
    server = Server(folder)
    known = alone(server.address, models)
    tally, seen = asyncio.run(run(server, models, known, options))
    until = time.monotonic() + 60
    while at_work(server.address) and time.monotonic() < until:
        time.sleep(0.5)
    left, last = at_work(server.address), server.figures()
    server.process.terminate()
    ended = server.process.wait(60)
    acknowledged, lost = kill(folder, models)
    shutil.rmtree(folder, ignore_errors=True)
    report(tally, [*seen, last])
    print(f"left at work {left:.0f}; exit status {ended}; acknowledged {acknowledged}, lost {lost}")
    for error in tally.wrong[:10]:
        print("WRONG", error)
    sys.exit(bool(tally.wrong or left or lost or ended))


def report(tally: Tally, seen: list[tuple[float, int, int]]) -> None:
    print("| what | times | p50 / p95 |\n|---|---|---|")
    for kind, count in sorted(tally.done.items()):
        print(f"| {kind} | {count:,} | {percentiles(tally.seconds[kind])} |")
    print(f"| first token of a stream | {len(tally.first):,} | {percentiles(tally.first)} |")
    print(f"\nwrong {len(tally.wrong)}, told to come back {tally.busy}")
    quarter = max(1, len(seen) // 4)
    for n, name in enumerate(("memory MB", "open files", "threads")):
        values = [each[n] for each in seen]
        early, late = statistics.median(values[:quarter]), statistics.median(values[-quarter:])
        most, end = max(values), values[-1]
        print(f"{name}: at first {early:.0f}, later {late:.0f}, most {most:.0f}, end {end:.0f}")


if __name__ == "__main__":
    main()
