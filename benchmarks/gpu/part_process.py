"""The processes that the GPU report starts: each with a time limit, and ended with all that it started itself."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from kda_edge.errors import UsageError
from kda_edge.whole_files import write_whole

from .part_file import PartFile, path_of, read_part, write_part
from .parts import Part, Task

GRACE: Final = 0.1  # of its time, that a part gets beyond it, to put its last case on disk
TASKS: Final = "tasks"
LOGS: Final = "logs"
ONE_THREAD: Final = {"OMP_NUM_THREADS": "1"}  # of a rehearsal: its sizes are so tiny that threads only wait for others


@dataclass(frozen=True)
class Ended:
    """How a process ended.

    Attributes:
        code: its exit code; negative: the signal that ended it.
        timed_out: it was ended since its time was over.
        last_line: of what it said last, for people.
    """

    code: int
    timed_out: bool
    last_line: str


def run_limited(
    words: Sequence[str],
    log: Path,
    limit_s: float,
    *,
    environment: Mapping[str, str] | None = None,
    group: bool = False,
) -> Ended:
    """Run a command, all that it says in a log, and end it at the limit.

    Args:
        words: the command.
        log: file for stdout and stderr.
        limit_s: after which it is killed.
        environment: variables beside this process's.
        group: give it a group of its own and end that, with all that it started. Only a part gets one: what a part
            starts stays in the part's, so that it ends with the part.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as said:
        process = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
            start_new_session=group,
            env=os.environ | dict(environment or {}),
        )
        timed_out = False
        try:
            process.wait(limit_s)
        except subprocess.TimeoutExpired:
            timed_out = True
        finally:
            if group:
                with suppress(ProcessLookupError):  # nobody of it is left
                    os.killpg(process.pid, signal.SIGKILL)
            elif process.poll() is None:
                process.kill()
            process.wait()
    return Ended(process.returncode, timed_out, last_line(log))


def last_line(log: Path) -> str:
    """Return the last line of a log that says anything; empty where there is none."""
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines()]
    return next((line[:300] for line in reversed(lines) if line), "")


def run_in_process(part: Part, task: Task) -> PartFile:
    """Run a part in its own process and return its file, whatever becomes of the process."""
    told = task.out / TASKS / f"{part.name}.json"
    told.parent.mkdir(parents=True, exist_ok=True)
    write_whole(told, task.to_json().encode())
    path_of(task.out, part.name).unlink(missing_ok=True)
    words = [sys.executable, "-m", "kda_edge.benchmarks.gpu.part_run", part.name, "--task", str(told)]
    ended = run_limited(
        words,
        task.out / LOGS / f"{part.name}.log",
        task.seconds * (1 + GRACE),
        environment=ONE_THREAD if task.rehearsal else None,
        group=True,
    )
    content = judged(part, task, ended)
    write_part(task.out, content)
    return content


def judged(part: Part, task: Task, ended: Ended) -> PartFile:
    """Return a part's file after its process has ended: what it wrote, or what its end says."""
    try:
        written = read_part(path_of(task.out, part.name))
    except UsageError:
        written = PartFile(part.name, "unfinished", "it wrote nothing", task.rehearsal, task.card)
    if written.status != "unfinished":
        return written
    if ended.timed_out:
        reason = f"it took longer than its {task.seconds:.0f} s; what it measured until then stands"
        return replace(written, status="failed", reason=reason, seconds=task.seconds)
    how = f"signal {-ended.code}" if ended.code < 0 else f"exit code {ended.code}"
    return replace(written, status="failed", reason=f"its process ended by {how} ({ended.last_line or 'no word'})")
