"""A folder that a kit is installed into: what is there already, what is still to do, and what to export at the end.

Nothing but the standard library. The packages of the machine are left alone: all goes into this folder, which Python
is told of by PYTHONPATH.
"""

from __future__ import annotations

import importlib.util
import shlex
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from kda_edge.errors import KitError, UsageError, one_line
from kda_edge.whole_files import free_bytes_at, write_whole

from .kit_file import Kit, PackedFile, kit_of
from .parts import PartFolder
from .unpacking import IMAGERY, SITE, WORKING, install_imagery, install_wheel, is_installed, made_whole

INSTALLED: Final = "installed.json"  # a copy of the kit's list
ENVIRONMENT: Final = "env.sh"
# From Python 3.11: the folder that a command is given in is no place for modules. At the top of a clone, the folder
# kda_edge would hide the package of that name, of which it is a part.
ALWAYS: Final = {"PYTHONSAFEPATH": "1"}
ROOM: Final = 2  # a wheel that is being installed is there twice: whole, and unzipped


class Installation:
    """One kit in a folder; opening it again goes on where it was stopped.

    Raises:
        UsageError: the folder holds something else, or another kit.
        KitError: what it says of its kit can't be read.
        OSError: the folder can't be made or written.
    """

    def __init__(self, into: Path, kit: Kit) -> None:
        self.into, self.kit = into, kit
        into.mkdir(parents=True, exist_ok=True)
        told = into / INSTALLED
        if not told.is_file():
            if any(into.iterdir()):
                raise UsageError(f"{into} is not empty and no kit is installed in it; give --into a folder of its own")
            write_whole(told, kit.to_json().encode())
        elif kit_of(told.read_text(encoding="utf-8")).kit_id != kit.kit_id:
            raise UsageError(f"another kit is installed in {into}; give --into a folder of its own")
        shutil.rmtree(into / WORKING, ignore_errors=True)  # of a run that was stopped

    def has(self, file: PackedFile) -> bool:
        """Whether a file of the kit is installed, whole."""
        return is_installed(self.into, file.record) if file.record else (self.into / IMAGERY).is_dir()

    def require_room(self, files: Sequence[PackedFile]) -> None:
        """Raise `KitError` where the disk can't take files that are still to install."""
        largest = max((file.installed_bytes for file in files), default=0)
        wanted = sum(file.installed_bytes for file in files) + (ROOM - 1) * largest
        if (free := free_bytes_at(self.into)) < wanted:
            raise KitError(f"{self.into} has {free / 1e9:.2f} GB free and {wanted / 1e9:.2f} GB are needed; free some")

    def install(self, file: PackedFile, parts: PartFolder) -> None:
        """Install a file whose parts were required.

        Raises:
            KitError: it is damaged inside.
            OSError: it can't be written; it names the folder.
        """
        working = self.into / WORKING
        try:
            working.mkdir()
            with made_whole(parts.packed(file), working, file.name) as whole:
                if file.record:
                    install_wheel(whole, self.into, file.record)
                else:
                    install_imagery(whole, self.into)
            shutil.rmtree(working)
        except OSError as error:
            reason = one_line(error)
            raise KitError(f"{file.name} can't be installed in {self.into} ({reason}); then the same again") from error

    def write_environment(self) -> Path:
        """Write the file that a shell reads to use the kit, and return where it is.

        Raises:
            OSError: it can't be written.
        """
        lines = [f"export {name}={value}" for name, value in ALWAYS.items()]
        for name, value in self._before().items():
            lines.append(f'export {name}={shlex.quote(value)}"${{{name}:+:${name}}}"')
        path = self.into / ENVIRONMENT
        write_whole(path, ("\n".join(lines) + "\n").encode())
        return path

    def environment(self, given: Mapping[str, str]) -> dict[str, str]:
        """Return the variables that a process has after a shell that has `given` read that file."""
        joined = {
            name: f"{value}:{given[name]}" if given.get(name) else value for name, value in self._before().items()
        }
        return {**given, **ALWAYS, **joined}

    def _before(self) -> dict[str, str]:
        """Return the search paths, each of which goes before what the variable holds already."""
        libraries = ":".join(map(str, nvidia_libraries()))
        return {"PYTHONPATH": str(self.site)} | ({"LD_LIBRARY_PATH": libraries} if libraries else {})

    @property
    def site(self) -> Path:
        """The folder for PYTHONPATH."""
        return (self.into / SITE).absolute()


def nvidia_libraries() -> list[Path]:
    """Return the folders of the CUDA libraries that came with the machine's PyTorch.

    PyTorch finds them by itself; ONNX Runtime, from another folder, does not.
    """
    spec = importlib.util.find_spec("nvidia")
    places = [Path(place) for place in (spec.submodule_search_locations or ())] if spec is not None else []
    return sorted(folder for place in places for folder in place.glob("*/lib") if any(folder.glob("*.so*")))
