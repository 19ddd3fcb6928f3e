"""The names of NVIDIA's bindings, version by version, and what makes a fake class have those and no others.

`tests/runtime/tensorrt/tensorrt_api/*.json` was recorded by `dir()` over the real bindings of each version, imported
without a driver: methods, properties, members of enumerations with their numbers, and the names of the module.
"""

from __future__ import annotations

import enum
import json
from typing import Any

from places import ROOT

RECORDED = ROOT / "tests/runtime/tensorrt/tensorrt_api"
VERSIONS = ("10.3.0", "10.13.3", "10.16.1", "11.4.0")


def recorded(version: str) -> dict[str, Any]:
    """Return what was recorded of a version's bindings."""
    facts: dict[str, Any] = json.loads((RECORDED / f"{version}.json").read_text(encoding="utf-8"))
    return facts


class Bound:
    """What all fake classes have in common: the names that were recorded, and no others, to read and to set."""

    _trt: Any = None
    _names: frozenset[str] = frozenset()

    def __getattribute__(self, name: str) -> Any:
        if not name.startswith("_") and name not in type(self)._names:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return object.__getattribute__(self, name)

    def __getattr__(self, name: str) -> Any:
        if name in type(self)._names:
            raise NotImplementedError(f"the fake {type(self).__name__} does not do {name}")
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __setattr__(self, name: str, value: Any) -> None:
        if not name.startswith("_") and name not in type(self)._names:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        object.__setattr__(self, name, value)


class Interface(Bound):
    """A class of the bindings that we subclass, such as ILogger: pybind11 wants its `__init__` called."""

    _initialised = False

    def __init__(self) -> None:
        self._initialised = True

    def __getattribute__(self, name: str) -> Any:
        return object.__getattribute__(self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)


def require_init(interface: Any, kind: type) -> None:
    if not isinstance(interface, kind):
        raise TypeError(f"incompatible arguments: {kind.__name__} is needed")
    if not interface._initialised:
        raise TypeError(f"{kind.__name__}.__init__() must be called when overriding __init__")


class BoundEnum(enum.Enum):
    """As pybind11's: a number only where `int` asks for it."""

    def __int__(self) -> int:
        return int(self.value)
