"""One part of a GPU report, run in the process that the report starts for it.

    python -m kda_edge.benchmarks.gpu.part_run NAME --task FILE.json

It defines no class: as the process's main module it is another one than that which others would import.
"""

from __future__ import annotations

import argparse
import importlib
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from kda_edge.commands import EXIT_ERROR, ended

from .part_file import PartFile, Status, write_part
from .parts import NOT_POSSIBLE, OUT_OF_MEMORY, PARTS, Findings, Part, Task, is_out_of_memory, reason_of

ORPHAN_CHECK_S: Final = 1.0


def run_part(
    part: Part, task: Task, run: Callable[[Task, Findings], None], *, clock: Callable[[], float] = time.perf_counter
) -> PartFile:
    """Run a part in this process and return its file, which is written after every case and at the end.

    Args:
        part: that runs.
        task: what it is told.
        run: does it.
        clock: in seconds.
    """
    start = clock()
    findings = Findings(start + task.seconds, clock=clock)

    def content(status: Status, reason: str) -> PartFile:
        taken, found = clock() - start, findings.result(part.name)
        return PartFile(part.name, status, reason, task.rehearsal, task.card, taken, tuple(findings.left_out), found)

    def save() -> None:
        write_part(task.out, content("unfinished", "it was stopped before its end; run the report again to go on"))

    findings.save = save
    save()
    status: Status = "done"
    reason = ""
    try:
        run(task, findings)
    except NOT_POSSIBLE as error:
        status, reason = ("failed", OUT_OF_MEMORY) if is_out_of_memory(error) else ("not_possible", reason_of(error))
    except Exception as error:  # a part may fail in every way that a driver can; the next part runs all the same
        traceback.print_exc()
        status, reason = "failed", OUT_OF_MEMORY if is_out_of_memory(error) else reason_of(error)
    if status == "done" and findings.failures:
        status, reason = "failed", "; ".join(findings.failures)
    whole = content(status, reason)
    write_part(task.out, whole)
    return whole


def main(argv: Sequence[str] | None = None) -> int:
    """Run one part; return 0 where it is well, else 1."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=list(PARTS))
    parser.add_argument("--task", type=Path, required=True, metavar="FILE.json")
    options = parser.parse_args(argv)
    end_with_parent(os.getppid())

    def run() -> int:
        task, part = Task.from_json(options.task.read_text(encoding="utf-8")), PARTS[options.part]
        module: Any = importlib.import_module(f"..{part.module}", __package__)
        return 0 if run_part(part, task, module.run).is_well else EXIT_ERROR

    return ended(options.part, run)


def end_with_parent(parent: int) -> None:
    """Have this process, and what it started, end when its parent is gone: a killed report leaves nothing running."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(ORPHAN_CHECK_S)
        os.killpg(os.getpgrp(), signal.SIGKILL)

    if os.getpgrp() == os.getpid():  # the report made it the head of its group; else the group is not ours to end
        threading.Thread(target=watch, name="parent-watch", daemon=True).start()


if __name__ == "__main__":
    sys.exit(main())
