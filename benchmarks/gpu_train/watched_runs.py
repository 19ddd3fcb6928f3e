"""Runs of `kda-train`, watched, on imagery that is made from a seed."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

from kda_edge.commands import EXIT_INTERRUPTED
from kda_edge.whole_files import write_whole

from ..gpu.part_process import LOGS, Ended
from ..gpu.parts import Task

FOLDER: Final = "training"
SCENE_PX: Final = 1408  # below the two million pixels that kda-train keeps in memory
REHEARSAL_SCENE_PX: Final = 320
WORKERS: Final = 8
Start: TypeAlias = Callable[[Sequence[str], Path, float], Ended]  # command, log, seconds


def watched(name: str, words: Sequence[str], watch: Sequence[str], task: Task, *, limit_s: float, start: Start) -> Any:
    """Run kda-train watched; return what was seen, or in a clause why nothing was.

    Args:
        name: of its files.
        words: of kda-train.
        watch: limits, as `train_command` takes them.
        task: where its files go.
        limit_s: after which it is killed.
        start: starts the command.
    """
    seen, log = task.out / FOLDER / f"{name}.json", task.out / LOGS / f"training_{name}.log"
    seen.unlink(missing_ok=True)
    command = [sys.executable, "-m", "kda_edge.benchmarks.gpu_train.train_command", "--watch", str(seen)]
    ended = start([*command, *watch, "--", *words], log, limit_s)
    if not seen.is_file():
        return f"over its {limit_s:.0f} s" if ended.timed_out else f"{ended.last_line or f'exit code {ended.code}'}"
    found = json.loads(seen.read_text(encoding="utf-8"))
    wanted = (EXIT_INTERRUPTED,) if watch and not found["error"] else (0, EXIT_INTERRUPTED)
    return found if found["code"] in wanted or found["error"] else ended.last_line or f"exit code {found['code']}"


def data_file(task: Task, draws: int) -> Path:
    """Write a labelled scene from a seed, and a TOML file of so many crops an epoch; return the latter."""
    from ..measuring.generated_scene import write_labelled_scene

    root, side_px = task.out / FOLDER / "data", REHEARSAL_SCENE_PX if task.rehearsal else SCENE_PX
    if not (root / "masks" / "scene.tif").is_file():
        write_labelled_scene(root, side_px=side_px)
    path = task.out / FOLDER / f"data_{draws}.toml"
    lines = ["[[source]]", 'name = "generated"', 'root = "data"', 'layout = "scenes"', "mask_landslide = [1]"]
    lines += [f"draws = {draws}", f"windows = {{ train = [0, 0, {side_px}, {side_px}] }}"]
    write_whole(path, ("\n".join(lines) + "\n").encode())
    return path


def machine_options(task: Task) -> list[str]:
    """Return what kda-train is told of the machine."""
    workers = 0 if task.rehearsal else min(WORKERS, os.cpu_count() or 1)
    # Not `auto`: its trial costs seconds of each run, and memory that would count as the run's.
    memory_format = "channels_last" if task.device == "cuda" else "contiguous"
    return ["--device", task.device, "--workers", str(workers), "--memory-format", memory_format]


def remove_run(folder: Path) -> None:
    """Delete what an interrupted run left, so that the command starts anew."""
    for path in folder.glob("*") if folder.is_dir() else ():
        if path.is_file():
            path.unlink()
