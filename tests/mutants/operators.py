"""Small wrong changes to a module, each at one place: what a slip of the hand would make of it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

COMPARISONS: Final = {
    ast.Lt: "<=", ast.LtE: "<", ast.Gt: ">=", ast.GtE: ">", ast.Eq: "!=", ast.NotEq: "==",
    ast.Is: "is not", ast.IsNot: "is", ast.In: "not in", ast.NotIn: "in",
}  # fmt: skip
ARITHMETIC: Final = {
    ast.Add: "-", ast.Sub: "+", ast.Mult: "+", ast.Div: "*", ast.FloorDiv: "*", ast.Mod: "*",
    ast.BitAnd: "|", ast.BitOr: "&", ast.BitXor: "&", ast.LShift: ">>", ast.RShift: "<<", ast.Pow: "*",
}  # fmt: skip
NAMES: Final = {"min": "max", "max": "min", "any": "all", "all": "any", "floor": "ceil", "ceil": "floor"}


@dataclass(frozen=True)
class Mutant:
    """One change.

    Attributes:
        line: where it is, from 1.
        was: the text there.
        now: what stands there instead.
        start: first character in the module's text.
        end: the one behind the last.
    """

    line: int
    was: str
    now: str
    start: int
    end: int

    def applied(self, text: str) -> str:
        """Return the changed module."""
        return text[: self.start] + self.now + text[self.end :]


def mutants_of(text: str) -> list[Mutant]:
    """Return every change that is made to a module; annotations, docstrings and messages are left alone."""
    found = _Finder(text)
    found.visit(ast.parse(text))
    return sorted(found.mutants, key=lambda mutant: (mutant.start, mutant.now))


class _Finder(ast.NodeVisitor):
    def __init__(self, text: str) -> None:
        self._text, self.mutants = text, list[Mutant]()
        self._lines = [0]
        for line in text.splitlines(keepends=True):
            self._lines.append(self._lines[-1] + len(line))
        # Offsets of the syntax tree count bytes of UTF-8.
        self._bytes = [line.encode() for line in text.splitlines(keepends=True)]

    def _at(self, line: int, col: int) -> int:
        return self._lines[line - 1] + len(self._bytes[line - 1][:col].decode())

    def _span(self, node: ast.AST) -> tuple[int, int]:
        return self._at(node.lineno, node.col_offset), self._at(node.end_lineno, node.end_col_offset)  # type: ignore[attr-defined, arg-type]

    def _add(self, start: int, end: int, now: str, line: int) -> None:
        was = self._text[start:end]
        if was != now:
            self.mutants.append(Mutant(line, was, now, start, end))

    def _between(self, left: ast.AST, right: ast.AST, now: str) -> None:
        """Replace the operator between two operands, brackets and spaces around it kept."""
        start, end = self._span(left)[1], self._span(right)[0]
        middle = self._text[start:end]
        core = middle.strip(" ()\n\t")
        if not core or "#" in middle:
            return
        at = start + middle.index(core)
        self._add(at, at + len(core), now, left.end_lineno)  # type: ignore[attr-defined]

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        """Look into the body and the defaults, not into annotations."""
        for default in (*node.args.defaults, *(d for d in node.args.kw_defaults if d is not None)):
            self.visit(default)
        for statement in node.body:
            self.visit(statement)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        """Look at the value alone."""
        if node.value is not None:
            self.visit(node.value)

    def visit_Raise(self, node: ast.Raise) -> None:
        """Leave messages alone."""

    def visit_Assert(self, node: ast.Assert) -> None:
        """Leave what our own code guarantees alone."""

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        """Leave texts alone."""

    def visit_If(self, node: ast.If) -> None:
        """Turn the condition around."""
        if not (isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"):
            start, end = self._span(node.test)
            self._add(start, end, f"not ({self._text[start:end]})", node.lineno)
        self.generic_visit(node)

    def visit_Compare(self, node: ast.Compare) -> None:
        """Exchange each comparison."""
        left = node.left
        for operator, right in zip(node.ops, node.comparators, strict=True):
            self._between(left, right, COMPARISONS[type(operator)])
            left = right
        self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        """Exchange the operator."""
        if type(node.op) in ARITHMETIC:
            self._between(node.left, node.right, ARITHMETIC[type(node.op)])
        self.generic_visit(node)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        """Exchange the operator."""
        if type(node.op) in ARITHMETIC:
            self._between(node.target, node.value, ARITHMETIC[type(node.op)] + "=")
        self.generic_visit(node)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        """Exchange `and` and `or`."""
        now = "or" if isinstance(node.op, ast.And) else "and"
        for left, right in zip(node.values, node.values[1:], strict=False):
            self._between(left, right, now)
        self.generic_visit(node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> None:
        """Leave the operator out."""
        if isinstance(node.op, ast.Not | ast.USub | ast.Invert):
            start, end = self._span(node)
            self._add(start, end, self._text[slice(*self._span(node.operand))], node.lineno)
        self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        """Change numbers by one, turn truth values around."""
        start, end = self._span(node)
        if isinstance(node.value, bool):
            self._add(start, end, str(not node.value), node.lineno)
        elif isinstance(node.value, int):
            self._add(start, end, str(node.value + 1), node.lineno)
        elif isinstance(node.value, float):
            self._add(start, end, repr(node.value * 1.5 + 0.1), node.lineno)

    def visit_Call(self, node: ast.Call) -> None:
        """Exchange functions that are each other's opposites."""
        name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
        if name in NAMES:
            _, end = self._span(node.func)
            self._add(end - len(name), end, NAMES[name], node.lineno)
        self.generic_visit(node)

    def visit_Expr(self, node: ast.Expr) -> None:
        """Leave a call out that stands alone."""
        if isinstance(node.value, ast.Call):
            self._add(*self._span(node), "pass", node.lineno)
        if not isinstance(node.value, ast.Constant):
            self.generic_visit(node)


def sampled(mutants: list[Mutant], count: int, seed: int) -> Iterator[Mutant]:
    """Yield so many mutants of a module, the same ones for a seed, no two in one place."""
    import random

    chosen = mutants[:]
    random.Random(seed).shuffle(chosen)
    taken: set[int] = set()
    for mutant in chosen:
        if len(taken) == count:
            return
        if mutant.start not in taken:
            taken.add(mutant.start)
            yield mutant
