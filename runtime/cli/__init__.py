"""The command `kda-infer`: what a person types, and what is said in return."""

from .infer import main

__all__ = ["main"]
