"""What the teacher-feature cache saves: epochs of phase 1 with it, the first against the later ones.

    python -m kda_edge.benchmarks.studies.feature_cache --images 24 --json benchmarks/results/feature_cache.json

Imagery is made on the spot; the teacher has random weights, since its speed does not depend on them: nothing here
says anything about what it teaches. The clock is kda-train's own, of whole epochs, reading and writing included.
"""

from __future__ import annotations

import argparse
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np

from kda_edge.commands import ended
from kda_edge.errors import MissingDependency, TrainingError, UsageError
from kda_edge.machine import machine_facts

from ..documents.training_tables import feature_cache_table
from ..reporting.text_tables import add_json_option, publish_plain, require_json_path

EPOCH_SECONDS: Final = re.compile(r"^epoch \d+/\d+: .* ([\d.]+) s$", re.MULTILINE)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--teacher", default="vit_large_patch14_dinov2", help="architecture of timm, random weights")
    parser.add_argument("--variant", default="nano")
    parser.add_argument("--images", type=int, default=24)
    parser.add_argument("--crop-px", type=int, default=224)
    parser.add_argument("--epochs", type=int, default=4)
    add_json_option(parser, "as benchmarks/results/feature_cache.json")
    options = parser.parse_args(argv)
    return ended("feature_cache", lambda: _run(options))


def _run(options: argparse.Namespace) -> None:
    require_json_path(options.json)
    if options.epochs < 2:
        raise UsageError(f"--epochs {options.epochs}: give 2 or more, the first is held against the later ones")
    seconds = measure(options.teacher, options.variant, options.images, options.crop_px, options.epochs)
    result = {
        "teacher": f"{options.teacher}, random weights",
        "variant": options.variant,
        "images": options.images,
        "crop_px": options.crop_px,
        "epoch_seconds": seconds,
        "ratio": seconds[0] / statistics.median(seconds[1:]),
        "machine": machine_facts(("torch", "timm")),
    }
    publish_plain(result, feature_cache_table(result), json_to=options.json)


def measure(teacher: str, variant: str, images: int, crop_px: int, epochs: int) -> list[float]:
    """Return the seconds of each epoch of a distillation whose crops come again in every epoch.

    Raises:
        TrainingError: `kda-train distill` failed, with its own last line.
    """
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        (place / "images").mkdir()
        rng = np.random.default_rng(0)
        for index in range(images):
            pixels = rng.integers(0, 256, (crop_px, crop_px, 3), dtype=np.uint8)
            cv2.imwrite(str(place / "images" / f"{index:04}.png"), pixels)
        weights = _random_weights(teacher, place / "weights.pt")
        command = [sys.executable, "-m", "kda_edge.train", "distill", "--data", str(place / "images")]
        command += ["--out", str(place / "run"), "--cache", str(place / "cache"), "--views", "1"]
        command += ["--variant", variant, "--teacher", teacher, "--teacher-weights", str(weights), "--method", "kd"]
        command += ["--crop-px", str(crop_px), "--epochs", str(epochs), "--batch", "8", "--workers", "0"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or ["it said nothing"]
        raise TrainingError(f"kda-train distill ended with {done.returncode} ({last[0]})")
    return [float(value) for value in EPOCH_SECONDS.findall(done.stderr)]


def _random_weights(teacher: str, path: Path) -> Path:
    try:
        import timm
        import torch
    except ModuleNotFoundError as error:
        raise MissingDependency(error.name or "timm", extra="train") from error
    model: Any = timm.create_model(teacher, pretrained=False)
    torch.save(model.state_dict(), path)
    return path


if __name__ == "__main__":
    raise SystemExit(main())
