"""The command line, run in this process, and small videos to run it on."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from typer.testing import CliRunner, Result

from sora_search.cli import app
from sora_search.media.writing import generated_clip, write_video

SIZE = (120, 160)
FRAMES_PER_S = 10.0
# Moving pictures that have nothing in common, 2 s of each source; the clip is a piece of
# `mixed`, whose moments look so different that the seconds can be told.
SOURCES = {
    "card": [("testsrc2", "")] * 4,
    "cells": [("life", "seed=7:mold=10:ratio=0.2:life_color=#c83232:death_color=#3232c8")] * 4,
    "mixed": [
        ("zoneplate", "kx2=20:ky2=20:kt=8"),
        ("mandelbrot", "start_scale=1:end_scale=0.05"),
        ("sierpinski", "seed=5:type=triangle"),
        ("perlin", "random_mode=seed:random_seed=7"),
    ],
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
    for name, sources in SOURCES.items():
        parts = [
            generated_clip(
                source,
                duration_s=2.0,
                size=SIZE,
                frames_per_s=FRAMES_PER_S,
                options=options,
                skip_s=2.0 * i,
            )
            for i, (source, options) in enumerate(sources)
        ]
        frames = np.concatenate([part.frames for part in parts])
        write_video(folder / f"videos/{name}.mp4", frames, frames_per_s=FRAMES_PER_S)
        if name == "mixed":
            rows = slice(round(CLIP_START_S * FRAMES_PER_S), round(CLIP_END_S * FRAMES_PER_S))
            write_video(folder / "clip.mp4", frames[rows], frames_per_s=FRAMES_PER_S, crf=34)
            picture = np.ascontiguousarray(frames[30, :, :, ::-1])
            assert cv2.imwrite(str(folder / "picture.png"), picture)
