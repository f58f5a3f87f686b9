"""At which time two series of pictures agree, and how well they move alike. Pure numpy.

The pictures of both sides are given at the same points, so that each frame is one row.
Frames at times between two frames are mixed from both, so the products of all frames
with one another say everything: nothing is read anew for an offset.
"""

import math
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Floats32 = NDArray[np.float32]
Integers = NDArray[np.int64]

MAX_OFFSET_S = 1.5
"""Farthest time that is tried."""

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

CLEAR_AGREEMENT = 0.5
"""Motion at the supposed speed below which all of `SPEEDS` are tried: of copies nearly all have
more, and then a wrong speed is out of the question."""

_COARSE_STEP_S = 0.1


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

    def shifted(self, offset_s: float, factor: float = 1.0) -> "Clock":
        """The same clock set later, and running faster."""
        return replace(self, at_origin_s=self.at_origin_s + offset_s, speed=self.speed * factor)


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
) -> Timing | None:
    """Try every offset and some speeds around the supposed ones.

    Args:
        laid: The query's frames at points of the indexed picture, shape ``(T, P)``.
        original: Frames of the indexed video at these points, shape ``(T', P)``.
        blocks: The number of the block of each point, shape ``(P,)``.
        times_s: When the query's frames are shown, shape ``(T,)``.
        video_times_s: The same of the indexed video, shape ``(T',)``.
        clock: The supposed time.

    Returns:
        The correction; None if too few frames overlap.
    """
    series = _Series.of(laid, original, times_s, video_times_s)
    if series is None:
        return None
    tried = {
        place: series.agreement(clock, *place) for place in product(_offsets_s(), (1.0, 0.95, 1.05))
    }
    usable = {place: found for place, found in tried.items() if found is not None}
    if not usable:
        return None
    best = max(usable, key=lambda place: usable[place][0])
    peak = usable[best][1]
    others = [found[1] for place, found in usable.items() if abs(place[0] - best[0]) > 0.35]
    if peak < CLEAR_AGREEMENT:
        for place in product(_offsets_s(), _other_speeds(clock)):
            found = series.agreement(clock, *place)
            if found is not None and found[0] > usable[best][0]:
                usable[place], best, peak = found, place, found[1]
    best = _farther(series, clock, best, usable[best][0])
    for step_s, step in ((0.05, 0.02), (0.025, 0.01)):
        near = [(best[0] + i * step_s, best[1] + j * step) for i in (0, -1, 1) for j in (0, -1, 1)]
        scores = [series.agreement(clock, *place) for place in near]
        best = max(
            zip(near, scores, strict=True), key=lambda pair: pair[1][0] if pair[1] else -9.0
        )[0]
    motion = _motion(series, clock.shifted(*best), laid, original, blocks)
    return Timing(*best, motion, _deviations(peak, others))


def _offsets_s() -> list[float]:
    steps = round(MAX_OFFSET_S / _COARSE_STEP_S)
    return [step * _COARSE_STEP_S for step in range(-steps, steps + 1)]


def _other_speeds(clock: Clock) -> list[float]:
    """Factors that lead to speeds all over `SPEEDS`: where vectors hardly change they say none."""
    low, high = SPEEDS
    speeds = low * (high / low) ** np.linspace(0, 1, 13)
    return [float(speed) / clock.speed for speed in speeds]


def _farther(
    series: "_Series", clock: Clock, best: tuple[float, float], score: float
) -> tuple[float, float]:
    """Go on in the direction of speed that was better, as long as it gets better still.

    Between hard cuts many lines of time fit the vectors: of a clip at 1.25 the supposed speed
    was 1.1.
    """
    direction = round((best[1] - 1) / 0.05)
    while direction and abs(best[1] - 1) < MAX_SPEED_ERROR:
        near = [(best[0] + i * _COARSE_STEP_S, best[1] + 0.05 * direction) for i in range(-2, 3)]
        found = [series.agreement(clock, *place) for place in near]
        scores = [one[0] if one else -9.0 for one in found]
        if max(scores) <= score:
            break
        score = max(scores)
        best = near[scores.index(score)]
    return best


def _deviations(peak: float, others: list[float]) -> float:
    """How many (robust) deviations a value lies above others; 0 where there are few others."""
    if len(others) < 10:
        return 0.0
    middle = float(np.median(others))
    deviation = 1.4826 * float(np.median(np.abs(np.array(others) - middle)))
    return (peak - middle) / max(0.01, deviation)


@dataclass(frozen=True, slots=True, eq=False)
class _Series:
    """Frames of both sides at the same points, ready to be compared at any offset.

    Frames at times between two frames are mixed from both, so that the products of all
    frames with one another say everything: nothing is read anew for an offset.
    """

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
        laid = laid - laid.mean(axis=1, keepdims=True)
        original = original - original.mean(axis=1, keepdims=True)
        change = _changing(times_s, centers_s, half_s)
        picture = _mixing(times_s, centers_s)
        cross = laid @ original.T
        changes, pictures = change @ laid, picture @ laid
        noise = NOISE * laid.shape[1]
        energy = (changes**2).sum(axis=1)
        return cls(
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
            original @ original.T,
        )

    def agreement(self, clock: Clock, offset_s: float, factor: float) -> tuple[float, float] | None:
        """How well pictures and changes agree at a time, less a little for great corrections.

        Returns:
            That score, and the part of the changes; None where too little overlaps.
        """
        at = clock.shifted(offset_s, factor)
        valid = self._valid(at)
        if valid.mean() < 0.6:
            return None
        weight = self.weight[valid]
        motion = self._correlation(
            self.of_changes[valid], self._change(at, valid), self.energy[valid], weight
        )
        shown = _mixing(self.video_times_s, at(self.centers_s[valid]))
        picture = self._correlation(
            self.of_pictures[valid], shown, self.picture_energy[valid], weight
        )
        # In a still scene all times agree: then the supposed one holds.
        return motion + picture - 0.02 * abs(offset_s) - 0.2 * abs(factor - 1), motion

    def _correlation(
        self, products: Floats32, mix: Floats32, energy: Floats32, weight: Floats32
    ) -> float:
        """Of rows of the query with mixed rows of the video, from products of all with all."""
        shared = float((weight * (products * mix).sum(axis=1)).sum())
        ours = float((weight * (energy + self.noise)).sum())
        theirs = float((weight * (((mix @ self.within) * mix).sum(axis=1) + self.noise)).sum())
        return shared / math.sqrt(max(1e-6, ours * theirs))

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

    def _valid(self, clock: Clock) -> NDArray[np.bool_]:
        """Which moments lie inside of the indexed frames; half a frame beyond still counts."""
        half_s, beyond_s = LAG_S / 2, BEYOND_S
        early, late = clock(self.centers_s - half_s), clock(self.centers_s + half_s)
        first, last = self.video_times_s[[0, -1]]
        return np.asarray((early >= first - beyond_s) & (late <= last + beyond_s))

    def _change(self, clock: Clock, valid: NDArray[np.bool_]) -> Floats32:
        half_s = LAG_S / 2
        late = _mixing(self.video_times_s, clock(self.centers_s[valid] + half_s))
        return late - _mixing(self.video_times_s, clock(self.centers_s[valid] - half_s))


def _mixing(known_s: Floats, wanted_s: Floats) -> Floats32:
    """Weights that mix frames at known times into frames at others, shape ``(wanted, known)``."""
    place = np.interp(wanted_s, known_s, np.arange(len(known_s)))
    left = np.minimum(place.astype(np.int64), len(known_s) - 2)
    mix = np.zeros((len(wanted_s), len(known_s)), np.float32)
    rows = np.arange(len(wanted_s))
    mix[rows, left], mix[rows, left + 1] = 1 - (place - left), place - left
    return mix


def _changing(known_s: Floats, centers_s: Floats, half_s: float) -> Floats32:
    """Weights that give the changes from `half_s` before some times to as much after them."""
    return _mixing(known_s, centers_s + half_s) - _mixing(known_s, centers_s - half_s)


def _motion(
    series: _Series, clock: Clock, laid: Floats32, original: Floats32, blocks: Integers
) -> float | None:
    """Correlation of the changes of both sides, block by block; None where hardly anything moves.

    Where a part of the picture shows something else (around an inset in a circle, under a
    caption) its changes say nothing, unless all that moves is there: then it is another take.
    """
    change, video_change, picture, video_picture = series.at(clock)
    if len(change) < 3:
        return None
    changes = _Shared.of(change @ laid, video_change @ original, blocks)
    pictures = _Shared.of(
        _without_means(picture @ laid, blocks),
        _without_means(video_picture @ original, blocks),
        blocks,
    )
    alike = pictures.products > MIN_LIKENESS * np.sqrt(pictures.ours * pictures.theirs + 1e-6)
    found = changes.correlation(alike) if alike.mean() >= MIN_ALIKE else None
    return changes.correlation(np.ones_like(alike)) if found is None else found


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
        found = float(self.products[kept].sum() / np.sqrt(ours * theirs).sum())
        return None if liveliest < MIN_CHANGE**2 and found < FAINT_MOTION else found
