"""Training for a span of time: rates, losses, averages, and that a small network learns what is there to learn."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from kda_edge.errors import TrainingError
from kda_edge.manifest import InputContract
from kda_edge.networks.by_name import network_from_name
from kda_edge.networks.network import Network
from kda_edge.train.data.labels import IGNORED, LANDSLIDE
from kda_edge.train.on_card.card_colours import CardColours
from kda_edge.train.on_card.card_crops import CropSampler
from kda_edge.train.on_card.card_images import CardImages
from kda_edge.train.on_card.card_judging import evaluate_on_card
from kda_edge.train.on_card.card_training import (
    LOSS,
    Normalise,
    Progress,
    Span,
    answers,
    loss_of,
    rate_at,
    train_for,
)
from kda_edge.train.on_card.packed_set import Labelled, PackedImage
from kda_edge.train.optimisation.schedules import ema_decay
from kda_edge.train.segmentation.losses import segmentation_loss

SMALL = "test_efficientnet+fpn"  # a backbone of timm for tests
CONTRACT = InputContract()


def brown_patches(number: int) -> Labelled:
    """Return an image of green ground with brown discs, which are the landslides."""
    rng = np.random.default_rng(number)
    rgb = np.full((96, 96, 3), (60, 110, 50), np.uint8)
    labels = np.zeros((96, 96), np.uint8)
    for _ in range(3):
        centre, radius = tuple(int(x) for x in rng.integers(10, 86, 2)), int(rng.integers(6, 18))
        cv2.circle(rgb, centre, radius, (150, 110, 80), -1)
        cv2.circle(labels, centre, radius, LANDSLIDE, -1)
    rgb = np.clip(rgb + rng.normal(0, 8, rgb.shape), 0, 255).astype(np.uint8)
    return Labelled(PackedImage(str(number), "made", "all", "train", 1.0, is_scene=False), rgb, labels)


@pytest.fixture(scope="module")
def card() -> CardImages:
    return CardImages([brown_patches(number) for number in range(6)], "cpu")


def trained(card: CardImages, steps: int, teachers: tuple[Network, ...] = (), seed: int = 0, **span: float) -> Network:
    torch.manual_seed(0)
    network = network_from_name(SMALL).to(memory_format=torch.channels_last)
    sampler = CropSampler(card, range(len(card.facts)), crop_px=64, magnification=(0.8, 1.2), seed=seed)
    train_for(
        [network],
        sampler,
        CardColours("cpu", seed, strength=0.3),
        Normalise(CONTRACT, "cpu"),
        Span(1e9, batch=8, steps=steps, encoder_rate=3e-3, decoder_rate=3e-3, average=0.9, **span),  # type: ignore[arg-type]
        teachers=teachers,
        half=False,
    )
    return network


def iou_of(network: Network, card: CardImages) -> float:
    found = evaluate_on_card([network], card, range(len(card.facts)), Normalise(CONTRACT, "cpu"), half=False)
    return found.counts(0.5)["made/all"].iou


def test_a_network_learns_from_labels_and_another_from_it_alone(card: CardImages) -> None:
    teacher = trained(card, 60)
    assert iou_of(teacher, card) > 0.8
    unlabelled = CardImages(
        [Labelled(one.facts, one.rgb, np.full_like(one.labels, IGNORED)) for one in map(brown_patches, range(6))], "cpu"
    )
    before = teacher.state_dict()["decoder.classify.weight"].clone()
    assert iou_of(trained(unlabelled, 60, (teacher,), guided=0.9), card) > 0.7
    assert iou_of(trained(unlabelled, 60), card) < 0.5
    assert torch.equal(before, teacher.state_dict()["decoder.classify.weight"]), "the teacher must stay as it is"


def test_the_same_seed_gives_the_same_weights(card: CardImages) -> None:
    first, again, other = (trained(card, 3, seed=seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not all(torch.equal(first[key], other[key]) for key in first)


def trained_for(
    seconds: float, tick_s: float, card: CardImages, average: float = 0.99, **told: Callable[..., None]
) -> Network:
    """A network after a span of a clock that goes on by as much whenever it is looked at."""
    torch.manual_seed(0)
    network = network_from_name(SMALL)
    ticks = itertools.count(0.0, tick_s)
    sampler = CropSampler(card, [0], crop_px=32, magnification=(1.0, 1.0), seed=0)
    colours, normalise = CardColours("cpu", 0), Normalise(CONTRACT, "cpu")
    hooks = {name: functools.partial(one, network) for name, one in told.items()}
    span = Span(seconds, batch=2, average=average)
    train_for([network], sampler, colours, normalise, span, half=False, clock=lambda: next(ticks), **hooks)
    return network


def test_time_ends_a_span_and_the_rates_have_fallen_by_then(card: CardImages) -> None:
    seen: list[Progress] = []
    network = trained_for(45.0, 10.0, card, told=lambda network, progress: seen.append(progress))
    assert seen[-1].steps == 5
    assert not network.training
    shares = np.linspace(0, 1, 101)
    rates = [rate_at(share, 0.05) for share in shares]
    assert max(rates) <= 1
    assert np.argmax(rates) == 5
    assert rates[0] < 0.05
    assert rates[-1] < 1e-6
    assert rates[50] == pytest.approx(0.5 * (1 + math.cos(math.pi / 2)))


def test_every_minute_the_averages_of_the_weights_are_there_to_be_kept(card: CardImages) -> None:
    key = "decoder.classify.weight"
    kept: dict[float, list[torch.Tensor]] = {0.99: [], 0.0: []}
    for average, weights in kept.items():
        trained_for(
            310.0,
            60.0,  # a step a minute
            card,
            average,
            keep=lambda network, weights=weights: weights.append(network.state_dict()[key].clone()),
        )
        assert len(weights) == 5
    torch.manual_seed(0)
    by_hand = network_from_name(SMALL).state_dict()[key]
    for step, (averaged, own) in enumerate(zip(kept[0.99], kept[0.0], strict=True)):
        survives = ema_decay(step, final=0.99)
        by_hand = survives * by_hand + (1 - survives) * own
        torch.testing.assert_close(averaged, by_hand, rtol=0, atol=1e-6)
    assert not torch.allclose(kept[0.99][-1], kept[0.0][-1], rtol=0, atol=1e-4)


def test_the_loss_mixes_labels_and_the_teachers_answer_in_the_stated_shares() -> None:
    generator = torch.Generator().manual_seed(0)
    logit = torch.randn((2, 1, 8, 8), generator=generator)
    labels = torch.randint(0, 2, (2, 8, 8), generator=generator).to(torch.uint8)
    target = torch.rand((2, 1, 8, 8), generator=generator)
    by_hand = -(target * F.logsigmoid(logit) + (1 - target) * F.logsigmoid(-logit)).mean()
    plain = segmentation_loss(logit, labels, LOSS)
    assert float(loss_of(logit, labels, target, 0.6)) == pytest.approx(float(0.4 * plain + 0.6 * by_hand), rel=1e-6)
    assert float(loss_of(logit, labels, None, 0.6)) == float(plain)


def test_teachers_answer_with_the_mean_of_their_probabilities() -> None:
    torch.manual_seed(0)
    networks = [network_from_name(SMALL).eval() for _ in range(2)]
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected = sum(torch.sigmoid(network(image)) for network in networks) / 2
    assert torch.allclose(answers(networks, image, half=False), torch.as_tensor(expected), atol=1e-6)


def test_a_loss_that_is_not_finite_ends_the_run(card: CardImages) -> None:
    network = network_from_name(SMALL)
    with torch.no_grad():
        next(network.parameters()).fill_(math.nan)
    sampler = CropSampler(card, [0], crop_px=32, magnification=(1.0, 1.0), seed=0)
    colours, normalise = CardColours("cpu", 0), Normalise(CONTRACT, "cpu")
    with pytest.raises(TrainingError, match="no longer finite"):
        train_for([network], sampler, colours, normalise, Span(1e9, batch=2, steps=1), half=False)


def test_varied_crops_stay_pixels_and_differ_from_each_other() -> None:
    rgb = torch.rand((6, 3, 64, 64), generator=torch.Generator().manual_seed(0)) * 255
    for seed in range(8):
        varied = CardColours("cpu", seed)(rgb.clone())
        assert varied.shape == rgb.shape
        assert torch.isfinite(varied).all()
        assert float(varied.min()) >= 0
        assert float(varied.max()) <= 255
        assert float((varied - rgb).abs().mean()) > 2
    assert torch.equal(CardColours("cpu", 3)(rgb), CardColours("cpu", 3)(rgb))
