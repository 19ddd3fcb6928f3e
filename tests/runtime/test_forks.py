"""A segmenter carried over fork, as multiprocessing does on Linux, says so in one line, and nothing waits for ever."""

from __future__ import annotations

import json
import logging
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import forked_uses
import numpy as np
import pytest
from fake_videos import write_video
from forks import in_a_fork
from rasterio.env import get_gdal_config

from kda_edge.errors import UsageError
from kda_edge.manifest import Manifest
from kda_edge.rasters import gdal_messages
from kda_edge.rasters.gdal_messages import listening
from kda_edge.runtime import Segmenter
from kda_edge.runtime.geo import gdal
from kda_edge.runtime.geo.gdal import CACHE_BYTES, gdal_session

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no system with fork")

SEGMENTER = ("predict", "predict_scene", "predict_shard", "warm_up", "stream")
STREAM = ("next frame", "summary")
QUIET = ("stop", "close the stream", "close", "with", "drop", "nothing")


@pytest.fixture
def outcomes(
    make_model: Callable[..., Path], make_manifest: Callable[..., Manifest], scene: Any, tmp_path: Path
) -> Callable[[str], dict[str, str]]:
    """Run the program that forks, with an engine; each use has a child of its own."""
    video = write_video(tmp_path / "flight.mp4", [(10, 20, 30), (200, 20, 30), (90, 20, 30)])
    paths = [str(make_model(1 / 255, 0.0)), str(scene.path), str(video), make_manifest().to_json()]

    def run(engine: str) -> dict[str, str]:
        program = [sys.executable, forked_uses.__file__, engine, *paths]
        done = subprocess.run(program, capture_output=True, text=True, check=False, timeout=600)
        assert done.returncode == 0, done.stderr
        found: dict[str, str] = json.loads(done.stdout)
        return found

    return run


@pytest.mark.parametrize("engine", ["custom", "cpu", "openvino"])
def test_in_a_fork_each_use_is_refused_in_one_line_and_closing_does_nothing(
    engine: str, outcomes: Callable[[str], dict[str, str]], scene: Any
) -> None:
    """With an engine of one's own, another thread is in a call all the while, and holds what it locks."""
    if engine == "openvino" and find_spec("openvino") is None:
        pytest.skip("OpenVINO is not installed")
    found = outcomes(engine)
    engines = ("the engine",) if engine != "custom" else ()
    for what, names in (("segmenter", SEGMENTER), ("stream", STREAM), ("engine", engines)):
        for name in names:
            assert found[name].startswith(f"UsageError: the {what} was opened in another process"), name
            assert found[name].endswith("open it in each worker"), name
            assert "\n" not in found[name]
    quiet = (*QUIET, "close the engine") if engines else QUIET
    assert {name: found[name] for name in quiet} == dict.fromkeys(quiet, "done")
    assert found["engine name"] == engine
    assert found["open again"] == "(40, 50)"
    assert found["parent"] == "(40, 50), 2 frames"
    assert not list(scene.path.parent.glob("*landslide*"))


def test_a_segmenter_that_is_sent_to_another_process_says_what_to_do(make_manifest: Callable[..., Manifest]) -> None:
    segmenter = Segmenter(lambda tiles: tiles[:, :1], make_manifest())
    with pytest.raises(UsageError, match=r"can't be sent to another process; open it in each worker") as caught:
        pickle.dumps(segmenter)
    assert "\n" not in str(caught.value)
    assert segmenter.predict(np.zeros((4, 4, 3), np.uint8)).tiles == 1


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_gdals_cache_is_bounded_and_let_go_in_a_fork_made_while_another_thread_was_mapping() -> None:
    """That thread is not in the fork: neither its place among the users nor the lock that it may hold count there."""
    before, inside, let_go = get_gdal_config("GDAL_CACHEMAX"), threading.Event(), threading.Event()

    def map_a_while() -> None:
        with gdal_session(), listening([]), gdal._cache._lock, gdal_messages._attention._lock:
            inside.set()
            let_go.wait()

    def use() -> str:
        with gdal_session(), listening([]):
            bounded = get_gdal_config("GDAL_CACHEMAX") == CACHE_BYTES
        level = logging.getLogger("rasterio._err").level
        return f"{bounded}, {get_gdal_config('GDAL_CACHEMAX') == before}, {level}"

    level, thread = logging.getLogger("rasterio._err").level, threading.Thread(target=map_a_while)
    thread.start()
    inside.wait()
    said = in_a_fork(use, leave=os._exit)
    let_go.set()
    thread.join()
    assert said == f"True, True, {level}"
    assert get_gdal_config("GDAL_CACHEMAX") == before
