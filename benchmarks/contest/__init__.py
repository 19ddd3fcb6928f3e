"""Contestants of a comparison in processes of their own, in turns, and what came of it."""
