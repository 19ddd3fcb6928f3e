"""Device profiles: the peaks that makers publish, so that a result is a share of a limit."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from importlib import resources
from typing import Any, Final

from kda_edge.errors import UsageError
from kda_edge.manifest import PRECISIONS

FOLDER: Final = "devices"


@dataclass(frozen=True)
class DeviceProfile:
    """Published limits; nothing in it was measured.

    Attributes:
        name: of the file, without its ending.
        title: of the device.
        source: of every number, with what was computed from it.
        peak_tflops: by precision, dense, `{"fp32": 35.6}`; empty: the maker publishes none.
        bandwidth_gb_s: of its memory; None: not published.
        tdp_w: power that it is built for; None: not published.
        compute: what the peaks are of, such as tensor cores.
        driver_names: what its driver calls it; empty: nobody has looked.
        bf16_training_tflops: tensor cores in bfloat16 with FP32 accumulation, dense; None: not published.
    """

    name: str
    title: str
    source: str
    peak_tflops: dict[str, float]
    bandwidth_gb_s: float | None
    tdp_w: float | None
    compute: str
    driver_names: tuple[str, ...] = ()
    bf16_training_tflops: float | None = None

    def __post_init__(self) -> None:
        if not set(self.peak_tflops) <= set(PRECISIONS) or not self.title or not self.source:
            raise ValueError(f"not a device profile: {self.name}")
        limits = [*self.peak_tflops.values(), self.bandwidth_gb_s, self.tdp_w, self.bf16_training_tflops]
        if any(limit is not None and limit <= 0 for limit in limits):
            raise ValueError(f"{self.name}: limits are above 0")

    def least_ms(self, flops: int, least_bytes: int, precision: str) -> float | None:
        """Return the time below which no call can be, by the roofline; None where a limit is not published."""
        if precision not in self.peak_tflops or self.bandwidth_gb_s is None:
            return None
        return 1e3 * max(flops / (self.peak_tflops[precision] * 1e12), least_bytes / (self.bandwidth_gb_s * 1e9))


def profile_names() -> list[str]:
    """Return the names of the profiles that ship."""
    folder = resources.files("kda_edge.benchmarks").joinpath(FOLDER)
    return sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml"))


def read_profile(name: str) -> DeviceProfile:
    """Read a profile by its name.

    Raises:
        UsageError: there is none of that name.
    """
    if name not in profile_names():
        raise UsageError(f"there is no device profile {name!r}; give one of {', '.join(profile_names())}")
    text = resources.files("kda_edge.benchmarks").joinpath(FOLDER).joinpath(f"{name}.toml").read_text(encoding="utf-8")
    data = _parsed(text)
    return DeviceProfile(
        name=name,
        title=data["title"],
        source=data["source"],
        peak_tflops={key: float(value) for key, value in data["peak_tflops"].items()},
        bandwidth_gb_s=data.get("bandwidth_gb_s"),
        tdp_w=data.get("tdp_w"),
        compute=data["compute"],
        driver_names=tuple(data.get("driver_names", ())),
        bf16_training_tflops=data.get("bf16_training_tflops"),
    )


def profile_of_card(driver_name: str) -> DeviceProfile | None:
    """Return the profile of a card by the name that its driver gives it; None: there is none of this very card."""
    profiles = map(read_profile, profile_names())
    return next((profile for profile in profiles if driver_name in profile.driver_names), None)


def _parsed(text: str) -> dict[str, Any]:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    parsed: dict[str, Any] = tomllib.loads(text)
    return parsed
