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
from moli.training.listeners.formatting import format_duration, format_value
from moli.training.listeners.statistics import ExponentialMean, RecentRates
from moli.translations.catalogue import translate

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live
    from rich.table import Table

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")  # a name must not work the terminal
_PERCENTS = (1, 2, 5, *range(10, 101, 10))
_MAX_SILENCE = 30.0  # seconds after which a plain line is due, whatever was done in them
_REDRAW_SECONDS = 0.1
_MIN_BAR, _MAX_BAR = 10, 36  # columns
# Names of metrics that steps have, too.
_HELD_OUT = {"loss": "held-out loss", "reward": "held-out reward"}
_STATUS_TEXTS = {
    "finished": "finished",
    "stopped_early": "stopped early (no more improvement)",
    "interrupted": "interrupted (can be resumed)",
    "failed": "failed",
}


class ProgressLine:
    """A line that is redrawn on a terminal, else a plain line now and then.

    Plain lines come at 1, 2, 5, 10, 20, ... 100% and after each 30 seconds. Rates and the time left
    are computed from the last steps, the loss is an exponential mean, and an evaluation shows its
    first metric that is not the loss.
    """

    def __init__(
        self, console: Console | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._console, self._clock = console, clock
        self._live: Live | None = None
        self._status: _RunStatus | None = None
        self._last_time, self._last_percent = -math.inf, 0.0  # of the last line

    def __call__(self, event: Event) -> None:
        try:
            self._handle(event)
        except OSError:  # nobody reads any more; what else is written must not end here too
            with suppress(OSError):
                self._close()
            self._status = None
            raise

    def _handle(self, event: Event) -> None:
        """Update the status of the run, and show the event."""
        if isinstance(event, RunStarted):
            self._show_start(event)
        elif self._status is not None:
            self._status.update(event)
            if isinstance(event, StepTaken):
                self._show_step(self._status)
            elif isinstance(event, Evaluated):
                self._show_evaluation(self._status, event)
            elif isinstance(event, RunEnded):
                self._show_end(self._status, event)

    def _show_start(self, event: RunStarted) -> None:
        """Begin to show a run, with a live line on a terminal."""
        from rich.live import Live

        self._close()
        if self._console is None:
            self._console = _stderr_console()
        self._status = _RunStatus(event)
        self._last_time = self._clock()
        self._last_percent = 100 * event.step / event.steps if event.steps else 100.0
        if self._console.is_terminal and not self._console.is_dumb_terminal:
            # Text that is printed to a pipe meanwhile is a result, and must stay there.
            redirect = sys.stdout.isatty()
            self._live = Live(console=self._console, auto_refresh=False, redirect_stdout=redirect)
            self._live.start()
        elif event.step:
            self._print(translate(f"resumed after step {event.step:,} of {event.steps:,}"))
        else:
            self._print(translate(f"training for {event.steps:,} steps"))

    def _show_step(self, status: _RunStatus) -> None:
        """Redraw the live line, or now and then print a plain one."""
        now = self._clock()
        elapsed, before = now - self._last_time, self._last_percent
        if self._live is not None:
            if elapsed >= _REDRAW_SECONDS or status.step == status.steps:
                self._last_time = now
                self._redraw(self._live, status)
            return
        percent = 100 * status.step / status.steps
        if elapsed >= _MAX_SILENCE or any(before < each <= percent for each in _PERCENTS):
            self._last_time, self._last_percent = now, percent
            count = translate(f"step {status.count} ({percent:.0f}%)")
            self._print(", ".join((count, *status.texts())))

    def _show_evaluation(self, status: _RunStatus, event: Evaluated) -> None:
        """Redraw the live line, or print the metrics."""
        if self._live is not None:
            self._redraw(self._live, status)
            return
        metrics = ", ".join(f"{name} {format_value(each)}" for name, each in event.metrics.items())
        best = ", the best so far" if event.best else ""
        self._print(translate(f"evaluated at step {event.step:,}: {metrics}{best}"))

    def _show_end(self, status: _RunStatus, event: RunEnded) -> None:
        """End the live line, and print how the run ended."""
        if self._live is not None:
            self._redraw(self._live, status)
        self._close()
        took = format_duration(status.seconds)
        alarm = event.result.get("alarm")
        text = f"stopped early ({alarm})" if alarm else _STATUS_TEXTS[event.status]
        end = f"{text} after step {event.step:,} of {status.steps:,}, in {took}"
        self._print(translate(end))

    def _redraw(self, live: Live, status: _RunStatus) -> None:
        """Draw the live line anew."""
        live.update(status.draw(live.console.width), refresh=True)

    def _print(self, text: str) -> None:
        """Print a line that begins with the run's name."""
        if self._console is not None and self._status is not None:
            self._console.print(f"{self._status.name}: {_remove_controls(text)}", soft_wrap=True)

    def _close(self) -> None:
        """End the live line, if there is one."""
        if self._live is not None:
            live, self._live = self._live, None
            live.stop()


class _RunStatus:
    """The state of a run, from its events so far.

    Attributes:
        name: the run's id without control characters.
        step, steps: steps taken, and those there will be in all.
    """

    def __init__(self, started: RunStarted) -> None:
        self.name = _remove_controls(started.run)
        self.step, self.steps = started.step, started.steps
        self._first_step = started.step
        self._rates, self._mean_loss = RecentRates(started.steps), ExponentialMean()
        self._loss = self._training_seconds = self._evaluation_seconds = 0.0
        self._evaluation = self._reward = ""

    def update(self, event: Event) -> None:
        if isinstance(event, StepTaken):
            self.step, self._loss, self._training_seconds = event.step, event.loss, event.seconds
            self._rates.add(event)
            self._mean_loss.add(event.loss)
            if "reward" in event.metrics:
                self._reward = f"{translate('reward')} {format_value(event.metrics['reward'])}"
        elif isinstance(event, Evaluated):
            self._evaluation_seconds += event.seconds
            name = main_metric(event.metrics)
            label = translate(_HELD_OUT[name]) if name in _HELD_OUT else _remove_controls(name)
            value = format_value(event.metrics[name]) if event.metrics else ""
            self._evaluation = f"{label} {value}" if event.metrics else ""

    @property
    def count(self) -> str:
        """The numbers of steps as text, such as "10/200"."""
        return f"{self.step:,}/{self.steps:,}"

    @property
    def seconds(self) -> float:
        """Time since the beginning, without evaluations before the run was resumed."""
        return self._training_seconds + self._evaluation_seconds

    @property
    def seconds_left(self) -> float:
        """Time left if steps are as fast as the last ones, and evaluations take the same share."""
        evaluation = self._evaluation_seconds / max(self.step - self._first_step, 1)
        return self._rates.seconds_left + (self.steps - self.step) * evaluation

    def texts(self) -> list[str]:
        """Loss or reward, time left, evaluation and rates as texts, the least important last."""
        # The mean leaves out a loss that is no number; a person must see it.
        loss = self._mean_loss.value if math.isfinite(self._loss) else self._loss
        # The loss of an algorithm that learns from rewards says nothing of its success.
        texts = [self._reward or translate(f"loss {format_value(loss)}")]
        left = self.seconds_left
        if self.step < self.steps and math.isfinite(left):
            total = format_duration(self.seconds + left)
            texts.append(translate(f"{format_duration(left)} left of {total}"))
        if self._evaluation:
            texts.append(self._evaluation)
        for rate, unit in (
            (self._rates.tokens_per_second, "tokens/s"),
            (self._rates.examples_per_second, "examples/s"),
        ):
            if math.isfinite(rate):
                number = f"{rate:,.0f}" if rate >= 100 else f"{rate:.3g}"
                texts.append(translate(f"{number} {unit}"))
        return texts

    def draw(self, width: int) -> Table:
        """The line for a terminal of `width` columns; texts without room are left out."""
        from rich.cells import cell_len
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        parts = [
            self.count,
            *(self.texts() if self.step > self._first_step else [translate("starting")]),
        ]
        gap = 2

        def bar_width(with_name: bool) -> int:
            used = sum(cell_len(part) + gap for part in parts)
            return width - used - (cell_len(self.name) + gap if with_name else 0) - 1

        with_name = True
        while bar_width(with_name) < _MIN_BAR and (with_name or len(parts) > 1):
            if with_name and len(parts) <= 3:
                with_name = False
            else:
                parts.pop()
        line = Table.grid(padding=(0, gap, 0, 0))
        columns = max(min(bar_width(with_name), _MAX_BAR), 4)
        bar = ProgressBar(self.steps, self.step, width=columns)
        texts = [
            Text(part, no_wrap=True, style="" if number else "bold")
            for number, part in enumerate(parts)
        ]
        line.add_row(*([Text(self.name, no_wrap=True)] if with_name else []), bar, *texts)
        return line


def _stderr_console() -> Console:
    """A console on standard error that raises BrokenPipeError if nobody reads it."""
    from rich.console import Console

    class Terminal(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError("nobody reads standard error")  # Console would end the process

    return Terminal(stderr=True, highlight=False, markup=False)


def _remove_controls(text: str) -> str:
    """The text without control characters, which could change the terminal."""
    return _CONTROL.sub(" ", text)
