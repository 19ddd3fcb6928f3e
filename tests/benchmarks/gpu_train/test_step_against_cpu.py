"""A step on the card is held to the processor's: loss within 1e-4, gradient within 1e-3."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from gpu_reports import PROCESSOR, findings, task_in, values

from kda_edge.benchmarks.gpu_train.step_against_cpu import against_cpu, hold_to_cpu

GRADIENT = {"a": torch.tensor([3.0, 0.0]).double(), "b": torch.tensor([4.0]).double()}


def moved(by: float) -> dict[str, torch.Tensor]:
    return GRADIENT | {"b": GRADIENT["b"] + by}


@pytest.mark.parametrize(
    ("loss", "gradient", "fails"),
    [
        (2.0001, moved(0.004), ()),
        (2.0003, moved(0.0), ("loss",)),
        (2.0, moved(0.006), ("gradient",)),
        (float("inf"), moved(0.0), ("loss",)),
    ],
)
def test_beyond_the_bounds_the_part_fails(
    loss: float, gradient: dict[str, torch.Tensor], fails: tuple[str, ...]
) -> None:
    found = findings()
    hold_to_cpu(loss, gradient, 2.0, GRADIENT, found)
    assert [said.split("'s ")[1].split()[0] for said in found.failures] == list(fails)


def test_the_gradient_is_judged_as_a_whole() -> None:
    found = findings()
    hold_to_cpu(2.0, moved(0.05), 2.0, GRADIENT, found)
    assert values(found)["step.gradient_off"] == pytest.approx(0.05 / 5.0)


def test_the_processor_agrees_with_itself(tmp_path: Path) -> None:
    found = findings()
    against_cpu(task_in(tmp_path, card=PROCESSOR, rehearsal=True), found)
    assert values(found) == {"step.loss_off": 0.0, "step.gradient_off": 0.0}
