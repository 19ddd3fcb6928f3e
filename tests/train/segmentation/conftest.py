"""A small segmentation: its settings and its data."""

from __future__ import annotations

from pathlib import Path

import pytest

from kda_edge.train.data.data_file import DataRequest, DataSet, load_data
from kda_edge.train.segmentation.config import SegmentConfig


@pytest.fixture
def config() -> SegmentConfig:
    return SegmentConfig(
        variant="nano",
        epochs=3,
        batch=8,
        crop_px=32,
        backbone_rate=(1e-3, 1e-5),
        decoder_rate=(1e-3, 1e-5),
        average=0.9,
        precision="fp32",
        memory_format="contiguous",
        device="cpu",
        workers=0,
    )


@pytest.fixture
def data(folders: Path) -> DataSet:
    return load_data(DataRequest(folders, seed=0))
