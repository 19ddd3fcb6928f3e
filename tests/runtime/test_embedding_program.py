"""What a program that embeds the runtime may count on: quick imports, settings left alone, examples that run."""

from __future__ import annotations

import json
import logging
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from fake_videos import COLOURS, write_video
from places import ROOT

PAGE = ROOT / "docs" / "embedding.md"


@pytest.fixture
def fresh_python(tmp_path: Path) -> Callable[[str], Any]:
    """Runs code in a new interpreter and returns the JSON that it prints, which must be all that it prints."""

    def run(code: str) -> Any:
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path)
        assert (done.returncode, done.stderr) == (0, "")
        return json.loads(done.stdout)

    return run


def test_importing_the_door_is_quick_and_loads_nothing_heavy(fresh_python: Callable[[str], Any]) -> None:
    """The best of three, as other work on the machine only ever adds."""
    code = (
        "import time, sys, json; start = time.perf_counter(); import kda_edge.runtime; "
        "took = time.perf_counter() - start; print(json.dumps([took, sorted(sys.modules)]))"
    )
    runs = [fresh_python(code) for _ in range(3)]
    assert not {"rasterio", "onnxruntime", "torch", "cv2", "numpy"} & set(runs[0][1])
    assert min(took for took, _ in runs) < 0.5


def test_a_warning_is_not_printed_where_nobody_set_up_logging(fresh_python: Callable[[str], Any]) -> None:
    name = "kda_edge.runtime.streams.frame_stream"
    code = f"import logging, kda_edge.runtime; logging.getLogger({name!r}).warning('lost'); print(1)"
    assert fresh_python(code) == 1


def test_a_program_finds_its_settings_as_it_left_them(
    fresh_python: Callable[[str], Any], make_model: Callable[..., Path], scene: Any
) -> None:
    """Signals, environment, warnings, loggers, NumPy's errors, GDAL's cache; and the log has kda_edge's names only."""
    code = f"""
import json, logging, os, signal, warnings
import cv2, numpy, onnxruntime, rasterio, rasterio.env
from kda_edge.runtime import Segmenter
names = []
class Listener(logging.Handler):
    def emit(self, record):
        names.append(record.name)
logging.getLogger("kda_edge").setLevel(logging.DEBUG)
logging.getLogger().addHandler(Listener())
def state():
    signals = [str(signal.getsignal(number)) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    loggers = [(log.level, len(log.handlers)) for log in map(logging.getLogger, ("", "rasterio", "kda_edge"))]
    cache = rasterio.env.get_gdal_config("GDAL_CACHEMAX")
    return [signals, dict(os.environ), list(warnings.filters), loggers, numpy.geterr(), cache, cv2.getNumThreads()]
before = state()
with Segmenter.open({str(make_model(1 / 255, 0.0))!r}) as segmenter:
    segmenter.warm_up()
    segmenter.predict(numpy.zeros((50, 50, 3), numpy.uint8))
    segmenter.predict_scene({str(scene.path)!r})
print(json.dumps([before == state(), sorted({{name.split(".")[0] for name in names}})]))
"""
    same, loggers = fresh_python(code)
    assert same
    assert set(loggers) <= {"kda_edge"}


def examples() -> dict[str, str]:
    """The page's programs, by the heading that they stand under."""
    found = {}
    for section in re.split(r"^## ", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
        blocks = re.findall(r"^```python\n(.*?)^```", section, flags=re.MULTILINE | re.DOTALL)
        found |= {f"{section.splitlines()[0]} {number}": block for number, block in enumerate(blocks, start=1)}
    return found


@pytest.fixture
def place(tmp_path: Path, scene_at: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with the inputs that the examples speak of, the working directory of the test."""
    monkeypatch.chdir(tmp_path)
    image = np.random.default_rng(3).integers(1, 256, (60, 80, 3), np.uint8)
    cv2.imwrite("photo.jpg", image)
    scene_at(tmp_path / "scene.tif", image)
    write_video(tmp_path / "flight.mp4", COLOURS)
    log = logging.getLogger("kda_edge")
    level = log.level
    yield tmp_path
    log.setLevel(level)


@pytest.mark.parametrize("name", examples())
def test_each_example_of_the_page_runs_as_it_stands(name: str, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = examples()[name]
    if "__main__" in code:  # spawned workers import the program from its file
        (place / "program.py").write_text(code, encoding="utf-8")
        done = subprocess.run([sys.executable, "program.py"], capture_output=True, text=True, check=False, timeout=300)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.strip().isdigit()
        return
    exec(compile(code, f"{PAGE.name}: {name}", "exec"), {"__name__": "__main__"})
    assert capsys.readouterr().err == ""
    if name == "A mask from an array and from a scene 1":
        assert sorted(path.name for path in (place / "maps").iterdir() if not path.name.startswith(".")) == [
            "scene_landslide.geojson",
            "scene_landslide.png",
            "scene_landslide.tif",
        ]


def test_the_first_example_is_short_enough_to_copy() -> None:
    assert len(next(iter(examples().values())).splitlines()) <= 15
