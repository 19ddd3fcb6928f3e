"""Trial steps of phase 2 are real ones, in the memory format that is tried, and leave the run's network as it is."""

from __future__ import annotations

import itertools

import pytest
import torch

from kda_edge.networks.by_name import network_from_name
from kda_edge.train.loops.compute_choice import Compute, TrialSize, compute_of
from kda_edge.train.loops.parallel import open_fabric
from kda_edge.train.segmentation.config import SegmentConfig
from kda_edge.train.segmentation.losses import LossWeights
from kda_edge.train.segmentation.trial_step import SMALLEST_PX, SegmentationTrial

ALL = [Compute(*pair) for pair in itertools.product(("contiguous", "channels_last"), ("fp32", "bf16"))]


@pytest.mark.parametrize("variant", ["nano", "unet-small"])
def test_a_trial_changes_no_weight_statistic_stride_or_random_number(variant: str) -> None:
    student = network_from_name(variant).train()
    state = {key: value.clone() for key, value in student.state_dict().items()}
    strides = {key: value.stride() for key, value in student.state_dict().items()}
    generator = torch.get_rng_state()

    config = SegmentConfig(variant=variant, crop_px=64, batch=2)
    compute_of(config, None, open_fabric("cpu"), lambda: SegmentationTrial(student, LossWeights()), smallest_px=32)

    after = student.state_dict()
    assert all(torch.equal(after[key], value) for key, value in state.items())
    assert {key: value.stride() for key, value in after.items()} == strides
    assert all(parameter.grad is None for parameter in student.parameters())
    assert student.training
    assert torch.equal(torch.get_rng_state(), generator)


@pytest.mark.parametrize("compute", ALL, ids=str)
def test_a_step_runs_forward_and_backward_as_a_step_of_the_run_does(compute: Compute) -> None:
    trial = SegmentationTrial(network_from_name("unet-small"), LossWeights())
    seen: list[torch.Tensor] = []
    first = next(module for module in trial.student.modules() if isinstance(module, torch.nn.Conv2d))
    first.register_forward_hook(lambda _, inputs, output: seen.extend([inputs[0], output]))
    first.weight.register_hook(seen.append)
    trial(compute, TrialSize(2, SMALLEST_PX))()
    image, output, gradient = seen
    assert image.shape == (2, 3, SMALLEST_PX, SMALLEST_PX)
    assert image.is_contiguous(memory_format=compute.torch_format)
    assert output.is_contiguous(memory_format=compute.torch_format)
    assert output.dtype == (torch.bfloat16 if compute.precision == "bf16" else torch.float32)
    assert torch.isfinite(gradient).all()
    assert trial.student.training
    assert all(parameter.grad is None for parameter in trial.student.parameters())
