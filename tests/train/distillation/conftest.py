"""A small distillation: its settings and its images."""

from __future__ import annotations

from pathlib import Path

import pytest

from kda_edge.train.data.data_file import DataRequest, DataSet
from kda_edge.train.data.unlabelled import load_images
from kda_edge.train.distillation.config import DistillConfig


@pytest.fixture
def config(vit_weights: Path) -> DistillConfig:
    return DistillConfig(
        variant="nano",
        teacher="test_vit",
        teacher_weights=str(vit_weights),
        discriminator="test_vit",
        epochs=2,
        batch=4,
        crop_px=64,
        student_rate=(1e-3, 1e-4),
        discriminator_rate=(1e-3, 1e-4),
        precision="fp32",
        memory_format="contiguous",
        device="cpu",
        workers=0,
    )


@pytest.fixture
def images(folders: Path) -> DataSet:
    return load_images(DataRequest(folders / "images", seed=0))
