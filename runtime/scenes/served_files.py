"""Files on a web server, as far as they can be told apart: by ETag, or by size and time of change.

GDAL asks the server for parts of a file and never whether it is still the same file. So that is asked here.
"""

from __future__ import annotations

import base64
import hashlib
import re
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from http.client import HTTPException
from typing import Final
from urllib.parse import unquote

from kda_edge.addresses import anonymous, redacted
from kda_edge.errors import SceneError

TRIES: Final = 3
PAUSE_S: Final = 1.0  # between them
TIMEOUT_S: Final = 20.0
_AGAIN: Final = frozenset({429, 500, 502, 503, 504})  # answers of a server that may soon have another
# In a name of GDAL's: the address, and of an archive that is served, what lies in it.
_SERVED: Final = re.compile(r"/vsicurl/(https?://.+)")
_ARCHIVE: Final = re.compile(r"(.+?\.(?:kmz|tar\.gz|tar|tgz|zip))(?:/.*)")
_LOGIN: Final = re.compile(r"(https?://)([^/\s]*)@(.*)")


@dataclass(frozen=True)
class ServedFile:
    """A file on a web server.

    Attributes:
        shown: its address as it may be said.
        state: what tells its content from any other of that address; a digest.
    """

    shown: str
    state: str


def served_file(gdal_name: str, *, tries: int = TRIES) -> ServedFile | None:
    """Ask a server about a file; None: not on a web server, or it says nothing that tells its states apart.

    Args:
        gdal_name: as GDAL calls it, such as `/vsicurl/https://host/scene.tif`.
        tries: how often a server that does not answer is asked.

    Raises:
        SceneError: it does not answer.
    """
    found = _SERVED.search(gdal_name)
    if found is None:
        return None
    url = found[1]
    archive = _ARCHIVE.fullmatch(url.replace("}", "")) if found.start() else None
    url = archive[1] if archive else url
    answer = _asked(url, tries)
    if answer is None:
        return None
    etag, size, changed = answer
    facts: tuple[str, ...]
    plain = redacted(url)
    if etag.startswith('"'):  # a strong one: the same bytes
        facts = (plain, etag, size)
    elif size and changed:
        facts = (anonymous(url), etag, size, changed)  # a query may ask for other content of the same size and time
    else:
        return None
    return ServedFile(plain, hashlib.sha256(repr(facts).encode()).hexdigest())


def _asked(url: str, tries: int) -> tuple[str, str, str] | None:
    """Return ETag, size and time of change, empty where there is none; None where the server does not say.

    One byte is asked for, not the header alone: signed addresses allow reading only.
    """
    login = _LOGIN.fullmatch(url)
    plain = login[1] + login[3] if login else url
    request = urllib.request.Request(plain, headers={"Range": "bytes=0-0", "Accept-Encoding": "identity"})
    if login:
        word = base64.b64encode(unquote(login[2]).encode()).decode()
        request.add_unredirected_header("Authorization", f"Basic {word}")
    reason = ""
    for number in range(tries):
        if number:
            time.sleep(PAUSE_S)
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
                headers = answer.headers
                whole = headers.get("Content-Range", "").rpartition("/")[2]
                size = whole if whole.isdecimal() else headers.get("Content-Length", "") if answer.status == 200 else ""
                return headers.get("ETag", ""), size, headers.get("Last-Modified", "")
        except urllib.error.HTTPError as error:
            error.close()
            reason = f"HTTP response code: {error.code}"
            if error.code not in _AGAIN:
                return None
        except (OSError, HTTPException, ValueError) as error:
            reason = str(getattr(error, "reason", "") or error)
    raise SceneError(f"{redacted(url)} can't be reached ({redacted(reason)}); check address and network")
