"""A live source that is lost: looked for with longer and longer pauses, found again, or given up in one line."""

from __future__ import annotations

import logging
import math
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from fake_frames import LOST, FakeTime, ScriptedSource, numbered, reading_threads, seen
from fake_videos import COLOURS, write_video

from kda_edge.errors import UsageError, VideoError
from kda_edge.runtime import FrameResult
from kda_edge.runtime.scenes.band_choice import RGB
from kda_edge.runtime.streams.frame_reader import Clock, StreamOptions
from kda_edge.runtime.streams.frame_stream import FrameStream
from kda_edge.runtime.streams.open_frames import open_frames
from kda_edge.runtime.streams.opencv_frames import VideoFrames


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    yield
    assert reading_threads() == []


def take(stream: FrameStream, count: int) -> list[FrameResult]:
    return [next(stream) for _ in range(count)]


def test_a_lost_source_is_found_again_after_longer_and_longer_pauses(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "kda_edge.runtime")
    time = FakeTime()
    source = ScriptedSource(
        [0, LOST, 1, 2], time=time, live=True, threaded=False, can_reopen=lambda tries: tries in (4, 5)
    )
    with FrameStream(source, seen, StreamOptions(drop=False), time.clock()) as stream:
        results = take(stream, 3)
    assert [result.reconnects for result in results] == [0, 1, 0]
    assert [result.index for result in results] == [0, 1, 2]  # what nobody saw has no number
    assert time.pauses_s == [0.5, 1, 2, 4]
    assert stream.summary.reconnects == 1
    assert [record.message for record in caplog.records] == [
        "the script is lost; trying again for 30 s",
        "the script is back after 7.5 s",
    ]


@pytest.mark.parametrize("opens", [False, True], ids=["stays away", "opens and gives nothing"])
def test_a_source_that_does_not_come_back_is_given_up_in_one_line(opens: bool) -> None:
    time = FakeTime()
    source = ScriptedSource([0], time=time, live=True, can_reopen=lambda tries: opens)
    stream = FrameStream(source, seen, StreamOptions(reconnect_s=40), time.clock())
    with pytest.raises(VideoError, match=r"^the script was lost and not found again within 40 s; .*network$") as caught:
        list(stream)
    assert isinstance(caught.value, OSError)
    assert sum(time.pauses_s) == pytest.approx(40)
    assert max(time.pauses_s) == 8
    assert source.closed
    assert stream.summary.frames_out + stream.summary.dropped == 1


def test_each_loss_has_its_own_time_and_its_own_pauses() -> None:
    time, losses = FakeTime(), 20
    script = [step for number in range(losses) for step in (number, LOST)]
    source = ScriptedSource([*script, losses], time=time, live=True, threaded=False)
    with FrameStream(source, seen, StreamOptions(reconnect_s=1), time.clock()) as stream:
        assert [result.reconnects for result in take(stream, losses + 1)] == [0, *[1] * losses]
    assert time.pauses_s == [0.5] * losses


def test_a_source_may_be_looked_for_for_ever_until_somebody_stops() -> None:
    time, asked = FakeTime(), list[int]()

    def cancel() -> bool:
        asked.append(1)
        return len(time.pauses_s) >= 1000

    source = ScriptedSource([], time=time, live=True, threaded=False, can_reopen=lambda tries: False)
    options = StreamOptions(reconnect_s=math.inf, cancel=cancel)
    assert list(FrameStream(source, seen, options, time.clock())) == []
    assert len(time.pauses_s) == 1000


def test_time_is_up_also_while_a_source_is_lost() -> None:
    time = FakeTime()
    source = ScriptedSource([], time=time, live=True, can_reopen=lambda tries: False)
    options = StreamOptions(reconnect_s=math.inf, seconds=60)
    assert list(FrameStream(source, seen, options, time.clock())) == []
    assert 60 <= sum(time.pauses_s) <= 68


def test_a_recording_that_ends_is_not_lost() -> None:
    source = ScriptedSource([0, 1])
    assert len(list(FrameStream(source, seen))) == 2
    assert source.tries == 0


class FakeCapture:
    """A `cv2.VideoCapture` that opens or not, gives some frames, then none."""

    def __init__(self, frames: int, *, opens: bool = True, **facts: float) -> None:
        self.left, self.opens, self.facts, self.released = frames, opens, facts, 0

    def isOpened(self) -> bool:  # noqa: N802 -- OpenCV's name
        return self.opens

    def get(self, key: int) -> float:
        names = {cv2.CAP_PROP_FRAME_COUNT: "count", cv2.CAP_PROP_FPS: "fps", cv2.CAP_PROP_POS_MSEC: "position_ms"}
        return self.facts.get(names[key], -1.0)

    def grab(self) -> bool:
        self.left -= 1
        return self.left >= 0

    def read(self) -> tuple[bool, Any]:
        good = self.grab()
        return good, numbered(self.left) if good else None

    def release(self) -> None:
        self.released += 1


def from_captures(*captures: FakeCapture) -> Callable[[], FakeCapture]:
    left = list(captures)
    return lambda: left.pop(0)


def test_a_stream_on_the_network_that_drops_is_opened_anew() -> None:
    first, second, third = FakeCapture(2), FakeCapture(0, opens=False), FakeCapture(1)
    time = FakeTime()
    source = VideoFrames("rtsp://drone/1", from_captures(first, second, third), RGB, live=True)
    with FrameStream(source, seen, StreamOptions(drop=False), time.clock()) as stream:
        results = take(stream, 3)
        stream.stop()
    assert [result.reconnects for result in results] == [0, 0, 1]
    assert time.pauses_s[:2] == [0.5, 1]
    assert [capture.released > 0 for capture in (first, third)] == [True, True]


def test_a_camera_that_never_opens_is_one_line_at_once() -> None:
    with pytest.raises(VideoError, match=r"^camera 3 can't be opened; check cable") as caught:
        VideoFrames("camera 3", from_captures(FakeCapture(0, opens=False)), RGB, live=True)
    assert "\n" not in str(caught.value)


def test_an_address_that_knows_its_number_of_frames_is_a_recording_and_ends() -> None:
    source = VideoFrames("http://host/clip", from_captures(FakeCapture(3, count=3.0, fps=30.0)), RGB, live=True)
    assert not source.live
    assert source.fps == 30
    assert len(list(FrameStream(source, seen))) == 3


@pytest.mark.parametrize("fps", [0.0, -1.0, math.nan, 90_000.0])
def test_frames_a_second_that_cannot_be_are_not_believed(fps: float) -> None:
    assert VideoFrames("camera 0", from_captures(FakeCapture(1, fps=fps)), RGB, live=True).fps is None


def test_a_model_of_other_bands_is_not_given_colours() -> None:
    with pytest.raises(UsageError, match="takes the bands nir, red, green, and camera 0 has red, green, blue"):
        VideoFrames("camera 0", from_captures(FakeCapture(1)), ("nir", "red", "green"), live=True)


@pytest.mark.parametrize("bands", [RGB, ("green", "blue", "red"), ("blue", "green", "red")], ids=str)
def test_channels_come_in_the_models_order(bands: tuple[str, str, str]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    found = VideoFrames("camera 0", from_captures(FakeCapture(1)), bands, live=True).in_order(image)
    for channel, band in enumerate(bands):
        np.testing.assert_array_equal(found[..., channel], image[..., ["blue", "green", "red"].index(band)])
    assert found.flags.c_contiguous


@pytest.fixture
def broadcast(tmp_path: Path) -> Iterator[str]:
    """The address of a server on this machine that sends nine frames to each of two who connect, then is gone."""
    content = write_video(tmp_path / "clip.ts", [COLOURS[number % 3] for number in range(9)]).read_bytes()
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with server:
            for _ in range(2):
                connection, _ = server.accept()
                with connection:
                    connection.sendall(content)

    thread = threading.Thread(target=serve)
    thread.start()
    yield f"tcp://127.0.0.1:{server.getsockname()[1]}"
    thread.join()


def test_a_broadcast_that_breaks_off_is_received_again_by_the_real_library(broadcast: str) -> None:
    hurried = Clock(pause=lambda event, seconds: event.wait(seconds / 25))
    source = open_frames(broadcast, RGB)
    assert source.live
    stream = FrameStream(source, seen, StreamOptions(drop=False, reconnect_s=0.5), hurried)
    results: list[FrameResult] = []
    with pytest.raises(VideoError, match=r"not found again within 0\.5 s"):
        results.extend(stream)
    assert [result.index for result in results] == list(range(18))
    assert [result.index for result in results if result.reconnects] == [9]
    for result in results:
        assert np.abs(result.frame.astype(int) - COLOURS[result.index % 9 % 3]).max() < 40
