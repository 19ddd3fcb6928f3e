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
from kda_edge.tiling.tile_grid import TileGrid

from ..outputs.assemble import Tally, assemble, failure_notes
from ..geo.gdal import gdal_session
from ..mapping.image_in_memory import OVERLAP_SHARE
from .journal import Header, Journal, opened_journal, require_same
from ..mapping.mapped_rows import MappedRows, mapped_rows
from .memory_bounds import Bounds, Work, bounds_within, resident_bytes
from .request import Model, Order
from .journal import journal_path
from ..outputs.output_files import output_paths, ready_folder, staged
from .shards import shard_path
from ..outputs.georeference import require_carried
from ..mapping.value_range import with_values_mapped
from .journal_recorder import Recorder
from ..results import SceneResult, ShardResult
from ..scenes.scene import Scene
from ..scenes.scene_digest import SceneContent, digesting
from .shards import Shard


@dataclass(frozen=True)
class _Work:
    """An order on its opened scene."""

    order: Order
    model: Model
    scene: Scene
    grid: TileGrid
    content: Callable[[], SceneContent]
    bounds: Bounds
    shard: Shard | None

    @property
    def rows(self) -> tuple[int, int]:
        """First row that is wanted, and the one behind the last."""
        return (0, self.scene.height_px) if self.shard is None else self.shard.rows(self.scene.height_px)

    def header(self) -> Header:
        """Return what the rows depend on; waits for the digest of the scene."""
        order, manifest = self.order, self.model.manifest
        plain, (first_row, end_row) = manifest.to_json(), self.rows
        shard = "" if self.shard is None else str(self.shard)
        key = {
            "scene": self.content().sha256 or f"no local file {secrets.token_hex(4)}",  # equal to no other
            "model graph": self.model.graph_sha256,
            "checkpoint": manifest.checkpoint_sha256,
            "manifest": hashlib.sha256(plain.encode()).hexdigest(),
            "--engine": self.model.engine_name,
            "--bands": list(self.scene.bands),
            "--value-range": None if order.value_range is None else list(order.value_range),
            "--resample": order.resample,
            "--overlap": self.grid.overlap_px,
            "--shard": shard,
            "tiles a call": None if self.model.batch_invariant else self.bounds.batch,
            "--threads": self.model.threads,
            "kda-edge": __version__,
        }
        return Header(
            key=key,
            height_px=self.scene.height_px,
            width_px=self.scene.width_px,
            first_row=first_row,
            end_row=end_row,
            shard=shard,
            bands=self.scene.bands,
            value_range=order.value_range,
            manifest=plain,
            notes=self.model.notes,
        )

    def all_rows(self, journal: Journal) -> Generator[MappedRows, None, None]:
        """Yield the rows that are wanted, those first that an earlier run has finished."""
        if journal.rows_px:
            require_same(journal, self.header())
            for rows in journal.replay():
                self.order.check()
                self._require_unfailed(rows)
                yield rows
        first_row, end_row = self.rows
        if first_row + journal.rows_px == end_row:
            return
        check = self.content().require_unchanged
        with (
            Recorder(journal, check=check, header=self.header) as recorder,
            closing(self._computed(first_row + journal.rows_px, end_row, recorder)) as computed,
        ):
            yield from computed
            recorder.wait()

    def _computed(self, first_row: int, end_row: int, recorder: Recorder) -> Generator[MappedRows, None, None]:
        order, contract = self.order, self.model.manifest.input

        def told(done: int, total: int) -> None:
            order.check()
            recorder.wait()
            if order.progress is not None:
                skipped = len(self.grid) - total if self.shard is None else 0
                order.progress(skipped + done, skipped + total)

        def finished(rows: MappedRows) -> None:
            self._require_unfailed(rows)
            recorder.record(rows)

        return mapped_rows(
            lambda: order.opened(contract, checked=True),
            self.grid,
            with_values_mapped(self.model.engine, contract, order.value_range),
            self.model.manifest,
            block_hw=self.scene.block_hw,
            first_row=first_row,
            end_row=end_row,
            batch=self.bounds.batch,
            readers=self.bounds.readers,
            windows_ahead=self.bounds.windows_ahead,
            progress=told,
            finished=finished,
        )

    def _require_unfailed(self, rows: MappedRows) -> None:
        if not (self.order.strict and rows.failures):
            return
        failure = rows.failures[0]
        kind = EngineError if rows.answered_tiles < rows.asked_tiles else SceneError
        raise kind(
            f"{self.order.path}: the tile at row {failure.row_px}, column {failure.col_px} failed ({failure.reason}); "
            "leave out --strict to map the rest and have it marked"
        )

    @contextmanager
    def kept(self, journal: Journal) -> Iterator[None]:
        """Say in the error that ends a run how much of it is kept and how to go on."""
        try:
            yield
        except EngineError as error:
            if not journal.answered_tiles:  # an engine that does not work: its rows are worth nothing
                journal.discard()
            _add_hint(error, self._hint(journal))
            raise
        except (Cancelled, OutputError, SceneError) as error:
            _add_hint(error, self._hint(journal))
            raise

    def _hint(self, journal: Journal) -> str:
        if not journal.rows_px:
            return ""
        first_row, end_row = self.rows
        return f"; {journal.rows_px} of {end_row - first_row} rows are kept, run the same command again to go on"


def map_scene(order: Order, model: Model) -> SceneResult:
    """Write map, polygons and picture of a scene, all three or none; see `Segmenter.predict_scene`."""
    start_s, final = time.perf_counter(), output_paths(order.path, order.out_dir, order.polygons)
    with _opened(order, model) as work:
        ready_folder(final, order.path)
        with opened_journal(journal_path(final.map), restart=order.restart) as journal, work.kept(journal):
            resumed_rows = journal.rows_px
            with staged(final, order.path) as hidden, closing(work.all_rows(journal)) as rows:
                result = assemble(
                    rows,
                    work.scene,
                    model.manifest,
                    final,
                    hidden,
                    min_area=order.min_area,
                    notes=model.notes,
                    check=order.check,
                )
            journal.discard()
    return replace(result, resumed_rows=resumed_rows, engine=model.engine_name, seconds=time.perf_counter() - start_s)


def map_shard(order: Order, shard: Shard, model: Model) -> ShardResult:
    """Write the finished rows of a shard, or nothing; see `Segmenter.predict_shard`."""
    start_s, tally = time.perf_counter(), Tally()
    final = output_paths(order.path, order.out_dir, order.polygons)
    rows_path = shard_path(final.map, shard)
    with _opened(order, model, shard) as work:
        if work.content().sha256 is None:
            raise SceneError(f"{order.path} is made of more than local files, so shards of it can't be told apart")
        require_carried(work.scene)
        ready_folder(final, order.path)
        with opened_journal(journal_path(rows_path), restart=order.restart) as journal, work.kept(journal):
            resumed_rows = journal.rows_px
            with closing(work.all_rows(journal)) as rows:
                for part in rows:
                    tally.add(part)
            order.check()
            if not journal.rows_px:
                journal.begin(work.header())
            journal.finish(rows_path)
    first_row, end_row = work.rows
    return ShardResult(
        scene_path=order.path,
        rows_path=rows_path,
        shard=str(shard),
        first_row=first_row,
        end_row=end_row,
        tiles=tally.tiles,
        failed_tiles=tally.failed_tiles,
        resumed_rows=resumed_rows,
        seconds=time.perf_counter() - start_s,
        notes=(*failure_notes(tally), *model.notes),
    )


@contextmanager
def _opened(order: Order, model: Model, shard: Shard | None = None) -> Iterator[_Work]:
    """Open the scene of an order and look at it, before anything is written."""
    contract, tile_px = model.manifest.input, model.manifest.tile_px
    overlap_px = tile_px // OVERLAP_SHARE if order.overlap_px is None else order.overlap_px
    with (
        gdal_session(),
        order.opened(contract) as scene,
        digesting(order.path) as content,
    ):
        grid = TileGrid(scene.height_px, scene.width_px, tile_px, overlap_px)
        with_values_mapped(model.engine, contract, order.value_range)  # refuses an empty range
        bounds = bounds_within(
            Work(grid, scene.pixel_type.itemsize, scene.block_hw),
            order.max_memory_bytes,
            used_bytes=resident_bytes(),
            best_batch=model.best_batch,
        )
        yield _Work(order, model, scene, grid, content, bounds, shard)


def _add_hint(error: Exception, hint: str) -> None:
    error.args = (f"{error}{hint}",)
