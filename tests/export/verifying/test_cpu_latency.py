"""Two graphs take turns on one clock, and the medians are those of what the clock said."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from kda_edge.certificate import Budget, Latency
from kda_edge.errors import NotFaster
from kda_edge.export.verifying.cpu_latency import latency_on_cpu
from kda_edge.export.verifying.verifier import require_fast
from kda_edge.runtime.engines.in_turns import ROUNDS, WARM_UP
from kda_edge.tiling.certificate_tiles import Tile

TILE = Tile("flat", np.zeros((3, 32, 32), np.float32))


@dataclass
class FakeEngine:
    """Answers the first band, after some time of a clock; one tile a call suits it, or as many as it is told."""

    spend: Callable[[], None]
    max_batch: int | None = None

    def __call__(self, tiles: NDArray[np.float32]) -> NDArray[np.float32]:
        assert len(tiles) <= (self.max_batch or 1)
        self.spend()
        return tiles[:, :1]


def test_medians_are_of_alternating_runs_after_the_warm_up() -> None:
    now_s, order = [0.0], list[str]()
    durations_s = {
        "a": iter([9.0] * WARM_UP + [0.004] * 20 + [1.0] * 10),
        "b": iter([9.0] * WARM_UP + [0.010] * ROUNDS),
    }

    def to_engine(graph: onnx.ModelProto) -> FakeEngine:
        def spend() -> None:
            order.append(graph.producer_name)
            now_s[0] += next(durations_s[graph.producer_name])

        return FakeEngine(spend)

    graphs = onnx.ModelProto(producer_name="a"), onnx.ModelProto(producer_name="b")
    engines = {"an engine 1.0": to_engine}
    found = latency_on_cpu(*graphs, "fp32", TILE, log=lambda _: None, engines=engines, clock=lambda: now_s[0])
    assert order == ["a", "b"] * (WARM_UP + ROUNDS)
    assert (found.p50_ms, found.other_p50_ms) == (pytest.approx(4.0), pytest.approx(10.0))
    assert (found.rounds, found.other_precision) == (ROUNDS, "fp32")
    assert found.faster_by == pytest.approx(0.6)
    assert found.engine == "an engine 1.0"
    assert found.processor


@pytest.mark.parametrize(
    ("int8_ms", "fp32_ms", "engine", "best_ms"),
    [
        ((4.0, 9.0), (10.0, 8.0), "A (fp32: B)", (4.0, 8.0)),
        ((9.0, 4.0), (10.0, 8.0), "B", (4.0, 8.0)),
        ((4.0, 9.0), (8.0, 10.0), "A", (4.0, 8.0)),
    ],
)
def test_each_graph_is_timed_on_the_engine_that_is_the_fastest_for_it(
    int8_ms: tuple[float, float], fp32_ms: tuple[float, float], engine: str, best_ms: tuple[float, float]
) -> None:
    now_s = [0.0]
    takes_ms = {"A": (int8_ms[0], fp32_ms[0]), "B": (int8_ms[1], fp32_ms[1])}

    def opening(name: str) -> Callable[[onnx.ModelProto], FakeEngine]:
        def to_engine(graph: onnx.ModelProto) -> FakeEngine:
            def spend() -> None:
                now_s[0] += takes_ms[name][graph.producer_name == "fp32"] / 1000

            return FakeEngine(spend)

        return to_engine

    graphs = onnx.ModelProto(producer_name="int8"), onnx.ModelProto(producer_name="fp32")
    engines = {name: opening(name) for name in takes_ms}
    found = latency_on_cpu(*graphs, "fp32", TILE, log=lambda _: None, engines=engines, clock=lambda: now_s[0])
    assert found.engine == engine
    assert (found.p50_ms, found.other_p50_ms) == (pytest.approx(best_ms[0]), pytest.approx(best_ms[1]))


@pytest.mark.parametrize(("p50_ms", "refused"), [(8.4, False), (8.6, True), (11.0, True)])
def test_int8_that_gains_too_little_is_refused_in_favour_of_the_faster(p50_ms: float, refused: bool) -> None:
    latency = Latency("an engine", "a processor", 30, p50_ms, "fp16", 10.0)
    budget = Budget(iou_points=0.5, faster_by=0.15)
    require_fast(latency, budget, force=True)
    require_fast(None, budget, force=False)
    if not refused:
        require_fast(latency, budget, force=False)
        return
    with pytest.raises(NotFaster, match=r"export with --fp16, or --force") as caught:
        require_fast(latency, budget, force=False)
    assert "\n" not in str(caught.value)
