"""A server under more work than it can do: does it answer others, and does it stop when it is told?

Use: python bench/serving/overload.py [--abandoned 64] [--documents 1000]

The server is `moli serve` with the built-in language model and encoder. Clients send reranking
requests of many documents and leave; a chat is asked for beside them, and the server is stopped.
The same again with clients that stay. What is measured is in seconds:

    chat       until an answer of 16 tokens is complete, asked for right after the others left
    stopped    from SIGTERM until the process has ended
"""

from __future__ import annotations

import argparse
import json
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from urllib.parse import urlsplit

import httpx

BASE = "builtin:starter"
TALK = {
    "model": BASE, "messages": [{"role": "user", "content": "Tell me of the sea."}],
    "max_tokens": 16, "temperature": 0,
}  # fmt: skip


class Server:
    """`moli serve` in a process of its own, with its models loaded."""

    def __init__(self, folder: Path) -> None:
        (folder / "moli.toml").write_text(f'model = "{BASE}"\n', encoding="utf-8")
        moli = [sys.executable, "-m", "moli"]
        subprocess.run([*moli, "init", str(folder)], check=True, capture_output=True)
        with (folder / "server.log").open("w", encoding="utf-8") as log:
            self._process = subprocess.Popen(
                [*moli, "serve", "--port", "0", "-w", str(folder)],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        assert self._process.stdout
        line = self._process.stdout.readline()
        self.address = next(word for word in line.split() if word.startswith("http"))
        self.chat()

    def chat(self) -> float:
        """Seconds until a short answer is complete."""
        begun = time.perf_counter()
        httpx.post(f"{self.address}/v1/chat/completions", json=TALK, timeout=300).raise_for_status()
        return time.perf_counter() - begun

    def stop(self) -> float:
        """Seconds until the process has ended, from SIGTERM on."""
        begun = time.perf_counter()
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(300)
        return time.perf_counter() - begun


def reranking(documents: int) -> bytes:
    """The body of a request to rank short texts, about 29 bytes each."""
    texts = [f"Document {number:06} of the sea." for number in range(documents)]
    return json.dumps({"query": "the sea", "documents": texts}).encode()


def abandon(server: Server, body: bytes, count: int) -> None:
    """Send requests and leave without an answer."""
    place = urlsplit(server.address)
    head = (
        f"POST /v1/rerank HTTP/1.1\r\nHost: {place.netloc}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    for _ in range(count):
        with socket.create_connection((str(place.hostname), place.port or 80), 60) as left:
            left.sendall(head.encode() + body)


def stay(server: Server, body: bytes, count: int) -> tuple[list[threading.Thread], Counter[int]]:
    """Send requests at once and wait for the answers; counts their statuses, 0 if cut off."""
    statuses: Counter[int] = Counter()

    def send() -> None:
        try:
            headers = {"content-type": "application/json"}
            answer = httpx.post(
                f"{server.address}/v1/rerank", content=body, headers=headers, timeout=300
            )
            statuses[answer.status_code] += 1
        except httpx.HTTPError:
            statuses[0] += 1

    threads = [threading.Thread(target=send) for _ in range(count)]
    for thread in threads:
        thread.start()
    return threads, statuses


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--abandoned", type=int, default=64)
    parser.add_argument("--documents", type=int, default=1000)
    options = parser.parse_args()
    body = reranking(options.documents)
    with tempfile.TemporaryDirectory() as folder:
        server = Server(Path(folder))
        alone = [server.chat() for _ in range(3)]
        abandon(server, body, options.abandoned)
        chat = server.chat()
        abandon(server, body, options.abandoned)
        stopped = server.stop()
    print(f"{options.abandoned} abandoned: chat {chat:.2f} s (alone {min(alone):.2f}), "
          f"stopped {stopped:.2f} s")  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        server = Server(Path(folder))
        threads, statuses = stay(server, body, 2 * options.abandoned)
        time.sleep(2)
        chat = server.chat()
        stopped = server.stop()
        for thread in threads:
            thread.join()
    print(f"{2 * options.abandoned} that stayed: chat {chat:.2f} s, stopped {stopped:.2f} s, "
          f"by status (0: cut off) {dict(sorted(statuses.items()))}")  # fmt: skip


if __name__ == "__main__":
    main()
