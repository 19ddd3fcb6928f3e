"""One form for the result of every benchmark: figures, and all that they depend on, as JSON by a published schema.

A figure says what it measures, of what, in which unit, between which bounds, and how far the machine's own noise
moved it, so that `kda-bench check` can compare any two results without knowing their benchmark. What was computed
instead of measured is an `estimate`, and stands apart from the figures.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from importlib import resources
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

from kda_edge.errors import OutputError, UsageError, one_line
from kda_edge.whole_files import write_whole

from ..measuring.percentiles import Interval
from .measured_on import machine, versions

SCHEMA_VERSION: Final = 1
SCHEMA: Final = "result.schema.json"
Better: TypeAlias = Literal["lower", "higher", "neither"]
Plain: TypeAlias = str | int | float | bool | None


@dataclass(frozen=True)
class Figure:
    """A measured number.

    Attributes:
        name: what it measures, such as `latency.p50`; a phase or a part comes after the dot.
        value: the number.
        unit: such as `ms`, `Mpx/s`, `MB`; empty for a share or a ratio.
        better: which way is an improvement; `neither` is never held against anybody.
        of: what it was measured of, `{"engine": "cpu", "batch": 1}`; with the name it is the figure's identity.
        low: lower bound at 95 %; None: there is none.
        high: upper bound at 95 %; None: there is none.
        noise: share by which windows of the same run differ, 0 or more; None: nobody knows.
    """

    name: str
    value: float
    unit: str
    better: Better = "neither"
    of: Mapping[str, str | int] = field(default_factory=dict)
    low: float | None = None
    high: float | None = None
    noise: float | None = None

    @classmethod
    def from_interval(
        cls,
        name: str,
        interval: Interval,
        unit: str,
        better: Better = "neither",
        of: Mapping[str, str | int] | None = None,
        *,
        noise: float | None = None,
    ) -> Figure:
        """Return the figure that an interval is."""
        return cls(name, interval.value, unit, better, of or {}, interval.low, interval.high, noise)

    @property
    def key(self) -> tuple[str, ...]:
        """The figure's identity: its name and what it was measured of."""
        return (self.name, *(f"{name}={self.of[name]}" for name in sorted(self.of)))


@dataclass(frozen=True)
class Estimate:
    """A number that was computed from a model of the machine, and not measured.

    Attributes:
        name: as a figure's.
        value: the number.
        unit: as a figure's.
        method: how it was computed, and from which published numbers.
        of: as a figure's.
    """

    name: str
    value: float
    unit: str
    method: str
    of: Mapping[str, str | int] = field(default_factory=dict)


@dataclass(frozen=True)
class Result:
    """What one run of a benchmark found.

    Attributes:
        benchmark: the subcommand, such as `latency`, or the study, such as `peer_costs`.
        settings: all that was asked for, with the defaults.
        figures: what was measured.
        models: facts of each artifact, by `model_facts`.
        conditions: of the machine at work: clocks, temperatures, power mode, load; what can't be read is missing.
        estimates: what was computed instead.
        series: what plots need, times in order, by name.
        notes: what a reader must know, a sentence each: noise, what could not be read.
        steady: whether the machine was steady enough for the figures to decide anything.
        machine: as `machine_facts`, and the GPU.
        versions: of the packages at work.
        created: ISO 8601, UTC.
        schema_version: of this form.
    """

    benchmark: str
    settings: Mapping[str, Any]
    figures: Sequence[Figure]
    models: Sequence[Mapping[str, Any]] = ()
    conditions: Mapping[str, Any] = field(default_factory=dict)
    estimates: Sequence[Estimate] = ()
    series: Mapping[str, Sequence[float]] = field(default_factory=dict)
    notes: Sequence[str] = ()
    steady: bool = True
    machine: Mapping[str, str] = field(default_factory=machine)
    versions: Mapping[str, str] = field(default_factory=versions)
    created: str = field(default_factory=lambda: datetime.now(timezone.utc).isoformat(timespec="seconds"))
    schema_version: int = SCHEMA_VERSION

    def __post_init__(self) -> None:
        keys = [figure.key for figure in self.figures]
        twice = sorted({" ".join(key) for key in keys if keys.count(key) > 1})
        if twice:
            raise ValueError(f"two figures are the same: {', '.join(twice)}")

    def to_json(self, *, indent: int | None = None) -> str:
        """Return the result as JSON that keeps to the schema.

        Raises:
            ValueError: a number is not finite.
        """
        return json_text(dataclasses.asdict(self), indent=indent)


def result_from_json(text: str, *, where: str) -> Result:
    """Read a result.

    Args:
        text: as `Result.to_json` wrote it.
        where: its file, for the message.

    Raises:
        UsageError: no result, or one of another schema version.
    """
    try:
        data = json.loads(text)
        if data["schema_version"] != SCHEMA_VERSION:
            raise UsageError(
                f"{where} has schema version {data['schema_version']} and this kda-bench reads {SCHEMA_VERSION}; "
                "measure again with this version"
            )
        figures = [Figure(**figure) for figure in data.pop("figures")]
        estimates = [Estimate(**estimate) for estimate in data.pop("estimates")]
        return Result(**data, figures=figures, estimates=estimates)
    except UsageError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(
            f"{where} is no result of kda-bench ({type(error).__name__}: {one_line(error)}); "
            "give a file that --json FILE wrote"
        ) from error


def read_result(path: Path) -> Result:
    """Read a result file.

    Raises:
        UsageError: it can't be read or is no result.
    """
    try:
        return result_from_json(path.read_text(encoding="utf-8"), where=str(path))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise UsageError(f"{path} can't be read ({reason}); give a file that --json FILE wrote") from error


def write_result(result: Result, path: Path) -> None:
    """Write a result, whole or not at all.

    Raises:
        OutputError: the file can't be written.
    """
    write_json(dataclasses.asdict(result), path)


def json_text(content: Mapping[str, Any], *, indent: int | None = None) -> str:
    """Return a result, or what a study found, as JSON, keys sorted.

    Raises:
        ValueError: a number is not finite.
    """
    return json.dumps(content, sort_keys=True, allow_nan=False, indent=indent)


def write_json(content: Mapping[str, Any], path: Path) -> None:
    """Write a result, or what a study found, whole or not at all.

    Raises:
        ValueError: a number is not finite.
        OutputError: the file can't be written.
    """
    text = json_text(content, indent=1) + "\n"
    try:
        write_whole(path, text.encode())
    except OSError as error:
        raise OutputError(f"{path} can't be written ({one_line(error)}); give another --json") from error


def schema() -> dict[str, Any]:
    """Return the JSON schema that every result keeps to."""
    text = resources.files("kda_edge.benchmarks").joinpath(SCHEMA).read_text(encoding="utf-8")
    loaded: dict[str, Any] = json.loads(text)
    return loaded
