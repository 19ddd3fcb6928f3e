"""Warnings of rasterio's that are left out in all threads at once: `warnings.catch_warnings` is of one thread only.

There, a thread that ends its block puts back what it found, and another thread's warnings are printed.
"""

from __future__ import annotations

import threading
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final, cast

_LOCK: Final = threading.Lock()
_USERS: Final = Counter[type[Warning]]()  # blocks that some thread is in


@contextmanager
def silenced(category: type[Warning]) -> Iterator[None]:
    """Leave out the warnings of a kind until the block ends, in whatever thread; the program's own filters stay."""
    ours = ("ignore", None, category, None, 0)
    with _LOCK:
        if _USERS[category] or ours not in warnings.filters:  # else the program leaves them out itself
            _USERS[category] += 1
            warnings.simplefilter("ignore", category)
            counted = True
        else:
            counted = False
    try:
        yield
    finally:
        with _LOCK:
            _USERS[category] -= counted
            if counted and not _USERS[category]:
                with suppress(ValueError):  # somebody has put back older filters
                    cast("list[Any]", warnings.filters).remove(ours)
