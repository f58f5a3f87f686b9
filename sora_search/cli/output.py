"""What is printed: results on stdout, everything else on stderr, safe on any terminal."""

import json
import math
import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.text import Text

from sora_search.datatypes import (
    Evidence,
    IndexReport,
    Match,
    Rejection,
    SearchAnswer,
    TimeSpan,
    in_order,
)

SCHEMA = 1

_SHARES = frozenset(
    {"score", "coverage", "strength", "appearance", "motion", "rectangle", "crop", "stretch"}
)

MAX_REJECTED_LINES = 6
"""Rejected ranges in the table; a document names more."""


def print_json(document: Mapping[str, object]) -> None:
    """Print one JSON document, with `"schema": 1` first. ASCII, so that it survives any pipe."""
    print(json.dumps({"schema": SCHEMA, **_rounded(document)}, indent=2, allow_nan=False))


def print_json_line(document: Mapping[str, object]) -> None:
    """Print the same document in one line, at once: somebody may be reading along."""
    print(json.dumps({"schema": SCHEMA, **_rounded(document)}, allow_nan=False), flush=True)


def _rounded(document: Mapping[str, object]) -> dict[str, object]:
    """A document with no more digits than are known: of seconds three, of shares four."""
    return {name: _rounded_value(name, value) for name, value in document.items()}


def _rounded_value(name: str, value: object) -> object:
    if isinstance(value, Mapping):
        return _rounded(value)
    if isinstance(value, list):
        return [_rounded_value(name, item) for item in value]
    if isinstance(value, float):
        if name.endswith("_s") and not name.endswith("_per_s"):
            return round(value, 3)
        if name in _SHARES:
            return round(value, 4)
    return value


def to_object(value: object) -> dict[str, object]:
    """A dataclass as a JSON object: its keys are the names of the fields."""
    assert is_dataclass(value)
    return {field.name: _to_json(getattr(value, field.name)) for field in fields(value)}


def _to_json(value: object) -> object:
    if is_dataclass(value):
        return to_object(value)
    if isinstance(value, Mapping):
        return {str(key): _to_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_to_json(item) for item in value]
    if isinstance(value, Fraction):
        return float(value)
    if isinstance(value, np.ndarray):
        return _to_json(value.tolist())
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def answer_document(answer: SearchAnswer) -> dict[str, object]:
    """The document of a query: its shape is fixed, keys may be added."""
    return {
        "query": {
            "uri": answer.query.uri,
            "duration_s": answer.query.duration_s,
            "damage": answer.damage,
        },
        "results": [to_object(result) for result in answer.results],
        "rejected": [to_object(rejection) for rejection in answer.rejected],
    }


def failure_document(uri: str, error: Exception) -> dict[str, object]:
    """The document of a query that failed, where that of its answer would be."""
    return {
        "query": {"uri": uri},
        "error": {"type": type(error).__name__, "reason": error_text(error)},
    }


def print_line(text: str | Text = "", *, error: bool = False) -> None:
    """Print one line as it is: no wrapping, no markup, colours on a terminal only."""
    stream = sys.stderr if error else sys.stdout
    line = text if isinstance(text, Text) else Text(text)
    plain = printable(line.plain, stream.encoding)
    if plain != line.plain:
        line = Text(plain)
    Console(file=stream, highlight=False).print(line, soft_wrap=True)


def printable(text: str, encoding: str | None = None) -> str:
    r"""A line that any terminal can show: no control characters, nothing it cannot encode.

    Bytes of a file name that are not UTF-8 are shown as the shell would write them.

    Example:
        >>> printable("two\nlines \udcff")
        'two\\nlines \\xff'
    """
    shown = []
    for character in text:
        if "\udc80" <= character <= "\udcff":
            shown.append(f"\\x{ord(character) - 0xDC00:02x}")
        elif character.isprintable() or character == " ":
            shown.append(character)
        else:
            shown.append(character.encode("unicode_escape").decode("ascii"))
    encoding = encoding or "utf-8"
    return "".join(shown).encode(encoding, "backslashreplace").decode(encoding)


def shown_path(path: Path) -> str:
    """A path as people read it: below the current folder where it is there."""
    text = os.fspath(path)
    here = os.getcwd() + os.sep
    return printable(text[len(here) :] if text.startswith(here) else text)


def shown_paths(text: str) -> str:
    """A message that names files, with each path as people read it."""
    return re.sub(rf"(?<![^\s'\"]){re.escape(os.getcwd() + os.sep)}", "", text)


def error_text(error: Exception) -> str:
    """What an error says; one of the system also names the file."""
    if not isinstance(error, OSError):
        return str(error)
    said = error.strerror or str(error) or type(error).__name__
    if error.filename is None:
        return said
    name = os.fsdecode(error.filename) if isinstance(error.filename, bytes) else error.filename
    return f"{said}: {str(name)!r}"


def about_file_line(what: str, path: Path, reason: str) -> str:
    """One line about a file: `failed: 'videos/a.mp4' is no video: ...`."""
    shown = shown_path(path)
    # Most reasons name the file, by its whole path: say it once, and shortly.
    reason = reason.replace(repr(str(path)), repr(shown)).replace(str(path), shown)
    return f"{what}: {reason if shown in reason else f'{shown}: {reason}'}"


def answer_lines(
    answer: SearchAnswer,
    paths: Mapping[str, str],
    *,
    head: str | None = None,
    explain: bool = False,
) -> list[Text]:
    """The table of a query: a line for each video, and one for each range that matches.

    Args:
        answer: What was found.
        paths: How to show each `uri`.
        head: Name of the query where it is one of many: it stands above, a blank line below.
        explain: Say why, and what else was considered.
    """
    if head is not None:
        lines = answer_lines(answer, paths, explain=explain)
        return [Text(f"query {head}", style="bold"), *lines, Text()]
    lines = _result_lines(answer, paths, explain=explain)
    if explain and answer.rejected:
        lines += [Text(), Text("considered and rejected", style="bold")]
        for rejection in answer.rejected[:MAX_REJECTED_LINES]:
            lines.append(Text(f"  {range_text(rejection):<34} {paths[rejection.uri]}"))
            lines.append(Text(f"    {_evidence_text(rejection.evidence)}", style="dim"))
        num_left = len(answer.rejected) - MAX_REJECTED_LINES
        if num_left > 0:
            lines.append(Text(f"  {num_left} more, less promising ones (--json names them)"))
    return lines


def _result_lines(answer: SearchAnswer, paths: Mapping[str, str], *, explain: bool) -> list[Text]:
    if not answer.results:
        return [Text("nothing found")]
    lines = []
    if all(result.kind == "similar" for result in answer.results):
        # Without it the first rank reads as if it were the video that was looked for.
        lines.append(Text("no copy found; similar videos:"))
    head = f"{'rank':>4}  {'score':>5}  {'kind':<7}  {'covered':>7}  file"
    lines.append(Text(head, style="bold"))
    for rank, result in enumerate(answer.results, start=1):
        line = Text(f"{rank:>4}  {result.score:>5.3f}  ")
        line.append(f"{result.kind:<7}", style="green" if result.kind == "copy" else "")
        # Who decided that both match did not say which seconds do.
        is_known = result.matches or result.verdict != "match"
        covered = f"{result.coverage:.0%}" if is_known else "-"
        line.append(f"  {covered:>6}   {paths[result.uri]}")
        if result.missing:
            line.append("  (missing)", style="yellow")
        if result.verdict is not None:
            line.append(f"  (verdict: {result.verdict})", style="yellow")
        lines.append(line)
        indent = " " * 31
        lines += [Text(f"{indent}also {paths[uri]}", style="dim") for uri in result.other_uris]
        for match in in_order(result.matches):
            lines.append(Text(f"{indent}{range_text(match)}  {result.describe(match)}"))
            if explain and match.evidence is not None:
                lines.append(Text(f"{indent}  {_evidence_text(match.evidence)}", style="dim"))
    return lines


def range_text(found: Match | Rejection) -> str:
    """Which seconds belong together: `0:03.0-0:07.5 -> 12:41.0-12:45.5`."""
    return f"{_span_text(found.query_span)} -> {_span_text(found.video_span)}"


def outdated_line(num_outdated: int, num_videos: int) -> str:
    """What an interrupted rebuild has left to do, beside the `num_videos` that can be found."""
    return (
        f"warning: {num_outdated:,} of {num_outdated + num_videos:,} videos are not embedded with "
        "the model of this index yet, and cannot be found: run `sora-search index PATH` again"
    )


def report_lines(report: IndexReport, paths: Sequence[Path]) -> list[str]:
    """What a run of indexing over `paths` did; the failures are listed by the caller."""
    counts = {
        "added": report.num_added,
        "embedded again": report.num_rebuilt,
        "changed": report.num_changed,
        "moved": report.num_moved,
        "unchanged": report.num_unchanged,
        "known already, under another name": report.num_other_names,
        "missing": report.num_missing - report.num_dropped,
        "gone and dropped": report.num_dropped,
        "damaged, indexed as far as they go": report.num_salvaged,
        "failed": len(report.failures),
    }
    said = [f"{number} {name}" for name, number in counts.items() if number]
    if not said:
        below = ", ".join(repr(shown_path(path)) for path in paths)
        return [f"no video was found below {below} (a file given by name counts whatever its name)"]
    # Two files of one content are one video: these are counts of files.
    number, name = said[0].split(" ", 1)
    said[0] = f"{number} {'file' if number == '1' else 'files'} {name}"
    lines = [", ".join(said)]
    if report.num_vectors:
        lines.append(f"{report.num_vectors:,} vectors added")
    if report.num_skipped:
        files = "1 file" if report.num_skipped == 1 else f"{report.num_skipped:,} files"
        lines.append(
            f"{files} left out, not named like videos (named on the command line they count)"
        )
    return lines


def table_lines(rows: Sequence[Sequence[str]], *, right: frozenset[int] = frozenset()) -> list[str]:
    """Rows of text in columns, those in `right` aligned to the right; the first row is the head."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return lines


def format_bytes(num_bytes: int) -> str:
    """A size as people read it.

    Example:
        >>> format_bytes(512), format_bytes(2_500_000)
        ('512 B', '2.5 MB')
    """
    if num_bytes < 1000:
        return f"{num_bytes} B"
    size = float(num_bytes)
    for unit in ("kB", "MB", "GB", "TB"):
        size /= 1000
        if size < 1000 or unit == "TB":
            break
    return f"{size:.1f} {unit}"


def _evidence_text(evidence: Evidence) -> str:
    """Why, and the numbers behind it."""
    numbers = [f"vectors {evidence.strength:.2f}"]
    if evidence.edit is not None:
        # A whole picture that agrees as it is needs no places to find its geometry by.
        fits = (
            f"{evidence.num_cells} places fit" if evidence.num_cells else "whole picture as it is"
        )
        numbers += [fits, f"{evidence.appearance:.0%} looks alike"]
        if evidence.motion is not None:
            numbers.append(f"motion {evidence.motion:.2f}")
    return f"{evidence.reason} ({', '.join(numbers)})"


def _span_text(span: TimeSpan | None) -> str:
    return "the picture" if span is None else str(span)
