"""Fail where a new result is worse than an old one, beyond what the noise of both explains.

A figure is worse when its 95 % bounds and those of the old one do not overlap, and it has changed by more than both
runs' noise together, and by more than --least; a phase by more than --least of the whole call, since that is what its
user waits for. A figure that has gone is a failure too. One line for each. A run so
noisy that it could hide --blind is refused, because passing it would mean nothing.

Example: kda-bench check new.json old.json
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from kda_edge.errors import UsageError

from ..reporting.result import Figure, Result, read_result
from ..reporting.text_tables import number_text
from .options import positive_number

LEAST: Final = 0.03  # changes below this are of no interest; the stability rule lets windows differ as much
BLIND: Final = 0.25  # noise that could hide a change of a quarter makes a gate worthless
PHASE: Final = "phase."  # begins the names of figures that are parts of `WHOLE`
WHOLE: Final = "latency.p50"
MACHINE: Final = ("processor", "cores", "gpu")  # figures of other machines can't be compared


@dataclass(frozen=True)
class Verdict:
    """What became of the old result's figures.

    Attributes:
        failures: a line each: worse, gone, or too noisy to tell.
        unjudged: a line each: figures whose bounds are not known.
        better: a line each: improved beyond noise.
        compared: how many figures were judged.
    """

    failures: tuple[str, ...]
    unjudged: tuple[str, ...]
    better: tuple[str, ...]
    compared: int


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what `kda-bench check` takes."""
    parser.add_argument("new", type=Path, metavar="new.json")
    parser.add_argument("old", type=Path, metavar="old.json")
    parser.add_argument("--least", type=positive_number, default=LEAST, metavar="SHARE", help="default: 0.03")
    parser.add_argument("--blind", type=positive_number, default=BLIND, metavar="SHARE", help="default: 0.25")
    parser.add_argument("--other-machine", action="store_true", help="compare results of different machines")


def run(options: argparse.Namespace) -> int:
    """Compare, print, and return 1 where anything failed."""
    new, old = read_result(options.new), read_result(options.old)
    require_comparable(new, old, other_machine=options.other_machine)
    verdict = verdict_of(new, old, least=options.least, blind=options.blind)
    for kind, lines in (("better", verdict.better), ("not judged", verdict.unjudged), ("FAIL", verdict.failures)):
        for line in lines:
            print(f"{kind}: {line}")
    if verdict.failures:
        print(f"{len(verdict.failures)} of {verdict.compared} figures fail")
        return 1
    print(f"passes: {verdict.compared} figures, none worse beyond noise")
    return 0


def require_comparable(new: Result, old: Result, *, other_machine: bool = False) -> None:
    """Raise `UsageError` where two results are not of the same benchmark or, unless allowed, machine."""
    if new.benchmark != old.benchmark:
        raise UsageError(f"one result is of {new.benchmark}, the other of {old.benchmark}; give two of the same")
    differing = [name for name in MACHINE if new.machine.get(name) != old.machine.get(name)]
    if differing and not other_machine:
        name = differing[0]
        raise UsageError(
            f"the results are of different machines ({name}: {new.machine.get(name)}, before {old.machine.get(name)}); "
            "measure both on one, or compare them all the same with --other-machine"
        )


def verdict_of(new: Result, old: Result, *, least: float = LEAST, blind: float = BLIND) -> Verdict:
    """Judge each figure of the old result that has a better direction.

    Args:
        new: result.
        old: result.
        least: share of change that is of interest.
        blind: share of noise from which on nothing can be judged.
    """
    failures, unjudged, better = [], [], []
    by_key = {figure.key: figure for figure in new.figures}
    wholes = {figure.key[1:]: figure.value for figure in old.figures if figure.name == WHOLE}
    gated = [figure for figure in old.figures if figure.better != "neither"]
    for result, which in ((new, "new"), (old, "old")):
        if not result.steady:
            unjudged.append(f"the {which} result calls itself not steady; its noise widens what passes")
    unjudged += [
        f"the settings differ in {name}: {old.settings.get(name)} -> {new.settings.get(name)}"
        for name in changed(new, old)
    ]
    for before in gated:
        name, after = " ".join(before.key), by_key.get(before.key)
        if after is None:
            failures.append(f"{name}: measured before and not any more")
            continue
        worse_by = change(after, before)
        noise = (after.noise or 0.0) + (before.noise or 0.0)
        moved = f"{number_text(before.value)} -> {number_text(after.value)} {after.unit} ("
        moved += f"worse by {worse_by:.1%}, " if worse_by > 0 else f"better by {-worse_by:.1%}, "
        if noise > blind:
            failures.append(f"{name}: noise of {noise:.0%} could hide any change; measure on a quiet machine")
        elif worse_by > max(least, noise) and felt(after, before, wholes) > least:
            if lies_apart(after, before):
                failures.append(f"{name}: {moved}noise {noise:.1%})")
            elif lies_apart(after, before) is None:
                unjudged.append(f"{name}: {moved}no bounds: too few calls)")
        elif -worse_by > max(least, noise) and lies_apart(before, after):
            better.append(f"{name}: {moved}noise {noise:.1%})")
    return Verdict(tuple(failures), tuple(unjudged), tuple(better), len(gated))


def changed(new: Result, old: Result) -> list[str]:
    """Return the names of the settings in which two results differ."""
    names = sorted(set(new.settings) | set(old.settings))
    return [name for name in names if new.settings.get(name) != old.settings.get(name)]


def change(after: Figure, before: Figure) -> float:
    """Return by which share a figure has become worse; below 0 where it has become better."""
    if before.value == 0:
        return 0.0 if after.value == 0 else (1.0 if (after.value > 0) == (before.better == "lower") else -1.0)
    grown = (after.value - before.value) / abs(before.value)
    return grown if before.better == "lower" else -grown


def felt(after: Figure, before: Figure, wholes: Mapping[tuple[str, ...], float]) -> float:
    """Return the change of a phase as a share of the call that it is a part of; infinite where it is no part.

    Args:
        after: figure.
        before: figure.
        wholes: time of a whole call, in the unit of its phases, by what it was measured of.
    """
    whole = wholes.get(before.key[1:], 0.0)
    return abs(after.value - before.value) / whole if before.name.startswith(PHASE) and whole else math.inf


def lies_apart(worse: Figure, than: Figure) -> bool | None:
    """Return whether the bounds of a figure lie wholly on the worse side of another's; None where one is not known.

    Figures that never have bounds, such as memory, are compared as they are.
    """
    if all(bound is None for figure in (worse, than) for bound in (figure.low, figure.high)):
        return True
    nearer, other = (worse.low, than.high) if worse.better == "lower" else (than.low, worse.high)
    return None if nearer is None or other is None else nearer > other
