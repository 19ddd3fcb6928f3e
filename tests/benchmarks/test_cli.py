"""`kda-bench` measures the bundled student for real, and its results keep to the schema that ships with it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

from kda_edge.benchmarks.cli import COMMANDS, main
from kda_edge.benchmarks.reporting.plots import drawn
from kda_edge.benchmarks.reporting.result import read_result, schema
from kda_edge.errors import OutputError

PNG = b"\x89PNG\r\n\x1a\n"


def valid(text: str) -> dict:
    result = json.loads(text)
    jsonschema.validate(result, schema())
    return result


def test_latency_of_the_bundled_student_is_a_table_a_json_and_two_pictures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "new.json"
    words = ["latency", "--engine", "cpu", "--min-calls", "6", "--limit", "0.3", "--batch", "2,1"]
    assert main([*words, "--plots", str(tmp_path / "plots"), "--json", str(path)]) == 0
    result = valid(path.read_text())
    table = capsys.readouterr().out
    assert "| batch |" in table
    assert "student_lite0.onnx: tf_efficientnet_lite0+fpn, fp32, tile 256 px, engine cpu" in table
    p50 = {f["of"]["batch"]: f["value"] for f in result["figures"] if f["name"] == "latency.p50"}
    assert set(p50) == {1, 2}
    phases = {f["name"] for f in result["figures"] if f["name"].startswith("phase.")}
    assert phases == {"phase.prepare", "phase.engine"}
    assert "NOT STEADY" in table or result["steady"]
    for name in ("latency.png", "phases.png"):
        assert (tmp_path / "plots" / name).read_bytes().startswith(PNG)
    assert main(["check", str(path), str(path), "--blind", "1000"]) == 0
    assert read_result(path).models[0]["verified"] is True


def test_soak_ends_with_its_json_and_a_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["soak", "--engine", "cpu", "--minutes", "0.01", "--gsd", "0.5", "--plots", str(tmp_path), "--json"]
    assert main(words) == 0
    out = capsys.readouterr().out
    result = valid(out.splitlines()[-1])
    energies = [f for f in result["figures"] if f["name"].startswith("energy.")]
    assert energies or any("energy: not measured" in note for note in result["notes"])
    assert (tmp_path / "soak.png").read_bytes().startswith(PNG)


def test_roofline_keeps_estimates_apart_from_what_was_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["roofline", "--engine", "cpu", "--limit", "0.3", "--plots", str(tmp_path), "--json"]) == 0
    out = capsys.readouterr().out
    result = valid(out.splitlines()[-1])
    assert {e["of"]["device"] for e in result["estimates"]} == {
        "h100-sxm",
        "orin-agx",
        "orin-nano",
        "orin-nx",
        "rtx3090",
    }
    assert not any("device" in figure["of"] for figure in result["figures"])
    table, _, estimates = out.partition("Estimates, computed and not measured:")
    assert "orin" not in table
    assert "orin-agx" in estimates
    assert (tmp_path / "roofline.png").read_bytes().startswith(PNG)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["latency", "nothing.onnx"], 1, "nothing.onnx does not exist"),
        (["latency", "--tile", "512", "--engine", "cpu"], 2, "tile is 256 px and fixed in the file, not 512 px"),
        (["latency", "--json", "student.onnx"], 2, "--json takes a file that ends in .json"),
        (["latency", "--min-calls", "2"], 2, "--min-calls must be 3 or more"),
        (["soak", "--batch", "0"], 2, "--batch takes a number of tiles"),
        (["check", "a.json", "b.json"], 2, "a.json can't be read"),
    ],
)
def test_what_can_not_be_done_is_one_line_that_says_why(
    words: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == code
    err = capsys.readouterr().err
    assert said in err
    assert err.startswith("kda-bench: ")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    "words",
    [["latency", "--batch", "1,x"], ["latency", "--limit", "0"], ["latency", "--tolerance", "nan"], ["dream"], []],
)
def test_wrong_words_are_wrong_usage(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(words)
    assert stopped.value.code == 2
    assert "usage: kda-bench" in capsys.readouterr().err


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_subcommand_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([name, "--help"])
    assert stopped.value.code == 0
    assert f"usage: kda-bench {name}" in capsys.readouterr().out


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys\nfrom kda_edge.benchmarks.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "print(sorted({'numpy', 'torch', 'onnxruntime', 'matplotlib', 'cv2'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_picture_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), drawn(tmp_path / "a.png", title="t"):
        raise ZeroDivisionError
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="give another --plots"), drawn(tmp_path / "file" / "a.png", title="t"):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
