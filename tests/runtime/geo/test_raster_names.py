"""Which names of rasters are paths, and which are addresses that GDAL reads."""

from __future__ import annotations

import dataclasses
import pickle
from pathlib import Path

import pytest

from kda_edge.errors import UsageError
from kda_edge.runtime.geo.raster_names import RasterAddress, over_network, raster_named, said


@pytest.mark.parametrize(
    ("name", "shown", "stem"),
    [
        ("http://me:pw@host/scene.tif?key=1", "http://host/scene.tif", "scene"),
        ("https://host:8080/a/b.tif", "https://host:8080/a/b.tif", "b"),
        ("ftp://host/a.tif", "ftp://host/a.tif", "a"),
        ("s3://bucket/key/x.tif", "s3://bucket/key/x.tif", "x"),
        ("gs://bucket/x.tif", "gs://bucket/x.tif", "x"),
        ("az://container/x.tif", "az://container/x.tif", "x"),
        ("zip:///data/a.zip!in/x.tif", "zip:///data/a.zip!in/x.tif", "x"),
        ("zip+https://me@host/a.zip!x.tif", "zip+https://host/a.zip!x.tif", "x"),
        ("/vsicurl/https://me:pw@host/x.tif", "/vsicurl/https://host/x.tif", "x"),
        ("/vsicurl?pc_url_signing=yes&url=https%3A%2F%2Fme@host%2Fx.tif%3Fk", "https://host/x.tif", "x"),
        ("/vsizip//data/a.zip/in/x.tif", "/vsizip//data/a.zip/in/x.tif", "x"),
        ("/vsitar/data/a.tar/x.tif", "/vsitar/data/a.tar/x.tif", "x"),
        ("/vsigzip/data/x.tif.gz", "/vsigzip/data/x.tif.gz", "x.tif"),
        ('NETCDF:"/data/f.nc":rain', 'NETCDF:"/data/f.nc":rain', "f_rain"),
        ("netcdf:f.nc:rain", "netcdf:f.nc:rain", "f_rain"),
        ("GTIFF_DIR:1:/data/f.tif", "GTIFF_DIR:1:/data/f.tif", "1_f"),
        ("HDF5:f.h5://group/rain", "HDF5:f.h5://group/rain", "f_rain"),
        ("GPKG:/data/f.gpkg:table", "GPKG:/data/f.gpkg:table", "f_table"),
        ("SENTINEL2_L2A:/d/MTD.xml:10m:EPSG_32632", "SENTINEL2_L2A:/d/MTD.xml:10m:EPSG_32632", "MTD_10m_EPSG_32632"),
        ("GTIFF_DIR:2:/vsicurl/http://me:pw@h/f.tif", "GTIFF_DIR:2:/vsicurl/http://h/f.tif", "2_f"),
        ("vrt:///data/f.tif?bands=3,2,1", "vrt:///data/f.tif", "f"),
        ("PG:host=h user=bob password='a b'", "PG:host=h user=... password=...", None),
    ],
)
def test_an_address_is_said_without_secrets_and_its_outputs_are_named_after_it(
    name: str, shown: str, stem: str | None
) -> None:
    address = raster_named(name)
    assert isinstance(address, RasterAddress)
    assert (address.shown, str(address), said(address)) == (shown, shown, shown)
    assert address.gdal_name == name or name.startswith("zip")
    assert stem is None or (address.stem, address.name) == (stem, stem)
    for secret in ("pw", "me", "bob", "a b"):
        assert secret not in repr(address).replace("scheme", "").replace("name", "")
    assert raster_named(address) is address
    assert pickle.loads(pickle.dumps(address)) == address
    with pytest.raises(dataclasses.FrozenInstanceError):
        address.stem = "other"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("name", "gdal_name"),
    [
        ("zip://a.zip!b/c.tif", "/vsizip/{a.zip}/b/c.tif"),
        ("zip:///data/a.zip!c.tif", "/vsizip/{/data/a.zip}/c.tif"),
        ("zip:///data/a.zip", "/vsizip/{/data/a.zip}"),
        ("tar+file:///data/a.tar!c.tif", "/vsitar/{/data/a.tar}/c.tif"),
        ("zip+https://me@h/a.zip!c.tif", "/vsizip/{/vsicurl/https://me@h/a.zip}/c.tif"),
        ("zip+s3://bucket/a.zip!c.tif", "/vsizip/{/vsis3/bucket/a.zip}/c.tif"),
        ("gzip:///data/a.tif.gz", "/vsigzip//data/a.tif.gz"),
    ],
)
def test_what_lies_in_an_archive_has_the_name_that_gdal_has_for_it(name: str, gdal_name: str) -> None:
    address = raster_named(name)
    assert isinstance(address, RasterAddress)
    assert address.gdal_name == gdal_name


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("scene.tif", "scene.tif"),
        ("C:/flight.tif", "C:/flight.tif"),
        ("scene:1.tif", "scene:1.tif"),
        ("2024-05-01T10:30.tif", "2024-05-01T10:30.tif"),
        ("/vsinothing", "/vsinothing"),
        ("file:///data/a%20b.tif", "/data/a b.tif"),
        ("", "."),
        ("nul\0.tif", "nul\0.tif"),
        ("x" * 5000, "x" * 5000),
    ],
    ids=lambda value: value[:20].replace("\0", "0"),
)
def test_other_names_are_paths(name: str, path: str) -> None:
    assert raster_named(name) == Path(path)
    assert said(raster_named(name)) == Path(path)


@pytest.mark.parametrize("name", ["NETCDF:a.nc:rain", "vrt:x", "http:", "/vsizip"])
def test_what_exists_as_a_file_is_a_path(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    if not name.startswith("/"):
        Path(name).touch()
    assert raster_named(name) == Path(name)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("foo://me:pw@host/a.tif", "GDAL reads no raster from foo://host/a.tif; give a path, or an address"),
        ("zip+foo://a.zip!b.tif", "GDAL reads no raster"),
        ("https+zip://a", "GDAL reads no raster"),
        ("file://server/a.tif", "another machine"),
        ("/vsistdin/", "can't be read by windows"),
        ("/vsicurl_streaming/http://h/a.tif", "can't be read by windows"),
        ("<GDAL_WMS><Service><UserPwd>me:pw</UserPwd></Service></GDAL_WMS>", "can't be given as XML"),
    ],
)
def test_what_can_not_be_read_by_windows_is_refused_in_one_line(name: str, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        raster_named(name)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "pw" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "served"),
    [
        ("/vsicurl/https://host/a.tif", True),
        ("/vsizip/vsicurl/https://host/a.zip/b.tif", True),
        ("/vsis3/bucket/a.tif", True),
        ("/vsicurl?url=x", True),
        ("/vsizip//data/a.zip/b.tif", False),
        ("/data/vsicurl.tif", False),
    ],
)
def test_names_of_gdals_tell_whether_a_server_is_asked(name: str, served: bool) -> None:
    assert over_network(name) == served
