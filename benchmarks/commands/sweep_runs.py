"""The commands behind a sweep: exports and latencies, each in a process of its own."""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from kda_edge.manifest import Manifest
from kda_edge.runtime.engines.artifact import read_artifact
from kda_edge.tiling.tile_grid import default_overlap_px

from ..reporting.result import Result, read_result
from .pareto import Setting

# Runs a command and returns its exit code and what it said on stderr.
Command: TypeAlias = Callable[[Sequence[str]], tuple[int, str]]


@dataclass(frozen=True)
class Export:
    """An artifact to make.

    Attributes:
        checkpoint: the `.pt` file.
        precision: of the graph.
        tile_px: side of the tile; None: as trained.
        calibration: imagery for INT8, or None.
        labelled: folder of labelled images, or None.
        folder: for the artifact.
    """

    checkpoint: Path
    precision: str
    tile_px: int | None
    calibration: Path | None
    labelled: Path | None
    folder: Path

    @property
    def name(self) -> str:
        """Name of the artifact's file."""
        tile = "" if self.tile_px is None else f"_{self.tile_px}px"
        return f"{self.checkpoint.stem}_{self.precision}{tile}.onnx"

    def command(self) -> list[str]:
        """Return the command line of `kda-export`."""
        words = [sys.executable, "-m", "kda_edge.export", "--ckpt", str(self.checkpoint)]
        words += ["-o", str(self.folder / self.name), "--json"]
        if self.precision != "fp32":
            words.append(f"--{self.precision}")
        for option, value in (("--tile", self.tile_px), ("--eval", self.labelled)):
            words += [] if value is None else [option, str(value)]
        if self.precision == "int8" and self.calibration is not None:
            words += ["--calib", str(self.calibration)]
        return words


def run_command(words: Sequence[str]) -> tuple[int, str]:
    """Run a command, its stdout thrown away."""
    done = subprocess.run(words, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    return done.returncode, done.stderr


def exported(export: Export, run: Command = run_command) -> Path | str:
    """Return the artifact, or in one line why `kda-export` refused it."""
    code, said = run(export.command())
    return export.folder / export.name if code == 0 else _last_line(said, code)


def measured_settings(
    artifact: Path, engine: str, options: argparse.Namespace, folder: Path, run: Command = run_command
) -> list[Setting] | str:
    """Return what `kda-bench latency` measures of an artifact on an engine, or in one line why it does not."""
    out = folder / "latency.json"
    words = [sys.executable, "-m", "kda_edge.benchmarks.cli", "latency", str(artifact), "--engine", engine]
    words += ["--batch", ",".join(map(str, options.batches)), "--json", str(out)]
    words += ["--min-calls", str(options.min_calls), "--limit", str(options.limit)]
    words += ["--allow-unverified"] if options.allow_unverified else []
    code, said = run(words)
    if code:
        return _last_line(said, code)
    manifest = read_artifact(artifact, allow_unverified=options.allow_unverified).manifest
    return settings_from(read_result(out), artifact.name, manifest)


def settings_from(result: Result, artifact: str, manifest: Manifest) -> list[Setting]:
    """Return a setting for each batch of a latency's result."""
    figures = {(figure.name, figure.of.get("batch")): figure.value for figure in result.figures}
    batches = [figure.of["batch"] for figure in result.figures if figure.name == "latency.p50"]
    labelled = None if manifest.certificate is None else manifest.certificate.labelled
    map_px = (manifest.tile_px - default_overlap_px(manifest.tile_px)) ** 2
    return [
        Setting(
            artifact=artifact,
            precision=manifest.precision,
            engine=str(result.settings["engine_used"]),
            tile_px=manifest.tile_px,
            batch=int(batch),
            ms_per_mpx=figures["latency.p50", batch] / (int(batch) * map_px / 1e6),
            p50_ms=figures["latency.p50", batch],
            p99_ms=figures["latency.p99", batch],
            memory_mb=figures.get(("memory.host_peak", batch)),
            iou=None if labelled is None else labelled.iou,
            steady=result.steady,
        )
        for batch in batches
    ]


def _last_line(said: str, code: int) -> str:
    lines = said.strip().splitlines()
    return lines[-1].split(": ", 1)[-1] if lines else f"it ended with {code}"
