"""One run over one scene, or one shard of it: finished rows from the journal, the rest from the engine."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace

from kda_edge import __version__
from kda_edge.errors import Cancelled, EngineError, OutputError, SceneError
from kda_edge.tiling.tile_grid import TileGrid, default_overlap_px

from ..geo.gdal import gdal_session
from ..geo.raster_names import said
from ..mapping.mapped_rows import Bounds, mapped_rows
from ..mapping.rows import MappedRows, Rows
from ..mapping.value_range import with_values_mapped
from ..outputs.assemble import Tally, assemble, failure_notes
from ..outputs.georeference import require_carried
from ..outputs.map_owner import require_own_map
from ..outputs.output_files import output_paths, ready_folder, staged
from ..outputs.picture import Sketch
from ..results import SceneResult, ShardResult
from ..scenes.scene import Scene
from ..scenes.scene_digest import SceneContent, digesting
from .journal import UNTOLD, Header, Journal, journal_path, opened_journal, require_same
from .journal_recorder import Recorder
from .memory_bounds import MapMemory, bounds_within, resident_bytes
from .request import Model, SceneRequest
from .shards import Shard, require_own_shard, shard_path


@dataclass(frozen=True)
class _SceneRun:
    """A request, its opened scene, and the model that answers."""

    request: SceneRequest
    model: Model
    scene: Scene
    grid: TileGrid
    content: Callable[[], SceneContent]
    bounds: Bounds
    shard: Shard | None

    @property
    def rows(self) -> Rows:
        """Rows that are wanted."""
        return Rows(0, self.scene.height_px) if self.shard is None else self.shard.rows(self.scene.height_px)

    def digest(self) -> str:
        """Return what the scene is known by; waits for it."""
        return self.content().identity

    def header(self) -> Header:
        """Return what the rows depend on; waits for the digest of the scene."""
        options, manifest = self.request.options, self.model.manifest
        plain, rows = manifest.to_json(), self.rows
        shard = "" if self.shard is None else str(self.shard)
        key = {
            "scene": self.content().sha256 or UNTOLD + secrets.token_hex(4),  # equal to no other
            "model graph": self.model.facts.graph_sha256,
            "checkpoint": manifest.checkpoint_sha256,
            "manifest": hashlib.sha256(plain.encode()).hexdigest(),
            "--engine": self.model.facts.name,
            "--bands": list(self.scene.bands),
            "--value-range": None if options.value_range is None else list(options.value_range),
            "--resample": options.resample,
            "--overlap": self.grid.overlap_px,
            "--shard": shard,
            "tiles a call": None if self.model.facts.batch_invariant else self.bounds.batch,
            "--threads": self.model.facts.threads,
            "kda-edge": __version__,
        }
        if self.scene.quicklook_from is not None:
            key["--quicklook"] = self.scene.quicklook_from
        return Header(
            key=key,
            height_px=self.scene.height_px,
            width_px=self.scene.width_px,
            first_row=rows.first,
            end_row=rows.end,
            shard=shard,
            bands=self.scene.bands,
            value_range=options.value_range,
            manifest=plain,
            notes=self.model.notes,
            measured=self.model.facts.measured,
        )

    def measured(self, journal: Journal) -> tuple[str, ...]:
        """Return how far the engines at work lie from a CPU: that of rows that are there already, and this one."""
        earlier = journal.header.measured if journal.header is not None else ""
        return (earlier, self.model.facts.measured)

    def all_rows(self, journal: Journal, sketch: Sketch | None = None) -> Generator[MappedRows, None, None]:
        """Yield the wanted rows; first come those that an earlier run has finished.

        Args:
            journal: of the run.
            sketch: of the picture, which is shown the scene while it is read, if all of it is.
        """
        if journal.rows_px:
            require_same(journal, self.header())
            for rows in journal.replay():
                self.request.check()
                self._require_unfailed(rows)
                yield rows
        missing = Rows(self.rows.first + journal.rows_px, self.rows.end)
        if not missing.count:
            return
        check = self.content().require_unchanged
        with (
            Recorder(journal, check=check, header=self.header) as recorder,
            closing(self._computed(missing, recorder, sketch if missing == self.rows else None)) as computed,
        ):
            yield from computed
            recorder.wait()

    def _computed(self, wanted: Rows, recorder: Recorder, sketch: Sketch | None) -> Generator[MappedRows, None, None]:
        request, contract = self.request, self.model.manifest.input
        if not self.scene.factor.is_integer():  # windows then share pixels of the file, and each is to be counted once
            sketch = None

        @contextmanager
        def opened() -> Iterator[Scene]:
            with request.opened(contract, checked=True) as scene:
                if sketch is not None:
                    sketch.openings.append(scene)
                yield scene

        def report(done: int, total: int) -> None:
            request.check()
            recorder.wait()
            if request.progress is not None:
                skipped = len(self.grid) - total if self.shard is None else 0
                request.progress(skipped + done, skipped + total)

        def finished(rows: MappedRows) -> None:
            self._require_unfailed(rows)
            recorder.record(rows)

        return mapped_rows(
            opened,
            self.grid,
            with_values_mapped(self.model.engine, contract, request.options.value_range),
            self.model.manifest,
            block_hw=self.scene.block_hw,
            wanted=wanted,
            bounds=self.bounds,
            progress=report,
            finished=finished,
            seen=None if sketch is None else sketch.colours.add,
        )

    def _require_unfailed(self, rows: MappedRows) -> None:
        if not (self.request.options.strict and rows.failures):
            return
        path, failure = self.request.path, rows.failures[0]
        kind = EngineError if rows.counts.answered_tiles < rows.counts.asked_tiles else SceneError
        raise kind(
            f"{path}: the tile at row {failure.row_px}, column {failure.col_px} failed ({failure.reason}); "
            "leave out --strict to map the rest and have it marked"
        )

    @contextmanager
    def kept(self, journal: Journal) -> Iterator[None]:
        """Say in the error that ends a run how much of it is kept and how to go on."""
        try:
            yield
        except (Cancelled, EngineError, OutputError, SceneError) as error:
            if isinstance(error, EngineError) and not journal.answered_tiles:
                journal.discard()  # an engine that does not work: its rows are worth nothing
            if not journal.rows_px:
                raise
            if journal.header is not None and not journal.header.can_be_gone_on_with:
                journal.discard()
                hint = "its rows are not kept, as nobody could tell whether the scene is still the same"
                raise type(error)(f"{error}; {hint}") from error
            hint = f"{journal.rows_px} of {self.rows.count} rows are kept, run the same command again to go on"
            raise type(error)(f"{error}; {hint}") from error


def map_scene(request: SceneRequest, model: Model) -> SceneResult:
    """Write map, polygons and picture of a scene, all three or none; see `Segmenter.predict_scene`."""
    start_s, options = time.perf_counter(), request.options
    final = output_paths(request.path, request.out_dir, options.polygons, quicklook=options.quicklook)
    with _opened(request, model) as run:
        ready_folder(final, request.path)
        with opened_journal(journal_path(final.map), restart=options.restart) as journal:
            if not options.overwrite:
                require_own_map(final.map, request.path, run.digest)
            resumed_rows, sketch = journal.rows_px, Sketch(run.scene)
            with (
                run.kept(journal),
                staged(final, request.path) as hidden,
                closing(run.all_rows(journal, sketch)) as rows,
            ):
                result = assemble(
                    rows,
                    run.scene,
                    model.manifest,
                    final,
                    hidden,
                    sketch=sketch,
                    min_area=options.min_area,
                    digest=run.digest,
                    notes=model.notes,
                    measured=run.measured(journal),
                    check=request.check,
                )
            journal.discard()
    return replace(result, resumed_rows=resumed_rows, engine=model.facts.name, seconds=time.perf_counter() - start_s)


def map_shard(request: SceneRequest, shard: Shard, model: Model) -> ShardResult:
    """Write the finished rows of a shard, or nothing; see `Segmenter.predict_shard`."""
    start_s, tally, options = time.perf_counter(), Tally(), request.options
    options.require_of_a_shard()
    final = output_paths(request.path, request.out_dir, options.polygons)
    rows_path = shard_path(final.map, shard)
    with _opened(request, model, shard) as run:
        sha256 = run.content().sha256
        if sha256 is None:
            raise SceneError(f"{request.path} is made of more than local files, so shards of it can't be told apart")
        require_carried(run.scene)
        ready_folder(final, request.path)
        with opened_journal(journal_path(rows_path), restart=options.restart) as journal:
            if not options.overwrite:
                require_own_shard(rows_path, request.path, sha256)
            resumed_rows = journal.rows_px
            with run.kept(journal):
                with closing(run.all_rows(journal)) as rows:
                    for part in rows:
                        tally.add(part)
                request.check()
                if not journal.rows_px:
                    journal.begin(run.header())
                journal.finish(rows_path)
    return ShardResult(
        scene_path=said(request.path),
        rows_path=rows_path,
        shard=str(shard),
        first_row=run.rows.first,
        end_row=run.rows.end,
        tiles=tally.counts.tiles,
        failed_tiles=tally.failed_tiles,
        resumed_rows=resumed_rows,
        seconds=time.perf_counter() - start_s,
        notes=(*failure_notes(tally), *model.notes),
    )


@contextmanager
def _opened(request: SceneRequest, model: Model, shard: Shard | None = None) -> Iterator[_SceneRun]:
    """Open the scene of a request and look at it, before anything is written."""
    options, tile_px = request.options, model.manifest.tile_px
    overlap_px = default_overlap_px(tile_px) if options.overlap_px is None else options.overlap_px
    with (
        gdal_session(),
        request.opened(model.manifest.input) as scene,
        digesting(request.path) as content,
    ):
        grid = TileGrid(scene.height_px, scene.width_px, tile_px, overlap_px)
        bounds = bounds_within(
            MapMemory(grid, scene.pixel_type.itemsize, scene.block_hw),
            options.max_memory_bytes,
            used_bytes=resident_bytes(),
            best_batch=model.facts.batch,
        )
        yield _SceneRun(request, model, scene, grid, content, bounds, shard)
