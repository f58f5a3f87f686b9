"""Find the video a clip came from, or videos that show the same, in your own folders.

The public names are here; each loads its module on first use, so that importing
`sora_search` is quick and loads neither PyAV, FAISS, SQLAlchemy, ONNX Runtime,
OpenCV nor torch. Errors are in `sora_search.errors`.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sora_search.applications.deduplication import DuplicateGroup as DuplicateGroup
    from sora_search.applications.deduplication import find_duplicates as find_duplicates
    from sora_search.datatypes import FrameBatch as FrameBatch
    from sora_search.datatypes import IndexReport as IndexReport
    from sora_search.datatypes import Match as Match
    from sora_search.datatypes import Progress as Progress
    from sora_search.datatypes import SearchAnswer as SearchAnswer
    from sora_search.datatypes import SearchResult as SearchResult
    from sora_search.datatypes import TimeSpan as TimeSpan
    from sora_search.datatypes import VideoEmbedding as VideoEmbedding
    from sora_search.datatypes import VideoFailure as VideoFailure
    from sora_search.datatypes import VideoInfo as VideoInfo
    from sora_search.errors import SoraSearchError as SoraSearchError
    from sora_search.index.discovery import find_videos as find_videos
    from sora_search.index.indexing import index_videos as index_videos
    from sora_search.index.video_index import IndexedVideo as IndexedVideo
    from sora_search.index.video_index import Verdict as Verdict
    from sora_search.index.video_index import VideoIndex as VideoIndex
    from sora_search.media.decoding import VideoReader as VideoReader
    from sora_search.media.probing import path_of as path_of
    from sora_search.media.probing import probe as probe
    from sora_search.media.probing import uri_of as uri_of
    from sora_search.retrieval.picturing import write_answer as write_answer
    from sora_search.retrieval.searching import search as search
    from sora_search.sora.encoder import embed_video as embed_video
    from sora_search.sora.encoder import load_encoder as load_encoder

_MODULES = {
    "applications.deduplication": ("DuplicateGroup", "find_duplicates"),
    "datatypes": (
        "FrameBatch",
        "IndexReport",
        "Match",
        "Progress",
        "SearchAnswer",
        "SearchResult",
        "TimeSpan",
        "VideoEmbedding",
        "VideoFailure",
        "VideoInfo",
    ),
    "errors": ("SoraSearchError",),
    "index.discovery": ("find_videos",),
    "index.indexing": ("index_videos",),
    "index.video_index": ("IndexedVideo", "Verdict", "VideoIndex"),
    "media.decoding": ("VideoReader",),
    "media.probing": ("path_of", "probe", "uri_of"),
    "retrieval.picturing": ("write_answer",),
    "retrieval.searching": ("search",),
    "sora.encoder": ("embed_video", "load_encoder"),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [  # noqa: PLE0604, RUF100 - the names are those of the table above
    *_MODULE_OF,
]


def __getattr__(name: str) -> object:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULE_OF})
