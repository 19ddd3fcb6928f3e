"""What each precision costs and keeps: size, difference from PyTorch, IoU on unseen labelled tiles, CPU latency.

    python -m kda_edge.benchmarks.studies.precision --ckpt runtime/bundled/student_nano.pt --data-root DIR
        --out runs/precision

DIR holds the sources that `held_out` names. Each row is a `kda-export` of its own, with its gates; a row that a gate
refuses says so, and is measured with `--force` or a wider budget all the same. Latencies are medians of alternating
runs (A B C A B C) of ONNX Runtime on this processor, one tile at a time; they say nothing of a GPU.
"""

from __future__ import annotations

import argparse
import csv
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from kda_edge.commands import ended
from kda_edge.errors import UsageError
from kda_edge.machine import machine_facts
from kda_edge.runtime.opened_engine import OpenedEngine, open_engine

from ..documents.training_tables import precision_table
from ..reporting.text_tables import publish_plain, require_json_path

# By name: options of kda-export. The two INT8 artifacts differ in what surrounds the integer parts.
ROWS: Final[dict[str, tuple[str, ...]]] = {
    "fp32": (),
    "fp16": ("--fp16",),
    "int8 for CPUs": ("--int8", "--target", "cpu"),
    "int8 for TensorRT": ("--int8", "--target", "tensorrt"),
}
ALL_THE_SAME: Final = ("--force", "--max-iou-loss", "100")
BIJIE_UNSEEN: Final = ("ny", "qxg")
ROUNDS: Final = 40
WARM_UP: Final = 5


def main(argv: Sequence[str] | None = None) -> int:
    """Export and measure every row, print and write; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ckpt", type=Path, required=True)
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--json", metavar="FILE.json", help="default: precision.json in --out")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--calib-method", default="percentile")
    parser.add_argument("--tile-px", type=int, metavar="PX", help="side of the tiles (default: the checkpoint's)")
    parser.add_argument(
        "--no-labels", action="store_true", help="differences and sizes alone: weights that learned nothing"
    )
    options = parser.parse_args(argv)
    return ended("precision", lambda: _run(options))


def _run(options: argparse.Namespace) -> None:
    require_json_path(options.json)
    rows = [exported(name, options) for name in ROWS]
    add_latencies(rows, options.rounds)
    packages = ("torch", "onnx", "onnxruntime")
    result = {"benchmark": "precision", "machine": machine_facts(packages), "rounds": options.rounds, "rows": rows}
    for row in rows:
        row.pop("artifact")
    publish_plain(result, precision_table(result), json_to=options.json or str(options.out / "precision.json"))


def exported(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Run `kda-export` for a row; where a gate refuses, keep its words and export once more without the gate.

    Raises:
        UsageError: the export fails for another reason.
    """
    labelled, calibration = folders(options.data_root, options.out / "data")
    artifact = options.out / f"{name.replace(' ', '_')}.onnx"
    command = [sys.executable, "-m", "kda_edge.export", "--ckpt", str(options.ckpt), "-o", str(artifact), "--json"]
    command += ROWS[name]
    if options.tile_px is not None:
        command += ["--tile", str(options.tile_px)]
    if not options.no_labels:
        command += ["--eval", str(labelled)]
    if "--int8" in command:
        command += ["--calib", str(calibration), "--calib-method", options.calib_method]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    refusal = ""
    if done.returncode:
        refusal = _last_words(done)
        done = subprocess.run([*command, *ALL_THE_SAME], check=False, capture_output=True, text=True)
        if done.returncode:
            raise UsageError(f"{name}: {_last_words(done)}")
    facts = json.loads(done.stdout)
    certificate = facts["certificate"]
    labels = certificate["labelled"]
    return {
        "name": name,
        "artifact": str(artifact),
        "size_bytes": facts["size_bytes"],
        "variant": facts["variant"],
        "tile_px": facts["tile_px"],
        "target": facts["target"],
        "islands": facts["islands"],
        "tiles": len(certificate["tiles"]),
        "max_abs": certificate["max_abs"],
        "mean_abs": certificate["mean_abs"],
        "class_changes": certificate["class_changes"],
        "images": len(labels["images"]) if labels else 0,
        "iou": labels["iou"] if labels else None,
        "reference_iou": labels["reference_iou"] if labels else None,
        "refused": refusal,
    }


def _last_words(done: subprocess.CompletedProcess[str]) -> str:
    lines = done.stderr.strip().splitlines() or [f"it ended with {done.returncode} and said nothing"]
    return lines[-1].removeprefix("kda-export: ")


def add_latencies(rows: Sequence[dict[str, Any]], rounds: int) -> None:
    """Put the median milliseconds of a tile into each row; the artifacts take turns."""
    engines = [open_engine(Path(row["artifact"]), engine="cpu", allow_unverified=True) for row in rows]
    times_ms: list[list[float]] = [[] for _ in engines]
    for done in range(WARM_UP + rounds):
        for engine, mine_ms in zip(engines, times_ms, strict=True):
            elapsed_ms = _elapsed_ms(engine)
            if done >= WARM_UP:
                mine_ms.append(elapsed_ms)
    for row, mine_ms in zip(rows, times_ms, strict=True):
        row["cpu_p50_ms"] = statistics.median(mine_ms)


def folders(data_root: Path, out: Path) -> tuple[Path, Path]:
    """Return a folder of labelled images that the bundled student never saw, and one to calibrate on; all are links."""
    labelled, calibration = out / "unseen", out / "calibration"
    for source, name, unseen in _images(data_root):
        image = next((source / "images").glob(f"{name}.*"), None)
        if image is None:
            raise UsageError(f"{source / 'images'} has no {name}; give the folder of the sources with --data-root")
        if not unseen:
            _link(image, calibration / f"{source.name}_{image.name}")
            continue
        for kind in ("images", "masks", "valid"):
            for file in (source / kind).glob(f"{name}.*"):
                _link(file, labelled / kind / f"{source.name}_{file.name}")
    return labelled, calibration


def _images(data_root: Path) -> Iterator[tuple[Path, str, bool]]:
    """Yield source, name and whether `nano` never saw it (docs/model_card.md)."""
    for row in _rows(data_root / "bijie" / "index.csv"):
        if row["kind"] == "landslide":
            yield data_root / "bijie", row["stem"], row["name_prefix"] in BIJIE_UNSEEN
    for row in _rows(data_root / "l4s_rgb" / "index.csv"):
        yield data_root / "l4s_rgb", row["stem"], row["split"] == "validation"
    yield data_root / "jinsha_ortho", "scene_A", False
    yield data_root / "jinsha_ortho", "scene_B", True


def _rows(index: Path) -> list[dict[str, str]]:
    if not index.is_file():
        raise UsageError(f"there is no {index}; give the folder of the sources with --data-root")
    with index.open(newline="", encoding="utf-8-sig") as file:
        return list(csv.DictReader(file))


def _link(source: Path, link: Path) -> None:
    link.parent.mkdir(parents=True, exist_ok=True)
    if not link.is_symlink():
        link.symlink_to(source.resolve())


def _elapsed_ms(engine: OpenedEngine) -> float:
    tile_px = engine.manifest.tile_px
    tile = np.random.default_rng(0).integers(0, 256, (1, 3, tile_px, tile_px)).astype(np.float32)
    start = time.perf_counter()
    engine(tile)
    return (time.perf_counter() - start) * 1000.0


if __name__ == "__main__":
    raise SystemExit(main())
