"""Settings of both phases: what can't be right is refused, and those that change nothing but the speed exist."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest

from kda_edge.errors import UsageError
from kda_edge.train.distillation.config import DistillConfig
from kda_edge.train.loops.settings import SPEED_ONLY, RunSettings
from kda_edge.train.segmentation.config import SegmentConfig
from kda_edge.train.segmentation.losses import LossWeights


@pytest.mark.parametrize("kind", [DistillConfig, SegmentConfig])
@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"crop_px": 100}, "crop_px must be a multiple of 32 px, not 100"),
        ({"crop_px": 0}, "crop_px must be a multiple of 32 px, not 0"),
        ({"epochs": 0}, "epochs and batch must be 1 or more"),
        ({"batch": 0}, "epochs and batch must be 1 or more"),
        ({"weight_decay": math.nan}, "weight_decay must be a finite number, 0 or above, not nan"),
        ({"clip_norm": -1.0}, "clip_norm must be a finite number, 0 or above, not -1"),
        ({"precision": "fp16"}, "precision must be one of auto, fp32, bf16, not 'fp16'"),
    ],
)
def test_settings_that_can_not_be_right_are_refused_in_both_phases(
    kind: type[RunSettings], wrong: dict[str, Any], reason: str
) -> None:
    with pytest.raises(UsageError, match=reason):
        kind(**wrong)


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"finish_px": 100}, "finish_px must be a multiple of 32 px"),
        ({"finish_epochs": 9}, "finish_epochs at most epochs"),
        ({"evaluate_every": 0}, "evaluate_every must be 1 or more"),
        ({"backbone_rate": (math.nan, 1e-5)}, "backbone_rate must be a finite number, 0 or above, not nan"),
        ({"decoder_rate": (1e-3, -1e-5)}, "decoder_rate must be a finite number, 0 or above, not -1e-05"),
        ({"loss": LossWeights(math.inf)}, "loss.cross_entropy must be a finite number, 0 or above, not inf"),
        ({"average": 1.0}, "average must lie below 1"),
        ({"patience": 2, "evaluate_every": 3}, "patience must be at least evaluate_every"),
        ({"encoder_weights": "imagenet", "init": "a.pt"}, "give weights for the encoder once"),
    ],
)
def test_settings_of_phase_two_that_can_not_be_right_are_refused(wrong: dict[str, Any], reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        SegmentConfig(**{"epochs": 3, **wrong})


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"weights": (1.0, 0.0)}, "--method kd"),
        ({"method": "gan"}, "method must be one of kd, kda, not 'gan'"),
        ({"temperature": 0.0}, "temperature must be above 0"),
        ({"views": -1}, "views must be a finite number, 0 or above, not -1"),
    ],
)
def test_settings_of_phase_one_that_can_not_be_right_are_refused(wrong: dict[str, Any], reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        DistillConfig(**wrong)


def test_settings_that_leave_the_weights_as_they_are_exist() -> None:
    assert set(SPEED_ONLY) <= {field.name for field in dataclasses.fields(RunSettings)}
