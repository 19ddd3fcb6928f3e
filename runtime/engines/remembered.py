"""The user's cache of what was found out about engines on this machine; it may fail."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Final

from kda_edge.errors import one_line
from kda_edge.manifest import from_plain
from kda_edge.paths import cache_folder
from kda_edge.whole_files import write_first

from .cpu_choice import Comparison

FOLDER: Final = "engine_choice"  # below the cache's folder
FORMAT: Final = 2  # 1 had the figures of one tile

_log = logging.getLogger(__name__)


def remembered(key: Mapping[str, str], *, root: Path | None = None) -> Comparison | None:
    """Return what was found out before under a key, or None.

    Args:
        key: all that the comparison depends on.
        root: of the cache; None is `cache_folder()`.
    """
    path, content = _place(key, root)
    try:
        facts = json.loads(path.read_bytes())
        comparison = from_plain(Comparison, facts.pop("comparison"), where="comparison")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        facts = None
    if facts == content:
        return comparison
    with suppress(OSError):  # damaged, or not what its name says: found out again
        path.unlink()
    return None


def remember(key: Mapping[str, str], comparison: Comparison, *, root: Path | None = None) -> Comparison:
    """Keep what was found out, and return what is kept.

    Of several processes that find out at once, the first to be done is believed by all: they choose alike. Where
    nothing can be kept, that is one line in the log.
    """
    path, content = _place(key, root)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_first(path, (json.dumps({**content, "comparison": asdict(comparison)}, indent=1) + "\n").encode())
    except OSError as error:
        _log.warning(
            "which engine is faster can't be kept in %s (%s); set KDA_EDGE_CACHE", path.parent, one_line(error)
        )
        return comparison
    return remembered(key, root=root) or comparison


def _place(key: Mapping[str, str], root: Path | None) -> tuple[Path, dict[str, object]]:
    content: dict[str, object] = {"format": FORMAT, "key": dict(key)}
    name = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]
    return (cache_folder() if root is None else root) / FOLDER / f"{name}.json", content
