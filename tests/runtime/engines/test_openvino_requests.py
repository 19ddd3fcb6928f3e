"""Tiles that are computed at once: each answer is its own tile's, and after a failure nothing is under way."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from kda_edge.runtime.engines.openvino_requests import Requests, stream_count

SIDE = 4


class FakeRequest:
    """Answers band 0 of its input, at `wait`; an input or output that is touched while it runs is an error."""

    def __init__(self, owner: FakeCompiled) -> None:
        self.owner, self.running, self.fails = owner, False, False
        self.input = np.zeros((1, 3, SIDE, SIDE), np.float32)
        self.output = np.zeros((1, 1, SIDE, SIDE), np.float32)

    def get_input_tensor(self, _: int) -> FakeTensor:
        assert not self.running, "its input is written while it is read"
        return FakeTensor(self.input)

    def get_output_tensor(self, _: int) -> FakeTensor:
        assert not self.running, "its output is read while it is written"
        return FakeTensor(self.output)

    def start_async(self) -> None:
        assert not self.running
        self.running = True
        self.owner.most = max(self.owner.most, sum(one.running for one in self.owner.requests))

    def wait(self) -> None:
        if not self.running:
            return
        self.running = False
        if self.input[0, 0, 0, 0] == self.owner.bad:
            raise RuntimeError("no memory")
        self.output[0] = self.input[0, :1] * 2


class FakeTensor:
    def __init__(self, data: NDArray[np.float32]) -> None:
        self.data = data


class FakeCompiled:
    def __init__(self, bad: float | None = None) -> None:
        self.requests: list[FakeRequest] = []
        self.most, self.bad = 0, bad

    def create_infer_request(self) -> Any:
        self.requests.append(FakeRequest(self))
        return self.requests[-1]


def numbered(count: int) -> NDArray[np.float32]:
    return np.broadcast_to(
        np.arange(1, count + 1, dtype=np.float32)[:, None, None, None], (count, 3, SIDE, SIDE)
    ).copy()


@pytest.mark.parametrize("streams", [1, 2, 3])
@pytest.mark.parametrize("count", [0, 1, 2, 3, 7])
def test_each_answer_is_of_its_own_tile_and_streams_have_tiles_waiting_for_them(streams: int, count: int) -> None:
    compiled = FakeCompiled()
    requests = Requests(compiled, streams)
    np.testing.assert_array_equal(requests(numbered(count)), 2 * numbered(count)[:, :1])
    assert compiled.most == min(requests.max_batch, count)
    assert not any(one.running for one in compiled.requests)


@pytest.mark.parametrize("bad", [1, 2, 5, 6])
def test_after_a_failure_nothing_is_under_way_and_the_next_call_answers(bad: int) -> None:
    compiled = FakeCompiled(bad)
    requests = Requests(compiled, 2)
    with pytest.raises(RuntimeError, match="no memory"):
        requests(numbered(6))
    assert not any(one.running for one in compiled.requests)
    compiled.bad = None
    np.testing.assert_array_equal(requests(numbered(5)), 2 * numbered(5)[:, :1])


@pytest.mark.parametrize(
    ("threads", "alike", "streams"), [(1, False, 1), (2, False, 2), (4, True, 4), (8, False, 4), (8, True, 1)]
)
def test_streams_follow_the_threads_and_are_few(threads: int, alike: bool, streams: int) -> None:
    assert stream_count(threads, alike=alike) == streams


def test_a_batch_keeps_each_stream_busy_for_two_tiles() -> None:
    assert [Requests(FakeCompiled(), streams).max_batch for streams in (1, 2, 4)] == [1, 4, 8]
