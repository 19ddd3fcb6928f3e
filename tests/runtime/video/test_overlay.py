"""What an overlay shows, and that its file holds what was written to it."""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from kda_edge.errors import OutputError
from kda_edge.runtime.outputs.legend import AREA_SHARE, CASING, LANDSLIDE, NODATA
from kda_edge.runtime.scenes.band_choice import RGB
from kda_edge.runtime.video.mp4_writer import MOST_REPEATS, VideoWriter
from kda_edge.runtime.video.overlay import UNKNOWN_SHARE, overlaid

GROUND = (60, 90, 40)


def mixed(color: tuple[int, int, int], share: float) -> np.ndarray:
    return np.array(color) * share + np.array(GROUND) * (1 - share)


@pytest.mark.parametrize("bands", [RGB, ("green", "blue", "red")], ids=str)
@pytest.mark.parametrize("smaller", [1, 4])
def test_landslides_are_tinted_and_outlined_and_all_else_is_left_or_greyed(
    bands: tuple[str, str, str], smaller: int
) -> None:
    frame = np.full((80, 120, 3), [GROUND[RGB.index(band)] for band in bands], np.uint8)
    mask = np.zeros((80, 120), np.uint8)
    mask[20:60, 20:60], mask[:, 100:] = 1, 255
    kept = frame.copy()
    shown = overlaid(frame, np.ascontiguousarray(mask[::smaller, ::smaller]), bands)[..., ::-1]  # to red, green, blue
    assert np.abs(shown[30:50, 30:50] - mixed(LANDSLIDE, AREA_SHARE)).max() <= 1
    assert np.abs(shown[:, 104:] - mixed(NODATA, UNKNOWN_SHARE)).max() <= 1
    assert (shown[:, :14] == GROUND).all()
    assert (shown[:14, :96] == GROUND).all()
    assert (shown[40, 20] == LANDSLIDE).all()
    assert (shown[40, 19] == CASING).all()
    np.testing.assert_array_equal(frame, kept)


def test_a_frame_without_landslides_is_the_frame() -> None:
    frame = np.random.default_rng(0).integers(0, 256, (9, 11, 3), np.uint8)
    np.testing.assert_array_equal(overlaid(frame, np.zeros((9, 11), np.uint8), RGB)[..., ::-1], frame)


def read_video(path: Path) -> list[np.ndarray]:
    capture, frames = cv2.VideoCapture(str(path)), list[np.ndarray]()
    while True:
        good, frame = capture.read()
        if not good:
            return frames
        frames.append(frame)


def grey(value: int, size_hw: tuple[int, int] = (32, 48)) -> np.ndarray:
    return np.full((*size_hw, 3), value, np.uint8)


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., tuple[list[int], VideoWriter]]:
    """Write (picture, time) pairs; return the grey of each frame in the file, to tens, and the writer."""

    def write(*pictures: tuple[np.ndarray, float], by_time: bool = False) -> tuple[list[int], VideoWriter]:
        with VideoWriter(tmp_path / "v.mp4", 10.0, by_time=by_time) as writer:
            for picture, timestamp_s in pictures:
                writer.write(picture, timestamp_s)
            writer.finish()
        return [round(float(frame.mean()), -1) for frame in read_video(tmp_path / "v.mp4")], writer

    return write


def test_frames_one_after_another_are_shown_once_each(
    written: Callable[..., tuple[list[int], VideoWriter]],
) -> None:
    assert written(*((grey(value), 77.0) for value in (10, 100, 200)))[0] == [10, 100, 200]


def test_live_frames_last_until_the_next_one(written: Callable[..., tuple[list[int], VideoWriter]]) -> None:
    """Those that come faster than the video's pace are not in it, all but the newest."""
    times_s = (5.0, 5.5, 5.6, 5.62, 5.64, 6.0)
    shown, writer = written(*((grey(20 + 40 * n), t) for n, t in enumerate(times_s)), by_time=True)
    assert shown == [20] * 5 + [60] + [180] * 4 + [220]
    assert writer.notes == []


def test_a_long_gap_is_cut_and_said_and_what_follows_is_in_time(
    written: Callable[..., tuple[list[int], VideoWriter]],
) -> None:
    shown, writer = written((grey(20), 0.0), (grey(100), 1e5), (grey(180), 1e5 + 0.5), by_time=True)
    assert shown == [20] * MOST_REPEATS + [100] * 5 + [180]
    assert "gaps" in writer.notes[0]


def test_odd_sizes_lose_no_row_and_changed_sizes_are_scaled_and_said(
    tmp_path: Path, written: Callable[..., tuple[list[int], VideoWriter]]
) -> None:
    shown, writer = written((grey(50, (33, 49)), 0.0), (grey(120, (33, 49)), 0.0))
    assert shown == [50, 120]
    assert writer.notes == []
    assert read_video(tmp_path / "v.mp4")[0].shape == (34, 50, 3)
    shown, writer = written((grey(50, (33, 49)), 0.0), (grey(120, (66, 98)), 0.0))
    assert shown == [50, 120]
    assert writer.notes == ["frames of another size than the first were scaled to it in the video"]


@pytest.fixture
def small_disk() -> Iterator[None]:
    """No file may grow beyond 20 kB, which a program is told as it is told of a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.usefixtures("small_disk")
def test_a_disk_that_fills_up_is_an_error_though_opencv_says_nothing(
    written: Callable[..., tuple[list[int], VideoWriter]],
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    assert written(*[(noise, 0.0)] * 2)[1].notes == []
    with pytest.raises(OutputError, match=r"holds \d+ of 60 frames; free some space"):
        written(*[(noise, 0.0)] * 60)


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="nowhere"):
        VideoWriter(tmp_path / "nowhere" / "v.mp4", 10.0, by_time=False).write(grey(1), 0.0)
