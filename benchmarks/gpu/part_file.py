"""The file of a part of the GPU report: on which card it ran, how it ended, and what it found.

A file that was written in a rehearsal, or on a processor, says so, and `require_of_a_gpu` refuses it: figures of the
one can never be shown as figures of the other.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, get_args

from kda_edge import __version__
from kda_edge.errors import OutputError, UsageError, one_line
from kda_edge.whole_files import write_whole

from ..reporting.result import Result, result_from_json

SCHEMA: Final = "gpu_report.schema.json"
SCHEMA_VERSION: Final = 1
# done: ran; not_possible: something that it needs is not here; unfinished: under way, or killed; not_run: no time left.
Status: TypeAlias = Literal["done", "not_possible", "failed", "unfinished", "not_run"]


@dataclass(frozen=True)
class Card:
    """What a part ran on.

    Attributes:
        name: of the card as its driver calls it; of the processor where no card was used.
        kind: `cuda` or `cpu`.
        driver: version of the driver; empty: none, or not told.
        compute_capability: such as `9.0`; empty on a processor.
        memory_mb: of the card, 1e6 bytes; 0 on a processor.
    """

    name: str
    kind: str
    driver: str = ""
    compute_capability: str = ""
    memory_mb: int = 0

    def __post_init__(self) -> None:
        if self.kind not in ("cuda", "cpu") or not self.name or self.memory_mb < 0:
            raise ValueError(f"not a card: {self!r}")


@dataclass(frozen=True)
class PartFile:
    """One part of a report.

    Attributes:
        part: its name.
        status: how it ended.
        reason: why it did not end well, one line; empty where it did.
        rehearsal: the sizes were those of a rehearsal: no figure means anything.
        device: what it ran on.
        seconds: that it took.
        left_out: what of it was not measured, and why, a line each.
        result: what it found; None: nothing.
        package_version: of the kda-edge that wrote this.
        schema_version: of this form.
    """

    part: str
    status: Status
    reason: str
    rehearsal: bool
    device: Card
    seconds: float = 0.0
    left_out: tuple[str, ...] = ()
    result: Result | None = None
    package_version: str = __version__
    schema_version: int = SCHEMA_VERSION

    def __post_init__(self) -> None:
        if self.status not in get_args(Status) or (self.status == "done") != (not self.reason) or self.seconds < 0:
            raise ValueError(f"a part that is {self.status!r} because of {self.reason!r}")

    @property
    def is_well(self) -> bool:
        """Whether the part ran, or could not run here."""
        return self.status in ("done", "not_possible")

    @property
    def is_whole(self) -> bool:
        """Whether all of it ran."""
        return self.status == "done" and not self.left_out

    def is_of(self, card: Card, *, rehearsal: bool) -> bool:
        """Whether such a run on a card wrote it, by this version."""
        return (self.device, self.rehearsal, self.package_version) == (card, rehearsal, __version__)

    def require_of_a_gpu(self, where: str) -> None:
        """Raise `UsageError` where its figures are not those of a GPU.

        Args:
            where: its file, for the message.
        """
        if self.rehearsal or self.device.kind != "cuda":
            ran = "in a rehearsal" if self.rehearsal else f"on a processor ({self.device.name})"
            raise UsageError(f"{where} was measured {ran} and says nothing of a GPU; take it out of the results")

    def to_json(self) -> str:
        """Return the file's content, by the schema."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True, allow_nan=False, indent=1) + "\n"


def path_of(out: Path, part: str) -> Path:
    """Return where a part's file lies in a report's folder."""
    return out / f"{part}.json"


def write_part(out: Path, content: PartFile) -> None:
    """Write a part's file, whole or not at all.

    Raises:
        OutputError: it can't be written.
    """
    path = path_of(out, content.part)
    try:
        write_whole(path, content.to_json().encode())
    except OSError as error:
        raise OutputError(f"{path} can't be written ({one_line(error)}); give another --out") from error


def read_part(path: Path) -> PartFile:
    """Read a part's file.

    Raises:
        UsageError: it can't be read, or is none.
    """
    try:
        data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        result = None if data["result"] is None else result_from_json(json.dumps(data["result"]), where=str(path))
        plain = data | {"device": Card(**data["device"]), "left_out": tuple(data["left_out"]), "result": result}
        if data["schema_version"] != SCHEMA_VERSION:
            raise ValueError(f"schema version {data['schema_version']}")
        return PartFile(**plain)
    except OSError as error:
        raise UsageError(f"{path} can't be read ({one_line(error)}); run the report again") from error
    except (ValueError, KeyError, TypeError) as error:
        reason = one_line(error)
        raise UsageError(f"{path} is no part of a GPU report ({reason}); delete it and run the report again") from error


def schema() -> dict[str, Any]:
    """Return the JSON schema that every part's file keeps to; its `result` keeps to that of kda-bench."""
    text = resources.files("kda_edge.benchmarks").joinpath(SCHEMA).read_text(encoding="utf-8")
    loaded: dict[str, Any] = json.loads(text)
    return loaded
