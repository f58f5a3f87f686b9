import os
import subprocess
import sys

EMBED = """
import numpy as np
from sora_search import FrameBatch, load_encoder
load_encoder().encode([FrameBatch(np.zeros((2, 128, 128, 3), np.uint8), np.arange(2.0))])
"""


def test_embedding_leaves_nothing_in_the_home_folder_and_opens_no_connection(tmp_path):
    # ONNX Runtime by itself keeps a device id and events there, and sends them.
    environment = {key: value for key, value in os.environ.items() if "TELEMETRY" not in key}
    environment |= {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    ran = subprocess.run(
        [sys.executable, "-c", EMBED], env=environment, capture_output=True, text=True, check=True
    )
    assert ran.stderr == ""
    assert list(tmp_path.iterdir()) == []
