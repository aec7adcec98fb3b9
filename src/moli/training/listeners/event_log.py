"""A run's events on disk, one JSON object per line."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Iterator, Mapping
from numbers import Integral, Real
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

from moli.records.errors import InputError
from moli.records.training import Evaluated, Event, RunEnded, RunStarted, StepTaken

EVENTS = "events.jsonl"
_KINDS: Mapping[str, type[Event]] = {
    "started": RunStarted,
    "step": StepTaken,
    "evaluated": Evaluated,
    "ended": RunEnded,
}
_NAMES = {kind: name for name, kind in _KINDS.items()}
_INTEGERS = {"step", "steps", "examples", "tokens", "supervised"}
_FLOATS = {"loss", "learning_rate", "gradient_norm", "seconds"}


class EventLog:
    """Appends each event to `events.jsonl` in the run's folder.

    A line has left the process when the listener returns, so a kill loses at most the line that
    was being written. When a run is resumed, lines from after the step it resumes from are removed
    first: a step that is taken again is in the file once.

    Attributes:
        name: the listener's name in warnings.
    """

    name: ClassVar[str] = "Curves"

    def __init__(self) -> None:
        self._file: BinaryIO | None = None

    def __call__(self, event: Event) -> None:
        if isinstance(event, RunStarted):
            self._close()
            path = Path(event.folder) / EVENTS
            path.parent.mkdir(parents=True, exist_ok=True)
            _remove_events_after(path, event.step)
            self._file = path.open("ab")
        if self._file is not None:
            self._file.write(_format_line(event))
            self._file.flush()
        if isinstance(event, RunEnded):
            self._close()

    def _close(self) -> None:
        """Close the file, if it is open."""
        if self._file is not None:
            self._file.close()
            self._file = None


def read_events(folder: Path) -> list[Event]:
    """The events of a run, in their order; none if it has written none.

    A last line that was cut off is left out.

    Raises:
        InputError: another line is not an event; the message has its number.
    """
    path = folder / EVENTS
    events = []
    for number, line in enumerate(_complete_lines(path), 1):
        try:
            events.append(_parse_line(line))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f"not an event of a run ({type(error).__name__}: {error})",
                where=f"{path}:{number}",
                fix="Remove this line; its step is then missing from the curves.",
            ) from error
    return events


def _complete_lines(path: Path) -> Iterator[bytes]:
    """Lines of a file that end with a line break; none if there is no file."""
    if path.exists():
        with path.open("rb") as file:
            yield from (line for line in file if line.endswith(b"\n"))


def _remove_events_after(path: Path, step: int) -> None:
    """Leave the events up to `step` in the file; none if the run begins anew."""
    partial = path.with_name(f"{EVENTS}.partial")
    with partial.open("wb") as file:
        lines = _complete_lines(path)
        file.writelines(line for line in lines if step and _is_event_until(line, step))
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def _is_event_until(line: bytes, step: int) -> bool:
    """Whether a line has an event that happened up to `step`."""
    try:
        event = _parse_line(line)
    except (ValueError, KeyError, TypeError, AttributeError):
        return False  # a line that a loss of power has damaged
    # A `RunStarted` at this very step is dropped: its attempt took no step.
    return event.step < step if isinstance(event, RunStarted) else event.step <= step


def _format_line(event: Event) -> bytes:
    """An event as a line of JSON."""
    fields = {field.name: getattr(event, field.name) for field in dataclasses.fields(event)}
    row = {"event": _NAMES[type(event)]} | to_json_value(fields)
    # A lone surrogate, which UTF-8 cannot hold, becomes the escape that JSON has for it.
    return json.dumps(row, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"


def _parse_line(line: bytes) -> Event:
    """The event in a line that `_format_line` wrote."""
    row = json.loads(line)
    kind = _KINDS[row["event"]]
    return kind(
        **{
            field.name: _parse_field(field.name, row[field.name])
            for field in dataclasses.fields(kind)
            if field.name in row or field.default_factory is dataclasses.MISSING
        }
    )


def _parse_field(name: str, value: Any) -> Any:
    """A field's value, numbers in the type that the field has."""
    if name in _INTEGERS:
        return int(value)
    if name in _FLOATS:
        return float(value)
    if name == "metrics":
        return {key: float(metric) for key, metric in value.items()}
    return value


def to_json_value(value: Any) -> Any:
    """A value in the types of JSON.

    A number that is not finite becomes 'nan', 'inf' or '-inf', which `float` reads and every JSON
    reader accepts; a value of a type that JSON does not have becomes its text.
    """
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        return float(value) if math.isfinite(value) else str(float(value))
    if isinstance(value, Mapping):
        return {str(key): to_json_value(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_json_value(item) for item in value]
    return str(value)
