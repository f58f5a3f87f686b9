"""`sora-search remove`: take videos out of the index."""

from typing import Annotated

import typer

import sora_search as ss
from sora_search.cli.options import ConfigOption, IndexOption, JsonOption, WaitOption, load_shared
from sora_search.cli.output import print_json, print_line, shown_path


def remove_command(
    videos: Annotated[
        list[str],
        typer.Argument(metavar="VIDEO...", help="Files, uris, or ids (see `info --list`)."),
    ],
    index: IndexOption = None,
    wait: WaitOption = False,
    as_json: JsonOption = False,
    config_file: ConfigOption = None,
) -> None:
    """Take videos out of the index, with all names they have in it; files are left alone.

    When one of them is not in the index, nothing is removed.
    """
    shared = load_shared(config_file, index=index)
    with ss.VideoIndex.open(shared.index, read_only=False, wait=wait) as video_index:
        found = {v.video_id: v for v in (video_index.find(video) for video in videos)}
        video_index.remove(list(found))
        video_index.save()
    if as_json:
        removed = [{"video_id": v.video_id, "uris": list(v.uris)} for v in found.values()]
        print_json({"removed": removed})
    else:
        for video in found.values():
            name, *others = [shown_path(ss.path_of(uri)) for uri in video.uris]
            also = f"  (also {', also '.join(others)})" if others else ""
            print_line(f"removed {name}{also}")
