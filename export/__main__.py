"""`python -m kda_edge.export` is `kda-export`."""

from __future__ import annotations

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
