"""Which ranges are told: each once, and what frames say about them."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest
from acted_scene import RATE, scene
from made_library import Library

from sora_search.datatypes import Evidence, Match, TimeSpan
from sora_search.errors import VideoDecodeError
from sora_search.media.clips import resize_frames
from sora_search.media.writing import write_video
from sora_search.retrieval import judging, looking
from sora_search.retrieval.alignment import AlignedSpan
from sora_search.retrieval.deciding import Verification
from sora_search.retrieval.footage import FootageReader, Sides
from sora_search.retrieval.judging import judge, max_looks
from sora_search.retrieval.looking import Pair
from sora_search.retrieval.ranges import MOST_RANGES, FoundRange, without_echoes
from sora_search.retrieval.scoring import COPY_SCORE, MATCH_STRENGTH
from sora_search.retrieval.windows import Rectangle


def found(
    rows: tuple[float, float] | None, columns: tuple[float, float], strength: float
) -> FoundRange:
    row_span = TimeSpan(*rows) if rows else None
    return FoundRange(AlignedSpan(row_span, TimeSpan(*columns), 0.1, 0.1), strength)


def watched_looks(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, object]]:
    """The options of every look at frames from now on."""
    looks: list[dict[str, object]] = []
    verify = looking.verify_match

    def watched(*sides: object, **options: object) -> Verification:
        looks.append(options)
        return verify(*sides, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(looking, "verify_match", watched)
    return looks


def test_a_range_that_two_views_see_is_kept_as_the_better_one_has_it() -> None:
    whole = found((0, 4), (10, 14), 0.4)
    window = FoundRange(found((0.5, 4), (10.5, 14), 0.8).span, 0.8, Rectangle(0, 0, 0.5, 0.5))
    assert without_echoes([whole, window]) == [window]


def test_what_occurs_twice_stays_twice_on_either_side() -> None:
    twice_in_video = [found((0, 4), (10, 14), 0.8), found((0, 4), (20, 24), 0.7)]
    twice_in_query = [found((0, 4), (10, 14), 0.8), found((6, 10), (10, 14), 0.9)]
    assert without_echoes(twice_in_video) == twice_in_video
    assert without_echoes(twice_in_query) == twice_in_query[::-1]


def test_a_still_picture_shows_at_several_times() -> None:
    ranges = [found(None, (10, 14), 0.8), found(None, (20, 24), 0.9)]
    assert without_echoes(ranges) == ranges[::-1]


def test_of_thousands_of_ranges_so_many_of_the_strongest_are_kept() -> None:
    most = MOST_RANGES
    distinct = [found((i, i + 1), (i, i + 1), 0.9 - i / 1e5) for i in range(4 * most)]
    echoes = [found((i, i + 0.9), (i, i + 0.9), 0.9 - (i + 0.5) / 1e5) for i in range(4 * most)]
    assert without_echoes([*echoes, *distinct]) == distinct[:most]
    # What only echoes a better one takes no place of another.
    assert without_echoes([*echoes[:most], *distinct[: most // 2]]) == [
        *distinct[: most // 2],
        *echoes[most // 2 : most],
    ]


def test_a_film_has_more_videos_looked_at_than_a_clip() -> None:
    assert max_looks(0) == max_looks(12) == 6
    assert max_looks(3600) == 450


def test_ranges_that_frames_show_to_be_one_are_told_once(library: Library) -> None:
    path = library.folder / "long-0.mkv"
    video_id = library.index.find(path.as_uri()).video_id
    pieces = [found((4, 10), (4, 10), 0.9), found((12, 18), (12, 18), 0.8)]
    judged = judge(library.index, FootageReader(), path, {video_id: pieces})
    [match] = judged.matches[video_id]
    assert match.query_span is not None
    assert match.query_span.start_s < 0.1
    assert match.query_span.end_s > 19


def test_a_movement_done_again_is_no_second_place_of_footage() -> None:
    def told(video_s: float, motion: float | None, verified: bool | None) -> Match:
        evidence = Evidence("seen", 0.8, 90, 0.9, motion, None)
        spans = TimeSpan(0, 5), TimeSpan(video_s, video_s + 5)
        return Match(*spans, motion or 0.5, verified=verified, evidence=evidence)

    best, again = told(1, 1.0, True), told(30, 0.95, True)
    exercise, still = told(10, 0.75, True), told(20, None, None)
    assert judging._explained([best, again, exercise, still]) == [best, again]
    assert judging._explained([still, exercise]) == [still, exercise]


def test_seconds_confirmed_at_one_place_are_tried_elsewhere_with_that_geometry(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = watched_looks(monkeypatch)
    path = library.folder / "twice.mkv"
    video_id = library.index.find(path.as_uri()).video_id
    again, other = found((8.5, 12.5), (21.5, 25.5), 0.8), found((0, 4), (0, 4), 0.7)
    pieces = [found((8.5, 12.5), (8.5, 12.5), 0.9), again, other]
    judged = judge(
        library.index, FootageReader(), path, {video_id: pieces}, bounds=TimeSpan(8.5, 12.5)
    )
    assert judged.matches[video_id][0].verified
    first, *those_again, of_other = [look["known"] for look in looks]
    assert first is None
    assert those_again
    assert None not in those_again
    assert of_other is None


@pytest.mark.parametrize(("further", "num_looks"), [(0, 1), (1, 2), (3, 3)])
def test_while_none_is_confirmed_further_videos_are_looked_at(
    library: Library, monkeypatch: pytest.MonkeyPatch, further: int, num_looks: int
) -> None:
    looks = watched_looks(monkeypatch)
    path = library.folder / "long-0.mkv"
    # The right one is the third; a fourth has not to be looked at.
    names = ["long-1", "short-0", "long-0", "short-1"]
    ids = [library.index.find((library.folder / f"{n}.mkv").as_uri()).video_id for n in names]
    ranges = {i: [found((1, 3), (1, 3), 0.9 - 0.1 * place)] for place, i in enumerate(ids)}
    judged = judge(library.index, FootageReader(), path, ranges, at_most=1, further=further)
    assert len(looks) == num_looks
    assert bool(judged.confirmed()) == (num_looks == 3)
    assert judged.matches[ids[3]][0].evidence is not None
    reason = judged.matches[ids[3]][0].evidence.reason
    assert reason == f"not among the {num_looks} looked at"


@pytest.mark.parametrize(("bounds", "num_looks"), [(TimeSpan(1, 3), 2), (TimeSpan(0, 99), 3)])
def test_what_vectors_hardly_suggest_is_looked_at_until_all_of_the_query_is_confirmed(
    library: Library, bounds: TimeSpan, num_looks: int
) -> None:
    path = library.folder / "long-0.mkv"
    names = ["long-0", "long-1", "short-0"]
    ids = [library.index.find((library.folder / f"{n}.mkv").as_uri()).video_id for n in names]
    strengths = zip(ids, (0.9, MATCH_STRENGTH, 0.3), strict=True)
    ranges = {i: [found((1, 3), (1, 3), strength)] for i, strength in strengths}
    judged = judge(library.index, FootageReader(), path, ranges, bounds=bounds)
    assert judged.confirmed()
    assert judged.looked_at == set(ids[:num_looks])
    thorough = judge(library.index, FootageReader(), path, ranges, bounds=bounds, is_thorough=True)
    assert thorough.looked_at == set(ids)


@pytest.mark.parametrize("num_threads", [2, 5])
def test_the_answer_does_not_depend_on_how_many_are_looked_at_at_a_time(
    library: Library, monkeypatch: pytest.MonkeyPatch, num_threads: int
) -> None:
    looks = watched_looks(monkeypatch)
    path = library.folder / "long-0.mkv"
    names = ["long-1", "short-0", "long-0", "short-1", "twice"]
    ids = [library.index.find((library.folder / f"{n}.mkv").as_uri()).video_id for n in names]
    ranges = {i: [found((1, 3), (1, 3), 0.9 - 0.1 * place)] for place, i in enumerate(ids)}

    def judged(num: int) -> judging.Judgment:
        return judge(
            library.index, FootageReader(), path, ranges, at_most=1, further=4, num_threads=num
        )

    expected = judged(1)
    looks.clear()
    assert judged(num_threads) == expected
    assert 3 <= len(looks) <= 3 + num_threads


def test_videos_named_first_are_looked_at_before_stronger_ones(library: Library) -> None:
    path = library.folder / "long-0.mkv"
    ids = [
        library.index.find((library.folder / f"{name}.mkv").as_uri()).video_id
        for name in ("long-1", "long-0")
    ]
    ranges = {i: [found((1, 3), (1, 3), 0.9 - 0.5 * place)] for place, i in enumerate(ids)}
    judged = judge(
        library.index, FootageReader(), path, ranges, first=[ids[1]], at_most=1, further=3
    )
    assert judged.looked_at == {ids[1]}
    assert judged.confirmed()


def test_tasks_are_begun_in_order_and_no_more_than_asked_for() -> None:
    begun: list[int] = []

    def task(number: int) -> int:
        begun.append(number)
        return number

    interrupted: list[bool] = []
    results = judging.in_threads(
        (partial(task, number) for number in range(9)),
        3,
        on_interrupt=lambda: interrupted.append(True),
    )
    assert [next(results), next(results)] == [0, 1]
    results.close()
    assert set(begun) <= {0, 1, 2, 3}
    assert not interrupted


def test_ctrl_c_ends_the_looks_that_were_begun(library: Library) -> None:
    path = library.folder / "long-0.mkv"
    reader, has_begun = FootageReader(), Event()

    def look_on() -> None:
        has_begun.set()
        while True:
            reader.read(path, TimeSpan(0, 1))

    def interrupt() -> None:
        has_begun.wait()
        raise KeyboardInterrupt

    results = judging.in_threads([interrupt, look_on], 2, on_interrupt=reader.interrupt)
    with pytest.raises(KeyboardInterrupt):
        next(results)


@pytest.mark.parametrize(("looked_at", "is_trusted"), [("long-0", True), ("long-1", False)])
def test_what_is_not_looked_at_is_trusted_where_most_looks_confirmed(
    library: Library, looked_at: str, is_trusted: bool
) -> None:
    path = library.folder / "long-0.mkv"
    names = [looked_at, "short-0"]
    first, unseen = (
        library.index.find((library.folder / f"{name}.mkv").as_uri()).video_id for name in names
    )
    ranges = {first: [found((1, 3), (1, 3), 0.95)], unseen: [found((1, 3), (1, 3), 0.9)]}
    judged = judge(library.index, FootageReader(), path, ranges, at_most=1)
    assert bool(judged.confirmed()) == is_trusted
    [match] = judged.matches[unseen]
    assert match.verified is None
    assert (match.score >= COPY_SCORE) == is_trusted


def test_where_vectors_see_no_movement_frames_search_all_of_the_range(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = watched_looks(monkeypatch)
    path = library.folder / "long-0.mkv"
    video_id = library.index.find(path.as_uri()).video_id
    moving = found((0, 4), (0, 4), 0.8)
    spans = (TimeSpan(0, 4), TimeSpan(4, 8))
    static = replace(moving.span, column_span=TimeSpan(2, 14), is_static=True, diagonals=(spans,))
    pieces = [replace(moving, span=static), moving]
    judge(library.index, FootageReader(), path, {video_id: pieces})
    assert [look["within"] for look in looks] == [TimeSpan(2, 14), None]


def test_where_a_part_alone_is_confirmed_the_halves_are_looked_at(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    halves = [(TimeSpan(0, 2), TimeSpan(12, 14)), (TimeSpan(2, 4), TimeSpan(10, 12))]
    whole = (TimeSpan(0, 4), TimeSpan(10, 14))

    def seen(*sides: object, **options: object) -> Verification:
        match = sides[-1]
        assert isinstance(match, Match)
        told = Match(*halves[0], 0.9) if match.video_span == whole[1] else match
        return Verification(True, 90, 0.9, 0.9, 9.0, 0.0, told)

    monkeypatch.setattr(looking, "verify_match", seen)
    path = library.folder / "long-1.mkv"
    video_id = library.index.find(path.as_uri()).video_id
    static = replace(found((0, 4), (10, 14), 0.9).span, is_static=True, diagonals=(whole, *halves))
    judged = judge(library.index, FootageReader(), path, {video_id: [FoundRange(static, 0.9)]})
    assert [match.video_span for match in judged.matches[video_id]] == [
        halves[0][1],
        halves[1][1],
    ]


def test_of_a_refuted_range_of_one_scene_what_stands_out_is_looked_at(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = ((TimeSpan(0, 4), TimeSpan(4, 8)), (TimeSpan(4, 8), TimeSpan(0, 4)))

    def seen(*sides: object, **options: object) -> Verification:
        match = sides[-1]
        assert isinstance(match, Match)
        assert options["within"] is None
        is_part = (match.query_span, match.video_span) in parts
        return Verification(is_part, 90, 0.9, 0.9, 9.0, 0.0, match if is_part else None)

    monkeypatch.setattr(looking, "verify_match", seen)
    path = library.folder / "long-1.mkv"
    video_id = library.index.find(path.as_uri()).video_id
    whole = replace(found((0, 8), (0, 8), 0.9).span, outstanding=parts)
    judged = judge(library.index, FootageReader(), path, {video_id: [FoundRange(whole, 0.9)]})
    told = {(match.query_span, match.video_span) for match in judged.matches[video_id]}
    assert told == set(parts)


def test_a_range_that_cannot_be_read_hides_no_other(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    damaged = found((0, 4), (10, 14), 0.9)
    fine = found((4, 12), (4, 12), 0.8)
    verify = looking.verify_match

    def verify_unless_damaged(*sides: object, **options: object) -> Verification:
        if sides[-1] == Match(damaged.span.row_span, damaged.span.column_span, 0.9):
            raise VideoDecodeError("damaged there")
        return verify(*sides, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(looking, "verify_match", verify_unless_damaged)
    path = library.folder / "long-0.mkv"
    video_id = library.index.find(path.as_uri()).video_id
    judged = judge(
        library.index,
        FootageReader(),
        path,
        {video_id: [damaged, fine]},
        bounds=TimeSpan(4, 14),
    )
    [match] = [match for match in judged.matches[video_id] if match.verified]
    assert str(match.video_span) == "0:04.0-0:14.0"
    [unread] = [match for match in judged.matches[video_id] if not match.verified]
    assert unread.evidence is not None
    assert "cannot be read" in unread.evidence.reason


@pytest.fixture(scope="module")
def acted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve seconds of a place that stands still, in which bodies move."""
    clip = scene(5, 1, duration_s=12, num_bodies=2)
    path = tmp_path_factory.mktemp("acted") / "acted.mkv"
    return write_video(path, clip.frames, frames_per_s=RATE, codec="mpeg4")


def looked_at(
    query: Path, video: Path, *ranges: FoundRange, insets: Sequence[Rectangle] = ()
) -> list[Match]:
    """What frames say of ranges of two files, in the order of the query."""
    pair = Pair(Sides(FootageReader(), query, video), insets)
    matches = pair.look_at(ranges, at_most=6, max_refuted=6)
    return sorted(matches, key=lambda match: match.query_span.start_s if match.query_span else 0)


@pytest.mark.parametrize("num", [2, 3])
def test_seconds_of_a_still_scene_played_again_are_told_each_time(
    acted: Path, tmp_path: Path, num: int
) -> None:
    """Vectors hardly tell moments of it apart, so they suggest one long line."""
    piece = scene(5, 1, duration_s=12, num_bodies=2).frames[round(4 * RATE) : round(7 * RATE)]
    query = tmp_path / "query.mkv"
    write_video(query, np.concatenate([piece] * num), frames_per_s=RATE, codec="mpeg4")
    whole = found((0, 3 * num), (3, 3 + 3 * num), 0.8)
    matches = looked_at(query, acted, whole)
    assert len(matches) == num
    for place, match in enumerate(matches):
        assert match.verified
        assert match.query_span is not None
        assert match.video_span is not None
        assert match.query_span.start_s == pytest.approx(3 * place, abs=0.1)
        assert match.query_span.end_s == pytest.approx(3 * place + 3, abs=0.1)
        assert match.video_span.start_s == pytest.approx(4, abs=0.1)
        assert match.video_span.end_s == pytest.approx(7, abs=0.1)


def test_a_range_that_frames_confirm_whole_stays_one(
    acted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = watched_looks(monkeypatch)
    [match] = looked_at(acted, acted, found((2, 8), (2, 8), 0.9))
    assert match.verified
    assert len(looks) == 1


def test_files_that_are_gone_take_no_looks_from_those_that_are_there(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["long-0", "long-1", "long-2"]
    ids = [library.index.find(library.uri(name)).video_id for name in names]
    there = judging._file_of
    monkeypatch.setattr(
        judging, "_file_of", lambda index, i: None if i in ids[:2] else there(index, i)
    )
    ranges = {i: [found((0, 4), (0, 4), 0.9 - place / 10)] for place, i in enumerate(ids)}
    query = library.folder / "long-2.mkv"
    judged = judge(library.index, FootageReader(), query, ranges, at_most=1)
    assert judged.looked_at == {ids[2]}
    assert judged.matches[ids[2]][0].verified


@pytest.mark.parametrize(("action", "is_copy"), [(1, True), (2, False)])
def test_footage_around_an_inset_is_found_without_the_inset(
    acted: Path, tmp_path: Path, action: int, is_copy: bool
) -> None:
    """Half of what moves is in the inset, and vectors of both together say the wrong time."""
    piece = scene(5, action, duration_s=12, num_bodies=2).frames[round(6 * RATE) : round(9 * RATE)]
    inset = resize_frames(scene(7, 3, num_bodies=6).frames[: len(piece)], (96, 128))
    frames = piece.copy()
    frames[:, 4:100, 124:252] = inset
    query = write_video(tmp_path / "query.mkv", frames, frames_per_s=RATE, codec="mpeg4")
    rectangle = Rectangle(124 / 256, 4 / 192, 0.5, 0.5)
    supposed = found((0, 3), (3, 6), 0.8)
    [plain] = looked_at(query, acted, supposed)
    assert not plain.verified
    [match] = looked_at(query, acted, supposed, insets=[rectangle])
    assert bool(match.verified) == is_copy
    if is_copy:
        assert match.video_span is not None
        assert abs(match.video_span.start_s - 6) < 0.15
        assert abs(match.video_span.end_s - 9) < 0.15


@pytest.mark.parametrize(("is_take", "motion"), [(False, 0.78), (True, 0.78), (True, 0.9)])
def test_what_stands_out_in_a_window_must_move_alike_around_it_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_take: bool, motion: float
) -> None:
    """Another take of a place, in a quarter of which nearly the same happens."""
    indexed, other = (scene(5, action, num_bodies=6).frames for action in (1, 2))
    frames = other.copy() if is_take else indexed.copy()
    frames[:, 96:, :128] = indexed[:, 96:, :128]
    video = write_video(tmp_path / "video.mkv", indexed, frames_per_s=RATE, codec="mpeg4")
    query = write_video(tmp_path / "query.mkv", frames, frames_per_s=RATE, codec="mpeg4")
    quarter = replace(found((1, 5), (1, 5), 0.8), window=Rectangle(0.0, 0.5, 0.5, 0.5))
    verify = looking.verify_match

    def nearly_the_same(sides: Sides, match: Match, **options: Any) -> Verification:
        seen = verify(sides, match, **options)
        return replace(seen, motion=motion) if sides.window else seen

    monkeypatch.setattr(looking, "verify_match", nearly_the_same)
    [match] = looked_at(query, video, quarter)
    assert bool(match.verified) == (not is_take or motion > 0.8)
