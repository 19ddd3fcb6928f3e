"""The subcommands of `kda-bench`, a module each with `add_arguments` and `run`, and what only they need."""
