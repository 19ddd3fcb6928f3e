"""The state of a training run: all that it needs to go on exactly where it was, and the average of its weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from kda_edge.errors import TrainingError
from kda_edge.networks.checkpoint import read_content

from ..data.data_file import DataSet
from .compute_choice import Compute
from .schedules import ema_decay
from .settings import AUTO, SPEED_ONLY, RunSettings

# Settings that older runs don't have, and the values that mean what those runs did.
ADDED_LATER: Final = {"memory_format": (AUTO, "contiguous")}


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


def state_of_run(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    average: WeightAverage,
    *,
    epochs_done: int,
    step: int,
    best_iou: float,
    settings: Mapping[str, Any],
    compute: Compute,
) -> dict[str, Any]:
    """Return the one dict that resumes; random generators are not in it, since they are functions of the epoch."""
    return {
        "epochs_done": epochs_done,
        "step": step,
        "best_iou": best_iou,
        "settings": dict(settings),
        "compute": dataclasses.asdict(compute),
        "network": clones(network.state_dict()),
        "average": clones(average.average),
        "optimizer": optimizer.state_dict(),
    }


def restore_run(
    state: Mapping[str, Any], network: nn.Module, optimizer: torch.optim.Optimizer, average: WeightAverage
) -> None:
    """Put network, optimizer and average back to where `state_of_run` saw them."""
    network.load_state_dict(state["network"])
    optimizer.load_state_dict(state["optimizer"])
    for key, value in average.average.items():
        value.copy_(state["average"][key])


def clones(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return copies of tensors, on the CPU and contiguous whatever format the run computes in."""
    return {key: value.detach().cpu().clone(memory_format=torch.contiguous_format) for key, value in state.items()}


def settings_of(config: RunSettings, data: DataSet) -> dict[str, Any]:
    """Return what must be equal for a run to be resumed: settings that decide the weights, and samples by name.

    Args:
        config: of either phase.
        data: what it learns from.
    """
    settings = dataclasses.asdict(config)
    for speed_only in SPEED_ONLY:
        settings.pop(speed_only, None)
    settings["samples"] = [f"{s.source.name}/{s.group}/{s.image.name}" for s in data.samples["train"]]
    settings["input"] = dataclasses.asdict(data.input)
    return settings


def run_of(last: Path, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the run that a file holds.

    Raises:
        TrainingError: it holds none, or one with other settings; the first that differs is named.
    """
    run = read_content(last).get("run")
    if not isinstance(run, dict):
        raise TrainingError(f"{last} holds no run to resume; start in another folder with --out")
    recorded = run["settings"]
    changed = sorted(
        key
        for key, value in settings.items()
        if (recorded[key] != value if key in recorded else value not in ADDED_LATER.get(key, ()))
    )
    if changed:
        raise TrainingError(
            f"{last} was trained with another {changed[0]}; resume with the same settings, or use --out"
        )
    return run
