"""Whether a video that an answer names shows the footage after all, under another name.

Nobody has noted which files of a folder hold the same recording. To compare all pairs would
cost more than to measure, so only videos that an answer names are compared, around the seconds
it names. They are compared by how pixels change over time, not by what search makes of them:
search must not vouch for itself.
"""

import logging
import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sora_search.datatypes import SearchResult, TimeSpan
from sora_search.errors import MediaError
from sora_search.learning.copies import THUMBNAILS_PER_S, same_footage, thumbnails_of
from sora_search.media.editing import read_clip
from sora_search.media.probing import path_of
from sora_search.retrieval.scoring import LIKENESS_SCORE

logger = logging.getLogger(__name__)

PIECE_S = 20.0
"""Most seconds of footage that are asked for, and compared, at once."""

_SHORT_SIDE = 72  # pixels: four times the height of a thumbnail


class Footage:
    """A piece of footage of at most `PIECE_S`, and which videos are known to show it.

    Of another video that many seconds before and after those named are looked at too. A copy
    that plays faster, or is mirrored or cropped, is not recognized, and counts as wrong.
    """

    def __init__(self, *thumbnails: NDArray[np.uint8]) -> None:
        self._thumbnails = thumbnails
        self._known: dict[tuple[str, float, float], bool] = {}

    def is_shown_by(self, result: SearchResult) -> bool:
        """Whether the video shows a second or more of it, near its best range.

        What search itself takes for no more than a likeness is not compared.
        """
        span = result.matches[0].video_span if result.matches else None
        if span is None or result.score < LIKENESS_SCORE:
            return False
        # Rounded, so that the edits of one piece ask about the same seconds.
        start_s = max(0.0, PIECE_S * (math.floor(span.start_s / PIECE_S) - 1))
        last_s = min(span.end_s, span.start_s + PIECE_S)
        end_s = PIECE_S * (math.ceil(last_s / PIECE_S) + 1)
        key = (result.uri, start_s, end_s)
        if key not in self._known:
            self._known[key] = self._compared(path_of(result.uri), TimeSpan(start_s, end_s))
        return self._known[key]

    def _compared(self, path: Path, span: TimeSpan) -> bool:
        try:
            seen = read_thumbnails(path, span)
        except (MediaError, OSError) as error:
            logger.warning("taken for other footage, for it cannot be read: %s: %s", path, error)
            return False
        return any(same_footage([ours, seen], ["", ""]) for ours in self._thumbnails)


def read_thumbnails(path: Path, span: TimeSpan) -> NDArray[np.uint8]:
    """A span of a file as `Footage` takes it.

    Raises:
        MediaError: If nothing can be decoded.
        OSError: If the file is not there or may not be read.
    """
    rate = THUMBNAILS_PER_S
    return thumbnails_of(read_clip(path, span=span, frames_per_s=rate, short_side=_SHORT_SIDE))
