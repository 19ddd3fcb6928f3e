"""Writes finished rows to the journal in a thread of its own."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from ..mapping.rows import MappedRows
from .journal import Header, Journal


class Recorder:
    """Has a thread record rows, so that the engine can go on meanwhile; a context manager.

    Whoever computes rows waits for the disk after each step: a power cut costs the band at work, and no finished one
    besides it. One thread records, any may wait.
    """

    def __init__(self, journal: Journal, *, check: Callable[[], None], header: Callable[[], Header]) -> None:
        """Start the thread.

        Args:
            journal: the record.
            check: called before each record, in the thread; what it raises keeps the rows from being recorded.
            header: of a record that has none yet.
        """
        self._journal, self._check, self._header = journal, check, header
        self._thread = ThreadPoolExecutor(1, "kda-edge-record")
        self._last: Future[None] | None = None

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown(wait=True)

    def record(self, rows: MappedRows) -> None:
        """Have further rows recorded, those before being on the disk."""
        self.wait()
        self._last = self._thread.submit(self._record, rows)

    def wait(self) -> None:
        """Wait until all is on the disk; raises what kept it from there."""
        last = self._last
        if last is not None:
            last.result()

    def _record(self, rows: MappedRows) -> None:
        self._check()
        if not self._journal.rows_px:
            self._journal.begin(self._header())
        self._journal.append(rows)
