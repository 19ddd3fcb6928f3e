"""The tables of the paper: every row has its commands, each phase runs once, and a table goes on where it stopped."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from paper_runs import FakeTrain, rows_of

from kda_edge.benchmarks.paper import __main__ as paper
from kda_edge.benchmarks.paper.tables import TABLES

# Protobuf's and TensorBoard's own warnings are not about this project.
pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning:tensorboard.*", "ignore::DeprecationWarning:google.*"
)


def test_tables_share_what_they_have_in_common_and_run_it_once(cas: Path, tmp_path: Path) -> None:
    run = FakeTrain()
    for name in TABLES:
        assert paper.main([name, "--data", str(cas), "--out", str(tmp_path / "out"), "--variant", "nano"], run) == 0
    phases = [" ".join(arguments) for arguments in run.commands]
    assert len(set(phases)) == len(phases)
    words = [arguments[0] for arguments in run.commands]
    assert words.count("distill") == 3 + 11  # Table I; Table III, whose row KDA, DINOv2-L is in Table I
    assert words.count("segment") == 3 + 6 + 11 + 4
    assert words.count("evaluate") == 3 + 7 + 11 + 4
    of_best = {
        str(Path(run["commands"][1].split(" --out ")[1].split()[0]).name)
        for table, row in (("table1", 1), ("table2", 6), ("table3", 7), ("table4", 0))
        for run in rows_of(tmp_path / "out", table)[row]["runs"]
    }
    assert of_best == {"segment-kda-vit_large_patch14_dinov2.lvd142m-0.6-0.4-dcf-seed0"}


def test_rows_of_both_phases_have_the_right_commands(
    cas: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = ["--data", str(cas), "--out", str(tmp_path / "out"), "--dry-run"]
    assert paper.main(["table3", *common, "--only", "kd-convnext-xl"]) == 0
    distill, segment, evaluate = capsys.readouterr().out.splitlines()
    assert "--teacher convnext_xlarge.fb_in22k --method kd --epochs 200 --batch 8 --crop-px 224" in distill
    assert "--scale 1 1 --colour 0" in distill  # the paper's augmentation: rotation and flips
    assert "discriminator" not in distill
    assert "kd-convnext_xlarge.fb_in22k-seed0/distilled.pt --epochs 200 --batch 16 --crop-px 512" in segment
    assert "--scale 1 1 --colour 0" in segment
    assert "--split test" in evaluate
    assert "--threshold 0.5" in evaluate
    assert paper.main(["table1", *common, "--only", "0.7/0.3", "--threshold", "val"]) == 0
    distill, _, evaluate = capsys.readouterr().out.splitlines()
    assert "--method kda --weights 0.7 0.3 --discriminator vit_base_patch14_dinov2.lvd142m" in distill
    assert "--split val" in evaluate
    assert "--threshold" not in evaluate
    assert paper.main(["table2", *common, "--only", "mffenet", "--recompute"]) == 0
    segment, _ = capsys.readouterr().out.splitlines()
    assert "--variant mffenet --encoder-weights imagenet" in segment
    assert "--recompute" not in segment  # a peer has no PVT encoder
    assert not (tmp_path / "out").exists()


def test_a_table_that_was_stopped_goes_on_with_what_is_left(
    cas: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["table4", "--data", str(cas), "--out", str(tmp_path / "out"), "--variant", "nano"]
    first, second = FakeTrain(stops_at=6), FakeTrain()  # one phase 1, two rows, and the third's phase 2
    assert paper.main(arguments, first) == 130
    assert capsys.readouterr().err == "paper: stopped; start the same command again to go on\n"
    assert [row["seeds_run"] for row in rows_of(tmp_path / "out", "table4")] == [1, 1, 0, 0, 0]
    assert paper.main([*arguments, "--dry-run"]) == 0
    left = capsys.readouterr().out.splitlines()
    assert paper.main(arguments, second) == 0
    assert len(first.commands) + len(second.commands) == 1 + 5 + 5
    assert [line.split()[1] for line in left] == [command[0] for command in second.commands]
    assert second.commands[0][0] == "evaluate"
    assert [row["seeds_run"] for row in rows_of(tmp_path / "out", "table4")] == [1] * 5


@pytest.mark.parametrize(
    "changed",
    [
        ["--epochs-distill", "3"],
        ["--epochs-segment", "3"],
        ["--variant", "tiny"],
        ["--batch", "2"],
        ["--crop-px", "64"],
    ],
    ids=" ".join,
)
def test_a_changed_setting_in_the_same_folder_is_refused_in_one_line(
    changed: list[str], cas: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["table1", "--data", str(cas), "--out", str(tmp_path / "out")]
    assert paper.main([*arguments, "--cells", "1"], FakeTrain()) == 0
    before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*.json")}
    capsys.readouterr()
    run = FakeTrain()
    assert paper.main([*arguments, *changed], run) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "was made with other settings (--" in error
    assert "choose another --out" in error
    assert run.commands == []
    assert {path: path.read_bytes() for path in (tmp_path / "out").rglob("*.json")} == before


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (["--variant", "giant"], "there is no such student; choose one of nano"),
        (["--variant", "base+unet"], "there is no such student"),
        (["--only", "fcn"], "table3 has no row 'fcn'; choose from kd-dinov2-b"),
        (["--teacher-of", "DINOv3=test_vit"], "the paper has no teacher 'DINOv3'; it has DINOv2-B"),
        (["--teacher-of", "DINOv2-B"], "'' is no name of a timm model"),
        (["--peer-weights", "nowhere"], "give imagenet, none, or a folder"),
        (["--threshold", "high"], "give a number between 0 and 1, or val"),
        (["--batch", "1", "2", "3"], "--batch takes a value for phase 1 and one for phase 2"),
        (["--seeds", "0", "0"], "--seeds names a seed twice"),
        (["--segment-options=--epoch 3"], "--epoch is set by the table"),
        (["--weights-dir", "nowhere"], "nowhere has no vit_base_patch14_dinov2.lvd142m{.safetensors,.pth,.pt}"),
        (["--data", "nowhere"], "there is no data file or folder nowhere"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_option_is_one_line_that_says_what_to_do(
    wrong: list[str], message: str, cas: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = FakeTrain()
    assert paper.main(["table3", "--data", str(cas), "--out", str(tmp_path / "out"), *wrong], run) == 2
    error = capsys.readouterr().err
    assert error.startswith("paper: ")
    assert error.count("\n") == 1
    assert message in error
    assert run.commands == []
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("start", ["test_vit", "student"])
def test_table_iv_needs_no_network_where_one_model_stands_in_for_teacher_and_discriminator(
    start: str, cas: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = tmp_path / "weights"
    weights.mkdir()
    (weights / f"{start}.pt").touch()
    arguments = ["table4", "--data", str(cas), "--out", str(tmp_path / "out"), "--weights-dir", str(weights)]
    assert paper.main([*arguments, "--dry-run"]) == 2
    assert "(what is there can stand in: --teacher-of DINOv2-L=MODEL)" in capsys.readouterr().err
    arguments += ["--teacher-of", f"DINOv2-L={start}"]
    assert paper.main([*arguments, "--dry-run"]) == 2
    assert "(what is there can stand in: --discriminator MODEL)" in capsys.readouterr().err
    run = FakeTrain()
    assert paper.main([*arguments, "--discriminator", start], run) == 0
    distill, *others = run.commands
    assert {option: distill[distill.index(option) + 1] for option in ("--teacher", "--discriminator")} == {
        "--teacher": start,
        "--discriminator": start,
    }
    for option in ("--teacher-weights", "--discriminator-weights"):
        assert distill[distill.index(option) + 1] == str(weights / f"{start}.pt")
    assert [command[0] for command in others] == ["segment", "evaluate"] * 5
    assert not any("imagenet" in command for command in others)


def test_further_options_and_the_machine_reach_both_phases_and_only_the_former_are_settings(
    cas: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["table2", "--data", str(cas), "--out", str(tmp_path / "out"), "--only", "kda"]
    further = ["--distill-options=--clip-norm 1", "--segment-options=--backbone-rate 5e-4 5e-6"]
    run = FakeTrain()
    assert paper.main([*arguments, *further, "--workers", "7", "--recompute", "--device", "cpu"], run) == 0
    distill, segment, evaluate = (" ".join(command) for command in run.commands)
    assert "--clip-norm 1 --device cpu --workers 7 --threads 0 --recompute" in distill
    assert "--backbone-rate 5e-4 5e-6 --device cpu --workers 7" in segment
    assert evaluate.endswith("--device cpu")
    assert "--backbone-rate 5e-4 5e-6" in (tmp_path / "out" / "table2.md").read_text()
    assert paper.main([*arguments, *further], run) == 0
    assert len(run.commands) == 3
    capsys.readouterr()
    assert paper.main(arguments, run) == 2
    assert "--clip-norm differs" in capsys.readouterr().err


def test_a_failing_row_stops_the_table_or_is_passed_over(
    cas: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(arguments: Sequence[str]) -> int:
        return 1 if "unet" in arguments else works(arguments)

    works = FakeTrain()
    arguments = ["table2", "--data", str(cas), "--out", str(tmp_path / "out"), "--only", "fcn", "unet", "segnext"]
    assert paper.main(arguments, run) == 1
    assert capsys.readouterr().err.startswith("paper: UNet, seed 0: kda-train segment ended with 1; start the same")
    assert [row["seeds_run"] for row in rows_of(tmp_path / "out", "table2")] == [1, 0, 0, 0, 0, 0, 0]
    assert paper.main([*arguments, "--keep-going"], run) == 1
    assert [row["seeds_run"] for row in rows_of(tmp_path / "out", "table2")] == [1, 0, 0, 0, 0, 1, 0]
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["rows"][5]["iou"] == 0.5
