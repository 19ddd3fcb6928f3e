"""The state of a run: an average that can be put on and off, and settings that must be those of the run."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from kda_edge.errors import TrainingError
from kda_edge.manifest import InputContract
from kda_edge.networks.checkpoint import write_content
from kda_edge.train.data.data_file import DataSet
from kda_edge.train.loops.run_state import lengthened, lengthening, run_of, settings_of
from kda_edge.train.loops.settings import SPEED_ONLY
from kda_edge.train.optimisation.weight_average import WeightAverage
from kda_edge.train.segmentation.config import SegmentConfig
from kda_edge.train.segmentation.losses import LossWeights

NOTHING = DataSet(InputContract(), {"train": (), "val": (), "test": ()})


def test_the_average_is_applied_for_a_while_and_taken_back() -> None:
    network = torch.nn.Linear(2, 2)
    average = WeightAverage(network, 0.5)
    first = network.weight.detach().clone()
    with torch.no_grad():
        network.weight += 1
    average.update(100)
    own = network.weight.detach().clone()
    with average.applied():
        torch.testing.assert_close(network.weight, first + 0.5)
    assert torch.equal(network.weight, own)


def test_the_average_takes_counters_as_they_are() -> None:
    network = torch.nn.BatchNorm2d(2).train()
    average = WeightAverage(network, 0.9)
    network(torch.randn(3, 2, 4, 4))
    average.update(100)
    assert int(average.average["num_batches_tracked"]) == 1
    expected = 0.9 * torch.zeros(2) + 0.1 * network.running_mean
    torch.testing.assert_close(average.average["running_mean"], expected)


def resumed(tmp_path: Path, recorded: dict[str, Any], config: SegmentConfig) -> dict[str, Any]:
    write_content(tmp_path / "last.pt", {"run": {"settings": recorded, "epochs_done": 7}})
    return run_of(tmp_path / "last.pt", settings_of(config, NOTHING, {}))


def test_a_run_is_resumed_with_its_own_settings_and_the_first_that_differs_is_named(tmp_path: Path) -> None:
    config = SegmentConfig(epochs=9)
    recorded = settings_of(config, NOTHING, {})
    assert resumed(tmp_path, recorded, config)["epochs_done"] == 7
    for name, before, value in (
        ("epochs", 9, 8),
        ("seed", 0, 1),
        ("memory_format", "auto", "contiguous"),
        ("precision", "auto", "bf16"),
    ):
        with pytest.raises(TrainingError, match=f"trained with {name} {before}, not {value}; resume with the same"):
            resumed(tmp_path, recorded, dataclasses.replace(config, **{name: value}))
    with pytest.raises(TrainingError, match=r"trained with loss\.dice 0\.0, not 1\.0; resume"):
        resumed(tmp_path, recorded, dataclasses.replace(config, loss=LossWeights(dice=1.0)))


def test_settings_that_only_change_the_speed_may_change(tmp_path: Path) -> None:
    others = {"workers": 5, "device": "cpu", "threads": 3, "recompute": True, "loggers": ("csv",)}
    assert set(others) == set(SPEED_ONLY)
    resumed(tmp_path, settings_of(SegmentConfig(), NOTHING, {}), SegmentConfig(**others))  # type: ignore[arg-type]


def test_an_older_run_without_a_memory_format_was_contiguous(tmp_path: Path) -> None:
    older = settings_of(SegmentConfig(), NOTHING, {})
    del older["memory_format"]
    for same in ("auto", "contiguous"):
        resumed(tmp_path, older, SegmentConfig(memory_format=same))
    with pytest.raises(TrainingError, match="trained with memory_format contiguous, not channels_last"):
        resumed(tmp_path, older, SegmentConfig(memory_format="channels_last"))


def test_a_run_is_lengthened_and_its_record_says_when(tmp_path: Path) -> None:
    config = SegmentConfig(epochs=9)
    run = resumed(tmp_path, settings_of(config, NOTHING, {}), dataclasses.replace(config, epochs=12))
    assert lengthened(None, 9) == lengthened(run, 9) == []
    assert lengthened(run, 12) == [[7, 9, 12]]
    again = {**run, "settings": {"epochs": 12}, "epochs_done": 12, "lengthened": [[7, 9, 12]]}
    assert lengthened(again, 20) == [[7, 9, 12], [12, 12, 20]]
    assert lengthening(lengthened(again, 20)[-1:]) == "; lengthened after epoch 12 from 12 to 20 epochs"


def test_a_file_without_a_run_is_no_run(tmp_path: Path) -> None:
    write_content(tmp_path / "last.pt", {"format": "something else"})
    with pytest.raises(TrainingError, match="holds no run to resume"):
        run_of(tmp_path / "last.pt", {})
