"""One live line on standard error: progress, loss, speed and time left."""

from __future__ import annotations

import math
import re
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from moli.metrics.main import main_metric
from moli.records.training import Evaluated, Event, RunEnded, RunStarted, StepTaken
from moli.training.listeners.figures import ExponentialMean, Pace, duration, figure

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live
    from rich.table import Table

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")  # a name must not work the terminal
_PERCENTS = (1, 2, 5, *range(10, 101, 10))
_SILENCE = 30.0  # seconds after which a plain line is due, whatever was done in them
_REDRAWN = 0.1  # seconds
_BAR = (10, 36)  # columns, at least and at most
_ENDS = {
    "finished": "finished",
    "stopped_early": "stopped early (no more improvement)",
    "interrupted": "interrupted (can be resumed)",
    "failed": "failed",
}


class ProgressLine:
    """A line that is redrawn where there is a terminal, else a plain line now and then:
    at 1, 2, 5, 10, 20, ... 100% and after each 30 seconds.

    Rates and the time left are those of the last steps, the loss is an exponential mean, and an
    evaluation shows its first metric that is not the loss.
    """

    def __init__(
        self, console: Console | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._console, self._clock = console, clock
        self._live: Live | None = None
        self._state: _State | None = None
        self._spoken = (-math.inf, 0.0)  # when, and the percentage then

    def __call__(self, event: Event) -> None:
        try:
            self._tell(event)
        except OSError:  # nobody reads any more; what else is written must not end here too
            with suppress(OSError):
                self._close()
            self._state = None
            raise

    def _tell(self, event: Event) -> None:
        if isinstance(event, RunStarted):
            self._begin(event)
        elif self._state is not None:
            self._state.hear(event)
            if isinstance(event, StepTaken):
                self._show(self._state)
            elif isinstance(event, Evaluated):
                self._judged(self._state, event)
            elif isinstance(event, RunEnded):
                self._end(self._state, event)

    def _begin(self, event: RunStarted) -> None:
        from rich.live import Live

        self._close()
        if self._console is None:
            self._console = _terminal()
        self._state = _State(event)
        done = 100 * event.step / event.steps if event.steps else 100.0
        self._spoken = (self._clock(), done)
        if self._console.is_terminal and not self._console.is_dumb_terminal:
            # What is printed to a pipe meanwhile is a result, and not to be moved to here.
            both = sys.stdout.isatty()
            self._live = Live(console=self._console, auto_refresh=False, redirect_stdout=both)
            self._live.start()
        elif event.step:
            self._say(f"resumed after step {event.step:,} of {event.steps:,}")
        else:
            self._say(f"training for {event.steps:,} steps")

    def _show(self, state: _State) -> None:
        now = self._clock()
        then, before = self._spoken
        if self._live is not None:
            if now - then >= _REDRAWN or state.step == state.steps:
                self._spoken = (now, before)
                self._live.update(state.drawn(self._live.console.width), refresh=True)
            return
        done = 100 * state.step / state.steps
        if now - then >= _SILENCE or any(before < each <= done for each in _PERCENTS):
            self._spoken = (now, done)
            self._say(", ".join((f"step {state.count} ({done:.0f}%)", *state.told())))

    def _judged(self, state: _State, event: Evaluated) -> None:
        if self._live is not None:
            self._live.update(state.drawn(self._live.console.width), refresh=True)
            return
        metrics = ", ".join(f"{name} {figure(value)}" for name, value in event.metrics.items())
        best = ", the best so far" if event.best else ""
        self._say(f"evaluated at step {event.step:,}: {metrics}{best}")

    def _end(self, state: _State, event: RunEnded) -> None:
        if self._live is not None:
            self._live.update(state.drawn(self._live.console.width), refresh=True)
        self._close()
        took = duration(state.seconds)
        self._say(f"{_ENDS[event.status]} after step {event.step:,} of {state.steps:,}, in {took}")

    def _say(self, words: str) -> None:
        if self._console is not None and self._state is not None:
            self._console.print(f"{self._state.name}: {_clean(words)}", soft_wrap=True)

    def _close(self) -> None:
        if self._live is not None:
            live, self._live = self._live, None
            live.stop()


class _State:
    """What the line shows."""

    def __init__(self, started: RunStarted) -> None:
        self.name = _clean(started.run)
        self.step, self.steps = started.step, started.steps
        self._begun = started.step
        self._pace, self._mean = Pace(started.steps), ExponentialMean()
        self._loss = self._training = self._evaluating = 0.0
        self._judged = ""

    def hear(self, event: Event) -> None:
        if isinstance(event, StepTaken):
            self.step, self._loss, self._training = event.step, event.loss, event.seconds
            self._pace.add(event)
            self._mean.add(event.loss)
        elif isinstance(event, Evaluated):
            self._evaluating += event.seconds
            name = main_metric(event.metrics)
            shown = "held-out loss" if name == "loss" else _clean(name)
            self._judged = f"{shown} {figure(event.metrics[name])}" if event.metrics else ""

    @property
    def count(self) -> str:
        return f"{self.step:,}/{self.steps:,}"

    @property
    def seconds(self) -> float:
        """Since the beginning; of the evaluations before a resumption nothing is known."""
        return self._training + self._evaluating

    @property
    def left(self) -> float:
        """Seconds: steps as fast as the last ones, and evaluations in the share that they had."""
        evaluating = self._evaluating / max(self.step - self._begun, 1)
        return self._pace.seconds_left + (self.steps - self.step) * evaluating

    def told(self) -> list[str]:
        """Figures in words, those without which one can best do last."""
        # The mean bears a loss that is no number; a person must see it.
        loss = self._mean.value if math.isfinite(self._loss) else self._loss
        told = [f"loss {figure(loss)}"]
        if self.step < self.steps and math.isfinite(self.left):
            told.append(f"{duration(self.left)} left of {duration(self.seconds + self.left)}")
        if self._judged:
            told.append(self._judged)
        for rate, unit in (
            (self._pace.tokens_per_second, "tokens/s"),
            (self._pace.examples_per_second, "examples/s"),
        ):
            if math.isfinite(rate):
                told.append(f"{rate:,.0f} {unit}" if rate >= 100 else f"{rate:.3g} {unit}")
        return told

    def drawn(self, width: int) -> Table:
        """The line for a terminal of `width` columns; what finds no room is left out."""
        from rich.cells import cell_len
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        told = self.told() if self.step > self._begun else ["starting"]
        parts = [self.count, *told]
        gap = 2

        def room(named: bool) -> int:
            used = sum(cell_len(each) + gap for each in parts)
            return width - used - (cell_len(self.name) + gap if named else 0) - 1

        named = True
        while room(named) < _BAR[0] and (named or len(parts) > 1):
            if named and len(parts) <= 3:
                named = False
            else:
                parts.pop()
        line = Table.grid(padding=(0, gap, 0, 0))
        bar = ProgressBar(self.steps, self.step, width=max(min(room(named), _BAR[1]), 4))
        texts = [
            Text(each, no_wrap=True, style="" if n else "bold") for n, each in enumerate(parts)
        ]
        line.add_row(*([Text(self.name, no_wrap=True)] if named else []), bar, *texts)
        return line


def _terminal() -> Console:
    from rich.console import Console

    class Terminal(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError("nobody reads standard error")  # Console would end the process

    return Terminal(stderr=True, highlight=False, markup=False)


def _clean(words: str) -> str:
    return _CONTROL.sub(" ", words)
