"""A feature cache that several processes or threads use at the same time."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from cached_features import digests_of, holds, maps_of, open_cache

from kda_edge.train.distillation.feature_cache import PLACE

WRITES = """
import sys
from pathlib import Path
import torch
from kda_edge.train.distillation.feature_cache import FeatureCache

first = int(sys.argv[2])
print("ready", flush=True)
sys.stdin.readline()
cache = FeatureCache(Path(sys.argv[1]), teacher="a", shapes=[(2, 3, 3)], slots=200)
for slot in range(first, 200, 2):
    cache.put([slot], [bytes([slot]) * 16], [torch.full((1, 2, 3, 3), float(slot))])
"""


def test_two_processes_create_and_fill_one_cache_together(tmp_path: Path) -> None:
    start = [sys.executable, "-c", WRITES, str(tmp_path)]
    ends = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    children: list[subprocess.Popen[str]] = [subprocess.Popen([*start, rank], **ends) for rank in "01"]  # type: ignore[call-overload]
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    for child in children:
        _, errors = child.communicate(timeout=60)
        assert child.returncode == 0, errors
    cache = open_cache(tmp_path, shapes=[(2, 3, 3)], slots=200)
    for slot in range(200):
        found = cache.get([slot], [bytes([slot]) * 16])
        assert found is not None
        assert (found[0] == slot).all()


def test_what_another_process_puts_is_seen_without_opening_again(tmp_path: Path) -> None:
    mine, other = open_cache(tmp_path), open_cache(tmp_path)
    assert mine.get([3], digests_of([3])) is None
    other.put([3], digests_of([3]), maps_of([3]))
    assert holds(mine.get([3], digests_of([3])), [3])


def test_many_may_create_it_at_once_and_one_does(tmp_path: Path) -> None:
    for attempt in range(20):
        folder = tmp_path / str(attempt)
        gate = threading.Barrier(4)
        failures: list[Exception] = []

        def create(seed: int, folder: Path = folder, gate: threading.Barrier = gate, failures: Any = failures) -> None:
            try:
                gate.wait()
                open_cache(folder).put([seed], digests_of([seed]), maps_of([seed]))
            except Exception as error:
                failures.append(error)

        threads = [threading.Thread(target=create, args=(seed,)) for seed in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        assert holds(open_cache(folder).get([0, 1, 2, 3], digests_of([0, 1, 2, 3])), [0, 1, 2, 3])
        assert [path.name for path in folder.iterdir()] == [PLACE], "a loser left its files behind"
