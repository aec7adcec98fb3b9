"""Installs Moli into the environment that runs this, and shows how far it is.

Use: .venv/bin/python dev/install.py    (its status is 1 after a failure)
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import threading
import time
from collections.abc import Iterable
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
_SILENCE = 10.0  # seconds between two lines of a log
_REASONS = ("ERROR", "error:")  # begin the lines in which pip says what is wrong
_NO_NETWORK = ("Failed to establish", "NameResolution", "Name or service", "timed out", "Retrying")


class Progress:
    """What pip does, on a line that is redrawn on a terminal and else printed now and then."""

    def __init__(self) -> None:
        self._packages, self._doing = 0, "pip"
        self._to_install = self._before = 0
        self._started = time.monotonic()
        self._live = sys.stdout.isatty()
        self._next = 0.0 if self._live else _SILENCE

    def read(self, line: str) -> None:
        """Take over what pip does, if a line of its output says so."""
        words = line.split()
        if line.startswith("Installing collected packages"):
            self._to_install, self._before = len(words) - 3, _count_installed()
        elif words and words[0] in ("Collecting", "Downloading", "Building"):
            self._packages += words[0] == "Collecting"
            self._doing = " ".join(words[:2])

    def draw(self) -> None:
        """Show the time, the packages so far and what pip does, if that is due."""
        seconds = time.monotonic() - self._started
        if seconds < self._next:
            return
        self._next = seconds + (0.5 if self._live else _SILENCE)
        if self._to_install:
            done = _count_installed() - self._before
            text = translate(f"{seconds:.0f} s, {done} of {self._to_install} packages installed")
        else:
            text = translate(f"{seconds:.0f} s, {self._packages} packages found: {self._doing}")
        if self._live:
            print(f"\r\033[K      {text[: shutil.get_terminal_size().columns - 10]}", end="")
        else:
            print(f"      {text}")
        sys.stdout.flush()

    def close(self) -> None:
        """Clear the line."""
        if self._live:
            print("\r\033[K", end="", flush=True)


def _count_installed() -> int:
    """The number of packages that are installed in this environment."""
    return len(list(Path(sysconfig.get_path("purelib")).glob("*.dist-info")))


def install(packages: list[str]) -> str:
    """Install packages with pip.

    Returns:
        The reason why they could not be installed; "" if they were.
    """
    command = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check"]
    command += ["--progress-bar", "off", "--retries", "2", "-c", "constraints.txt", *packages]
    progress, output = Progress(), list[str]()

    def read(lines: Iterable[str]) -> None:
        for line in lines:
            output.append(line)
            progress.read(line)

    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as pip:
        reader = threading.Thread(target=read, args=[pip.stdout])
        reader.start()
        while reader.is_alive():
            progress.draw()
            reader.join(0.2)
    progress.close()
    if not pip.returncode:
        return ""
    if any(sign in line for line in output for sign in _NO_NETWORK):
        return translate(
            "The package index cannot be reached. Check the network, or name another index with "
            "PIP_INDEX_URL or a proxy with HTTPS_PROXY; then run the command again: what was "
            "downloaded is kept."
        )
    problems = [line.strip() for line in output if line.startswith(_REASONS)]
    return "\n".join(problems[-3:]) or translate(f"pip ended with status {pip.returncode}.")


def main() -> int:
    """Install everything, step by step; the exit status."""
    use_language(preferred_language(ROOT))
    started = time.monotonic()
    print(translate(f"Installing Moli into {sys.prefix} (once; two to ten minutes)"), flush=True)
    for number, (what, packages) in enumerate(STEPS, 1):
        print(f"[{number}/{len(STEPS)}] {translate(what)}", flush=True)
        if problem := install(packages):
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
