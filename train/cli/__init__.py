"""`kda-train`: its subcommands and the options that they share."""

from .train import main

__all__ = ["main"]
