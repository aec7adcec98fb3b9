"""Client libraries of OpenAI's API against a live server, as a table of clients and cases.

    make conformance

Each client's script runs in an environment of its own in bench/.envs, which is made once.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cases import CASES, MODEL
from rich.console import Console
from rich.table import Table

HERE = Path(__file__).parent
ENVIRONMENTS = HERE.parent / ".envs"


@dataclass(frozen=True, slots=True)
class Client:
    """A client: its script in `clients`, and the packages that it needs."""

    script: str
    packages: tuple[str, ...]


CLIENTS = {
    "openresponses": Client("openresponses.py", ("httpx==0.28.1",)),
    "openai": Client("openai_client.py", ("openai==3.57.0",)),
    "openai-agents": Client("openai_agents_client.py", ("openai-agents==0.24.0",)),
    "pydantic-ai": Client("pydantic_ai_client.py", ("pydantic-ai-slim[openai]==2.68.0",)),
    "instructor": Client("instructor_client.py", ("instructor==1.17.0",)),
    "langchain-openai": Client("langchain_client.py", ("langchain-openai==1.7.4",)),
    "llama-index": Client("llama_index_client.py", ("llama-index-llms-openai-like==0.8.1",)),
    "haystack": Client("haystack_client.py", ("haystack-ai==3.4.1",)),
    "llm": Client("llm_client.py", ("llm==0.36",)),
    "openai (npm)": Client("openai.mjs", ("openai@6.49.0", "zod@4.6.7")),
    "ai (npm)": Client(
        "ai_sdk.mjs",
        ("ai@6.0.326", "@ai-sdk/openai@3.0.141", "@ai-sdk/openai-compatible@2.0.92", "zod@4.6.7"),
    ),
}


def install(name: str, client: Client) -> list[str]:
    """Make the client's environment, unless it is there; return the command that runs a script."""
    folder = ENVIRONMENTS / f"conformance-{Path(client.script).stem}"
    mark = folder / "packages.txt"
    is_python = client.script.endswith(".py")
    if not mark.exists() or mark.read_text() != "\n".join(client.packages):
        print(f"Installing {name}...", file=sys.stderr, flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        if is_python:
            venv.create(folder, with_pip=True)
            pip = [str(folder / "bin/python"), "-m", "pip", "install", "--quiet"]
            subprocess.run([*pip, "--upgrade", "pip"], check=True)
            subprocess.run([*pip, *client.packages], check=True)
        else:
            folder.mkdir(parents=True)
            subprocess.run(["npm", "init", "-y"], cwd=folder, check=True, capture_output=True)
            npm = ["npm", "install", "--silent", "--no-audit", "--no-fund", *client.packages]
            subprocess.run(npm, cwd=folder, check=True)
        mark.write_text("\n".join(client.packages))
    if is_python:
        return [str(folder / "bin/python"), str(HERE / "clients" / client.script)]
    # Node looks for packages beside a script and above it.
    for script in (HERE / "cases.mjs", HERE / "clients" / client.script):
        target = folder / script.relative_to(HERE)
        target.parent.mkdir(exist_ok=True)
        shutil.copy(script, target)
    return ["node", str(folder / "clients" / client.script)]


@contextmanager
def serving() -> Iterator[str]:
    """A server of a new workspace, and the address of its API."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "moli.toml").write_text(f'encoder = "scripted:hash"\nmodel = "{MODEL}"\n')
        moli = [sys.executable, "-m", "moli"]
        subprocess.run([*moli, "init", folder], check=True, capture_output=True)
        server = subprocess.Popen(
            [*moli, "serve", "-w", folder, "--port", "0"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        try:
            assert server.stdout
            ready = next(line for line in server.stdout if "http://" in line)
            yield ready[ready.index("http://") :].split()[0] + "/v1"
        finally:
            server.terminate()
            server.wait(60)


def run(name: str, url: str) -> dict[str, str]:
    """What was wrong in each of a client's cases, "" for nothing."""
    client = CLIENTS[name]
    environment = os.environ | {
        "MOLI_URL": url, "MOLI_MODEL": MODEL, "PYTHONPATH": str(HERE), "OPENAI_API_KEY": "none",
    }  # fmt: skip
    result = subprocess.run(
        install(name, client),
        capture_output=True,
        text=True,
        env=environment,
        timeout=900,
        check=False,
    )
    lines = [line for line in result.stdout.splitlines() if line.startswith('{"case"')]
    problems = {each["case"]: each["problem"] for each in map(json.loads, lines)}
    if result.returncode or not problems:
        problems["text"] = result.stderr.strip()[-400:] or "it reported nothing"
    return problems


def main(names: list[str]) -> int:
    """Run the clients that are named, or all; 1 if a case failed."""
    # Whoever stops this stops its server too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    table = Table("client", *CASES, "by responses")
    failed = 0
    with serving() as url:
        for name in names or CLIENTS:
            problems = run(name, url)
            by_responses = [v for case, v in problems.items() if case.endswith("(responses)")]
            marks = [
                {"": "ok"}.get(problems[case], "FAIL") if case in problems else "" for case in CASES
            ]
            passed = f"{by_responses.count('')} of {len(by_responses)}" if by_responses else ""
            table.add_row(name, *marks, passed)
            for case, problem in problems.items():
                if problem:
                    failed += 1
                    print(f"{name}, {case}: {problem}", file=sys.stderr, flush=True)
    Console(width=140).print(table)
    print(f"{failed} cases failed")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
