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

from kda_edge.errors import OutputError, UsageError
from kda_edge.paths import is_dir, is_utf8, resolved, same_file
from kda_edge.whole_files import publish

from ..geo.gdal import one_line
from ..geo.raster_names import RasterName
from ..scene_options import POLYGON_FORMATS

MOST_NAME_BYTES: Final = 255  # of a file, on every file system of Linux
MOST_APPENDED_BYTES: Final = len(".") + len(".4194304-0123abcd.part.geojson-journal")  # to a stem, of a hidden file
_RUN: Final = secrets.token_hex(4)  # tells this process from a dead one that had the same number


@dataclass(frozen=True)
class OutputPaths:
    """Where a scene's map, polygons and picture lie.

    Attributes:
        map: GeoTIFF, bands class, probability and qa.
        polygons: GeoJSON or GeoPackage.
        picture: PNG.
    """

    map: Path
    polygons: Path
    picture: Path

    def __iter__(self) -> Iterator[Path]:
        """Yield the three, the map last: where it has its name, the others have theirs."""
        yield from (self.polygons, self.picture, self.map)


def output_paths(
    scene_path: RasterName, out_dir: Path | None, polygons: str = POLYGON_FORMATS[0], *, quicklook: bool = False
) -> OutputPaths:
    """Return where a scene's outputs go: into out_dir, or beside the scene where that is None.

    Args:
        scene_path: the scene.
        out_dir: their folder; an address needs one.
        polygons: the format of the polygons, one of `POLYGON_FORMATS`.
        quicklook: of its quicklook, whose names are no full map's of any scene.

    Raises:
        UsageError: nowhere to write to.
    """
    if out_dir is not None:
        folder = out_dir
    elif isinstance(scene_path, Path):
        folder = scene_path.parent
    else:
        raise UsageError(f"{scene_path} lies in no folder; say where its map goes with -o DIR")
    stem = f"{scene_path.stem}_landslide{'_quicklook' if quicklook else ''}"
    return OutputPaths(folder / f"{stem}.tif", folder / f"{stem}.{polygons}", folder / f"{stem}.png")


def ready_folder(final: OutputPaths, scene_path: RasterName) -> None:
    """Create the folder of the outputs; find out before any work what can't be right about their names.

    Raises:
        UsageError: an output would replace the scene.
        OutputError: the folder can't be created.
    """
    folder = final.map.parent
    for path in final:
        _require_replaceable(path, scene_path)
    require_names(final.map, scene_path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise OutputError(
            f"{final.map} can't be written (the folder's name is a file's); choose another folder with -o"
        ) from error
    except (OSError, ValueError) as error:
        raise OutputError(f"{folder} can't be written to ({one_line(error)}); choose another folder with -o") from error


def require_names(final: Path, source: object) -> None:
    """Find out before any work whether files beside an output can have their names.

    Args:
        final: the output; others differ in their suffix, and hidden ones are longer.
        source: the scene or video that it is named after.

    Raises:
        OutputError: they can't: too long, or not UTF-8, which GDAL and OpenCV demand.
    """
    if not is_utf8(final):
        raise OutputError(f"{str(final)!r} is a name that is not UTF-8; choose another folder with -o")
    length = len(final.stem.encode()) + MOST_APPENDED_BYTES
    if length > MOST_NAME_BYTES:
        raise OutputError(
            f"{source} has a name that is {length - MOST_NAME_BYTES} bytes too long for those of its outputs; rename it"
        )


@contextmanager
def staged(final: OutputPaths, scene_path: RasterName) -> Iterator[OutputPaths]:
    """Yield hidden names to write to; rename all three when the block ends well, remove them when it does not.

    What a killed run of the same scene has left under hidden names is removed first. The folder is created.

    Raises:
        UsageError: an output would replace the scene.
        OutputError: the folder or a file can't be written.
    """
    ready_folder(final, scene_path)
    with staged_files(tuple(final)) as hidden:
        yield OutputPaths(*(hidden[path] for path in (final.map, final.polygons, final.picture)))


@contextmanager
def staged_files(final: Sequence[Path]) -> Iterator[dict[Path, Path]]:
    """Yield the hidden name of each file; rename them in order when the block ends well, remove them when it does not.

    What a killed run has left under hidden names is removed first.

    Args:
        final: in one folder, which exists, and of one stem; the last is what counts: with it, all others are there.

    Raises:
        OutputError: the folder or a file can't be written.
    """
    folder, last = final[-1].parent, final[-1]
    hidden = {path: _hidden(path) for path in final}
    try:
        _remove_stale(last)
        with hidden[last].open("xb"):
            pass
    except FileExistsError as error:
        raise OutputError(
            f"{last} can't be written (another run in this process writes it); choose another folder with -o"
        ) from error
    except OSError as error:
        raise OutputError(f"{folder} can't be written to ({one_line(error)}); choose another folder with -o") from error
    try:
        yield hidden
        try:
            publish(hidden)
        except OSError as error:
            raise OutputError(
                f"{last} can't be written ({one_line(error)}); free some space or choose another folder with -o"
            ) from error
    finally:
        for path in hidden.values():
            for leftover in folder.glob(glob.escape(path.name) + "*"):  # with whatever a library put beside it
                leftover.unlink(missing_ok=True)


def _require_replaceable(path: Path, scene_path: RasterName) -> None:
    if isinstance(scene_path, Path) and same_file(path, scene_path):
        raise UsageError(f"the map would replace the scene {path}; choose another folder with -o")
    if is_dir(path):
        raise OutputError(f"{path} is a folder and the map needs that name; choose another folder with -o")


def _hidden(path: Path) -> Path:
    return path.with_name(f".{path.stem}.{os.getpid()}-{_RUN}.part{path.suffix}")


def _remove_stale(final: Path) -> None:
    pattern = re.compile(rf"\.{re.escape(final.stem)}\.(\d{{1,9}})-([0-9a-f]+)\.part\.")
    for path in list(final.parent.iterdir()):
        match = pattern.match(path.name)
        if match and (int(match[1]), match[2]) != (os.getpid(), _RUN) and not _runs(int(match[1])):
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


def require_no_clash(
    scenes: Sequence[RasterName],
    out_dir: Path | None,
    polygons: str = POLYGON_FORMATS[0],
    *,
    quicklook: bool = False,
) -> None:
    """Make sure that no two scenes write to one map and no map replaces another scene.

    Raises:
        UsageError: two scenes clash; both are named.
    """
    by_map: dict[Path, RasterName] = {}
    for scene in scenes:
        maps = {resolved(path): scene for path in output_paths(scene, out_dir, polygons, quicklook=quicklook)}
        for path in maps.keys() & by_map.keys():
            raise UsageError(
                f"{by_map[path]} and {scene} would both write {path.name}; give each once, or different folders with -o"
            )
        by_map |= maps
    for scene in (scene for scene in scenes if isinstance(scene, Path)):
        writer = by_map.get(resolved(scene))
        if writer is not None:
            raise UsageError(f"the map of {writer} would replace the scene {scene}; leave one out or choose a -o")
