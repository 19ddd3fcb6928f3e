"""The engine cache under real processes that wait for each other and are killed."""

from __future__ import annotations

import dataclasses
import signal
import subprocess
import sys
import textwrap
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from engine_builds import Builder, engine_files, warnings
from forks import idle_fork

from kda_edge.runtime.tensorrt.build import Built
from kda_edge.runtime.tensorrt.engine_cache import cached_engine
from kda_edge.runtime.tensorrt.engine_key import EngineKey

KEY = EngineKey("ab" * 32, "Orin (nvgpu)", (8, 7), "12.6", "10.3.0", 2, 4)


@pytest.fixture
def build() -> Builder:
    return Builder()


CHILD = """
import logging, os, signal, sys, time
from pathlib import Path
from kda_edge.runtime.tensorrt.engine_cache import cached_engine
from kda_edge.runtime.tensorrt.engine_key import EngineKey
from kda_edge.runtime.tensorrt.build import Built
from kda_edge.runtime.tensorrt.precision_proof import LayerCounts

logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stdout)
root, kill_at = Path(sys.argv[1]), int(sys.argv[2])
renames = 0

def watch(event, arguments):
    global renames
    if event == "os.rename":
        renames += 1
        if renames == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(watch)

def build():
    print("building", flush=True)
    if not kill_at:
        sys.stdin.readline()
    return Built(b"of a child" * 100, LayerCounts(half=1), 1.0, "10.3.0")

key = EngineKey("ab" * 32, "Orin (nvgpu)", (8, 7), "12.6", "10.3.0", 2, 4)
engine = cached_engine(key, build, root=root)
print("cached" if engine.from_cache else "built", engine.plan[:10].decode(), flush=True)
"""


def child(root: Path, kill_at: int = 0) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", textwrap.dedent(CHILD), str(root), str(kill_at)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_a_second_process_waits_and_uses_what_the_first_has_built(tmp_path: Path) -> None:
    with child(tmp_path) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "building\n"
        with child(tmp_path) as second:
            assert second.stdout is not None
            assert "another process builds the engine" in second.stdout.readline()
            time.sleep(0.2)  # it would go on by itself if it did not wait
            assert second.poll() is None
            told_first, _ = first.communicate("go\n", timeout=30)
            told_second, _ = second.communicate(timeout=30)
    assert told_first == "built of a child\n"
    assert told_second == "cached of a child\n"


@pytest.mark.parametrize("rename", [1, 2], ids=["before the plan has its name", "between plan and record"])
def test_a_process_killed_while_it_writes_leaves_nothing_that_is_believed(
    tmp_path: Path, build: Builder, caplog: pytest.LogCaptureFixture, rename: int
) -> None:
    with child(tmp_path, kill_at=rename) as killed:
        told, _ = killed.communicate(timeout=30)
    assert (killed.returncode, told) == (-signal.SIGKILL, "building\n")
    assert any(name.endswith(".part") for name in engine_files(tmp_path))
    engine = cached_engine(KEY, build, root=tmp_path)
    assert (engine.plan, engine.from_cache) == (b"plan 1" * 1000, False)
    assert len(warnings(caplog)) == rename - 1  # of an engine that never was there is nothing to say
    assert engine_files(tmp_path) == ["engine.json", "engine.plan"]
    assert cached_engine(KEY, build, root=tmp_path).from_cache


def test_a_process_killed_while_it_replaces_an_engine_leaves_no_mixture(
    tmp_path: Path, build: Builder, caplog: pytest.LogCaptureFixture
) -> None:
    """Old record, new plan: the digest tells."""
    cached_engine(dataclasses.replace(KEY, tensorrt_version="8.6.1"), build, root=tmp_path)
    with child(tmp_path, kill_at=2) as killed:
        killed.communicate(timeout=30)
    old = dataclasses.replace(KEY, tensorrt_version="8.6.1")
    assert not cached_engine(old, build, root=tmp_path).from_cache
    assert "damaged or was written in part" in warnings(caplog)[0]


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_fork_made_while_an_engine_is_built_keeps_nobody_waiting(build: Builder, tmp_path: Path) -> None:
    """A worker that another thread of the program forks in those minutes lives on; the next process must not wait."""
    with ExitStack() as stack:

        def build_and_fork() -> Built:
            stack.enter_context(idle_fork())
            return build()

        assert not cached_engine(KEY, build_and_fork, root=tmp_path).from_cache
        asked = child(tmp_path)
        said, _ = asked.communicate("\n", timeout=60)
        assert "cached" in said
