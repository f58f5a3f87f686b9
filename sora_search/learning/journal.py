"""What a training tells while it runs: numbers, event files for TensorBoard, and a picture.

metrics.jsonl    a row for each step that is written down
events/PHASE/    the same for `tensorboard --logdir`
curves.png       the same drawn: a row a phase, a curve for each term of its loss
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter

from sora_search.media.rendering import PictureRow, draw_curve, write_side_by_side

EVERY_STEPS = 20
"""Steps between two rows."""


class Journal:
    """The record of one run, which goes on where the run goes on.

    Args:
        folder: Of the run.
        phases: Their names, in order.
        phase_index: The phase at which the run stands.
        step: The next step of that phase: what was written from there on is written again.
    """

    def __init__(self, folder: Path, phases: Sequence[str], phase_index: int, step: int) -> None:
        self._folder = folder
        self._path = folder / "metrics.jsonl"
        order = {name: place for place, name in enumerate(phases)}
        self._rows = [
            row
            for row in _read_rows(self._path)
            if (order.get(row["phase"], -1), row["step"]) < (phase_index, step)
        ]
        self._path.write_text("".join(json.dumps(row) + "\n" for row in self._rows))
        self._events: SummaryWriter | None = None

    def start_phase(self, name: str, step: int) -> None:
        """Write of this phase from now on, whose next step this is."""
        self.close()
        self._phase = name
        self._events = SummaryWriter(str(self._folder / "events" / name), purge_step=step)

    def add(self, step: int, terms: Mapping[str, float]) -> None:
        """Note the terms of the loss of a step."""
        assert self._events is not None
        row = {"phase": self._phase, "step": step}
        row |= {name: round(value, 5) for name, value in terms.items()}
        self._rows.append(row)
        with self._path.open("a") as file:
            file.write(json.dumps(row) + "\n")
        for name, value in terms.items():
            self._events.add_scalar(name, value, step)

    def draw(self) -> None:
        """Bring event files and picture up to date."""
        if self._events is not None:
            self._events.flush()
        curves: dict[str, dict[str, list[tuple[float, float]]]] = {}
        for row in self._rows:
            of_phase = curves.setdefault(row["phase"], {})
            for name, value in row.items():
                if name not in ("phase", "step"):
                    of_phase.setdefault(name, []).append((row["step"], value))
        pictures = [
            PictureRow(phase, [(_caption(name, points), draw_curve(points)) for name, points in of])
            for phase, of in ((phase, list(terms.items())) for phase, terms in curves.items())
        ]
        if pictures:
            write_side_by_side(self._folder / "curves.png", pictures)

    def close(self) -> None:
        """Close the event file."""
        if self._events is not None:
            self._events.close()
            self._events = None


def _caption(name: str, points: Sequence[tuple[float, float]]) -> str:
    return f"{name}  {points[0][1]:.3g} -> {points[-1][1]:.3g}"


def _read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a file that may end within one, as a kill leaves it."""
    rows = []
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return rows
