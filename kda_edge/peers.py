"""The networks that Table II compares with KDA."""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType
from typing import Final

from kda_edge.errors import UsageError
from kda_edge.network import Network

PEERS: Final[MappingProxyType[str, Callable[[], Network]]] = MappingProxyType({})


def peer_from_name(name: str) -> Network:
    """Return a peer with fresh weights.

    Raises:
        UsageError: no such peer.
        MissingDependency: the library that it comes from is not installed.
    """
    if name not in PEERS:
        raise UsageError(f"there is no peer {name!r}; choose one of {', '.join(PEERS)}")
    return PEERS[name]()
