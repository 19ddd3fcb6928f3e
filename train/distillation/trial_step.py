"""Steps of phase 1 to be timed: forward and backward pass of teacher, student and discriminator on noise."""

from __future__ import annotations

from collections.abc import Callable

import torch

from ..loops.compute_choice import Compute, TrialSize
from ..loops.devices import wait_for
from .discriminator import ROLES
from .distillation_models import DistillationModels
from .losses import aligned_divergence, score_distance


class DistillationTrial:
    """Makes steps of phase 1 for `compute_of`; nothing that they change is the run's.

    The frozen models are the run's own, and change nothing but their memory format.

    Args:
        models: of the run, on its device; those that learn are copied.
        temperature: of the divergence.
        taught: whether a step asks the teacher; where its features are cached, hardly any does.
    """

    def __init__(self, models: DistillationModels, temperature: float, *, taught: bool) -> None:
        self.models, self.temperature, self.taught = models.with_copies_of_learners(), temperature, taught

    def __call__(self, compute: Compute, size: TrialSize) -> Callable[[], None]:
        """Return a step on noise, ready to be timed."""
        models = self.models.in_format(compute.torch_format)
        device = models.teacher.mean.device
        pixels = torch.rand(size.crops, 3, size.side_px, size.side_px, device=device)
        image = pixels.to(memory_format=compute.torch_format)
        features = [torch.randn(size.crops, *shape, device=device) for shape in models.shapes]

        def step() -> None:
            with compute.autocast(device):
                with torch.no_grad():
                    targets = models.teacher(image) if self.taught else features
                outputs = models.student(image)
                loss = aligned_divergence(outputs, targets, self.temperature)
                if models.discriminator is not None:
                    loss = loss + score_distance(*models.discriminator([targets[-1], outputs[-1]], ROLES))
            torch.autograd.backward(loss)
            for learner in models.learners:
                learner.zero_grad(set_to_none=True)
            wait_for(device)

        return step
