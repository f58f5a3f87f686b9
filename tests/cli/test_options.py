import errno
import io
import logging
import sys

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from sora_search.cli.options import parse_time, set_up_logging
from sora_search.datatypes import format_time


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("62.5", 62.5),
        (".5", 0.5),
        ("1:02.5", 62.5),
        ("90:00", 5400.0),
        ("1:02:03", 3723),
    ],
)
def test_times(text, seconds):
    assert parse_time(text) == seconds


@given(tenths=st.integers(0, 10**7))
def test_a_time_that_was_printed_is_read_back(tenths):
    assert parse_time(format_time(tenths / 10)) == pytest.approx(tenths / 10)


@pytest.mark.parametrize(
    "text", ["", "-1", "1:60", "1:60:00", "1:2:3:4", "nan", "inf", "soon", ":5"]
)
def test_what_is_no_time_is_refused(text):
    with pytest.raises(typer.BadParameter, match="no time"):
        parse_time(text)


class FullDisk(io.StringIO):
    def write(self, text):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_line_of_the_log_that_cannot_be_written_is_no_error(monkeypatch):
    logger = logging.getLogger("sora_search")
    monkeypatch.setattr(logger, "handlers", [])
    monkeypatch.setattr(sys, "stderr", FullDisk())
    set_up_logging(verbose=0)
    with pytest.raises(OSError, match="No space left"):
        sys.stderr.write("this stream is full")
    logger.warning("this is heard by nobody")
