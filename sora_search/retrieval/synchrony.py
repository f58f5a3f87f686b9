"""At which time two series of pictures agree, and how well they move alike. Pure numpy.

The pictures of both sides are given at the same points, so that each frame is one row.
Frames at times between two frames are mixed from both, so the products of all frames
with one another say everything: nothing is read anew for an offset.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Floats32 = NDArray[np.float32]
Integers = NDArray[np.int64]

MAX_OFFSET_S = 1.5
"""Farthest time that is tried, unless more is asked for."""

MAX_SPEED_ERROR = 0.25
"""Farthest share by which the supposed speed may be wrong."""

LAG_S = 0.2
"""Time over which a change is taken: longer than one frame that was dropped or repeated."""

MIN_CHANGE, FAINT_CHANGE, FAINT_MOTION = 2.0, 0.8, 0.45
"""Levels of change (of 255) in the liveliest twentieth of the picture that count as motion.
Between the second and the first it is hardly more than what compression leaves: agreement
still says something there (people far away), its lack nothing."""

MIN_LIKENESS, MIN_ALIKE = 0.3, 0.2
"""Motion is read in blocks whose pictures correlate by the first, if they are the second's
share: an inset in a circle rose from .17 to .63, other takes stayed below .25."""

NOISE = 0.25
"""Squared levels a point that any change may hold: where nothing moves, nothing agrees."""

BEYOND_S = 0.06
"""Half a frame before the first frame and behind the last one still counts."""

SPEEDS = (0.5, 2.0)
"""Slowest and fastest that footage is expected to be shown."""

NEARLY_PLAIN = 0.06
"""Speeds closer to 1 than this are 1 where that agrees as well: slow movement tells no speed."""

CLEAR_AGREEMENT = 0.5
"""Motion at the supposed speed below which all of `SPEEDS` are tried: of copies nearly all have
more, and then a wrong speed is out of the question."""

MIN_OVERLAP = 0.6
"""Share of the query's frames that the indexed video must have at a time that is tried."""

UNUSABLE = -9.0
"""Score of a time at which too little overlaps: below all others."""

STEP_S, FEW_FRAMES = 0.1, 10
"""Between offsets that are tried, and between the query's frames that try them, unless those are
fewer."""


@dataclass(frozen=True, slots=True)
class Clock:
    """A straight line of time: the moment of the indexed video that a moment of the query shows."""

    origin_s: float
    at_origin_s: float
    speed: float

    def __call__(self, times_s: Floats) -> Floats:
        """The moments of the indexed video that the query shows at these."""
        return self.at_origin_s + self.speed * (times_s - self.origin_s)

    def back(self, times_s: Floats) -> Floats:
        """The moments of the query that show these of the indexed video."""
        return self.origin_s + (times_s - self.at_origin_s) / self.speed

    def inverse(self) -> "Clock":
        """The moment of the query that shows a moment of the indexed video."""
        return Clock(self.at_origin_s, self.origin_s, 1 / self.speed)

    def shifted(self, offset_s: float, factor: float = 1.0) -> "Clock":
        """The same clock set later, and running faster."""
        return Clock(self.origin_s, self.at_origin_s + offset_s, self.speed * factor)


@dataclass(frozen=True, slots=True)
class Timing:
    """The correction of time at which both sides agree best, and how well they do.

    `contrast` says how far the motion there stands out among other times, in deviations.
    """

    offset_s: float
    factor: float
    motion: float | None
    contrast: float


def find_time(
    laid: Floats32,
    original: Floats32,
    blocks: Integers,
    times_s: Floats,
    video_times_s: Floats,
    clock: Clock,
    *,
    reach_s: tuple[float, float] = (MAX_OFFSET_S, MAX_OFFSET_S),
) -> Timing | None:
    """Try every offset and some speeds around the supposed ones.

    Offsets are tried with some of the query's frames. The best one is then made finer from
    the frames of the indexed video, with all frames of the query to choose from: between frames
    that are a tenth of a second apart a camera that shakes is anywhere.

    Args:
        laid: The query's frames at points of the indexed picture, shape ``(T, P)``.
        original: Frames of the indexed video at these points, shape ``(T', P)``.
        blocks: The number of the block of each point, shape ``(P,)``.
        times_s: When the query's frames are shown, shape ``(T,)``.
        video_times_s: The same of the indexed video, shape ``(T',)``.
        clock: The supposed time.
        reach_s: How much earlier, and later, in the indexed video it may be.

    Returns:
        The correction; None if too few frames overlap.
    """
    some = _some(times_s)
    series = _Series.of(laid[some], original, times_s[some], video_times_s)
    if series is None:
        return None
    rough = _rough_time(series, clock, reach_s)
    if rough is None:
        return None
    best, contrast = rough
    turned = _from_video(laid, original, times_s, video_times_s, clock.shifted(*best))

    def best_of(places: Sequence[_Place]) -> tuple[_Place, float]:
        starts_s, speeds = _lines(clock, places)
        if turned is None:
            agreements = series.agreements(starts_s, speeds)
        else:
            agreements = turned.agreements(-starts_s / speeds, 1 / speeds)
        scores = _scores(agreements, places)
        return places[int(scores.argmax())], float(scores.max())

    for step_s, step in ((0.05, 0.02), (0.025, 0.01), (0.0125, 0.005)):
        near = [(best[0] + i * step_s, best[1] + j * step) for i in (0, -1, 1) for j in (0, -1, 1)]
        best, score = best_of(near)
    if abs(clock.speed * best[1] - 1) < NEARLY_PLAIN:
        as_it_is = [(best[0] + i * 0.0125, 1 / clock.speed) for i in range(-10, 11)]
        plain, plain_score = best_of(as_it_is)
        if plain_score > score - 0.01:
            best = plain
    at = clock.shifted(*best)
    motion = None
    if turned is not None:
        motion = turned.motion(at.inverse(), blocks)
    if motion is None:
        motion = series.motion(at, blocks)
    return Timing(*best, motion, contrast)


_Place = tuple[float, float]
"""An offset in seconds, and a factor of speed."""


def _lines(clock: Clock, places: Sequence[_Place]) -> tuple[Floats, Floats]:
    """What a clock set to each of some places shows at second 0, and its speed, ``(P,)`` each."""
    offsets_s, factors = np.array(places).T
    speeds = clock.speed * factors
    return clock.at_origin_s + offsets_s - speeds * clock.origin_s, speeds


def _some(times_s: Floats) -> Integers:
    """Frames about `STEP_S` apart, closer where there would be few."""
    spacing_s = float(np.median(np.diff(times_s))) if len(times_s) > 1 else STEP_S
    step = min(round(STEP_S / max(1e-3, spacing_s)), len(times_s) // FEW_FRAMES)
    return np.arange(0, len(times_s), max(1, step))


def _from_video(
    laid: Floats32, original: Floats32, times_s: Floats, video_times_s: Floats, at: Clock
) -> "_Series | None":
    """The series with its sides exchanged: the frames of the indexed video that the query shows."""
    shown_s = at.back(video_times_s)
    inside = (shown_s >= times_s[0] - BEYOND_S) & (shown_s <= times_s[-1] + BEYOND_S)
    if inside.sum() < 3:
        return None
    return _Series.of(original[inside], laid, video_times_s[inside], times_s)


def _rough_time(
    series: "_Series", clock: Clock, reach_s: tuple[float, float]
) -> tuple[_Place, float] | None:
    """The best of all offsets and some speeds, and how far its motion stands out."""
    offsets_s = np.arange(-round(reach_s[0] / STEP_S), round(reach_s[1] / STEP_S) + 1) * STEP_S
    tried = [(float(offset_s), factor) for offset_s in offsets_s for factor in (1.0, 0.95, 1.05)]
    agreements = series.agreements(*_lines(clock, tried))
    usable = np.isfinite(agreements[:, 0])
    if not usable.any():
        return None
    scores = _scores(agreements, tried)
    row = int(scores.argmax())
    best, score, peak = tried[row], float(scores[row]), float(agreements[row, 1])
    is_other = np.abs(np.array(tried)[:, 0] - best[0]) > 0.35
    others = agreements[usable & is_other, 1]
    if peak < CLEAR_AGREEMENT:
        tried = list(product(map(float, offsets_s), _other_speeds(clock)))
        agreements = series.agreements(*_lines(clock, tried))
        scores = _scores(agreements, tried)
        row = int(scores.argmax())
        if scores[row] > score:
            best, score, peak = tried[row], float(scores[row]), float(agreements[row, 1])
    return _farther(series, clock, best, score), _deviations(peak, others)


def _scores(agreements: Floats, places: Sequence[_Place]) -> Floats:
    """What speaks for places, of how well pictures and changes agree there, shape ``(P,)``.

    Great corrections are doubted: in a still scene all times agree, and the supposed one holds.
    """
    offsets_s, factors = np.array(places).T
    doubts = 0.02 * np.minimum(MAX_OFFSET_S, np.abs(offsets_s)) + 0.2 * np.abs(factors - 1)
    return np.where(np.isfinite(agreements[:, 0]), agreements[:, 0] - doubts, UNUSABLE)


def _other_speeds(clock: Clock) -> list[float]:
    """Factors that lead to speeds all over `SPEEDS`: where vectors hardly change they say none."""
    low, high = SPEEDS
    speeds = low * (high / low) ** np.linspace(0, 1, 13)
    return [float(speed) / clock.speed for speed in speeds]


def _farther(series: "_Series", clock: Clock, best: _Place, score: float) -> _Place:
    """Go on in the direction of speed that was better, as long as it gets better still.

    Between hard cuts many lines of time fit the vectors: of a clip at 1.25 the supposed speed
    was 1.1.
    """
    direction = round((best[1] - 1) / 0.05)
    while direction and abs(best[1] - 1) < MAX_SPEED_ERROR:
        near = [(best[0] + i * STEP_S, best[1] + 0.05 * direction) for i in range(-2, 3)]
        scores = _scores(series.agreements(*_lines(clock, near)), near)
        if scores.max() <= score:
            break
        best, score = near[int(scores.argmax())], float(scores.max())
    return best


def _deviations(peak: float, others: Floats) -> float:
    """How many (robust) deviations a value lies above others; 0 where there are few others."""
    if len(others) < 10:
        return 0.0
    middle = float(np.median(others))
    deviation = 1.4826 * float(np.median(np.abs(others - middle)))
    return (peak - middle) / max(0.01, deviation)


@dataclass(frozen=True, slots=True, eq=False)
class _Series:
    """Frames of both sides at the same points, ready to be compared at any offset.

    Frames at times between two frames are mixed from both, so that the products of all
    frames with one another say everything: nothing is read anew for an offset.
    """

    laid: Floats32
    original: Floats32
    times_s: Floats
    centers_s: Floats
    video_times_s: Floats
    noise: float
    energy: Floats32
    picture_energy: Floats32
    weight: Floats32
    of_changes: Floats32
    of_pictures: Floats32
    within: Floats32

    @classmethod
    def of(
        cls, laid: Floats32, original: Floats32, times_s: Floats, video_times_s: Floats
    ) -> "_Series | None":
        half_s = LAG_S / 2
        inner = (times_s >= times_s[0] + half_s - 1e-6) & (times_s <= times_s[-1] - half_s + 1e-6)
        centers_s = times_s[inner]
        if len(centers_s) < 3:
            return None
        ours = laid - laid.mean(axis=1, keepdims=True)
        theirs = original - original.mean(axis=1, keepdims=True)
        change = _changing(times_s, centers_s, half_s)
        picture = _mixing(times_s, centers_s)
        cross = ours @ theirs.T
        changes, pictures = change @ ours, picture @ ours
        noise = NOISE * laid.shape[1]
        energy = (changes**2).sum(axis=1)
        return cls(
            laid,
            original,
            times_s,
            centers_s,
            video_times_s,
            noise,
            energy,
            (pictures**2).sum(axis=1),
            # A cut changes the whole picture: it must not outweigh everything else.
            np.minimum(1.0, 4 * np.median(energy) / np.maximum(energy, noise)).astype(np.float32),
            change @ cross,
            picture @ cross,
            theirs @ theirs.T,
        )

    def agreements(self, starts_s: Floats, speeds: Floats) -> Floats:
        """How well pictures and changes agree on some lines of time.

        Args:
            starts_s: What the indexed video shows at second 0 of the query, shape ``(P,)``.
            speeds: Its seconds in each of the query, shape ``(P,)``.

        Returns:
            For each line the sum of both, and the part of the changes, shape ``(P, 2)``; NaN where
            too little overlaps.
        """
        shown_s = starts_s[:, None] + speeds[:, None] * self.centers_s
        half_s = speeds[:, None] * (LAG_S / 2)
        valid = self._are_within(shown_s - half_s, shown_s + half_s)
        weight = np.where(valid, self.weight.astype(np.float64), 0.0)
        early, shown, late = (
            _Mixed.of(self.video_times_s, at_s)
            for at_s in (shown_s - half_s, shown_s, shown_s + half_s)
        )
        motion = self._correlations(
            weight,
            late.row_products(self.of_changes) - early.row_products(self.of_changes),
            self.energy,
            late.products(self.within, late)
            - 2 * late.products(self.within, early)
            + early.products(self.within, early),
        )
        picture = self._correlations(
            weight,
            shown.row_products(self.of_pictures),
            self.picture_energy,
            shown.products(self.within, shown),
        )
        found = np.stack([motion + picture, motion], axis=1)
        found[valid.mean(axis=1) < MIN_OVERLAP] = np.nan
        return found

    def _correlations(
        self, weight: Floats, shared: Floats, ours: Floats32, theirs: Floats
    ) -> Floats:
        """Of frames of the query with mixed frames of the video, from products and energies."""
        our_energy = (weight * (ours + self.noise)).sum(axis=1)
        their_energy = (weight * (theirs + self.noise)).sum(axis=1)
        energy = np.sqrt(np.maximum(1e-6, our_energy * their_energy))
        return np.asarray((weight * shared).sum(axis=1) / energy)

    def at(self, clock: Clock) -> tuple[Floats32, Floats32, Floats32, Floats32]:
        """Weights that give, of what overlaps at a time, changes and pictures of both sides.

        Returns:
            For the changes of the query, ``(T, query frames)``, and of the video, ``(T, video
            frames)``, then for the pictures of both.
        """
        valid = self._valid(clock)
        centers_s = self.centers_s[valid]
        weight = np.sqrt(self.weight[valid])[:, None]
        return (
            _changing(self.times_s, centers_s, LAG_S / 2) * weight,
            self._change(clock, valid) * weight,
            _mixing(self.times_s, centers_s),
            _mixing(self.video_times_s, clock(centers_s)),
        )

    def motion(self, clock: Clock, blocks: Integers) -> float | None:
        """Correlation of the changes of both sides, block by block.

        Where a part of the picture shows something else (around an inset in a circle, under a
        caption) its changes say nothing, unless all that moves is there: then it is another take.

        Returns:
            In [-1, 1]; None where hardly anything moves.
        """
        change, video_change, picture, video_picture = self.at(clock)
        if len(change) < 3:
            return None
        changes = _Shared.of(change @ self.laid, video_change @ self.original, blocks)
        pictures = _Shared.of(
            _without_means(picture @ self.laid, blocks),
            _without_means(video_picture @ self.original, blocks),
            blocks,
        )
        alike = pictures.products > MIN_LIKENESS * np.sqrt(pictures.ours * pictures.theirs + 1e-6)
        found = changes.correlation(alike) if alike.mean() >= MIN_ALIKE else None
        return changes.correlation(np.ones_like(alike)) if found is None else found

    def _valid(self, clock: Clock) -> NDArray[np.bool_]:
        """Which moments lie inside of the indexed frames; half a frame beyond still counts."""
        half_s = LAG_S / 2
        return self._are_within(clock(self.centers_s - half_s), clock(self.centers_s + half_s))

    def _are_within(self, early_s: Floats, late_s: Floats) -> NDArray[np.bool_]:
        first_s, last_s = self.video_times_s[[0, -1]]
        return np.asarray((early_s >= first_s - BEYOND_S) & (late_s <= last_s + BEYOND_S))

    def _change(self, clock: Clock, valid: NDArray[np.bool_]) -> Floats32:
        half_s = LAG_S / 2
        late = _mixing(self.video_times_s, clock(self.centers_s[valid] + half_s))
        return late - _mixing(self.video_times_s, clock(self.centers_s[valid] - half_s))


@dataclass(frozen=True, slots=True, eq=False)
class _Mixed:
    """Frames at any times, each mixed of two that follow one another.

    `left` is the row of the first of the two, `share` how much of the second there is; both have
    the shape of the times.
    """

    left: Integers
    share: Floats

    @classmethod
    def of(cls, known_s: Floats, wanted_s: Floats) -> "_Mixed":
        place = np.interp(wanted_s, known_s, np.arange(len(known_s)))
        left = np.minimum(place.astype(np.int64), len(known_s) - 2)
        return cls(left, place - left)

    def row_products(self, products: Floats32) -> Floats:
        """With the row of their column, from products of rows with all frames, ``(C, known)``."""
        rows = np.arange(len(products))
        first, second = products[rows, self.left], products[rows, self.left + 1]
        return np.asarray(first + self.share * (second - first))

    def products(self, products: Floats32, other: "_Mixed") -> Floats:
        """With other mixed frames, one each, from products of all frames, ``(known, known)``."""
        first, second = (
            products[left, other.left] * (1 - other.share)
            + products[left, other.left + 1] * other.share
            for left in (self.left, self.left + 1)
        )
        return np.asarray(first + self.share * (second - first))


def _mixing(known_s: Floats, wanted_s: Floats) -> Floats32:
    """Weights that mix frames at known times into frames at others, shape ``(wanted, known)``."""
    mixed = _Mixed.of(known_s, wanted_s)
    mix = np.zeros((len(wanted_s), len(known_s)), np.float32)
    rows = np.arange(len(wanted_s))
    mix[rows, mixed.left], mix[rows, mixed.left + 1] = 1 - mixed.share, mixed.share
    return mix


def _changing(known_s: Floats, centers_s: Floats, half_s: float) -> Floats32:
    """Weights that give the changes from `half_s` before some times to as much after them."""
    return _mixing(known_s, centers_s + half_s) - _mixing(known_s, centers_s - half_s)


def _without_means(rows: Floats32, blocks: Integers) -> Floats32:
    """Rows of points with the mean of each block taken away."""
    size = np.bincount(blocks)
    means = np.stack([np.bincount(blocks, row) / size for row in rows])
    return (rows - means[:, blocks]).astype(np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class _Shared:
    """Sums over time of two series, for each block of points."""

    products: Floats
    ours: Floats
    theirs: Floats
    num: Integers

    @classmethod
    def of(cls, ours: Floats32, theirs: Floats32, blocks: Integers) -> "_Shared":
        sums = ((ours * theirs).sum(axis=0), (ours**2).sum(axis=0), (theirs**2).sum(axis=0))
        products, our_energy, their_energy = (
            np.bincount(blocks, side).astype(np.float64) for side in sums
        )
        return cls(products, our_energy, their_energy, np.bincount(blocks) * len(ours))

    def correlation(self, kept: NDArray[np.bool_]) -> float | None:
        """Of some blocks, each by its own energy; None where hardly anything changes in them."""
        ours, theirs, num = self.ours[kept], self.theirs[kept], self.num[kept]
        liveliest = min(float(np.quantile(energy / num, 0.95)) for energy in (ours, theirs))
        if liveliest < FAINT_CHANGE**2:
            return None
        energy = float(np.sqrt(ours * theirs).sum())
        # Both may be lively in blocks where the other is not.
        found = float(self.products[kept].sum()) / energy if energy > 0 else 0.0
        return None if liveliest < MIN_CHANGE**2 and found < FAINT_MOTION else found
