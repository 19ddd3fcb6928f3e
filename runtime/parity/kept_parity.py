"""What was measured of an engine, kept in the user's cache; it may fail, and then the engine is compared again."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from kda_edge.errors import one_line
from kda_edge.manifest import from_plain
from kda_edge.whole_files import write_whole

from .device_parity import DeviceParity

FORMAT: Final = 1

_log = logging.getLogger(__name__)


def kept_parity(path: Path, depends_on: Mapping[str, str]) -> DeviceParity | None:
    """Return what was measured before; None where nothing was, it can't be read, or it depends on anything else.

    Args:
        path: of the record.
        depends_on: all that the figures depend on now.
    """
    try:
        facts = json.loads(path.read_bytes())
        if facts["format"] != FORMAT:
            return None
        parity = from_plain(DeviceParity, facts["parity"], where="parity")
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return parity if parity.depends_on == dict(depends_on) else None


def keep_parity(path: Path, parity: DeviceParity) -> None:
    """Keep what was measured, whole or not at all; where that is not possible, it is one line in the log."""
    content = {"format": FORMAT, "parity": json.loads(parity.to_json())}
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_whole(path, (json.dumps(content, indent=1) + "\n").encode())
    except OSError as error:
        _log.warning("how the engine compares can't be kept in %s (%s); set KDA_EDGE_CACHE", path, one_line(error))
