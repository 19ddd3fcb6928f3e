"""Feed damaged files to the runtime by the thousand: never a traceback, a hang, a crash, or a wrong map.

    python tests/fuzz/fuzz.py --inputs 20000 --seed 1
    python tests/fuzz/fuzz.py --seconds 300
    python tests/fuzz/fuzz.py --seed 1 --only rasters:1234

Case N of a seed is the same on every machine with the same libraries. Cases run in processes of their own, which are
watched: one that ends or does not answer is a finding like any other. What was found lies in the folder of --out, to be
mended and then kept in tests/fuzz/kept/, where a test tries it again for ever.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import multiprocessing
import resource
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final, TypeAlias

sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
from oracle import Target

NAMES: Final = ("rasters", "journals", "shards", "models")
SHARES: Final = {"rasters": 6, "journals": 1, "shards": 1, "models": 4}  # cases of each in a dozen
HANG_S: Final = 60.0  # without an answer on a case, on a machine that may be busy
ADDRESS_BYTES: Final = 8 * 2**30  # of a worker: what a damaged header asks for must not take the machine
FILE_BYTES: Final = 2**30
MOST_FINDINGS: Final = 25  # then the campaign ends: they have few causes

MakeTarget: TypeAlias = Callable[[str, Path], Target]  # by name, its seeds in a folder


def target_of(name: str, folder: Path) -> Target:
    """Return a target; its seeds are made in a folder."""
    import models
    import rasters
    import records

    kinds: dict[str, Callable[[Path], Target]] = {
        "rasters": rasters.Rasters,
        "journals": records.Journals,
        "shards": records.Shards,
        "models": models.Models,
    }
    return kinds[name](folder)


def name_of(number: int) -> str:
    """Return which target a case is for."""
    order = [name for name in NAMES for _ in range(SHARES[name])]
    return order[number % len(order)]


def case(target: Target, seed: int, number: int) -> tuple[str, bytes]:
    """Return suffix and content of a case."""
    return target.make(np.random.default_rng([seed, NAMES.index(target.name), number]))


def work(connection: Connection, seed: int, folder: Path, make: MakeTarget) -> None:
    """Answer case after case, until the parent closes the line; what a case printed or raised is in the answer."""
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_BYTES, ADDRESS_BYTES))
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_BYTES, FILE_BYTES))
    targets: dict[str, Target] = {}
    while True:
        try:
            number = connection.recv()
        except EOFError:
            return
        name = name_of(number)
        try:
            if name not in targets:
                (folder / name).mkdir(parents=True)
                targets[name] = make(name, folder / name)
            suffix, content = case(targets[name], seed, number)
            connection.send((targets[name].check(suffix, content), ""))
        except BaseException as error:  # whatever it is, it is a finding
            connection.send((type(error).__name__, traceback.format_exc()))


@dataclass
class Worker:
    """A process that runs cases, and the one that it is at."""

    seed: int
    folder: Path
    make: MakeTarget
    hang_s: float = HANG_S
    process: Any = None
    connection: Any = None
    number: int | None = None
    since_s: float = field(default_factory=time.monotonic)

    def start(self) -> None:
        """Start the process anew."""
        self.end()
        self.connection, theirs = multiprocessing.Pipe()
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        spawned = multiprocessing.get_context("spawn")
        self.process = spawned.Process(target=work, args=(theirs, self.seed, folder, self.make), daemon=True)
        self.process.start()
        theirs.close()
        self.number = None

    def give(self, number: int) -> None:
        """Hand over a case."""
        self.connection.send(number)
        self.number, self.since_s = number, time.monotonic()

    def answer(self) -> tuple[str, str] | None:
        """Return what came of the case; None as long as there is no answer. A finding's second part is not empty."""
        try:
            if self.connection.poll(0):
                found: tuple[str, str] = self.connection.recv()
                return found
        except (EOFError, ConnectionResetError):
            self.process.join(5)
            return "crash", f"the process ended with {self.process.exitcode}"
        if time.monotonic() - self.since_s > self.hang_s:
            return "hang", f"no answer within {self.hang_s:g} s"
        return None

    def end(self) -> None:
        """Kill the process."""
        if self.process is not None:
            self.process.kill()
            self.process.join()
            self.connection.close()


def run(
    seed: int,
    numbers: Sequence[int],
    out: Path,
    *,
    seconds: float = math.inf,
    workers: int = 1,
    make: MakeTarget = target_of,
    hang_s: float = HANG_S,
) -> int:
    """Run cases until they or the time are used up; return the exit code: 0, or 1 where something was found."""
    start_s, outcomes, findings = time.monotonic(), Counter[str](), 0
    waiting = iter(numbers)
    with tempfile.TemporaryDirectory(prefix="kda-edge-fuzz-") as scratch:
        crew = [Worker(seed, Path(scratch), make, hang_s) for _ in range(workers)]
        try:
            for worker in crew:
                worker.start()
            busy = True
            while busy and findings < MOST_FINDINGS:
                busy, idle = False, True
                for worker in crew:
                    answer = None if worker.number is None else worker.answer()
                    if answer is not None:
                        idle = False
                        outcomes[f"{name_of(worker.number or 0)}: {answer[0]}"] += 1
                        if answer[1]:
                            findings += 1
                            report(seed, worker.number or 0, answer, out, make)
                            worker.start()
                        worker.number = None
                    if worker.number is None and time.monotonic() - start_s < seconds:
                        number = next(waiting, None)
                        if number is not None:
                            worker.give(number)
                    busy = busy or worker.number is not None
                if idle:
                    time.sleep(0.001)
        finally:
            for worker in crew:
                worker.end()
    done = sum(outcomes.values())
    print(json.dumps({"seed": seed, "inputs": done, "seconds": round(time.monotonic() - start_s, 1),
                      "findings": findings, "outcomes": dict(sorted(outcomes.items()))}))  # fmt: skip
    return 1 if findings else 0


def report(seed: int, number: int, answer: tuple[str, str], out: Path, make: MakeTarget) -> None:
    """Keep the input of a finding and say how to see it again."""
    name = name_of(number)
    with tempfile.TemporaryDirectory() as folder:
        suffix, content = case(make(name, Path(folder)), seed, number)
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"{name}-{hashlib.sha256(content).hexdigest()[:12]}{suffix}"
    path.write_bytes(content)
    path.with_name(f"{path.name}.txt").write_text(answer[1], encoding="utf-8")
    last = answer[1].strip().splitlines()[-1]
    print(f"{name}:{number}: {answer[0]}: {last}\n  {path}", file=sys.stderr, flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a campaign, or one case where the traceback is seen."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--inputs", type=int, default=10**9, metavar="N", help="most cases")
    parser.add_argument("--seconds", type=float, default=math.inf, metavar="S", help="most time")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("build/fuzz"), metavar="DIR", help="folder of what is found")
    parser.add_argument("--only", metavar="TARGET:N", help="run one case here")
    options = parser.parse_args(argv)
    if options.only:
        name, _, number = options.only.partition(":")
        with tempfile.TemporaryDirectory() as folder:
            target = target_of(name, Path(folder))
            print(target.check(*case(target, options.seed, int(number))))
        return 0
    return run(options.seed, range(options.inputs), options.out, seconds=options.seconds, workers=options.workers)


if __name__ == "__main__":
    sys.exit(main())
