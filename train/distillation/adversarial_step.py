"""One adversarial step of phase 1: the student learns from the teacher, the discriminator to tell the two apart.

Both of them step from the same point (simultaneous gradient descent and ascent; the paper gives no order). The
losses are differentiated down to the student's feature maps; there the two gradients are weighed and go on through
the encoder in one backward pass, so that the discriminator gets exactly the gradient of Eq. (2), the student exactly
that of Eq. (3), and adaptive weights cost nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import Tensor

from kda_edge.manifest import InputContract

from ..loops.parallel import mean_everywhere, set_share, wrapped
from ..loops.run_state import clones
from ..optimisation.optimizers import decay_groups, set_rates
from .config import DistillConfig
from .discriminator import ROLES
from .distillation_models import DistillationModels
from .feature_cache import FeatureCache, pixels_digest
from .losses import aligned_divergence, balanced_score_weight, score_distance

if TYPE_CHECKING:
    from lightning_fabric import Fabric

FIGURES: Final = (  # what is logged of each epoch, means over its steps
    "divergence",  # KL(O_T, O_S)
    "distance",  # MSE(D_T, D_S), 0..1
    "score_teacher",  # D_T, 0..1
    "score_student",  # D_S, 0..1
    "score_weight",
    "gradient_norm_student",
    "gradient_norm_discriminator",
    "variance_teacher",  # of the features over batch and positions, mean over channels
    "variance_student",
)


class AdversarialStep:
    """The step of phase 1, taken batch by batch: student, discriminator and their optimizers.

    Args:
        models: of the settings; those that learn are changed.
        config: settings.
        contract: the pixels, as they are normalised for the student.
        fabric: of the process.
    """

    def __init__(
        self, models: DistillationModels, config: DistillConfig, contract: InputContract, fabric: Fabric
    ) -> None:
        self.config, self.fabric, self.teacher = config, fabric, models.teacher
        self.aligned, self.adversary = models.student, models.discriminator
        decay = config.weight_decay
        self.student: Any = wrapped(fabric, self.aligned)
        self.student_optimizer = torch.optim.AdamW(decay_groups(self.aligned, "student"), weight_decay=decay)
        if self.adversary is not None:
            self.discriminator: Any = wrapped(fabric, self.adversary)
            self.discriminator_optimizer = torch.optim.AdamW(
                decay_groups(self.adversary, "discriminator"), weight_decay=decay, maximize=True
            )
        device = fabric.device
        low, high = contract.value_range
        self.scale = torch.tensor(contract.std, device=device).reshape(1, 3, 1, 1) / (high - low)
        self.shift = (torch.tensor(contract.mean, device=device).reshape(1, 3, 1, 1) - low) / (high - low)
        self.cache: FeatureCache | None = None

    def take(self, image: Tensor, slots: list[int]) -> list[float]:
        """Step on a batch and return `FIGURES`; nothing is changed where one of them is not finite.

        Args:
            image: normalised for the student, (B, 3, S, S).
            slots: of the crops in the cache.
        """
        config, fabric = self.config, self.fabric
        targets = self._targets(image, slots)
        set_share(self.aligned, config.batch, fabric)
        outputs: list[Tensor] = self.student(image)
        features = [one.detach().requires_grad_() for one in outputs]
        divergence = aligned_divergence(features, targets, config.temperature)
        gradients = list(torch.autograd.grad(divergence, features))
        figures = [float(divergence.detach()), 0.0, 0.0, 0.0, 0.0]
        discriminator_norm = 0.0
        gradients[:-1] = [config.weights[0] * one for one in gradients[:-1]]
        if self.adversary is None:
            gradients[-1] = config.weights[0] * gradients[-1]
        else:
            teacher_score, student_score = self.discriminator([targets[-1], features[-1]], ROLES)
            distance = score_distance(teacher_score, student_score)
            self.discriminator_optimizer.zero_grad(set_to_none=True)
            fabric.backward(distance)
            pull = features[-1].grad
            if pull is None:
                raise TypeError("the discriminator gave the student no gradient")
            weight = self._score_weight(gradients[-1], pull)
            gradients[-1] = config.weights[0] * gradients[-1] + weight * pull
            scores = float(teacher_score.detach().mean()), float(student_score.detach().mean())
            figures[1:] = [float(distance.detach()), *scores, weight]
            discriminator_norm = _norm(self.adversary.parameters())
        self.student_optimizer.zero_grad(set_to_none=True)
        surrogate = torch.stack([(one * g).sum() for one, g in zip(outputs, gradients, strict=True)]).sum()
        fabric.backward(surrogate)
        norm = float(torch.nn.utils.clip_grad_norm_(self.aligned.parameters(), config.clip_norm or math.inf))
        figures += [norm, discriminator_norm, _variance(targets[-1]), _variance(features[-1].detach())]
        if all(map(math.isfinite, figures)):
            self.student_optimizer.step()
            if self.adversary is not None:
                self.discriminator_optimizer.step()
        return figures

    def set_rates(self, step: int, steps_an_epoch: int) -> None:
        """Give student and discriminator the rates of a step."""
        total = steps_an_epoch * self.config.epochs
        warmup = steps_an_epoch * self.config.warmup_epochs
        rates = {"student": self.config.student_rate}
        set_rates(self.student_optimizer, step, rates, total_steps=total, warmup_steps=warmup)
        if self.adversary is not None:
            rates = {"discriminator": self.config.discriminator_rate}
            set_rates(self.discriminator_optimizer, step, rates, total_steps=total, warmup_steps=0)

    def encoder_state(self) -> dict[str, Tensor]:
        """Return the encoder's weights."""
        return dict(self.aligned.encoder.state_dict())

    def state(self) -> dict[str, Any]:
        """Return all that changes in a step; the frozen models are opened again."""
        state: dict[str, Any] = {
            "student": clones(self.aligned.state_dict()),
            "student_optimizer": self.student_optimizer.state_dict(),
        }
        if self.adversary is not None:
            state["discriminator"] = clones(self.adversary.learned())
            state["discriminator_optimizer"] = self.discriminator_optimizer.state_dict()
        return state

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to what `state` returned."""
        self.aligned.load_state_dict(state["student"])
        self.student_optimizer.load_state_dict(state["student_optimizer"])
        if self.adversary is not None:
            self.adversary.load_state_dict(state["discriminator"], strict=False)
            self.discriminator_optimizer.load_state_dict(state["discriminator_optimizer"])

    @torch.no_grad()
    def _targets(self, image: Tensor, slots: list[int]) -> list[Tensor]:
        digests = [pixels_digest(one) for one in image.cpu()] if self.cache is not None else []
        if self.cache is not None:
            kept = self.cache.get(slots, digests)
            if kept is not None:
                return [one.to(image.device) for one in kept]
        with self.fabric.autocast():
            share = (image * self.scale + self.shift).clamp(0, 1)
            targets = [one.float() for one in self.teacher(share)]
        if self.cache is not None:
            self.cache.put(slots, digests, targets)
            targets = [one.half().float() for one in targets]  # as they will come back: a resumed run is then exact
        return targets

    def _score_weight(self, divergence_gradient: Tensor, distance_gradient: Tensor) -> float:
        if self.config.balance == "fixed":
            return self.config.weights[1]
        squares = [float(g.float().square().sum()) for g in (divergence_gradient, distance_gradient)]
        divergence, distance = (math.sqrt(s) for s in mean_everywhere(self.fabric, squares))
        return balanced_score_weight(divergence, distance, weights=self.config.weights)


def _norm(parameters: Iterator[torch.nn.Parameter]) -> float:
    squares = [p.grad.float().square().sum() for p in parameters if p.grad is not None]
    return float(torch.stack(squares).sum().sqrt())


def _variance(features: Tensor) -> float:
    return float(features.float().var(dim=(0, 2, 3), correction=0).mean())
