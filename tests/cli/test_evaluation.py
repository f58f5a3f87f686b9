"""`sora-search evaluate`."""

import shutil
from pathlib import Path

from command_line import printed_json, sora_search
from PIL import Image

QUICK = ("--edits", "reencode", "--queries", "1", "--negatives", "1")


def four_videos() -> None:
    """The three of `indexed`, and another."""
    shutil.copyfile("clip.mp4", "videos/other.mp4")


def test_evaluate_prints_a_table_and_draws_a_diagram(indexed):
    four_videos()
    result = sora_search("evaluate", "--videos", "videos", *QUICK, "--save", "curve.png")
    assert result.exit_code == 0, result.stderr
    assert "videos indexed" in result.stdout
    assert "reencode" in result.stdout
    assert "recall at zero false reports" in result.stdout
    assert "by chance: 0.500" in result.stdout
    assert "curve.png" in result.stderr
    with Image.open("curve.png") as picture:
        assert picture.size[0] > 300


def test_evaluate_gives_one_document(indexed):
    four_videos()
    document = printed_json("evaluate", "--videos", "videos", *QUICK, "--keep", "kept", "--json")
    assert document["num_videos"] == 2
    assert [one["edit"] for one in document["edits"]] == ["reencode"]
    assert document["total"]["num"] == 1
    assert document["num_negatives"] == 1
    assert (Path("kept") / "index" / "manifest.json").exists()


def test_2_for_a_folder_with_few_videos_and_for_an_edit_that_is_none(indexed):
    Path("few").mkdir(exist_ok=True)
    shutil.copyfile("clip.mp4", "few/clip.mp4")
    few = sora_search("evaluate", "--videos", "few")
    assert few.exit_code == 2
    assert "holds 1 videos: give a folder with 4 or more" in few.stderr
    none = sora_search("evaluate", "--videos", "videos", "--queries", "0")
    assert none.exit_code == 2
    assert "--queries >= 1" in none.stderr
    unknown = sora_search("evaluate", "--videos", "videos", "--edits", "shrink")
    assert unknown.exit_code == 2
    assert "no edit 'shrink'" in unknown.stderr
