"""The tables of the paper with kda-train itself: every row trains on a small world and is judged."""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from paper_runs import STAND_INS, lines_of, rows_of
from worlds import scar, write_image

from kda_edge.benchmarks.paper import __main__ as paper
from kda_edge.benchmarks.paper.tables import FOUR, TABLES
from kda_edge.train.cli.train import main as kda_train_main

# Protobuf's and TensorBoard's own warnings are not about this project.
pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning:tensorboard.*", "ignore::DeprecationWarning:google.*"
)

each_table = pytest.mark.parametrize("name", TABLES)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Three regions in the CAS layout, weights of the stand-ins, and a folder for all tables."""
    timm = pytest.importorskip("timm", reason="teachers come from timm")
    pytest.importorskip("segmentation_models_pytorch", reason="peers come from there")
    root = tmp_path_factory.mktemp("paper")
    rng = np.random.default_rng(0)
    for region, tile in itertools.product(("east", "north", "west"), range(4)):
        image, mask = scar(rng, 64, 64)
        write_image(root / "CAS" / region / "img" / f"{region}{tile}.tif", image)
        write_image(root / "CAS" / region / "mask" / f"{region}{tile}.tif", mask)
    (root / "weights").mkdir()
    torch.manual_seed(0)
    for number, model in enumerate(STAND_INS.values()):
        state = timm.create_model(model).state_dict()
        torch.save(state, root / "weights" / f"{model}{('.pth', '.pt')[number % 2]}")
    yield root
    shutil.rmtree(root)  # the states of the peers are large


def tiny(root: Path, table: str) -> list[str]:
    places = ["--data", str(root / "CAS"), "--out", str(root / "out"), "--weights-dir", str(root / "weights")]
    stand_ins = ["--teacher-of", *(f"{name}={model}" for name, model in STAND_INS.items())]
    scale = [
        "--variant",
        "nano",
        "--epochs-distill",
        "1",
        "--epochs-segment",
        "1",
        "--batch",
        "5",
        "10",
        "--crop-px",
        "64",
    ]
    machine = ["--device", "cpu", "--precision", "fp32", "--workers", "0", "--threads", "1", "--peer-weights", "none"]
    options = [f"--{phase}-options=--memory-format contiguous" for phase in ("distill", "segment")]  # no trial
    return [table, *places, *stand_ins, *scale, *machine, *options]


@pytest.mark.slow
@each_table
def test_every_row_of_every_table_trains_and_is_judged(
    name: str, world: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ten tiles to learn from: two steps of phase 1 and one of phase 2, every network and every way to distil."""
    assert paper.main(tiny(world, name), run=kda_train_main) == 0
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    rows = rows_of(world / "out", name)
    assert len(rows) == len(TABLES[name].rows) == len(last["rows"])
    for row in rows:
        assert row["seeds_run"] == 1
        assert 0 <= row["mean"]["overall_accuracy"] <= 1
        assert set(FOUR) - {"f1"} <= set(row["mean"])
        assert row["runs"][0]["machines"][0]["torch"] == torch.__version__.split("+")[0]
        assert row["runs"][0]["metrics"]["iou"] == next(iter(row["runs"][0]["groups"].values()))["iou"]
    assert "not run" not in (world / "out" / f"{name}.md").read_text()

    def never(arguments: Sequence[str]) -> int:
        pytest.fail(f"ran again: {arguments}")

    assert paper.main(tiny(world, name), run=never) == 0


REGIONS = """
[[source]]
name = "cas"
root = "CAS"
layout = "cas"
mask_landslide = []
train = ["east"]
val = ["north"]
test = ["west"]
"""


@pytest.mark.slow
def test_the_command_runs_a_row_in_processes_of_their_own_and_holds_back_the_regions_of_a_data_file(
    world: Path,
) -> None:
    (world / "regions.toml").write_text(REGIONS)
    data = ["--data", "regions.toml", "--data-root", str(world), "--out", "alone", "--batch", "4"]
    arguments = [*tiny(world, "table3"), *data, "--only", "kd-dinov2-b"]
    command = [sys.executable, "-m", "kda_edge.benchmarks.paper", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=world)
    assert done.returncode == 0, done.stderr
    last = json.loads(done.stdout.splitlines()[-1])
    assert [row["seeds_run"] for row in last["rows"]] == [1, *[0] * 11]
    assert list(rows_of(world / "alone", "table3")[0]["runs"][0]["groups"]) == ["cas/west"]
    assert [line[2] for line in lines_of(world / "alone", "table3")[2:]] == ["not run"] * 11
    assert "leak" not in (world / "alone" / "table3.md").read_text()
