"""The shipped model at work: both encoders agree, streams of any length give the right spans."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from video_files import cut_file, moving_frames, write_video

from sora_search.datatypes import FrameBatch, TimeSpan, VideoEncoder
from sora_search.errors import ConfigError, ModelNotFoundError
from sora_search.sora.encoder import (
    EncoderSpec,
    OnnxEncoder,
    TorchEncoder,
    embed_video,
    load_encoder,
    normalize_halves,
)


@pytest.fixture(scope="module")
def encoder() -> OnnxEncoder:
    return OnnxEncoder(EncoderSpec())


def frames_of(num: int) -> NDArray[np.uint8]:
    return moving_frames(num, height=128, width=128)


def batches_of(frames: NDArray[np.uint8], size: int, rate: float = 2.0) -> list[FrameBatch]:
    times = (np.arange(len(frames)) + 0.5) / rate
    return [
        FrameBatch(frames[i : i + size], times[i : i + size]) for i in range(0, len(frames), size)
    ]


def test_torch_and_onnx_give_the_same_vectors(encoder: OnnxEncoder) -> None:
    batches = batches_of(frames_of(20), 7)
    one, two = encoder.encode(batches), TorchEncoder(EncoderSpec()).encode(batches)
    assert isinstance(encoder, VideoEncoder)
    assert one.model_id == two.model_id
    assert (one.vectors * two.vectors).sum(axis=1).min() >= 0.9999
    np.testing.assert_allclose(one.vectors, two.vectors, atol=1e-3)


@pytest.mark.parametrize("size", [1, 5, 16, 40])
def test_how_a_stream_is_cut_into_batches_changes_nothing(encoder: OnnxEncoder, size: int) -> None:
    frames = frames_of(40)
    whole = encoder.encode(batches_of(frames, 40))
    assert len(whole) == 40
    np.testing.assert_array_equal(encoder.encode(batches_of(frames, size)).vectors, whole.vectors)


@pytest.mark.parametrize("num", [1, 2, 5, 15, 16, 17, 31, 32, 33])
def test_every_frame_gets_a_unit_vector_and_a_span(encoder: OnnxEncoder, num: int) -> None:
    embedding = encoder.encode(batches_of(frames_of(num), 8), end_s=num / 2)
    assert len(embedding) == num
    np.testing.assert_allclose(np.linalg.norm(embedding.vectors, axis=1), 1, rtol=1e-5)
    for i, span in enumerate(embedding.spans):
        assert span is not None
        assert (span.start_s, span.end_s) == pytest.approx((i / 2, (i + 1) / 2))


def test_the_identity_half_does_not_depend_on_where_a_clip_was_cut(encoder: OnnxEncoder) -> None:
    frames = frames_of(37)
    whole = encoder.encode(batches_of(frames, 16)).vectors
    piece = encoder.encode(batches_of(frames[9:], 16)).vectors
    half = encoder.identity_dim
    np.testing.assert_allclose(piece[:, :half], whole[9:, :half], atol=1e-4)


def test_a_still_picture_has_one_vector_without_a_span(encoder: OnnxEncoder) -> None:
    embedding = encoder.encode(batches_of(frames_of(1), 1))
    assert embedding.spans == (None,)


def test_no_frame_and_wrong_frames_are_refused(encoder: OnnxEncoder) -> None:
    with pytest.raises(ValueError, match="at least one frame"):
        encoder.encode([])
    small = FrameBatch(np.zeros((1, 64, 64, 3), np.uint8), np.zeros(1))
    with pytest.raises(ValueError, match=r"\(128, 128\)"):
        encoder.encode([small])


def test_a_file_is_embedded_as_densely_as_its_length_asks(
    encoder: OnnxEncoder, tmp_path: Path
) -> None:
    path = write_video(tmp_path / "short.mkv", moving_frames(50), fps=25)
    info, embedding, damage = embed_video(path, encoder)
    assert info.duration_s == pytest.approx(2.0, abs=0.05)
    assert damage is None
    assert len(embedding) == 16
    last = embedding.spans[-1]
    assert last is not None
    assert last.end_s == pytest.approx(2.0, abs=0.01)
    part = embed_video(path, encoder, span=TimeSpan(0.5, 1.5))[1]
    assert len(part) == 16
    first = part.spans[0]
    assert first is not None
    assert first.start_s == pytest.approx(0.5, abs=0.01)


def test_one_frame_of_a_video_lasts_as_long_as_it_is_shown(
    encoder: OnnxEncoder, tmp_path: Path
) -> None:
    path = write_video(tmp_path / "one.mkv", moving_frames(1), fps=25)
    spans = embed_video(path, encoder)[1].spans
    first, last = spans[0], spans[-1]
    assert first is not None
    assert last is not None
    assert (first.start_s, last.end_s) == pytest.approx((0, 0.04), abs=0.002)


def test_one_frame_of_a_part_is_shown_from_its_start(encoder: OnnxEncoder, tmp_path: Path) -> None:
    # The header promises 20 s, so that the part is sampled as one of seconds.
    whole = write_video(tmp_path / "whole.mkv", moving_frames(100), fps=5)
    path = cut_file(whole, tmp_path / "cut.mkv", share=0.6)
    info, embedding, _ = embed_video(path, encoder)
    last = embedding.spans[-1]
    assert info.duration_s == pytest.approx(20.0, abs=0.1)
    assert last is not None
    assert last.end_s < 15
    part = TimeSpan(last.end_s - 0.3, 30)
    assert embed_video(path, encoder, span=part)[1].spans == (TimeSpan(part.start_s, last.end_s),)


def test_a_lone_frame_late_in_a_film_lasts_a_step(encoder: OnnxEncoder) -> None:
    batch = FrameBatch(frames_of(1), np.array([300.25]))
    assert encoder.encode([batch], end_s=300.5).spans == (TimeSpan(300.0, 300.5),)


def test_halves_are_normalised_each_for_itself() -> None:
    rows = normalize_halves(np.array([[3.0, 4, 0, 0.1], [0, 0, 0, 2]], np.float32), 2)
    np.testing.assert_allclose(
        rows * 2**0.5, [[0.6, 0.8, 0, 1], [0, 0, 0, 1]], rtol=1e-6, atol=1e-12
    )


def test_what_cannot_be_loaded_says_so(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match="no model 'none'"):
        load_encoder("none")
    card = Path(load_encoder().spec.model)
    assert EncoderSpec(str(card)).load().model_id == load_encoder().model_id
    import torch

    if not torch.cuda.is_available():
        with pytest.raises(ConfigError, match="no GPU"):
            load_encoder(device="cuda")


def test_embedding_loads_no_torch(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mkv", moving_frames(30), fps=25)
    script = (
        "import sys; from sora_search.sora.encoder import embed_video, load_encoder; "
        f"embed_video({str(path)!r}, load_encoder()); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
