"""Distillation in phase 2: a student learns the answers of frozen students beside the labels.

Source: Hinton et al. 2015, arXiv:1503.02531, section 2 (softened targets, their gradient scaled by the square of the
temperature), with one logit for two classes; the mean of several teachers as in its section 1. Images without labels
are learned from by the teachers alone, as in Xie et al. 2020, arXiv:1911.04252.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from kda_edge.errors import UsageError
from kda_edge.manifest import InputContract
from kda_edge.networks.checkpoint import Checkpoint, read_checkpoint, weights_digest
from kda_edge.networks.network import Network


@dataclass(frozen=True)
class TeacherSettings:
    """Which teachers a student of phase 2 has, and how much it heeds them.

    Attributes:
        checkpoints: files of students that answer; empty: labels alone.
        share: of the loss that the teachers' answers have, 0 to 1; the labels have the rest.
        temperature: that divides the logits of teachers and student, above 0; higher ones soften.
    """

    checkpoints: tuple[str, ...] = ()
    share: float = 0.6
    temperature: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise UsageError(f"the share of the teachers must lie above 0 and at most at 1, not be {self.share:g}")
        if not 0 < self.temperature < float("inf"):
            raise UsageError(f"the temperature must be a finite number above 0, not {self.temperature:g}")


@dataclass(frozen=True)
class Teachers:
    """Frozen students on the device of a run.

    Attributes:
        settings: of the run.
        networks: in eval mode; none of their weights has a gradient.
        scales: for each what brings the pixels of the run's normalisation into its own: factor and shift, (1, 3, 1, 1).
        digests: of their weights.
        summary: for the training record, a clause; empty: there are none.
    """

    settings: TeacherSettings
    networks: tuple[Network, ...] = ()
    scales: tuple[tuple[Tensor, Tensor], ...] = ()
    digests: tuple[str, ...] = ()
    summary: str = field(default="")

    def to(self, device: torch.device, memory_format: torch.memory_format) -> Teachers:
        """Return them on a device."""
        networks = tuple(one.to(device).to(memory_format=memory_format) for one in self.networks)
        scales = tuple((factor.to(device), shift.to(device)) for factor, shift in self.scales)
        return Teachers(self.settings, networks, scales, self.digests, self.summary)

    def answer(self, image: Tensor, autocast: AbstractContextManager[object]) -> Tensor:
        """Return the mean of the softened landslide probabilities, (B, 1, H, W) float32.

        Args:
            image: as the run normalises it, (B, 3, H, W).
            autocast: precision of the run.
        """
        temperature = self.settings.temperature
        with torch.no_grad(), autocast:
            softened = [
                torch.sigmoid(network(image * factor + shift).float() / temperature)
                for network, (factor, shift) in zip(self.networks, self.scales, strict=True)
            ]
        return torch.stack(softened).mean(0)


def open_teachers(settings: TeacherSettings, contract: InputContract) -> Teachers:
    """Read the teachers' checkpoints.

    Args:
        settings: which they are.
        contract: the pixels of the run.

    Raises:
        CheckpointError: one can't be read.
        UsageError: one takes other pixels than the run has.
    """
    read = [(path, read_checkpoint(path)) for path in settings.checkpoints]
    for path, checkpoint in read:
        _require_same_pixels(path, checkpoint.input, contract)
    for _, checkpoint in read:
        checkpoint.student.requires_grad_(False).eval()
    digests = tuple(weights_digest(checkpoint.student) for _, checkpoint in read)
    named = " and ".join(f"{one.student.variant} {digest[:12]}" for (_, one), digest in zip(read, digests, strict=True))
    return Teachers(
        settings,
        tuple(checkpoint.student for _, checkpoint in read),
        tuple(_scale(checkpoint, contract) for _, checkpoint in read),
        digests,
        f"answers of {named} ({settings.share:.0%} of the loss, temperature {settings.temperature:g})" if named else "",
    )


def taught_loss(
    labels_loss: Tensor,
    logit: Tensor,
    target: Tensor,
    settings: TeacherSettings,
    *,
    counts: bool = True,
    gather: Callable[[Tensor], Tensor] = lambda sums: sums,
) -> Tensor:
    """Return the loss of labels and teachers together, a scalar.

    Args:
        labels_loss: of the labels alone.
        logit: the student's, (B, 1, H, W).
        target: the teachers' softened probability, (B, 1, H, W); every pixel counts, labelled or not.
        settings: share and temperature.
        counts: whether this process's crops are part of the batch.
        gather: adds up sums (2,) over the processes that share the batch; the default is for one.
    """
    entropy = F.binary_cross_entropy_with_logits(logit.float() / settings.temperature, target, reduction="sum")
    here = torch.stack([entropy, torch.full_like(entropy, float(target.numel()))]) * float(counts)
    total, pixels = gather(here)
    guided = settings.temperature**2 * total / pixels.detach().clamp(min=1)
    loss: Tensor = (1 - settings.share) * labels_loss + settings.share * guided
    return loss


def _require_same_pixels(path: str | Path, teacher: InputContract, run: InputContract) -> None:
    for what in ("pixel_type", "value_range", "bands"):
        theirs, ours = getattr(teacher, what), getattr(run, what)
        if theirs != ours:
            raise UsageError(
                f"{path} was trained on imagery with {what} {_words(theirs)}, and the data have {_words(ours)}; "
                "give a teacher of the same imagery"
            )


def _words(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, Sequence) and not isinstance(value, str) else str(value)


def _scale(checkpoint: Checkpoint, run: InputContract) -> tuple[Tensor, Tensor]:
    theirs = checkpoint.input
    mean, std = torch.tensor(run.mean), torch.tensor(run.std)
    factor, shift = std / torch.tensor(theirs.std), (mean - torch.tensor(theirs.mean)) / torch.tensor(theirs.std)
    return factor.reshape(1, 3, 1, 1), shift.reshape(1, 3, 1, 1)
