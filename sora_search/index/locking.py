"""One writer at a time: a lock on a file, which the system lets go when its holder dies."""

import errno
import json
import logging
import os
import socket
import sys
import time
from pathlib import Path
from typing import Self

from sora_search.errors import IndexLockedError

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

logger = logging.getLogger(__name__)

LOCK_NAME = "lock"
_BUSY = (errno.EACCES, errno.EAGAIN, errno.EDEADLK)
_WINDOWS_LOCKED_BYTE = 1 << 30  # far behind the text, which others must be able to read


class IndexLock:
    """Holds the lock of an index until `release`.

    The file holds the process and host of who holds it, or held it last; it is never
    deleted, so that two processes cannot hold a lock each on two files of one name.

    Args:
        path: The lock file; made if it is not there.
        wait: Wait until the lock is free instead of raising.

    Raises:
        IndexLockedError: If another process holds it.
        OSError: If the folder cannot be written, or its file system knows no locks.
    """

    def __init__(self, path: Path, *, wait: bool = False) -> None:
        self.path = path
        self._fd: int | None = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            if not _try_lock(self._fd):
                holder = _holder(path)
                if not wait:
                    raise IndexLockedError(
                        f"the index at {str(path.parent)!r} is being written by {holder}: "
                        "try again when it has finished, or wait for it with --wait"
                    )
                logger.warning("the index is being written by %s: waiting for it", holder)
                _lock(self._fd)
            self._sign(self._fd)
        except BaseException:
            os.close(self._fd)
            self._fd = None
            raise

    @staticmethod
    def _sign(fd: int) -> None:
        text = json.dumps({"pid": os.getpid(), "host": socket.gethostname()}) + "\n"
        try:
            os.ftruncate(fd, 0)
            os.pwrite(fd, text.encode(), 0) if hasattr(os, "pwrite") else os.write(
                fd, text.encode()
            )
        except OSError as error:  # a full disk: the lock holds without its text
            logger.warning("cannot say in the lock file who holds it: %s", error)

    def release(self) -> None:
        """Let the lock go; more than once is fine."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def _holder(path: Path) -> str:
    try:
        holder = json.loads(path.read_text("utf-8"))
        return f"process {int(holder['pid'])} on {holder['host']}"
    except (OSError, ValueError, KeyError, TypeError):  # it has only just taken the lock
        return "another process"


if sys.platform == "win32":

    def _try_lock(fd: int) -> bool:
        os.lseek(fd, _WINDOWS_LOCKED_BYTE, os.SEEK_SET)
        try:
            msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
        except OSError as error:
            if error.errno in _BUSY:
                return False
            raise
        finally:
            os.lseek(fd, 0, os.SEEK_SET)
        return True

    def _lock(fd: int) -> None:
        while not _try_lock(fd):
            time.sleep(0.2)

else:

    def _try_lock(fd: int) -> bool:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in _BUSY:
                return False
            raise
        return True

    def _lock(fd: int) -> None:
        fcntl.flock(fd, fcntl.LOCK_EX)
