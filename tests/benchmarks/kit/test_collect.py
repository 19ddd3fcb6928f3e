"""A kit of real wheels maps the bundled scene where there is little else; the command says what is in it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
import pytest
import rasterio
from kit_runs import run_assemble
from made_wheels import PYTHON, made_kit, made_wheel, repacked_wheel
from packaging.requirements import Requirement
from places import BUNDLED, ROOT

import kda_edge
from kda_edge.benchmarks.kit import collect
from kda_edge.benchmarks.kit.assembler import MODULES, assembler
from kda_edge.benchmarks.kit.download import PipDownload, target_environment
from kda_edge.benchmarks.kit.groups import GROUPS, ORDER, groups_named, never_taken
from kda_edge.errors import UsageError

# What rasterio needs; the large packages are lent to the new environment from where they are installed.
CARRIED = ("affine", "attrs", "certifi", "click", "cligj", "click-plugins", "pyparsing")
LENT = (np, onnxruntime, cv2, rasterio)


@pytest.fixture(scope="module")
def project_wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's own wheel, built as `make gpu-kit` builds it, from a copy in which no leftover can be."""
    copy = tmp_path_factory.mktemp("clone") / "clone"
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not in a git clone: nobody knows which files belong to the project")
    for name in listed.stdout.split("\0"):
        if (ROOT / name).is_file() and not name.startswith("docs"):
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            (copy / name).write_bytes((ROOT / name).read_bytes())
    download = PipDownload(copy.parent / "wheels", copy, python=PYTHON, glibc="2.28")
    (wheel,) = download([Requirement("kda-edge[bench]")])
    return wheel


@pytest.mark.slow
def test_a_kit_maps_the_bundled_scene_in_an_environment_that_has_little_else(
    tmp_path: Path, project_wheel: Path
) -> None:
    wheels = [("lean", project_wheel), *(("lean", repacked_wheel(tmp_path / "w", name)) for name in CARRIED)]
    imports = {"lean": ("kda_edge.runtime.cli", "affine", "pyparsing")}
    kit = made_kit(tmp_path / "parts", wheels, imports=imports, payload_bytes=4_000_000)
    assert kit.part_count > 3
    (tmp_path / "lent").mkdir()
    for module in LENT:
        package = Path(str(module.__file__)).parent
        for place in (package, *package.parent.glob(f"{package.name}.libs")):
            (tmp_path / "lent" / place.name).symlink_to(place)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "bare")], check=True)
    bare = str(tmp_path / "bare" / "bin" / "python")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "lent")}
    words = [str(tmp_path / "parts" / "assemble.pyz"), str(tmp_path / "parts"), "--into", str(tmp_path / "kit")]
    done = subprocess.run([bare, *words], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "torch                            ModuleNotFoundError" in done.stdout
    scene = BUNDLED / "example_scene.tif"
    use = (
        f". {tmp_path / 'kit' / 'env.sh'} && {bare} -m kda_edge.runtime {scene} --engine cpu -o {tmp_path / 'kit_map'}"
    )
    mapped = subprocess.run(["sh", "-c", use], capture_output=True, text=True, env=environment, cwd=ROOT, check=False)
    assert mapped.returncode == 0, mapped.stderr
    here = [sys.executable, "-m", "kda_edge.runtime", str(scene), "--engine", "cpu", "-o", str(tmp_path / "here_map")]
    subprocess.run(here, capture_output=True, check=True)
    names = sorted(path.name for path in (tmp_path / "here_map").glob("*.tif"))
    assert names == sorted(path.name for path in (tmp_path / "kit_map").glob("*.tif")) != []
    for name in names:
        assert (tmp_path / "kit_map" / name).read_bytes() == (tmp_path / "here_map" / name).read_bytes()


@pytest.mark.slow
def test_the_groups_ask_for_what_the_project_says_that_it_needs(project_wheel: Path) -> None:
    """Every extra that a group names is one of the project's wheel, and the groups end in packages that are taken."""
    from kda_edge.benchmarks.kit.wheel import wheel_at

    wheel, environment = wheel_at(project_wheel), target_environment("3.12")
    assert (wheel.name, str(wheel.version)) == ("kda-edge", kda_edge.__version__)
    for group in GROUPS.values():
        for extra in (extra for text in group.requires for extra in Requirement(text).extras):
            needs = [r for r in wheel.requires if r.marker and r.marker.evaluate({**environment, "extra": extra})]
            assert any(not never_taken(need.name) for need in needs), extra


def test_the_assembler_holds_all_that_it_imports_of_the_project_and_nothing_more() -> None:
    program = "import sys; sys.argv = ['assemble', '--help']; import runpy\n"
    program += (
        "try:\n    runpy.run_module('kda_edge.benchmarks.kit.assemble', run_name='__main__')\nexcept SystemExit: pass\n"
    )
    program += "print(*sorted(name for name in sys.modules if name.startswith('kda_edge')))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.splitlines()[-1].split()) | {"kda_edge.benchmarks.kit.assemble"}
    held = {
        f"{package}.{module}".removesuffix(".__init__") for package, modules in MODULES.items() for module in modules
    }
    assert held == loaded
    assert assembler() == assembler()


def test_every_group_has_its_place_and_an_unknown_or_doubled_one_is_refused() -> None:
    assert set(ORDER) == {*GROUPS, "data"}
    assert list(groups_named(["gpu", "data", "lean"])) == ["gpu", "lean"]
    for wrong in (["lean", "lena"], ["lean", "lean"], [""]):
        with pytest.raises(UsageError):
            groups_named(wrong)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--part-mb", "0.0001"], "--part-mb 0.0001 is too little"),
        (["--glibc", "new"], "--glibc new: give a version such as 2.28"),
        (["--groups", "lean,nothing"], "there is no group 'nothing'"),
        (["--groups", "lean", "--data", "."], "data is not among --groups"),
        ([], "is no clone of kda-edge"),
    ],
)
def test_wrong_usage_is_told_in_one_line_before_anything_is_downloaded(
    words: Sequence[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert collect.main(list(words)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def small_clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of one module by this project's name, the folder to work in; pip looks into `index` beside it alone."""
    clone = tmp_path / "clone"
    clone.mkdir()
    (clone / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n'
        '[project]\nname = "kda-edge"\nversion = "3.0"\ndependencies = ["kitted_raster>=2", "numpy", "onnxruntime"]\n'
        '[tool.setuptools]\npy-modules = ["kitted_project"]\n'
    )
    (clone / "kitted_project.py").write_text("")
    made_wheel(tmp_path / "index", "kitted_raster", "2.5", requires=["kitted_deep"])
    made_wheel(tmp_path / "index", "kitted_raster", "1.0")
    made_wheel(tmp_path / "index", "kitted_deep")
    made_wheel(tmp_path / "index", "onnxruntime_gpu", "1.20")
    for name, value in {"NO_INDEX": "1", "FIND_LINKS": str(tmp_path / "index"), "CONFIG_FILE": os.devnull}.items():
        monkeypatch.setenv(f"PIP_{name}", value)
    monkeypatch.chdir(clone)
    return clone


def collected(*words: str) -> int:
    return collect.main(["--python-version", PYTHON, "--part-mb", "0.001", "--groups", "lean,gpu,data", *words])


@pytest.mark.slow
def test_the_command_collects_what_a_second_command_installs(
    tmp_path: Path, small_clone: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.webp").write_bytes(b"image")
    assert collected("--data", str(tmp_path / "images")) == 0
    table = capsys.readouterr().out
    parts = small_clone / "build" / "gpu-kit"
    parts.rename(tmp_path / "parts")
    assert run_assemble(tmp_path) == 0
    there = {path.name for path in (tmp_path / "kit" / "site").iterdir()}
    assert {name.partition(".dist-info")[0] for name in there if name.endswith(".dist-info")} == {
        *("kda_edge-3.0", "kitted_raster-2.5", "kitted_deep-1.0", "onnxruntime_gpu-1.20"),
    }
    assert "kitted_project.py" in there
    assert (tmp_path / "kit" / "data" / "a.webp").read_bytes() == b"image"
    assert f"{len(list((tmp_path / 'parts').glob('kit.part*')))} parts" in table
    assert all(path.stat().st_size <= 1000 for path in (tmp_path / "parts").glob("kit.part*"))


@pytest.mark.slow
def test_a_package_that_pip_does_not_find_is_told_in_one_line_and_no_kit_is_there(
    tmp_path: Path, small_clone: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "index" / "kitted_deep-1.0-py3-none-any.whl").unlink()
    assert collected() == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line == "gpu-kit: pip download failed: No matching distribution found for kitted_deep"
    assert not (small_clone / "build" / "gpu-kit").exists()


def test_the_table_says_what_each_group_weighs_and_where_it_lies(tmp_path: Path) -> None:
    wheels = [("lean", made_wheel(tmp_path / "w", "one")), ("gpu", made_wheel(tmp_path / "w", "two"))]
    kit = made_kit(tmp_path / "parts", wheels, imports={"lean": (), "gpu": ()}, payload_bytes=250)
    lines = collect.contents_table(kit).splitlines()
    assert [line.split()[:2] for line in lines[1:]] == [["lean", "1"], ["gpu", "1"]]
    assert lines[1].split()[4:7] == ["1", "to", str(kit.numbers_of(kit.files[0])[-1])]
