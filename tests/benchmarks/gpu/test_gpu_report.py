"""The report runs its parts in order and within its minutes, goes on where it was stopped, and says how all ended."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from gpu_reports import PROCESSOR, part_file

from kda_edge.benchmarks.gpu import gpu_report
from kda_edge.benchmarks.gpu.facts import card_of
from kda_edge.benchmarks.gpu.part_file import PartFile, path_of, read_part, schema, write_part
from kda_edge.benchmarks.gpu.parts import PARTS, Part, Task
from kda_edge.benchmarks.reporting.result import schema as result_schema
from kda_edge.errors import UsageError

ALL_BUT_STUDENT = [name for name in PARTS if name != "student"]  # which needs imagery


class Recorded:
    """Runs nothing; remembers what it was told, and ends as it is told."""

    def __init__(self, **ends: str) -> None:
        self.ends, self.told = ends, dict[str, Task]()

    def __call__(self, part: Part, task: Task) -> PartFile:
        self.told[part.name] = task
        status: Any = self.ends.get(part.name, "done")
        if status == "interrupted":
            raise KeyboardInterrupt
        made = part_file(
            part.name,
            status=status,
            reason="" if status == "done" else "no word",
            device=task.card,
            rehearsal=task.rehearsal,
        )
        write_part(task.out, made)
        return made


def on_cpu(out: Path, *words: str) -> list[str]:
    return ["--out", str(out), "--device", "cpu", *words]


def last_json(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    line: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
    return line


def test_all_parts_run_in_order_and_one_that_fails_stops_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Recorded(pytorch="failed", tensorrt="not_possible")
    assert gpu_report.main(on_cpu(tmp_path), run) == 1
    assert list(run.told) == ALL_BUT_STUDENT
    line = last_json(capsys)
    assert line["ok"] is False
    assert line["device"] == "cpu"
    assert line["parts"]["pytorch"] == "failed"
    assert line["parts"]["scene"] == "done"


def test_what_is_not_possible_here_is_no_failure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert gpu_report.main(on_cpu(tmp_path), Recorded(tensorrt="not_possible")) == 0
    out = capsys.readouterr().out
    assert "- tensorrt: no word" in out
    assert "No figure of this run is one of a GPU." in out


def test_the_same_command_again_runs_only_what_did_not_run_whole(tmp_path: Path) -> None:
    assert gpu_report.main(on_cpu(tmp_path), Recorded(training="failed", scene="interrupted")) == 130
    again = Recorded()
    assert gpu_report.main(on_cpu(tmp_path), again) == 0
    assert list(again.told) == ["training", "scene", "tensorrt"]
    rehearsed = Recorded()  # a rehearsal's files are no other run's
    assert gpu_report.main(on_cpu(tmp_path, "--rehearsal"), rehearsed) == 0
    assert list(rehearsed.told) == list(PARTS)


def test_a_damaged_file_is_measured_again(tmp_path: Path) -> None:
    path_of(tmp_path, "facts").write_text("{")
    run = Recorded()
    assert gpu_report.main(on_cpu(tmp_path, "--parts", "facts"), run) == 0
    assert list(run.told) == ["facts"]
    assert read_part(path_of(tmp_path, "facts")).status == "done"


def test_parts_share_the_minutes_and_what_one_leaves_goes_to_those_after_it(tmp_path: Path) -> None:
    run = Recorded()
    assert gpu_report.main(on_cpu(tmp_path, "--minutes", "4", "--data", str(tmp_path)), run) == 0
    shares_s = {name: part.share_s for name, part in PARTS.items()}
    assert run.told["facts"].seconds == pytest.approx(240 * shares_s["facts"] / sum(shares_s.values()), rel=0.05)
    last_two = shares_s["tensorrt"] + shares_s["student"]  # nobody before them took any time
    assert run.told["tensorrt"].seconds == pytest.approx(240 * shares_s["tensorrt"] / last_two, rel=0.05)
    assert run.told["student"].seconds == pytest.approx(240, rel=0.05)


def test_what_runs_again_shares_all_the_minutes(tmp_path: Path) -> None:
    assert gpu_report.main(on_cpu(tmp_path), Recorded(training="failed")) == 1
    again = Recorded()
    assert gpu_report.main(on_cpu(tmp_path, "--minutes", "4"), again) == 0
    assert list(again.told) == ["training"]
    assert again.told["training"].seconds == pytest.approx(240, rel=0.05)


def test_without_time_what_was_measured_earlier_stands(tmp_path: Path) -> None:
    assert gpu_report.main(on_cpu(tmp_path, "--parts", "scene"), Recorded(scene="failed")) == 1
    before = path_of(tmp_path, "scene").read_bytes()
    assert gpu_report.main(on_cpu(tmp_path, "--parts", "scene", "--minutes", "0.1"), Recorded()) == 1
    assert path_of(tmp_path, "scene").read_bytes() == before


@pytest.mark.parametrize(("words", "is_run"), [((), False), (("--data", "."), True), (("--parts", "student"), True)])
def test_a_student_is_trained_where_there_is_imagery_or_it_was_asked_for(
    words: tuple[str, ...], is_run: bool, tmp_path: Path
) -> None:
    run = Recorded()
    assert gpu_report.main(on_cpu(tmp_path, *words), run) == 0
    assert ("student" in run.told) is is_run


def test_without_time_a_part_is_not_run_and_the_report_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Recorded()
    assert gpu_report.main(on_cpu(tmp_path, "--minutes", "0.1", "--parts", "facts"), run) == 1
    assert run.told == {}
    assert last_json(capsys)["parts"] == {"facts": "not_run"}
    jsonschema.validate(json.loads(path_of(tmp_path, "facts").read_text()), schema())


def test_preparing_makes_students_ready_on_a_processor_and_nothing_else(tmp_path: Path) -> None:
    run = Recorded()
    assert gpu_report.main(["--out", str(tmp_path), "--prepare"], run) == 0
    assert list(run.told) == ["models"]
    assert run.told["models"].card.kind == "cpu"


@pytest.mark.parametrize(
    "words", [["--prepare", "--parts", "facts"], ["--data", "nowhere"], ["--scene", "nowhere.tif"]]
)
def test_wrong_usage_is_told_before_anything_runs(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert gpu_report.main(on_cpu(tmp_path, *words), Recorded()) == 2
    assert capsys.readouterr().err.startswith("gpu-report: ")


def test_the_summary_fits_a_screen_and_tells_what_was_left_out(tmp_path: Path) -> None:
    many = tuple(f"case {n}: no time was left" for n in range(40))
    files = [part_file(name, left_out=many) for name in PARTS]
    text = gpu_report.summary(files, Task(tmp_path, PROCESSOR))
    assert len(text.splitlines()) < 50
    assert "- facts left out 37 more" in text


@pytest.mark.slow
def test_a_whole_rehearsal_runs_on_a_processor_and_what_was_killed_in_the_middle_goes_on(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "kda_edge.benchmarks.gpu.gpu_report",
        *on_cpu(tmp_path, "--rehearsal"),
    ]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    assert process.stderr is not None
    for line in process.stderr:  # killed as soon as the first part is done, in the midst of the second
        if line.startswith("gpu-report: facts: done"):
            break
    process.kill()
    process.wait()
    process.stderr.close()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    logs = "\n".join(path.read_text(errors="replace")[-800:] for path in (tmp_path / "logs").glob("*.log"))
    assert done.returncode == 0, done.stdout + done.stderr + logs
    files = {name: read_part(path_of(tmp_path, name)) for name in PARTS}
    for name, content in files.items():
        plain = json.loads(path_of(tmp_path, name).read_text())
        jsonschema.validate(plain, schema())
        jsonschema.validate(plain["result"], result_schema())
        assert plain["rehearsal"] is True
        assert plain["device"]["kind"] == "cpu"
        assert plain["device"]["name"] == card_of("cpu").name
        assert content.status == ("not_possible" if name == "tensorrt" else "done"), content.reason
        with pytest.raises(UsageError, match="in a rehearsal"):
            content.require_of_a_gpu(name)
    found = {name: {f.name for f in c.result.figures} for name, c in files.items() if c.result}
    assert {"latency.p50", "latency.p99", "throughput", "parity.max_abs"} <= found["onnxruntime"] & found["pytorch"]
    assert {"step.loss_off", "throughput.images", "resume.max_abs"} <= found["training"]
    assert {"wall.p50", "throughput", "engine.busy", "phase.read", "agreement.same_class"} <= found["scene"]
    assert "steps" in found["student"]
    (student,) = (tmp_path / "training" / "student").glob("student_*.pt")
    assert student.stat().st_size > 1e6
