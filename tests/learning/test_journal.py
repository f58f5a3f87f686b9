"""The record of a training: rows, event files and a picture, and how it goes on."""

import json
from pathlib import Path

from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from sora_search.learning.journal import Journal

PHASES = ("copies", "meaning")


def written(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def recorded(folder: Path) -> Journal:
    journal = Journal(folder, PHASES, 0, 0)
    journal.start_phase("copies", 0)
    for step in range(0, 60, 20):
        journal.add(step, {"contrast": 3.0 - step / 20, "spread": 0.5})
    return journal


def test_rows_events_and_picture_tell_the_same(tmp_path: Path) -> None:
    journal = recorded(tmp_path)
    journal.draw()
    journal.close()
    assert written(tmp_path)[1] == {"phase": "copies", "step": 20, "contrast": 2.0, "spread": 0.5}
    events = EventAccumulator(str(tmp_path / "events" / "copies")).Reload()
    assert [(one.step, one.value) for one in events.Scalars("contrast")] == [
        (0, 3.0),
        (20, 2.0),
        (40, 1.0),
    ]
    with Image.open(tmp_path / "curves.png") as picture:
        assert picture.width >= 480


def test_what_is_done_again_is_written_once(tmp_path: Path) -> None:
    recorded(tmp_path).close()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"phase": "cop')  # killed within a row
    journal = Journal(tmp_path, PHASES, 0, 30)
    journal.start_phase("copies", 30)
    journal.add(40, {"contrast": 0.5})
    assert [(row["step"], row["contrast"]) for row in written(tmp_path)] == [
        (0, 3.0),
        (20, 2.0),
        (40, 0.5),
    ]
    journal.close()
    events = EventAccumulator(str(tmp_path / "events" / "copies")).Reload()
    assert [one.value for one in events.Scalars("contrast")] == [3.0, 2.0, 0.5]


def test_later_phases_keep_the_rows_of_earlier_ones(tmp_path: Path) -> None:
    recorded(tmp_path).close()
    journal = Journal(tmp_path, PHASES, 1, 0)
    journal.start_phase("meaning", 0)
    journal.add(0, {"meaning": float("nan")})
    journal.draw()
    journal.close()
    assert [row["phase"] for row in written(tmp_path)] == ["copies"] * 3 + ["meaning"]
