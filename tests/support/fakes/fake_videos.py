"""Tiny videos, made on the spot with the codecs that OpenCV's wheel brings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

COLOURS = ((220, 30, 40), (30, 200, 60), (40, 50, 210))  # red, green, blue


def write_video(
    path: Path, frames: Sequence[Any], *, fps: float = 25, codec: str = "mp4v", size_hw: tuple[int, int] = (48, 64)
) -> Path:
    """Write frames, (H, W, 3) in red, green, blue, or one colour each; skip the test where OpenCV has no such codec."""
    images = [
        np.full((*size_hw, 3), frame, np.uint8) if len(np.shape(frame)) == 1 else np.asarray(frame) for frame in frames
    ]
    height_px, width_px = images[0].shape[:2]
    writer = cv2.VideoWriter(
        str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*codec), float(fps), (width_px, height_px)
    )
    if not writer.isOpened():
        pytest.skip(f"this OpenCV has no encoder for {codec}")
    for image in images:
        writer.write(image[..., ::-1])
    writer.release()
    return path
