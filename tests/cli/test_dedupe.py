"""`sora-search dedupe` as a person sees it."""

import json
import shutil
from pathlib import Path

from command_line import printed_json, sora_search
from PIL import Image

from sora_search.applications import deduplication
from sora_search.retrieval import judging


def test_dedupe_lists_groups_and_draws_them(place):
    shutil.copyfile("videos/mixed.mp4", "videos/again.mp4")
    assert sora_search("index", "videos", "clip.mp4", "-j1").exit_code == 0
    result = sora_search("dedupe", "--save", "pictures")
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[0].startswith("group 1: 2 files could go (")
    assert lines[1].startswith("  keep   videos/again.mp4  (")
    assert lines[2] == "  equal  videos/mixed.mp4"
    assert "clip.mp4  (" in lines[3]
    assert "of it shown" in lines[3]
    assert "verified: " in lines[4]
    assert lines[-1].startswith("1 group among 4 videos: 2 files could go (")
    assert result.stderr == "pictures in pictures: 1\n"
    with Image.open("pictures/001-01-clip.jpg") as picture:
        assert picture.size[0] > 300


def test_dedupe_gives_one_document(place):
    assert sora_search("index", "videos", "clip.mp4", "-j1").exit_code == 0
    document = printed_json("dedupe", "--json", "--min-score", "0.9")
    assert (document["num_videos"], document["num_left_out"]) == (4, 0)
    assert document["interrupted"] is False
    (group,) = document["groups"]
    (duplicate,) = group["duplicates"]
    assert group["kept"]["uri"].endswith("videos/mixed.mp4")
    assert duplicate["video"]["uri"].endswith("clip.mp4")
    assert duplicate["shown_by"] == group["kept"]["video_id"]
    assert group["spare_bytes"] == Path("clip.mp4").stat().st_size


def test_dedupe_says_so_where_there_is_none_and_names_what_is_left_out(place):
    assert sora_search("index", "videos", "-j1").exit_code == 0
    Path("videos/card.mp4").unlink()
    result = sora_search("dedupe")
    assert (result.exit_code, result.stdout) == (0, "no duplicates among 2 videos\n")
    assert result.stderr == "left out, as their files are gone: 1\n"


def test_dedupe_refuses_what_cannot_be(indexed, tmp_path):
    file = tmp_path / "file.jpg"
    file.write_bytes(b"")
    taken = sora_search("dedupe", "--save", file)
    assert (taken.exit_code, file.read_bytes()) == (2, b"")
    assert "is a file: name a folder" in taken.stderr
    much = sora_search("dedupe", "--min-coverage", "2")
    assert much.exit_code == 2
    assert "--min-coverage must be between 0 and 1" in much.stderr
    none = sora_search("dedupe", "--index", tmp_path / "none")
    assert none.exit_code == 4
    empty = tmp_path / "videos"
    empty.mkdir()
    assert sora_search("index", empty, "--index", tmp_path / "empty").exit_code == 0
    nothing = sora_search("dedupe", "--index", tmp_path / "empty")
    assert nothing.exit_code == 4
    assert "holds no video yet" in nothing.stderr


def test_ctrl_c_prints_what_was_found_until_then(place, monkeypatch):
    for number in range(3):
        shutil.copyfile("clip.mp4", f"videos/{number}.mp4")
        with Path(f"videos/{number}.mp4").open("ab") as file:
            file.write(b"\0\0\0\x0cfree" + number.to_bytes(4, "big"))  # same footage, other bytes
    assert sora_search("index", "videos", "-j1").exit_code == 0
    looked_at = []

    def interrupted_judge(*args: object, **options: object) -> judging.Judgment:
        looked_at.append(args)
        if len(looked_at) == 3:
            raise KeyboardInterrupt
        return judging.judge(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(deduplication, "judge", interrupted_judge)
    monkeypatch.setattr(deduplication, "num_cores", lambda: 1)
    result = sora_search("dedupe", "--json")
    assert result.exit_code == 130
    assert result.stderr == "interrupted: 5 of 6 videos were compared, what was found follows\n"
    document = json.loads(result.stdout)
    assert document["interrupted"] is True
    (group,) = document["groups"]
    assert len(group["duplicates"]) == 2
