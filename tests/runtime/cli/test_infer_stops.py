"""The command line where a run does not end well: stopped, cut off, out of space; and how it goes on."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kda_edge.errors import Cancelled
from kda_edge.runtime import Segmenter
from kda_edge.runtime.cli.infer import main
from kda_edge.runtime.runs.journal import read_journal

KDA_INFER = [sys.executable, "-m", "kda_edge.runtime"]


@pytest.fixture
def model(make_model: Callable[..., Path]) -> Path:
    """The identity engine as a file."""
    return make_model(1 / 255, 0.0)


def test_a_run_that_was_cut_off_is_gone_on_with_or_begun_anew(
    scene: Any, model: Path, leftovers: Callable[[], list[str]], capfd: pytest.CaptureFixture[str]
) -> None:
    command = [str(scene.path), "--model", str(model), "--engine", "cpu", "--json"]
    calls: list[int] = []
    with Segmenter.open(model, engine="cpu") as segmenter, pytest.raises(Cancelled):
        segmenter.predict_scene(scene.path, progress=lambda done, _: calls.append(done), cancel=lambda: 8 in calls)
    assert main([*command, "--overlap", "9"]) == 1
    assert "--overlap was 8 and is 9" in capfd.readouterr().err
    assert main(command) == 0
    assert json.loads(capfd.readouterr().out)["resumed_rows"] > 0
    assert leftovers() == ["scene_landslide.geojson", "scene_landslide.png", "scene_landslide.tif"]
    scene.path.with_name(".scene_landslide.journal").write_bytes(b"something else")
    assert main(command) == 1
    assert capfd.readouterr().err.count("\n") == 1
    assert main([*command, "--restart"]) == 0
    assert json.loads(capfd.readouterr().out)["resumed_rows"] == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_stop_is_one_line_and_finished_rows_are_kept(
    tmp_path: Path,
    model: Path,
    scene_at: Callable[..., Any],
    leftovers: Callable[[], list[str]],
    number: signal.Signals,
) -> None:
    path = scene_at(tmp_path / "s.tif", np.full((400, 400, 3), 9, np.uint8)).path
    command = [*KDA_INFER, str(path), "--model", str(model), "--engine", "cpu", "--overlap", "30"]  # 34 225 tiles
    journal = tmp_path / ".s_landslide.journal"
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
        deadline = time.monotonic() + 60
        while not (journal.exists() and journal.stat().st_size > 6_000) and time.monotonic() < deadline:
            time.sleep(0.01)
        run.send_signal(number)
        out, err = run.communicate(timeout=60)
    assert run.returncode == 128 + number
    assert out == ""
    said = rf"kda-infer: {re.escape(str(path))}: stopped as asked; it has no map; (\d+) of 400 rows are kept"
    match = re.fullmatch(said + ", run the same command again to go on\n", err)
    assert match is not None
    assert leftovers() == [".s_landslide.journal"]
    with read_journal(journal) as kept:
        assert kept.rows_px == int(match[1]) > 0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 1 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no right to mount a file system")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_is_full_stops_the_run_and_space_lets_it_go_on(
    tmp_path: Path,
    model: Path,
    scene_at: Callable[..., Any],
    small_disk: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    image = np.random.default_rng(0).integers(1, 120, (500, 600, 3), np.uint8)
    path, ballast = scene_at(tmp_path / "s.tif", image).path, small_disk / "ballast"
    ballast.write_bytes(b"b" * 800_000)
    command = [str(path), "--model", str(model), "--engine", "cpu", "--overlap", "0", "--json"]
    assert main([*command, "-o", str(small_disk)]) == 1
    out, err = capfd.readouterr()
    last = err.splitlines()[-1]
    assert re.search(r"free some space.*; \d+ of 500 rows are kept, run the same command again to go on", last)
    assert last == f"kda-infer: {json.loads(out)['error']}"
    assert sorted(file.name for file in small_disk.iterdir()) == [".s_landslide.journal", "ballast"]
    ballast.unlink()
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    assert main([*command, "-o", str(small_disk)]) == 0
    assert json.loads(capfd.readouterr().out)["resumed_rows"] > 0
    assert main([*command, "-o", str(tmp_path / "whole")]) == 0
    for file in (tmp_path / "whole").iterdir():
        assert file.read_bytes() == (small_disk / file.name).read_bytes()
