"""The files of one map: made under hidden names in the output folder, given their own names together at the end."""

from __future__ import annotations

import glob
import os
import re
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from kda_edge.errors import KdaEdgeError, OutputError, UsageError

from .gdal import one_line

_RUN: Final = secrets.token_hex(4)  # tells this process from a dead one that had the same number


@dataclass(frozen=True)
class OutputPaths:
    """Where a scene's map, polygons and picture lie.

    Attributes:
        map: GeoTIFF, bands class, probability and qa.
        polygons: GeoJSON.
        picture: PNG.
    """

    map: Path
    polygons: Path
    picture: Path

    def __iter__(self) -> Iterator[Path]:
        """Yield the three, the map last: where it has its name, the others have theirs."""
        yield from (self.polygons, self.picture, self.map)


def output_paths(scene_path: Path, out_dir: Path | None) -> OutputPaths:
    """Return where a scene's outputs go: into out_dir, or beside the scene where that is None."""
    folder = scene_path.parent if out_dir is None else out_dir
    stem = f"{scene_path.stem}_landslide"
    return OutputPaths(folder / f"{stem}.tif", folder / f"{stem}.geojson", folder / f"{stem}.png")


@contextmanager
def staged(final: OutputPaths, scene_path: Path) -> Iterator[OutputPaths]:
    """Yield hidden names to write to; rename all three when the block ends well, remove them when it does not.

    What a killed run of the same scene has left under hidden names is removed first. The folder is created.

    Raises:
        UsageError: an output would replace the scene.
        OutputError: the folder or a file can't be written.
    """
    folder = final.map.parent
    hidden = OutputPaths(*(_hidden(path) for path in (final.map, final.polygons, final.picture)))
    try:
        for path in final:
            _require_replaceable(path, scene_path)
        folder.mkdir(parents=True, exist_ok=True)
        _remove_stale(final)
        with hidden.map.open("xb"):
            pass
    except KdaEdgeError:
        raise
    except FileExistsError as error:
        reason = "another run in this process writes it" if hidden.map.exists() else "the folder's name is a file's"
        raise OutputError(f"{final.map} can't be written ({reason}); choose another folder with -o") from error
    except OSError as error:
        raise OutputError(f"{folder} can't be written to ({one_line(error)}); choose another folder with -o") from error
    try:
        yield hidden
        try:
            for path in hidden:
                flush(path)
            for path, name in zip(hidden, final, strict=True):
                path.replace(name)
        except OSError as error:
            raise OutputError(
                f"{final.map} can't be written ({one_line(error)}); free some space or choose another folder with -o"
            ) from error
    finally:
        for path in hidden:
            for leftover in folder.glob(glob.escape(path.name) + "*"):  # with whatever a library put beside it
                leftover.unlink(missing_ok=True)


def _require_replaceable(path: Path, scene_path: Path) -> None:
    if path.exists() and path.samefile(scene_path):
        raise UsageError(f"the map would replace the scene {path}; choose another folder with -o")
    if path.is_dir():
        raise OutputError(f"{path} is a folder and the map needs that name; choose another folder with -o")


def _hidden(path: Path) -> Path:
    return path.with_name(f".{path.stem}.{os.getpid()}-{_RUN}.part{path.suffix}")


def _remove_stale(final: OutputPaths) -> None:
    pattern = re.compile(rf"\.{re.escape(final.map.stem)}\.(\d{{1,9}})-([0-9a-f]+)\.part\.")
    for path in list(final.map.parent.iterdir()):
        match = pattern.match(path.name)
        if match and match[2] != _RUN and not _runs(int(match[1])):
            path.unlink(missing_ok=True)


def _runs(pid: int) -> bool:
    """Whether another process of this number lives."""
    if pid == os.getpid():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def flush(path: Path) -> None:
    """Have the system write out a file, or a folder's names: a full disk shows now, a power cut changes nothing."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def require_no_clash(scenes: Sequence[Path], out_dir: Path | None) -> None:
    """Make sure that no two scenes write to one map and no map replaces another scene.

    Raises:
        UsageError: two scenes clash; both are named.
    """
    by_map: dict[Path, Path] = {}
    for scene in scenes:
        maps = {path.resolve(): scene for path in output_paths(scene, out_dir)}
        for path in maps.keys() & by_map.keys():
            raise UsageError(
                f"{by_map[path]} and {scene} would both write {path.name}; give each once, or different folders with -o"
            )
        by_map |= maps
    for scene in scenes:
        writer = by_map.get(scene.resolve())
        if writer is not None:
            raise UsageError(f"the map of {writer} would replace the scene {scene}; leave one out or choose a -o")
