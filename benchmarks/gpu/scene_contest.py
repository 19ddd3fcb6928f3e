"""The part `scene`: a scene from file to map by `kda-infer` on the card, against PyTorch and MONAI on the same card.

All map in turns, each in a process of its own. Where `kda-infer` has no engine for the card, the others are measured
alone and that is said. How long its engine is busy and where the host's time goes is asked of `kda-bench scene`.
"""

from __future__ import annotations

import importlib.util
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

from kda_edge.errors import KdaEdgeError
from kda_edge.runtime.engines.artifact import read_artifact
from kda_edge.runtime.hardware.usable_cores import usable_cores

from ..contest.contestant_process import ContestProcess, MeasuredLap
from ..contest.map_agreement import agreement_of
from ..contestants.by_name import MONAI, OURS
from ..contestants.task import MappingTask
from ..measuring.percentiles import percentiles_of
from ..reporting.result import Figure, read_result
from .models import BUNDLED, artifact_of, checkpoint_of, students
from .part_process import LOGS, run_limited
from .parts import Findings, NotPossibleHere, Task, is_out_of_memory, reason_of

ROUNDS: Final = 3
PACKAGES: Final = ("rasterio", "cv2")
COMPILED_BATCH: Final = 16
REHEARSAL_PX: Final = (256, 640)  # height and width: three tiles, of which the middle one has data everywhere
OVERLAP_SHARE: Final = 4  # of a tile, as kda-infer's default
COMPILED: Final = "torch-compile"
EACH_S: Final = 6.0  # that opening a contestant takes at least
COMPILE_S: Final = 30.0  # and one that compiles
Open: TypeAlias = Callable[[str, MappingTask, Path], ContestProcess]


@dataclass(frozen=True)
class Entry:
    """A contestant and how it runs.

    Attributes:
        name: of the contestant.
        precision: that it computes in.
        engine: of kda-infer; empty for the others.
    """

    name: str
    precision: str
    engine: str = ""

    @property
    def label(self) -> str:
        """In figures."""
        return f"{self.name} {self.engine + ' ' if self.engine else ''}{self.precision}"


def entries(task: Task) -> list[Entry]:
    """Return who runs, in the order of their value."""
    if task.rehearsal or task.device == "cpu":
        on_cpu = ["torch-eager"] if task.rehearsal else ["torch-eager", MONAI]
        return [Entry(OURS, "fp32", "cpu"), *(Entry(peer, "fp32") for peer in on_cpu)]
    engines = [engine for engine, module in (("cuda", ""), ("tensorrt", "tensorrt")) if not module or _has(module)]
    ours = [Entry(OURS, precision, engine) for engine in engines for precision in ("fp16", "fp32")]
    # Compiling takes most of the time and comes last.
    peers = [Entry(peer, precision) for precision in ("fp16", "fp32") for peer in ("torch-eager", MONAI)]
    return [*ours, *peers, *(Entry(COMPILED, precision) for precision in ("fp16", "fp32"))]


def _has(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def run(task: Task, findings: Findings, *, opened: Open = ContestProcess) -> None:
    """Let everybody map the scene in turns, then ask where our own time goes.

    Raises:
        NotPossibleHere: a package that reads scenes is missing.
    """
    missing = [name for name in PACKAGES if not _has(name)]
    if missing:
        raise NotPossibleHere(f"{', '.join(missing)} not installed, without which no scene can be read")
    scene = scene_of(task)
    mpx = _mpx(scene)
    findings.settings |= {"scene": scene.name if task.scene else "generated from a seed", "mpx": mpx}
    with ExitStack() as stack:
        running: dict[str, ContestProcess] = {}
        laps_s: list[float] = []  # of those that run already: the time of a round is kept for them
        for number, entry in enumerate(entries(task)):
            opening_s = 0.0 if task.rehearsal else COMPILE_S if entry.name == COMPILED else EACH_S
            own_s = 2 * max(laps_s, default=0.0)  # to warm up, and in the round
            if not findings.has_time_for(entry.label, opening_s + own_s + sum(laps_s)):
                continue
            log = task.out / LOGS / f"scene_{number}.log"
            try:
                process = opened(entry.name, mapping_task(entry, task), log)
                running[entry.label] = stack.enter_context(process)
                start_s = findings.clock()
                process.run(scene, task.out / "scene" / "warm_up")  # the first pays for what is done once
                laps_s.append(findings.clock() - start_s)
            except (KdaEdgeError, NotPossibleHere) as error:
                running.pop(entry.label, None)
                said = "the memory of the card does not suffice" if is_out_of_memory(error) else reason_of(error)
                findings.notes.append(f"{entry.label}: not possible here ({said})")
        if not running:
            raise NotPossibleHere(f"nobody can map here: {'; '.join(findings.notes)}")
        findings.settings["contestants"] = {label: dict(one.settings) for label, one in running.items()}
        _race(running, scene, mpx, task, findings)
    for entry in entries(task):
        if entry.engine and entry.label in running:
            _phases(entry, scene, task, findings)
            break


def scene_of(task: Task) -> Path:
    """Return the scene that was given, or one from a seed, written once."""
    if task.scene is not None:
        return task.scene
    from ..measuring.generated_scene import HEIGHT_PX, WIDTH_PX, write_scene

    height_px, width_px = REHEARSAL_PX if task.rehearsal else (HEIGHT_PX, WIDTH_PX)
    path = task.out / "scene" / f"generated_{width_px}x{height_px}.tif"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path if path.is_file() else write_scene(path, width_px=width_px, height_px=height_px)


def _mpx(scene: Path) -> float:
    from kda_edge.runtime.geo.gdal import open_raster

    with open_raster(scene) as dataset:
        return float(dataset.height * dataset.width / 1e6)


def mapping_task(entry: Entry, task: Task) -> MappingTask:
    """Return what a contestant does: the bundled student, for our engines as the artifact of that precision.

    Raises:
        NotPossibleHere: there is no such artifact.
    """
    student = next(one for one in students(task) if one.name == BUNDLED)
    artifact = artifact_of(student, entry.precision if entry.name == OURS else "fp32", task.out)
    if artifact is None:
        raise NotPossibleHere(f"{entry.label}: there is no artifact; see the part models")
    return MappingTask(
        artifact=artifact,
        checkpoint=checkpoint_of(student, task.out),
        bands=(1, 2, 3),
        overlap_px=read_artifact(artifact).manifest.tile_px // OVERLAP_SHARE,
        threads=1 if task.rehearsal else usable_cores(),
        batch=COMPILED_BATCH if entry.name == COMPILED else (2 if task.rehearsal else None),
        engine=entry.engine or "cpu",
        device=task.device,
        precision=entry.precision,
    )


def _race(running: Mapping[str, ContestProcess], scene: Path, mpx: float, task: Task, findings: Findings) -> None:
    """Let each map once a round while time is left; one round at least."""
    laps: dict[str, list[MeasuredLap]] = {label: [] for label in running}
    before = list(findings.figures)
    for number in range(1 if task.rehearsal else ROUNDS):
        start_s = findings.clock()
        for label, process in running.items():
            laps[label].append(process.run(scene, task.out / "scene" / label.replace(" ", "_")))
        findings.figures = before + lap_figures(laps, mpx)
        findings.save()
        if findings.remaining_s() < findings.clock() - start_s and number + 1 < ROUNDS:
            findings.notes.append(f"{number + 1} of {ROUNDS} rounds, since no time was left")
            break
    maps = {label: mine[-1].lap.map_path for label, mine in laps.items()}
    tile_px = read_artifact(None).manifest.tile_px
    _judge_maps({label: path for label, path in maps.items() if path is not None}, tile_px, findings)
    findings.save()


def lap_figures(laps: Mapping[str, Sequence[MeasuredLap]], mpx: float) -> list[Figure]:
    """Return what the laps of each contestant took."""
    figures = []
    for label, mine in laps.items():
        of = {"contestant": label}
        wall = percentiles_of([lap.lap.seconds for lap in mine]).p50
        figures += [
            Figure.from_interval("wall.p50", wall, "s", "lower", of),
            Figure.from_interval("throughput", wall.inverse(mpx), "Mpx/s", "higher", of),
            Figure("processor.p50", statistics.median(lap.cpu_s for lap in mine), "s", "lower", of),
            Figure("tiles", mine[-1].lap.tiles, "", "neither", of),
        ]
    return figures


def _judge_maps(maps: Mapping[str, Path], tile_px: int, findings: Findings) -> None:
    """Add how far each map lies from the first, ours where we ran; one of another network fails the part."""
    if len(maps) < 2:
        return
    (first, first_map), *others = maps.items()
    for label, path in others:
        found = agreement_of(first_map, path, tile_px=tile_px, overlap_px=tile_px // OVERLAP_SHARE)
        of: dict[str, str | int] = {"contestant": label, "against": first}
        findings.figures.append(Figure("agreement.alone_max_steps", found.alone_max_steps, "1/254", "lower", of))
        findings.figures.append(Figure("agreement.same_class", found.same_class, "", "higher", of))
        if not found.is_same_network(exact=label.endswith("fp32") and first.endswith("fp32")):
            findings.failures.append(f"the map of {label} is not that of {first}: {found.sentence()}")


def _phases(entry: Entry, scene: Path, task: Task, findings: Findings) -> None:
    """Add how long our engine is busy, and what each phase of the host takes."""
    if not findings.has_time_for("phases of the host", EACH_S):
        return
    out = task.out / "scene" / "phases.json"
    out.unlink(missing_ok=True)
    artifact = mapping_task(entry, task).artifact
    words: list[Any] = [sys.executable, "-m", "kda_edge.benchmarks.cli", "scene", scene, "--model", artifact]
    words += ["--engine", entry.engine, "--repeats", "1", "--json", out]
    ended = run_limited([str(word) for word in words], task.out / LOGS / "scene_phases.log", findings.remaining_s())
    if not out.is_file():
        findings.left_out.append(f"phases of the host: {ended.last_line or 'no time was left'}")
        return
    for figure in read_result(out).figures:
        if figure.name.startswith(("phase.", "engine.busy", "memory.")):
            of = {"contestant": entry.label}
            findings.figures.append(Figure(figure.name, figure.value, figure.unit, figure.better, of))
