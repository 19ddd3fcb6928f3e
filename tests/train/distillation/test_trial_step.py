"""Trial steps of phase 1 are real ones, and leave the run's networks as they are."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from kda_edge.train.distillation.config import DistillConfig
from kda_edge.train.distillation.distillation_models import open_models
from kda_edge.train.distillation.trial_step import DistillationTrial
from kda_edge.train.loops.compute_choice import Compute, TrialSize, compute_of
from kda_edge.train.loops.parallel import open_fabric

CPU = torch.device("cpu")
SIZE = TrialSize(2, 64)
COMPUTES = [Compute("contiguous", "fp32"), Compute("channels_last", "fp32"), Compute("channels_last", "bf16")]


@pytest.mark.parametrize("method", ["kd", "kda"])
def test_a_trial_changes_no_weight_stride_or_random_number(config: DistillConfig, method: str) -> None:
    config = dataclasses.replace(config, method=method, batch=2, memory_format="auto")
    models = open_models(config, CPU)
    networks = torch.nn.ModuleList([models.teacher, *models.learners])
    state = {key: value.clone() for key, value in networks.state_dict().items()}
    strides = {key: value.stride() for key, value in networks.state_dict().items()}
    generator = torch.get_rng_state()

    def make_trial() -> DistillationTrial:
        return DistillationTrial(models, config.temperature, taught=True)

    found = compute_of(config, None, open_fabric("cpu"), make_trial, smallest_px=config.crop_px)

    assert all(torch.equal(networks.state_dict()[key], value) for key, value in state.items())
    assert torch.equal(torch.get_rng_state(), generator)
    assert all(parameter.grad is None for parameter in networks.parameters())
    models.in_format(found.torch_format).in_format(torch.contiguous_format)
    assert {key: value.stride() for key, value in networks.state_dict().items()} == strides


@pytest.mark.parametrize("compute", COMPUTES, ids=str)
def test_a_step_asks_teacher_student_and_discriminator_and_reaches_all_that_learns(
    config: DistillConfig, compute: Compute
) -> None:
    trial = DistillationTrial(open_models(config, CPU), config.temperature, taught=True)
    models = trial.models
    assert models.discriminator is not None
    called: list[str] = []
    models.teacher.register_forward_hook(lambda *_: called.append("teacher"))
    models.student.register_forward_hook(lambda *_: called.append("student"))
    models.discriminator.register_forward_hook(lambda *_: called.append("discriminator"))
    learned = set()
    for network, learner in zip(("student", "discriminator"), models.learners, strict=True):
        for key, parameter in learner.named_parameters():
            if parameter.requires_grad:
                parameter.register_hook(lambda _, name=f"{network} {key}": learned.add(name))  # type: ignore[misc]
    trial(compute, SIZE)()
    assert called == ["teacher", "student", "discriminator"]
    assert {name.split()[0] for name in learned} == {"student", "discriminator"}
    assert "student encoder.patch_embed1.proj.weight" in learned
    kernel = models.student.encoder.get_parameter("patch_embed1.proj.weight")
    assert kernel.is_contiguous(memory_format=compute.torch_format)


def test_where_features_are_cached_the_teacher_is_not_asked(config: DistillConfig) -> None:
    trial = DistillationTrial(open_models(config, CPU), config.temperature, taught=False)
    trial.models.teacher.register_forward_hook(lambda *_: pytest.fail("the teacher was asked"))
    trial(COMPUTES[0], SIZE)()


def test_frozen_networks_are_not_copied(config: DistillConfig) -> None:
    models = open_models(config, CPU)
    copies = models.with_copies_of_learners()
    assert models.discriminator is not None
    assert copies.discriminator is not None
    assert copies.teacher is models.teacher
    assert copies.discriminator.backbone is models.discriminator.backbone
    mine = {id(parameter) for parameter in models.student.parameters()}
    assert not mine & {id(parameter) for parameter in copies.student.parameters()}
    assert copies.discriminator.score is not models.discriminator.score
