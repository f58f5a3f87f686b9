"""Decoded frames tell copies from other takes, and say when and how the footage was changed."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from acted_scene import RATE, SIZE, scene, texture
from hypothesis import given, settings
from hypothesis import strategies as st
from made_footage import seen_frames
from numpy.typing import NDArray

from sora_search.datatypes import FoundEdit, Match, TimeSpan
from sora_search.errors import MediaError
from sora_search.media import clips
from sora_search.media.clips import Clip, EditedClip
from sora_search.media.editing import edit_clip
from sora_search.media.writing import write_video
from sora_search.retrieval import synchrony, verification
from sora_search.retrieval.deciding import LIKELY_MOTION, Verification, is_same_footage
from sora_search.retrieval.footage import QUERY_FRAMES_PER_S, Footage, FootageReader, Frame, Sides
from sora_search.retrieval.geometry import (
    PointMatches,
    find_edit,
    fit_affine,
    fit_homography,
    moved,
)
from sora_search.retrieval.overlay import Laid
from sora_search.retrieval.placement import Placement
from sora_search.retrieval.synchrony import Clock
from sora_search.retrieval.verification import verify, verify_match
from sora_search.retrieval.windows import Rectangle

TURN = np.array([[0.9, -0.44, 30], [0.44, 0.9, -60], [0, 0, 1.0]])
NO_CHANGE = find_edit(np.eye(3), SIZE, SIZE)


@pytest.fixture(scope="module")
def footage() -> Clip:
    return scene(1, 1)


def seen(clip: Clip, span: TimeSpan | None) -> Footage:
    """The frames that `verify_match` would read of a file with this clip."""
    scale = 256 / min(clip.size)
    times = np.array([0.0])
    if span is not None:
        first, last = max(0.0, span.start_s - 1.5), min(clip.duration_s, span.end_s + 1.5)
        times = np.arange(first + 0.05, last, 0.1)
    size = (round(clip.size[0] * scale), round(clip.size[1] * scale))
    return seen_frames(clips.resize_frames(clip.frames_at(times), size), times)


def check(query: Clip, video: Clip, query_span: TimeSpan, video_span: TimeSpan) -> Verification:
    return verify(
        seen(query, query_span),
        seen(video, video_span),
        query_span=query_span,
        video_span=video_span,
    )


def check_edit(edited: EditedClip, original: Clip, *, late_s: float = 0.0) -> Verification:
    truth = edited.matches[0]
    assert truth.query_span is not None
    assert truth.video_span is not None
    start_s = max(0.0, truth.video_span.start_s + late_s)
    supposed = TimeSpan(start_s, start_s + truth.video_span.duration_s)
    return check(edited, original, truth.query_span, supposed)


def corner_error(edit: FoundEdit, truth: EditedClip) -> float:
    corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1.0]])
    found = moved(edit.matrix, corners)
    middle = len(truth) // 2
    return float(np.abs(found - truth.corners(middle) / truth.size[::-1]).max())


# --- copies are confirmed, with time and geometry ------------------------------------------------


@pytest.mark.parametrize("supposed", [1.25, 1.8])
def test_a_speed_that_vectors_got_wrong_is_corrected(supposed, footage):
    edited = edit_clip("speed-1.5", footage)
    query_span, video_span = edited.matches[0].query_span, edited.matches[0].video_span
    assert query_span is not None
    assert video_span is not None
    middle_s = (video_span.start_s + video_span.end_s) / 2
    half_s = min(query_span.duration_s * supposed / 2, middle_s)
    found = check(edited, footage, query_span, TimeSpan(middle_s - half_s, middle_s + half_s))
    assert found.is_same is True
    assert found.edit is not None
    assert found.edit.speed == pytest.approx(1.5, rel=0.03)


@pytest.mark.parametrize(
    "name",
    [
        "mirror",
        "crop-60",
        "stretch",
        "rotate-25",
        "rotate-90",
        "speed-1.5",
        "screen",
        "pip",
        "blend",
    ],
)
def test_edited_copy_is_confirmed_with_its_geometry(name, footage):
    edited = edit_clip(name, footage, seed=3, video_hash="a", carrier=scene(2, 2))
    found = check_edit(edited, footage, late_s=0.4)
    assert found.is_same is True
    assert found.edit is not None
    assert corner_error(found.edit, edited) < 0.04
    assert found.edit.mirrored == edited.mirrored
    assert found.edit.rectangle == pytest.approx(edited.rectangle(), abs=0.03)
    assert found.edit.speed == pytest.approx(edited.speed, rel=0.03)
    assert found.match is not None
    assert found.match.video_span is not None
    assert found.match.video_span.start_s == pytest.approx(0.0, abs=0.1)


@pytest.mark.parametrize("late_s", [-1.2, -0.5, 0.3, 1.2])
def test_wrong_time_is_corrected(late_s, footage):
    query = clips.cut(clips.unedited(footage), 2.0, 4.0)
    found = check_edit(query, footage, late_s=late_s)
    assert found.is_same is True
    assert found.offset_s == pytest.approx(-late_s, abs=0.06)
    assert found.match is not None
    assert found.match.query_span is not None
    assert found.match.video_span is not None
    assert found.match.video_span.start_s == pytest.approx(2.0, abs=0.06)
    assert found.match.video_span.end_s == pytest.approx(4.0, abs=0.1)


def test_range_does_not_leave_the_indexed_video(footage):
    """The supposed range starts half a second before the video really does."""
    around = np.concatenate([scene(3, 3, duration_s=1.0).frames, footage.frames])
    found = check(Clip(around, RATE), footage, TimeSpan(0.4, 5.0), TimeSpan(0.0, 4.6))
    assert found.match is not None
    assert found.match.query_span is not None
    assert found.match.video_span is not None
    assert found.match.query_span.start_s == pytest.approx(1.0, abs=0.1)
    assert found.match.video_span.start_s == pytest.approx(0.0, abs=0.1)


def test_panning_camera_is_followed():
    """Frames of different moments lie elsewhere: time and geometry have to be found together."""
    world = texture(8, (SIZE[0], 900))
    left = (300 + 280 * np.sin(np.arange(120) / RATE * 1.3)).astype(int)
    frames = np.stack([world[:, x : x + SIZE[1]] for x in left])
    camera = Clip(frames, RATE)
    found = check(camera, camera, TimeSpan(1.0, 5.0), TimeSpan(1.5, 5.5))
    assert found.is_same is True
    assert found.offset_s == pytest.approx(-0.5, abs=0.06)
    assert found.edit is not None
    assert found.edit.matrix == pytest.approx(np.eye(3), abs=0.02)


@pytest.mark.parametrize("late_s", [-0.1, 0.06, 0.13])
def test_unchanged_piece_of_a_shaking_camera_is_unchanged(late_s):
    rng = np.random.default_rng(3)
    world = texture(5, (SIZE[0] + 80, SIZE[1] + 80))
    corners = rng.integers(0, 80, (60, 2)).repeat(2, axis=0)  # another place ten times a second
    frames = [world[top : top + SIZE[0], left : left + SIZE[1]] for top, left in corners]
    shaking = Clip(np.stack(frames), RATE)
    found = check(shaking, shaking, TimeSpan(1, 4), TimeSpan(1 + late_s, 4 + late_s))
    assert found.is_same is True
    assert found.edit is not None
    assert found.edit.describe() == "same framing"
    assert found.match is not None
    assert found.match.video_span is not None
    assert found.match.video_span.start_s == pytest.approx(1, abs=0.06)


def test_frames_of_a_query_are_paired_with_those_of_the_video_at_its_own_rate(tmp_path):
    """Between frames that are a tenth of a second apart a hand-held camera is anywhere."""
    rng = np.random.default_rng(3)
    world = texture(5, (SIZE[0] + 80, SIZE[1] + 80))
    walk = np.clip(40 + np.cumsum(rng.integers(-9, 10, (120, 2)), axis=0), 0, 80)
    frames = [world[top : top + SIZE[0], left : left + SIZE[1]] for top, left in walk]
    video = write_video(tmp_path / "video.mp4", frames, frames_per_s=RATE)
    query = write_video(tmp_path / "query.mp4", frames[21:101], frames_per_s=RATE)
    span = TimeSpan(0.0, 4.0)
    sides = Sides(FootageReader(), query, video, bounds=span)
    found = verify_match(sides, Match(span, TimeSpan(1.0, 5.0), 0.7))
    assert found.is_same is True
    assert found.motion is not None
    assert found.motion > 0.9
    assert found.match is not None
    assert found.match.video_span is not None
    assert found.match.video_span.start_s == pytest.approx(1.05, abs=0.02)


def test_footage_is_shown_at_its_own_speed_where_another_agrees_no_better(footage):
    dim = replace(
        footage, frames=(footage.frames[::1] * 0.2 + footage.frames[:1] * 0.8).astype("u1")
    )
    noise = np.random.default_rng(0).normal(0, 9, dim.frames.shape)
    noisy = replace(dim, frames=np.clip(dim.frames + noise, 0, 255).astype("u1"))
    found = check(noisy, dim, TimeSpan(1.0, 4.0), TimeSpan(1.0, 4.12))
    assert found.edit is not None
    assert found.edit.speed == pytest.approx(1.0, abs=1e-6)


def test_moving_inset_is_followed(footage):
    edited = edit_clip("pip-moving", footage, seed=4, video_hash="a", carrier=scene(2, 2))
    found = check_edit(edited, footage)
    assert found.is_same is True
    assert found.edit is not None
    assert found.edit.is_moving
    assert "moving rectangle" in found.edit.describe()


# --- other footage is not ------------------------------------------------------------------------


def test_another_take_at_the_same_place_is_not_confirmed(footage):
    span = TimeSpan(1.0, 5.0)
    found = check(scene(1, 7), footage, span, span)
    assert found.cells > 40
    assert found.appearance > 0.5
    assert found.motion is not None
    assert found.motion < 0.2
    assert found.is_same is False


def test_another_moment_of_the_same_video_is_not_confirmed():
    long = scene(1, 1, duration_s=14.0)
    found = check(long, long, TimeSpan(0.5, 4.0), TimeSpan(9.5, 13.0))
    assert found.is_same is False


def test_other_footage_has_no_geometry(footage):
    span = TimeSpan(1.0, 5.0)
    found = check(scene(5, 1), footage, span, span)
    assert found.is_same is False
    assert found.cells < verification.MIN_CELLS
    assert found.edit is None
    assert found.match is None


def test_black_frames_are_not_confirmed(footage):
    black = replace(footage, frames=np.zeros_like(footage.frames))
    span = TimeSpan(1.0, 5.0)
    assert check(black, footage, span, span).is_same is False
    assert check(footage, black, span, span).is_same is False


def test_nothing_follows_from_pictures_without_anything_to_recognize_them_by(footage):
    black = replace(footage, frames=np.zeros_like(footage.frames))
    found = check(black, black, TimeSpan(1.0, 5.0), TimeSpan(1.0, 5.0))
    assert (found.is_same, found.edit) == (None, None)


# --- what nothing can tell -----------------------------------------------------------------------


def test_footage_in_which_nothing_moves_stays_uncertain(footage):
    still = replace(footage, frames=np.repeat(footage.frames[:1], len(footage), axis=0))
    found = check(still, still, TimeSpan(1.0, 4.0), TimeSpan(1.3, 4.3))
    assert found.is_same is None
    assert found.motion is None
    assert found.appearance > 0.9
    assert found.offset_s == pytest.approx(0.0, abs=0.03)  # any time is as good


def test_single_frames_with_spans_stay_uncertain(footage):
    one = Footage([Frame(seen(footage, None).frames[0].gray, 0.02)])
    span = TimeSpan(0.0, 0.04)
    found = verify(one, one, query_span=span, video_span=span)
    assert found.is_same is None
    assert found.appearance == 1.0


# --- files ---------------------------------------------------------------------------------------


def test_files_are_read_around_the_match(footage, tmp_path):
    edited = edit_clip("mirror", clips.cut(clips.unedited(footage), 1.0, 5.0))
    video = write_video(tmp_path / "video.mp4", footage.frames, frames_per_s=RATE)
    query = write_video(tmp_path / "query.mp4", edited.frames, frames_per_s=RATE)
    sides = Sides(FootageReader(), query, video, bounds=TimeSpan(0.5, 3.5))
    found = verify_match(sides, Match(TimeSpan(0.5, 3.5), TimeSpan(1.9, 4.9), 0.7))
    assert found.is_same is True
    assert found.edit is not None
    assert found.edit.describe() == "mirrored"
    assert found.match is not None
    assert found.match.score == 0.7
    assert found.match.video_span is not None
    assert found.match.video_span.start_s == pytest.approx(1.5, abs=0.06)


def test_where_vectors_tell_no_time_all_of_a_range_is_searched(footage, tmp_path):
    long = scene(1, 1, duration_s=14.0, num_bodies=1)
    video = write_video(tmp_path / "video.mp4", long.frames, frames_per_s=RATE)
    query = write_video(tmp_path / "query.mp4", long.frames[200:260], frames_per_s=RATE)
    span = TimeSpan(0.0, 3.0)
    supposed = Match(span, TimeSpan(1.0, 4.0), 0.7)
    sides = Sides(FootageReader(), query, video, bounds=span)
    assert verify_match(sides, supposed).is_same is not True
    found = verify_match(sides, supposed, within=TimeSpan(0.0, 14.0))
    assert found.is_same is True
    assert found.match is not None
    assert found.match.video_span is not None
    assert found.match.video_span.start_s == pytest.approx(10.0, abs=0.03)


def test_a_known_geometry_is_the_only_one_that_is_tried(footage):
    span = TimeSpan(1.0, 4.0)
    whole = Placement(np.eye(3)[None], np.array([1.0]), 50)
    side = seen(footage, span)
    spans = {"query_span": span, "video_span": span}
    assert verify(side, side, known=whole, **spans).is_same is True
    wrong = replace(whole, matrices=np.diag([0.5, 0.5, 1.0])[None])
    assert verify(side, side, known=wrong, **spans).is_same is False


def test_of_a_long_match_only_a_piece_is_held(tmp_path, monkeypatch):
    long = scene(1, 1, duration_s=30.0)
    path = write_video(tmp_path / "long.mp4", long.frames, frames_per_s=RATE)
    held = []

    def watched(query: Footage, video: Footage, **spans: TimeSpan | None) -> Verification:
        held.extend([len(query), len(video)])
        return verify(query, video, **spans)

    monkeypatch.setattr(verification, "verify", watched)
    match = Match(TimeSpan(1.0, 29.0), TimeSpan(1.5, 29.5), 0.7)
    found = verify_match(Sides(FootageReader(), path, path, bounds=match.query_span), match)
    assert max(held) <= 12 * QUERY_FRAMES_PER_S + 1
    assert found.is_same is True
    assert found.match is not None
    assert found.match.query_span == match.query_span
    assert found.match.video_span is not None
    assert found.match.video_span.start_s == pytest.approx(1.0, abs=0.06)
    assert found.match.video_span.end_s == pytest.approx(29.0, abs=0.06)


def test_files_that_cannot_be_read_say_so(tmp_path):
    text = tmp_path / "text.mp4"
    text.write_text("no video")
    match = Match(TimeSpan(0, 1), TimeSpan(0, 1), 0.5)
    with pytest.raises(OSError, match=r"gone\.mp4"):
        verify_match(Sides(FootageReader(), tmp_path / "gone.mp4", text), match)
    with pytest.raises(MediaError):
        verify_match(Sides(FootageReader(), text, text), match)


# --- geometry ------------------------------------------------------------------------------------


def planted(
    rng: np.random.Generator, matrix: NDArray[np.float64], *, num: int = 30, num_wrong: int = 60
) -> PointMatches:
    """Matches that obey a similarity to a third of a pixel, among more that obey nothing."""
    video = rng.uniform(0, 250, (num + num_wrong, 2))
    query = moved(matrix, video) + rng.normal(0, 0.3, video.shape)
    query[num:] = rng.uniform(0, 250, (num_wrong, 2))
    slope = matrix[:2, :2]
    scale, turn = np.sqrt(np.linalg.det(slope)), np.arctan2(slope[1, 0], slope[0, 0])
    scales = np.exp(rng.normal(np.log(scale), 0.1, len(video)))
    turns = rng.normal(turn, 0.1, len(video))
    scales[num:], turns[num:] = rng.uniform(0.2, 3, num_wrong), rng.uniform(-3, 3, num_wrong)
    return PointMatches(
        video, query, scales, turns, rng.uniform(0.3, 0.8, len(video)), np.zeros(len(video), int)
    )


@given(st.floats(-3.1, 3.1), st.floats(0.3, 2.0), st.floats(-80, 80), st.integers(0, 2**31))
@settings(max_examples=30)
def test_planted_geometry_is_found_among_twice_as_many_wrong_matches(turn, scale, shift, seed):
    cos, sin = scale * np.cos(turn), scale * np.sin(turn)
    matrix = np.array([[cos, -sin, 100 + shift], [sin, cos, 100 - shift], [0, 0, 1.0]])
    matches = planted(np.random.default_rng(seed), matrix)
    fit = fit_affine(matches, tolerance=4.0)
    assert fit is not None
    assert fit.inliers[:30].mean() > 0.9
    corners = np.array([[0, 0], [250, 0], [250, 250], [0, 250.0]])
    assert moved(fit.matrix, corners) == pytest.approx(moved(matrix, corners), abs=3.0)


def test_upright_geometry_does_not_follow_what_turns():
    rng = np.random.default_rng(4)
    crop = np.array([[1.6, 0, -40], [0, 1.5, -20], [0, 0, 1.0]])
    still, turned = planted(rng, crop, num_wrong=0), planted(rng, crop @ TURN, num_wrong=40)
    matches = PointMatches.joined([still, turned])
    fit = fit_affine(matches, tolerance=4.0, is_upright=True)
    assert fit is not None
    assert fit.inliers[:30].all()
    assert fit.matrix == pytest.approx(crop, rel=0.03, abs=2.0)


def test_points_without_agreement_have_no_geometry():
    matches = planted(np.random.default_rng(1), np.eye(3), num=0, num_wrong=150)
    fit = fit_affine(matches, tolerance=4.0)
    assert fit is None or fit.cells < verification.MIN_CELLS
    assert fit_affine(PointMatches.joined([]), tolerance=4.0) is None


def test_points_on_a_line_have_no_geometry():
    along = np.linspace(0, 200, 40)
    points = np.column_stack([along, along])
    ones = np.ones(40)
    matches = PointMatches(points, points, ones, 0 * ones, 0.5 * ones, np.zeros(40, int))
    assert fit_affine(matches, tolerance=4.0) is None


def test_homography_replaces_an_affine_map_only_where_it_is_needed():
    rng = np.random.default_rng(2)
    plain = planted(rng, np.array([[0.8, 0, 10], [0, 0.8, 20], [0, 0, 1.0]]), num=80, num_wrong=20)
    affine = fit_affine(plain, tolerance=4.0)
    assert affine is not None
    assert fit_homography(affine, plain, tolerance=4.0) is None

    tilt = np.array([[1, 0, 0], [0, 1, 0], [1e-3, 0, 1.0]])
    tilted = replace(plain, query_points=moved(tilt, plain.query_points))
    affine = fit_affine(tilted, tolerance=4.0)
    assert affine is not None
    fit = fit_homography(affine, tilted, tolerance=4.0)
    assert fit is not None
    assert fit.error < 0.5 * affine.error


def test_edit_is_told_in_words():
    assert NO_CHANGE.describe() == "same framing"
    assert NO_CHANGE.rectangle == (0, 0, 1, 1)
    assert NO_CHANGE.crop == (1, 1)
    inset = np.array([[-0.3, 0, 230], [0, 0.3, 19.2], [0, 0, 1.0]])
    assert find_edit(inset, SIZE, SIZE, speed=1.25).describe() == (
        "mirrored, 1.25 x faster, inside a rectangle at 60 %, 10 % of 30 % x 30 % size"
    )
    cropped = np.array([[1.25, 0, -40], [0, 1.25, -20], [0, 0, 1.0]])
    assert find_edit(cropped, SIZE, SIZE).describe() == "cropped to 80 % x 80 %"
    left = np.array([[0, 1.0, 0], [-1, 0, SIZE[1]], [0, 0, 1]])
    assert find_edit(left, SIZE, SIZE[::-1]).describe() == "turned left by 90 degrees"
    slow = find_edit(np.eye(3), SIZE, SIZE, speed=0.8)
    assert slow.describe() == "1.25 x slower"


def test_visible_part_of_a_turned_picture_is_exact():
    around = np.array([[0, 1.0, 32], [-1, 0, 224], [0, 0, 1]])  # stands upright in the same frame
    found = find_edit(around, SIZE, SIZE)
    assert found.rectangle == pytest.approx((32 / 256, 0, 192 / 256, 1))
    assert found.crop == pytest.approx((192 / 256, 1))


# --- windows, and what decides -------------------------------------------------------------------


def test_an_inset_that_drifts_stands_still_in_its_window(footage, tmp_path):
    query, video = tmp_path / "query.mp4", tmp_path / "video.mp4"
    carrier = scene(7, 7)
    height, width = SIZE[0] // 2, SIZE[1] // 2
    inset, frames = clips.resize_frames(footage.frames, (height, width)), carrier.frames.copy()
    lefts = np.rint(np.linspace(0, SIZE[1] - width, len(frames))).astype(int)
    for frame, picture, left in zip(frames, inset, lefts, strict=True):
        frame[20 : 20 + height, left : left + width] = picture
    write_video(query, frames, frames_per_s=RATE, crf=23)
    write_video(video, footage.frames, frames_per_s=RATE, crf=23)
    span = TimeSpan(0.0, footage.duration_s)
    window = Rectangle(
        0.25,
        20 / SIZE[0],
        0.5,
        0.5,
        drift=(0.5 / footage.duration_s, 0.0),
        at_s=footage.duration_s / 2,
    )
    sides = Sides(FootageReader(), query, video, window)
    found = verify_match(sides, Match(span, span, 1.0))
    assert found.is_same
    assert found.placement is not None
    path = found.placement.at(np.linspace(0, footage.duration_s, 20))[:, :2, 2]
    assert (np.ptp(path, axis=0) < 3).all()  # in the window: it is moved by whole pixels
    assert found.edit is not None
    assert found.edit.is_moving
    assert np.allclose(found.edit.rectangle, (0.25, 20 / SIZE[0], 0.5, 0.5), atol=0.02)


@pytest.mark.parametrize(
    ("appearance", "motion", "contrast", "speed", "compared_s", "is_same"),
    [
        (0.9, 0.85, 0.0, 1.0, 3.0, True),
        (0.9, 0.7, 0.0, 1.0, 3.0, None),
        (0.9, 0.7, 20.0, 1.0, 3.0, True),
        (0.9, 0.35, 35.0, 1.0, 3.0, True),  # half of what moves in a blend
        (0.9, 0.35, 20.0, 1.0, 3.0, None),
        (0.9, 0.5, 26.0, 1.0, 2.4, True),
        (0.9, 0.5, 26.0, 0.945, 2.4, None),  # titles that slide in over one signer
        (0.8, 0.45, 40.0, 1.0, 3.0, None),  # a title animation with other words
        (0.9, 0.2, 40.0, 1.0, 3.0, False),
        (0.2, 0.9, 40.0, 1.0, 3.0, False),
        (0.94, 0.5, 27.0, 0.86, 3.0, None),  # a pitcher who throws again
        (0.94, 0.82, 14.8, 0.89, 3.0, None),  # one sign of many, made a little slower
        (0.9, 0.9, 0.0, 1.25, 3.0, True),
        (0.9, 0.8, 30.0, 1.25, 3.0, True),
        (0.8, 0.68, 24.5, 0.79, 3.0, None),  # a robot's next task
        (0.5, 0.85, 27.0, 1.0, 3.0, None),  # a title that moves alike over another person
        (0.57, 0.95, 8.0, 1.0, 3.0, True),  # an inset in a circle
        (0.73, 0.72, 36.0, 1.0, 3.0, True),
        (0.94, 0.82, 13.0, 1.0, 1.3, None),  # an arm that is lowered alike after another sign
        (0.94, 0.9, 13.0, 1.0, 1.3, True),
        (0.94, 0.82, 20.0, 1.0, 1.3, True),
        (0.93, 0.77, 18.0, 1.0, 1.3, None),  # another moment of one scene
    ],
)
def test_the_farther_motion_stands_out_the_less_of_it_is_needed(
    appearance, motion, contrast, speed, compared_s, is_same
):
    clock = Clock(0, 0, speed)
    laid = Laid(Placement(np.eye(3)[None], np.zeros(1), 50), clock, appearance, motion, contrast)
    assert is_same_footage(laid, compared_s) is is_same
    seen_so = Verification(
        is_same,
        appearance=appearance,
        motion=motion,
        contrast=contrast,
        edit=replace(NO_CHANGE, speed=speed),
        compared_s=compared_s,
    )
    assert (seen_so.weighed_motion >= motion) or not is_same
    if is_same:
        assert seen_so.weighed_motion >= LIKELY_MOTION


def test_what_lies_around_a_round_inset_does_not_hide_the_time(footage):
    carrier = scene(9, 9)
    inside = np.zeros(SIZE, np.uint8)
    cv2.circle(inside, (SIZE[1] // 2, SIZE[0] // 2), SIZE[0] // 3, 1, cv2.FILLED)
    frames = np.where(inside[None, ..., None].astype(bool), footage.frames, carrier.frames)
    span = TimeSpan(0.0, footage.duration_s)
    late = TimeSpan(0.4, footage.duration_s + 0.4)
    found = check(Clip(frames, RATE), footage, span, late)
    assert found.is_same
    assert found.offset_s == pytest.approx(-0.4, abs=0.03)


@pytest.mark.parametrize("duration_s", [0.15, 0.3, 0.5, 0.8])
def test_less_than_a_second_is_confirmed_at_its_time(tmp_path, duration_s):
    """Vectors of a moment are alike for seconds around it."""
    footage = scene(1, 1, num_bodies=1)
    video = write_video(tmp_path / "video.mkv", footage.frames, frames_per_s=RATE, crf=18)
    frames = footage.frames[round(3 * RATE) : round((3 + duration_s) * RATE)]
    query = write_video(tmp_path / "query.mkv", frames, frames_per_s=RATE, crf=18)
    supposed = Match(TimeSpan(0, duration_s), TimeSpan(2.2, 4.4), 0.5)
    verified = verify_match(Sides(FootageReader(), query, video), supposed)
    assert verified.is_same
    assert verified.match is not None
    assert verified.match.video_span is not None
    assert verified.match.video_span.start_s == pytest.approx(3, abs=0.1)
    assert verified.match.video_span.end_s == pytest.approx(3 + duration_s, abs=0.1)


def test_what_moves_in_other_blocks_does_not_agree():
    """Drawn footage: exactly nothing changes where the other side does."""
    one, other = np.zeros((2, 4, 128), np.float32)
    one[1::2, :64] = other[1::2, 64:] = 50
    shared = synchrony._Shared.of(one, other, np.arange(128) // 64)
    assert shared.correlation(np.array([True, True])) == 0
