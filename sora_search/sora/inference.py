"""ONNX Runtime as it is used here: on the CPU, without waiting threads, without telemetry."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnxruntime


def open_session(path: Path | str, *, threads: int = 1) -> "onnxruntime.InferenceSession":
    """A graph ready to run with so many threads; what goes wrong is ONNX Runtime's own error."""
    # Otherwise its wheels keep a device id and a list of events in the home folder and try to send
    # them. It reads the variable when it is imported; `disable_telemetry_events` comes too late.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime  # .3 s that a user of the torch encoder need not wait

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Waiting threads that spin would take the decoder's core.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
