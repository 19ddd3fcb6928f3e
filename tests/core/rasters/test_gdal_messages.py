"""GDAL's warnings are heard whatever a program has set, and its handlers get what it asked for."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import rasterio
from rasterio.transform import Affine

from kda_edge.errors import UsageError
from kda_edge.rasters.gdal_messages import listening

ONE = Affine(1, 0, 0, 0, -1, 9)
LOG = logging.getLogger("rasterio._err")


@pytest.fixture
def quiet() -> Iterator[None]:
    """A program that wants to hear nothing below errors from rasterio, as many do."""
    parent = logging.getLogger("rasterio")
    before = parent.level
    parent.setLevel(logging.ERROR)
    yield
    parent.setLevel(before)


def test_a_listener_hears_each_warning_of_its_own_thread_once() -> None:
    heard: list[str] = []
    with listening(heard):
        other = threading.Thread(target=LOG.warning, args=("another scene's",))
        other.start()
        other.join()
        for number in (1, 1, *range(2, 50)):
            LOG.warning("block %d\nis damaged", number)
    LOG.warning("too late")
    assert heard == [f"block {number} is damaged" for number in range(1, 50)]


def test_a_warning_is_heard_though_the_program_has_silenced_rasterio_and_it_gets_none(
    quiet: None, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[str] = []
    with listening(heard):
        LOG.warning("a damaged block")
        LOG.error("worse")
    LOG.warning("nobody listens")
    assert heard == ["a damaged block", "worse"]
    assert caplog.messages == ["worse"]
    assert not LOG.isEnabledFor(logging.WARNING)


def test_threads_that_listen_at_once_hear_their_own_warnings(quiet: None) -> None:
    together = threading.Barrier(8, timeout=30)

    def listen(number: int) -> list[str]:
        heard: list[str] = []
        with listening(heard):
            together.wait()
            LOG.warning("block %d", number)
            together.wait()
        return heard

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(listen, range(8))) == [[f"block {number}"] for number in range(8)]
    assert LOG.level == logging.NOTSET


def test_a_program_that_has_switched_all_warnings_off_is_told() -> None:
    logging.disable(logging.WARNING)
    try:
        with pytest.raises(UsageError, match=r"logging\.disable"), listening([]):
            pass
    finally:
        logging.disable(logging.NOTSET)


def test_a_message_that_is_no_text_is_heard_and_nothing_is_printed(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """GDAL quotes what a damaged header holds; rasterio drops such a message and has Python print a traceback."""
    path, before = tmp_path / "s.tif", (sys.unraisablehook, sys.excepthook)
    with rasterio.open(path, "w", driver="GTiff", width=9, height=9, count=1, dtype="uint8", transform=ONE) as dataset:
        dataset.update_tags(flown="today")
    path.write_bytes(path.read_bytes().replace(b"<Item name=", b"<Item \xe8ame ").replace(b'"flown"', b'\xe8flown"'))
    heard: list[str] = []
    with rasterio.Env(), listening(heard), rasterio.open(path):
        assert sys.unraisablehook != before[0]
    assert any("\\xe8" in text for text in heard)
    assert (sys.unraisablehook, sys.excepthook) == before
    assert capfd.readouterr().err == ""
