"""`sora-search info`: what is in the index."""

from textwrap import shorten
from typing import Annotated

import typer

import sora_search as ss
from sora_search.cli.options import ConfigOption, IndexOption, JsonOption, load_shared
from sora_search.cli.output import (
    format_bytes,
    outdated_line,
    print_json,
    print_line,
    shown_path,
    table_lines,
    to_object,
)
from sora_search.datatypes import format_time

MAX_DAMAGE_CHARACTERS = 60
"""Of what is said in a list about the damage of a video; alone it is said in full."""


def info_command(
    video: Annotated[
        str | None,
        typer.Argument(metavar="[VIDEO]", help="A file, a uri, or an id as --list shows it."),
    ] = None,
    list_videos: Annotated[
        bool, typer.Option("--list", "-l", help="List the videos as well, with their ids.")
    ] = False,
    index: IndexOption = None,
    as_json: JsonOption = False,
    config_file: ConfigOption = None,
) -> None:
    """Say what the index holds, or what it knows about one VIDEO."""
    shared = load_shared(config_file, index=index)
    with ss.VideoIndex.open(shared.index, read_only=True) as video_index:
        num_videos, num_outdated = video_index.num_videos, video_index.num_outdated
        if video is not None:
            found = video_index.find(video)
            document = to_object(found)
            facts = {**document, **to_object(found.info)}
            del facts["info"], facts["uri"]
            lines = _fact_lines(facts)
        else:
            videos = video_index.videos()
            document = _index_document(video_index, videos)
            lines = _fact_lines(document)
            if list_videos:
                document["videos"] = [to_object(item) for item in videos]
                lines += ["", *table_lines(_video_rows(videos), right=frozenset({0, 1, 2}))]
    if as_json:
        print_json(document)
    else:
        for line in lines:
            print_line(line)
    if num_outdated:
        print_line(outdated_line(num_outdated, num_videos), error=True)


def _index_document(
    video_index: "ss.VideoIndex", videos: "list[ss.IndexedVideo]"
) -> dict[str, object]:
    """The facts of an index, by the names that `--json` prints."""
    files = [path for path in video_index.path.iterdir() if path.is_file()]
    return {
        "path": str(video_index.path),
        "model_id": video_index.model_id,
        "dim": video_index.dim,
        "generation": video_index.generation,
        "num_videos": len(videos),
        "num_files": sum(len(video.uris) for video in videos),
        "num_missing": sum(video.missing for video in videos),
        "num_damaged": sum(video.damage is not None for video in videos),
        "num_outdated": video_index.num_outdated,
        "num_vectors": sum(video.num_vectors for video in videos),
        "duration_s": sum(video.info.duration_s or 0.0 for video in videos),
        "size_bytes": sum(path.stat().st_size for path in files),
    }


def _fact_lines(facts: dict[str, object]) -> list[str]:
    return table_lines([(name, _shown(name, value)) for name, value in facts.items()])


def _shown(name: str, value: object) -> str:
    """A fact for people, by the unit that its name tells."""
    if value is None:
        return "-"
    if name.endswith("_s") and isinstance(value, float):
        return format_time(value)
    if name.endswith("_bytes") and isinstance(value, int):
        return format_bytes(value)
    if name == "uri":
        return shown_path(ss.path_of(str(value)))
    if name == "uris" and isinstance(value, list):
        return ", ".join(shown_path(ss.path_of(uri)) for uri in value)
    if name in ("num_missing", "num_damaged", "num_outdated"):  # not of files
        return f"{value:,} video{'' if value == 1 else 's'}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _video_rows(videos: "list[ss.IndexedVideo]") -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [("id", "duration", "vectors", "file")]
    for video in videos:
        notes = [f"also {shown_path(ss.path_of(uri))}" for uri in video.uris[1:]]
        notes += ["missing"] if video.missing else []
        if video.damage:
            damage = shorten(video.damage, MAX_DAMAGE_CHARACTERS, placeholder=" ...")
            notes.append(f"damaged: {damage}")
        name = shown_path(ss.path_of(video.uris[0])) + (f"  ({'; '.join(notes)})" if notes else "")
        duration = format_time(video.info.duration_s) if video.info.duration_s is not None else "-"
        rows.append((str(video.video_id), duration, str(video.num_vectors), name))
    return rows
