"""What `Segmenter.stream` takes: real video files, folders of images, arrays, and what it refuses in one line."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from fake_frames import SOON_S, numbered
from fake_videos import COLOURS, write_video
from rasterio.enums import ColorInterp

from kda_edge.errors import EngineError, SceneError, UsageError, VideoError
from kda_edge.manifest import Manifest
from kda_edge.runtime import FrameStream, Segmenter, StreamSummary
from kda_edge.runtime.geo.gdal import open_raster
from kda_edge.runtime.streams.open_frames import open_frames
from kda_edge.runtime.streams.source_names import is_live, is_video, shown, stem_of


def identity(tiles: np.ndarray) -> np.ndarray:
    return tiles[:, :1] / np.float32(255)


@pytest.fixture
def segmenter(make_manifest: Callable[..., Manifest]) -> Iterator[Segmenter]:
    with Segmenter(identity, make_manifest()) as opened:
        yield opened


def test_frames_of_a_video_come_in_order_in_red_green_blue_at_their_time(segmenter: Segmenter, tmp_path: Path) -> None:
    path = write_video(tmp_path / "flight.mp4", [COLOURS[number % 3] for number in range(12)], fps=20)
    with segmenter.stream(path) as stream:
        assert isinstance(stream, FrameStream)
        results = list(stream)
    assert [result.index for result in results] == list(range(12))
    assert [result.timestamp_s for result in results] == pytest.approx([number / 20 for number in range(12)])
    for result in results:
        wanted = np.array(COLOURS[result.index % 3])
        assert np.abs(result.frame.astype(int) - wanted).max() < 40  # the codec is lossy
        assert abs(result.prediction.probability.mean() - wanted[0] / 255) < 0.1  # the identity sees red
    assert isinstance(stream.summary, StreamSummary)
    assert (stream.summary.frames_in, stream.summary.dropped, stream.summary.notes) == (12, 0, ())


def test_part_of_a_video_by_number_and_time(segmenter: Segmenter, tmp_path: Path) -> None:
    path = write_video(tmp_path / "flight.mp4", [COLOURS[0]] * 20, fps=10)
    assert [result.index for result in segmenter.stream(str(path), every=4)] == [0, 4, 8, 12, 16]
    stream = segmenter.stream(str(path), every=3, seconds=1)
    assert [result.timestamp_s for result in stream] == pytest.approx([0.0, 0.3, 0.6, 0.9])


def test_a_video_cut_short_says_so(segmenter: Segmenter, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 256, (64, 64, 3), np.uint8) for _ in range(30)]
    path = write_video(tmp_path / "flight.avi", frames, fps=10, codec="MJPG")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    stream = segmenter.stream(path)
    count = len(list(stream))
    declared = int(cv2.VideoCapture(str(path)).get(cv2.CAP_PROP_FRAME_COUNT))
    if declared <= count:
        pytest.skip(f"this OpenCV counts what is left of the file, {declared} frames")
    assert stream.summary.notes == (
        f"{path} says that it has {declared} frames and gave {count}; the file may be damaged or cut short",
    )


def test_image_files_come_as_people_count_and_the_model_takes_or_refuses_their_depth(
    segmenter: Segmenter, tmp_path: Path
) -> None:
    for number in (10, 2, 1):
        image = np.zeros((8, 9 + number, 3), np.uint8)
        image[..., 2] = number  # OpenCV writes blue, green, red
        cv2.imwrite(str(tmp_path / f"shot{number}.png"), image)
    (tmp_path / "notes.txt").write_text("no image")
    for given in (tmp_path, str(tmp_path / "shot*.png")):
        frames = [result.frame for result in segmenter.stream(given)]
        assert [int(frame[0, 0, 0]) for frame in frames] == [1, 2, 10]
        assert [frame.shape[1] for frame in frames] == [10, 11, 19]
    assert [result.index for result in segmenter.stream(tmp_path, every=2)] == [0, 2]
    cv2.imwrite(str(tmp_path / "shot11.png"), np.zeros((8, 8, 3), np.uint16))
    with pytest.raises(UsageError, match=r"^frame 3 of .*the model takes uint8 pixels from 0 to 255, not uint16"):
        list(segmenter.stream(tmp_path))


def test_an_image_that_cannot_be_read_is_named_and_never_left_out(segmenter: Segmenter, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "1.png"), numbered(1))
    for content in (b"", b"no image"):
        (tmp_path / "2.png").write_bytes(content)
        stream = segmenter.stream(tmp_path)
        assert next(stream).index == 0
        with pytest.raises(VideoError, match=r"2\.png is no image"):
            next(stream)


@pytest.mark.parametrize("name", ["2.png", "2.jpg", "2.tif", "2.bmp"])
@pytest.mark.parametrize("alpha", [False, True])
def test_a_grey_image_is_refused_as_a_scene_is_and_never_taken_for_three_bands(
    segmenter: Segmenter, tmp_path: Path, name: str, alpha: bool
) -> None:
    grey = np.full((40, 50), 200, np.uint8)
    cv2.imwrite(str(tmp_path / "1.png"), numbered(1))
    if not alpha:
        cv2.imwrite(str(tmp_path / name), grey)
    elif name.endswith(("png", "tif")):
        with open_raster(tmp_path / name, "w", height=40, width=50, count=2, dtype="uint8") as dataset:
            dataset.write(np.stack([grey, np.full_like(grey, 255)]))
            dataset.colorinterp = [ColorInterp.gray, ColorInterp.alpha]
    else:
        pytest.skip("such a file has no alpha")
    stream = segmenter.stream(tmp_path)
    assert next(stream).index == 0
    with pytest.raises(VideoError, match=rf"{name} is grey and the model needs red, green and blue; ") as caught:
        next(stream)
    assert "\n" not in str(caught.value)
    with pytest.raises(SceneError, match=r"too few bands|palette"):
        segmenter.predict_scene(tmp_path / name)


def test_an_image_with_a_palette_has_the_colours_that_it_names(segmenter: Segmenter, tmp_path: Path) -> None:
    with open_raster(tmp_path / "1.png", "w", driver="PNG", height=8, width=8, count=1, dtype="uint8") as dataset:
        dataset.write(np.ones((1, 8, 8), np.uint8))
        dataset.write_colormap(1, {0: (0, 0, 0, 255), 1: (200, 100, 50, 255)})
    (result,) = segmenter.stream(tmp_path)
    assert result.frame[3, 3].tolist() == [200, 100, 50]


@pytest.mark.parametrize(
    ("frames", "error", "words"),
    [
        (np.zeros((4, 4, 3), np.uint8), UsageError, "one image is no stream"),
        (3.5, UsageError, "not float"),
        (True, UsageError, "not bool"),
        ("missing.mp4", VideoError, r"missing\.mp4 does not exist"),
        ("no*.jpg", VideoError, "holds no image"),
        ("empty", VideoError, r"holds no image; give files that end in \.bmp"),
        ("text.mp4", VideoError, r"text\.mp4 can't be opened; if it should be a video.*ffmpeg -i"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_gives_no_frames_is_refused_in_one_line(
    segmenter: Segmenter,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    frames: Any,
    error: type[Exception],
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    Path("text.mp4").write_text("no video")
    with pytest.raises(error, match=words) as caught:
        segmenter.stream(frames)
    assert "\n" not in str(caught.value)


def test_an_address_that_refuses_is_one_line_without_the_password(segmenter: Segmenter) -> None:
    with pytest.raises(VideoError, match=r"^rtsp://127\.0\.0\.1:9/x can't be opened; check cable") as caught:
        segmenter.stream("rtsp://pilot:secret@127.0.0.1:9/x?token=abc")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("bad", [numbered(1)[..., 0], numbered(1).astype(np.float32), "text", None], ids=repr)
def test_a_frame_that_the_model_does_not_take_is_named(segmenter: Segmenter, bad: Any) -> None:
    stream = segmenter.stream([numbered(0), bad], max_side_px=3)
    next(stream)
    with pytest.raises(UsageError, match=r"^frame 1 of frames: "):
        next(stream)


def test_frames_may_change_their_size_and_are_made_smaller_on_request(segmenter: Segmenter) -> None:
    sizes = [(40, 60), (60, 40), (7, 9), (300, 1)]
    frames = [np.full((*size_hw, 3), 51, np.uint8) for size_hw in sizes]
    whole = list(segmenter.stream(frames))
    small = list(segmenter.stream(frames, max_side_px=30))
    assert [result.prediction.mask.shape for result in whole] == sizes
    assert [result.prediction.mask.shape for result in small] == [(20, 30), (30, 20), (7, 9), (30, 1)]
    assert [result.frame.shape[:2] for result in small] == sizes
    for result in small:
        np.testing.assert_allclose(result.prediction.probability, 0.2, atol=1e-6)


def test_a_generator_is_asked_in_the_callers_thread_unless_frames_may_be_dropped(segmenter: Segmenter) -> None:
    """Where a thread asks, a camera's own buffer may be filled again while its frame is at work."""
    threads, buffer = list[threading.Thread](), numbered(0)

    def camera() -> Iterator[np.ndarray]:
        for number in range(5):
            threads.append(threading.current_thread())
            buffer[:] = number
            yield buffer

    assert [int(result.frame[0, 0, 0]) for result in segmenter.stream(camera())] == [0, 1, 2, 3, 4]
    assert set(threads) == {threading.main_thread()}
    threads.clear()
    results = list(segmenter.stream(camera(), drop=True))
    assert threading.main_thread() not in threads
    assert all(int(result.frame[0, 0, 0]) == result.index for result in results)
    assert results[-1].index == 4


def test_a_failed_tile_is_marked_and_the_stream_goes_on(make_manifest: Callable[..., Manifest]) -> None:
    def engine(tiles: np.ndarray) -> np.ndarray:
        if (tiles == 13).any():
            raise RuntimeError("out of memory")
        return identity(tiles)

    bad, good = np.full((100, 100, 3), 200, np.uint8), np.full((100, 100, 3), 200, np.uint8)
    bad[0, 0] = 13
    stream = Segmenter(engine, make_manifest()).stream([good, bad, good])
    results = list(stream)
    assert [len(result.prediction.failures) for result in results] == [0, 1, 0]
    assert results[1].prediction.mask[0, 0] == 255
    assert np.isnan(results[1].prediction.probability[0, 0])
    assert (results[1].prediction.mask[50:] == 1).all()
    assert stream.summary.failed_tiles == 1
    with pytest.raises(EngineError, match="failed on the only tile"):
        list(Segmenter(engine, make_manifest()).stream([bad[:4, :4]]))


def test_a_closed_segmenter_ends_its_streams_with_one_line(segmenter: Segmenter) -> None:
    stream = segmenter.stream(numbered(number) for number in range(9))
    next(stream)
    closing = threading.Thread(target=segmenter.close)
    closing.start()
    closing.join(SOON_S)
    with pytest.raises(UsageError, match="closed"):
        next(stream)


@pytest.mark.parametrize(
    ("name", "video", "live", "said", "stem"),
    [
        ("flight.MP4", True, False, "flight.MP4", "flight"),
        ("scene.tif", False, False, "scene.tif", "scene"),
        ("rtsp://u:p@host:554/cam/1?key=2", True, True, "rtsp://host:554/cam/1", "1"),
        ("rtsp://u:p@ss@host", True, True, "rtsp://host", "host"),
        ("https://host/flight.mp4?key=2", True, False, "https://host/flight.mp4", "flight"),
        ("udp://@239.0.0.1:1234", True, True, "udp://239.0.0.1:1234", "239.0.0.1"),
        ("/dev/video2", True, True, "/dev/video2", "video2"),
        ("C:/flight.tif", False, False, "C:/flight.tif", "flight"),
    ],
)
def test_names_tell_videos_from_scenes_and_live_from_recorded(
    name: str, video: bool, live: bool, said: str, stem: str
) -> None:
    assert (is_video(name), is_live(name), shown(name), stem_of(name)) == (video, live, said, stem)


def test_frames_of_one_array_are_frames() -> None:
    source = open_frames(np.zeros((3, 4, 4, 3), np.uint8), ("red", "green", "blue"))
    assert [source.read() is None for _ in range(4)] == [False, False, False, True]
