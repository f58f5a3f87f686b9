"""What frames that were laid over one another say: the same footage, another take, or neither.

Pure rules over what `overlay` and `stills` measured; `scoring` makes a probability of it.
"""

from dataclasses import dataclass

import numpy as np

from sora_search.datatypes import FoundEdit, Match
from sora_search.retrieval.overlay import Laid
from sora_search.retrieval.placement import MIN_CELLS, Placement
from sora_search.retrieval.scoring import Sight
from sora_search.retrieval.stills import Moment
from sora_search.retrieval.synchrony import NEARLY_PLAIN

# Measured on the 36 usual and hard edits of suite videos of use `choose`, times wrong by up
# to .7 s and speeds by 5 %, and on other moments of the same video and of its group.

MIN_APPEARANCE, SCENE_APPEARANCE = 0.25, 0.5
"""Needed beside motion, and where nothing moves. Copies had .4 or more, nearly all .7 (less:
insets in a circle), once the geometry was right; other scenes that happen to fit .1 to .3."""

SURE_MOTION, LIKELY_MOTION, OTHER_MOTION = 0.80, 0.65, 0.25
"""Enough alone, enough where it stands out, and too little for doubt. Nine copies in ten had
.8 or more, the others, blends and filmed screens above all, .3 and up; other takes and
moments up to .25, some up to .6 (a caption that moves alike in many videos of a series, one person
who repeats an exercise .77)."""

SURE_CONTRAST, CLEAR_CONTRAST = 17.0, 30.0
"""How far the motion of a copy stands out among other times, in deviations. Copies with less
motion than `SURE_MOTION` nearly all had 17 or more, other moments at most 12, the exercise 14
to 16 and, cropped, once more than 17: a repeated movement can pass for a copy. From 17 to 30 ever
less motion is enough, where the pictures look the same: in a blend half of what moves is of the
other video. Of 736 looks at videos of the suite `choose` that are not the one asked for (in a
trial) one had as much of both: a title animation that what the query was put into shares. Those
with other words come nearest (57 and .81)."""

CLEAR_CONTRAST_MOTION, CLEAR_CONTRAST_APPEARANCE = 0.3, 0.85
"""Motion that is enough at `CLEAR_CONTRAST`, and appearance from which on less is."""

EXACT_SPEED = 0.02
"""So near to its own speed footage must be to be believed at less than `LIKELY_MOTION`: titles that
slide in over a signer, who makes another sign, agreed by .5 (contrast 26) at .94 of their speed."""

LOW_APPEARANCE = 0.6, 0.75
LOW_APPEARANCE_MOTION, LOW_APPEARANCE_CONTRAST = 0.90, 30.0
"""Where no more of the picture looks the same than the first of the first, motion is enough alone,
and stands out, from these on; they fall to `SURE_MOTION` and `SURE_CONTRAST` at the second. Titles
that move alike over other people had an appearance of .5 to .7, motion of .73 to .85 and a contrast
of 14 to 32; insets in a circle with so little appearance, motion of .86 to .97."""

OTHER_SPEED_CONTRAST, OTHER_SPEED_MOTION, OTHER_SPEED_LIKELY = 24.0, 0.87, 0.75
"""How far motion has to stand out at another speed than the footage's own, and how much is enough
alone, and where it does: who does the same again is as fast as it happens (a pitcher's second
throw, a negative of the suite `report`, fitted the first .86 as fast, a part of it .93; a second of
another sign agreed by .82 at .89 of its speed, a robot's next task by .68 at .79). Copies at .7 and
1.5 times their speed had a motion of .89 or more."""

SHORT_S, SHORT_MOTION = 1.5, 0.87
"""What is enough alone of less than so many seconds, in which an arm may be lowered twice alike:
1.3 s of another sign by the same signer agreed by .82, and .81 in the suite `report`. Of 36 right
looks at less than 2 s 34 had .87 or more. Where it stands out `SURE_MOTION` is still needed: in the
suite `report` 1.3 s of another moment of one scene agreed by .77 with a contrast of 18."""

STILL_APPEARANCE, SURE_STILL = 0.9, 0.97
"""A still picture is a moment of the footage if so much looks the same and, of what changes in the
footage, so much is there as it is at that moment. Of 330 stills of the second halves of 66 videos
6 agreed with the first halves by .95 (a gesture that is made again), none by .97. That reached 318
of 330 stills of the first halves, three in five of those relit, two in five of those cropped."""


@dataclass(frozen=True, slots=True)
class Verification:
    """What decoded frames say about two ranges.

    Attributes:
        is_same: True for the same footage, False where that was not confirmed, None
            where the scene is the same but too little moves, or too differently, to be
            certain. None without an `edit` where the pictures
            hold next to nothing to recognize them by.
        cells: Places of 8 px in which features of both pictures agree.
        appearance: Share of the textured blocks that look the same, in [0, 1].
        motion: Correlation of the changes from frame to frame, in [-1, 1]; None where
            nothing moves.
        contrast: How far the motion stands out among other times, in deviations.
        offset_s: How much later the middle of the range is in the indexed video than the
            given spans say.
        match: The ranges with their times corrected; None without geometry.
        edit: How the picture was changed; None without geometry.
        placement: Where the indexed picture lies in the query picture; None without geometry.
        is_of_a_still: Whether one side was a single picture, of which motion means something else.
        compared_s: Seconds of the query that were compared.
    """

    is_same: bool | None
    cells: int = 0
    appearance: float = 0.0
    motion: float | None = None
    contrast: float = 0.0
    offset_s: float = 0.0
    match: Match | None = None
    edit: FoundEdit | None = None
    placement: Placement | None = None
    is_of_a_still: bool = False
    compared_s: float = SHORT_S

    @property
    def weighed_motion(self) -> float:
        """The motion that would say as much in most copies, of which so much is enough.

        What is sure by itself gets no surer by standing out.
        """
        if self.motion is None:
            return 0.0
        if self.is_of_a_still:
            return self.motion
        if not self.is_same:
            # At another speed less of what moves can agree, and none of it counts less.
            needed = _motion_needed(self.appearance, self.contrast, 1.0, self.compared_s)
            return self.motion - max(0.0, needed - SURE_MOTION)
        speed = self.edit.speed if self.edit else 1.0
        needed = _motion_needed(self.appearance, self.contrast, speed, self.compared_s)
        gain = max(0.0, LIKELY_MOTION - needed)
        return max(self.motion, min(self.motion + gain, SURE_MOTION))

    @property
    def sight(self) -> Sight:
        """What there was to go by."""
        if self.edit is None:
            return "other" if self.is_same is False else "featureless"
        if self.motion is None:
            return "static" if self.is_of_a_still else "scene"
        if self.is_of_a_still:
            return "picture"
        return "moving" if self.is_same else "partial"

    def reason(self) -> str:
        """What decided, in words."""
        if self.edit is None:
            if self.is_same is None:
                return "the pictures hold too little to recognize them by"
            return f"no geometry: {self.cells} places agree, {MIN_CELLS} are needed"
        if self.is_same and self.is_of_a_still:
            return "geometry, appearance and what is different at this moment agree"
        if self.is_same:
            return "geometry, appearance and what moves agree"
        if self.motion is None:
            if self.is_same is None and self.is_of_a_still:
                return (
                    "same scene, but what changes in the video is too little, or too much, "
                    "to tell one moment of it from another"
                )
            if self.is_same is None:
                return "same scene, but nothing moves that could tell takes apart"
            return f"of the picture only {self.appearance:.0%} looks the same".replace("%", " %")
        if self.appearance < MIN_APPEARANCE:
            return f"of the picture only {self.appearance:.0%} looks the same".replace("%", " %")
        if self.is_same is None:
            return f"same scene, but what moves agrees only in part ({self.motion:.2f})"
        return f"same scene, but what moves differs ({self.motion:.2f}): another moment or take"


def is_same_footage(laid: Laid, compared_s: float) -> bool | None:
    """Whether so many seconds show the same footage; None if frames leave that open."""
    if laid.motion is None:
        return None if laid.appearance >= SCENE_APPEARANCE else False
    if laid.appearance < MIN_APPEARANCE or laid.motion < OTHER_MOTION:
        return False
    needed = _motion_needed(laid.appearance, laid.contrast, laid.clock.speed, compared_s)
    return True if laid.motion >= needed else None


def _motion_needed(appearance: float, contrast: float, speed: float, compared_s: float) -> float:
    is_plain, is_short = abs(speed - 1) <= NEARLY_PLAIN, compared_s < SHORT_S
    sure_contrast = np.interp(appearance, LOW_APPEARANCE, (LOW_APPEARANCE_CONTRAST, SURE_CONTRAST))
    if contrast < (sure_contrast if is_plain else max(sure_contrast, OTHER_SPEED_CONTRAST)):
        sure = float(np.interp(appearance, LOW_APPEARANCE, (LOW_APPEARANCE_MOTION, SURE_MOTION)))
        sure = max(sure, SHORT_MOTION) if is_short else sure
        return sure if is_plain else max(sure, OTHER_SPEED_MOTION)
    if is_short:
        return SURE_MOTION
    if not is_plain:
        return OTHER_SPEED_LIKELY
    if appearance < CLEAR_CONTRAST_APPEARANCE or abs(speed - 1) > EXACT_SPEED:
        return LIKELY_MOTION
    known = (SURE_CONTRAST, CLEAR_CONTRAST), (LIKELY_MOTION, CLEAR_CONTRAST_MOTION)
    return float(np.interp(contrast, *known))


def is_same_moment(moment: Moment) -> bool | None:
    """Whether a still picture is of the footage; None if frames leave that open."""
    if moment.appearance < SCENE_APPEARANCE:
        return False
    is_sure = moment.motion is not None and moment.motion >= SURE_STILL
    return True if is_sure and moment.appearance >= STILL_APPEARANCE else None
