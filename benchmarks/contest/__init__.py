"""A comparison: contestants in processes of their own, in turns, and what came of it."""
