"""A ladder of batches: what calls of each size take, how much they map a second, what they cost in energy."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from kda_edge.certificate import Budget, TileParity
from kda_edge.errors import ArtifactError, MissingDependency
from kda_edge.runtime.engines.tile_comparison import beyond

from ..commands.device_profiles import DeviceProfile, profile_of_card
from ..measuring.operation_counts import Work, work_of
from ..measuring.percentiles import percentiles_of
from ..measuring.timing import TimingPlan, measured
from ..reporting.result import Figure
from ..sensors.energy import SHORTEST_S, gpu_meter, metering
from ..sensors.nvml import Gpu, find_gpu
from .parts import Findings, Task, is_out_of_memory

BATCHES: Final = (1, 4, 16, 64)
REHEARSAL_BATCHES: Final = (1, 2)
CASE_S: Final = 2.1  # NVML's counter is then exact enough
REHEARSAL_CASE_S: Final = 0.2
WARM_UP_S: Final = 0.5


@dataclass(frozen=True)
class Case:
    """A model as it is run.

    Attributes:
        of: what its figures are of: model, precision, and mode where there are several.
        tile_px: side of a tile.
        precision: that it computes in.
        work: operations and bytes of a tile; None: not known.
    """

    of: Mapping[str, str | int]
    tile_px: int
    precision: str
    work: Work | None = None

    @property
    def name(self) -> str:
        """For people."""
        return " ".join(str(value) for value in self.of.values())


def batches_of(task: Task) -> Sequence[int]:
    """Return the batches that are measured."""
    return REHEARSAL_BATCHES if task.rehearsal else BATCHES


def case_seconds(task: Task) -> float:
    """Return how long calls of one batch are timed, s."""
    return REHEARSAL_CASE_S if task.rehearsal else CASE_S


def work_of_artifact(path: Path | None, findings: Findings) -> Work | None:
    """Return the operations of a float32 artifact; None, with a note, where they can't be counted."""
    if path is None:
        return None
    try:
        return work_of(path)
    except (MissingDependency, ArtifactError) as error:
        note = f"no share of the card's limit: {error}"
        if note not in findings.notes:
            findings.notes.append(note)
        return None


def climb(
    case: Case,
    call_of: Callable[[int], Callable[[], Any]],
    task: Task,
    findings: Findings,
    *,
    batches: Sequence[int] | None = None,
    find: Callable[[], Gpu | str] = find_gpu,
) -> None:
    """Measure a case with one batch after the other; one that the memory does not hold ends it, and is named.

    Args:
        case: what runs.
        call_of: returns, for a batch, a call that computes it and waits until it is done.
        task: how long.
        findings: what is found goes there.
        batches: other ones than the report's.
        find: the card's meters.
    """
    seconds = case_seconds(task)
    for batch in batches or batches_of(task):
        name = f"{case.name}, batch {batch}"
        if not findings.has_time_for(name, 2 * seconds):
            continue
        try:
            figures = _measured(case, batch, call_of(batch), task, findings, find=find)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            findings.left_out.append(f"{name}: the memory of the card does not suffice")
            break
        findings.figures += figures
        findings.save()


def _measured(
    case: Case,
    batch: int,
    call: Callable[[], Any],
    task: Task,
    findings: Findings,
    *,
    find: Callable[[], Gpu | str],
) -> list[Figure]:
    of, seconds = {**case.of, "batch": batch}, case_seconds(task)
    calls = 0

    def counted() -> None:
        nonlocal calls
        calls += 1
        call()

    call()  # what is done once: memory taken, kernels chosen or compiled
    gpu = find() if task.device == "cuda" else "no card"
    meter = None if isinstance(gpu, str) else gpu_meter(gpu)
    plan = TimingPlan(min_calls=1 << 40, warm_up_limit_s=min(WARM_UP_S, seconds), limit_s=seconds)
    with metering([] if meter is None else [meter]) as spent:
        timing = measured(counted, plan)
    found, noise = percentiles_of(timing.samples_ms), timing.stability.spread
    figures = [
        Figure.from_interval(f"latency.{name}", getattr(found, name), "ms", "lower", of, noise=noise)
        for name in ("p50", "p90", "p99")
    ]
    mpx = batch * case.tile_px**2 / 1e6
    figures.append(
        Figure.from_interval("throughput", found.mean.inverse(mpx * 1e3), "Mpx/s", "higher", of, noise=noise)
    )
    for energy in spent.energies:
        if energy.seconds >= SHORTEST_S:
            figures.append(Figure("energy.per_mpx", energy.joules / (calls * mpx), "J/Mpx", "lower", of))
            figures.append(Figure("energy.power", energy.watts, "W", "neither", of))
    share = _share(case, batch, found.p50.value, task.card.name, findings)
    if share is not None:
        figures.append(Figure("share.of_published_limit", share, "", "neither", of))
    return figures


def _share(case: Case, batch: int, p50_ms: float, card: str, findings: Findings) -> float | None:
    """Return which share of the card's published limit a call reaches; None where card or work are not known."""
    profile: DeviceProfile | None = profile_of_card(card)
    if profile is None:
        note = f"no share of a limit: there is no profile of {card} in benchmarks/devices"
        if note not in findings.notes:
            findings.notes.append(note)
        return None
    if case.work is None:
        return None
    # The bytes of one tile stand for those of the whole batch: the least is understated, and so is the share.
    least_ms = profile.least_ms(case.work.flops * batch, case.work.least_bytes, case.precision)
    return None if least_ms is None else least_ms / p50_ms


def judge(
    case: Case,
    rows: Sequence[TileParity],
    budget: Budget,
    findings: Findings,
    *,
    against: str,
    is_promised: bool = True,
) -> None:
    """Add how far a case's answers lie from the processor's; where they leave the budget, the part has failed.

    Args:
        case: what answered.
        rows: its answers.
        budget: what is allowed.
        findings: where it goes.
        against: what answered on the processor, for the note.
        is_promised: the project promises to keep to the budget; else leaving it is told, and no failure.
    """
    of = case.of
    changes = 1.0 - sum(row.agreement for row in rows) / len(rows)
    said = beyond(rows, budget)
    findings.figures += [
        Figure("parity.max_abs", max(row.max_abs for row in rows), "", "lower", of),
        Figure("parity.class_changes", changes, "", "lower", of),
        Figure("parity.within_budget", 0.0 if said else 1.0, "", "higher", of),
    ]
    if said:
        sentence = f"{case.name} answers otherwise than {against}: {said}"
        (findings.failures if is_promised else findings.notes).append(sentence)
