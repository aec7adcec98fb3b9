"""Speed of whole servers with 16 clients at once: Moli, `transformers serve`, llama.cpp.

Use: python bench/serving/clients.py [--rounds 3] [--requests 4] [--only moli llama.cpp]

All serve the same weights, SmolLM2 if it was fetched, else a model of its shape, by OpenAI's API
for chats: llama.cpp in the precision that Moli computes in, in 16 bits and in 8; transformers with
its defaults (one answer at a time) and with what is fastest. Each client asks one thing after the
other: a prompt of about 64 tokens that nobody else has, 64 tokens to write, greedy, streamed. In a
round each server is started alone, gets a request from every client, and is then timed from the
first request to the end of the last answer. Each has to have read as many tokens as the prompt has,
and to have written as many as were requested unless the model ended its answer, or the run fails.
Prints a Markdown table for bench/RESULTS.md. Environments and files are made where missing;
llama.cpp needs cmake and a C++ compiler.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import itertools
import json
import os
import random
import shutil
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import httpx

HERE = Path(__file__).resolve().parent
REPO = HERE.parents[1]
ENVS, WORK = REPO / "bench" / ".envs", REPO / "bench" / ".work"
LLAMA = ENVS / "llama"
CLIENTS, WORDS, TOKENS = 16, 55, 64  # the template adds eight tokens
START_SECONDS = 300


@functools.cache
def model() -> Path:
    """Folder of the model that all serve."""
    shapes = [sys.executable, str(REPO / "bench/training/shapes.py")]
    return Path(subprocess.check_output(shapes, text=True).strip())


@dataclass(frozen=True)
class Server:
    """A server's command, with {port} for its port."""

    command: tuple[str, ...]
    is_slow: bool = False  # so that each client sends only one request


@dataclass(frozen=True)
class Prompt:
    text: str
    tokens: int  # with the template's


@dataclass(frozen=True)
class Answer:
    """An answer and its moments, in seconds of one clock."""

    begun: float
    first: float
    ended: float
    text: str
    read: int
    written: int
    is_whole: bool  # whether the model ended it

    def fault(self, prompt: Prompt) -> str:
        """Description of what is wrong with it; "" if nothing is."""
        if not self.text.strip():
            return "nothing was written"
        is_long = self.written == TOKENS or (self.is_whole and self.written < TOKENS)
        if self.read != prompt.tokens or not is_long:
            return f"{self.read} tokens read of {prompt.tokens}, {self.written} written of {TOKENS}"
        return ""


@dataclass(frozen=True)
class Figures:
    """Measurements of one server in one round."""

    rate: float  # tokens written a second, by all together
    first: float  # seconds until the first token, the median
    late_first: float  # and the 95th percentile
    whole: float  # seconds until the last
    late_whole: float
    same: float  # share of answers that are the first server's, word for word
    peak: float  # MB


def figures(answers: list[Answer], texts: list[str], peak: float) -> Figures:
    seconds = max(each.ended for each in answers) - min(each.begun for each in answers)
    first = percentiles([each.first - each.begun for each in answers])
    whole = percentiles([each.ended - each.begun for each in answers])
    rate = sum(each.written for each in answers) / seconds
    same = statistics.mean(each.text == text for each, text in zip(answers, texts, strict=False))
    return Figures(rate, *first, *whole, same, peak)


def percentiles(values: list[float]) -> tuple[float, float]:
    """The 50th and the 95th percentile."""
    return statistics.median(values), statistics.quantiles(values, n=20, method="inclusive")[18]


def prompts(count: int) -> list[Prompt]:
    """Words at random, none of which is in pieces; a beginning of their own for each."""
    from transformers import AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(model())
    pieces = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    words = [piece[1:] for piece, _ in pieces if piece[0] == "Ġ" and piece[1:].isalpha()][:5000]
    whole = [word for word in words if len(tokenizer(f" {word}").input_ids) == 1]
    draw = random.Random(0)
    made = []
    for _ in range(count):
        text = " ".join(draw.choices(whole, k=WORDS))
        chat = [{"role": "user", "content": text}]
        read = tokenizer.apply_chat_template(chat, add_generation_prompt=True)
        made.append(Prompt(text, len(read.input_ids)))
    return made


def servers(precision: str) -> dict[str, Callable[[], Server]]:
    """The servers that are compared: functions that make each ready to be started."""
    dtype = {"bf16": "bfloat16", "fp32": "float32"}[precision]
    exact = {"bf16": "bf16", "fp32": "f32"}[precision]
    # Its cache takes 60 % of the memory unless told how much is needed: a block of 256 tokens for
    # each client. Prompts are read fastest in small batches.
    batching = ["--continuous-batching", "--cb-num-blocks", str(CLIENTS)]
    batching += ["--cb-max-batch-tokens", "256"]
    return {
        "Moli": moli,
        "transformers serve, defaults": functools.partial(transformers, is_slow=True),
        "transformers serve, best": functools.partial(transformers, *batching, "--dtype", dtype),
        **{f"llama.cpp, {kind}": functools.partial(llama, kind) for kind in (exact, "f16", "q8_0")},
    }


def moli() -> Server:
    """With a workspace that has nothing but the model's name."""
    from moli.workspace import Workspace

    folder = WORK / "clients"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    (folder / "moli.toml").write_text(f'model = "{model()}"\n', encoding="utf-8")
    Workspace.init(folder).close()
    program = str(Path(sys.executable).with_name("moli"))
    return Server((program, "serve", "--port", "{port}", "-w", str(folder)))


def transformers(*options: str, is_slow: bool = False) -> Server:
    """Without batching it answers one client after the other: minutes."""
    program = str(environment() / "bin" / "transformers")
    return Server((program, "serve", str(model()), "--port", "{port}", *options), is_slow)


def environment() -> Path:
    """Folder of the environment of transformers' server, made if it is not there yet."""
    folder = ENVS / "serve"
    if not (folder / "setup_seconds").exists():
        setup, needs = REPO / "bench/peers/setup.sh", HERE / "peers/serve.requirements.txt"
        subprocess.run(["sh", str(setup), folder.name, str(needs)], check=True)
    return folder


def llama(kind: str) -> Server:
    """llama.cpp's server, with a slot for each client, and weights of that kind."""
    program, weights = LLAMA / "build/bin/llama-server", WORK / f"{model().name}-{kind}.gguf"
    if not program.exists():
        subprocess.run(["sh", str(HERE / "peers/llama.sh")], check=True)
    if not weights.exists():
        python, script = environment() / "bin/python", HERE / "peers/convert.py"
        part = weights.with_suffix(".part")
        source = LLAMA / "vendor/llama.cpp"
        words = [str(each) for each in (python, script, source, model(), part, kind)]
        subprocess.run(words, check=True, capture_output=True)
        part.rename(weights)
    command = [str(program), "--model", str(weights), "--port", "{port}", "--cont-batching"]
    command += ["--parallel", str(CLIENTS), "--ctx-size", str(CLIENTS * 4 * TOKENS)]
    return Server((*command, "--threads", str(os.cpu_count())))


@contextmanager
def running(server: Server) -> Iterator[tuple[str, int]]:
    """A server in a process of its own: its address and the process's number."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    command = [word.replace("{port}", port) for word in server.command]
    log = WORK / "clients.log"
    offline = os.environ | {"HF_HUB_OFFLINE": "1"}
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, env=offline)
    try:
        wait(process, address := f"http://127.0.0.1:{port}", log)
        yield address, process.pid
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()


def wait(process: subprocess.Popen[bytes], address: str, log: Path) -> None:
    """Wait until its health check succeeds."""
    until = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < until:
        try:
            if httpx.get(f"{address}/health", timeout=5).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    sys.exit(f"not ready: {process.args!r}\n{log.read_text(errors='replace')[-3000:]}")


async def ask(client: httpx.AsyncClient, prompt: Prompt, tokens: int) -> Answer:
    body = {
        "model": str(model()),
        "messages": [{"role": "user", "content": prompt.text}],
        "temperature": 0,
        "max_tokens": tokens,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    begun = first = time.perf_counter()
    texts, ends, usage = [], set[str | None](), {"prompt_tokens": 0, "completion_tokens": 0}
    async with client.stream("POST", "/v1/chat/completions", json=body) as response:
        if response.status_code != 200:
            sys.exit(f"{response.status_code}: {(await response.aread()).decode()[:1000]}")
        async for line in response.aiter_lines():
            if not line.startswith("data: {"):
                continue
            event = json.loads(line.removeprefix("data: "))
            usage = event.get("usage") or usage
            text = "".join(each["delta"].get("content") or "" for each in event.get("choices", []))
            if text and first == begun:
                first = time.perf_counter()
            texts.append(text)
            ends |= {each.get("finish_reason") for each in event.get("choices", [])}
    counts = usage["prompt_tokens"], usage["completion_tokens"]
    return Answer(begun, first, time.perf_counter(), "".join(texts), *counts, "stop" in ends)


async def load(address: str, prompts_to_send: list[Prompt], tokens: int) -> list[Answer]:
    """The answers of all prompts, in their order; each client has an equal share of them."""

    async def one(client: httpx.AsyncClient, share: list[Prompt]) -> list[Answer]:
        return [await ask(client, prompt, tokens) for prompt in share]

    # A connection for each request, since llama.cpp's server may close one after an answer.
    limits = httpx.Limits(max_connections=CLIENTS, max_keepalive_connections=0)
    async with httpx.AsyncClient(base_url=address, timeout=None, limits=limits) as client:
        shares = [prompts_to_send[n::CLIENTS] for n in range(CLIENTS)]
        answered = await asyncio.gather(*(one(client, share) for share in shares))
    return [each for turn in zip(*answered, strict=True) for each in turn]


def peak_of(process: int) -> float:
    """The most memory that it had, in MB."""
    lines = Path(f"/proc/{process}/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


def measure(name: str, server: Server, prompts_to_send: list[Prompt]) -> tuple[list[Answer], float]:
    """The answers, and the most memory that the server had."""
    first, timed = prompts_to_send[:CLIENTS], prompts_to_send[CLIENTS:]
    timed = timed[:CLIENTS] if server.is_slow else timed
    with running(server) as (address, process):
        asyncio.run(load(address, first, TOKENS // 8))
        answers = asyncio.run(load(address, timed, TOKENS))
        peak = peak_of(process)
    pairs = zip(answers, timed, strict=True)
    if faults := [fault for answer, prompt in pairs if (fault := answer.fault(prompt))]:
        sys.exit(f"{name}: {len(faults)} of {len(answers)} answers are wrong: {faults[0]}")
    return answers, peak


def report(measured: dict[str, list[Figures]], rounds: int, precision: str) -> None:
    """The table: medians of the rounds, and rates as shares of the first one's."""
    middle = {
        name: Figures(*map(statistics.median, zip(*map(astuple, rounds_of), strict=True)))
        for name, rounds_of in measured.items()
    }
    own = next(iter(middle.values())).rate
    print(f"\nMedians of {rounds} rounds, {CLIENTS} clients, {precision}.\n")
    heads = "tokens/s | of Moli's rate | first token, s | whole answer, s | as Moli's | peak MB"
    print(f"| server | {heads} |\n|---|---|---|---|---|---|---|")
    for name, median in middle.items():
        first = f"{median.first:.2f} / {median.late_first:.2f}"
        whole = f"{median.whole:.2f} / {median.late_whole:.2f}"
        rate = f"{median.rate:.1f} | {median.rate / own:.2f}"
        print(f"| {name} | {rate} | {first} | {whole} | {median.same:.0%} | {median.peak:,.0f} |")
    print("\nTimes are p50 / p95; answers are compared with Moli's, word for word.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--requests", type=int, default=4, help="of each client")
    parser.add_argument("--only", nargs="+", default=[""], help="beginnings of servers' names")
    args = parser.parse_args()
    from moli.models.hardware.probe import probe

    precision = probe().precision
    prompts_to_send = prompts(CLIENTS * (1 + args.requests))
    beginnings = tuple(each.lower() for each in args.only)
    chosen = {
        name: make()
        for name, make in servers(precision).items()
        if name.lower().startswith(beginnings)
    }
    measured: dict[str, list[Figures]] = {name: [] for name in chosen}
    texts: list[str] = []
    for _, (name, server) in itertools.product(range(args.rounds), chosen.items()):
        answers, peak = measure(name, server, prompts_to_send)
        texts = texts or [each.text for each in answers]
        measured[name].append(figures(answers, texts, peak))
        print(f"{name}: {measured[name][-1].rate:.1f}", file=sys.stderr, flush=True)
    report(measured, args.rounds, precision)


if __name__ == "__main__":
    main()
