"""A slot for the newest frame, between the thread that reads and the one that predicts: no queue can grow."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final, Generic, TypeVar

POLL_S: Final = 0.1  # how soon a request to stop is heard while nothing happens

_Item = TypeVar("_Item")


class Slot(Generic[_Item]):
    """One item at most, from one thread to another."""

    def __init__(self, *, replace: bool) -> None:
        """Make an empty one.

        Args:
            replace: a new item takes the place of one that nobody has taken; else the one who brings it waits.
        """
        self._replace = replace
        self._changed = threading.Condition()
        self._item: _Item | None = None
        self._ended = self._stopped = False
        self._error: BaseException | None = None

    def put(self, item: _Item) -> _Item | None:
        """Leave an item; return the one that it replaces, or itself where the slot was stopped and nobody will come."""
        with self._changed:
            if not self._replace:
                self._changed.wait_for(lambda: self._item is None or self._stopped)
            if self._stopped:
                return item
            replaced, self._item = self._item, item
            self._changed.notify_all()
            return replaced

    def end(self, error: BaseException | None = None) -> None:
        """Say that no further item comes, and why, if that is an error."""
        with self._changed:
            self._ended, self._error = True, self._error or error
            self._changed.notify_all()

    def stop(self) -> _Item | None:
        """Say that no further item is wanted; return one that nobody has taken."""
        with self._changed:
            self._stopped = True
            left, self._item = self._item, None
            self._changed.notify_all()
            return left

    def take(self, stopped: Callable[[], bool] = lambda: False) -> _Item | None:
        """Wait for an item and take it; None: there are no more, or somebody has stopped.

        Raises:
            BaseException: whatever ended the items, once they are taken.
        """
        with self._changed:
            while self._item is None and not (self._ended or self._stopped or stopped()):
                self._changed.wait(POLL_S)
            if stopped():
                return None
            item, self._item = self._item, None
            self._changed.notify_all()
            if item is None and self._error is not None:
                error, self._error = self._error, None
                raise error
            return item
