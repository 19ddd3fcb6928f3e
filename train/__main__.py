"""`python -m kda_edge.train` is `kda-train`."""

from .cli import main

raise SystemExit(main())
