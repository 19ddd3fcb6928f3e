"""metrics.csv has a line an epoch, as a spreadsheet reads it, also across a resume."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from full_disks import room_for

from kda_edge.train.loops.metrics_csv import METRICS, MetricsCsv


def read(folder: Path) -> np.ndarray:
    """The table as NumPy reads CSV."""
    return np.genfromtxt(folder / METRICS, delimiter=",", names=True, deletechars="", replace_space=" ", ndmin=1)


def test_an_epoch_is_a_line_and_a_figure_a_column(tmp_path: Path) -> None:
    table = MetricsCsv(tmp_path, 0)
    table.write(1, {"train/loss": 0.1 + 0.2, "train/gradient_norm": math.nan})
    table.write(2, {"train/loss": 1e-9, "val a/b/iou": 0.5})
    lines = (tmp_path / METRICS).read_text().split()
    assert len(lines) == 4  # the third name holds a space
    found = read(tmp_path)
    assert found.dtype.names == ("epoch", "train/loss", "train/gradient_norm", "val a/b/iou")
    np.testing.assert_array_equal(found["train/loss"], [0.1 + 0.2, 1e-9])
    np.testing.assert_array_equal(found["val a/b/iou"], [math.nan, 0.5])
    assert np.isnan(found["train/gradient_norm"]).all()


def test_a_resumed_run_drops_the_epochs_that_it_takes_again(tmp_path: Path) -> None:
    table = MetricsCsv(tmp_path, 0)
    for epoch in (1, 2, 3):
        table.write(epoch, {"loss": float(epoch)})
    MetricsCsv(tmp_path, 2).write(3, {"loss": 30.0})
    np.testing.assert_array_equal(read(tmp_path)["epoch"], [1, 2, 3])
    np.testing.assert_array_equal(read(tmp_path)["loss"], [1, 2, 30])
    MetricsCsv(tmp_path, 0).write(1, {"loss": 10.0})
    np.testing.assert_array_equal(read(tmp_path)["loss"], [10])


@pytest.mark.parametrize("foreign", [b"\xff\xfe", b"", b"a,b\n1,2\n", b"epoch,loss\n1,2,3,4\nx,1\n\n"])
def test_a_foreign_file_of_that_name_is_replaced(foreign: bytes, tmp_path: Path) -> None:
    (tmp_path / METRICS).write_bytes(foreign)
    MetricsCsv(tmp_path, 5).write(6, {"loss": 1.0})
    np.testing.assert_array_equal(read(tmp_path)["epoch"], [6])


def test_a_full_disk_leaves_the_epochs_before(tmp_path: Path) -> None:
    table = MetricsCsv(tmp_path, 0)
    table.write(1, {"loss": 1.0})
    before = (tmp_path / METRICS).read_bytes()
    with room_for(10), pytest.raises(OSError, match="File too large"):
        table.write(2, {"loss": 2.0})
    assert (tmp_path / METRICS).read_bytes() == before
