"""A run's events on disk, one JSON object per line."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Iterator, Mapping
from numbers import Integral, Real
from pathlib import Path
from typing import Any, BinaryIO

from moli.records.errors import InputError
from moli.records.training import Evaluated, Event, RunEnded, RunStarted, StepTaken

FILE = "events.jsonl"
_KINDS: Mapping[str, type[Event]] = {
    "started": RunStarted,
    "step": StepTaken,
    "evaluated": Evaluated,
    "ended": RunEnded,
}
_NAMES = {kind: name for name, kind in _KINDS.items()}
_INTEGERS = {"step", "steps", "examples", "tokens", "supervised"}
_FLOATS = {"loss", "learning_rate", "gradient_norm", "seconds"}


class Curves:
    """Appends each event to `events.jsonl` in the run's folder.

    A line has left the process when the listener returns, so a kill loses at most the line that
    was being written. When a run is resumed, what was written after the step it resumes from is
    removed first: a step that is taken again is in the file once.
    """

    def __init__(self) -> None:
        self._file: BinaryIO | None = None

    def __call__(self, event: Event) -> None:
        if isinstance(event, RunStarted):
            self._close()
            path = Path(event.folder) / FILE
            path.parent.mkdir(parents=True, exist_ok=True)
            _keep_until(path, event.step)
            self._file = path.open("ab")
        if self._file is not None:
            self._file.write(_line(event))
            self._file.flush()
        if isinstance(event, RunEnded):
            self._close()

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def read_events(folder: Path) -> list[Event]:
    """The events of a run, in their order; none if it has written none.

    A last line that was cut off is left out.

    Raises:
        InputError: another line is not an event; the message has its number.
    """
    path = folder / FILE
    found = []
    for number, line in enumerate(_lines(path), 1):
        try:
            found.append(_event(line))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f"not an event of a run ({type(error).__name__}: {error})",
                where=f"{path}:{number}",
                fix="Remove this line; its step is then missing from the curves.",
            ) from error
    return found


def _lines(path: Path) -> Iterator[bytes]:
    """Lines that were written to their end."""
    if path.exists():
        with path.open("rb") as file:
            yield from (line for line in file if line.endswith(b"\n"))


def _keep_until(path: Path, step: int) -> None:
    """Leave in the file what happened up to `step`; nothing if the run begins anew."""
    partial = path.with_name(f"{FILE}.partial")
    with partial.open("wb") as file:
        file.writelines(line for line in _lines(path) if step and _happened_by(line, step))
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def _happened_by(line: bytes, step: int) -> bool:
    try:
        event = _event(line)
    except (ValueError, KeyError, TypeError, AttributeError):
        return False  # a line that a loss of power has damaged
    # An attempt that began at this very step has left nothing behind but that it began.
    return event.step < step if isinstance(event, RunStarted) else event.step <= step


def _line(event: Event) -> bytes:
    fields = {each.name: getattr(event, each.name) for each in dataclasses.fields(event)}
    row = {"event": _NAMES[type(event)]} | plain(fields)
    # A lone surrogate, which UTF-8 cannot hold, becomes the escape that JSON has for it.
    return json.dumps(row, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"


def _event(line: bytes) -> Event:
    row = json.loads(line)
    kind = _KINDS[row["event"]]
    return kind(
        **{each.name: _read(each.name, row[each.name]) for each in dataclasses.fields(kind)}
    )


def _read(name: str, value: Any) -> Any:
    if name in _INTEGERS:
        return int(value)
    if name in _FLOATS:
        return float(value)
    if name == "metrics":
        return {key: float(each) for key, each in value.items()}
    return value


def plain(value: Any) -> Any:
    """A value as JSON has it. What is not finite becomes 'nan', 'inf' or '-inf', which
    `float` reads and every JSON reader accepts; what JSON does not know becomes its text.
    """
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        return float(value) if math.isfinite(value) else str(float(value))
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return str(value)
