"""The whole way of a search, on made footage, real files and a real index."""

import os
import shutil
from dataclasses import replace
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_library import Library, still_clip, wandering_clip, written
from PIL import Image
from pixel_encoder import PixelEncoder, PixelEncoderSpec

from sora_search.datatypes import Evidence, Match, Progress, SearchAnswer, TimeSpan
from sora_search.errors import IndexIncompatibleError, NotAVideoError
from sora_search.index.indexing import index_videos
from sora_search.index.video_index import VideoIndex
from sora_search.media.clips import Clip, cropped, cut, unedited
from sora_search.media.editing import edit_clip
from sora_search.media.writing import write_video
from sora_search.retrieval import searching, suggesting
from sora_search.retrieval.alignment import AlignedSpan
from sora_search.retrieval.judging import Judgment
from sora_search.retrieval.searching import search
from sora_search.retrieval.suggesting import Suggester
from sora_search.retrieval.timeline import Timeline
from sora_search.retrieval.views import part_views
from sora_search.retrieval.windows import Rectangle


def assert_near(span: TimeSpan | None, start_s: float, end_s: float, within_s: float) -> None:
    assert span is not None
    assert abs(span.start_s - start_s) <= within_s, span
    assert abs(span.end_s - end_s) <= within_s, span


def ranges(answer: SearchAnswer, place: int = 0) -> list[tuple[str, str]]:
    return [(str(m.query_span), str(m.video_span)) for m in answer.results[place].matches]


def test_file_of_the_index_finds_itself_whole(library: Library) -> None:
    answer = library.ask(library.folder / "long-2.mkv")
    first = answer.results[0]
    assert first.uri == library.uri("long-2")
    assert first.kind == "copy"
    assert first.score > 0.95
    assert first.coverage > 0.99
    assert first.verified is True
    assert first.matches[0].edit == "same framing"
    assert not first.missing
    assert len(first.matches) == 1
    assert_near(first.matches[0].video_span, 0, 40, 0.1)
    assert [r.kind for r in answer.results[1:]].count("copy") == 0


@pytest.mark.parametrize("name", ["reencode", "light", "letterbox", "speed-1.5", "speed-0.7"])
def test_edited_piece_is_the_first_copy_with_its_seconds(
    library: Library, tmp_path: Path, name: str
) -> None:
    piece = cut(unedited(library.clips["long-1"]), 12.3, 20.3)
    edited = edit_clip(name, piece, seed=3)
    if name == "letterbox":  # the pixel encoder sees borders as picture: cut most of them off
        left, top, width, height = edited.rectangle()
        rows, columns = edited.size
        edited = cropped(
            edited,
            left=round(left * columns),
            top=round(top * rows),
            width=round(width * columns),
            height=round(height * rows),
        )
    answer = library.ask(written(tmp_path / "query.mkv", edited))
    first = answer.results[0]
    assert first.uri == library.uri("long-1")
    assert first.kind == "copy"
    assert_near(first.matches[0].query_span, 0, edited.duration_s, 0.3)
    assert_near(first.matches[0].video_span, 12.3, 20.3, 0.3)
    assert first.coverage > 0.95
    assert all(result.kind == "similar" for result in answer.results[1:])


def test_nothing_in_common_gets_no_copy(library: Library, tmp_path: Path) -> None:
    for seed in range(900, 906):
        answer = library.ask(written(tmp_path / f"{seed}.mkv", wandering_clip(seed, 15)))
        assert all(result.kind == "similar" for result in answer.results)
        assert all(result.score < 0.5 for result in answer.results)


def test_excerpts_of_two_videos_inside_another_one(library: Library, tmp_path: Path) -> None:
    frames = wandering_clip(910, 20).frames.copy()
    frames[30:60] = library.clips["long-0"].frames[203:233]
    frames[120:150] = library.clips["long-3"].frames[57:87]
    answer = library.ask(written(tmp_path / "query.mkv", Clip(frames, 10)))
    copies = {r.uri: r for r in answer.results if r.kind == "copy"}
    assert set(copies) == {library.uri("long-0"), library.uri("long-3")}
    first, second = copies[library.uri("long-0")], copies[library.uri("long-3")]
    assert_near(first.matches[0].query_span, 3, 6, 0.5)
    assert_near(first.matches[0].video_span, 20.3, 23.3, 0.5)
    assert_near(second.matches[0].query_span, 12, 15, 0.5)
    assert_near(second.matches[0].video_span, 5.7, 8.7, 0.5)
    assert first.coverage == pytest.approx(0.15, abs=0.05)


def test_two_ranges_of_one_video_in_reversed_order(library: Library, tmp_path: Path) -> None:
    frames = library.clips["long-4"].frames
    query = Clip(np.concatenate([frames[250:300], frames[50:100]]), 10)
    answer = library.ask(written(tmp_path / "query.mkv", query))
    first = answer.results[0]
    assert first.uri == library.uri("long-4")
    by_time = sorted(first.matches, key=lambda m: m.query_span.start_s if m.query_span else 0)
    assert len(by_time) == 2
    assert_near(by_time[0].query_span, 0, 5, 0.4)
    assert_near(by_time[0].video_span, 25, 30, 0.4)
    assert_near(by_time[1].query_span, 5, 10, 0.4)
    assert_near(by_time[1].video_span, 5, 10, 0.4)
    assert first.coverage > 0.95


def test_piece_that_occurs_twice_is_found_at_both_places(library: Library, tmp_path: Path) -> None:
    query = Clip(library.clips["long-5"].frames[105:145], 10)
    answer = library.ask(written(tmp_path / "query.mkv", query))
    assert {r.uri for r in answer.results if r.kind == "copy"} == {
        library.uri("long-5"),
        library.uri("twice"),
    }
    starts = [
        m.video_span.start_s for m in library.result_for(answer, "twice").matches if m.video_span
    ]
    assert sorted(starts) == pytest.approx([8.5, 21.5], abs=0.3)


def test_short_queries_find_their_video(library: Library, tmp_path: Path) -> None:
    for num_frames in (1, 3, 8):
        query = Clip(library.clips["long-3"].frames[200 : 200 + num_frames], 10)
        answer = library.ask(written(tmp_path / f"{num_frames}.mkv", query))
        first = answer.results[0]
        assert first.uri == library.uri("long-3"), num_frames
        # A tenth of a second and three are told like a still picture.
        assert first.kind == "copy" or num_frames < 4
        assert_near(first.matches[0].video_span, 20, 20 + num_frames / 10, 0.15)


def test_clip_of_a_densely_sampled_short_video(library: Library, tmp_path: Path) -> None:
    short = library.clips["short-1"].frames
    frames = np.concatenate([wandering_clip(920, 10).frames, short, wandering_clip(921, 9).frames])
    first = library.ask(written(tmp_path / "query.mkv", Clip(frames, 10))).results[0]
    assert first.uri == library.uri("short-1")
    assert first.kind == "copy"
    assert_near(first.matches[0].query_span, 10, 13, 0.4)
    assert_near(first.matches[0].video_span, 0, 3, 0.4)


def test_still_picture_is_found_where_it_is_shown(library: Library, tmp_path: Path) -> None:
    picture = tmp_path / "frame.png"
    Image.fromarray(library.clips["long-0"].frames[173]).save(picture)
    answer = library.ask(picture)
    assert answer.query.duration_s is None
    first = answer.results[0]
    assert first.uri == library.uri("long-0")
    assert first.kind == "copy"
    assert first.coverage == 1.0
    assert first.matches[0].query_span is None
    assert first.matches[0].video_span is not None
    assert first.matches[0].video_span.start_s <= 17.3 <= first.matches[0].video_span.end_s


def test_still_footage_is_one_range_found_without_a_closer_look(
    library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(searching, "closer_views")
    answer = library.ask(written(tmp_path / "query.mkv", still_clip(200, 4)))
    first = answer.results[0]
    assert first.uri == library.uri("still")
    assert len(first.matches) == 1
    assert_near(first.matches[0].video_span, 0, 12, 0.1)


def test_part_of_a_file_keeps_the_times_of_the_file(library: Library, tmp_path: Path) -> None:
    frames = np.concatenate([wandering_clip(930, 6).frames, library.clips["long-2"].frames[80:160]])
    query = written(tmp_path / "query.mkv", Clip(frames, 10))
    first = library.ask(query, span=TimeSpan(7, 12)).results[0]
    assert_near(first.matches[0].query_span, 7, 12, 0.1)
    assert_near(first.matches[0].video_span, 9, 14, 0.3)
    assert first.coverage > 0.99
    whole_rest = library.ask(query, span=TimeSpan(7, 1e6)).results[0]
    assert_near(whole_rest.matches[0].query_span, 7, 14, 0.1)
    assert whole_rest.coverage > 0.98
    with pytest.raises(ValueError, match="after"):
        library.ask(query, span=TimeSpan(15, 20))


def test_part_of_a_still_picture_is_refused(library: Library, tmp_path: Path) -> None:
    Image.fromarray(library.clips["long-0"].frames[0]).save(tmp_path / "frame.png")
    with pytest.raises(ValueError, match="still picture"):
        library.ask(tmp_path / "frame.png", span=TimeSpan(0, 1))


def test_own_content_can_be_left_out_under_any_name(library: Library, tmp_path: Path) -> None:
    own = library.folder / "long-2.mkv"
    other_name = Path(shutil.copy(own, tmp_path / "renamed.mkv"))
    for query in (own, other_name):
        assert library.ask(query).results[0].uri == library.uri("long-2")
        answer = library.ask(query, exclude_self=True)
        assert library.uri("long-2") not in {result.uri for result in answer.results}


def test_number_and_score_of_results_are_bounded(library: Library) -> None:
    query = library.folder / "long-5.mkv"
    everything = library.ask(query, k=1000)
    scores = [result.score for result in everything.results]
    assert scores == sorted(scores, reverse=True)
    assert all(0 < score <= 1 for score in scores)
    assert library.ask(query, k=1).results == everything.results[:1]
    copies = library.ask(query, min_score=0.5).results
    assert {result.kind for result in copies} == {"copy"}


def test_weights_for_copies_give_no_mere_likeness(library: Library, tmp_path: Path) -> None:
    query = written(tmp_path / "query.mkv", wandering_clip(940, 10))
    both = {result.uri for result in library.ask(query).results}
    copies = {result.uri for result in library.ask(query, weights="copies").results}
    assert copies <= both
    own = library.ask(library.folder / "long-1.mkv", weights="meaning").results[0]
    assert (own.uri, own.kind) == (library.uri("long-1"), "copy")


def test_wrong_arguments_are_named(library: Library) -> None:
    query = library.folder / "long-0.mkv"
    with pytest.raises(ValueError, match="k=0"):
        library.ask(query, k=0)
    with pytest.raises(ValueError, match=r"min_score=1\.5"):
        library.ask(query, min_score=1.5)
    with pytest.raises(ValueError, match="weights='all'"):
        library.ask(query, weights="all")


def test_text_and_missing_query_are_named(library: Library, tmp_path: Path) -> None:
    (tmp_path / "notes.mp4").write_text("no video at all")
    with pytest.raises(NotAVideoError, match=r"notes\.mp4"):
        library.ask(tmp_path / "notes.mp4")
    with pytest.raises(FileNotFoundError):
        library.ask(tmp_path / "nothing.mp4")


def test_index_of_another_model_is_refused(library: Library) -> None:
    other = PixelEncoder(PixelEncoderSpec(model="other"))
    with pytest.raises(IndexIncompatibleError, match="other@8x8"):
        search(library.index, library.folder / "long-0.mkv", encoder=other)


def test_long_query_in_pieces_gives_the_same_ranges(
    library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = [library.clips[name].frames for name in ("long-0", "long-1")]
    middle = wandering_clip(950, 11).frames
    whole = np.concatenate([frames[0], middle, frames[1]])
    query = write_video(tmp_path / "query.mkv", whole, frames_per_s=10, codec="ffv1")
    at_once = library.ask(query, min_score=0.5)
    steps: list[Progress] = []
    monkeypatch.setattr(suggesting, "PIECE_VECTORS", 48)
    in_pieces = library.ask(query, min_score=0.5, on_progress=steps.append)
    assert [phase for phase, _ in groupby(steps, lambda step: step.phase)] == [
        "reading",
        "searching",
        "looking",
    ]
    for phase in ("searching", "looking"):
        told = [step for step in steps if step.phase == phase]
        assert [step.num_done for step in told] == list(range(1, told[0].num_total + 1))
    assert len([step for step in steps if step.phase == "searching"]) > 4
    assert {r.uri for r in in_pieces.results} == {library.uri("long-0"), library.uri("long-1")}
    for result in in_pieces.results:
        same = next(r for r in at_once.results if r.uri == result.uri)
        assert len(result.matches) == len(same.matches) == 1
        for mine, theirs in (
            (result.matches[0].query_span, same.matches[0].query_span),
            (result.matches[0].video_span, same.matches[0].video_span),
        ):
            assert theirs is not None
            assert_near(mine, theirs.start_s, theirs.end_s, 0.1)


def test_missing_and_doubled_files_still_answer(tmp_path: Path) -> None:
    folder = tmp_path / "videos"
    folder.mkdir()
    encoder = PixelEncoder()
    clip = wandering_clip(960, 12)
    written(folder / "gone.mkv", clip)
    written(folder / "there.mkv", wandering_clip(961, 12))
    shutil.copy(folder / "there.mkv", folder / "there too.mkv")
    query = written(tmp_path / "query.mkv", Clip(clip.frames[20:80], 10))
    with VideoIndex.open_or_create(tmp_path / "index", encoder=encoder) as index:
        index_videos(index, [folder], encoder=encoder)
        os.unlink(folder / "gone.mkv")
        index_videos(index, [folder], encoder=encoder)
        first = search(index, query, encoder=encoder).results[0]
        assert first.uri == (folder / "gone.mkv").as_uri()
        assert first.missing
        assert first.kind == "copy"
        written(folder / "gone.mkv", clip)
        assert not search(index, query, encoder=encoder).results[0].missing
        double = search(index, folder / "there.mkv", encoder=encoder).results[0]
        assert {double.uri, *double.other_uris} == {
            (folder / name).as_uri() for name in ("there.mkv", "there too.mkv")
        }


def test_a_file_that_is_gone_since_it_was_indexed_is_missing(tmp_path: Path) -> None:
    folder = tmp_path / "videos"
    folder.mkdir()
    encoder = PixelEncoder()
    clip = wandering_clip(962, 12)
    first = written(folder / "first.mkv", clip)
    second = Path(shutil.copy(first, folder / "second.mkv"))
    query = written(tmp_path / "query.mkv", Clip(clip.frames[20:80], 10))
    with VideoIndex.open_or_create(tmp_path / "index", encoder=encoder) as index:
        index_videos(index, [folder], encoder=encoder)
        found = search(index, query, encoder=encoder).results[0]
        assert (found.uri, found.other_uris) == (first.as_uri(), (second.as_uri(),))
        first.unlink()
        found = search(index, query, encoder=encoder).results[0]
        assert (found.uri, found.other_uris) == (second.as_uri(), (first.as_uri(),))
        assert not found.missing
        assert "gone" not in found.matches[0].describe()
        second.unlink()
        found = search(index, query, encoder=encoder).results[0]
        assert (found.missing, found.verified) == (True, None)
        assert found.matches[0].describe() == "not verified: its file is gone"


def test_index_with_one_video_and_with_none(tmp_path: Path) -> None:
    encoder = PixelEncoder()
    folder = tmp_path / "videos"
    folder.mkdir()
    query = written(tmp_path / "query.mkv", wandering_clip(970, 6))
    with VideoIndex.open_or_create(tmp_path / "index", encoder=encoder) as index:
        assert search(index, query, encoder=encoder).results == ()
        written(folder / "one.mkv", wandering_clip(970, 20))
        index_videos(index, [folder], encoder=encoder)
        [only] = search(index, query, encoder=encoder).results
        assert only.kind == "copy"
        unrelated = written(tmp_path / "unrelated.mkv", wandering_clip(971, 6))
        assert all(r.kind == "similar" for r in search(index, unrelated, encoder=encoder).results)


def test_crowd_of_near_identical_videos_does_not_hide_another_copy(tmp_path: Path) -> None:
    encoder = PixelEncoder()
    folder = tmp_path / "videos"
    folder.mkdir()
    crowd = wandering_clip(980, 6)
    for i in range(20):
        noisy = crowd.frames.astype(int) + np.random.default_rng(i).integers(
            -6, 7, (*crowd.size, 3)
        )
        written(folder / f"{i:02}.mkv", Clip(np.clip(noisy, 0, 255).astype(np.uint8), 10))
    lone = wandering_clip(981, 30)
    written(folder / "lone.mkv", lone)
    # Each moment of the query shows the crowd; only three seconds show the other video.
    query = written(
        tmp_path / "query.mkv", Clip(np.concatenate([crowd.frames, lone.frames[100:130]]), 10)
    )
    with VideoIndex.open_or_create(tmp_path / "index", encoder=encoder) as index:
        index_videos(index, [folder], encoder=encoder)
        answer = search(index, query, encoder=encoder, k=30)
        assert sum(result.kind == "copy" for result in answer.results) == 21


@settings(max_examples=3, deadline=None, derandomize=True)
@given(order=st.permutations(range(5)))
def test_answer_does_not_depend_on_the_order_of_indexing(
    library: Library, tmp_path_factory: pytest.TempPathFactory, order: list[int]
) -> None:
    names = ["long-0", "long-1", "short-0", "twice", "still"]
    place = tmp_path_factory.mktemp("ordered")
    query = library.folder / "long-5.mkv"
    reference = None
    for sequence in (range(5), order):
        with VideoIndex.open_or_create(
            place / f"{'-'.join(map(str, sequence))}", encoder=library.encoder
        ) as index:
            for i in sequence:
                path = library.folder / f"{names[i]}.mkv"
                index_videos(index, [path], encoder=library.encoder)
            answer = search(index, query, encoder=library.encoder)
        shown = [(r.uri, r.score, r.kind, r.coverage, r.matches) for r in answer.results]
        reference = reference or shown
        assert shown == reference


def test_videos_most_alike_as_wholes_give_ranges_though_no_moment_is_near(
    library: Library,
) -> None:
    index = library.index
    right = index.find(library.uri("long-1")).video_id
    stored = index.embedding(right)
    # Far from each moment, and from other videos: what many small disagreements leave.
    noise = np.random.default_rng(0).normal(size=stored.vectors.shape)
    halves = np.split(stored.vectors + 0.12 * noise, 2, axis=1)
    units = [half / np.linalg.norm(half, axis=1, keepdims=True) for half in halves]
    vectors = (np.concatenate(units, axis=1) / np.sqrt(2)).astype(np.float32)
    embedding = replace(stored, vectors=vectors)
    suggester = Suggester(index, frozenset(), {})
    found = suggester.alike(embedding)
    assert len(found) <= suggesting.NUM_ALIKE_LOOKS
    best = found[right][0].span
    assert best.row_span is not None
    assert best.column_span is not None
    assert abs(best.row_span.start_s - best.column_span.start_s) < 1


@pytest.mark.parametrize(("elsewhere", "num"), [(0.75, 2), (0.1, 0)])
def test_in_one_scene_what_stands_out_is_told_beside_the_longest_line(
    elsewhere: float, num: int
) -> None:
    similarity = np.full((16, 16), elsewhere, np.float32)
    np.fill_diagonal(similarity, 0.8)
    halves = [(TimeSpan(0, 4), TimeSpan(4, 8)), (TimeSpan(4, 8), TimeSpan(0, 4))]
    for i in range(8):
        similarity[i, i + 8] = similarity[i + 8, i] = 0.99
    times = Timeline.regular(16)
    whole = AlignedSpan(TimeSpan(0, 8), TimeSpan(0, 8), 0.3, 0.3)
    found = suggesting._with_outstanding(whole, similarity, 0.4, times, times)
    assert len(found.outstanding) == num
    for spans in found.outstanding:
        truth = min(halves, key=lambda half: abs(half[0].start_s - spans[0].start_s))
        for span, true in zip(spans, truth, strict=True):
            assert_near(span, true.start_s, true.end_s, 0.6)


def test_beside_a_video_that_fills_a_part_of_the_screen_another_one_is_looked_for(
    library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pieces = (library.clips[name].frames[100:180] for name in ("long-0", "long-1"))
    left, right = (piece.repeat(2, axis=1).repeat(2, axis=2) for piece in pieces)
    path = written(tmp_path / "query.mkv", Clip(np.concatenate([left, right], axis=2), 10))
    # The rectangle of one of them is found, that of the other is not.
    half = [Rectangle(0.0, 0.0, 0.5, 1.0)]
    monkeypatch.setattr(
        searching,
        "window_views",
        lambda query, encoder, *, span: part_views(query, encoder, half, span=span),
    )
    answer = library.ask(path, min_score=0.5)
    assert {result.uri for result in answer.results} == {
        library.uri("long-0"),
        library.uri("long-1"),
    }
    for result in answer.results:
        assert result.verified
        assert_near(result.matches[0].video_span, 10, 18, 0.2)


def test_what_a_closer_look_confirms_is_no_longer_rejected() -> None:
    span, other = TimeSpan(0, 4), TimeSpan(8, 12)
    refuted, elsewhere = (Match(span, there, 0.1, verified=False) for there in (span, other))
    told = Match(span, span, 0.99, verified=True, evidence=Evidence("agree", 0.5))
    judged = Judgment({}, [(1, refuted), (1, elsewhere), (2, refuted)], {1, 2})
    closer = Judgment({1: [told]}, [], {1})
    found = searching._with_closer(judged, closer)
    assert found.matches == {1: [told]}
    assert found.rejected == [(1, elsewhere), (2, refuted)]
