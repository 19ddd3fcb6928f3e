"""The pieces of phase 1 against slow obvious versions: losses, discriminator's doors, necks."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from kda_edge.errors import UsageError
from kda_edge.networks.student import VARIANTS, Student
from kda_edge.train.distillation.alignment import AlignedStudent, matched_stages
from kda_edge.train.distillation.discriminator import ROLES, Discriminator
from kda_edge.train.distillation.frozen_backbones import open_backbone
from kda_edge.train.distillation.losses import (
    aligned_divergence,
    balanced_score_weight,
    feature_divergence,
    score_distance,
)


def test_the_divergence_is_kullback_and_leiblers_over_channels() -> None:
    rng = np.random.default_rng(0)
    student, teacher = rng.normal(0, 3, (2, 5, 2, 3)), rng.normal(0, 3, (2, 5, 2, 3))
    total = 0.0
    for b in range(2):
        for i in range(2):
            for j in range(3):
                p, q = (np.exp(x[b, :, i, j] / 5) / np.exp(x[b, :, i, j] / 5).sum() for x in (teacher, student))
                total += sum(p[c] * math.log(p[c] / q[c]) for c in range(5))
    expected = 25 * total / 12
    measured = feature_divergence(torch.tensor(student), torch.tensor(teacher), 5.0)
    assert float(measured) == pytest.approx(expected, rel=1e-5)
    assert float(feature_divergence(torch.tensor(teacher), torch.tensor(teacher), 5.0)) == pytest.approx(0, abs=1e-6)


def test_levels_count_alike_whatever_their_size() -> None:
    maps = [torch.randn(2, 4, 8, 8), torch.randn(2, 6, 2, 2)]
    targets = [torch.randn(2, 4, 8, 8), torch.randn(2, 6, 2, 2)]
    each = [float(feature_divergence(s, t, 2.0)) for s, t in zip(maps, targets, strict=True)]
    assert float(aligned_divergence(maps, targets, 2.0)) == pytest.approx(sum(each) / 2)


def test_the_distance_of_scores_is_their_mean_squared_difference() -> None:
    assert float(score_distance(torch.tensor([1.0, 0.5]), torch.tensor([0.0, 0.0]))) == pytest.approx(0.625)


def test_a_weight_that_balances_gradients_is_bounded() -> None:
    assert balanced_score_weight(2.0, 4.0, weights=(0.6, 0.4)) == pytest.approx(0.2)
    assert balanced_score_weight(2.0, 0.0, weights=(0.6, 0.4)) == 1e4


@pytest.mark.parametrize("name", ["test_vit", "test_convnext"])
def test_the_discriminator_gives_one_probability_an_image_and_chooses_the_door_by_role(name: str) -> None:
    torch.manual_seed(0)
    discriminator = Discriminator(open_backbone(name, weights=None, levels="stages", pretrained=False), 12, 64, "role")
    features = torch.randn(3, 12, 4, 4)
    with torch.no_grad():
        teacher, student = discriminator([features, features], ROLES)
        swapped = discriminator([features, features], ("student", "teacher"))
        alone = discriminator([features[:1]], ("teacher",))[0]
    assert teacher.shape == (3,)
    assert bool(((teacher > 0) & (teacher < 1)).all())
    assert not torch.allclose(teacher, student), "the same map through two doors"
    torch.testing.assert_close(swapped[0], student)
    # No statistics over the batch: a map's score does not depend on its company.
    torch.testing.assert_close(alone, teacher[:1], rtol=1e-4, atol=1e-5)


def test_a_door_learns_from_its_own_role_only() -> None:
    discriminator = Discriminator(
        open_backbone("test_vit", weights=None, levels="stages", pretrained=False), 12, 64, "role"
    )
    discriminator([torch.randn(2, 12, 4, 4)], ("student",))[0].sum().backward()
    doors = {role: [p.grad for p in discriminator.doors[role].parameters()] for role in ROLES}
    assert all(gradient is None for gradient in doors["teacher"])
    assert all(gradient is not None for gradient in doors["student"])


@pytest.mark.parametrize(("doors", "told_apart"), [("shared", False), ("role", True)])
def test_equal_maps_are_told_apart_only_by_a_discriminator_that_knows_the_role(doors: str, told_apart: bool) -> None:
    """Why the door is shared: with one a role the discriminator wins without looking, and no student can fool it."""
    torch.manual_seed(0)
    discriminator = Discriminator(open_backbone("test_vit", weights=None, pretrained=False), 12, 64, doors)
    optimizer = torch.optim.AdamW([p for p in discriminator.parameters() if p.requires_grad], lr=3e-3, maximize=True)
    for _ in range(60):
        features = torch.randn(4, 12, 4, 4)
        distance = score_distance(*discriminator([features, features], ROLES))
        optimizer.zero_grad()
        distance.backward()
        optimizer.step()
    reached = float(distance.detach())
    assert (reached > 0.5) == told_apart
    assert told_apart or reached < 1e-9


def test_what_is_stored_of_a_discriminator_is_what_it_learned() -> None:
    discriminator = Discriminator(open_backbone("test_vit", weights=None, levels="stages", pretrained=False), 12, 64)
    learnable = {key for key, p in discriminator.named_parameters() if p.requires_grad}
    assert set(discriminator.learned()) == learnable


@pytest.mark.parametrize(("channels", "necked"), [(256, False), (384, True)])
def test_the_students_last_map_comes_on_the_teachers_grid(channels: int, necked: bool) -> None:
    spec = VARIANTS["nano"]
    aligned = AlignedStudent(Student("nano").encoder, spec.dims, [(channels, 16, 16)], [3])
    assert aligned(torch.randn(2, 3, 64, 64))[0].shape == (2, channels, 16, 16)
    assert any(True for _ in aligned.necks.parameters()) == necked


@pytest.mark.parametrize(
    ("shapes", "crop_px", "stages"),
    [
        ([(8, 16, 16)], 224, [3]),  # the last map of a ViT
        ([(8, 7, 7)], 224, [3]),
        ([(8, 16, 16)] * 4, 224, [0, 1, 2, 3]),  # four blocks of a ViT
        ([(4, 56, 56), (5, 28, 28), (6, 14, 14), (7, 7, 7)], 224, [0, 1, 2, 3]),
        ([(4, 24, 24), (6, 12, 12), (7, 6, 6)], 128, [0, 1, 3]),  # a crop enlarged for the teacher
        ([(4, 48, 48), (5, 24, 24), (6, 12, 12), (7, 6, 6)], 128, [0, 1, 2, 3]),  # a CNN shown an enlarged crop
    ],
)
def test_maps_teach_the_stage_of_their_stride_or_depth(
    shapes: list[tuple[int, int, int]], crop_px: int, stages: list[int]
) -> None:
    assert matched_stages(shapes, crop_px) == stages


def test_more_maps_than_stages_are_refused() -> None:
    with pytest.raises(UsageError, match="5 maps don't fit 4 stages"):
        matched_stages([(4, 56, 56), (4, 28, 28), (8, 14, 14), (8, 7, 7), (8, 4, 4)], 224)
