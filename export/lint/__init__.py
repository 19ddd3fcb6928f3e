"""Lint rules for graphs: what is known to go wrong on the way into an engine."""
