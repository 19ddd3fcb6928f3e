"""A process of its own for one contestant: its threads, its memory and its libraries touch no other.

It reads a task from stdin, opens the contestant, and then runs a lap for each further line; it answers each line with
one line of JSON on stdout. Started by `kda_edge.benchmarks.contest_process`.
"""

from __future__ import annotations

import dataclasses
import json
import os
import resource
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final, TextIO

from kda_edge.errors import KdaEdgeError

from .contest import Contestant, MappingTask
from .contestants import open_contestant

RESET_PEAK: Final = "5"  # written to /proc/self/clear_refs; see proc(5)


def main() -> int:
    """Serve laps until stdin ends; return 0, or 1 where the contestant can't run."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")  # ours alone: libraries print to stdout
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return serve(sys.stdin, answers, open_contestant)


def serve(requests: Iterable[str], answers: TextIO, opened: Callable[[str, MappingTask], Contestant]) -> int:
    """Answer each request; the first opens the contestant."""
    contestant: Contestant | None = None
    for line in requests:
        request = json.loads(line)
        try:
            if contestant is None:
                start = time.perf_counter()
                contestant = opened(request["contestant"], MappingTask.from_plain(request["task"]))
                answer: dict[str, Any] = {"open_s": time.perf_counter() - start, "settings": contestant.settings}
            else:
                answer = measured_lap(contestant, Path(request["scene"]), Path(request["out_dir"]))
        except KdaEdgeError as error:
            answer = {"error": str(error), "usage": type(error).__name__ == "UsageError"}
        except MemoryError:
            answer = {"error": "memory ran out; give a part of the scene with --rows FIRST:END", "usage": False}
        print(json.dumps(answer), file=answers, flush=True)
        if "error" in answer:
            return 1
    return 0


def measured_lap(contestant: Contestant, scene_path: Path, out_dir: Path) -> dict[str, Any]:
    """Return a lap with the processor time and the largest memory of this process during it."""
    _forget_peak()
    cpu_start = time.process_time()
    lap = contestant.run(scene_path, out_dir)
    plain = dataclasses.asdict(lap) | {"map_path": None if lap.map_path is None else str(lap.map_path)}
    return plain | {"cpu_s": time.process_time() - cpu_start, "peak_mb": _peak_mb()}


def _forget_peak() -> None:
    try:
        Path("/proc/self/clear_refs").write_text(RESET_PEAK, encoding="ascii")
    except OSError:
        return  # another system: the peak is then that since the process began


def _peak_mb() -> float:
    try:
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / 1e6
    except OSError:
        pass
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


if __name__ == "__main__":
    raise SystemExit(main())
