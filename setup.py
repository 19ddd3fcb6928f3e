"""Finds the packages, so that none can be missing from the wheel; all else is in pyproject.toml (docs/adr/0001)."""

from setuptools import find_packages, setup

FOLDERS = {
    "kda_edge": "kda_edge",
    "kda_edge.train": "train",
    "kda_edge.export": "export",
    "kda_edge.runtime": "runtime",
    "kda_edge.benchmarks": "benchmarks",
}

setup(
    packages=[*FOLDERS, *(f"{name}.{inside}" for name, folder in FOLDERS.items() for inside in find_packages(folder))],
    package_dir=FOLDERS,
)
