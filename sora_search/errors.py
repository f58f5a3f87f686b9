"""Every error that sora-search raises on purpose, and the exit codes of the command line.

    SoraSearchError                     exit 1
    ├── ConfigError                     exit 2   a setting that cannot be used
    ├── MediaError                      exit 1   one file: a run over many records it and goes on
    │   ├── NotAVideoError                       not a video (text, a picture, sound only, empty)
    │   ├── VideoDecodeError                     a video of which nothing can be decoded
    │   └── VideoChangedError                    grew, shrank or vanished while it was read
    ├── WorkerError                     exit 1   the process that embedded a file died or hung
    ├── IndexLockedError                exit 1   another process is writing
    ├── VideoNotIndexedError            exit 2   no such video in this index
    ├── VerdictNotFoundError            exit 2   no such verdict, or it is undone already
    ├── NotReadyError                   exit 4
    │   ├── IndexNotFoundError                   no index here yet
    │   ├── IndexIncompatibleError               made by another model
    │   ├── IndexSchemaError                     older or newer than this program
    │   ├── IndexDamagedError                    what is stored is not what was written
    │   └── ModelNotFoundError                   no such model, or it cannot be loaded
    ├── TrainingError                   exit 1   a training that cannot go on
    └── MissingDependencyError          exit 5   an optional package is not installed

A message says what happened, where, and what to do next. Wrong arguments of a
library call are `ValueError` or `TypeError` as everywhere in Python.
"""

from enum import IntEnum


class ExitCode(IntEnum):
    """What the command line returns; the table in the README explains each."""

    OK = 0
    FAILURE = 1
    USAGE = 2
    PARTIAL = 3
    NOT_READY = 4
    MISSING_DEPENDENCY = 5


class SoraSearchError(Exception):
    """Base of all errors that sora-search raises on purpose."""

    exit_code: ExitCode = ExitCode.FAILURE


class ConfigError(SoraSearchError):
    """A setting, file or flag holds a value that cannot be used."""

    exit_code = ExitCode.USAGE


class MediaError(SoraSearchError):
    """One file cannot be used; a run over many files records it and goes on."""


class NotAVideoError(MediaError):
    """The file holds no moving picture: empty, text, a still picture, or sound only."""


class VideoDecodeError(MediaError):
    """The file looks like a video, but not one frame of it can be decoded."""


class VideoChangedError(MediaError):
    """The file grew, shrank or vanished while it was read."""


class WorkerError(SoraSearchError):
    """The process that embedded a file died, hung or ran out of memory."""


class IndexLockedError(SoraSearchError):
    """Another process holds the write lock of the index."""


class VideoNotIndexedError(SoraSearchError):
    """The index holds no video of that name or id."""

    exit_code = ExitCode.USAGE


class VerdictNotFoundError(SoraSearchError):
    """The log holds no verdict of that id, or none that could still be undone."""

    exit_code = ExitCode.USAGE


class NotReadyError(SoraSearchError):
    """Something must be made, migrated or repaired before this can be done."""

    exit_code = ExitCode.NOT_READY


class IndexNotFoundError(NotReadyError):
    """There is no index at that place."""


class IndexIncompatibleError(NotReadyError):
    """The index was made by another model."""


class IndexSchemaError(NotReadyError):
    """The catalog has an older schema (upgrade it) or a newer one (upgrade the program)."""


class IndexDamagedError(NotReadyError):
    """What is stored is not what was written; `check --repair` mends what can be mended."""


class ModelNotFoundError(NotReadyError):
    """No model has that name, or its files cannot be loaded."""


class TrainingError(SoraSearchError):
    """A training cannot go on; its last good checkpoint is kept."""


class MissingDependencyError(SoraSearchError):
    """An optional package or program is not installed."""

    exit_code = ExitCode.MISSING_DEPENDENCY
