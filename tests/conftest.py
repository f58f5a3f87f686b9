"""What every test has around it: restored random states, and no ERROR in the log."""

import logging
import random
import sys
from collections.abc import Iterator

import numpy as np
import pytest


class _Errors(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(f"{record.name}: {record.getMessage()}")


@pytest.fixture(autouse=True)
def _no_error_is_logged() -> Iterator[None]:
    handler = _Errors()
    logging.getLogger().addHandler(handler)
    yield
    logging.getLogger().removeHandler(handler)
    assert not handler.lines, f"logged as ERROR: {handler.lines}"


@pytest.fixture(autouse=True)
def _random_states_are_restored() -> Iterator[None]:
    states = random.getstate(), np.random.get_state()
    torch = sys.modules.get("torch")
    torch_state = torch.get_rng_state() if torch else None
    yield
    random.setstate(states[0])
    np.random.set_state(states[1])
    if torch is not None:
        torch.set_rng_state(torch_state)
