"""`sora-search verdict`, and the queries after it."""

import getpass
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from command_line import printed_json, sora_search

import sora_search as ss
from sora_search.index.catalog import CATALOG_NAME
from sora_search.media.probing import uri_of


def decide(video: str, decision: str, *options: str, query: str = "clip.mp4") -> str:
    """Add a verdict; what is said on stderr."""
    result = sora_search("verdict", "add", query, video, decision, *options)
    assert result.exit_code == 0, result.stderr
    return result.stderr


def results(query: str = "clip.mp4", *options: str) -> dict[str, dict[str, Any]]:
    """The results of a query by the stems of their files, in their order."""
    document = printed_json("query", query, "--json", *options)
    return {ss.path_of(result["uri"]).stem: result for result in document["results"]}


def copies() -> list[str]:
    """The stems of the copies of `clip.mp4`, in their order."""
    return list(results("clip.mp4", "--min-score", "0.5"))


def test_no_match_makes_a_copy_at_most_similar(indexed):
    assert results()["mixed"]["kind"] == "copy"
    decide("videos/mixed.mp4", "no-match")
    found = results()
    assert all(result["kind"] == "similar" for result in found.values())
    assert found["mixed"]["verdict"] == "no-match"
    assert found["mixed"]["matches"] == []
    assert results("clip.mp4", "--for", "copies") == {}
    assert "videos/mixed.mp4  (verdict: no-match)" in sora_search("query", "clip.mp4").stdout


def test_match_makes_a_copy_of_what_was_not_found(indexed):
    assert "card" not in copies()
    decide("videos/card.mp4", "match")
    found = results()
    assert list(found)[:2] == ["card", "mixed"]
    card = found["card"]
    assert (card["score"], card["kind"], card["verdict"]) == (1.0, "copy", "match")
    assert (card["coverage"], card["verified"], card["matches"]) == (0.0, None, [])
    assert found["mixed"]["verdict"] is None
    line = sora_search("query", "clip.mp4").stdout.splitlines()[1]
    assert line == "   1  1.000  copy          -   videos/card.mp4  (verdict: match)"


def test_a_verdict_is_printed_with_who_and_when(indexed):
    result = sora_search("verdict", "add", "clip.mp4", "videos/card.mp4", "no-match")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == "verdict 1: clip.mp4 -> videos/card.mp4: no-match\n"
    document = printed_json("verdict", "add", "clip.mp4", "videos/cells.mp4", "match", "--json")
    assert set(document) == {"schema", "verdict"}
    verdict = document["verdict"]
    assert set(verdict) == {
        *("verdict_id", "decision", "undoes", "state", "query_content_id", "query_uri"),
        *("video_content_id", "video_uri", "video_id", "decided_by", "decided_at"),
    }
    assert (verdict["verdict_id"], verdict["decision"], verdict["state"]) == (2, "match", "stands")
    assert verdict["query_uri"] == uri_of("clip.mp4")
    assert verdict["video_uri"] == uri_of("videos/cells.mp4")
    assert verdict["decided_by"] == getpass.getuser()


def test_a_contradictory_verdict_says_what_it_replaces(indexed):
    assert decide("videos/card.mp4", "match", "--by", "ann") == ""
    assert decide("videos/cells.mp4", "match", "--by", "ann") == ""
    said = decide("videos/card.mp4", "no-match", "--by", "bob")
    assert said.startswith("replaces verdict 1: match, by ann, 20")
    assert decide("videos/card.mp4", "match").startswith("replaces verdict 3: no-match, by bob, ")
    assert list(results())[:2] == ["card", "cells"]


def test_list_shows_the_log_or_what_is_about_one_query(indexed, tmp_path):
    assert sora_search("verdict", "list").stdout == "no verdicts\n"
    decide("videos/card.mp4", "match", "--by", "ann")
    decide("videos/card.mp4", "no-match", "--by", "bob")
    decide("videos/cells.mp4", "match", "--by", "ann", query="picture.png")
    assert sora_search("verdict", "undo", "2", "--by", "cid").exit_code == 0
    table = [line.split() for line in sora_search("verdict", "list").stdout.splitlines()]
    assert table[0] == ["id", "verdict", "state", "by", "at", "query", "->", "video"]
    assert table[1][:4] == ["1", "match", "stands", "ann"]
    assert table[2][:4] == ["2", "no-match", "undone", "bob"]
    assert table[3][-3:] == ["picture.png", "->", "videos/cells.mp4"]
    assert table[4][:6] == ["4", "undo", "of", "2", "-", "cid"]
    log = printed_json("verdict", "list", "clip.mp4", "--json")["verdicts"]
    assert [line["verdict_id"] for line in log] == [1, 2, 4]
    assert [line["undoes"] for line in log] == [None, None, 2]
    same = shutil.copy("clip.mp4", tmp_path / "same.mp4")
    assert printed_json("verdict", "list", same, "--json")["verdicts"] == log


def test_undo_brings_back_what_stood_before(indexed):
    decide("videos/card.mp4", "match", "--by", "ann")
    decide("videos/card.mp4", "no-match", "--by", "bob")
    result = sora_search("verdict", "undo", "2")
    assert (result.exit_code, result.stdout) == (
        0,
        "undid verdict 2: clip.mp4 -> videos/card.mp4: no-match\n",
    )
    assert result.stderr.startswith("what stands is verdict 1: match, by ann, 20")
    assert results()["card"]["verdict"] == "match"
    document = printed_json("verdict", "undo", "1", "--json")
    assert (document["verdict"]["undoes"], document["verdict"]["decision"]) == (1, None)
    assert "card" not in copies()
    assert len(printed_json("verdict", "list", "--json")["verdicts"]) == 4


def test_verdicts_survive_moves_and_renames_of_both_files(place):
    sora_search("index", "videos", "-j1")
    decide("videos/card.mp4", "match")
    decide("videos/mixed.mp4", "no-match")
    Path("elsewhere").mkdir()
    Path("clip.mp4").rename("elsewhere/query.mp4")
    Path("videos/card.mp4").rename("elsewhere/moved.mp4")
    assert sora_search("index", "videos", "elsewhere/moved.mp4", "-j1", "--prune").exit_code == 0
    found = results("elsewhere/query.mp4")
    assert found["moved"]["verdict"] == "match"
    assert found["mixed"]["kind"] == "similar"
    shown = sora_search("verdict", "list").stdout
    assert "clip.mp4 -> elsewhere/moved.mp4\n" in shown


def test_verdicts_sleep_while_their_video_is_not_in_the_index(place):
    sora_search("index", "videos", "-j1")
    decide("videos/card.mp4", "match")
    assert sora_search("remove", "videos/card.mp4").exit_code == 0
    assert "card" not in copies()
    shown = sora_search("verdict", "list").stdout
    assert shown.endswith("clip.mp4 -> videos/card.mp4  (not in the index)\n")
    assert sora_search("verdict", "add", "clip.mp4", "videos/card.mp4", "match").exit_code == 2
    Path("videos/card.mp4").rename("videos/again.mp4")
    assert printed_json("index", "videos", "-j1", "--json")["num_added"] == 1
    assert results()["again"]["verdict"] == "match"


def test_a_file_with_other_content_has_no_verdict(place):
    sora_search("index", "videos", "-j1")
    decide("videos/card.mp4", "match")
    with Path("clip.mp4").open("ab") as file:
        file.write(b"another content")
    assert "card" not in copies()
    assert results()["mixed"]["kind"] == "copy"


# Exit codes


def test_2_when_the_video_is_not_in_the_index(indexed):
    result = sora_search("verdict", "add", "clip.mp4", "videos/unknown.mp4", "match")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("error: 'videos/unknown.mp4' is not in the index at ")
    assert printed_json("verdict", "list", "--json")["verdicts"] == []


def test_1_when_the_query_is_no_video(indexed, tmp_path):
    (tmp_path / "text.mp4").write_text("this is no video")
    result = sora_search("verdict", "add", tmp_path / "text.mp4", "videos/card.mp4", "match")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "text.mp4" in result.stderr


@pytest.mark.parametrize("number", ["1", "2", "3", "9" * 20])
def test_2_when_there_is_nothing_to_undo(indexed, number):
    decide("videos/card.mp4", "match")
    sora_search("verdict", "undo", "1")
    result = sora_search("verdict", "undo", number)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("error: ")
    assert "sora-search verdict" in result.stderr


def test_1_when_another_process_writes_and_a_list_does_not_mind(indexed, tmp_path):
    decide("videos/card.mp4", "match")
    with ss.VideoIndex.open(tmp_path / "index_data", read_only=False):
        for command in (["add", "clip.mp4", "1", "match"], ["undo", "1"]):
            result = sora_search("verdict", *command)
            assert (result.exit_code, result.stdout) == (1, "")
            assert f"is being written by process {os.getpid()} on " in result.stderr
        assert len(printed_json("verdict", "list", "--json")["verdicts"]) == 1


def test_processes_that_decide_at_once_wait_for_one_another(indexed):
    command = [sys.executable, "-m", "sora_search", "verdict", "add", "clip.mp4", "1", "--wait"]
    processes = [
        subprocess.Popen([*command, decision, "--by", str(number)], stdout=subprocess.DEVNULL)
        for number, decision in enumerate(["match", "no-match", "match"])
    ]
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    log = printed_json("verdict", "list", "--json")["verdicts"]
    assert sorted(line["decided_by"] for line in log) == ["0", "1", "2"]
    assert [line["state"] for line in log] == ["replaced", "replaced", "stands"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["add", "clip.mp4", "1", "maybe"], "maybe"),
        (["add", "gone.mp4", "1", "match"], "no such file or folder: 'gone.mp4'"),
        (["add", "clip.mp4", "1", "match", "--by", " "], "--by must name somebody"),
        (["list", "gone.mp4"], "no such file or folder: 'gone.mp4'"),
        (["undo", "one"], "'ID'"),
        (["undo", "0"], "'ID'"),
        (["undo", "1", "--by", ""], "--by must name somebody"),
    ],
)
def test_2_when_an_argument_cannot_be_used(indexed, arguments, said):
    decide("1", "match")
    result = sora_search("verdict", *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert said in result.stderr
    assert len(printed_json("verdict", "list", "--json")["verdicts"]) == 1


def test_4_when_the_schema_is_older_until_it_is_upgraded(indexed, tmp_path):
    catalog = sqlite3.connect(tmp_path / "index_data" / CATALOG_NAME)
    with catalog:  # as the version before verdicts left it
        catalog.execute("DROP TABLE verdict")
        catalog.execute("UPDATE alembic_version SET version_num = '0001'")
    catalog.close()
    for command in (["query", "clip.mp4"], ["verdict", "list"], ["db", "current"]):
        result = sora_search(*command)
        assert result.exit_code == 4
        assert "sora-search db upgrade" in result.stdout + result.stderr
    assert sora_search("db", "upgrade").stdout == "0001 -> 0002\n"
    assert copies() == ["mixed"]
    decide("videos/card.mp4", "match")
    assert copies() == ["card", "mixed"]
