"""The decoders that Table IV compares with DCF, on the same four maps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import MappingProxyType
from typing import Final

from torch import nn

HEADS: Final[MappingProxyType[str, Callable[[Sequence[int]], nn.Module]]] = MappingProxyType({})
