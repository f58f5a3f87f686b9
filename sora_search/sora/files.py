"""Writing a file whole or not at all."""

import os
from pathlib import Path


def replace_file(path: Path, content: bytes) -> None:
    """Write a file beside its place and move it there: who reads sees the old or the new one."""
    partial_path = path.with_name(path.name + ".partial")
    partial_path.write_bytes(content)
    os.replace(partial_path, path)
