"""Places of outputs: tried before the work that goes there, and told in one line where an epoch can't be kept."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kda_edge.errors import OutputError, TrainingError, one_line
from kda_edge.paths import exists, is_dir, is_utf8
from kda_edge.whole_files import try_folder


def require_folder(folder: Path, option: str) -> None:
    """Try a folder that a run will write to, whether it is there yet or not; nothing is left in it.

    Of several processes the first alone writes, and so tries.

    Args:
        folder: made later if missing.
        option: that names it, for the message.

    Raises:
        TrainingError: a file is in its place, it can't be written to, or TensorBoard can't write under its name.
    """
    if os.environ.get("RANK", "0") != "0":
        return
    if not is_utf8(folder):
        raise TrainingError(f"{str(folder)!r} is a name that is not UTF-8; choose another folder with {option}")
    if exists(folder) and not is_dir(folder):
        raise TrainingError(f"{folder} is a file, and {option} takes a folder; name another, such as runs/student")
    try:
        try_folder(folder)
    except (OSError, ValueError) as error:
        raise TrainingError(
            f"{folder} can't be written to ({one_line(error)}); choose another folder with {option}"
        ) from error


def require_file(path: Path | None, option: str) -> None:
    """Try the folder of a file that will be written; None: nobody asks for one.

    Raises:
        OutputError: a folder has its name, or the file's folder is missing or can't be written to.
    """
    if path is None:
        return
    if is_dir(path):
        raise OutputError(f"{path} is a folder, and {option} takes a file; name one in it")
    if not is_dir(path.parent):
        raise OutputError(f"there is no folder {path.parent} for {path.name}; make it, or choose another for {option}")
    try:
        try_folder(path.parent)
    except OSError as error:
        raise OutputError(f"{path} can't be written ({one_line(error)}); choose another place for {option}") from error


@contextmanager
def keeping(out: Path, epoch: int) -> Iterator[None]:
    """Have what can't be written of an epoch end the run in a line that says how to go on.

    Args:
        out: folder of the run.
        epoch: that is over, from 1.

    Raises:
        TrainingError: something inside could not be written; each file holds an epoch whole, this one or one before.
    """
    try:
        yield
    except OSError as error:
        kept = "go on with --resume" if exists(out / "last.pt") else "start again"
        raise TrainingError(
            f"epoch {epoch} can't be kept in {out} ({one_line(error)}); free some space there, or let it be written "
            f"to, and {kept}"
        ) from error
