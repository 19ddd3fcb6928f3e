"""The words of `kda-bench`, a file a question; each has `add_arguments` and `run`."""
