"""An encoder that does to its process what a bad file does to a decoder.

A video of one plain colour asks for trouble: red kills the process, green hangs it, blue
needs too much memory, magenta meets a bug. Everything else is as with `PixelEncoder`.
"""

import os
import signal
import time
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain

from pixel_encoder import PixelEncoder, PixelEncoderSpec

from sora_search.datatypes import FrameBatch, VideoEmbedding

RED, GREEN, BLUE, MAGENTA = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 0, 255)


@dataclass(frozen=True)
class TroubledEncoderSpec(PixelEncoderSpec):
    """`delay_s` is slept for each video; without `can_load` no process gets ready.

    With `tell_threads` the vectors are signed with the number of threads.
    """

    delay_s: float = 0.0
    can_load: bool = True
    tell_threads: bool = False

    def load(self) -> "TroubledEncoder":
        if not self.can_load:
            os._exit(7)
        return TroubledEncoder(self)


class TroubledEncoder(PixelEncoder):
    def __init__(self, spec: TroubledEncoderSpec | None = None) -> None:
        super().__init__(spec or TroubledEncoderSpec())
        if self.spec.tell_threads:
            self.model_id = f"threads-{self.spec.threads}"

    def encode(
        self, batches: Iterable[FrameBatch], *, end_s: float | None = None
    ) -> VideoEmbedding:
        stream = iter(batches)
        first = next(stream)
        time.sleep(self.spec.delay_s)
        color = first.frames[0].mean(axis=(0, 1))
        if _is(color, RED):
            os.kill(os.getpid(), signal.SIGKILL)
        if _is(color, GREEN):
            time.sleep(3600)
        if _is(color, BLUE):
            raise MemoryError
        if _is(color, MAGENTA):
            raise RuntimeError("a bug")
        return super().encode(chain([first], stream), end_s=end_s)


def _is(color, wanted) -> bool:
    return bool(abs(color - wanted).max() < 20)
