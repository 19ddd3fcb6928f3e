"""Break the code that must never be wrong, change after change, and see whether the tests notice.

    python tests/mutants/mutants.py --per-module 12 --seed 1 --json build/mutants.json
    python tests/mutants/mutants.py --module kda_edge/tiling/blend.py --per-module 100
    python tests/mutants/mutants.py --again build/mutants.json --json build/mutants.json

Each change is made in a copy of the packages, and the tests that are named for the module run until the first failure.
Changes that those let pass are tried on the wider suite at the end, which takes minutes for each; `--near` leaves that
out, and `--again` tries what survived an earlier campaign. What survives is told; what survives for a good reason is in
`survivors.toml` beside this file, and in docs/testing.md.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "support")]

from operators import Mutant, mutants_of, sampled  # noqa: E402 -- beside this file
from places import ROOT  # noqa: E402

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

# What must never be wrong, and the tests that should know.
MODULES: Final = {
    "kda_edge/tiling/tile_grid.py": ["tests/core/tiling"],
    "kda_edge/tiling/blend.py": ["tests/core/tiling"],
    "kda_edge/tiling/fill_nodata.py": ["tests/core/tiling"],
    "kda_edge/tiling/tile_stream.py": ["tests/core/tiling"],
    "kda_edge/tiling/predict.py": ["tests/core/tiling"],
    "kda_edge/tiling/tile_answers.py": ["tests/core/tiling"],
    "kda_edge/certificate.py": ["tests/core/test_certificate.py", "tests/runtime/engines"],
    "kda_edge/manifest.py": ["tests/core/test_manifest.py"],
    "runtime/map_format.py": ["tests/runtime/mapping", "tests/runtime/outputs"],
    "runtime/mapping/qa_band.py": ["tests/runtime/mapping", "tests/runtime/outputs/test_map_geotiff.py"],
    "runtime/mapping/mapped_rows.py": ["tests/runtime/mapping", "tests/runtime/outputs/test_map_geotiff.py"],
    "runtime/mapping/value_range.py": ["tests/runtime/mapping"],
    "runtime/runs/framed_file.py": ["tests/runtime/runs/test_framed_file.py", "tests/runtime/runs/test_journal.py"],
    "runtime/runs/journal.py": ["tests/runtime/runs/test_journal.py", "tests/runtime/runs/test_resume.py"],
    "runtime/runs/journal_frames.py": ["tests/runtime/runs/test_journal.py"],
    "runtime/runs/merge_shards.py": ["tests/runtime/runs/test_merge_shards.py"],
    "runtime/polygons/connected_components.py": ["tests/runtime/polygons"],
    "runtime/polygons/pixel_outlines.py": ["tests/runtime/polygons"],
    "runtime/polygons/ground_outlines.py": ["tests/runtime/polygons"],
    "runtime/polygons/polygon_writer.py": ["tests/runtime/polygons"],
    "kda_edge/ground/ground.py": ["tests/core/ground", "tests/runtime/polygons"],
}
WIDER: Final = [
    *("tests/core/tiling", "tests/core/test_manifest.py", "tests/runtime/test_segmenter.py"),
    *(f"tests/runtime/{name}" for name in ("mapping", "scenes", "outputs", "runs", "polygons")),
]
NEAR_S, WIDER_S = 300, 900  # a change that makes tests wait for ever is noticed too
# Without the current folder on the path, whose `kda_edge` would be taken instead of the copy.
PYTEST: Final = "import sys; sys.path.remove(''); import pytest; sys.exit(pytest.main(sys.argv[1:]))"
KNOWN: Final = Path(__file__).with_name("survivors.toml")


class Copy:
    """The packages as they are installed, where a module can be changed."""

    def __init__(self, folder: Path) -> None:
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
        subprocess.run([*command, "--target", str(folder), str(ROOT)], check=True, stderr=subprocess.DEVNULL)
        shutil.rmtree(ROOT / "build" / "lib", ignore_errors=True)
        self._folder = folder

    def place(self, module: str) -> Path:
        """Return where a module of the project lies in the copy."""
        inside = module if module.startswith("kda_edge/") else f"kda_edge/{module}"
        return self._folder / inside

    def fails(self, tests: Sequence[str], limit_s: float) -> bool:
        """Whether a test fails, or the tests don't end."""
        command = [sys.executable, "-c", PYTEST, "-x", "-q", "-m", "not slow", "-p", "no:cacheprovider", *tests]
        plain = {"PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
        variables = os.environ | plain | {"PYTHONPATH": str(self._folder)}
        try:
            done = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, timeout=limit_s, check=False)
        except subprocess.TimeoutExpired:
            return True
        return done.returncode != 0


def known_survivors() -> set[tuple[str, str, str, str]]:
    """Return (module, line's text, was, now) of the changes that survive for a reason."""
    rows = tomllib.loads(KNOWN.read_text(encoding="utf-8")).get("survivor", []) if KNOWN.exists() else []
    return {change_of(row) for row in rows}


def change_of(row: dict[str, Any]) -> tuple[str, str, str, str]:
    """Return what tells a change from all others, wherever its line has moved."""
    return row["module"], row["line"], row["was"], row["now"]


def tried(copy: Copy, module: str, mutant: Mutant, tests: Sequence[str], limit_s: float) -> bool:
    """Whether tests notice a change of a module."""
    text = (ROOT / module).read_text(encoding="utf-8")
    copy.place(module).write_text(mutant.applied(text), encoding="utf-8")
    try:
        return copy.fails(tests, limit_s)
    finally:
        copy.place(module).write_text(text, encoding="utf-8")


def facts(module: str, lines: Sequence[str], mutant: Mutant) -> dict[str, Any]:
    """Return a change as plain data."""
    row = {"module": module, "number": mutant.line, "line": lines[mutant.line - 1].strip()}
    return {**row, "was": mutant.was, "now": mutant.now}


def sampled_changes(modules: Iterable[str], count: int, seed: int) -> Iterator[tuple[dict[str, Any], Mutant]]:
    """Yield changes of modules, each with its facts."""
    known = known_survivors()
    for module in modules:
        text = (ROOT / module).read_text(encoding="utf-8")
        for mutant in sampled(mutants_of(text), count, seed):
            row = facts(module, text.splitlines(), mutant)
            yield {**row, "known": change_of(row) in known, "killed_by": ""}, mutant


def told(row: dict[str, Any], phase: str) -> str:
    """Return the line that says what became of a change."""
    state = "noticed" if row["killed_by"] else "SURVIVES" + " as known" * row["known"]
    return f"{row['module']}:{row['number']}: {row['was']!r} -> {row['now']!r}: {state} ({phase})"


def main(argv: Sequence[str] | None = None) -> int:
    """Run a campaign; return 0 where at least --least of the changes were noticed, known survivors left out, else 1."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--module", action="append", choices=sorted(MODULES), help="default: all")
    parser.add_argument("--per-module", type=int, default=12, metavar="N")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--near", action="store_true", help="run only the tests that are named for each module")
    parser.add_argument("--again", type=Path, metavar="FILE", help="take from an earlier campaign what was noticed")
    parser.add_argument("--least", type=float, default=0.9, metavar="SHARE")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args(argv)
    start_s = time.monotonic()
    campaign = list(sampled_changes(options.module or MODULES, options.per_module, options.seed))
    rows = [row for row, _ in campaign]
    noticed = (
        {change_of(row): row["killed_by"] for row in json.loads(options.again.read_text())} if options.again else {}
    )
    for row in rows:
        row["killed_by"] = noticed.get(change_of(row), "")
    phases = [("near", NEAR_S), ("wider", WIDER_S)][: 1 if options.near else 2]
    with tempfile.TemporaryDirectory(prefix="kda-edge-mutants-") as folder:
        copy = Copy(Path(folder))
        for phase, limit_s in phases:
            unfinished = [(row, mutant) for row, mutant in campaign if not row["killed_by"]]
            for tests in {tuple(WIDER if phase == "wider" else MODULES[row["module"]]): None for row, _ in unfinished}:
                if copy.fails(tests, limit_s):
                    parser.exit(2, f"mutants: without any change tests fail, or take over {limit_s:g} s: {tests}\n")
            for row, mutant in unfinished:
                if phase == "wider" and row["known"]:
                    continue
                tests = WIDER if phase == "wider" else MODULES[row["module"]]
                row["killed_by"] = phase if tried(copy, row["module"], mutant, tests, limit_s) else ""
                print(told(row, phase), flush=True)
                if options.json is not None:
                    options.json.parent.mkdir(parents=True, exist_ok=True)
                    options.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    counted = [row for row in rows if not row["known"]]
    killed = sum(bool(row["killed_by"]) for row in counted)
    share = killed / len(counted) if counted else 1.0
    print(f"{killed} of {len(counted)} changes were noticed ({share:.1%}), {len(rows) - len(counted)} survive for a "
          f"known reason; {time.monotonic() - start_s:.0f} s")  # fmt: skip
    return 0 if share >= options.least else 1


if __name__ == "__main__":
    sys.exit(main())
