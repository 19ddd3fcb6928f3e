"""Timing: calls until they are steady, in turns, with intervals; and the work that is timed."""
