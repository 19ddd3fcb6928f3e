"""What the teacher-feature cache saves: epochs of phase 1 with it, the first against the later ones.

    python -m kda_edge.benchmarks.studies.feature_cache --images 24 --json benchmarks/results/feature_cache.json

Imagery is made on the spot; the teacher has random weights, since its speed does not depend on them: nothing here
says anything about what it teaches. The clock is kda-train's own, of whole epochs, reading and writing included.
"""

from __future__ import annotations

import argparse
import json
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

from kda_edge.errors import MissingDependency
from kda_edge.machine import machine_facts

EPOCH_SECONDS: Final = re.compile(r"^epoch \d+/\d+: .* ([\d.]+) s$", re.MULTILINE)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print a table, and end with one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--teacher", default="vit_large_patch14_dinov2", help="architecture of timm, random weights")
    parser.add_argument("--variant", default="nano")
    parser.add_argument("--images", type=int, default=24)
    parser.add_argument("--crop-px", type=int, default=224)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(argv)
    seconds = measure(options.teacher, options.variant, options.images, options.crop_px, options.epochs)
    later = statistics.median(seconds[1:])
    print("epoch  seconds")
    for epoch, value in enumerate(seconds, start=1):
        print(f"{epoch:5}  {value:7.1f}")
    print(f"first / median of the later: {seconds[0] / later:.1f}")
    result = {
        "teacher": f"{options.teacher}, random weights",
        "variant": options.variant,
        "images": options.images,
        "crop_px": options.crop_px,
        "epoch_seconds": seconds,
        "ratio": seconds[0] / later,
        "machine": machine_facts(("torch", "timm")),
    }
    if options.json:
        options.json.write_text(json.dumps(result, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    print(json.dumps(result))
    return 0


def measure(teacher: str, variant: str, images: int, crop_px: int, epochs: int) -> list[float]:
    """Return the seconds of each epoch of a distillation whose crops come again in every epoch."""
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
        done = subprocess.run(command, capture_output=True, text=True, check=True)
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
