"""A run ends early where it no longer becomes better, and goes on where more patience is asked for."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path

import pytest

from kda_edge.errors import TrainingError
from kda_edge.networks.checkpoint import read_content
from kda_edge.train.data.data_file import DataSet
from kda_edge.train.segmentation.config import SegmentConfig
from kda_edge.train.segmentation.segment import segment

# Protobuf's and TensorBoard's own warnings are not about this project.
pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning:tensorboard.*", "ignore::DeprecationWarning:google.*"
)


def epochs_of(out: Path) -> int:
    return int(read_content(out / "last.pt")["run"]["epochs_done"])


def test_a_run_that_no_longer_becomes_better_ends_and_goes_on_with_more_patience(
    config: SegmentConfig, data: DataSet, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """At a rate of 0 every epoch is as good as the first."""
    caplog.set_level(logging.INFO)
    still = dataclasses.replace(config, epochs=6, backbone_rate=(0.0, 0.0), decoder_rate=(0.0, 0.0))
    segment(dataclasses.replace(still, patience=2), data, tmp_path / "run")
    assert epochs_of(tmp_path / "run") == 3
    assert "since epoch 1" in caplog.messages[-1]
    assert caplog.messages[-1].startswith("ended after 3 epochs: no val IoU above ")
    segment(dataclasses.replace(still, patience=2), data, tmp_path / "run", resume=True)
    assert epochs_of(tmp_path / "run") == 3
    segment(dataclasses.replace(still, patience=3), data, tmp_path / "run", resume=True)
    assert epochs_of(tmp_path / "run") == 4
    segment(still, data, tmp_path / "run", resume=True)
    assert epochs_of(tmp_path / "run") == 6


def test_patience_without_a_val_split_is_refused(config: SegmentConfig, data: DataSet, tmp_path: Path) -> None:
    nothing = dataclasses.replace(data, samples={**data.samples, "val": ()})
    with pytest.raises(TrainingError, match="no samples are in the val split"):
        segment(dataclasses.replace(config, patience=1), nothing, tmp_path / "run")
    assert not (tmp_path / "run").exists()
