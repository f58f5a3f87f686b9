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
