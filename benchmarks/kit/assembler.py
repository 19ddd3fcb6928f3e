"""The program `assemble.pyz`, which installs a kit where this project is not installed yet: modules of ours in one zip.

Python runs a zip that holds `__main__.py` (https://docs.python.org/3/library/zipapp.html).
"""

from __future__ import annotations

import io
import zipfile
from importlib import resources
from typing import Final

from .wheel import NO_DATE

NAME: Final = "assemble.pyz"
# All that `assemble` imports of ours; they need the standard library alone.
MODULES: Final = {
    "kda_edge": ("__init__", "commands", "errors", "whole_files"),
    "kda_edge.benchmarks": ("__init__",),
    "kda_edge.benchmarks.kit": (
        *("__init__", "assemble", "import_check", "installation", "kit_file", "parts", "unpacking"),
    ),
}
START: Final = """import sys

if sys.version_info < (3, 10):
    sys.exit("assemble: this is Python %d.%d; a kit needs 3.10 or later" % sys.version_info[:2])
from kda_edge.benchmarks.kit.assemble import main

sys.exit(main())
"""


def assembler() -> bytes:
    """Return the program; the same bytes for the same modules."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo("__main__.py", NO_DATE), START)
        for package, modules in MODULES.items():
            for module in modules:
                text = (resources.files(package) / f"{module}.py").read_bytes()
                archive.writestr(zipfile.ZipInfo(f"{package.replace('.', '/')}/{module}.py", NO_DATE), text)
    return made.getvalue()
