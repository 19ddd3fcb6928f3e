"""A progress bar on a terminal; nothing where the output is piped."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Any

from kda_edge.errors import MissingDependency


class ProgressBar:
    """Show `label`, done and total; a new label begins a new bar."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._label = ""

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.close()

    def __call__(self, label: str, done: int, total: int) -> None:
        """Show that `done` of `total` are done."""
        if self._bar is None or label != self._label:
            try:
                from tqdm import tqdm
            except ModuleNotFoundError as error:
                raise MissingDependency("tqdm", extra="train") from error
            if self._bar is not None:
                self._bar.close()
            self._bar, self._label = tqdm(total=total, desc=label, leave=False, disable=not sys.stderr.isatty()), label
        self._bar.update(done - self._bar.n)
