"""Cores are counted as the process may use them, not as the machine has them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kda_edge.errors import UsageError
from kda_edge.runtime.hardware.usable_cores import thread_count, usable_cores


def test_on_a_machine_of_its_own_the_library_chooses() -> None:
    assert thread_count(0, machine=8, usable=8) == 0


def test_where_only_some_cores_may_be_used_the_engine_is_told_how_many() -> None:
    assert thread_count(0, machine=64, usable=2) == 2


def test_what_the_user_says_is_taken_and_less_than_nothing_is_refused() -> None:
    assert thread_count(5, machine=2, usable=1) == 5
    with pytest.raises(UsageError, match="not -1"):
        thread_count(-1)


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="this process may use one core anyway")
def test_affinity_is_respected() -> None:
    code = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))});"
        "from kda_edge.runtime.hardware.usable_cores import usable_cores; print(usable_cores())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "1\n"


@pytest.mark.parametrize(
    ("files", "own", "expected"),
    [
        ({"cpu.max": "100000 100000\n"}, "0::/\n", 1),
        ({"cpu.max": "max 100000\n"}, "0::/\n", None),
        ({"cpu.max": "50000 100000\n"}, "0::/\n", 1),  # half a core still runs one thread
        ({"cpu.max": "max 1\n", "pod/cpu.max": "150000 100000\n", "pod/box/cpu.max": "max 1\n"}, "0::/pod/box\n", 1),
        ({"cpu/cpu.cfs_quota_us": "100000\n", "cpu/cpu.cfs_period_us": "100000\n"}, "4:cpu,cpuacct:/\n1:memory:/\n", 1),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, "4:cpu,cpuacct:/\n", None),
        ({"cpu.max": "nonsense\n"}, "0::/\n", None),
        ({}, None, None),
    ],
    ids=["one", "no limit", "half", "the parent's", "version 1", "version 1, no limit", "unreadable", "none"],
)
def test_the_quota_of_a_container_is_respected(
    tmp_path: Path, files: dict[str, str], own: str | None, expected: int | None
) -> None:
    for name, content in files.items():
        (tmp_path / "cgroup" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "cgroup" / name).write_text(content)
    if own is not None:
        (tmp_path / "own").write_text(own)
    allowed = len(os.sched_getaffinity(0))
    assert usable_cores(tmp_path / "cgroup", tmp_path / "own") == (allowed if expected is None else expected)
