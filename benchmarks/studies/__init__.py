"""Studies: single questions, each answered once by `python -m`, the answers kept in `benchmarks/results/`."""
