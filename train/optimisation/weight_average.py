"""The average of a network's weights over the steps of a run, which is what is judged and kept."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from .schedules import ema_decay


class WeightAverage:
    """Exponential moving average of a network's weights; what is evaluated and kept.

    Args:
        network: whose weights are averaged.
        decay: share of the average that survives a step in the long run; 0 keeps the present weights.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network, self.decay = network, decay
        self.average = {key: value.detach().clone() for key, value in network.state_dict().items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take the network's weights in after a step."""
        keep = ema_decay(step, final=self.decay) if self.decay else 0.0
        for key, value in self.network.state_dict().items():
            if value.is_floating_point():
                self.average[key].lerp_(value, 1 - keep)
            else:  # a counter, of batch norm for one
                self.average[key].copy_(value)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Give the network the average for a while, then its own weights again, bit for bit."""
        own = {key: value.detach().clone() for key, value in self.network.state_dict().items()}
        self.network.load_state_dict(self.average)
        try:
            yield
        finally:
            self.network.load_state_dict(own)
