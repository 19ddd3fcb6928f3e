"""Steps of phase 2 to be timed: forward and backward pass of a copy of the student on noise."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch

from kda_edge.networks.network import Network

from ..loops.compute_choice import Compute, TrialSize
from ..loops.devices import wait_for
from .losses import LossWeights, segmentation_loss

SMALLEST_PX = 64  # side of the crops: the coarsest map still has more than one position


class SegmentationTrial:
    """Makes steps of phase 2 for `compute_of`; nothing that they change is the run's.

    Args:
        student: of the run, on its device; copied.
        loss: weights of the terms.
    """

    def __init__(self, student: Network, loss: LossWeights) -> None:
        self.student, self.loss = copy.deepcopy(student).train(), loss

    def __call__(self, compute: Compute, size: TrialSize) -> Callable[[], None]:
        """Return a step on noise, ready to be timed."""
        student = self.student.to(memory_format=compute.torch_format)
        device = next(student.parameters()).device
        shape = (size.crops, size.side_px, size.side_px)
        labels = torch.randint(0, 2, shape, device=device, dtype=torch.uint8)
        image = torch.randn(size.crops, 3, *shape[1:], device=device).to(memory_format=compute.torch_format)

        def step() -> None:
            with compute.autocast(device):
                logit = student(image)
            torch.autograd.backward(segmentation_loss(logit, labels, self.loss))
            student.zero_grad(set_to_none=True)
            wait_for(device)

        return step
