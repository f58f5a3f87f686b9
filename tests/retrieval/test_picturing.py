"""The picture of an answer shows the right frames in the right rows."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from made_library import Library, wandering_clip, written
from numpy.typing import NDArray
from PIL import Image

from sora_search.datatypes import Decision, ResultKind, SearchAnswer, TimeSpan
from sora_search.media.clips import Clip
from sora_search.media.decoding import read_at
from sora_search.media.probing import probe
from sora_search.media.rendering import PictureRow
from sora_search.retrieval import picturing
from sora_search.retrieval.picturing import CELL_SIDE, write_answer


def pixels_of(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as picture:
        return np.asarray(picture)


def test_matching_frames_stand_beneath_those_of_the_query(library: Library, tmp_path: Path) -> None:
    query = written(tmp_path / "query.mkv", Clip(library.clips["long-1"].frames[100:150], 10))
    answer = library.ask(query, min_score=0.5)
    assert len(answer.results) == 1
    picture = pixels_of(write_answer(answer, tmp_path / "answer.png"))
    assert picture.shape[1] > 5 * CELL_SIDE
    frame_rows = CELL_SIDE * 64 // 96
    strips = _picture_strips(picture)
    assert len(strips) == 2
    above, beneath = (picture[top : top + frame_rows].astype(float) for top in strips)
    next_cell = np.roll(beneath, CELL_SIDE + 8, axis=1)
    assert np.abs(above - beneath).mean() < 0.5 * np.abs(above - next_cell).mean()
    # Not the same frame five times, and not any frame of the file.
    first, last = above[:, 8 : 8 + CELL_SIDE], above[:, 8 + 4 * (CELL_SIDE + 8) :][:, :CELL_SIDE]
    assert np.abs(first - last).mean() > 20
    [expected] = read_at(query, [0.5], max_side=CELL_SIDE)
    shown = Image.fromarray(first.astype(np.uint8)).resize((96, 64))
    assert np.abs(np.asarray(shown).astype(float) - expected).mean() < 6


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[PictureRow]:
    """The rows that were last to become a picture."""
    rows: list[PictureRow] = []
    monkeypatch.setattr(
        picturing, "write_side_by_side", lambda path, given, **_: rows.extend(given)
    )
    return rows


@pytest.mark.parametrize("error_s", [0.0, -0.004, 0.004, -0.04, 0.04, -0.09, 0.09])
def test_a_range_that_is_hardly_off_shows_no_neighboring_frame(
    library: Library, tmp_path: Path, drawn: list[PictureRow], error_s: float
) -> None:
    query = written(tmp_path / "query.mkv", Clip(library.clips["long-1"].frames[100:150], 10))
    answer = library.ask(query, k=1)
    (result,) = answer.results
    [match] = result.matches
    assert match.verified
    told = replace(match, video_span=TimeSpan(10 + error_s, 15 + error_s))
    write_answer(replace(answer, results=(replace(result, matches=(told,)),)), tmp_path / "a.png")
    above, beneath = drawn
    frames = library.clips["long-1"].frames.astype(float)

    def number_of(picture: NDArray[np.uint8] | None) -> int:
        return int(np.abs(frames - picture).mean(axis=(1, 2, 3)).argmin())

    shown = [number_of(picture) for _, picture in above.cells]
    assert shown == [number_of(picture) for _, picture in beneath.cells]
    assert np.diff(shown).tolist() == [10] * 4


def test_a_moment_is_shown_once(library: Library, tmp_path: Path, drawn: list[PictureRow]) -> None:
    Image.fromarray(library.clips["long-0"].frames[173]).save(tmp_path / "frame.png")
    answer = library.ask(tmp_path / "frame.png", k=1)
    write_answer(answer, tmp_path / "answer.png", explain=True)
    above, beneath, agreement = drawn
    assert [caption for caption, _ in above.cells] == [""]
    assert [caption for caption, _ in beneath.cells] == ["0:17.3"]
    assert beneath.label.startswith("1.  copy")
    assert len(agreement.cells) == 1


def test_a_clip_of_few_frames_shows_each_once(
    library: Library, tmp_path: Path, drawn: list[PictureRow]
) -> None:
    query = written(tmp_path / "query.mkv", Clip(library.clips["long-1"].frames[100:102], 10))
    write_answer(SearchAnswer(probe(query), ()), tmp_path / "answer.png")
    assert [caption for caption, _ in drawn[0].cells] == ["0:00.0", "0:00.2"]


def test_an_explanation_adds_heat_maps_and_the_alignment(library: Library, tmp_path: Path) -> None:
    query = written(tmp_path / "query.mkv", Clip(library.clips["long-1"].frames[100:150], 10))
    answer = library.ask(query, min_score=0.5)
    evidence = answer.results[0].matches[0].evidence
    assert evidence is not None
    assert evidence.edit is not None
    plain = pixels_of(write_answer(answer, tmp_path / "plain.png"))
    explained = pixels_of(write_answer(answer, tmp_path / "why.png", explain=True))
    added = explained[len(plain) :].astype(int)
    assert len(added) > 64 / 96 * CELL_SIDE + CELL_SIDE
    is_green = added[..., 1] - np.maximum(added[..., 0], added[..., 2]) > 20
    is_red = added[..., 0] - np.maximum(added[..., 1], added[..., 2]) > 20
    assert is_green.sum() > 3 * is_red.sum()


def _picture_strips(picture: NDArray[np.uint8]) -> list[int]:
    """The first line of each row of frames: where a line begins to be colored all along."""
    inside = picture[:, 20 : 20 + CELL_SIDE // 2].astype(int)
    is_colored = (np.ptp(inside, axis=2) > 8).mean(axis=1) > 0.5
    return [int(i) for i in np.flatnonzero(np.diff(is_colored.astype(int)) == 1) + 1]


def test_missing_file_leaves_gray_cells(library: Library, tmp_path: Path) -> None:
    query = written(tmp_path / "query.mkv", Clip(library.clips["long-1"].frames[100:150], 10))
    answer = library.ask(query, min_score=0.5)
    there = pixels_of(write_answer(answer, tmp_path / "there.png"))
    moved = Path(library.folder / "long-1.mkv").rename(tmp_path / "elsewhere.mkv")
    try:
        gone = pixels_of(write_answer(answer, tmp_path / "gone.png"))
    finally:
        shutil.move(moved, library.folder / "long-1.mkv")
    assert len(_picture_strips(there)) == 2
    assert len(_picture_strips(gone)) == 1


def test_captions_say_what_the_table_says(
    library: Library, tmp_path: Path, drawn: list[PictureRow]
) -> None:
    query = written(tmp_path / "query.mkv", Clip(library.clips["long-1"].frames[100:150], 10))
    answer = library.ask(query, min_score=0.5)
    (result,) = answer.results
    (match,) = result.matches
    for verified, said in ((None, "not verified"), (False, "frames differ"), (True, "verified: ")):
        told = replace(result, matches=(replace(match, verified=verified),))
        write_answer(replace(answer, results=(told,)), tmp_path / "answer.png")
        assert said in drawn[-1].label


@pytest.mark.parametrize(
    ("kind", "score", "verdict", "head", "end"),
    [
        ("similar", 0.087, None, "1.  similar  0.087  long-1.mkv  ", "  not verified"),
        (
            *("copy", 1.0, "match", "1.  copy  1.000  (verdict: match)  long-1.mkv  "),
            "  not verified  (0.004 without the verdict)",
        ),
        ("similar", 0.05, "no-match", "1.  similar  0.050  (verdict: no-match)  ", "verified"),
    ],
)
def test_captions_show_the_score_and_the_verdict_of_the_table(
    library: Library,
    tmp_path: Path,
    drawn: list[PictureRow],
    kind: ResultKind,
    score: float,
    verdict: Decision | None,
    head: str,
    end: str,
) -> None:
    query = written(tmp_path / "query.mkv", Clip(library.clips["long-1"].frames[100:150], 10))
    answer = library.ask(query, min_score=0.5)
    (result,) = answer.results
    unsure = replace(result.matches[0], score=0.004, verified=None)
    told = replace(result, kind=kind, score=score, verdict=verdict, matches=(unsure,))
    write_answer(replace(answer, results=(told,)), tmp_path / "answer.png")
    assert drawn[-1].label.startswith(head)
    assert drawn[-1].label.endswith(end)


def test_answer_without_results_shows_the_query(library: Library, tmp_path: Path) -> None:
    query = written(tmp_path / "query.mkv", wandering_clip(700, 4))
    written_to = write_answer(SearchAnswer(probe(query), ()), tmp_path / "answer.jpg")
    assert pixels_of(written_to).shape[1] > 5 * CELL_SIDE


def test_still_picture_and_similar_videos_have_rows(library: Library, tmp_path: Path) -> None:
    Image.fromarray(library.clips["long-0"].frames[173]).save(tmp_path / "frame.png")
    answer = library.ask(tmp_path / "frame.png", k=3)
    assert answer.results
    picture = pixels_of(write_answer(answer, tmp_path / "answer.png"))
    num_rows = 1 + sum(max(1, min(3, len(result.matches))) for result in answer.results)
    assert len(_picture_strips(picture)) >= num_rows


def test_other_suffix_is_refused(library: Library, tmp_path: Path) -> None:
    answer = library.ask(library.folder / "short-0.mkv", k=1)
    with pytest.raises(ValueError, match="jpg"):
        write_answer(answer, tmp_path / "answer.txt")
