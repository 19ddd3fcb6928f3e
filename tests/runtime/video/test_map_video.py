"""`kda-infer` on videos: an overlay and a JSON line a frame, whole under their names, or nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from fake_frames import SOON_S, FakeTime, ScriptedSource, seen
from fake_videos import COLOURS, write_video

from kda_edge.errors import Cancelled
from kda_edge.manifest import Manifest
from kda_edge.runtime import Segmenter
from kda_edge.runtime.cli.infer import main
from kda_edge.runtime.streams.frame_reader import StreamOptions
from kda_edge.runtime.streams.frame_stream import FrameStream
from kda_edge.runtime.video.map_video import map_video, video_paths

RED, GREEN, _ = COLOURS
NOON = datetime(2026, 1, 2, 12, 0, 0, tzinfo=timezone.utc)


@pytest.fixture
def model(make_model: Callable[..., Path]) -> Path:
    """Red as a landslide's probability."""
    return make_model(1 / 255, 0.0)


@pytest.fixture
def flight(tmp_path: Path) -> Path:
    """Ten frames of 48 x 64 px, the first and every third after it red."""
    return write_video(tmp_path / "flight.mp4", [RED if number % 3 == 0 else GREEN for number in range(10)], fps=20)


def facts_of(path: Path) -> dict[str, float]:
    """What OpenCV finds in a video; every frame is decoded."""
    capture = cv2.VideoCapture(str(path))
    frames = 0
    while capture.read()[0]:
        frames += 1
    keys = {"fps": cv2.CAP_PROP_FPS, "width": cv2.CAP_PROP_FRAME_WIDTH, "height": cv2.CAP_PROP_FRAME_HEIGHT}
    return {"frames": frames, **{name: capture.get(key) for name, key in keys.items()}}


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_video_becomes_an_overlay_and_a_line_a_frame(
    flight: Path, model: Path, leftovers: Callable[[], list[str]], capfd: pytest.CaptureFixture[str]
) -> None:
    assert main([str(flight), "--model", str(model)]) == 0
    out, err = capfd.readouterr()
    assert err == ""
    assert out.count("\n") == 1
    assert f"landslide in 4 of 10 frames -> {flight.with_name('flight_landslide.mp4')}" in out
    assert "p99" in out
    assert leftovers() == ["flight_landslide.jsonl", "flight_landslide.mp4"]

    assert facts_of(flight.with_name("flight_landslide.mp4")) == {"frames": 10, "fps": 20, "width": 64, "height": 48}
    *lines, last = lines_of(flight.with_name("flight_landslide.jsonl"))
    assert [line["frame"] for line in lines] == list(range(10))
    assert [line["time_s"] for line in lines] == pytest.approx([number / 20 for number in range(10)])
    assert [line["landslide_share"] for line in lines] == [float(number % 3 == 0) for number in range(10)]
    assert all(abs(line["max_probability"] - (220, 30)[line["landslide_share"] == 0] / 255) < 0.15 for line in lines)
    assert all(line["dropped"] == line["unknown_px"] == line["failed_tiles"] == 0 for line in lines)
    assert all(line["latency_ms"] > 0 for line in lines)
    assert (last["source"], last["frames_in"], last["frames_out"]) == (str(flight), 10, 10)
    assert last["landslide_frames"] == 4
    assert last["latency_p99_ms"] >= last["latency_p50_ms"]


def test_options_reach_the_video_and_json_says_it_all(
    flight: Path, model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    options = ["--every", "2", "--seconds", "0.35", "--max-side", "16", "--overlap", "0", "-o", str(tmp_path / "out")]
    assert main([str(flight), "--model", str(model), "--json", *options]) == 0
    result = json.loads(capfd.readouterr().out)
    assert (result["frames_out"], result["video"]) == (4, str(flight))
    assert facts_of(Path(result["overlay"])) == {"frames": 4, "fps": 10, "width": 64, "height": 48}
    assert [line["frame"] for line in lines_of(Path(result["lines"]))[:-1]] == [0, 2, 4, 6]


def test_quiet_prints_nothing_and_outputs_replace_older_ones(
    flight: Path, model: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        assert main([str(flight), "--model", str(model), "-q"]) == 0
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["flight.mp4", "scene.tif"], 2, "give flight.mp4 a command of its own"),
        (["flight.mp4", "--min-area", "3"], 2, "--min-area means nothing for a video"),
        (["flight.mp4", "--shard", "1/2"], 2, "--shard means nothing for a video"),
        (["flight.mp4", "--max-memory", "800M"], 2, "--max-memory means nothing for a video"),
        (["scene.tif", "--max-side", "9"], 2, "--max-side means nothing for a scene"),
        (["flight.mp4", "a/flight.mp4", "-o", "out"], 2, "two of the videos"),
        (["nowhere.mp4"], 1, "nowhere.mp4 does not exist"),
        (["flight.mp4", "-o", "text.mp4"], 1, "another folder"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_done_is_one_line_and_leaves_nothing(
    flight: Path,
    model: Path,
    leftovers: Callable[[], list[str]],
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    code: int,
    said: str,
) -> None:
    monkeypatch.chdir(flight.parent)
    Path("text.mp4").write_text("no video")
    assert main([*words, "--model", str(model)]) == code
    out, err = capfd.readouterr()
    assert said in err
    assert (err.count("\n"), out) == (1, "")
    assert leftovers() == []


@pytest.mark.parametrize("name", ["text.mp4", "rtsp://me:secret@127.0.0.1:9/x"])
def test_what_opencv_and_ffmpeg_say_of_a_bad_source_is_not_added_to_the_one_line(
    tmp_path: Path, model: Path, leftovers: Callable[[], list[str]], name: str
) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    command = [sys.executable, "-m", "kda_edge.runtime", name, "--model", str(model)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert done.stderr.startswith(f"kda-infer: {name.replace('me:secret@', '')} can't be opened; ")
    assert leftovers() == []


def test_an_engine_that_fails_on_the_way_leaves_what_was_done_before(
    tmp_path: Path, make_model: Callable[..., Path], capfd: pytest.CaptureFixture[str]
) -> None:
    """A model whose answer to red is no probability."""
    path = write_video(tmp_path / "flight.mp4", [GREEN] * 4 + [RED] + [GREEN] * 4)
    assert main([str(path), "--model", str(make_model(1 / 100, 0.0))]) == 1
    out, err = capfd.readouterr()
    assert "the engine failed on all" in err
    assert "the 4 frames before that are kept" in err
    assert err.count("\n") == out.count("\n") == 1
    assert facts_of(tmp_path / "flight_landslide.mp4")["frames"] == 4
    assert "the engine failed" in lines_of(tmp_path / "flight_landslide.jsonl")[-1]["ended_early"]


def test_a_signal_ends_the_files_well_with_what_was_done(tmp_path: Path, model: Path) -> None:
    path = write_video(tmp_path / "flight.mp4", [RED] * 3000, size_hw=(32, 32))
    command = [sys.executable, "-m", "kda_edge.runtime", str(path), "--model", str(model)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
        until_s = time.monotonic() + SOON_S
        while run.poll() is None and not any(part.stat().st_size for part in tmp_path.glob(".*.part.jsonl")):
            assert time.monotonic() < until_s
            time.sleep(0.005)
        os.kill(run.pid, signal.SIGINT)
        out, err = run.communicate(timeout=SOON_S)
    assert run.returncode == 128 + signal.SIGINT
    assert "stopped as asked; the " in err
    assert out.count("\n") == err.count("\n") == 1
    *lines, last = lines_of(tmp_path / "flight_landslide.jsonl")
    assert 0 < len(lines) < 3000
    assert last["ended_early"] == "stopped as asked"
    assert facts_of(tmp_path / "flight_landslide.mp4")["frames"] == len(lines)
    assert not list(tmp_path.glob(".*.part*"))


class OnAir(Segmenter):
    """A segmenter whose stream is a live one that a script plays."""

    def __init__(self, manifest: Manifest, script: list[Any], time: FakeTime) -> None:
        super().__init__(lambda tiles: tiles[:, :1], manifest, notes=("a note of the model",))
        self.script, self.time = script, time

    def stream(self, frames: Any, **options: Any) -> FrameStream:  # type: ignore[override]
        options.pop("overlap_px")
        source = ScriptedSource(
            self.script, time=self.time, live=True, threaded=False, period_s=0.5, can_reopen=lambda tries: False
        )
        return FrameStream(source, seen, StreamOptions(**options), self.time.clock())


def test_a_flight_whose_link_is_lost_is_kept_and_plays_in_its_own_time(
    tmp_path: Path, make_manifest: Callable[..., Manifest]
) -> None:
    final = video_paths("rtsp://drone/1", tmp_path, NOON)
    result = map_video(OnAir(make_manifest(), [1, 2, 3], FakeTime()), "rtsp://drone/1", final)
    assert "was lost and not found again within 30 s" in result.ended_early
    assert result.summary.frames_out == 3
    assert result.notes == ("a note of the model",)
    # two frames a second in a video of ten: the first two are shown for half a second each
    assert facts_of(final.video) == {"frames": 11, "fps": 10, "width": 6, "height": 4}


def test_a_flight_without_one_frame_leaves_nothing(
    tmp_path: Path, make_manifest: Callable[..., Manifest], leftovers: Callable[[], list[str]]
) -> None:
    final = video_paths("rtsp://drone/1", tmp_path, NOON)
    with pytest.raises(OSError, match="not found again"):
        map_video(OnAir(make_manifest(), [], FakeTime()), "rtsp://drone/1", final)
    with pytest.raises(OSError, match="gave no frame in 2 s"):
        map_video(OnAir(make_manifest(), [], FakeTime()), "rtsp://drone/1", final, seconds=2)
    with pytest.raises(Cancelled, match="before its first frame"):
        map_video(OnAir(make_manifest(), [1], FakeTime()), "rtsp://drone/1", final, cancel=lambda: True)
    assert leftovers() == []


def test_outputs_of_live_sources_are_named_after_the_time_and_those_of_files_lie_beside_them(tmp_path: Path) -> None:
    assert video_paths("a/flight.mov", None, NOON).video == Path("a/flight_landslide.mp4")
    assert video_paths("a/flight.mov", tmp_path, NOON).lines == tmp_path / "flight_landslide.jsonl"
    live = video_paths("rtsp://me:secret@drone:554/cam 1?x=y", None, NOON)
    assert live.video == Path.cwd() / "cam_1_20260102T120000Z_landslide.mp4"
    assert video_paths("https://host/clip.mp4", None, NOON).video == Path.cwd() / "clip_landslide.mp4"


def test_a_video_is_never_replaced_by_its_own_overlay(
    tmp_path: Path, model: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = write_video(tmp_path / "flight_landslide.mp4", [RED])
    (tmp_path / "flight.mp4").symlink_to(path)
    before = path.read_bytes()
    assert main([str(tmp_path / "flight.mp4"), "--model", str(model)]) == 2
    assert "would replace the video" in capfd.readouterr().err
    assert path.read_bytes() == before
    assert np.array_equal(sorted(tmp_path.iterdir()), sorted([path, tmp_path / "flight.mp4"]))
