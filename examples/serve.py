"""A server of your own that OpenAI's client talks to.

    pip install openai
    python examples/serve.py

The server runs `builtin:starter`, a small model that ships with Moli and writes like an old story
book. The same requests work with any model that the server offers, such as one that you tuned.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from openai import OpenAI

import moli

MODEL = "builtin:starter"


@contextmanager
def running_server(folder: Path) -> Iterator[str]:
    """The address of a server of the workspace in a folder, as `moli serve` starts it."""
    command = [sys.executable, "-m", "moli", "serve", "--port", "0", "--workspace", str(folder)]
    process = subprocess.Popen(
        command, env=os.environ | {"MOLI_MODEL": MODEL}, stdout=subprocess.PIPE, text=True
    )
    try:
        # Moli is ready: http://127.0.0.1:41873  (Ctrl-C stops it)
        line = process.stdout.readline() if process.stdout else ""
        if "http" not in line:
            raise SystemExit("the server did not start; what it printed above says why")
        yield line.split()[3]
    finally:
        process.terminate()
        process.wait()


def main() -> None:
    """Start a server, and use it."""
    parser = argparse.ArgumentParser(description="Serve a model, and talk to it.")
    parser.add_argument("--folder", type=Path, default=Path("serve"))
    folder = parser.parse_args().folder
    moli.init(folder).close()
    with running_server(folder) as address:
        print(f"server: {address}")
        # Without keys, the server answers whoever is on this machine; the client wants some key.
        talk(OpenAI(base_url=f"{address}/v1", api_key="none"))


def talk(client: OpenAI) -> None:
    """A conversation as it is written, one that follows a schema, and vectors."""
    print("models:", *(model.id for model in client.models.list()))

    print("answer: ", end="")
    question = {"role": "user", "content": "Tell me of the sea."}
    stream = client.chat.completions.create(
        model=MODEL, messages=[question], temperature=0, max_tokens=48, stream=True
    )
    for chunk in stream:
        print(chunk.choices[0].delta.content or "", end="", flush=True)

    answer = client.chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": "Is the sea calm today?"}],
        extra_body={"regex": "yes|no"},  # an addition of Moli's to the API
    )
    print("\nby an expression:", answer.choices[0].message.content)

    vectors = client.embeddings.create(model="builtin:minilm", input=["the sea", "the ocean"]).data
    product = sum(a * b for a, b in zip(vectors[0].embedding, vectors[1].embedding, strict=True))
    print(f"similarity of 'the sea' and 'the ocean': {product:.3f}")


if __name__ == "__main__":
    main()
