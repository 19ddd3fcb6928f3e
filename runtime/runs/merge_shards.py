"""Merges the shards of one scene, computed wherever, into the three files that one run would have made."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from kda_edge.errors import JournalError, ManifestError
from kda_edge.manifest import Manifest
from kda_edge.paths import is_dir

from ..geo.gdal import gdal_session
from ..mapping.rows import MappedRows
from ..outputs.assemble import assemble
from ..outputs.map_owner import require_own_map
from ..outputs.output_files import output_paths, ready_folder, staged
from ..outputs.picture import Sketch
from ..results import SceneResult
from ..scene_options import SceneOptions
from ..scenes.scene import open_scene
from ..scenes.scene_digest import digesting
from .framed_file import alone
from .journal import Header, Journal, journal_path, read_journal
from .request import Cancel, SceneRequest
from .shards import shard_of


def merge_shards(
    scene: str | Path,
    shards: Sequence[str | Path],
    out_dir: str | Path | None = None,
    *,
    min_area: float = 0.0,
    polygons: str = "geojson",
    overwrite: bool = False,
    cancel: Cancel | None = None,
) -> SceneResult:
    """Write map, polygons and picture of a scene from the rows of all its shards, all three or none.

    Needs neither the model nor its engine. The files of the shards are left as they are.

    Args:
        scene: the scene, for its place on Earth and the picture; read once to see that it is the shards'.
        shards: files that `Segmenter.predict_shard` has written, or folders of them.
        out_dir: folder of the outputs, created if missing; None writes beside the scene.
        min_area: smaller polygons are left out, m2; pixels where nobody knows their area.
        polygons: their format, `geojson` or `gpkg`.
        overwrite: replace the map of another scene, should one lie there.
        cancel: an event that another thread sets, or a function that says whether to stop.

    Raises:
        Cancelled: `cancel` said so.
        JournalError: a shard is missing, unfinished, damaged, there twice, or of another scene, model or setting.
        SceneError: the scene can't be read.
        UsageError: an argument that can't be right.
        OutputError: the outputs can't be written.
    """
    start_s, options = time.perf_counter(), SceneOptions(min_area=min_area, polygons=polygons)
    request = SceneRequest.of(scene, out_dir, options, cancel=cancel)
    scene_path, final = request.path, output_paths(request.path, request.out_dir, polygons)
    with ExitStack() as stack:
        opened = [stack.enter_context(read_journal(path)) for path in _files(shards, final.map.stem)]
        journals = _in_order(opened)
        first = _header(journals[0])
        manifest = _manifest(journals[0])
        stack.enter_context(gdal_session())
        raster = stack.enter_context(
            open_scene(
                scene_path,
                manifest.input,
                bands=first.bands,
                value_range=first.value_range,
                resample=first.key.get("--resample"),
                any_gsd=True,  # as whoever made the shards has taken it
            )
        )
        content = stack.enter_context(digesting(scene_path))()
        if content.sha256 != first.key.get("scene"):
            raise JournalError(
                f"{journals[0].path} holds rows of another scene than {scene_path}; give the very file that was mapped"
            )
        ready_folder(final, scene_path)
        stack.enter_context(alone(journal_path(final.map)))
        if not overwrite:
            require_own_map(final.map, scene_path, lambda: content.identity)
        with staged(final, scene_path) as hidden:
            result = assemble(
                _rows(journals, request.check),
                raster,
                manifest,
                final,
                hidden,
                sketch=Sketch(raster),
                min_area=min_area,
                digest=lambda: content.identity,
                notes=tuple(dict.fromkeys(note for journal in journals for note in _header(journal).notes)),
                measured=[_header(journal).measured for journal in journals],
                check=request.check,
            )
            content.require_unchanged()
    engine = str(first.key.get("--engine", ""))
    return replace(result, resumed_rows=raster.height_px, engine=engine, seconds=time.perf_counter() - start_s)


def _files(shards: Sequence[str | Path], stem: str) -> list[Path]:
    """Return the files named; of a folder, its files of this scene."""
    files: list[Path] = []
    for path in map(Path, shards):
        found = sorted(path.glob("*.kda")) if is_dir(path) else [path]
        files += [file for file in found if file.name.startswith(f"{stem}.shard-")] if is_dir(path) else found
    unique = list(dict.fromkeys(files))
    if not unique:
        where = " and ".join(map(str, shards)) or "nothing"
        raise JournalError(f"there is no {stem}.shard-*.kda in {where}; make the shards with: kda-infer --shard 1/2")
    return unique


def _in_order(journals: Sequence[Journal]) -> list[Journal]:
    """Return the shards from the scene's top to its bottom, once it is sure that they are all there and one run's."""
    first = _header(journals[0])
    count = shard_of(first.shard).count
    by_number: dict[int, Journal] = {}
    for journal in journals:
        header = _header(journal)
        _require_finished(journal, header)
        shard = shard_of(header.shard)
        if shard.count != count:
            raise JournalError(
                f"{journal.path} is one of {shard.count} shards and {journals[0].path} one of {count}; "
                "give the files of one division"
            )
        difference = replace(first, key={**first.key, "--shard": header.shard}).differs_from(header)
        if difference:
            raise JournalError(
                f"{journal.path} is of another run than {journals[0].path} ({difference}); make one of them again"
            )
        if shard.number in by_number:
            raise JournalError(f"{journal.path} and {by_number[shard.number].path} are the same shard; give one")
        by_number[shard.number] = journal
    missing = [f"{number}/{count}" for number in range(1, count + 1) if number not in by_number]
    if missing:
        raise JournalError(f"shards are missing: {', '.join(missing)}; make them with --shard, or name their folder")
    return [by_number[number] for number in sorted(by_number)]


def _header(journal: Journal) -> Header:
    if journal.header is None or not journal.header.shard:
        raise JournalError(f"{journal.path} is no finished shard; make it again with --shard")
    return journal.header


def _require_finished(journal: Journal, header: Header) -> None:
    if not (journal.finished and journal.whole):
        raise JournalError(
            f"{journal.path} holds {journal.rows_px} of the {header.end_row - header.first_row} rows of shard "
            f"{header.shard}, cut short or damaged; copy it again, or make it again with --shard {header.shard}"
        )


def _manifest(journal: Journal) -> Manifest:
    try:
        return Manifest.from_json(_header(journal).manifest)
    except ManifestError as error:
        raise JournalError(f"{journal.path}: {error}") from error


def _rows(journals: Sequence[Journal], check: Callable[[], None]) -> Iterator[MappedRows]:
    for journal in journals:
        for rows in journal.replay():
            check()
            yield rows
