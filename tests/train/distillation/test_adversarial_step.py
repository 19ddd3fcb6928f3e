"""An adversarial step: what the teacher teaches, and who gets which gradient."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from torch import Tensor

from kda_edge.train.data.data_file import DataSet
from kda_edge.train.distillation.adversarial_step import AdversarialStep
from kda_edge.train.distillation.config import DistillConfig
from kda_edge.train.distillation.discriminator import ROLES
from kda_edge.train.distillation.distillation_models import open_models
from kda_edge.train.distillation.feature_cache import FeatureCache
from kda_edge.train.distillation.losses import feature_divergence, score_distance
from kda_edge.train.loops.parallel import open_fabric


def adversarial_step(config: DistillConfig, images: DataSet, precision: str = "fp32") -> AdversarialStep:
    fabric = open_fabric("cpu", precision)
    return AdversarialStep(open_models(config, fabric.device), config, images.input, fabric)


def batch(count: int = 4) -> Tensor:
    return torch.randn(count, 3, 64, 64, generator=torch.Generator().manual_seed(3))


def test_distillation_brings_the_student_nearer_to_the_teacher(config: DistillConfig, images: DataSet) -> None:
    adversarial = adversarial_step(dataclasses.replace(config, method="kd", epochs=1), images)
    figures = []
    for step in range(12):
        adversarial.set_rates(step, 100)
        figures.append(adversarial.take(batch(), [0, 1, 2, 3])[0])
    assert figures[-1] < 0.8 * figures[0]


@pytest.mark.parametrize("align", ["last", "stages"])
def test_both_networks_learn_in_bfloat16_where_every_map_is_resized(
    config: DistillConfig, images: DataSet, align: str
) -> None:
    resized = dataclasses.replace(config, align=align, teacher_px=96, pseudo_px=80)
    adversarial = adversarial_step(resized, images, "bf16")
    adversarial.set_rates(0, 100)
    figures = adversarial.take(batch(), [0, 1, 2, 3])
    in_float = adversarial_step(resized, images).take(batch(), [0, 1, 2, 3])
    assert figures == pytest.approx(in_float, rel=0.1, abs=0.02)


@pytest.mark.parametrize("align", ["last", "stages"])
def test_teacher_and_frozen_discriminator_backbone_never_change(
    config: DistillConfig, images: DataSet, align: str
) -> None:
    adversarial = adversarial_step(dataclasses.replace(config, align=align), images)
    assert adversarial.adversary is not None
    before = adversarial.teacher.digest(), adversarial.adversary.backbone.digest()
    learned = {key: value.clone() for key, value in adversarial.adversary.learned().items()}
    adversarial.set_rates(0, 100)
    adversarial.take(batch(), [0, 1, 2, 3])
    assert (adversarial.teacher.digest(), adversarial.adversary.backbone.digest()) == before
    assert not adversarial.teacher.training
    changed = [key for key, value in adversarial.adversary.learned().items() if not torch.equal(value, learned[key])]
    assert len(changed) > len(learned) / 2, "the discriminator does not learn"


def test_each_player_gets_exactly_the_gradient_of_its_equation(config: DistillConfig, images: DataSet) -> None:
    """Against the losses of Eq. (2) and (3) written down and differentiated by autograd in one piece each."""
    adversarial = adversarial_step(config, images)
    assert adversarial.adversary is not None
    adversarial.aligned.eval()  # without stochastic depth
    image = batch()
    with torch.no_grad():
        target = adversarial.teacher((image * adversarial.scale + adversarial.shift).clamp(0, 1))[-1]
    output = adversarial.aligned(image)[-1]
    log_s = torch.log_softmax(output / 5, dim=1)
    teacher = torch.softmax(target / 5, dim=1)
    divergence = 25 * (teacher * (teacher.log() - log_s)).sum(dim=1).mean()
    scores = adversarial.adversary([target, output], ("teacher", "student"))
    distance = ((scores[0] - scores[1]) ** 2).mean()
    student = dict(adversarial.aligned.named_parameters())
    loss = 0.6 * divergence + 0.4 * distance
    expected = torch.autograd.grad(loss, list(student.values()), retain_graph=True, allow_unused=True)
    learned = {key: p for key, p in adversarial.adversary.named_parameters() if p.requires_grad}
    expected_adversary = torch.autograd.grad(distance, list(learned.values()))

    figures = adversarial.take(image, [0, 1, 2, 3])  # the optimizers' rates are still those of construction

    assert figures[0] == pytest.approx(float(divergence.detach()), rel=1e-5)
    assert figures[1] == pytest.approx(float(distance.detach()), rel=1e-5)
    for (key, parameter), gradient in zip(student.items(), expected, strict=True):
        if gradient is not None:
            assert parameter.grad is not None
            torch.testing.assert_close(parameter.grad, gradient, rtol=1e-3, atol=1e-6, msg=key)
    for (key, parameter), gradient in zip(learned.items(), expected_adversary, strict=True):
        assert parameter.grad is not None
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-3, atol=1e-7, msg=key)


def test_the_discriminator_climbs_where_the_student_descends(config: DistillConfig, images: DataSet) -> None:
    """The student stands still: then the distance of the scores must grow."""
    adversarial = adversarial_step(config, images)
    distances = []
    for step in range(10):
        adversarial.set_rates(step, 100)
        for group in adversarial.student_optimizer.param_groups:
            group["lr"], group["weight_decay"] = 0.0, 0.0
        torch.manual_seed(0)
        distances.append(adversarial.take(batch(), [0, 1, 2, 3])[1])
    assert distances[-1] > distances[0]


def test_adversarial_gradients_reach_the_encoder_through_the_frozen_backbone(
    config: DistillConfig, images: DataSet
) -> None:
    adversarial = adversarial_step(dataclasses.replace(config, weights=(1e-12, 1.0)), images)
    adversarial.take(batch(), [0, 1, 2, 3])
    first = adversarial.aligned.encoder.get_parameter("patch_embed1.proj.weight").grad
    assert first is not None
    assert float(first.abs().max()) > 1e-9


def test_adaptive_weights_hold_the_gradients_in_the_ratio_that_was_asked_for(
    config: DistillConfig, images: DataSet
) -> None:
    adversarial = adversarial_step(dataclasses.replace(config, balance="adaptive", weights=(0.5, 0.25)), images)
    assert adversarial.adversary is not None
    adversarial.aligned.eval()  # without stochastic depth
    image = batch()
    with torch.no_grad():
        target = adversarial.teacher((image * adversarial.scale + adversarial.shift).clamp(0, 1))[-1]
    output = adversarial.aligned(image)[-1].detach().requires_grad_()
    divergence = feature_divergence(output, target, 5.0)
    distance = score_distance(*adversarial.adversary([target, output], ROLES))
    norms = [float(torch.autograd.grad(loss, output)[0].norm()) for loss in (divergence, distance)]

    weight = adversarial.take(image, [0, 1, 2, 3])[4]

    assert weight * norms[1] / norms[0] == pytest.approx(0.25, rel=1e-3)


def test_the_teacher_is_asked_once_where_its_features_are_cached(
    config: DistillConfig, images: DataSet, tmp_path: Path
) -> None:
    adversarial = adversarial_step(dataclasses.replace(config, method="kd", views=1), images)
    adversarial.cache = FeatureCache(tmp_path, teacher="t", shapes=adversarial.teacher.shapes(64), slots=8)
    first = adversarial._targets(batch(), [4, 5, 6, 7])
    asked: list[int] = []
    adversarial.teacher.register_forward_hook(lambda *_: asked.append(1))
    second = adversarial._targets(batch(), [4, 5, 6, 7])
    assert asked == []
    torch.testing.assert_close(second[0], first[0], rtol=1e-3, atol=1e-3)
