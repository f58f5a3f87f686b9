"""Every edit does what it says, and says what it did: the truth is checked against frames."""

import numpy as np
import pytest

from sora_search.datatypes import Match, TimeSpan
from sora_search.media.clips import Clip, joined_carrier
from sora_search.media.editing import (
    DISTURBANCES,
    EDITS,
    HARD_EDITS,
    USUAL_EDITS,
    edit_clip,
    read_clip,
)
from sora_search.media.writing import write_video

RATE = 15.0
HEIGHT, WIDTH = 96, 160
SHORT = [name for name, edit in EDITS.items() if edit.min_duration_s == 0]
COMPOSED = [name for name, edit in EDITS.items() if edit.needs_carrier]


def scene(num_frames=45, *, height=HEIGHT, width=WIDTH, seed=0):
    """A smooth random picture that drifts to the right, two pixels a frame."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(30, 226, (6, 20, 3))
    rows = np.linspace(0, 5, height).round().astype(int)
    columns = np.arange(width + 2 * num_frames) * 20 // (width + 2 * num_frames)
    wide = coarse[rows][:, columns].astype(np.uint8)
    frames = [wide[:, 2 * (num_frames - i) :][:, :width] for i in range(num_frames)]
    return Clip(np.stack(frames), RATE)


def counting(num_frames=45):
    """A clip whose gray level counts its frames (3, 8, 13, ...)."""
    levels = (3 + 5 * np.arange(num_frames)).astype(np.uint8)
    frames = np.broadcast_to(levels[:, None, None, None], (num_frames, 32, 48, 3))
    return Clip(frames.copy(), RATE)


def white_carrier(*, like):
    return Clip(np.full((10, 40, 40, 3), 255, np.uint8), like.frames_per_s)


@pytest.fixture(scope="module")
def clip():
    return scene()


@pytest.fixture(scope="module")
def carrier():
    return scene(90, seed=7)


def test_the_table_has_the_named_edits():
    assert len(USUAL_EDITS) == 20
    assert len(HARD_EDITS) == 16
    assert [len(names) for names in DISTURBANCES.values()] == [5] * 5
    assert len(EDITS) == 20 + 16 + 25
    assert {"reencode", "12-fps", "speed-0.7", "social"} <= set(USUAL_EDITS)
    assert {"pip-moving", "two-excerpts", "swapped"} <= set(HARD_EDITS)


@pytest.mark.parametrize("name", SHORT)
def test_edit_is_the_same_for_the_same_seed_and_video(name, clip, carrier):
    before = clip.frames.copy()
    first = edit_clip(name, clip, seed=3, video_hash="abc", carrier=carrier)
    again = edit_clip(name, clip, seed=3, video_hash="abc", carrier=carrier)
    np.testing.assert_array_equal(first.frames, again.frames)
    assert first.matches == again.matches
    np.testing.assert_array_equal(clip.frames, before)


@pytest.mark.parametrize("name", ["crop-60", "light", "noise", "pip", "overlay", "dropped-3"])
def test_another_video_or_seed_is_edited_otherwise(name, clip, carrier):
    def edited(seed, video_hash):
        copy = edit_clip(name, clip, seed=seed, video_hash=video_hash, carrier=carrier)
        return copy.frames.tobytes()

    assert len({edited(0, "a"), edited(0, "b"), edited(1, "a")}) == 3


@pytest.mark.parametrize("name", SHORT)
def test_truth_stays_within_both_clips(name, clip, carrier):
    edited = edit_clip(name, clip, carrier=carrier)
    assert edited.frames.dtype == np.uint8
    assert edited.matches
    for match in edited.matches:
        assert match.query_span.end_s <= edited.duration_s + 1e-9
        assert match.video_span.end_s <= clip.duration_s + 1e-9


@pytest.mark.parametrize("name", SHORT)
@pytest.mark.parametrize(("height", "width"), [(33, 57), (64, 35), (16, 16)])
def test_edits_take_any_size(name, height, width, carrier):
    small = scene(12, height=height, width=width)
    assert len(edit_clip(name, small, carrier=carrier)) > 0


@pytest.mark.parametrize("name", SHORT)
def test_edits_take_a_single_frame(name, carrier):
    assert len(edit_clip(name, scene(1), carrier=carrier)) >= 1


# Places: where the truth says that a place went, there its pixels are


GEOMETRIC = [
    "crop-85", "crop-60", "crop-45", "crop-30", "mirror", "letterbox", "blurred-pillars",
    "stretch", "rotate-8", "rotate-25", "rotate-90", "rotate-180", "vertical", "pip",
    "pip-rounded", "pip-circle", "pip-moving", "collage",
]  # fmt: skip


@pytest.mark.parametrize("name", GEOMETRIC)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_geometry_leads_to_the_same_pixels(name, seed):
    # A smooth picture: red grows to the right, green downwards.
    x, y = np.meshgrid(np.arange(WIDTH) + 0.5, np.arange(HEIGHT) + 0.5)
    picture = np.stack([x / WIDTH * 200 + 20, y / HEIGHT * 200 + 20, 0 * x], axis=-1)
    still = Clip(np.repeat(picture.astype(np.uint8)[None], 6, axis=0), RATE)
    edited = edit_clip(name, still, seed=seed, carrier=white_carrier(like=still))
    height, width = edited.size
    checked = 0
    for row in (0, len(edited) - 1):
        places = np.random.default_rng(5).uniform(4, (WIDTH - 4, HEIGHT - 4), (400, 2))
        for place_x, place_y in places:
            moved = edited.geometry[row] @ (place_x, place_y, 1.0)
            new_x, new_y = moved[:2] / moved[2]
            if not (3 <= new_x < width - 3 and 3 <= new_y < height - 3):
                continue
            red, green, blue = edited.frames[row, int(new_y), int(new_x)].astype(int)
            if blue > 0 and name in ("pip-rounded", "pip-circle"):
                continue  # behind the round corner: the white carrier
            assert abs(red - (place_x / WIDTH * 200 + 20)) < 12
            assert abs(green - (place_y / HEIGHT * 200 + 20)) < 12
            checked += 1
    assert checked >= 5


def test_mirror_is_exact_and_known(clip):
    edited = edit_clip("mirror", clip)
    np.testing.assert_array_equal(edited.frames, clip.frames[:, :, ::-1])
    assert edited.mirrored
    assert not edit_clip("rotate-180", clip).mirrored
    assert edit_clip("social", clip).mirrored


@pytest.mark.parametrize(("name", "share"), [("crop-85", 0.85), ("crop-30", 0.30)])
def test_crop_keeps_this_share_of_each_side(name, share, clip):
    edited = edit_clip(name, clip)
    assert edited.size == (round(HEIGHT * share), round(WIDTH * share))
    left, top = -edited.geometry[0, :2, 2].astype(int)
    inside = clip.frames[:, top : top + edited.size[0], left : left + edited.size[1]]
    np.testing.assert_array_equal(edited.frames, inside)


def test_rotations_by_quarters_are_exact(clip):
    np.testing.assert_array_equal(edit_clip("rotate-180", clip).frames, clip.frames[:, ::-1, ::-1])
    turns = {edit_clip("rotate-90", clip, seed=s).frames.tobytes() for s in range(8)}
    quarters = (1, 3)
    assert turns == {np.rot90(clip.frames, k, axes=(1, 2)).tobytes() for k in quarters}


def test_rotation_has_black_corners_and_its_angle(clip):
    edited = edit_clip("rotate-8", clip)
    assert edited.frames[:, 0, 0].max() == 0 or edited.frames[:, 0, -1].max() == 0
    matrix = edited.geometry[0]
    assert abs(np.degrees(np.arctan2(matrix[0, 1], matrix[0, 0]))) == pytest.approx(8)
    center = matrix @ (WIDTH / 2, HEIGHT / 2, 1)
    np.testing.assert_allclose(center, (WIDTH / 2, HEIGHT / 2, 1))


def test_letterbox_puts_wide_into_narrow_and_the_other_way():
    wide = edit_clip("letterbox", scene(3, height=90, width=160))
    assert wide.size == (120, 160)
    assert wide.frames[:, :15].max() == 0
    assert wide.rectangle() == pytest.approx((0, 0.125, 1, 0.75))
    narrow = edit_clip("letterbox", scene(3, height=90, width=120))
    assert narrow.size == (90, 160)
    assert narrow.frames[:, :, :20].max() == 0
    assert narrow.rectangle() == pytest.approx((0.125, 0, 0.75, 1))


def test_blurred_pillars_hold_the_picture_in_their_middle(clip):
    edited = edit_clip("blurred-pillars", clip)
    left = round(edited.corners()[0, 0])
    assert edited.size[0] == HEIGHT
    assert left >= 20
    np.testing.assert_array_equal(edited.frames[:, :, left : left + WIDTH], clip.frames)
    assert edited.frames[:, :, :left].min() > 0
    steps = np.abs(np.diff(edited.frames[:, :, :left].astype(int), axis=1)).max()
    assert steps < np.abs(np.diff(clip.frames.astype(int), axis=1)).max() / 2


def test_stretch_changes_the_aspect_by_thirty_percent(clip):
    sizes = {edit_clip("stretch", clip, seed=s).size for s in range(8)}
    assert sizes == {(HEIGHT, round(WIDTH * 1.3)), (HEIGHT, round(WIDTH / 1.3))}


def test_screen_shakes_a_little_and_stays_in_the_picture(clip):
    edited = edit_clip("screen", clip)
    corners = np.stack([edited.corners(row) for row in range(len(edited))])
    assert 0 < np.ptp(corners, axis=0).max() <= 0.02 * WIDTH
    assert (np.abs(corners[:, 0]) <= 0.14 * WIDTH).all()


def test_vertical_is_the_middle_between_two_bars(clip):
    edited = edit_clip("vertical", clip)
    assert edited.size[1] == round(HEIGHT * 9 / 16)
    bar = round(edited.geometry[0, 1, 2])
    middle = edited.frames[:, bar : bar + HEIGHT]
    left = (WIDTH - edited.size[1]) // 2
    np.testing.assert_array_equal(middle, clip.frames[:, :, left : left + edited.size[1]])
    bars = edited.frames[0, :bar], edited.frames[0, bar + HEIGHT :]
    assert sorted(int(b.max()) > 100 for b in bars) == [False, True]  # the caption in one


# Pixels


def mean_error(edited, clip):
    return np.abs(edited.frames.astype(int) - clip.frames.astype(int)).mean()


def test_gray_is_gray_and_as_bright(clip):
    frames = edit_clip("gray", clip).frames.astype(float)
    assert np.ptp(frames, axis=3).max() == 0
    luma = clip.frames @ np.array([0.299, 0.587, 0.114])
    assert np.abs(frames[..., 0] - luma).max() <= 1


def test_hue_leaves_gray_alone_and_turns_colors(clip):
    gray = Clip(np.full((2, 8, 8, 3), 90, np.uint8), RATE)
    np.testing.assert_array_equal(edit_clip("hue", gray).frames, gray.frames)
    assert mean_error(edit_clip("hue", clip), clip) > 2


def test_light_keeps_the_order_of_levels():
    ramp = Clip(np.repeat(np.arange(256, dtype=np.uint8)[None, None, :, None], 3, 3), RATE)
    for seed in range(10):
        levels = edit_clip("light", ramp, seed=seed).frames[0, 0, :, 0].astype(int)
        assert (np.diff(levels) >= 0).all()
        assert not np.array_equal(levels, np.arange(256))


def test_noise_has_its_sigma():
    flat = Clip(np.full((8, 96, 128, 3), 128, np.uint8), RATE)
    frames = edit_clip("noise", flat).frames.astype(float)
    assert frames.std() == pytest.approx(15, rel=0.03)
    assert frames.mean() == pytest.approx(128, abs=0.3)
    assert abs(np.corrcoef(frames[0].ravel(), frames[1].ravel())[0, 1]) < 0.05


def test_blur_scales_with_the_picture():
    # The blurred edge of a step has the slope of a normal distribution of that sigma.
    step = np.zeros((1, 144, 144, 3), np.uint8)
    step[:, :, 72:] = 250
    blurred = edit_clip("blur", Clip(step, RATE)).frames[0, 70, :, 0].astype(float)
    assert np.diff(blurred).max() == pytest.approx(250 / (1.25 * np.sqrt(2 * np.pi)), rel=0.1)


def test_downscale_loses_detail_alone(clip):
    fine = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3)).astype(np.uint8)
    assert edit_clip("downscale", Clip(fine, RATE)).frames.std() < fine.std() / 2
    assert mean_error(edit_clip("downscale", clip), clip) < 15


@pytest.mark.parametrize("kind", DISTURBANCES)
def test_disturbances_grow_with_their_strength(kind, clip):
    errors = [mean_error(edit_clip(name, clip), clip) for name in DISTURBANCES[kind]]
    assert errors[0] > 0
    assert errors == sorted(errors)
    assert errors[-1] > 1.4 * errors[0]


def test_darkness_multiplies(clip):
    frames = edit_clip("darkness-2", clip).frames
    assert np.abs(frames - clip.frames * 0.5).max() <= 0.5


def test_reencode_keeps_time_and_place(clip):
    edited = edit_clip("reencode", clip)
    assert 0 < mean_error(edited, clip) < 16
    # Each frame is nearest to the one that it came from.
    flat = edited.frames.reshape(len(clip), -1).astype(float)
    original = clip.frames.reshape(len(clip), -1).astype(float)
    nearest = [int(np.abs(original - row).mean(axis=1).argmin()) for row in flat]
    assert np.abs(np.array(nearest) - np.arange(len(clip))).max() <= 1


def test_overlay_covers_a_corner_and_a_line(clip):
    edited = edit_clip("overlay", clip)
    changed = (edited.frames != clip.frames).any(axis=(0, 3))
    columns = np.flatnonzero(changed[: HEIGHT // 2].any(axis=0))
    if len(columns):  # the logo is in an upper corner
        assert np.ptp(columns) + 1 == pytest.approx(WIDTH * 0.2, abs=2)
    assert changed[round(HEIGHT * 0.8) :].any()
    assert not changed[round(HEIGHT * 0.5) : round(HEIGHT * 0.55)].any()
    assert 0.02 < changed.mean() < 0.35


# Times: a clip that counts its frames, and what the truth says of each


TIMED = ["12-fps", "speed-0.7", "speed-1.5", "trim", "swapped", "excerpt", "two-excerpts"]


@pytest.mark.parametrize("name", TIMED)
@pytest.mark.parametrize("seed", [0, 1])
def test_spans_lead_to_the_original_time(name, seed):
    original = counting(50) if name != "two-excerpts" else counting_slowly()
    levels = original.frames[:, 0, 0, 0].astype(int)
    edited = edit_clip(name, original, seed=seed, carrier=white_carrier(like=original))
    num_shown = 0
    for row, level in enumerate(edited.frames[:, 0, 0, 0].astype(int)):
        middle_s = (row + 0.5) / edited.frames_per_s
        matches = [m for m in edited.matches if contains(m.query_span, middle_s)]
        if level == 255:
            assert not matches
            continue
        (match,) = matches
        true_s = video_time(match, middle_s)
        on_screen = levels[min(int(true_s * RATE + 1e-6), len(original) - 1)]
        assert level == on_screen
        num_shown += 1
    shown_s = sum(match.query_span.duration_s for match in edited.matches)
    assert num_shown == pytest.approx(shown_s * edited.frames_per_s, abs=1)


def counting_slowly():
    """Ten seconds: longer than the gray levels count, so every level lasts a second."""
    levels = (3 + 5 * (np.arange(150) // 15)).astype(np.uint8)
    frames = np.broadcast_to(levels[:, None, None, None], (150, 32, 48, 3))
    return Clip(frames.copy(), RATE)


def contains(span, time_s):
    return span.start_s <= time_s < span.end_s


def video_time(match, time_s):
    speed = match.video_span.duration_s / match.query_span.duration_s
    return match.video_span.start_s + (time_s - match.query_span.start_s) * speed


@pytest.mark.parametrize(
    ("name", "num_frames", "speed"),
    [("speed-1.5", 30, 1.5), ("speed-0.7", 64, 0.7), ("12-fps", 36, 1.0), ("trim", 18, 1.0)],
)
def test_speed_and_number_of_frames(name, num_frames, speed):
    edited = edit_clip(name, counting())
    assert abs(len(edited) - num_frames) <= 1
    assert edited.speed == pytest.approx(speed)


def test_frame_rate_alone_changes_no_duration():
    edited = edit_clip("12-fps", counting())
    assert edited.frames_per_s == 12
    assert edited.duration_s == pytest.approx(3.0)


def test_trim_keeps_the_middle():
    (match,) = edit_clip("trim", counting(50)).matches
    assert match.video_span.start_s == pytest.approx(15 / RATE)
    assert match.video_span.end_s == pytest.approx(35 / RATE)


def test_swapped_has_the_second_half_first():
    first, second = edit_clip("swapped", counting(50)).matches
    assert first.video_span.start_s == pytest.approx(25 / RATE)
    assert second.video_span.start_s == 0
    assert first.query_span.end_s == pytest.approx(second.query_span.start_s)


def test_excerpt_is_two_seconds_inside_twenty():
    original = counting()
    edited = edit_clip("excerpt", original, carrier=white_carrier(like=original))
    (match,) = edited.matches
    assert edited.duration_s == pytest.approx(20)
    assert match.query_span.duration_s == pytest.approx(2)


def test_two_excerpts_are_two_moments_with_a_gap():
    original = counting_slowly()
    carrier = white_carrier(like=original)
    for seed in range(20):
        edited = edit_clip("two-excerpts", original, seed=seed, carrier=carrier)
        first, second = edited.matches
        assert edited.duration_s == pytest.approx(20)
        assert second.query_span.start_s - first.query_span.end_s >= 0.99
        assert second.video_span.start_s >= first.video_span.end_s - 0.1
        assert 1.9 <= first.query_span.duration_s <= 3.1


def test_dropped_frames_freeze_the_one_before():
    levels = edit_clip("dropped-3", counting()).frames[:, 0, 0, 0].astype(int)
    shown = (levels - 3) // 5
    assert shown[0] == 0
    assert (shown <= np.arange(45)).all()
    assert (np.diff(shown) >= 0).all()
    assert len(set(shown.tolist())) == 45 - round(0.5 * 45)


# Compositions


@pytest.mark.parametrize("name", ["pip", "pip-rounded", "pip-circle", "pip-moving"])
def test_picture_in_picture_lies_over_the_carrier(name, clip):
    mirrored = []
    for seed in range(24):
        edited = edit_clip(name, clip, seed=seed, carrier=white_carrier(like=clip))
        _, _, width, height = edited.rectangle()
        mirrored.append(edited.mirrored)
        assert 0.2 < height < 0.62 or name == "pip-circle"
        assert width < 0.62
        white = (edited.frames == 255).all(axis=(0, 3)).mean()
        assert white > 0.2 if name == "pip-moving" else white > 0.6
    assert 6 <= sum(mirrored) <= 18


def test_moving_picture_crosses_from_side_to_side(clip):
    edited = edit_clip("pip-moving", clip, carrier=white_carrier(like=clip))
    lefts = [edited.rectangle(row)[0] for row in (0, len(edited) - 1)]
    assert abs(lefts[1] - lefts[0]) == pytest.approx(1 - edited.rectangle(0)[2], abs=0.02)


def test_collage_fills_one_of_four_cells(clip, carrier):
    cells = {edit_clip("collage", clip, seed=s, carrier=carrier).rectangle()[:2] for s in range(16)}
    assert cells == {(0, 0), (0.5, 0), (0, 0.5), (0.5, 0.5)}


def test_blend_is_half_of_each(clip):
    edited = edit_clip("blend", clip, carrier=white_carrier(like=clip))
    assert np.abs(edited.frames - (clip.frames * 0.5 + 127.5)).max() <= 1


@pytest.mark.parametrize("name", COMPOSED)
def test_compositions_need_a_carrier(name):
    with pytest.raises(ValueError, match="needs a carrier"):
        edit_clip(name, counting_slowly())


def test_carrier_is_brought_to_the_size_and_rate_of_the_clip(clip):
    pieces = [scene(10, height=40, width=40), scene(20, height=200, width=90)]
    long = joined_carrier(pieces, like=clip, duration_s=4.0)
    assert long.frames.shape == (60, HEIGHT, WIDTH, 3)
    assert len(np.unique(long.frames.reshape(60, -1), axis=0)) == 30  # starts over


def test_unknown_edits_and_short_clips_are_refused(clip, carrier):
    with pytest.raises(ValueError, match="no edit 'sharpen'"):
        edit_clip("sharpen", clip)
    with pytest.raises(ValueError, match="needs 5 s"):
        edit_clip("two-excerpts", clip, carrier=carrier)


def test_a_file_becomes_a_clip_of_its_own_rate(tmp_path, clip):
    path = write_video(tmp_path / "a.mkv", clip.frames, frames_per_s=RATE, codec="ffv1")
    again = read_clip(path)
    assert again.frames_per_s == pytest.approx(RATE)
    np.testing.assert_array_equal(again.frames, clip.frames)
    small = read_clip(path, short_side=32)
    assert min(small.size) == 32
    assert len(small) == len(again)
    assert read_clip(path, short_side=5000).size == again.size
    part = read_clip(path, span=TimeSpan(1.0, 2.0))
    np.testing.assert_array_equal(part.frames, clip.frames[15:30])


def test_unedited_match_is_the_whole_clip():
    (match,) = edit_clip("gray", counting()).matches
    assert match == Match(TimeSpan(0, 3.0), TimeSpan(0, 3.0), 1.0)
