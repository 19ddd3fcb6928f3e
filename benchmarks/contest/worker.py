"""The process of one contestant: its threads, its memory and its libraries touch no other.

It reads a task from stdin, opens the contestant, and then runs a lap for each further line; it answers each line with
one line of JSON on stdout. Started by `kda_edge.benchmarks.contest.contestant_process`.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TextIO

from kda_edge.commands import ended
from kda_edge.errors import KdaEdgeError

from ..contestants.by_name import open_contestant
from ..contestants.task import Contestant, MappingTask
from ..sensors.peak_memory import peak_rss_mb, reset_peak


def main() -> int:
    """Serve laps until stdin ends; return 0, 1 where the contestant can't run, or 130 after Ctrl-C."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")  # ours alone: libraries print to stdout
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return ended("contestant", lambda: serve(sys.stdin, answers, open_contestant))


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
    reset_peak()
    cpu_start = time.process_time()
    lap = contestant.run(scene_path, out_dir)
    plain = dataclasses.asdict(lap) | {"map_path": None if lap.map_path is None else str(lap.map_path)}
    return plain | {"cpu_s": time.process_time() - cpu_start, "peak_mb": peak_rss_mb() or 0.0}


if __name__ == "__main__":
    raise SystemExit(main())
