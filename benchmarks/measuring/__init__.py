"""Calls timed until steady, in turns, with intervals: no machine, no model, only clocks."""
