import os
import pty
import subprocess
import sys

import pytest
from terminal import everything_from

from sora_search.cli.progress import Pace, shown_progress
from sora_search.datatypes import Progress


def test_speed_is_a_multiple_of_real_time_and_time_left_follows_from_it():
    pace = Pace()
    assert pace.described(Progress("embedding", 0, 4, 0.0, 400.0), now_s=50.0) == ""
    said = pace.described(Progress("embedding", 1, 4, 100.0, 400.0), now_s=60.0)
    assert said == "10.0x real time, 0:30 left"


def test_work_that_is_not_video_is_counted_in_things():
    pace = Pace()
    pace.described(Progress("chain", 1000, 8000), now_s=0.0)
    assert pace.described(Progress("chain", 1100, 8000), now_s=60.0) == "1:09:00 left"


def test_a_new_phase_starts_a_new_pace():
    pace = Pace()
    pace.described(Progress("reading", 0, 10), now_s=0.0)
    pace.described(Progress("reading", 10, 10), now_s=1.0)
    assert pace.described(Progress("embedding", 0, 10, 0.0, 100.0), now_s=100.0) == ""
    said = pace.described(Progress("embedding", 1, 10, 10.0, 100.0), now_s=101.0)
    assert said == "10.0x real time, 0:09 left"


def test_at_the_end_nothing_is_left():
    pace = Pace()
    pace.described(Progress("saving", 0, 2), now_s=0.0)
    assert pace.described(Progress("saving", 2, 2), now_s=1.0) == ""


def test_nothing_is_drawn_where_nobody_watches(capsys):
    with shown_progress() as on_progress:
        on_progress(Progress("embedding", 1, 4, 100.0, 400.0))
    with shown_progress(quiet=True) as on_progress:
        on_progress(Progress("embedding", 1, 4, 100.0, 400.0))
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""


def test_a_log_gets_a_line_now_and_then(capsys):
    with shown_progress(line_every_s=0.0) as on_progress:
        on_progress(Progress("embedding", 0, 4, 0.0, 400.0))
        on_progress(Progress("embedding", 1, 4, 100.0, 400.0))
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = captured.err.splitlines()
    assert lines[0] == "embedding: 0 of 4"
    assert lines[1].startswith("embedding: 1 of 4, ")
    assert lines[1].endswith("x real time, 0:00 left")


@pytest.mark.parametrize("no_color", [True, False])
def test_a_terminal_gets_a_bar_with_colors_unless_they_are_refused(no_color):
    code = """
import time
from sora_search.cli.progress import shown_progress
from sora_search.datatypes import Progress
with shown_progress() as on_progress:
    for i in range(3):
        on_progress(Progress("embedding", i, 4, i * 100.0, 400.0))
        time.sleep(0.2)
print("the result")
"""
    environ = {**os.environ, "TERM": "xterm-256color", "NO_COLOR": "1" if no_color else ""}
    terminal, stderr = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=stderr, env=environ
    ) as process:
        os.close(stderr)
        drawn = everything_from(terminal)
        assert process.communicate() == (b"the result\n", None)
    assert process.returncode == 0
    assert "embedding" in drawn
    assert "2/4" in drawn
    assert "x real time" in drawn
    assert ("\x1b[38" in drawn) is not no_color


def test_a_display_that_is_entered_again_goes_on(capsys):
    shown = shown_progress(line_every_s=0.0)
    for num_done in range(3):
        with shown as on_progress:
            on_progress(Progress("queries", num_done, 4))
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "queries: 0 of 4"
    assert lines[2].startswith("queries: 2 of 4, ")
