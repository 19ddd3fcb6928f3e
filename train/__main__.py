"""`python -m kda_edge.train` is `kda-train`."""

from kda_edge.train.cli import main

raise SystemExit(main())
