"""What a program writes to a terminal."""

import os
from contextlib import suppress


def everything_from(terminal: int) -> str:
    chunks = []
    # Linux says that the other side is closed with an error.
    with suppress(OSError):
        while chunk := os.read(terminal, 4096):
            chunks.append(chunk)
    os.close(terminal)
    return b"".join(chunks).decode()
