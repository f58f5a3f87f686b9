"""Tensors on disk: written whole or not at all, and read without running what a pickle may hold."""

import os
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from sora_search.errors import TrainingError


def write_state(path: Path, state: dict[str, Any], *, kind: str = "checkpoint") -> None:
    """Write tensors and plain values to a file, in place of an older one.

    `kind` is what the file is called in an error.

    Raises:
        TrainingError: If there is no room, or the folder may not be written; the older file stays.
    """
    partial_path = path.with_suffix(".partial")
    try:
        torch.save(state, partial_path)
        os.replace(partial_path, path)
    except (OSError, RuntimeError) as error:  # torch has its own error for a full disk
        partial_path.unlink(missing_ok=True)
        raise TrainingError(
            f"cannot write the {kind} {str(path)!r} ({_first_line(error)}): "
            "make room and run the same command again; it goes on from the last checkpoint"
        ) from error


def read_state(path: Path, *, device: str = "cpu", kind: str = "checkpoint") -> dict[str, Any]:
    """What `write_state` wrote.

    Raises:
        TrainingError: If it cannot be read, or holds anything but tensors and plain values.
    """
    try:
        state: dict[str, Any] = torch.load(path, weights_only=True, map_location=device)
    except (OSError, EOFError, RuntimeError, UnpicklingError) as error:
        raise TrainingError(
            f"cannot read the {kind} {str(path)!r} ({_first_line(error)}): "
            "delete it, and what it holds is made anew"
        ) from error
    return state


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0] or type(error).__name__
