"""How far a long call has come: a bar on a terminal, now and then a line elsewhere."""

import sys
import time
from contextlib import AbstractContextManager, nullcontext

from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bar

from sora_search.cli.output import print_line
from sora_search.datatypes import OnProgress, Progress


def shown_progress(
    *, quiet: bool = False, line_every_s: float = 20.0
) -> AbstractContextManager[OnProgress]:
    """Draw the progress of one long call on stderr while the block lasts.

    Args:
        quiet: Draw nothing.
        line_every_s: Time between lines where stderr is no terminal.

    Returns:
        A context that gives the function to pass as `on_progress`. It can be entered again
        and then goes on: what is printed in between stands above the bar.
    """
    if quiet:
        return nullcontext(lambda progress: None)
    return _Bar() if sys.stderr.isatty() else nullcontext(_Lines(line_every_s).show)


class Pace:
    """Speed and time left of one phase, from the progress seen so far."""

    def __init__(self) -> None:
        self._phase = ""
        self._start = Progress("", 0, 0)
        self._started_at_s = 0.0

    def described(self, progress: Progress, now_s: float) -> str:
        """`14x real time, 0:03:10 left`; empty while nothing can be said.

        Args:
            progress: The newest progress.
            now_s: A clock that only goes on, in seconds.
        """
        if progress.phase != self._phase:
            self._phase, self._start, self._started_at_s = progress.phase, progress, now_s
        elapsed_s = now_s - self._started_at_s
        done, left = _amounts(progress, self._start)
        if elapsed_s <= 0 or done <= 0:
            return ""
        said = [f"{_duration(left * elapsed_s / done)} left"] if left > 0 else []
        if progress.done_s is not None:
            done_s = progress.done_s - (self._start.done_s or 0.0)
            said.insert(0, f"{done_s / elapsed_s:.1f}x real time")
        return ", ".join(said)


def _amounts(progress: Progress, start: Progress) -> tuple[float, float]:
    """What was done since the start and what is left: seconds of video where known, else things."""
    if progress.done_s is not None and progress.total_s:
        return progress.done_s - (start.done_s or 0.0), progress.total_s - progress.done_s
    return progress.num_done - start.num_done, progress.num_total - progress.num_done


def _duration(seconds: float) -> str:
    minutes, whole = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{whole:02}" if hours else f"{minutes}:{whole:02}"


class _Bar(AbstractContextManager[OnProgress]):
    """A bar that rich draws, with the line under the hand of `Pace`."""

    def __init__(self) -> None:
        self._pace = Pace()
        self._bar = Bar(
            TextColumn("{task.fields[phase]}"),
            BarColumn(),
            TextColumn("{task.fields[counts]}"),
            TextColumn("{task.fields[pace]}"),
            console=Console(stderr=True, highlight=False),
            transient=True,
        )
        self._task = self._bar.add_task("", phase="starting", counts="", pace="", total=None)

    def __enter__(self) -> OnProgress:
        self._bar.start()
        return self.show

    def __exit__(self, *exc_info: object) -> None:
        self._bar.stop()

    def show(self, progress: Progress) -> None:
        if progress.total_s and progress.done_s is not None:
            completed, total = progress.done_s, progress.total_s
        else:
            completed, total = float(progress.num_done), float(progress.num_total)
        self._bar.update(
            self._task,
            completed=completed,
            total=total,
            phase=progress.phase,
            counts=f"{progress.num_done}/{progress.num_total}",
            pace=self._pace.described(progress, time.monotonic()),
        )


class _Lines:
    """One plain line now and then, for logs."""

    def __init__(self, every_s: float) -> None:
        self._every_s = every_s
        self._pace = Pace()
        self._said_at_s = time.monotonic()

    def show(self, progress: Progress) -> None:
        now_s = time.monotonic()
        pace = self._pace.described(progress, now_s)
        if now_s - self._said_at_s >= self._every_s:
            self._said_at_s = now_s
            counts = f"{progress.num_done} of {progress.num_total}"
            print_line(f"{progress.phase}: {counts}{', ' + pace if pace else ''}", error=True)
