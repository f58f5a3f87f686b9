"""`sora-search evaluate`."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from command_line import printed_json, sora_search
from interrupting import heed_interrupts
from PIL import Image

QUICK = ("--edits", "reencode", "--queries", "1", "--negatives", "1")


def four_videos() -> None:
    """The three of `place`, and another."""
    shutil.copyfile("clip.mp4", "videos/other.mp4")


def test_evaluate_prints_a_table_and_draws_a_diagram(place):
    four_videos()
    result = sora_search("evaluate", "--videos", "videos", *QUICK, "--save", "curve.png")
    assert result.exit_code == 0, result.stderr
    assert "videos indexed" in result.stdout
    assert "reencode" in result.stdout
    assert "recall at zero false reports" in result.stdout
    assert "0.21-1.00" in result.stdout  # of one query nothing better is known
    assert "by chance 0.500" in result.stdout
    assert result.stderr == "picture: curve.png\n"
    with Image.open("curve.png") as picture:
        assert picture.size[0] > 300


def test_evaluate_gives_one_document(place):
    four_videos()
    document = printed_json("evaluate", "--videos", "videos", *QUICK, "--keep", "kept", "--json")
    assert document["num_videos"] == 2
    assert [one["edit"] for one in document["edits"]] == ["reencode"]
    assert document["total"]["num"] == 1
    assert document["num_negatives"] == 1
    assert (document["interrupted"], document["num_failed"]) == (False, 0)
    assert (Path("kept") / "index" / "manifest.json").exists()
    (piece,) = Path("kept/queries").iterdir()
    assert piece.name.endswith("-reencode.mp4")


def test_3_where_a_video_cannot_be_read_and_the_others_are_measured(place):
    four_videos()
    shutil.copytree("videos", "some")
    Path("some/broken.mp4").write_text("no video")
    result = sora_search("evaluate", "--videos", "some", *QUICK, "--edits", "pip")
    assert result.exit_code == 3
    assert "pip" in result.stdout
    assert result.stderr.count("failed: 'some/broken.mp4'") == 1


def test_1_where_no_video_can_be_read(place):
    Path("broken").mkdir()
    for number in range(4):
        Path(f"broken/{number}.mp4").write_text("no video")
    result = sora_search("evaluate", "--videos", "broken")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "none of the 2 videos drawn could be indexed" in result.stderr


def test_2_for_a_picture_that_cannot_be_written_before_anything_is_measured(place):
    four_videos()
    for save in ("none/curve.png", "curve.pdf"):
        result = sora_search("evaluate", "--videos", "videos", "--save", save, "--keep", "unused")
        assert result.exit_code == 2
        assert f"--save '{save}'" in result.stderr
    assert not Path("unused").exists()


def test_130_after_ctrl_c_with_what_was_measured_and_nothing_left_behind(place, tmp_path):
    four_videos()
    (tmp_path / "temporary").mkdir()
    command = [sys.executable, "-m", "sora_search", "evaluate", "--videos", "videos"]
    command += ["--keep", str(tmp_path / "kept"), "--json"]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path / "temporary")},
        preexec_fn=heed_interrupts,
    )
    deadline = time.monotonic() + 60
    # The second query is written when the first one is measured.
    while time.monotonic() < deadline and process.poll() is None:
        if len(list(tmp_path.glob("kept/queries/*"))) >= 2:
            break
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "interrupted: what was measured until then follows" in err
    assert "Traceback" not in err
    document = json.loads(out)
    assert document["interrupted"] is True
    assert 1 <= document["total"]["num"] < 40
    assert list((tmp_path / "temporary").glob("sora-search-*")) == []


def test_2_for_a_folder_with_few_videos_and_for_an_edit_that_is_none(place):
    Path("few").mkdir(exist_ok=True)
    shutil.copyfile("clip.mp4", "few/clip.mp4")
    few = sora_search("evaluate", "--videos", "few")
    assert few.exit_code == 2
    assert "holds 1 video: give a folder with 4 or more" in few.stderr
    none = sora_search("evaluate", "--videos", "videos", "--queries", "0")
    assert none.exit_code == 2
    assert "--queries >= 1" in none.stderr
    unknown = sora_search("evaluate", "--videos", "videos", "--edits", "shrink")
    assert unknown.exit_code == 2
    assert "no edit 'shrink'" in unknown.stderr
