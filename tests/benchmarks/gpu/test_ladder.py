"""A ladder times each batch, tells energy and shares only where they are known, and ends where memory does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from gpu_reports import PROCESSOR, RTX_3090, findings, task_in, values

from kda_edge.benchmarks.commands.device_profiles import profile_of_card, read_profile
from kda_edge.benchmarks.gpu.ladder import Case, climb, judge
from kda_edge.benchmarks.measuring.operation_counts import Work
from kda_edge.benchmarks.measuring.tile_parity import BUDGETS
from kda_edge.benchmarks.sensors.nvml import Gpu
from kda_edge.certificate import TileParity
from kda_edge.errors import EngineError

CASE = Case({"model": "nano", "precision": "fp16"}, 256, "fp16", Work(1_400_000_000, 7_000_000))


class CountingGpu(Gpu):
    """A card whose energy grows by a joule with each reading."""

    joules = 0.0

    def energy_j(self) -> float | None:
        type(self).joules += 1.0
        return self.joules


def quick(out: Path, card: object = PROCESSOR):  # type: ignore[no-untyped-def]
    return task_in(out, card=card, rehearsal=True)


def nothing(batch: int) -> Callable[[], None]:
    return lambda: None


def test_each_batch_has_percentiles_and_a_pace_and_is_saved(tmp_path: Path) -> None:
    found, saved = findings(), []
    found.save = lambda: saved.append(len(found.figures))
    climb(CASE, nothing, quick(tmp_path), found, batches=(1, 4))
    names = [(figure.name, figure.of["batch"]) for figure in found.figures]
    assert names == [
        (name, batch) for batch in (1, 4) for name in ("latency.p50", "latency.p90", "latency.p99", "throughput")
    ]
    assert saved == [4, 8]
    assert "no profile of Some CPU" in found.notes[0]
    assert len(found.notes) == 1


def test_memory_that_runs_out_ends_the_ladder_and_is_named(tmp_path: Path) -> None:
    def call_of(batch: int) -> Callable[[], None]:
        if batch == 4:
            raise RuntimeError("CUDA out of memory. Tried to allocate 9 GiB")
        return lambda: None

    found = findings()
    climb(CASE, call_of, quick(tmp_path), found, batches=(1, 4, 16))
    assert {figure.of["batch"] for figure in found.figures} == {1}
    assert found.left_out == ["nano fp16, batch 4: the memory of the card does not suffice"]


def test_another_error_is_not_swallowed(tmp_path: Path) -> None:
    def call_of(batch: int) -> Callable[[], None]:
        raise EngineError("wrong")

    with pytest.raises(EngineError, match="wrong"):
        climb(CASE, call_of, quick(tmp_path), findings(), batches=(1,))


def test_without_time_the_batches_are_left_out(tmp_path: Path) -> None:
    found = findings(0.1)
    climb(CASE, nothing, quick(tmp_path), found, batches=(1, 4))
    assert found.left_out == [f"nano fp16, batch {n}: no time was left" for n in (1, 4)]


def test_a_known_card_has_a_share_of_its_limit_and_energy_only_from_long_enough_readings(tmp_path: Path) -> None:
    found = findings()
    climb(CASE, nothing, quick(tmp_path, RTX_3090), found, batches=(1,), find=lambda: CountingGpu(None, None, "x"))
    told = values(found)
    least_ms = read_profile("rtx3090").least_ms(1_400_000_000, 7_000_000, "fp16")
    assert least_ms is not None
    assert told["share.of_published_limit"] == pytest.approx(least_ms / told["latency.p50"])
    assert "energy.per_mpx" not in told  # a rehearsal's case is shorter than what NVML can tell


def test_a_card_is_found_by_the_name_that_its_driver_gives_it() -> None:
    for driver_name, name in (("NVIDIA GeForce RTX 3090", "rtx3090"), ("NVIDIA H100 80GB HBM3", "h100-sxm")):
        profile = profile_of_card(driver_name)
        assert profile is not None
        assert profile.name == name
    assert profile_of_card("NVIDIA GeForce RTX 3090 Ti") is None


def parity(max_abs: float, agreement: float) -> TileParity:
    return TileParity("white noise", "ab" * 32, max_abs, max_abs / 2, agreement)


@pytest.mark.parametrize(
    ("precision", "row", "is_promised", "fails", "is_noted"),
    [
        ("fp32", parity(0.5e-4, 1.0), True, False, False),
        ("fp32", parity(2e-4, 1.0), True, True, False),
        ("fp16", parity(0.2, 0.9995), True, False, False),
        ("fp16", parity(0.2, 0.998), True, True, False),
        ("bf16", parity(0.2, 0.9), False, False, True),
    ],
)
def test_answers_beyond_the_certificates_budget_fail_the_part_and_name_the_worst_tile(
    precision: str, row: TileParity, is_promised: bool, fails: bool, is_noted: bool
) -> None:
    found = findings()
    case = Case({"model": "nano", "precision": precision}, 256, precision)
    judge(case, [row], BUDGETS[precision], found, against="the CPU", is_promised=is_promised)
    assert values(found)["parity.within_budget"] == (0.0 if fails or is_noted else 1.0)
    assert bool(found.failures) is fails
    assert bool(found.notes) is is_noted
    assert all("'white noise'" in said for said in (*found.failures, *found.notes))
