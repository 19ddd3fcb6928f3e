from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from untrained_students import write_student

import kda_edge
from kda_edge.export.cli import main


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("kda-export: ")
    assert err.count("\n") == 1
    return err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--tile", "100"], "give --tile 96"),
        (["--tile", "0"], "give --tile 32"),
        (["--threshold", "1"], "between 0 and 1"),
        (["--threshold", "nan"], "between 0 and 1"),
        (["-o", "student.pt"], "give -o student.onnx"),
        (["--mean", "1", "2", "3"], "give both"),
        (["--pixel-type", "uint16"], "give --mean and --std"),
        (["--value-range", "0", "100"], "give --mean and --std"),
        (["--pixel-type", "uint16", "--mean", "1", "2", "3", "--std", "9", "9", "9"], "needs --value-range"),
        (["--mean", "0.485", "0.456", "0.406", "--std", "0.229", "0.224", "0.225"], "times 255"),
        (["--mean", "1", "2", "3", "--std", "9", "9", "0"], "std must be above 0"),
        (["--int8"], "give --calib with a scene, or a folder of at least 16 tiles"),
        (["--portable", "--engine"], "give one of the two"),
        (["--calib", "tiles"], "--calib belongs to --int8"),
        (["--fp16", "--calib", "tiles"], "--calib belongs to --int8"),
        (["--int8", "--calib", "tiles", "--calib-count", "3"], "--calib-count must be 16 or more"),
        (["--int8", "--calib", "tiles", "--calib-seed", "-1"], "--calib-seed must be 0 or more"),
        (["--max-difference", "2"], "--max-difference must lie in 0..1"),
        (["--max-iou-loss", "-1"], "--max-iou-loss must lie in 0..100"),
        (["--min-gain", "nan"], "--min-gain must lie in 0..1"),
        (["--value-range", "9", "1", "--mean", "1", "2", "3", "--std", "9", "9", "9"], "low < high"),
    ],
    ids=" ".join,
)
def test_an_option_that_cannot_be_right_is_one_line_and_exit_2(
    options: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--ckpt", "student.pt", *options]) == 2
    assert words in one_line(capsys)


def test_a_missing_checkpoint_is_one_line_and_exit_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--ckpt", str(tmp_path / "nowhere.pt")]) == 1
    assert "nowhere.pt" in one_line(capsys)


def test_a_file_that_is_no_checkpoint_is_one_line_and_exit_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "student.pt").write_text("hello")
    assert main(["--ckpt", str(tmp_path / "student.pt")]) == 1
    assert "student.pt" in one_line(capsys)
    assert [path.name for path in tmp_path.iterdir()] == ["student.pt"]


@pytest.mark.parametrize("name", ["loop", "loop/x", "x" * 300, os.fsdecode(b"bad\xff"), "file/below"], ids=ascii)
@pytest.mark.parametrize("option", ["--ckpt", "--tiles", "--eval", "--calib", "-o"])
def test_a_path_that_can_not_be_asked_for_is_one_line_and_exit_1(
    name: str, option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("loop").symlink_to("loop")
    Path("loop.onnx").symlink_to("loop.onnx")
    Path("file").touch()
    words = ["--ckpt", str(write_student(tmp_path / "student.pt"))] if option != "--ckpt" else []
    words += ["--int8"] if option == "--calib" else []
    if option == "-o" and name == "loop":
        pytest.skip("a link in the place of the output is replaced, whatever it says")
    assert main([*words, option, f"{name}.onnx" if option == "-o" else name]) == 1
    one_line(capsys)
    assert list(tmp_path.glob("*.onnx")) == [tmp_path / "loop.onnx"]


@pytest.mark.parametrize("package", ["torch", "onnx", "onnxscript", "onnxsim"])
def test_a_missing_package_is_one_line_with_the_command_that_brings_it(
    package: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    assert main(["--ckpt", "student.pt"]) == 1
    assert one_line(capsys) == f"kda-export: {package} is not installed; run: pip install 'kda-edge[export]'\n"


@pytest.mark.parametrize(
    "options", [[], ["--ckpt"], ["--ckpt", "a.pt", "--fp16", "--int8"], ["--ckpt", "a.pt", "--tile", "big"]]
)
def test_a_command_line_that_cannot_be_read_exits_with_2(
    options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(options)
    assert caught.value.code == 2
    assert "usage: kda-export" in capsys.readouterr().err


def test_the_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"kda-export {kda_edge.__version__}\n"


def test_help_needs_no_heavy_package() -> None:
    code = (
        "import sys\n"
        "from kda_edge.export.cli import main\n"
        "try:\n    main(['--help'])\n"
        "except SystemExit:\n    print(*sorted({name.partition('.')[0] for name in sys.modules}), file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "kda-export --ckpt student.pt" in done.stdout
    assert not set(done.stderr.split()) & {"torch", "onnx", "onnxruntime", "rasterio", "numpy", "cv2"}
