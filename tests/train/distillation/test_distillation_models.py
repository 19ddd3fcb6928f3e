"""Which students phase 1 takes, and that phase 2 takes them from it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from kda_edge.errors import UsageError
from kda_edge.train.data.data_file import DataSet
from kda_edge.train.distillation.config import DistillConfig
from kda_edge.train.distillation.distill import distill
from kda_edge.train.distillation.distillation_models import open_models
from kda_edge.train.segmentation.config import SegmentConfig
from kda_edge.train.segmentation.initial_student import initial_student

LITE = "tf_efficientnet_lite0+dcf"


def test_a_backbone_of_timm_is_distilled_and_handed_to_its_student(
    config: DistillConfig, images: DataSet, tmp_path: Path
) -> None:
    config = dataclasses.replace(config, variant=LITE, epochs=1)
    path = distill(config, images, tmp_path / "distilled")
    before, _ = initial_student(SegmentConfig(variant=LITE))
    student, teacher = initial_student(SegmentConfig(variant=LITE, backbone=str(path)))
    assert "test_vit" in teacher
    moved = [
        not torch.equal(a, b) for a, b in zip(before.encoder.parameters(), student.encoder.parameters(), strict=True)
    ]
    assert sum(moved) > len(moved) / 2


@pytest.mark.parametrize(
    ("variant", "recompute", "message"),
    [
        ("medium", False, "there is no student 'medium'; choose one of nano, .*such as tf_efficientnet_lite0"),
        ("tf_efficientnet_lite0+none", False, "there is no head 'none'"),
        (LITE, True, "has no PVT encoder; leave --recompute out"),
    ],
)
def test_what_phase_1_can_t_distil_is_said_in_a_line(
    config: DistillConfig, variant: str, recompute: bool, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        open_models(dataclasses.replace(config, variant=variant, recompute=recompute), torch.device("cpu"))
