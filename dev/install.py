"""Installs Moli into the environment that runs this, and shows how far it is.

Use: .venv/bin/python dev/install.py    (exits 1 if a package cannot be installed)
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))  # of Moli, what needs no other package

from moli.translations.catalogue import translate, use_language  # noqa: E402
from moli.translations.preference import preferred_language  # noqa: E402

# torch goes first and by itself, so that pip settles on the CPU wheel where one is at hand.
STEPS = (
    ("PyTorch, the largest part: about 200 MB", ["torch"]),
    ("Moli and about 90 libraries", ["-e", "."]),
)
_SILENCE = 10.0  # seconds after which a log gets a line
_REASONS = ("ERROR", "error:")  # begin the lines in which pip says what is wrong
_NO_NETWORK = ("Failed to establish", "NameResolution", "Name or service", "timed out", "Retrying")


class Progress:
    """The line that says what pip does: redrawn on a terminal, else printed now and then."""

    def __init__(self) -> None:
        self._packages = 0
        self._started = self._last = time.monotonic()
        self._live = sys.stdout.isatty()

    def show(self, line: str) -> None:
        """Show what pip does, if a line of its output says so."""
        words = line.split()
        if not words or words[0] not in ("Collecting", "Downloading", "Using", "Installing"):
            return
        self._packages += words[0] == "Collecting"
        now = time.monotonic()
        if not self._live and now - self._last < _SILENCE:
            return
        self._last = now
        seconds = f"{now - self._started:.0f} s"
        text = translate(f"{seconds}, {self._packages} packages") + f": {line.strip()}"
        width = shutil.get_terminal_size().columns - 8
        print(
            f"\r\033[K      {text[:width]}" if self._live else f"      {text}", end="", flush=True
        )
        if not self._live:
            print(flush=True)

    def close(self) -> None:
        """End the line."""
        if self._live:
            print("\r\033[K", end="", flush=True)


def install(packages: list[str], progress: Progress) -> str:
    """Install packages with pip.

    Returns:
        The reason why they could not be installed; "" if they were.
    """
    command = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check"]
    command += ["--progress-bar", "off", "--retries", "2", "-c", "constraints.txt", *packages]
    problems: list[str] = []
    offline = False
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as pip:
        for line in pip.stdout or ():
            progress.show(line)
            offline = offline or any(sign in line for sign in _NO_NETWORK)
            if line.startswith(_REASONS):
                problems.append(line.strip())
    progress.close()
    if not pip.returncode:
        return ""
    if offline:
        return translate(
            "The package index cannot be reached. Check the network, or name another index with "
            "PIP_INDEX_URL or a proxy with HTTPS_PROXY; then run the command again: what was "
            "downloaded is kept."
        )
    return "\n".join(problems[-3:]) or translate(f"pip ended with status {pip.returncode}.")


def main() -> int:
    """Install everything, step by step; the exit status."""
    use_language(preferred_language(ROOT))
    started = time.monotonic()
    print(translate(f"Installing Moli into {sys.prefix} (once; two to ten minutes)"), flush=True)
    for number, (what, packages) in enumerate(STEPS, 1):
        print(f"[{number}/{len(STEPS)}] {translate(what)}", flush=True)
        if problem := install(packages, Progress()):
            print(problem, file=sys.stderr)
            return 1
    print(translate(f"Installed in {time.monotonic() - started:.0f} s."), flush=True)
    return 0


if __name__ == "__main__":
    os.environ.setdefault("PYTHONIOENCODING", "utf-8")
    try:
        raise SystemExit(main())
    except KeyboardInterrupt:
        print(translate("\nInterrupted. What was downloaded is kept; run it again to go on."))
        raise SystemExit(130) from None
