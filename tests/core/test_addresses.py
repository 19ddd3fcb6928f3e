"""Addresses: what may be said of them, and what files are called after them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kda_edge.addresses import (
    MOST_STEM_BYTES,
    anonymous,
    path_from_file_url,
    redacted,
    safe_name,
    scheme_of,
    stem_from,
)
from kda_edge.errors import UsageError

SECRET = st.text(st.characters(codec="ascii", exclude_characters=" /'\"", min_codepoint=33), min_size=4)


@given(user=SECRET, password=SECRET, query=SECRET, frame=st.sampled_from(["{}", "'{}' not found", "see {}, band 1"]))
def test_users_passwords_and_queries_are_never_said(user: str, password: str, query: str, frame: str) -> None:
    """Whatever is in them but what ends an address in a sentence."""
    address = f"https://{user}:{password}@host.example/folder/scene.tif?{query}#{query}"
    said = redacted(frame.format(address))
    assert "https://host.example/folder/scene.tif" in said
    for secret in (f"{user}:", f":{password}", f"?{query}"):
        assert secret not in said
    assert len(said) <= len(frame.format("https://host.example/folder/scene.tif"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("'/vsicurl/http://me:pw@h/b.tif?k=1,2' does not exist", "'/vsicurl/http://h/b.tif' does not exist"),
        ("b.tif?k=1,2&x=3: IReadBlock failed", "b.tif IReadBlock failed"),
        ("PG:dbname=maps user=bob password='a b' table=t", "PG:dbname=maps user=... password=... table=t"),
        ("http://me@h/a and http://you@h/b", "http://h/a and http://h/b"),
        ("/data/a#b@c.tif", "/data/a#b@c.tif"),
        ("is it a raster? no", "is it a raster? no"),
        ("mail me@host", "mail me@host"),
    ],
)
def test_of_a_message_only_the_secrets_are_left_out(text: str, said: str) -> None:
    assert redacted(text) == said


def test_an_anonymous_address_keeps_its_query() -> None:
    assert anonymous("vrt:///d/a.tif?bands=3,2,1") == "vrt:///d/a.tif?bands=3,2,1"
    assert anonymous("http://me:pw@h/a.tif?id=1") == "http://h/a.tif?id=1"


@given(st.text())
def test_what_files_are_called_after_an_address_is_a_file_name(words: str) -> None:
    for name in (stem_from(f"http://host/{words}", "instead"), safe_name(words) or "instead"):
        assert len(f".{name}_landslide.123456789-01234567.part.geojson".encode()) <= 255
        assert len(name.encode()) <= MOST_STEM_BYTES
        assert "/" not in name
        assert not name.startswith((".", "-"))
        assert name == "".join(letter for letter in name if letter.isprintable())


@pytest.mark.parametrize(
    ("address", "stem"),
    [
        ("http://host/a/scene%20one.tif?x=/y.tif", "scene_one"),
        ("http://host.example/", "instead"),
        ("http://host/..%2f..%2fetc%2fpasswd", "passwd"),
        ("http://host/-rf.tif", "rf"),
        ("http://host/.hidden.tif", "hidden"),
        ("zip:///a/b.zip!in/x.tif", "x"),
        ("zip://b.zip!x.tif", "x"),
        ("/vsizip/a/b.zip/", "b"),
    ],
)
def test_outputs_are_named_after_the_last_word_of_an_address(address: str, stem: str) -> None:
    assert stem_from(address, "instead") == stem


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("file:///data/scene.tif", "/data/scene.tif"),
        ("file:///data/my%20sc%C3%A8ne.tif", "/data/my scène.tif"),
        ("file://localhost/data/a.tif", "/data/a.tif"),
        ("FILE://LocalHost/data/a.tif", "/data/a.tif"),
        ("file:/data/a.tif", "/data/a.tif"),
        ("file:///data/a?b#c.tif", "/data/a?b#c.tif"),
        ("file:///data/bad%ff.tif", os.fsdecode(b"/data/bad\xff.tif")),
        ("file:///data/100%.tif", "/data/100%.tif"),
    ],
)
def test_the_address_of_a_file_is_its_path(name: str, path: str) -> None:
    assert path_from_file_url(name) == Path(path)


@pytest.mark.parametrize("name", ["scene.tif", "/data/a.tif", "http://h/a.tif", "files/a.tif", "C:/a.tif", ""])
def test_other_names_are_no_addresses_of_files(name: str) -> None:
    assert path_from_file_url(name) is None


@pytest.mark.parametrize(
    ("name", "words"), [("file://server/a.tif", "mount its folder"), ("file:a.tif", "give"), ("file://", "give")]
)
def test_a_file_of_another_machine_is_refused_in_one_line(name: str, words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        path_from_file_url(name)
    assert "\n" not in str(caught.value)


def test_a_drive_is_no_scheme() -> None:
    assert [scheme_of(name) for name in ("C://a", "S3://b/k", "zip+https://h/a.zip!b", "a/http://b", "x:y")] == [
        *("", "s3", "zip+https", "", "")
    ]
