"""Contestants in processes of their own, told when to run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final

from kda_edge.errors import EngineError, UsageError

from ..contestants.task import Lap, MappingTask

END_S: Final = 10  # that a worker gets to end before it is killed


@dataclass(frozen=True)
class MeasuredLap:
    """A lap, and what it cost beside time.

    Attributes:
        lap: as the contestant counts it.
        cpu_s: processor time of the contestant's process, s.
        peak_mb: largest resident memory of the process during the lap, 1e6 bytes, its model included.
    """

    lap: Lap
    cpu_s: float
    peak_mb: float


class ContestProcess:
    """A contestant, open, in a process of its own.

    Attributes:
        name: of the contestant.
        settings: that it chose.
        open_s: that it took to open, its batch chosen.
    """

    def __init__(self, name: str, task: MappingTask, log: Path) -> None:
        """Start the process and open the contestant.

        Args:
            name: of the contestant.
            task: what to do.
            log: file for whatever its libraries print.

        Raises:
            UsageError, EngineError: the contestant can't run, with its own words.
        """
        self.name, self._log = name, log
        environment = os.environ | {"OMP_NUM_THREADS": str(task.threads), "MKL_NUM_THREADS": str(task.threads)}
        with log.open("wb") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "kda_edge.benchmarks.contest.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env=environment,
            )
        try:
            opened = self._ask({"contestant": name, "task": task.to_plain()})
        except BaseException:
            self.close()
            raise
        self.settings: Mapping[str, Any] = opened["settings"]
        self.open_s: float = opened["open_s"]

    def __enter__(self) -> ContestProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def run(self, scene_path: Path, out_dir: Path) -> MeasuredLap:
        """Run a lap.

        Args:
            scene_path: of the scene.
            out_dir: for its map; created if missing.

        Raises:
            UsageError, EngineError: it failed.
        """
        out_dir.mkdir(parents=True, exist_ok=True)
        answer = self._ask({"scene": str(scene_path), "out_dir": str(out_dir)})
        map_path = None if answer["map_path"] is None else Path(answer["map_path"])
        return MeasuredLap(Lap(answer["seconds"], answer["tiles"], map_path), answer["cpu_s"], answer["peak_mb"])

    def close(self) -> None:
        """End the process."""
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            try:
                stream.close()
            except OSError:
                continue  # it ended before it was asked to
        try:
            self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        to, back = self._process.stdin, self._process.stdout
        assert to is not None
        assert back is not None
        line = _exchanged(to, back, json.dumps(request))
        if not line:
            last = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
            raise EngineError(f"{self.name} ended without an answer ({''.join(last)[:300] or 'it said nothing'})")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            kind = UsageError if answer["usage"] else EngineError
            raise kind(f"{self.name}: {answer['error']}")
        return answer


def _exchanged(to: IO[str], back: IO[str], line: str) -> str:
    try:
        to.write(line + "\n")
        to.flush()
    except BrokenPipeError:
        return ""
    return back.readline()


@contextmanager
def opened_contest(
    tasks: Mapping[str, tuple[str, MappingTask]], folder: Path, say: Callable[[str], None]
) -> Iterator[dict[str, ContestProcess]]:
    """Open contestants one after the other, so that each chooses its batch on a quiet machine; end them all.

    Args:
        tasks: by label: the contestant's name and its task.
        folder: for their logs.
        say: is told of each.
    """
    with ExitStack() as stack:
        processes = {}
        for number, (label, (name, task)) in enumerate(tasks.items()):
            say(f"opening {label}")
            processes[label] = stack.enter_context(ContestProcess(name, task, folder / f"contestant{number}.log"))
        yield processes
