import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sora_search.datatypes import TimeSpan
from sora_search.media.sampling import (
    SamplingConfig,
    endless_sample_times,
    sample_times,
    sampling_rate,
)

spans = st.builds(
    lambda start, length: TimeSpan(start, start + length),
    st.floats(0, 10_000),
    st.floats(0.01, 600),
)
rates = st.floats(0.1, 60)


@given(spans, rates)
def test_sample_times_increase_inside_the_span(span, rate):
    times = sample_times(span, rate)
    assert len(times) >= 1
    assert (np.diff(times) > 0).all()
    assert times[0] >= span.start_s
    assert times[-1] < span.end_s


@given(spans, rates)
def test_sample_times_are_the_middles_of_equal_steps(span, rate):
    times = sample_times(span, rate)
    assert abs(len(times) - span.duration_s * rate) <= 1.5
    if len(times) > 1:
        assert np.allclose(np.diff(times), 1 / rate)
        assert times[0] == pytest.approx(span.start_s + 0.5 / rate)


def test_sample_times_of_two_seconds_at_two_a_second():
    assert sample_times(TimeSpan(1.0, 3.0), 2.0).tolist() == [1.25, 1.75, 2.25, 2.75]


def test_a_span_shorter_than_half_a_step_has_its_middle():
    assert sample_times(TimeSpan(4.0, 4.1), 2.0).tolist() == pytest.approx([4.05])


@given(st.floats(0.01, 10_000))
def test_short_videos_have_at_least_min_frames(duration_s):
    config = SamplingConfig()
    rate = sampling_rate(duration_s, config)
    assert rate >= config.frames_per_s
    times = sample_times(TimeSpan(0.0, duration_s), rate)
    assert len(times) >= config.min_frames
    if duration_s >= config.long_enough_s:
        assert rate == config.frames_per_s


def test_unknown_duration_is_taken_as_long():
    assert sampling_rate(None, SamplingConfig(frames_per_s=3.0)) == 3.0


@pytest.mark.parametrize("duration_s", [0.0, -1.0, math.nan])
def test_impossible_durations_are_refused(duration_s):
    with pytest.raises(ValueError, match="duration"):
        sampling_rate(duration_s, SamplingConfig())


@pytest.mark.parametrize("rate", [0.0, -2.0, math.inf, math.nan])
def test_impossible_rates_are_refused(rate):
    with pytest.raises(ValueError, match="rate"):
        sample_times(TimeSpan(0.0, 1.0), rate)


@pytest.mark.parametrize("wrong", [{"frames_per_s": 0.0}, {"min_frames": 0}])
def test_impossible_configs_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        SamplingConfig(**wrong)


@given(spans, rates)
def test_endless_times_begin_like_those_of_a_span(span, rate):
    times = sample_times(span, rate)
    if times[0] < span.start_s + 0.4 / rate:  # the lone middle of a short span
        return
    endless = endless_sample_times(span.start_s, rate)
    assert [next(endless) for _ in times] == pytest.approx(times.tolist())
