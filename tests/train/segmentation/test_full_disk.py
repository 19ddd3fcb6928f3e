"""A disk that fills while a run is at work costs one epoch: one line, whole files, and the same end after a resume."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

import pytest
import torch
from full_disks import room_for

from kda_edge.errors import TrainingError
from kda_edge.networks.checkpoint import read_checkpoint, read_content, weights_digest
from kda_edge.train.data.data_file import DataSet
from kda_edge.train.segmentation.config import SegmentConfig
from kda_edge.train.segmentation.segment import segment

# Protobuf's and TensorBoard's own warnings are not about this project.
pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning:tensorboard.*", "ignore::DeprecationWarning:google.*"
)


@pytest.mark.parametrize("room_bytes", [100, 1_000_000], ids=["of the log", "of a checkpoint"])
def test_a_disk_that_fills_in_the_second_epoch_costs_that_epoch_alone(
    config: SegmentConfig, data: DataSet, tmp_path: Path, room_bytes: int
) -> None:
    out = tmp_path / "run"
    with contextlib.ExitStack() as disk:

        def fill(label: str, done: int, total: int) -> None:
            if label.startswith("epoch 2/") and done == total:
                disk.enter_context(room_for(room_bytes))

        with pytest.raises(TrainingError) as told:
            segment(config, data, out, progress=fill)
    assert "\n" not in str(told.value)
    assert str(told.value).startswith(f"epoch 2 can't be kept in {out} (File too large); free some space there")
    assert str(told.value).endswith("go on with --resume")
    assert read_content(out / "last.pt")["run"]["epochs_done"] == 1
    assert read_checkpoint(out / "best.pt").training.epochs == 1
    assert not [path for path in out.iterdir() if path.name.startswith(".")]
    segment(config, data, out, resume=True)
    segment(config, data, tmp_path / "whole")
    ends = [read_content(folder / "last.pt")["run"]["network"] for folder in (out, tmp_path / "whole")]
    assert all(torch.equal(ends[0][key], ends[1][key]) for key in ends[1])
    ends_best = [weights_digest(read_checkpoint(run / "best.pt").student) for run in (out, tmp_path / "whole")]
    assert ends_best[0] == ends_best[1]


def test_a_run_whose_folder_is_taken_away_says_so_in_a_line(
    config: SegmentConfig, data: DataSet, tmp_path: Path
) -> None:
    out = tmp_path / "run"

    def take_away(label: str, done: int, total: int) -> None:
        if label.startswith("epoch 2/") and done == total:
            shutil.rmtree(out)

    with pytest.raises(TrainingError, match=r"epoch 2 can't be kept .* \(No such file or directory\).* start again"):
        segment(config, data, out, progress=take_away)
