"""A resumed run must end where a whole one ends; what a card does not repeat itself is told apart from that."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from gpu_reports import findings

from kda_edge.benchmarks.gpu_train.resume import hold_to_whole, largest_apart
from kda_edge.networks.checkpoint import write_content


@pytest.mark.parametrize(
    ("resumed", "again", "fails", "notes"),
    [
        (0.0, None, False, 0),
        (0.0, 0.0, False, 0),
        (1e-9, None, True, 0),
        (1e-9, 0.0, True, 0),
        (1e-6, 1e-6, False, 1),
        (1e-4, 1e-6, True, 1),
    ],
)
def test_a_difference_counts_unless_two_whole_runs_differ_as_much(
    resumed: float, again: float | None, fails: bool, notes: int
) -> None:
    found = findings()
    hold_to_whole(resumed, again, found)
    assert bool(found.failures) is fails
    assert len(found.notes) == notes


def test_the_largest_difference_of_any_weight_is_found(tmp_path: Path) -> None:
    for name, off in (("a", 0.0), ("b", 0.25)):
        network = {"x": torch.zeros(3), "y": torch.tensor([1.0, 2.0 - off])}
        write_content(tmp_path / f"{name}.pt", {"run": {"network": network}})
    assert largest_apart(tmp_path / "a.pt", tmp_path / "b.pt") == 0.25
    assert largest_apart(tmp_path / "a.pt", tmp_path / "a.pt") == 0.0
