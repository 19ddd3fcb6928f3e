"""Phase 1: what the teacher teaches, who gets which gradient, and that a run resumes, stops and repeats as promised."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from kda_edge.errors import TrainingError, UsageError
from kda_edge.networks.checkpoint import read_content
from kda_edge.networks.student import Student
from kda_edge.train.data.augmentation import Augmentation
from kda_edge.train.data.data_file import DataRequest, DataSet
from kda_edge.train.data.unlabelled import load_images
from kda_edge.train.distillation.adversarial_step import Game
from kda_edge.train.distillation.config import DistillConfig
from kda_edge.train.distillation.discriminator import ROLES
from kda_edge.train.distillation.distill import distill
from kda_edge.train.distillation.losses import feature_divergence, score_distance
from kda_edge.train.loops.backbone_files import read_backbone
from kda_edge.train.loops.parallel import open_fabric


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """State dict of a small ViT, made on the spot."""
    import timm

    torch.manual_seed(7)
    path = tmp_path_factory.mktemp("weights") / "test_vit.pt"
    torch.save(timm.create_model("test_vit", pretrained=False).state_dict(), path)
    return path


@pytest.fixture
def config(weights: Path) -> DistillConfig:
    return DistillConfig(
        variant="nano",
        teacher="test_vit",
        teacher_weights=str(weights),
        discriminator="test_vit",
        epochs=2,
        batch=4,
        crop_px=64,
        student_rate=(1e-3, 1e-4),
        discriminator_rate=(1e-3, 1e-4),
        precision="fp32",
        device="cpu",
        workers=0,
    )


@pytest.fixture
def images(folders: Path) -> DataSet:
    return load_images(DataRequest(folders / "images", seed=0))


def game(config: DistillConfig, images: DataSet) -> Game:
    return Game(config, images.input, open_fabric("cpu", "fp32"))


def batch(count: int = 4) -> Tensor:
    return torch.randn(count, 3, 64, 64, generator=torch.Generator().manual_seed(3))


def test_distillation_brings_the_student_nearer_to_the_teacher(config: DistillConfig, images: DataSet) -> None:
    players = game(dataclasses.replace(config, method="kd", epochs=1), images)
    figures = []
    for step in range(12):
        players.set_rates(step, 100)
        figures.append(players.play(batch(), [0, 1, 2, 3])[0])
    assert figures[-1] < 0.8 * figures[0]


@pytest.mark.parametrize("align", ["last", "stages"])
def test_both_players_learn_in_bfloat16_where_every_map_is_resized(
    config: DistillConfig, images: DataSet, align: str
) -> None:
    resized = dataclasses.replace(config, align=align, teacher_px=96, pseudo_px=80)
    players = Game(resized, images.input, open_fabric("cpu", "bf16"))
    players.set_rates(0, 100)
    figures = players.play(batch(), [0, 1, 2, 3])
    in_float = Game(resized, images.input, open_fabric("cpu", "fp32")).play(batch(), [0, 1, 2, 3])
    assert figures == pytest.approx(in_float, rel=0.1, abs=0.02)


@pytest.mark.parametrize("align", ["last", "stages"])
def test_teacher_and_frozen_eyes_never_change(config: DistillConfig, images: DataSet, align: str) -> None:
    players = game(dataclasses.replace(config, align=align), images)
    assert players.adversary is not None
    before = players.teacher.digest(), players.adversary.backbone.digest()
    learned = {key: value.clone() for key, value in players.adversary.learned().items()}
    players.set_rates(0, 100)
    players.play(batch(), [0, 1, 2, 3])
    assert (players.teacher.digest(), players.adversary.backbone.digest()) == before
    assert not players.teacher.training
    changed = [key for key, value in players.adversary.learned().items() if not torch.equal(value, learned[key])]
    assert len(changed) > len(learned) / 2, "the discriminator does not learn"


def test_each_player_gets_exactly_the_gradient_of_its_equation(config: DistillConfig, images: DataSet) -> None:
    """Against the losses of Eq. (2) and (3) written down and differentiated by autograd in one piece each."""
    players = game(config, images)
    assert players.adversary is not None
    players.aligned.eval()  # without stochastic depth
    image = batch()
    with torch.no_grad():
        target = players.teacher((image * players.scale + players.shift).clamp(0, 1))[-1]
    output = players.aligned(image)[-1]
    log_s = torch.log_softmax(output / 5, dim=1)
    teacher = torch.softmax(target / 5, dim=1)
    divergence = 25 * (teacher * (teacher.log() - log_s)).sum(dim=1).mean()
    scores = players.adversary([target, output], ("teacher", "student"))
    distance = ((scores[0] - scores[1]) ** 2).mean()
    student = dict(players.aligned.named_parameters())
    loss = 0.6 * divergence + 0.4 * distance
    expected = torch.autograd.grad(loss, list(student.values()), retain_graph=True, allow_unused=True)
    learned = {key: p for key, p in players.adversary.named_parameters() if p.requires_grad}
    expected_adversary = torch.autograd.grad(distance, list(learned.values()))

    figures = players.play(image, [0, 1, 2, 3])  # the optimizers' rates are still those of construction

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
    players = game(config, images)
    distances = []
    for step in range(10):
        players.set_rates(step, 100)
        for group in players.student_optimizer.param_groups:
            group["lr"], group["weight_decay"] = 0.0, 0.0
        torch.manual_seed(0)
        distances.append(players.play(batch(), [0, 1, 2, 3])[1])
    assert distances[-1] > distances[0]


def test_adversarial_gradients_reach_the_encoder_through_the_frozen_backbone(
    config: DistillConfig, images: DataSet
) -> None:
    players = game(dataclasses.replace(config, weights=(1e-12, 1.0)), images)
    players.play(batch(), [0, 1, 2, 3])
    first = players.aligned.encoder.get_parameter("patch_embed1.proj.weight").grad
    assert first is not None
    assert float(first.abs().max()) > 1e-9


def test_adaptive_weights_hold_the_gradients_in_the_ratio_that_was_asked_for(
    config: DistillConfig, images: DataSet
) -> None:
    players = game(dataclasses.replace(config, balance="adaptive", weights=(0.5, 0.25)), images)
    assert players.adversary is not None
    players.aligned.eval()  # without stochastic depth
    image = batch()
    with torch.no_grad():
        target = players.teacher((image * players.scale + players.shift).clamp(0, 1))[-1]
    output = players.aligned(image)[-1].detach().requires_grad_()
    divergence = feature_divergence(output, target, 5.0)
    distance = score_distance(*players.adversary([target, output], ROLES))
    norms = [float(torch.autograd.grad(loss, output)[0].norm()) for loss in (divergence, distance)]

    weight = players.play(image, [0, 1, 2, 3])[4]

    assert weight * norms[1] / norms[0] == pytest.approx(0.25, rel=1e-3)


@pytest.mark.parametrize("method", ["kd", "kda"])
def test_a_resumed_run_ends_with_the_weights_of_an_uninterrupted_one(
    config: DistillConfig, images: DataSet, tmp_path: Path, method: str
) -> None:
    config = dataclasses.replace(config, method=method)
    whole = distill(config, images, tmp_path / "whole")

    class Killed(Exception):
        pass

    def kill(label: str, done: int, total: int) -> None:
        if label.startswith("epoch 2") and done == 2:
            raise Killed

    with pytest.raises(Killed):
        distill(config, images, tmp_path / "cut", progress=kill)
    assert read_content(tmp_path / "cut" / "last.pt")["run"]["epochs_done"] == 1
    again = distill(config, images, tmp_path / "cut", resume=True)
    first, second = read_backbone(whole).state, read_backbone(again).state
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_another_setting_is_not_resumed(config: DistillConfig, images: DataSet, tmp_path: Path) -> None:
    once = dataclasses.replace(config, epochs=1, method="kd")
    distill(once, images, tmp_path)
    with pytest.raises(TrainingError, match="exists; go on with --resume"):
        distill(once, images, tmp_path)
    with pytest.raises(TrainingError, match="another temperature"):
        distill(dataclasses.replace(once, temperature=4.0), images, tmp_path, resume=True)


def test_a_run_that_diverges_stops_with_one_line_and_keeps_the_epoch_before(
    config: DistillConfig, images: DataSet, tmp_path: Path
) -> None:
    config = dataclasses.replace(config, method="kd")
    with pytest.raises(TrainingError, match=r"no longer finite in epoch 2 \(.*hold epoch 1\)"):
        distill(config, images, tmp_path, progress=_PoisonsTheSecondEpoch(images))
    state = read_backbone(tmp_path / "distilled.pt").state
    assert all(torch.isfinite(value).all() for value in state.values())
    assert read_content(tmp_path / "last.pt")["run"]["epochs_done"] == 1


class _PoisonsTheSecondEpoch:
    """Spoils the normalisation of the crops after the first step of the second epoch."""

    def __init__(self, images: DataSet) -> None:
        self.images = images

    def __call__(self, label: str, done: int, total: int) -> None:
        if label.startswith("epoch 2") and done == 1:
            object.__setattr__(self.images.input, "std", (math.nan, 1.0, 1.0))


def test_the_cache_changes_nothing_beyond_half_precision(
    config: DistillConfig, images: DataSet, tmp_path: Path
) -> None:
    config = dataclasses.replace(config, method="kd", views=1, epochs=3)
    plain = read_backbone(distill(config, images, tmp_path / "plain")).state
    cached = read_backbone(distill(config, images, tmp_path / "cached", cache=tmp_path / "cache")).state
    for key, value in plain.items():
        torch.testing.assert_close(cached[key], value, rtol=0.05, atol=5e-3, msg=key)
    with pytest.raises(UsageError, match="--views"):
        distill(dataclasses.replace(config, views=0), images, tmp_path / "x", cache=tmp_path / "cache")


def test_the_teacher_is_asked_once_where_its_features_are_cached(
    config: DistillConfig, images: DataSet, tmp_path: Path
) -> None:
    from kda_edge.train.distillation.feature_cache import FeatureCache

    players = game(dataclasses.replace(config, method="kd", views=1), images)
    players.cache = FeatureCache(tmp_path, teacher="t", shapes=players.shapes, slots=8)
    first = players._targets(batch(), [4, 5, 6, 7])
    asked: list[int] = []
    players.teacher.register_forward_hook(lambda *_: asked.append(1))
    second = players._targets(batch(), [4, 5, 6, 7])
    assert asked == []
    torch.testing.assert_close(second[0], first[0], rtol=1e-3, atol=1e-3)


def test_crops_of_a_run_are_those_of_its_views(config: DistillConfig, images: DataSet, tmp_path: Path) -> None:
    """With two views the third epoch shows the crops of the first: the teacher's features come from the cache."""
    config = dataclasses.replace(config, method="kd", views=2, epochs=3)
    distill(config, images, tmp_path / "run", cache=tmp_path / "cache")
    seals = np.fromfile(tmp_path / "cache" / "teacher_features" / "seals.bin", np.uint8).reshape(-1, 16)
    assert len(seals) == 2 * 20
    assert seals.any(axis=1).all()


def test_an_augmentation_is_part_of_the_settings(config: DistillConfig, images: DataSet, tmp_path: Path) -> None:
    once = dataclasses.replace(config, epochs=1, method="kd")
    distill(once, images, tmp_path)
    with pytest.raises(TrainingError, match="another augmentation"):
        distill(dataclasses.replace(once, augmentation=Augmentation(colour=0.1)), images, tmp_path, resume=True)


def test_the_backbone_fits_the_student_it_was_distilled_for(
    config: DistillConfig, images: DataSet, tmp_path: Path
) -> None:
    from kda_edge.errors import CheckpointError
    from kda_edge.train.loops.backbone_files import load_backbone

    path = distill(dataclasses.replace(config, epochs=1, method="kd"), images, tmp_path)
    backbone = read_backbone(path)
    student = Student("nano")
    load_backbone(student.encoder, backbone, path)
    assert torch.equal(student.encoder.state_dict()["pos_embed1"], backbone.state["pos_embed1"])
    with pytest.raises(CheckpointError, match="distilled for 'nano'"):
        load_backbone(Student("tiny").encoder, backbone, path)
