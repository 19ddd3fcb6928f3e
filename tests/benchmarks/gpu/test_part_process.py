"""A part's process ends at its limit with all that it started, and whatever becomes of it, its file says so."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from gpu_reports import part_file, task_in

from kda_edge.benchmarks.gpu.part_file import write_part
from kda_edge.benchmarks.gpu.part_process import Ended, judged, last_line, run_in_process, run_limited
from kda_edge.benchmarks.gpu.parts import PARTS

PART = PARTS["pytorch"]
# A child that starts another, tells its number, and sleeps.
WITH_CHILD = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print(child.pid, flush=True)
time.sleep(60)
"""


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except OSError:
        return False


def wait_for(condition: object, seconds: float = 10.0) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():  # type: ignore[operator]
            return True
        time.sleep(0.05)
    return False


def test_a_command_that_ends_tells_its_code_and_last_word(tmp_path: Path) -> None:
    ended = run_limited([sys.executable, "-c", "print('a'); print('b'); raise SystemExit(3)"], tmp_path / "l/log", 60)
    assert ended == Ended(3, False, "b")


def test_at_its_limit_a_group_is_ended_with_what_it_started(tmp_path: Path) -> None:
    start = time.monotonic()
    ended = run_limited([sys.executable, "-c", WITH_CHILD], tmp_path / "log", 2.0, group=True)
    assert ended.timed_out
    assert time.monotonic() - start < 30
    assert wait_for(lambda: not is_alive(int(ended.last_line)))


def test_a_part_whose_report_was_killed_ends_too(tmp_path: Path) -> None:
    """The part watches its parent; both are real processes."""
    inner = (
        "import os, time; from kda_edge.benchmarks.gpu.part_run import end_with_parent; end_with_parent(os.getppid());"
        "print(os.getpid(), flush=True); time.sleep(60)"
    )
    outer = (
        "import sys; from pathlib import Path; from kda_edge.benchmarks.gpu.part_process import run_limited;"
        f"run_limited([sys.executable, '-c', {inner!r}], Path({str(tmp_path / 'log')!r}), 60, group=True)"
    )
    report = subprocess.Popen([sys.executable, "-c", outer])
    log = tmp_path / "log"
    assert wait_for(lambda: log.is_file() and log.read_text().strip().isdecimal(), 60)
    pid = int(log.read_text())
    assert is_alive(pid)
    report.send_signal(signal.SIGKILL)
    report.wait()
    assert wait_for(lambda: not is_alive(pid))


@pytest.mark.parametrize(
    ("ended", "reason"),
    [
        (Ended(-9, True, ""), "it took longer than its 100 s; what it measured until then stands"),
        (Ended(-11, False, "CUDA error"), "its process ended by signal 11 (CUDA error)"),
        (Ended(1, False, ""), "its process ended by exit code 1 (no word)"),
    ],
)
def test_what_a_killed_part_had_measured_stands_and_the_part_has_failed(
    ended: Ended, reason: str, tmp_path: Path
) -> None:
    task = task_in(tmp_path)
    write_part(tmp_path, part_file(status="unfinished", reason="under way"))
    content = judged(PART, task, ended)
    assert (content.status, content.reason) == ("failed", reason)
    assert content.result is not None
    assert content.result.figures
    assert judged(PARTS["scene"], task, ended).result is None  # it had written nothing


def test_a_part_that_ended_itself_is_believed(tmp_path: Path) -> None:
    write_part(tmp_path, part_file(status="not_possible", reason="no torch"))
    assert judged(PART, task_in(tmp_path), Ended(0, False, "")).reason == "no torch"


def test_a_real_part_without_a_driver_says_so(tmp_path: Path) -> None:
    if Path("/dev/nvidiactl").exists():
        pytest.skip("there is a driver here")
    content = run_in_process(PARTS["tensorrt"], task_in(tmp_path))
    assert content.status == "not_possible"
    assert "not installed" in content.reason or "driver" in content.reason


def test_a_real_part_that_lacks_something_is_no_failure(tmp_path: Path) -> None:
    """What it raises is known again in the process that it runs in."""
    content = run_in_process(PARTS["student"], task_in(tmp_path))
    assert content.status == "not_possible"
    assert content.reason.startswith("there is no labelled imagery; give --data")


def test_the_last_line_is_one_that_says_something(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"first\n\xff second \n\n  \n")
    assert last_line(tmp_path / "log").endswith("second")
