"""The command line, run in this process, and small videos to run it on."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from typer.testing import CliRunner, Result

from sora_search.cli import app
from sora_search.media.clips import cut, unedited
from sora_search.media.writing import generated_clip, write_video

SIZE = (120, 160)
# Three moving pictures that have nothing in common; the clip is a piece of the second.
SOURCES = {
    "card": ("testsrc2", ""),
    "fractal": ("mandelbrot", "start_scale=1:end_scale=0.05:maxiter=300"),
    "cells": ("life", "seed=7:mold=10:ratio=0.2:life_color=#c83232:death_color=#3232c8"),
}
CLIP_START_S, CLIP_END_S = 2.0, 5.0


def sora_search(*arguments: object) -> Result:
    """Run a command as a shell would, with stdout and stderr apart."""
    words = [str(argument) for argument in arguments]
    return CliRunner().invoke(app, words, catch_exceptions=False)


def printed_json(*arguments: object) -> dict[str, Any]:
    """The one document that a command prints; nothing else may be there."""
    result = sora_search(*arguments)
    assert result.exit_code == 0, result.stderr
    document = json.loads(result.stdout)
    assert isinstance(document, dict)
    return document


def make_videos(folder: Path) -> None:
    """Write `videos/`, `clip.mp4` (cut out and compressed hard) and `picture.png`."""
    (folder / "videos").mkdir()
    for name, (source, options) in SOURCES.items():
        clip = generated_clip(source, duration_s=8.0, size=SIZE, frames_per_s=10, options=options)
        write_video(folder / f"videos/{name}.mp4", clip.frames, frames_per_s=10)
        if name == "fractal":
            piece = cut(unedited(clip), CLIP_START_S, CLIP_END_S)
            write_video(folder / "clip.mp4", piece.frames, frames_per_s=10, crf=34)
            picture = np.ascontiguousarray(clip.frames[30, :, :, ::-1])
            assert cv2.imwrite(str(folder / "picture.png"), picture)
