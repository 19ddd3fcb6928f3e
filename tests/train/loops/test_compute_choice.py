"""Memory format and precision: a trial takes the faster, in turns and in bounded time; a resumed run makes none."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from fake_time import FakeClock
from hypothesis import given
from hypothesis import strategies as st

from kda_edge.errors import UsageError
from kda_edge.train.loops.compute_choice import (
    MARGIN,
    ROUNDS,
    SPENT_S,
    Compute,
    TrialSize,
    candidates_of,
    compute_of,
    timed_trial,
)
from kda_edge.train.loops.devices import computes_bf16
from kda_edge.train.loops.parallel import open_fabric
from kda_edge.train.loops.settings import RunSettings
from kda_edge.train.segmentation.config import SegmentConfig

PLAIN, LAST = Compute("contiguous", "fp32"), Compute("channels_last", "fp32")
CPU = torch.device("cpu")


@dataclass
class StepsThatTake:
    """Makes steps that last so many milliseconds a megapixel, by candidate, and notes what was asked, in order."""

    clock: FakeClock
    ms_by_candidate: Mapping[Compute, float]
    stalls: list[int] = field(default_factory=list)  # steps, counted from 0, that last ten times as long
    asked: list[tuple[Compute, TrialSize]] = field(default_factory=list)

    def __call__(self, compute: Compute, size: TrialSize) -> Callable[[], None]:
        self.clock.pass_ms(77)  # making a step is not timed
        slow = 10 if len(self.asked) in self.stalls else 1
        self.asked.append((compute, size))
        return lambda: self.clock.pass_ms(self.ms_by_candidate[compute] * slow * size.crops * size.side_px**2 / 1e6)


def chosen(plain_ms: float, last_ms: float, **more: Any) -> Compute:
    clock = FakeClock()
    steps = StepsThatTake(clock, {PLAIN: plain_ms, LAST: last_ms}, **more)
    return timed_trial([PLAIN, LAST], steps, batch=8, sides_px=(64, 224), clock=clock).chosen


def test_the_faster_of_two_is_taken_and_of_equals_the_plainer() -> None:
    assert chosen(900, 200) == LAST
    assert chosen(200, 900) == PLAIN
    assert chosen(200 * (1 + 0.9 * MARGIN), 200) == PLAIN, "within the margin nothing is gained"
    assert chosen(200 * (1 + 1.1 * MARGIN), 200) == LAST


def test_candidates_take_turns_and_moments_of_stalling_do_not_decide() -> None:
    clock = FakeClock()
    steps = StepsThatTake(clock, {PLAIN: 100, LAST: 90})
    timed_trial([PLAIN, LAST], steps, batch=8, sides_px=(64, 224), clock=clock)
    turns = [compute for compute, _ in steps.asked[1:]]
    assert turns == [PLAIN, LAST] * (1 + ROUNDS)
    assert chosen(100, 90, stalls=[4, 6]) == LAST
    assert chosen(90, 100, stalls=[3, 5]) == PLAIN


def test_the_time_of_a_step_is_its_median_and_warming_up_does_not_count() -> None:
    clock = FakeClock()
    steps = StepsThatTake(clock, {PLAIN: 100, LAST: 90}, stalls=[1, 3, 5])  # the first step of one, and two more
    trial = timed_trial([PLAIN, LAST], steps, batch=1, sides_px=(64, 64), clock=clock)
    assert trial.seconds == pytest.approx({PLAIN: 0.1 * 64**2 / 1e6, LAST: 0.09 * 64**2 / 1e6})


@given(
    ms=st.floats(0.01, 1e6),
    batch=st.integers(1, 64),
    side=st.integers(1, 32).map(lambda k: 32 * k),
    smallest=st.integers(1, 8).map(lambda k: 32 * k),
)
def test_steps_are_those_of_the_run_or_smaller_and_take_seconds_where_they_can(
    ms: float, batch: int, side: int, smallest: int
) -> None:
    clock = FakeClock()
    steps = StepsThatTake(clock, {PLAIN: ms, LAST: ms})
    smallest = min(smallest, side)
    began_s = clock.now_s
    size = timed_trial([PLAIN, LAST], steps, batch=batch, sides_px=(smallest, side), clock=clock).size
    spent_s = clock.now_s - began_s - 0.077 * len(steps.asked)
    assert 1 <= size.crops <= batch
    assert smallest <= size.side_px <= side
    assert size.side_px % 32 == 0
    assert size.crops >= min(2, batch), "batch norm needs more than one"
    assert size.side_px == side or size.crops == min(2, batch), "crops are made smaller only when there are few"
    at_least_s = ms / 1e3 * min(2, batch) * max(smallest, min(side, 224)) ** 2 / 1e6  # of one step
    assert spent_s <= SPENT_S * 1.01 + (2 + 2 * (1 + ROUNDS)) * at_least_s
    largest_s = ms / 1e3 * batch * side**2 / 1e6
    if largest_s * 2 * (1 + ROUNDS) < 0.9 * SPENT_S:
        assert size == TrialSize(batch, side)


def test_what_does_not_fit_into_memory_is_not_taken() -> None:
    clock = FakeClock()

    def make(compute: Compute, size: TrialSize) -> Callable[[], None]:
        def step() -> None:
            clock.pass_ms(1)
            if compute == PLAIN and size.crops > 2:
                raise torch.OutOfMemoryError

        return step

    assert timed_trial([PLAIN, LAST], make, batch=8, sides_px=(64, 64), clock=clock).chosen == LAST


def settings(**more: Any) -> RunSettings:
    return SegmentConfig(**{"crop_px": 64, **more})


def test_what_is_said_is_the_only_candidate_and_auto_starts_with_the_plainest() -> None:
    assert candidates_of(settings(memory_format="channels_last", precision="bf16"), CPU) == [
        Compute("channels_last", "bf16")
    ]
    assert candidates_of(settings(precision="fp32"), CPU) == [PLAIN, LAST]
    both = candidates_of(settings(), CPU)
    assert both[:2] == [PLAIN, LAST]
    assert {compute.precision for compute in both} == ({"fp32", "bf16"} if computes_bf16(CPU) else {"fp32"})


def never() -> Any:
    raise AssertionError("a trial was made")


def test_what_is_said_or_recorded_needs_no_trial() -> None:
    fabric = open_fabric("cpu")
    said = settings(memory_format="channels_last", precision="fp32")
    assert compute_of(said, None, fabric, never, smallest_px=64) == LAST
    recorded = {"compute": {"memory_format": "channels_last", "precision": "bf16"}}
    assert compute_of(settings(), recorded, fabric, never, smallest_px=64) == Compute("channels_last", "bf16")


def test_a_run_from_before_there_was_a_choice_goes_on_as_it_was() -> None:
    fabric = open_fabric("cpu")
    mixed = "bf16" if computes_bf16(CPU) else "fp32"
    for precision, meant in (("fp32", "fp32"), ("bf16", "bf16"), ("auto", mixed)):
        found = compute_of(settings(precision=precision), {}, fabric, never, smallest_px=64)
        assert found == Compute("contiguous", meant)


def test_a_choice_is_said_in_one_line_and_disturbs_no_random_generator(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    clock = FakeClock()

    def make_trial() -> StepsThatTake:
        torch.rand(7)
        return StepsThatTake(clock, {PLAIN: 900, LAST: 200})

    torch.manual_seed(5)
    before = torch.get_rng_state(), random.getstate()
    found = compute_of(
        settings(precision="fp32", batch=4), None, open_fabric("cpu"), make_trial, smallest_px=64, clock=clock
    )
    assert found == LAST
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    assert caplog.messages == [
        "computing in channels_last fp32; a step of 4 crops of 64 px: "
        "contiguous fp32 0.0147 s, channels_last fp32 0.00328 s"
    ]


@dataclass
class SecondProcess:
    """The Fabric of a process that is not the first: it hears what that one found."""

    heard: Compute
    device: torch.device = CPU
    is_global_zero: bool = False
    world_size: int = 2

    def broadcast(self, mine: Compute) -> Compute:
        assert mine != self.heard
        return self.heard


def test_a_process_that_is_not_the_first_makes_no_trial_and_does_as_it_hears() -> None:
    fabric: Any = SecondProcess(heard=LAST)
    assert compute_of(settings(precision="fp32"), None, fabric, never, smallest_px=64) == LAST


def test_only_what_suits_is_tried_unless_nothing_does() -> None:
    fabric, clock = open_fabric("cpu"), FakeClock()
    steps = StepsThatTake(clock, {PLAIN: 100, LAST: 900})
    only = settings(precision="fp32")
    assert compute_of(only, None, fabric, never, smallest_px=64, suits=lambda compute: compute == LAST) == LAST
    found = compute_of(only, None, fabric, lambda: steps, smallest_px=64, suits=lambda _: False, clock=clock)
    assert found == PLAIN


@pytest.mark.parametrize("wrong", [("nhwc", "fp32"), ("auto", "fp32"), ("contiguous", "auto"), ("contiguous", "fp16")])
def test_a_record_that_means_nothing_is_refused(wrong: tuple[str, str]) -> None:
    with pytest.raises(UsageError, match="must be one of"):
        Compute(*wrong)
