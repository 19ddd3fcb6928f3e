"""Prove and measure everything on a GPU, in parts, within minutes; each part in a process and a file of its own.

    python -m kda_edge.benchmarks.gpu.gpu_report --out DIR --prepare          anywhere, before the visit: no GPU
    python -m kda_edge.benchmarks.gpu.gpu_report --out DIR --minutes 8        on the card
    python -m kda_edge.benchmarks.gpu.gpu_report --out DIR --device cpu --rehearsal

DIR/<part>.json holds what a part found. The same command started again goes on: a part that ran whole on this card,
with this driver and version, is not run again. A part that fails does not stop the next. Exit code: 0 each part ran, or
is not possible here and says why; 1 one failed or had no time; 2 wrong usage; 130 interrupted.
How to run it on each machine, and how its figures get into the documents: docs/benchmarking.md.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Final, TypeAlias

from kda_edge.commands import EXIT_ERROR, ended
from kda_edge.errors import UsageError
from kda_edge.standard_streams import with_steady_streams

from ..commands.options import positive_number
from ..reporting.text_tables import table_of
from .facts import card_of
from .part_file import PartFile, path_of, read_part, write_part
from .part_process import run_in_process
from .parts import PARTS, Part, Task

PROGRAM: Final = "gpu-report"
MINUTES: Final = 8.0
REHEARSAL_MINUTES: Final = 40.0  # it takes two; a busy machine is no fault
LEAST_S: Final = 10.0  # below, no part is started: importing PyTorch takes as long
WITH_DATA: Final = "student"  # the part that is left out unless there is imagery to train on
Run: TypeAlias = Callable[[Part, Task], PartFile]


@with_steady_streams
def main(argv: Sequence[str] | None = None, run: Run = run_in_process) -> int:
    """Run the report; return the exit code.

    Args:
        argv: of the command line; None: this process's.
        run: runs a part and returns its file.
    """
    options = _parser().parse_args(argv)
    for stopping in (signal.SIGTERM, signal.SIGHUP):  # a terminal that goes away is a visit that was cut short
        if signal.getsignal(stopping) is not signal.SIG_IGN:  # as under nohup
            signal.signal(stopping, _interrupted)
    return ended(PROGRAM, lambda: _run(options, run), interrupted="stopped; start the same command again to go on")


def _run(options: argparse.Namespace, run: Run) -> int:
    names = _chosen(options)
    options.out.mkdir(parents=True, exist_ok=True)
    task = Task(
        out=options.out,
        card=card_of("cpu" if options.prepare else options.device),
        rehearsal=options.rehearsal,
        data=options.data,
        scene=options.scene,
        golden=options.golden,
    )
    minutes = options.minutes or (REHEARSAL_MINUTES if options.rehearsal else MINUTES)
    return _report([PARTS[name] for name in names], task, minutes * 60.0, run)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROGRAM, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--out", type=Path, required=True, metavar="DIR", help="folder of the report, and of the students made ready")
    add("--minutes", type=positive_number, help="of the whole report (default: 8; a rehearsal ends by itself)")
    add("--device", choices=("cuda", "cpu"), default="cuda", help="default: cuda")
    add("--parts", nargs="+", choices=list(PARTS), metavar="PART", help=f"default: {' '.join(PARTS)}")
    add("--prepare", action="store_true", help="make the students ready and nothing else; needs no GPU")
    add("--data", type=Path, metavar="FOLDER", help="labelled imagery for the part student (docs/data.md)")
    add("--scene", type=Path, metavar="FILE", help="scene for the part scene (default: one is generated)")
    add("--golden", type=Path, metavar="DIR", help="fill.py and state_dict_shapes.json: weights of base by their rule")
    add("--rehearsal", action="store_true", help="tiny sizes, to see that every part runs; the figures mean nothing")
    return parser


def _chosen(options: argparse.Namespace) -> list[str]:
    for path, option in ((options.data, "--data"), (options.scene, "--scene"), (options.golden, "--golden")):
        if path is not None and not path.exists():
            raise UsageError(f"{option} {path} does not exist; check the path")
    if options.prepare:
        if options.parts:
            raise UsageError("--prepare makes the students ready and runs no part; leave --parts out")
        return ["models"]
    has_data = options.data is not None or options.rehearsal
    asked = options.parts or [name for name in PARTS if has_data or name != WITH_DATA]
    return [name for name in PARTS if name in asked]  # in the order of their value


def _report(parts: Sequence[Part], task: Task, seconds: float, run: Run) -> int:
    deadline = time.monotonic() + seconds
    files = []
    print(f"{PROGRAM}: {task.card.name}{', a rehearsal' if task.rehearsal else ''}", file=sys.stderr, flush=True)
    waiting = [part for part in parts if _finished(part, task) is None]
    for part in parts:
        there = _finished(part, task)
        if there is None:
            left_s = deadline - time.monotonic()
            # What one part leaves goes to all that come after it; the last one takes the rest.
            share = part.share_s / sum(one.share_s for one in waiting)
            waiting.remove(part)
            there = _run_part(part, task, left_s, share, run)
        files.append(there)
        line = f"{part.name}: {there.status}{f' ({there.reason})' if there.reason else ''}, {there.seconds:.0f} s"
        print(f"{PROGRAM}: {line}", file=sys.stderr, flush=True)
    print(summary(files, task))
    well = all(one.is_well for one in files)
    statuses = {one.part: one.status for one in files}
    device = {"card": task.card.name, "device": task.device, "rehearsal": task.rehearsal}
    print(json.dumps({"out": str(task.out), **device, "ok": well, "parts": statuses}), flush=True)
    return 0 if well else EXIT_ERROR


def _finished(part: Part, task: Task) -> PartFile | None:
    """Return the file of a part that need not run again."""
    there = _written(part, task)
    return there if there is not None and there.is_whole else None


def _written(part: Part, task: Task) -> PartFile | None:
    """Return the file that such a run on this card, by this version, wrote of a part; None: there is none."""
    path = path_of(task.out, part.name)
    try:
        there = read_part(path) if path.is_file() else None
    except UsageError:  # of another version, or damaged: run again
        return None
    return there if there is not None and there.is_of(task.card, rehearsal=task.rehearsal) else None


def _run_part(part: Part, task: Task, left_s: float, share: float, run: Run) -> PartFile:
    if left_s < LEAST_S:
        earlier = _written(part, task)
        if earlier is not None and earlier.result is not None:
            return earlier  # what it had measured stands
        there = PartFile(part.name, "not_run", "no time was left; run the report again", task.rehearsal, task.card)
        write_part(task.out, there)
        return there
    return run(part, replace(task, seconds=min(part.rehearsal_s, left_s) if task.rehearsal else left_s * share))


def summary(files: Sequence[PartFile], task: Task) -> str:
    """Return the table for people, with what did not go well below it, and what was left out."""
    rows = [
        (
            one.part,
            one.status.replace("_", " "),
            f"{one.seconds:.0f}",
            str(len(one.result.figures if one.result else ())),
        )
        for one in files
    ]
    lines = [table_of(("part", "status", "seconds", "figures"), rows)]
    lines += [f"- {one.part}: {one.reason}" for one in files if one.reason]
    lines += [f"- {one.part} left out: {what}" for one in files for what in one.left_out[:3]]
    lines += [f"- {one.part} left out {len(one.left_out) - 3} more" for one in files if len(one.left_out) > 3]
    if task.rehearsal or task.device == "cpu":
        lines.append("No figure of this run is one of a GPU.")
    return "\n".join(lines)


def _interrupted(number: int, frame: FrameType | None) -> None:
    del number, frame
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
