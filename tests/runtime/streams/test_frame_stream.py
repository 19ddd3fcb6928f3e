"""Frames in, results out: nothing lost without being counted, no latency that grows, no thread left behind."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import FrozenInstanceError
from typing import Any

import numpy as np
import pytest
from fake_frames import SOON_S, BurstSource, FakeTime, ScriptedSource, numbered, reading_threads, seen
from hypothesis import given
from hypothesis import strategies as st

from kda_edge.errors import EngineError, UsageError, VideoError
from kda_edge.runtime import FrameResult, Prediction
from kda_edge.runtime.streams.frame_reader import StreamOptions
from kda_edge.runtime.streams.frame_stream import FrameStream
from kda_edge.runtime.streams.stream_results import FrameTimings, StreamCounter, StreamSummary
from kda_edge.tiling.tile_stream import TileFailure


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    yield
    assert reading_threads() == []


def adds_up(summary: StreamSummary) -> bool:
    parts = summary.frames_out + summary.dropped + summary.skipped + summary.pending
    return summary.frames_in == parts and summary.pending == 0


@given(count=st.integers(0, 20), every=st.integers(1, 7), threaded=st.booleans())
def test_a_recording_gives_each_frame_that_was_asked_for_once_and_in_order(
    count: int, every: int, threaded: bool
) -> None:
    source = ScriptedSource(range(count), threaded=threaded)
    with FrameStream(source, seen, StreamOptions(every=every)) as stream:
        results = list(stream)
    assert [result.index for result in results] == list(range(0, count, every))
    assert [int(result.prediction.probability[0, 0]) for result in results] == list(range(0, count, every))
    assert sum(result.dropped for result in results) == 0
    assert stream.summary.frames_in == count
    assert stream.summary.frames_out == len(results)
    assert adds_up(stream.summary)
    assert source.closed
    assert source.threads <= {"kda-edge reads the script" if threaded else threading.current_thread().name}


@pytest.mark.parametrize("every", [1, 3])
def test_under_load_the_newest_frame_wins_and_latency_does_not_grow(every: int) -> None:
    """While one frame is at work, nine come: whatever the number of frames, none waits longer than one period."""
    time, period_s, slow = FakeTime(), 0.04, 9
    source = BurstSource(400, time, period_s)

    def busy(image: np.ndarray) -> Prediction:
        source.let(slow)
        return seen(image)

    results: list[FrameResult] = []
    with FrameStream(source, busy, StreamOptions(every=every), time.clock()) as stream:
        for result in stream:
            results.append(result)
            if len(results) == 40:
                source.end()
                break
    steps = np.diff([result.index for result in results])
    assert set(steps) <= {slow - slow % every, slow + every - slow % every, slow}
    assert all(result.latency_ms <= (slow + every) * period_s * 1000 + 1e-6 for result in results)
    assert [result.dropped for result in results[1:]] == list(steps // every - 1)
    assert [int(result.frame[0, 0, 0]) for result in results] == [result.index % 256 for result in results]
    summary = stream.summary
    assert adds_up(summary)
    assert summary.frames_in == 1 + 40 * slow
    assert summary.frames_out == 40
    assert sum(result.dropped for result in results) <= summary.dropped  # the one that waited when all was over


def test_a_frame_is_read_while_another_is_at_work_and_no_more_than_one() -> None:
    time = FakeTime()
    source = BurstSource(20, time, 0.01)
    source.live = False

    def busy(image: np.ndarray) -> Prediction:
        source.let(1)  # comes back when the next one was read, left, and one more was asked for
        return seen(image)

    with FrameStream(source, busy, StreamOptions(drop=False), time.clock()) as stream:
        indices = [next(stream).index for _ in range(5)]
        source.end()
    assert indices == list(range(5))
    assert stream.summary.frames_in == 6
    assert stream.summary.dropped == 1  # the one that waited when the stream was closed
    assert adds_up(stream.summary)


def test_phases_and_latency_are_those_of_the_clock() -> None:
    time = FakeTime()

    def predict(image: np.ndarray) -> Prediction:
        time.pass_by(0.5)
        return Prediction(image[..., 0].astype(np.float32), image[..., 0], engine_seconds=0.4)

    source = ScriptedSource(range(3), time=time, threaded=False, period_s=0.25)
    results = list(FrameStream(source, predict, clock=time.clock()))
    for number, result in enumerate(results):
        assert result.timings == FrameTimings(250.0, 0.0, 0.0, 500.0, 400.0)
        assert result.latency_ms == 500.0
        assert result.timestamp_s == pytest.approx(0.25 + 0.75 * number)  # the source has no clock of its own
    with pytest.raises(FrozenInstanceError):
        results[0].index = 7  # type: ignore[misc]


def test_the_time_that_is_asked_for_ends_the_stream() -> None:
    time = FakeTime()
    source = ScriptedSource(range(100), time=time, threaded=False, live=True, period_s=1.0)
    stream = FrameStream(source, seen, StreamOptions(seconds=5.0), time.clock())
    assert [result.timestamp_s for result in stream] == [1, 2, 3, 4]


def test_closing_early_stops_the_thread_and_counts_what_was_read() -> None:
    source = ScriptedSource(range(100))
    stream = FrameStream(source, seen)
    assert next(stream).index == 0
    stream.close()
    stream.close()
    assert source.closed == 1
    assert adds_up(stream.summary)
    with pytest.raises(StopIteration):
        next(stream)


def test_a_stream_that_was_never_asked_lets_go_of_its_source_and_one_that_is_forgotten_too() -> None:
    source = ScriptedSource(range(3))
    FrameStream(source, seen).close()
    assert source.closed == 1
    other = ScriptedSource(range(100))
    for _ in FrameStream(other, seen):
        break
    gc.collect()
    assert other.closed


@pytest.mark.parametrize("how", ["event", "question", "stop", "close"])
def test_another_thread_stops_a_stream_that_waits_for_a_frame(how: str) -> None:
    source, event = BurstSource(10, FakeTime(), 0.0), threading.Event()
    asked = event.is_set if how == "question" else event
    stream = FrameStream(source, seen, StreamOptions(cancel=asked))
    with ThreadPoolExecutor(1) as pool:
        results = pool.submit(lambda: [result.index for result in stream])
        source.let(0)  # until the first was taken for granted and the second is waited for
        {"event": event.set, "question": event.set, "stop": stream.stop, "close": stream.close}[how]()
        source.end()
        assert results.result(SOON_S) in ([0], [])
    assert adds_up(stream.summary)


@pytest.mark.parametrize("threaded", [True, False])
def test_what_a_source_raises_comes_out_after_the_frames_before_it(threaded: bool) -> None:
    source = ScriptedSource([0, 1, VideoError("frame2.jpg is no image"), 3], threaded=threaded)
    stream, indices = FrameStream(source, seen), list[int]()
    with pytest.raises(VideoError, match=r"frame2\.jpg"):
        indices.extend(result.index for result in stream)
    assert indices == [0, 1]
    assert source.closed
    assert adds_up(stream.summary)


def test_an_engine_that_fails_ends_the_stream_and_its_frame_counts_as_dropped() -> None:
    def broken(image: np.ndarray) -> Prediction:
        raise EngineError("the engine failed")

    stream = FrameStream(ScriptedSource(range(9)), broken)
    with pytest.raises(EngineError):
        next(stream)
    assert adds_up(stream.summary)
    assert stream.summary.dropped >= 1


@pytest.mark.parametrize(
    ("options", "words"),
    [({"every": 0}, "every"), ({"max_side_px": 0}, "0 px"), ({"seconds": 0}, "seconds"), ({"reconnect_s": -1}, "-1")],
    ids=str,
)
def test_options_that_cannot_be_right_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        StreamOptions(**options)


def a_result(latency_ms: float, failures: tuple[TileFailure, ...] = ()) -> FrameResult:
    prediction = Prediction(np.zeros((1, 1), np.float32), np.zeros((1, 1), np.uint8), failures=failures)
    return FrameResult(0, 0.0, numbered(0), prediction, 0, 0, latency_ms, FrameTimings(0, 0, 0, 0, 0))


def at_rank(sorted_ms: list[float], percent: float) -> float:
    """A percentile by hand: on the line between the two values around its rank."""
    rank = percent / 100 * (len(sorted_ms) - 1)
    below = int(rank)
    above = min(below + 1, len(sorted_ms) - 1)
    return sorted_ms[below] + (sorted_ms[above] - sorted_ms[below]) * (rank - below)


@given(latencies_ms=st.lists(st.floats(0, 1e6), min_size=1, max_size=300))
def test_percentiles_are_right(latencies_ms: list[float]) -> None:
    counter = StreamCounter()
    for latency_ms in latencies_ms:
        counter.came()
        counter.result(a_result(latency_ms), 0.0)
    summary, ordered = counter.summary(), sorted(latencies_ms)
    found = [summary.latency_p50_ms, summary.latency_p95_ms, summary.latency_p99_ms]
    np.testing.assert_allclose(found, [at_rank(ordered, percent) for percent in (50, 95, 99)], rtol=1e-9)
    assert summary.latency_max_ms == ordered[-1]
    assert summary.frames_out == len(ordered)


def test_percentiles_are_of_the_newest_and_the_longest_is_of_all() -> None:
    counter = StreamCounter(kept=10)
    for latency_ms in (1e9, *[1.0] * 10):
        counter.result(a_result(latency_ms, (TileFailure(0, 0, "why"),)), 3.0)
    assert (counter.summary().latency_p99_ms, counter.summary().latency_max_ms) == (1.0, 1e9)
    assert counter.summary().failed_tiles == 11


def test_before_the_first_result_there_are_no_percentiles() -> None:
    summary = StreamCounter().summary(("odd",))
    assert np.isnan([summary.latency_p50_ms, summary.latency_p99_ms, summary.latency_max_ms]).all()
    assert (summary.fps, summary.seconds, summary.notes) == (0.0, 0.0, ("odd",))
