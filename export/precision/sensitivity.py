"""The search for the few groups of layers that a lower precision damages, to keep them out; for FP16 and INT8.

Each evaluation builds a graph and measures it, which takes seconds to minutes, so they are counted and few: one where
nothing needs to be kept out; else one for each group to rank them by what each does alone, and then about twice the
logarithm of how many must be kept out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import onnx

from kda_edge.progress.callbacks import Progress, counted, silent

from ..graphs.graph_view import module_of

Build = Callable[[frozenset[str]], onnx.ModelProto]
Damage = Callable[[onnx.ModelProto], float]


@dataclass(frozen=True)
class Found:
    """What a search has found.

    Attributes:
        kept_out: groups in the higher precision, the worst first.
        graph: with these groups kept out.
        damage: of this graph, as it was measured.
        ranking: each group with the damage that it does alone, the worst first; empty where no search was needed.
        evaluations: graphs that were built and measured.
        holds: whether `damage` is within what is allowed; if not, this is the least damage that was measured.
    """

    kept_out: tuple[str, ...]
    graph: onnx.ModelProto
    damage: float
    ranking: tuple[tuple[str, float], ...]
    evaluations: int
    holds: bool


def search(
    build: Build,
    groups: Sequence[str],
    damage: Damage,
    *,
    allowed: float,
    log: Callable[[str], None] = lambda _: None,
    progress: Progress = silent,
) -> Found:
    """Return the graph of lower precision that holds, with few groups kept out of it, the most sensitive ones.

    Groups are kept out in the order of the damage that each does alone. Damage need not fall with each one kept out,
    so the number that suffices is narrowed down rather than proved to be the least; what is returned was measured.

    Args:
        build: makes the graph with these groups kept in the higher precision.
        groups: all that may be kept out.
        damage: measures a graph; what is not a number counts as infinite.
        allowed: the most damage that holds.
        log: takes a line for each evaluation.
        progress: told of the groups that were tried alone, and of what follows.
    """
    trials = _Trials(build, damage, allowed, log)
    progress("trying everything in the lower precision", 0, 0)
    if trials.holds((), "everything in the lower precision") or not groups:
        return trials.found(())
    alone = []
    for number, group in enumerate(counted(groups, "layers tried alone", progress), 1):
        others = [other for other in groups if other != group]
        alone.append((group, trials.damage(others, f"{group} alone ({number} of {len(groups)})")))
    ranking = tuple(sorted(alone, key=lambda entry: -entry[1]))  # stable: in the order of the graph where equal
    worst = [group for group, _ in ranking]
    progress("finding how many layers to keep out", 0, 0)

    def prefix_holds(count: int) -> bool:
        return trials.holds(worst[:count], f"the worst {count} kept out")

    if prefix_holds(len(worst)):
        # Few groups are the rule: the steps grow from 1 until enough are kept out, then close in from both sides.
        too_few, enough = 0, 1
        while enough < len(worst) and not prefix_holds(enough):
            too_few, enough = enough, min(2 * enough, len(worst))
        while enough - too_few > 1:
            middle = (too_few + enough) // 2
            if prefix_holds(middle):
                enough = middle
            else:
                too_few = middle
    return trials.found(ranking)


def groups_of(model: onnx.ModelProto, is_candidate: Callable[[onnx.NodeProto], bool]) -> tuple[str, ...]:
    """Return the groups of the candidates, each candidate in exactly one, in the order of the graph.

    A group is a part of a block (`encoder.block1.0.attn`, `encoder.block1.0.mlp`) or, outside of blocks, a part of the
    encoder or decoder (`decoder.UP4`), with all the modules below it. Candidates that lie directly in a module which
    holds other groups, such as the sums around a block, are a group of their own with a slash at the end
    (`encoder.block1.0/`). `graph_view.is_within` reads both.
    """
    modules = tuple(dict.fromkeys(module_of(node) for node in model.graph.node if is_candidate(node)))
    coarse = {module: _part_of(module) for module in modules}
    holders = {group for group in coarse.values() if any(_is_below(other, group) for other in coarse.values())}
    return tuple(dict.fromkeys(f"{m}/" if coarse[m] in holders else coarse[m] for m in modules))


def _part_of(module: str) -> str:
    """Return a module cut off behind what follows its first number, or without one, behind its second name."""
    names = module.split(".")
    for position, name in enumerate(names[:-1]):
        if name.isdigit():
            return ".".join(names[: position + 2])
    return ".".join(names[:2])


def _is_below(module: str, holder: str) -> bool:
    return module != holder and (module.startswith(f"{holder}.") or not holder)


@dataclass(frozen=True)
class _Trial:
    kept_out: tuple[str, ...]
    graph: onnx.ModelProto
    damage: float


class _Trials:
    """Measures each set of groups once, and keeps the best graph: graphs are large."""

    def __init__(self, build: Build, damage: Damage, allowed: float, log: Callable[[str], None]) -> None:
        self.build, self.measure, self.allowed, self.log = build, damage, allowed, log
        self.known: dict[frozenset[str], float] = {}
        self.best: _Trial | None = None

    def damage(self, kept_out: Iterable[str], what: str) -> float:
        """Return the damage of the graph with these groups kept out; infinite for what is not a number."""
        key = frozenset(kept_out)
        if key not in self.known:
            graph = self.build(key)
            measured = self.measure(graph)
            self.known[key] = math.inf if math.isnan(measured) else measured
            used = self.known[key] / self.allowed if self.allowed else math.inf if self.known[key] else 0.0
            self.log(
                f"{what}: " + (f"uses {used:.0%} of the loss that is allowed" if used < math.inf else "does not hold")
            )
            trial = _Trial(tuple(sorted(key)), graph, self.known[key])
            if self.best is None or self._order(trial) < self._order(self.best):
                self.best = trial
        return self.known[key]

    def holds(self, kept_out: Iterable[str], what: str) -> bool:
        return self.damage(kept_out, what) <= self.allowed

    def found(self, ranking: Sequence[tuple[str, float]]) -> Found:
        """Return the best of all that was measured."""
        assert self.best is not None
        place = {group: number for number, (group, _) in enumerate(ranking)}
        return Found(
            kept_out=tuple(sorted(self.best.kept_out, key=lambda group: place[group])),
            graph=self.best.graph,
            damage=self.best.damage,
            ranking=tuple(ranking),
            evaluations=len(self.known),
            holds=self.best.damage <= self.allowed,
        )

    def _order(self, trial: _Trial) -> tuple[bool, float, float]:
        """What holds before what does not; among those the fewest kept out, among these the least damage."""
        holds = trial.damage <= self.allowed
        return (not holds, len(trial.kept_out) if holds else trial.damage, trial.damage if holds else 0.0)
