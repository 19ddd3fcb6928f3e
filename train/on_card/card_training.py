"""Training of several networks on the same crops, for a span of time instead of epochs, with all imagery on the device.

A span is what a borrowed card has; rates follow the share of it that has passed, so that each run comes to its end.
Soft targets: Hinton et al. 2015, arXiv:1503.02531; from larger networks that see the crop as it is, to students that
see it varied: Xie et al. 2020, arXiv:1911.04252.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

from kda_edge.errors import TrainingError
from kda_edge.manifest import InputContract
from kda_edge.networks.network import Network

from ..optimisation.optimizers import decay_groups
from ..optimisation.weight_average import WeightAverage
from ..segmentation.losses import LossWeights, segmentation_loss
from .card_colours import CardColours
from .card_crops import CropSampler

LOSS: Final = LossWeights(cross_entropy=0.5, focal=0.0, dice=0.5)
CLIP_NORM: Final = 1.0  # of gradients
KEPT_S: Final = 60.0  # between two times that networks are kept, whatever then becomes of the card
CHECKED_STEPS: Final = 50  # between two looks at the loss: each waits for the device


@dataclass(frozen=True)
class Span:
    """How long and how fast networks learn.

    Attributes:
        seconds: of training.
        batch: crops a step.
        encoder_rate: highest learning rate of encoders.
        decoder_rate: highest learning rate of decoders.
        warmup: share of the time in which rates rise.
        weight_decay: of AdamW.
        average: decay of the average of weights.
        guided: share of the loss that teachers' answers have, where there are teachers.
        steps: at most; 0: as many as there is time for.
    """

    seconds: float
    batch: int = 64
    encoder_rate: float = 6e-4
    decoder_rate: float = 1.5e-3
    warmup: float = 0.04
    weight_decay: float = 0.03
    average: float = 0.998
    guided: float = 0.6
    steps: int = 0


@dataclass
class Progress:
    """How far a span has come.

    Attributes:
        steps: done.
        share: of the time, 0 to 1.
        losses: of each network, the mean since the last look.
    """

    steps: int = 0
    share: float = 0.0
    losses: list[float] = field(default_factory=list)


class Normalise:
    """Normalisation of pixels as a contract says.

    Args:
        contract: mean and standard deviation.
        device: of the pixels.
    """

    def __init__(self, contract: InputContract, device: torch.device | str) -> None:
        self.mean = torch.tensor(contract.mean, device=device).reshape(1, 3, 1, 1)
        self.std = torch.tensor(contract.std, device=device).reshape(1, 3, 1, 1)

    def __call__(self, rgb: Tensor) -> Tensor:
        """Return (B, 3, H, W) in channels_last from pixels."""
        return ((rgb - self.mean) / self.std).contiguous(memory_format=torch.channels_last)


def answers(networks: Sequence[Network], image: Tensor, *, half: bool) -> Tensor:
    """Return the mean landslide probability of networks, (B, 1, H, W) float32.

    Args:
        networks: in eval mode.
        image: normalised.
        half: compute in bfloat16.
    """
    with torch.no_grad(), torch.autocast(image.device.type, torch.bfloat16, enabled=half):
        return torch.stack([torch.sigmoid(network(image).float()) for network in networks]).mean(0)


def train_for(
    networks: Sequence[Network],
    sampler: CropSampler,
    colours: CardColours,
    normalise: Normalise,
    span: Span,
    *,
    teachers: Sequence[Network] = (),
    half: bool,
    told: Callable[[Progress], None] = lambda progress: None,
    keep: Callable[[], None] = lambda: None,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Train networks, which hold the averages of their weights afterwards, in eval mode.

    Args:
        networks: on the device of the sampler, in channels_last.
        sampler: of crops.
        colours: varies what the networks see.
        normalise: of pixels.
        span: how long and how fast.
        teachers: whose mean answer on the crops as they are is learned beside the labels; empty: labels alone.
        half: compute in bfloat16.
        told: called now and then.
        keep: called every minute, while the networks hold the averages of their weights.
        clock: in seconds.

    Raises:
        TrainingError: a loss is not finite.
    """
    optimizers = [_optimizer(network, span) for network in networks]
    averages = [WeightAverage(network, span.average) for network in networks]
    for network in networks:
        network.train()
    sums = torch.zeros(len(networks), device=sampler.images.device)
    began, progress, since = clock(), Progress(), 0
    kept_s = began
    while progress.share < 1.0:
        crops = sampler(span.batch)
        seen = normalise(colours(crops.rgb))
        target = answers(teachers, normalise(crops.rgb), half=half) if teachers else None
        for number, network in enumerate(networks):
            _set_rates(optimizers[number], span, progress.share)
            with torch.autocast(seen.device.type, torch.bfloat16, enabled=half):
                logit = network(seen)
            loss = loss_of(logit, crops.labels, target, span.guided)
            optimizers[number].zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            torch.nn.utils.clip_grad_norm_(network.parameters(), CLIP_NORM)
            optimizers[number].step()
            averages[number].update(progress.steps)
            sums[number] += loss.detach()
        progress.steps, since = progress.steps + 1, since + 1
        now = clock()
        progress.share = (now - began) / span.seconds
        if span.steps:
            progress.share = max(progress.share, progress.steps / span.steps)
        if since == CHECKED_STEPS or progress.share >= 1.0:
            progress.losses = (sums / since).tolist()
            if not all(map(math.isfinite, progress.losses)):
                raise TrainingError(f"the loss is no longer finite after {progress.steps} steps; lower the rates")
            told(progress)
            sums.zero_()
            since = 0
        if now - kept_s >= KEPT_S and progress.share < 1.0:
            with contextlib.ExitStack() as averaged:
                for average in averages:
                    averaged.enter_context(average.applied())
                keep()
            kept_s = now
    for network, average in zip(networks, averages, strict=True):
        network.load_state_dict(average.average)
        network.eval()


def rate_at(share: float, warmup: float) -> float:
    """Return the share of the highest learning rate after a share of the time: a rise, then half a cosine."""
    return min(1.0, (share + 1e-3) / warmup) * 0.5 * (1 + math.cos(math.pi * min(share, 1.0)))


def _optimizer(network: Network, span: Span) -> torch.optim.Optimizer:
    groups = decay_groups(network.encoder, "encoder") + decay_groups(network.decoder, "decoder")
    fused = next(network.parameters()).is_cuda
    return torch.optim.AdamW(groups, weight_decay=span.weight_decay, fused=fused)


def _set_rates(optimizer: torch.optim.Optimizer, span: Span, share: float) -> None:
    for group in optimizer.param_groups:
        highest = span.encoder_rate if group["role"] == "encoder" else span.decoder_rate
        group["lr"] = highest * rate_at(share, span.warmup)


def loss_of(logit: Tensor, labels: Tensor, target: Tensor | None, guided: float) -> Tensor:
    """Return the loss of a batch: of the labels, and in a share of the teachers' answers, where there are any.

    Args:
        logit: landslide minus background, (B, 1, H, W).
        labels: (B, H, W): 0, 1, or 255 for not judged.
        target: mean probability of the teachers, (B, 1, H, W), everywhere; None: labels alone.
        guided: share of the teachers' part, 0 to 1.
    """
    loss = segmentation_loss(logit, labels, LOSS)
    if target is None:
        return loss
    return (1 - guided) * loss + guided * F.binary_cross_entropy_with_logits(logit.float(), target)
