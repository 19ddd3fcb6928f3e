"""The journal: a scene's finished rows on disk, from which a stopped run goes on, and which a shard leaves behind.

    mark | header | rows | rows | ... | end        (the end in a shard's finished file only)

The header says what the rows depend on. Rows of another scene, model or setting are refused, never mixed in.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from kda_edge.errors import JournalError, OutputError, one_line
from kda_edge.whole_files import flush, free_bytes_at

from ..mapping.rows import MappedRows
from .framed_file import DamagedFile, FramedFile, locked
from .journal_frames import END, HEADER, ROWS, facts_of, payload_of, rows_from

UNTOLD: Final = "unknown "  # begins the key of a scene whose states nobody can tell apart
_SHOWN: Final = 12  # characters of a digest in a message


@dataclass(frozen=True)
class Header:
    """What the rows of a journal are.

    Attributes:
        key: all that a row depends on, `{name in plain words: JSON value}`.
        height_px: rows of the scene.
        width_px: columns of the scene.
        first_row: of the rows that are wanted.
        end_row: behind the last of them.
        shard: such as `2/7`; empty for a whole scene.
        bands: 1-based numbers of the scene's bands that the model got.
        value_range: that the scene can hold, as it was declared; None: the model's own.
        manifest: of the model, as JSON.
        notes: what a person should know of the model on its engine, a sentence each.
        measured: JSON of how far the engine's answers lie from a CPU's; empty: nobody compared.
    """

    key: dict[str, Any]
    height_px: int
    width_px: int
    first_row: int
    end_row: int
    shard: str
    bands: tuple[int, int, int]
    value_range: tuple[float, float] | None
    manifest: str
    notes: tuple[str, ...] = ()
    measured: str = ""

    def differs_from(self, other: Header) -> str:
        """Say in words on what these rows depend and the other's do not; empty: all is the same."""
        was, now = self.key, other.key
        names = [name for name in now | was if was.get(name) != now.get(name)]
        return ", ".join(f"{name} was {_shown(was.get(name))} and is {_shown(now.get(name))}" for name in names)

    @property
    def can_be_gone_on_with(self) -> bool:
        """Whether a later run can be of the same scene, as far as anybody knows."""
        return not str(self.key.get("scene", "")).startswith(UNTOLD)

    def to_json(self) -> bytes:
        """Return it as JSON, keys sorted."""
        return json.dumps(asdict(self), sort_keys=True, allow_nan=False).encode()

    @classmethod
    def from_json(cls, content: bytes) -> Header:
        """Return the header that `to_json` was made of.

        Raises:
            ValueError, TypeError, KeyError: it is none.
        """
        plain = json.loads(content)
        lists = {name: tuple(value) for name, value in plain.items() if isinstance(value, list)}
        return cls(**{**plain, **lists})


class Journal:
    """The rows that are finished so far, on disk. Made by `opened_journal` and `read_journal`.

    Attributes:
        path: of the file.
        header: of its rows; None as long as there are none.
        rows_px: how many rows it has.
        answered_tiles: tiles that begin in these rows and that the engine answered.
        finished: it has its end, and so all its rows.
    """

    def __init__(self, path: Path, file: FramedFile) -> None:
        """Find what a file holds.

        Raises:
            JournalError: it is damaged at its beginning, or by a later kda-edge.
            OutputError: the disk can't be read.
        """
        self.path, self._file = path, file
        self.header: Header | None = None
        self.rows_px, self.answered_tiles, self.finished = 0, 0, False
        try:
            for payload in file.frames():
                self._take(payload)
        except (DamagedFile, ValueError, TypeError, KeyError, struct.error, zlib.error) as error:
            raise JournalError(f"{path} is damaged or of another version of kda-edge") from error
        except OSError as error:
            raise OutputError(f"{path} can't be read ({one_line(error)}); check the disk") from error

    @property
    def whole(self) -> bool:
        """Whether nothing was torn off its end."""
        return self._file.whole

    def replay(self) -> Iterator[MappedRows]:
        """Yield the rows from the first on, as they were recorded."""
        for payload in self._file.frames():
            if payload[:1] == ROWS:
                yield rows_from(payload, self._width_px())

    def begin(self, header: Header) -> None:
        """Write down of what the rows will be, in place of whatever a run without rows has left.

        Raises:
            OutputError: it can't be written.
        """
        self._file.clear()
        self._file.append(HEADER + header.to_json())
        self.header = header
        flush(self.path.parent)  # the file's name

    def append(self, rows: MappedRows) -> None:
        """Record further rows; they are on the disk when this returns.

        Raises:
            OutputError: they can't be written; the rows before them are still there.
        """
        assert self.header is not None
        assert rows.row_px == self.header.first_row + self.rows_px
        self._file.append(payload_of(rows))
        self.rows_px += rows.layers.shape[1]
        self.answered_tiles += rows.counts.answered_tiles

    def finish(self, final: Path) -> None:
        """Mark the record as finished and give it its final name.

        Raises:
            OutputError: it can't be written.
        """
        self._file.append(END)
        self.finished = True
        try:
            self.path.replace(final)
            flush(final.parent)
        except OSError as error:
            raise OutputError(f"{final} can't be written ({one_line(error)}); choose another folder with -o") from error

    def discard(self) -> None:
        """Take the file away: its rows are of no more use."""
        self.rows_px = 0
        self.path.unlink(missing_ok=True)

    def _take(self, payload: bytes) -> None:
        kind = payload[:1]
        if self.header is None:
            if kind != HEADER:
                raise ValueError("no header")
            self.header = Header.from_json(payload[1:])
        elif kind == ROWS:
            facts = facts_of(payload)[0]
            if facts["row_px"] != self.header.first_row + self.rows_px:
                raise ValueError("rows out of order")
            self.rows_px += int(facts["rows_px"])
            self.answered_tiles += int(facts["answered_tiles"])
        elif kind == END:
            self.finished = self.rows_px == self.header.end_row - self.header.first_row
        else:
            raise ValueError("unknown frame")

    def _width_px(self) -> int:
        assert self.header is not None
        return self.header.width_px


@contextmanager
def opened_journal(
    path: Path, *, restart: bool = False, free_bytes: Callable[[Path], float] = free_bytes_at
) -> Iterator[Journal]:
    """Open the record of a run, for this run alone; at the end it is removed if it holds no rows.

    Args:
        path: of the file, created if missing.
        restart: forget what it holds, whatever that is.
        free_bytes: asked before each record what a folder still holds.

    Raises:
        JournalError: its beginning is damaged.
        OutputError: another run is at work on it, or it can't be opened.
    """
    with locked(path) as file:
        if restart:
            file.truncate(0)
        try:
            journal = Journal(path, FramedFile(path, file, free_bytes))
            if journal.header is not None and not journal.header.can_be_gone_on_with:
                file.truncate(0)  # these rows are of no use to anybody
                journal = Journal(path, FramedFile(path, file, free_bytes))
        except JournalError as error:
            raise JournalError(f"{error}; choose another folder with -o, or discard it with --restart") from error
        try:
            yield journal
        finally:
            if not journal.rows_px and not journal.finished:
                journal.discard()


@contextmanager
def read_journal(path: Path) -> Iterator[Journal]:
    """Open a record to replay it.

    Raises:
        JournalError: it is none, or damaged at its beginning.
        OutputError: it can't be read.
    """
    try:
        file = open(path, "rb", buffering=0)  # noqa: PTH123, SIM115 -- closed below
    except (OSError, ValueError) as error:
        raise OutputError(f"{path} can't be read ({one_line(error)}); check the path") from error
    with file:
        try:
            journal = Journal(path, FramedFile(path, file))
        except JournalError as error:
            raise JournalError(f"{error}; copy it again, or make it again with --shard") from error
        yield journal


def require_same(journal: Journal, header: Header) -> None:
    """Make sure that the rows of a journal are of the run that a header is about.

    Raises:
        JournalError: they are not; what differs is named.
    """
    assert journal.header is not None
    if not header.can_be_gone_on_with:
        raise JournalError(
            f"{journal.path} holds {journal.rows_px} finished rows, and nobody can tell whether the scene is still the "
            "same; try again when its server answers, choose another folder with -o, or discard them with --restart"
        )
    difference = journal.header.differs_from(header)
    if difference:
        raise JournalError(
            f"{journal.path} holds {journal.rows_px} finished rows of another run ({difference}); repeat that run's "
            "command to go on with it, choose another folder with -o, or discard it with --restart"
        )


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text[:_SHOWN] if len(text) == 64 else text


def journal_path(path: Path) -> Path:
    """Return where the finished rows of an output are kept while the rest of it is made: hidden, beside it."""
    return path.with_name(f".{path.stem}.journal")
