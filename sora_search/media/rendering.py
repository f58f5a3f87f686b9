"""Pictures for people: rows of frames side by side, with names and times."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sora_search.media.pictures import Picture


@dataclass(frozen=True, slots=True, eq=False)
class PictureRow:
    """One row of an answer picture: a line of text, and pictures beneath it.

    Attributes:
        label: What the row shows ("query clip.mp4", "1. copy 0.97 film.mp4"); any text,
            names with bytes that are not UTF-8 too.
        cells: For each column a caption ("0:03.2") and an RGB uint8 picture ``(H, W, 3)``
            of any size, or None for an empty place. Cells of one column belong together:
            the query's frame at the top, the frame that matches it in each row beneath.
    """

    label: str
    cells: Sequence[tuple[str, Picture | None]]


def write_side_by_side(
    path: Path | str, rows: Sequence[PictureRow], *, cell_side: int = 240
) -> Path:
    """Write rows of pictures one beneath the other into one JPEG or PNG.

    Every picture is scaled to fit a cell of at most `cell_side` pixels a side, its
    proportions kept. The file appears whole or not at all.

    Args:
        path: Where to; its suffix says which format (.jpg, .jpeg, .png).
        rows: From top to bottom; rows may differ in length.
        cell_side: Longest side of a picture in pixels.

    Returns:
        The path written.

    Raises:
        ValueError: If `rows` is empty, or the suffix is another.
        OSError: If the file cannot be written.
    """
    raise NotImplementedError
