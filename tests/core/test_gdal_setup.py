"""Variables of another GDAL or PROJ installation in the environment: nobody notices them, or one line names them."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest
import rasterio

MAPS = """
    import sys
    from pathlib import Path
    import numpy as np
    import rasterio
    from rasterio.transform import from_origin
    from kda_edge.gdal_setup import set_up_gdal
    from kda_edge.runtime.geo.gdal import gdal_session, open_raster
    from kda_edge.ground.ground import Frame, locate

    if "within" in sys.argv:  # a program that has an Env of its own
        rasterio.Env().__enter__()
    with gdal_session():
        with open_raster(Path("a.tif"), "w", driver="GTiff", width=9, height=9, count=3, dtype="uint8",
                         crs="EPSG:32647", transform=from_origin(469000, 3446000, 1, 1)) as dataset:
            dataset.write(np.ones((3, 9, 9), np.uint8))
        with open_raster(Path("a.tif")) as dataset:
            print(dataset.crs, locate(Frame.of(dataset)).lonlat(np.array([[0], [0]])).round(6).tolist())
"""
OTHERS = ("train", "export", "benchmarks", "networks", "decoders")  # which need torch, or more
EVERY_MODULE = """
    import importlib, pkgutil, kda_edge.runtime
    from kda_edge.errors import MissingDependency
    for package in (kda_edge, kda_edge.runtime):
        for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
            if module.name.split(".")[1] not in OTHERS_HERE and "__main__" not in module.name:
                importlib.import_module(module.name)
""".replace("OTHERS_HERE", repr(OTHERS))


def child(script: str, folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", textwrap.dedent(script), *words]
    return subprocess.run(
        command, cwd=folder, env=os.environ | environment, capture_output=True, text=True, check=False
    )


def of_another_layout(folder: Path) -> Path:
    """A folder with a database that PROJ takes for another release's."""
    folder.mkdir()
    with sqlite3.connect(folder / "proj.db") as database:
        database.execute("CREATE TABLE metadata (key TEXT, value TEXT)")
        rows = [("DATABASE.LAYOUT.VERSION.MAJOR", "1"), ("DATABASE.LAYOUT.VERSION.MINOR", "0")]
        database.executemany("INSERT INTO metadata VALUES (?, ?)", rows)
    database.close()
    return folder


def no_database(folder: Path) -> Path:
    folder.mkdir()
    (folder / "proj.db").write_bytes(b"not SQLite")
    return folder


def empty(folder: Path) -> Path:
    folder.mkdir()
    return folder


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What is said where the environment names nothing."""
    run = child(MAPS, tmp_path_factory.mktemp("plain"))
    assert run.stdout.startswith("EPSG:32647 [[98.67")
    return run.stdout


FOLDERS: dict[str, Callable[[Path], Path]] = {
    "empty": empty,
    "another layout": of_another_layout,
    "no database": no_database,
    "not there": lambda folder: folder,
    "no name": lambda folder: Path(),
}


@pytest.mark.parametrize("kind", FOLDERS)
@pytest.mark.parametrize("variables", [("PROJ_LIB",), ("PROJ_DATA",), ("PROJ_DATA", "PROJ_LIB")], ids=" and ".join)
def test_a_folder_that_proj_cannot_use_is_left_out(
    kind: str, variables: tuple[str, ...], tmp_path: Path, expected: str
) -> None:
    folder = str(FOLDERS[kind](tmp_path / "foreign"))
    for words in ([], ["within"]):
        run = child(MAPS, tmp_path, *words, **dict.fromkeys(variables, "" if kind == "no name" else folder))
        assert (run.stdout, run.stderr, run.returncode) == (expected, "", 0)


def test_a_folder_that_proj_can_use_is_kept(tmp_path: Path, expected: str) -> None:
    """Its owner may have put grids there."""
    shutil.copytree(Path(rasterio.__file__).with_name("proj_data"), tmp_path / "mine")
    script = MAPS + "    import os; print(os.environ['PROJ_DATA'])\n"
    run = child(script, tmp_path, PROJ_DATA=str(tmp_path / "mine"), PROJ_LIB=str(empty(tmp_path / "empty")))
    assert (run.stdout, run.stderr) == (f"{expected}{tmp_path / 'mine'}\n", "")


def test_where_there_are_no_other_data_one_line_names_the_variable(tmp_path: Path) -> None:
    """A rasterio without data of its own: all of it but that folder."""
    own = Path(rasterio.__file__).parent
    (tmp_path / "site" / "rasterio").mkdir(parents=True)
    for path in own.iterdir():
        if path.name != "proj_data":
            (tmp_path / "site" / "rasterio" / path.name).symlink_to(path)
    (tmp_path / "site" / "rasterio.libs").symlink_to(own.with_name("rasterio.libs"))
    script = """
        from kda_edge.errors import UsageError
        from kda_edge.gdal_setup import set_up_gdal
        for _ in range(2):
            try:
                set_up_gdal()
            except UsageError as error:
                print(error)
    """
    folder = empty(tmp_path / "foreign")
    run = child(script, tmp_path, PROJ_LIB=str(folder), PYTHONPATH=str(tmp_path / "site"))
    first, second = run.stdout.splitlines()
    assert first == second
    assert first.startswith(f"PROJ can't use PROJ_LIB={folder} (")
    assert "unset that" in first
    assert run.stderr == ""


@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler to make a driver")
def test_drivers_and_data_of_another_gdal_are_left_out(tmp_path: Path, expected: str) -> None:
    (tmp_path / "foreign.c").write_text("#include <stdlib.h>\nvoid GDALRegister_Foreign(void) { abort(); }\n")
    plugins = empty(tmp_path / "plugins")
    compile_it = ["cc", "-shared", "-fPIC", "-o", str(plugins / "gdal_Foreign.so"), str(tmp_path / "foreign.c")]
    subprocess.run(compile_it, check=True)
    alone = "import rasterio; rasterio.Env().__enter__()"
    assert child(alone, tmp_path, GDAL_DRIVER_PATH=str(plugins)).returncode < 0, "GDAL loads it"
    run = child(MAPS, tmp_path, GDAL_DRIVER_PATH=str(plugins), GDAL_DATA=str(plugins))
    assert (run.stdout, run.stderr, run.returncode) == (expected, "", 0)


def test_every_module_can_be_imported_whatever_the_environment_names(tmp_path: Path) -> None:
    nowhere = str(empty(tmp_path / "empty"))
    strange = dict.fromkeys(("PROJ_LIB", "PROJ_DATA", "GDAL_DATA", "HOME", "XDG_CACHE_HOME", "KDA_EDGE_CACHE"), nowhere)
    run = child(EVERY_MODULE, tmp_path, **strange, LC_ALL="C", GDAL_CACHEMAX="much")
    assert (run.stderr, run.returncode) == ("", 0)
