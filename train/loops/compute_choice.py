"""Memory format and precision of a training run, chosen by a short timed trial at its start.

Convolutions on a CPU may be several times faster in `channels_last` than in `contiguous` memory, while a transformer
hardly notices; bfloat16 saves time on some processors and costs it on others. So a few forward and backward passes of
each candidate are timed in turns, on copies of what learns, and the run takes the fastest. The choice is recorded with
the run: one that is resumed takes it again, without a trial, and ends with the weights of one that was never cut.
"""

from __future__ import annotations

import logging
import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import torch

from kda_edge.manifest import STRIDE_PX

from .devices import computes_bf16
from .settings import AUTO, MEMORY_FORMATS, PRECISIONS, RunSettings, require_choice

if TYPE_CHECKING:
    from lightning_fabric import Fabric

LOGGER: Final = logging.getLogger(__name__)
ROUNDS: Final = 5  # timed steps of each candidate, after one that is not
SPENT_S: Final = 10.0  # about, on all of them
MARGIN: Final = 0.05  # of the shortest time; among candidates within it the plainest is taken. Unmeasured choice
FEWEST_CROPS: Final = 2  # batch norm over a pooled map needs more than one value a channel
PROBE_PX: Final = 224  # largest side of the crops that tell what the trial can afford
TORCH_FORMATS: Final = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


@dataclass(frozen=True)
class Compute:
    """How a run computes.

    Attributes:
        memory_format: of images, feature maps and kernels: `contiguous` (NCHW) or `channels_last` (NHWC).
        precision: `fp32`, or `bf16` for mixed precision.
    """

    memory_format: str
    precision: str

    def __post_init__(self) -> None:
        require_choice("memory_format", self.memory_format, tuple(TORCH_FORMATS))
        require_choice("precision", self.precision, tuple(name for name in PRECISIONS if name != AUTO))

    def __str__(self) -> str:
        return f"{self.memory_format} {self.precision}"

    @property
    def torch_format(self) -> torch.memory_format:
        """PyTorch's name of the memory format."""
        return TORCH_FORMATS[self.memory_format]

    def autocast(self, device: torch.device) -> torch.autocast:
        """Return the context that forward passes of this precision run in."""
        return torch.autocast(device.type, torch.bfloat16, enabled=self.precision == "bf16")


@dataclass(frozen=True)
class TrialSize:
    """What a step of the trial is given.

    Attributes:
        crops: in its batch.
        side_px: of each crop, a multiple of 32.
    """

    crops: int
    side_px: int


# Makes a step of a candidate ready, untimed; the step runs forward and backward and waits for the device.
StepMaker = Callable[[Compute, TrialSize], Callable[[], None]]


@dataclass(frozen=True)
class Trial:
    """What the trial measured.

    Attributes:
        size: of each step.
        seconds: of a step, the median, by candidate; infinite where the device's memory did not suffice.
    """

    size: TrialSize
    seconds: Mapping[Compute, float]

    @property
    def chosen(self) -> Compute:
        """The fastest candidate; of those that are as good as equal the first."""
        longest = min(self.seconds.values()) * (1 + MARGIN)
        return next(compute for compute, seconds in self.seconds.items() if seconds <= longest)

    def __str__(self) -> str:
        figures = ", ".join(f"{compute} {seconds:.3g} s" for compute, seconds in self.seconds.items())
        return f"computing in {self.chosen}; a step of {self.size.crops} crops of {self.size.side_px} px: {figures}"


def candidates_of(settings: RunSettings, device: torch.device) -> list[Compute]:
    """Return what a run may compute in, plainest first: what its settings say, and for `auto` all that is worth a try.

    Bfloat16 is worth one where the device multiplies it in hardware.
    """
    formats, precisions = [settings.memory_format], [settings.precision]
    if settings.memory_format == AUTO:
        formats = [name for name in MEMORY_FORMATS if name != AUTO]
    if settings.precision == AUTO:
        precisions = ["fp32", *(["bf16"] if computes_bf16(device) else [])]
    return [Compute(memory_format, precision) for precision in precisions for memory_format in formats]


def recorded_compute(run: Mapping[str, Any], settings: RunSettings, device: torch.device) -> Compute:
    """Return what a run that is resumed was begun in.

    Runs from before there was a choice were contiguous, and `auto` took bfloat16 wherever the device multiplies it.
    """
    if "compute" in run:
        return Compute(**run["compute"])
    mixed = settings.precision == "bf16" or (settings.precision == AUTO and computes_bf16(device))
    return Compute("contiguous", "bf16" if mixed else "fp32")


def compute_of(
    settings: RunSettings,
    run: Mapping[str, Any] | None,
    fabric: Fabric,
    make_trial: Callable[[], StepMaker],
    *,
    smallest_px: int,
    suits: Callable[[Compute], bool] = lambda compute: True,
    clock: Callable[[], float] = time.perf_counter,
) -> Compute:
    """Return what a run computes in: as it was recorded, as its settings say, or by a trial of about `SPENT_S`.

    The trial leaves weights, batch statistics and random generators as they were, and is logged in a line. Of several
    processes the first one tries, and all do as it found.

    Args:
        settings: of the run.
        run: what is resumed; None: nothing.
        fabric: launched.
        make_trial: copies what learns and returns what makes steps of it; called if there is a choice.
        smallest_px: side of a crop down to which the trial may save time.
        suits: candidates for which this is False are tried only if it is of all.
        clock: in seconds.
    """
    if run is not None:
        return recorded_compute(run, settings, fabric.device)
    candidates = candidates_of(settings, fabric.device)
    candidates = [compute for compute in candidates if suits(compute)] or candidates
    chosen = candidates[0]
    if len(candidates) > 1 and fabric.is_global_zero:
        share = math.ceil(settings.batch / fabric.world_size)
        sides_px = min(smallest_px, settings.crop_px), settings.crop_px
        with _undisturbed(fabric.device):
            trial = timed_trial(candidates, make_trial(), batch=share, sides_px=sides_px, clock=clock)
        chosen = trial.chosen
        LOGGER.info("%s", trial)
    return fabric.broadcast(chosen)


def timed_trial(
    candidates: Sequence[Compute],
    make_step: StepMaker,
    *,
    batch: int,
    sides_px: tuple[int, int],
    clock: Callable[[], float] = time.perf_counter,
) -> Trial:
    """Time steps of all candidates in turns, so that a slow second falls on all of them.

    Args:
        candidates: two or more.
        make_step: called anew for each step; its own time does not count.
        batch: most crops a step.
        sides_px: smallest and largest side of a crop; the largest is taken if time allows.
        clock: in seconds.
    """
    smallest_px, side_px = sides_px
    probe = TrialSize(min(FEWEST_CROPS, batch), min(side_px, max(PROBE_PX, smallest_px)))
    step = make_step(candidates[0], probe)
    _seconds_of(step, clock)  # libraries put work off to their first call
    pixels_a_second = probe.crops * probe.side_px**2 / max(_seconds_of(step, clock), 1e-9)
    size = _affordable(pixels_a_second * SPENT_S / (len(candidates) * (1 + ROUNDS)), batch, sides_px)
    times: dict[Compute, list[float]] = {compute: [] for compute in candidates}
    for turn in range(1 + ROUNDS):
        for compute, mine in times.items():
            seconds = _seconds_of(make_step(compute, size), clock)
            if turn:
                mine.append(seconds)
    return Trial(size, {compute: statistics.median(mine) for compute, mine in times.items()})


def _affordable(pixels: float, batch: int, sides_px: tuple[int, int]) -> TrialSize:
    """Return the largest step of about so many pixels: whole crops of the run if it can be, else few smaller ones."""
    smallest_px, side_px = sides_px
    fewest = min(FEWEST_CROPS, batch)
    if pixels >= fewest * side_px**2:
        return TrialSize(min(batch, int(pixels / side_px**2)), side_px)
    smaller_px = int(math.sqrt(pixels / fewest)) // STRIDE_PX * STRIDE_PX
    return TrialSize(fewest, min(side_px, max(smaller_px, smallest_px)))


def _seconds_of(step: Callable[[], None], clock: Callable[[], float]) -> float:
    start = clock()
    try:
        step()
    except torch.OutOfMemoryError:
        return math.inf
    return clock() - start


@contextmanager
def _undisturbed(device: torch.device) -> Iterator[None]:
    """Put the random generators back in the end, and give the trial's memory on a GPU back."""
    on_gpu = device.type == "cuda"
    with torch.random.fork_rng(devices=[device] if on_gpu else []):
        torch.manual_seed(0)
        yield
    if on_gpu:
        torch.cuda.empty_cache()
