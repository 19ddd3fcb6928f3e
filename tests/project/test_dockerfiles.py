"""The Dockerfiles keep the rules that make an image small, repeatable and run by nobody's root."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from places import ROOT

DOCKERFILES = sorted((ROOT / "docs" / "docker").glob("*.Dockerfile"))


def instructions(text: str) -> list[tuple[str, str]]:
    """Return (keyword, rest) of each instruction, comments dropped, continued lines joined."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [(line.split()[0].upper(), line.split(maxsplit=1)[1]) for line in joined.splitlines() if line.strip()]


def complaints(text: str, root: Path) -> list[str]:
    """Return what is wrong with a Dockerfile that is built from `root`, a clause each."""
    found, user = [], "root"
    steps = instructions(text)
    for keyword, rest in steps:
        if keyword == "FROM":
            image = rest.split()[0]
            tag = image.partition("@")[0].rpartition("/")[2].partition(":")[2]
            if not re.search(r"\d", tag) or "latest" in tag:
                found.append(f"{image} has no tag with a version")
        elif keyword == "ADD":
            found.append(f"ADD {rest}: use COPY, or fetch in a RUN with a digest")
        elif keyword == "COPY":
            *sources, _ = [word for word in rest.split() if not word.startswith("--")]
            if "--from=" not in rest:
                found += [f"{source} is not in the project" for source in sources if not (root / source).exists()]
        elif keyword == "USER":
            user = rest.split(":")[0]
        elif keyword == "RUN":
            found += _apt(rest)
            if "pip install" in rest and "--no-cache-dir" not in rest:
                found.append("pip keeps its cache")
            if re.search(r"\bsudo\b", rest):
                found.append("sudo is used")
    if user in ("root", "0"):
        found.append("the last USER is root")
    if not any(keyword == "FROM" for keyword, _ in steps):
        found.append("there is no FROM")
    return found


def _apt(command: str) -> list[str]:
    installs, updates = "apt-get install" in command, "apt-get update" in command
    found = []
    if installs != updates:
        found.append("apt-get update and install are not in one RUN")
    if installs and "--no-install-recommends" not in command:
        found.append("apt-get installs what is only recommended")
    if installs and not re.search(r"(?:-y|--yes)\b", command):
        found.append("apt-get install asks a question")
    if (installs or updates) and "rm -rf /var/lib/apt/lists" not in command:
        found.append("apt's lists stay in the image")
    if re.search(r"\bapt (?:install|update)\b", command):
        found.append("apt is for people, apt-get for scripts")
    return found


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_a_dockerfile_keeps_the_rules(path: Path) -> None:
    assert complaints(path.read_text(encoding="utf-8"), ROOT) == []


def test_there_is_one_for_each_jetpack_that_is_documented() -> None:
    assert [path.name for path in DOCKERFILES] == ["jetpack62.Dockerfile", "jetpack7.Dockerfile"]
    devices = (ROOT / "docs" / "devices.md").read_text(encoding="utf-8")
    for path in DOCKERFILES:
        assert f"docs/docker/{path.name}" in devices


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_an_image_holds_every_package_that_setuptools_asks_for(path: Path) -> None:
    copied = {
        word for key, rest in instructions(path.read_text(encoding="utf-8")) if key == "COPY" for word in rest.split()
    }
    assert {"pyproject.toml", "setup.py", "README.md", "LICENSE"} <= copied
    assert {"kda_edge", "train", "export", "runtime", "benchmarks"} <= copied


GOOD = """\
FROM nvcr.io/nvidia/tensorrt:25.08-py3
RUN apt-get update && apt-get install -y --no-install-recommends curl && rm -rf /var/lib/apt/lists/*
COPY README.md ./
RUN pip install --no-cache-dir numpy
USER kda
"""


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (":25.08-py3", "", "no tag"),
        (":25.08-py3", ":latest", "no tag"),
        ("COPY README.md ./", "COPY gone.md README.md ./", "gone.md is not in the project"),
        ("COPY README.md ./", "ADD https://example.org/x ./", "use COPY"),
        (" --no-install-recommends", "", "only recommended"),
        (" && rm -rf /var/lib/apt/lists/*", "", "lists stay"),
        ("apt-get update && ", "", "not in one RUN"),
        ("install -y", "install", "asks a question"),
        ("apt-get install", "apt install", "apt is for people"),
        ("--no-cache-dir ", "", "cache"),
        ("USER kda\n", "", "root"),
        ("USER kda", "USER root", "root"),
        ("pip install", "sudo pip install", "sudo"),
    ],
)
def test_each_broken_rule_is_found(old: str, new: str, said: str) -> None:
    assert complaints(GOOD, ROOT) == []
    assert old in GOOD
    assert any(said in complaint for complaint in complaints(GOOD.replace(old, new), ROOT))
