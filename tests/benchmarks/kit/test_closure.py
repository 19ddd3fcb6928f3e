"""A kit holds what its groups require, what those require in turn, and nothing that the machine has."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from made_wheels import made_wheel
from packaging.requirements import Requirement
from packaging.version import Version

from kda_edge.benchmarks.kit.closure import wheels_of
from kda_edge.benchmarks.kit.download import target_environment
from kda_edge.benchmarks.kit.groups import Group
from kda_edge.benchmarks.kit.machine_list import MachinePackages
from kda_edge.errors import KitError

PY312 = target_environment("3.12")


class Index:
    """A registry of tiny wheels: the newest of a name that a requirement admits, as pip would bring it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.wheels: dict[str, dict[str, Path]] = {}
        self.asked: list[str] = []

    def add(
        self, name: str, version: str = "1.0", *, requires: Sequence[str] = (), files: dict[str, bytes] | None = None
    ) -> None:
        path = made_wheel(self.folder, name, version, requires=requires, files=files)
        self.wheels.setdefault(name, {})[version] = path

    def __call__(self, requirements: Sequence[Requirement]) -> list[Path]:
        self.asked += [item.name for item in requirements]
        return [
            self.wheels[item.name.replace("-", "_")][
                str(max(map(Version, item.specifier.filter(self.wheels[item.name.replace("-", "_")]))))
            ]
            for item in requirements
        ]


@pytest.fixture
def index(tmp_path: Path) -> Index:
    return Index(tmp_path / "index")


def group(*requires: str, without: tuple[str, ...] = ()) -> Group:
    return Group(requires, (), without)


def groups_in(index: Index, machine: MachinePackages | None = None, **groups: Group) -> dict[str, str]:
    found = wheels_of(groups, machine or MachinePackages(), PY312, index)
    return {f"{name} {wheel.version}": group_name for name, (group_name, wheel) in found.items()}


def test_a_package_lies_in_the_first_group_that_needs_it_however_deep(index: Index) -> None:
    index.add("one", requires=["two"])
    index.add("two", requires=["three>=1"])
    index.add("three", requires=["one"])  # in a circle
    index.add("four", requires=["three", "five"])
    index.add("five")
    assert groups_in(index, a=group("one"), b=group("four")) == {
        "one 1.0": "a",
        "two 1.0": "a",
        "three 1.0": "a",
        "four 1.0": "b",
        "five 1.0": "b",
    }


def test_what_every_machine_with_pytorch_has_is_neither_taken_nor_asked_for(index: Index) -> None:
    index.add(
        "one", requires=["torch>=2", "numpy", "nvidia-cublas", "cuda-bindings", "typing_extensions>4", "nvidia-ml-py"]
    )
    index.add("nvidia_ml_py")
    assert groups_in(index, a=group("one")) == {"one 1.0": "a", "nvidia-ml-py 1.0": "a"}
    assert index.asked == ["one", "nvidia-ml-py"]


def test_what_the_machine_has_is_left_out_unless_its_version_does_not_suffice(index: Index) -> None:
    for name in ("here", "old"):
        index.add(name, "3.0")
    index.add("one", requires=["here>=2", "old>=2", "unversioned>=9"])
    machine = MachinePackages({"here": Version("2.5"), "old": Version("1.9"), "unversioned": None})
    assert groups_in(index, machine, a=group("one")) == {"one 1.0": "a", "old 3.0": "a"}


def test_a_version_of_what_is_never_replaced_that_does_not_suffice_is_refused(index: Index) -> None:
    index.add("one", requires=["numpy>=3"])
    with pytest.raises(
        KitError, match=r"^numpy>=3 is wanted and the machine has 2\.5, which a kit never replaces; .*$"
    ):
        groups_in(index, MachinePackages({"numpy": Version("2.5")}), a=group("one"))


def test_markers_are_those_of_the_machine_and_extras_are_those_asked_for(index: Index) -> None:
    index.add(
        "one",
        requires=[
            'older; python_version < "3.11"',
            'newer; python_version >= "3.12"',
            'windows; sys_platform == "win32"',
            'gone; extra == "spare"',
            'there; extra == "more"',
        ],
    )
    for name in ("newer", "there"):
        index.add(name)
    assert groups_in(index, a=group("one"), b=group("one[more]")) == {
        "one 1.0": "a",
        "newer 1.0": "a",
        "there 1.0": "b",
    }


def test_onnxruntime_for_gpus_stands_for_the_one_for_cpus_whichever_group_comes_first(index: Index) -> None:
    index.add("one", requires=["onnxruntime>=1"])
    index.add("onnxruntime")
    index.add("onnxruntime_gpu")
    assert groups_in(index, a=group("one"), b=group("onnxruntime-gpu")) == {"one 1.0": "a", "onnxruntime-gpu 1.0": "b"}
    assert groups_in(index, a=group("one")) == {"one 1.0": "a", "onnxruntime 1.0": "a"}


def test_a_group_may_leave_a_package_out_that_another_takes(index: Index) -> None:
    index.add("one", requires=["heavy", "light"])
    for name in ("heavy", "light"):
        index.add(name)
    assert groups_in(index, a=group("one", without=("heavy",))) == {"one 1.0": "a", "light 1.0": "a"}
    assert set(groups_in(index, a=group("one", without=("heavy",)), b=group("heavy"))) == {
        *("one 1.0", "light 1.0", "heavy 1.0")
    }


def test_requirements_of_one_package_are_joined_before_it_is_asked_for(index: Index) -> None:
    index.add("one", requires=["base>=2"])
    index.add("two", requires=["base<4"])
    for version in ("1.0", "3.0", "5.0"):
        index.add("base", version)
    assert "base 3.0" in groups_in(index, a=group("one", "two"))


def test_requirements_that_contradict_are_refused_in_one_line(index: Index) -> None:
    index.add("one", requires=["base", "two"])
    index.add("two", requires=["base<2"])
    index.add("base", "3.0")
    with pytest.raises(KitError, match=r"^base<2 is wanted and 3\.0 was taken for others; pin it by PIP_CONSTRAINT$"):
        groups_in(index, a=group("one"))


def test_two_wheels_that_write_one_file_are_refused_unless_it_is_the_same(index: Index) -> None:
    index.add("one", files={"shared/a.py": b"same"})
    index.add("two", files={"shared/a.py": b"same"})
    index.add("three", files={"shared/a.py": b"other"})
    assert len(groups_in(index, a=group("one", "two"))) == 2
    with pytest.raises(KitError, match=r"^one and three both write shared/a\.py; .*$"):
        groups_in(index, a=group("one", "three"))
