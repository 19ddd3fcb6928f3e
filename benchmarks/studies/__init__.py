"""Single questions, each answered once by `python -m`, their answers kept in results/."""
