"""What a machine says that it has is read in each form in which pip prints it."""

from __future__ import annotations

from pathlib import Path

import pytest
from packaging.requirements import Requirement

from kda_edge.benchmarks.kit.machine_list import machine_packages
from kda_edge.errors import UsageError


def test_versions_names_and_what_pip_adds_are_read(tmp_path: Path) -> None:
    path = tmp_path / "machine.txt"
    path.write_text(
        "# of the machine\nPackage Version\n------- -------\nOpenCV_Python.headless==5.0\nonnx 1.23.1\nattrs\n"
        "-e git+somewhere#egg=mine\nlocal @ file:///x/local.whl\nodd==not.a.version\n\n"
    )
    machine = machine_packages(path)
    for enough in ("opencv-python-headless>=4", "onnx>=1.23", "attrs>=99", "local", "odd>=3", "torch>=99"):
        assert machine.has(Requirement(enough)), enough
    for too_little in ("opencv-python-headless>=6", "onnx<1.20", "mine"):
        assert not machine.has(Requirement(too_little)), too_little


def test_a_file_that_is_no_list_of_packages_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "machine.txt"
    path.write_text('{"packages": []}\n')
    with pytest.raises(UsageError, match=r"line 1: .* names no package"):
        machine_packages(path)
    with pytest.raises(UsageError, match="can't be read"):
        machine_packages(tmp_path / "none.txt")
