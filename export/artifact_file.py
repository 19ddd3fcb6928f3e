"""The artifact on disk: the graph with its manifest inside, complete under its name or not there at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import onnx

from kda_edge.errors import OutputError, one_line
from kda_edge.manifest import METADATA_KEY, Manifest
from kda_edge.paths import is_dir, is_utf8
from kda_edge.whole_files import flush, staged


def bytes_from_graph(graph: onnx.ModelProto, manifest: Manifest) -> bytes:
    """Return the artifact's bytes, the manifest in the graph's metadata; equal inputs give equal bytes."""
    model = onnx.ModelProto()
    model.CopyFrom(graph)
    model.metadata_props.add(key=METADATA_KEY, value=manifest.to_json())
    content: bytes = model.SerializeToString(deterministic=True)
    return content


@contextmanager
def staged_file(path: Path, content: bytes) -> Iterator[Path]:
    """Write to a hidden file beside `path` and yield it for a last look; it takes the name if the block ends well.

    What was under the name before stays untouched until then, and for good if the block raises.

    Raises:
        OutputError: the folder is missing, not writable or full, or `path` is a folder.
    """
    if is_dir(path):
        raise OutputError(f"{path} is a folder; give a file name with -o")
    looking = False
    try:
        with staged(path) as hidden:
            hidden.write_bytes(content)
            flush(hidden)  # before minutes are spent on a last look
            looking = True
            yield hidden
            looking = False
    except (OSError, ValueError) as error:
        if looking:  # whoever looked has failed
            raise
        raise OutputError(
            f"{path} can't be written ({one_line(error)}); free some space or choose another with -o"
        ) from error


def require_writable(path: Path) -> None:
    """Raise `OutputError` if `path` clearly can't be written, before minutes are spent on what goes there."""
    if not is_utf8(path):
        raise OutputError(f"{str(path)!r} is a name that is not UTF-8; choose another with -o")
    if not is_dir(path.parent):
        raise OutputError(f"the folder {path.parent} does not exist; create it, or choose another with -o")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise OutputError(f"the folder {path.parent} is not writable; choose another with -o")
    try:
        path.lstat()
    except FileNotFoundError:
        pass
    except OSError as error:  # a name that is too long, for one
        raise OutputError(f"{path} can't be written ({one_line(error)}); choose another with -o") from error
