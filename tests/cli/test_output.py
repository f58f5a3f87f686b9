import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sora_search.cli.output import (
    about_file_line,
    answer_document,
    answer_lines,
    failure_document,
    format_bytes,
    print_json,
    print_json_line,
    print_line,
    printable,
    report_lines,
    table_lines,
)
from sora_search.datatypes import (
    Evidence,
    FoundEdit,
    IndexReport,
    Match,
    SearchAnswer,
    SearchResult,
    TimeSpan,
    VideoFailure,
    VideoInfo,
)

QUERY = VideoInfo("file:///q.mp4", 8.0, 320, 240, "h264", None)
COPY = SearchResult(
    video_id=7,
    uri="file:///v.mp4",
    other_uris=("file:///w.mp4",),
    missing=False,
    score=0.97,
    kind="copy",
    coverage=0.93,
    verified=True,
    matches=(
        Match(
            TimeSpan(3.0, 7.5),
            TimeSpan(761.0, 765.5),
            0.95,
            True,
            "mirrored",
            evidence=Evidence("all agree", 0.8, 90, 0.75),
        ),
        Match(TimeSpan(0.0, 1.0), TimeSpan(7.0, 8.0), 0.2, False, shared_with=3),
    ),
)
PICTURE = SearchResult(
    video_id=8,
    uri="file:///v.mp4",
    other_uris=(),
    missing=True,
    score=0.5,
    kind="similar",
    coverage=1.0,
    verified=None,
    matches=(Match(None, TimeSpan(1.0, 2.0), 0.5),),
    verdict="no-match",
)


def test_document_of_an_answer_has_the_shape_that_was_fixed(capsys):
    print_json(answer_document(SearchAnswer(QUERY, (COPY,))))
    assert json.loads(capsys.readouterr().out) == {
        "schema": 1,
        "query": {"uri": "file:///q.mp4", "duration_s": 8.0, "damage": None},
        "results": [
            {
                "video_id": 7,
                "uri": "file:///v.mp4",
                "other_uris": ["file:///w.mp4"],
                "missing": False,
                "score": 0.97,
                "kind": "copy",
                "coverage": 0.93,
                "verified": True,
                "verdict": None,
                "matches": [
                    {
                        "query_span": {"start_s": 3.0, "end_s": 7.5},
                        "video_span": {"start_s": 761.0, "end_s": 765.5},
                        "score": 0.95,
                        "verified": True,
                        "edit": "mirrored",
                        "shared_with": 0,
                        "evidence": {
                            "reason": "all agree",
                            "strength": 0.8,
                            "num_cells": 90,
                            "appearance": 0.75,
                            "motion": None,
                            "edit": None,
                        },
                    },
                    {
                        "query_span": {"start_s": 0.0, "end_s": 1.0},
                        "video_span": {"start_s": 7.0, "end_s": 8.0},
                        "score": 0.2,
                        "verified": False,
                        "edit": "",
                        "shared_with": 3,
                        "evidence": None,
                    },
                ],
            }
        ],
        "rejected": [],
    }


def test_a_document_has_no_more_digits_than_are_known(capsys):
    third = 1 / 3
    document = {
        "query": {"duration_s": third, "damage": None},
        "results": [{"score": third, "matches": [{"query_span": {"start_s": third}}]}],
        "sampling": {"frames_per_s": third},
        "crop": [third, 1.0],
        "rate": third,
    }
    print_json(document)
    print_json_line(document)
    printed = capsys.readouterr().out
    one, line = printed.rsplit("\n", 2)[:2]
    assert json.loads(one) == json.loads(line)
    assert json.loads(line) == {
        "schema": 1,
        "query": {"duration_s": 0.333, "damage": None},
        "results": [{"score": 0.3333, "matches": [{"query_span": {"start_s": 0.333}}]}],
        "sampling": {"frames_per_s": third},
        "crop": [0.3333, 1.0],
        "rate": third,
    }


def test_table_of_an_answer_shows_every_range_on_both_sides():
    paths = {"file:///v.mp4": "v.mp4", "file:///w.mp4": "w.mp4"}
    lines = [line.plain for line in answer_lines(SearchAnswer(QUERY, (COPY, PICTURE)), paths)]
    assert lines == [
        "rank  score  kind     covered  file",
        "   1  0.970  copy        93%   v.mp4",
        "                               also w.mp4",
        "                               0:03.0-0:07.5 -> 12:41.0-12:45.5  verified: mirrored",
        "                               0:00.0-0:01.0 -> 0:07.0-0:08.0  frames differ"
        "  (shared with 3 other videos)",
        "   2  0.500  similar    100%   v.mp4  (missing)  (verdict: no-match)",
        "                               the picture -> 0:01.0-0:02.0  not verified",
    ]


def test_a_verdict_does_not_make_a_second_certain():
    unsure = Match(None, TimeSpan(1.0, 2.0), 0.085)
    sure = Match(None, TimeSpan(1.0, 2.0), 0.97, True, "same framing")
    for match, said in ((unsure, "not verified  (0.085 without the verdict)"), (sure, "framing")):
        result = replace(PICTURE, score=1.0, kind="copy", verdict="match", matches=(match,))
        lines = [
            line.plain for line in answer_lines(SearchAnswer(QUERY, (result,)), {PICTURE.uri: "v"})
        ]
        assert lines[-1].endswith(said)


def test_why_nothing_was_compared_is_said_without_being_asked():
    evidence = Evidence("its file is gone", 0.69)
    match = Match(None, TimeSpan(1.0, 2.0), 0.3, evidence=evidence)
    answer = SearchAnswer(QUERY, (replace(PICTURE, matches=(match,)),))
    lines = [line.plain for line in answer_lines(answer, {PICTURE.uri: "v.mp4"})]
    assert lines[-1].endswith("  not verified: its file is gone")


@pytest.mark.parametrize(
    ("num_cells", "said"), [(54, "54 places fit"), (0, "whole picture as it is")]
)
def test_an_explanation_says_what_was_compared(num_cells, said):
    whole = FoundEdit(np.eye(3), False, 1.0, (0.0, 0.0, 1.0, 1.0), (1.0, 1.0), 0.0, 1.0)
    evidence = Evidence("all agree", 0.69, num_cells, 1.0, 0.98, whole)
    match = Match(None, TimeSpan(1.0, 2.0), 0.9, True, "same framing", evidence=evidence)
    answer = SearchAnswer(QUERY, (replace(PICTURE, matches=(match,)),))
    lines = [line.plain for line in answer_lines(answer, {PICTURE.uri: "v.mp4"}, explain=True)]
    numbers = f"vectors 0.69, {said}, 100% looks alike, motion 0.98"
    assert lines[-1].strip() == f"all agree ({numbers})"


def test_where_nothing_is_a_copy_that_is_said_first():
    said = "no copy found; similar videos:"
    for results, is_said in (((PICTURE,), True), ((COPY, PICTURE), False)):
        answer = SearchAnswer(QUERY, results)
        paths = {"file:///v.mp4": "v.mp4", "file:///w.mp4": "w.mp4"}
        first, *others = [line.plain for line in answer_lines(answer, paths)]
        assert (first == said) is is_said
        assert said not in others
    headed = answer_lines(SearchAnswer(QUERY, (PICTURE,)), {PICTURE.uri: "v.mp4"}, head="clip.mp4")
    assert [line.plain for line in headed[:2]] == ["query clip.mp4", said]


def test_an_empty_answer_says_so():
    assert [line.plain for line in answer_lines(SearchAnswer(QUERY, ()), {})] == ["nothing found"]


def test_a_failed_query_is_a_line_that_names_the_error(capsys):
    error = OSError(28, "No space left on device", "/v.mp4")
    print_json_line(failure_document("file:///q.mp4", error))
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    assert json.loads(out) == {
        "schema": 1,
        "query": {"uri": "file:///q.mp4"},
        "error": {"type": "OSError", "reason": "No space left on device: '/v.mp4'"},
    }


def test_a_failed_file_is_named_once_and_shortly(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "v.mp4"
    line = about_file_line("failed", path, f"{str(path)!r} is empty: copy it again")
    assert line == "failed: 'v.mp4' is empty: copy it again"
    assert about_file_line("failed", path, "it hung") == "failed: v.mp4: it hung"


def test_report_counts_what_happened_and_nothing_else():
    failures = (VideoFailure("file:///x.mp4", "text"),)
    report = IndexReport(num_added=12, num_moved=1, num_vectors=1234, failures=failures)
    counted = ["12 files added, 1 moved, 1 failed", "1,234 vectors added"]
    assert report_lines(report, [Path("videos")]) == counted
    [*lines, left_out] = report_lines(replace(report, num_skipped=1), [Path("videos")])
    assert lines == counted
    assert left_out.startswith("1 file left out, not named like videos")
    assert report_lines(IndexReport(num_unchanged=1), [Path("videos")]) == ["1 file unchanged"]


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1"])
@given(text=st.text(st.characters(codec=None)))
def test_any_name_can_be_shown_on_any_terminal_in_one_line(encoding, text):
    shown = printable(text, encoding)
    shown.encode(encoding)
    assert shown.isprintable()


def test_print_line_neither_wraps_nor_reads_markup(capsys):
    print_line("[red]" + "x" * 500 + " y" * 100)
    out = capsys.readouterr().out
    assert out == "[red]" + "x" * 500 + " y" * 100 + "\n"


def test_columns_are_as_wide_as_their_widest_cell():
    rows = [("id", "file"), ("7", "a"), ("123", "bc")]
    assert table_lines(rows, right=frozenset({0})) == [" id  file", "  7  a", "123  bc"]


@pytest.mark.parametrize(
    ("size", "said"), [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (2_500_000, "2.5 MB")]
)
def test_sizes(size, said):
    assert format_bytes(size) == said
