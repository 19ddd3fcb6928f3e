"""Runs the cells of a table, each a few `kda-train` commands, one after another, resumable.

Commands run as processes of their own, so that one that fails or is killed leaves the others alone. A step that is
begun or done is marked with the arguments that it and the steps before it had; the same table started again goes on
where it stopped, inside a step too, and one with other settings is refused.
"""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from kda_edge.errors import TrainingError, UsageError
from kda_edge.whole_files import write_whole

MARK: Final = "done.json"
BEGUN: Final = "begun.json"
LOCK: Final = "lock"


@dataclass(frozen=True)
class Step:
    """One `kda-train` command.

    Attributes:
        folder: where its outputs lie; two cells that share a step name the same folder.
        arguments: without `--resume`; they decide the outputs.
        resumable: whether it takes `--resume`.
        machine: arguments that say what computes and leave the outputs as they are; they may change between starts.
    """

    folder: Path
    arguments: tuple[str, ...]
    resumable: bool = True
    machine: tuple[str, ...] = ()

    @property
    def command(self) -> tuple[str, ...]:
        """All arguments, as they are run."""
        return (*self.arguments, *self.machine, *(("--resume",) if self.resumable else ()))


@dataclass(frozen=True)
class Cell:
    """One row of a table.

    Attributes:
        name: of the row.
        steps: in order; each may use the outputs of those before it.
        result: JSON of the last step, `kda-train evaluate --json`.
        labels: what else the row says, by column.
    """

    name: str
    steps: tuple[Step, ...]
    result: Path
    labels: dict[str, str]


def kda_train(arguments: Sequence[str]) -> int:
    """Run `kda-train` in a process of its own; return its exit code."""
    command = [sys.executable, "-m", "kda_edge.train", *arguments]
    # The lock on the folder is inherited: it holds as long as the process lives, even where this one is killed.
    return subprocess.run(command, check=False, close_fds=False).returncode


def run_cell(
    cell: Cell, run: Callable[[Sequence[str]], int] = kda_train, facts: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Run what of a cell is not done yet, and return its result.

    Args:
        cell: to run.
        run: takes the arguments of `kda-train` and returns its exit code.
        facts: about the machine, kept with the mark of each step that is done now.

    Raises:
        UsageError: a folder holds the same step with other arguments.
        TrainingError: a step failed, or another process is at work in its folder.
    """
    require_same_settings(cell)
    for count, step in enumerate(cell.steps, start=1):
        if _is_done(cell, count):
            continue
        step.folder.mkdir(parents=True, exist_ok=True)
        with _alone_in(step.folder):
            mark = {"steps": _arguments(cell, count)}
            write_text(step.folder / BEGUN, json.dumps(mark))
            code = run(step.command)
            if code:
                raise TrainingError(
                    f"{cell.name}: kda-train {step.arguments[0]} ended with {code}; "
                    "start the same command again to go on"
                )
            write_text(step.folder / MARK, json.dumps({**mark, "facts": dict(facts or {})}))
    result: dict[str, Any] = json.loads(cell.result.read_text(encoding="utf-8"))
    return result


def steps_left(cell: Cell) -> list[Step]:
    """Return the steps of a cell that are not done with these arguments."""
    return [step for count, step in enumerate(cell.steps, start=1) if not _is_done(cell, count)]


def result_of(cell: Cell) -> dict[str, Any] | None:
    """Return the result of a cell, None where one of its steps is left."""
    if steps_left(cell) or not cell.result.exists():
        return None
    result: dict[str, Any] = json.loads(cell.result.read_text(encoding="utf-8"))
    return result


def facts_of(step: Step) -> dict[str, str]:
    """Return the facts about the machine that a step was done on; empty where none were kept."""
    content = _read(step.folder / MARK)
    return dict(content["facts"]) if isinstance(content, dict) else {}


def require_same_settings(cell: Cell) -> None:
    """Raise `UsageError` where a step was begun with other arguments; the first option that differs is named."""
    for count, step in enumerate(cell.steps, start=1):
        marked = _marked(step)
        if marked is not None and not _same(marked, cell, count):
            now = _arguments(cell, count)
            before, after = next((a, b) for a, b in zip(marked, now[-len(marked) :], strict=False) if a != b)
            raise UsageError(
                f"{step.folder} was made with other settings ({_first_difference(before, after)} differs); "
                "choose another --out, or delete it"
            )


def write_rows(path: Path, rows: Sequence[dict[str, Any]], **facts: Any) -> None:
    """Write the rows of a table so far, atomically, with facts about the run."""
    write_text(path, json.dumps({**facts, "rows": list(rows)}, indent=1, sort_keys=True, allow_nan=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a file atomically; its folder is created."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, text.encode())


def _arguments(cell: Cell, count: int) -> list[list[str]]:
    return [list(step.arguments) for step in cell.steps[:count]]


def _is_done(cell: Cell, count: int) -> bool:
    """Whether the first `count` steps were done one after another, with these arguments."""
    step = cell.steps[count - 1]
    marked = _marked(step)
    return (step.folder / MARK).exists() and marked is not None and _same(marked, cell, count)


def _same(marked: list[list[str]], cell: Cell, count: int) -> bool:
    # Older marks hold the arguments of their own step alone.
    return marked in (_arguments(cell, count), [list(cell.steps[count - 1].arguments)])


def _marked(step: Step) -> list[list[str]] | None:
    """The arguments of the steps up to this one, as it was done or begun with them; None: neither."""
    content = _read(step.folder / MARK) or _read(step.folder / BEGUN)
    if isinstance(content, dict):
        return [list(arguments) for arguments in content["steps"]]
    return [list(content)] if content else None


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def _first_difference(before: list[str], now: list[str]) -> str:
    first = next((i for i, (a, b) in enumerate(zip(before, now, strict=False)) if a != b), min(len(before), len(now)))
    words = now if first < len(now) else before
    return next((word for word in reversed(words[: first + 1]) if word.startswith("--")), words[0])


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    with (folder / LOCK).open("w") as file:
        os.set_inheritable(file.fileno(), True)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise TrainingError(f"another process is at work in {folder}; wait until it ends, or stop it") from error
        yield
