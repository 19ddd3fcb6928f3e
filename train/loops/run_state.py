"""The state of a training run: all that it needs to go on exactly where it was."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from kda_edge.errors import TrainingError
from kda_edge.networks.checkpoint import read_content

from ..data.data_file import DataSet
from ..optimisation.weight_average import WeightAverage
from .compute_choice import Compute
from .known_data import Known, first_difference
from .settings import AUTO, ENDS_ONLY, SPEED_ONLY, RunSettings

NO_TEACHERS: Final = {"checkpoints": [], "share": 0.6, "temperature": 1.0}
# Settings that older runs don't have, and the values that mean what those runs did.
ADDED_LATER: Final = {"memory_format": (AUTO, "contiguous"), "landslide_share": (None,), "teachers": (NO_TEACHERS,)}
ADDED_INSIDE: Final = {"loss": {"landslide_weight": 1.0}}  # the same of parts of a setting


NOT_RECORDED: Final = "not recorded"


def state_of_run(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    average: WeightAverage,
    *,
    epochs_done: int,
    step: int,
    best_iou: float,
    best_epoch: int,
    settings: Mapping[str, Any],
    compute: Compute,
    lengthened: Sequence[Sequence[int]] = (),
) -> dict[str, Any]:
    """Return the one dict that resumes; random generators are not in it, since they are functions of the epoch."""
    return {
        "epochs_done": epochs_done,
        "step": step,
        "best_iou": best_iou,
        "best_epoch": best_epoch,
        "settings": dict(settings),
        "compute": dataclasses.asdict(compute),
        "lengthened": [list(one) for one in lengthened],
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


def settings_of(config: RunSettings, data: DataSet, known: Known) -> dict[str, Any]:
    """Return what must be equal for a run to be resumed: settings that decide the weights, and the data by content.

    Args:
        config: of either phase.
        data: what it learns from.
        known: the same by content, as `known_data` returns it.
    """
    settings = dataclasses.asdict(config)
    for free in (*SPEED_ONLY, *ENDS_ONLY):
        settings.pop(free, None)
    settings["data"] = known
    # By name, as runs before there was `data` know theirs.
    settings["samples"] = [f"{s.source.name}/{s.group}/{s.image.name}" for s in data.samples["train"]]
    settings["input"] = dataclasses.asdict(data.input)
    return settings


def run_of(last: Path, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the run that a file holds.

    Raises:
        TrainingError: it holds none, or one with other settings or data; the first that differs is told with its old
            and its new value. More epochs than before are no difference: the run is lengthened.
    """
    run = read_content(last).get("run")
    if not isinstance(run, dict):
        raise TrainingError(f"{last} holds no run to resume; start in another folder with --out")
    recorded = run["settings"]
    for key, value in sorted(settings.items()):
        if key == "data" or (key == "samples" and "data" in recorded):
            continue
        old = recorded.get(key, ADDED_LATER.get(key, (NOT_RECORDED,))[-1])
        if isinstance(old, dict):
            old = {**ADDED_INSIDE.get(key, {}), **old}
        same = value in ADDED_LATER.get(key, ()) if key not in recorded else old == value
        if not same and not (key == "epochs" and value > old):
            name, before, now = _innermost(key, old, value)
            raise TrainingError(
                f"{last} was trained with {name} {before}, not {now}; resume with the same settings, or use --out"
            )
    moved = first_difference(recorded["data"], settings["data"]) if "data" in recorded else ""
    if moved:
        raise TrainingError(f"{last} was trained on other data: {moved}; bring back what was, or use --out")
    return run


def lengthened(run: Mapping[str, Any] | None, epochs: int) -> list[list[int]]:
    """Return each time that a run was lengthened: epochs done then, and epochs asked for before and after.

    Schedules are functions of the step and of the epochs asked for: the epochs to come have the rates and crops that a
    run of the new length has there, those that are done keep what they had.

    Args:
        run: as `run_of` returns it; None: a new one.
        epochs: asked for now.
    """
    if run is None:
        return []
    before, earlier = run["settings"]["epochs"], [list(one) for one in run.get("lengthened", [])]
    return earlier if epochs == before else [*earlier, [run["epochs_done"], before, epochs]]


def lengthening(changes: Sequence[Sequence[int]]) -> str:
    """Return how a run was lengthened, for records; empty: it was not."""
    return "".join(f"; lengthened after epoch {done} from {old} to {new} epochs" for done, old, new in changes)


def _innermost(key: str, old: object, new: object) -> tuple[str, object, object]:
    """Return the name of the first value that differs inside two settings, and both values."""
    if isinstance(old, dict) and isinstance(new, dict):
        for name in sorted(old.keys() | new.keys()):
            if old.get(name, NOT_RECORDED) != new.get(name, NOT_RECORDED):
                return _innermost(f"{key}.{name}", old.get(name, NOT_RECORDED), new.get(name, NOT_RECORDED))
    if isinstance(old, list) and isinstance(new, list):
        for number, (one, other) in enumerate(zip(old, new, strict=False)):
            if one != other:
                return f"{key}[{number}]", one, other
        return f"{key}:", len(old), len(new)
    return key, old, new
