"""`sora-search verdict`: what people decided about queries and videos."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

import sora_search as ss
from sora_search.cli.commands import SoraTyper
from sora_search.cli.options import (
    ConfigOption,
    IndexOption,
    JsonOption,
    WaitOption,
    load_shared,
    require_paths,
)
from sora_search.cli.output import print_json, print_line, shown_path, table_lines, to_object
from sora_search.datatypes import Decision
from sora_search.errors import ConfigError

verdict_app = SoraTyper(
    help="What people decided about queries and videos: add, list, undo.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
ByOption = Annotated[
    str | None,
    typer.Option(
        "--by", metavar="NAME", help="Who decides (default: your user name).", show_default=False
    ),
]


@verdict_app.command(
    "add", epilog="Example: sora-search verdict add clip.mp4 ./videos/one.mp4 no-match"
)
def add_command(
    query: Annotated[Path, typer.Argument(metavar="QUERY", help="The clip or still picture.")],
    video: Annotated[
        str, typer.Argument(metavar="VIDEO", help="A file, a uri, or an id (see `info --list`).")
    ],
    decision: Annotated[
        Decision, typer.Argument(metavar="match|no-match", help="Do both show the same footage?")
    ],
    by: ByOption = None,
    index: IndexOption = None,
    wait: WaitOption = False,
    as_json: JsonOption = False,
    config_file: ConfigOption = None,
) -> None:
    """Decide whether QUERY shows the same footage as VIDEO.

    From then on a query with QUERY, or with a part of it, tells the video as a `copy` with
    score 1 (`match`), or never as a `copy` (`no-match`). The contents count, so both files may
    be moved and renamed. The newest verdict about the same two stands.
    """
    _require_name(by)
    shared = load_shared(config_file, index=index)
    require_paths([query])
    with ss.VideoIndex.open(shared.index, read_only=False, wait=wait) as video_index:
        ss.probe(query)  # what cannot be a query gets no verdict
        verdict = video_index.add_verdict(query, video, decision, by=by)
        log = _about_the_same(video_index.verdicts(), verdict)
    if as_json:
        print_json({"verdict": to_object(verdict)})
    else:
        print_line(f"verdict {verdict.verdict_id}: {_said(verdict)}")
    replaced = [other for other in log if other.state == "replaced"]
    if replaced:
        print_line(f"replaces {_signed(replaced[-1])}", error=True)


@verdict_app.command("list", epilog="Example: sora-search verdict list clip.mp4 --json")
def list_command(
    query: Annotated[
        Path | None, typer.Argument(metavar="[QUERY]", help="A clip or still picture.")
    ] = None,
    index: IndexOption = None,
    as_json: JsonOption = False,
    config_file: ConfigOption = None,
) -> None:
    """Show the log of verdicts, oldest first.

    With QUERY only what is about the content of that file.
    """
    shared = load_shared(config_file, index=index)
    require_paths([] if query is None else [query])
    with ss.VideoIndex.open(shared.index, read_only=True) as video_index:
        log = video_index.verdicts(query)
    if as_json:
        print_json({"verdicts": [to_object(verdict) for verdict in log]})
    else:
        for line in table_lines(_rows(log), right=frozenset({0})) if log else ["no verdicts"]:
            print_line(line)


@verdict_app.command("undo", epilog="Example: sora-search verdict undo 1")
def undo_command(
    verdict_id: Annotated[
        int, typer.Argument(metavar="ID", min=1, help="A verdict, as `verdict list` counts them.")
    ],
    by: ByOption = None,
    index: IndexOption = None,
    wait: WaitOption = False,
    as_json: JsonOption = False,
    config_file: ConfigOption = None,
) -> None:
    """Take a verdict back; the one that it replaced, if any, stands again.

    Nothing is deleted: that it was undone, when and by whom, becomes a line of the log.
    """
    _require_name(by)
    shared = load_shared(config_file, index=index)
    with ss.VideoIndex.open(shared.index, read_only=False, wait=wait) as video_index:
        undo = video_index.undo_verdict(verdict_id, by=by)
        log = _about_the_same(video_index.verdicts(), undo)
    if as_json:
        print_json({"verdict": to_object(undo)})
    else:
        (undone,) = (verdict for verdict in log if verdict.verdict_id == verdict_id)
        print_line(f"undid verdict {verdict_id}: {_said(undone)}")
    for verdict in log:
        if verdict.state == "stands":
            print_line(f"what stands is {_signed(verdict)}", error=True)


def _require_name(by: str | None) -> None:
    if by is not None and not by.strip():
        raise ConfigError("--by must name somebody, it is empty")


def _about_the_same(log: "Sequence[ss.Verdict]", verdict: "ss.Verdict") -> "list[ss.Verdict]":
    """What of the log is about the same two contents."""
    pair = (verdict.query_content_id, verdict.video_content_id)
    return [other for other in log if (other.query_content_id, other.video_content_id) == pair]


def _said(verdict: "ss.Verdict") -> str:
    return f"{_shown(verdict.query_uri)} -> {_shown(verdict.video_uri)}: {verdict.decision}"


def _signed(verdict: "ss.Verdict") -> str:
    made = f"by {verdict.decided_by}, {verdict.decided_at}"
    return f"verdict {verdict.verdict_id}: {verdict.decision}, {made}"


def _rows(log: "Sequence[ss.Verdict]") -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [("id", "verdict", "state", "by", "at", "query -> video")]
    for verdict in log:
        names = f"{_shown(verdict.query_uri)} -> {_shown(verdict.video_uri)}"
        rows.append(
            (
                str(verdict.verdict_id),
                verdict.decision or f"undo of {verdict.undoes}",
                verdict.state or "-",
                verdict.decided_by,
                verdict.decided_at,
                names if verdict.video_id is not None else f"{names}  (not in the index)",
            )
        )
    return rows


def _shown(uri: str) -> str:
    return shown_path(ss.path_of(uri))
