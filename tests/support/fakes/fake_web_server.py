"""A web server in a process of its own: rasterio holds Python's lock while GDAL waits for an answer.

It serves a folder with ranges, ETag and time of change, and misbehaves as it is told. `python fake_web_server.py DIR`.
"""

from __future__ import annotations

import email.utils
import hashlib
import json
import re
import subprocess
import sys
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar
from urllib.parse import unquote

PLAIN: dict[str, Any] = {
    "etag": "strong",  # weak, none
    "modified": True,
    "ranges": True,
    "status_from": None,  # [code, byte]: ranges that reach beyond the byte get the code
    "silent_from": None,  # byte: such ranges get no answer
    "cut_from": None,  # byte: such ranges are cut short
    "only_get": False,  # as signed addresses do
    "login": None,  # user:password
}


class WebServer:
    """A running server; ends with its block."""

    def __init__(self, folder: Path) -> None:
        command = [sys.executable, __file__, str(folder)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())
        self.host = f"127.0.0.1:{self.port}"

    def url(self, name: str, login: str = "") -> str:
        """Return the address of a file."""
        return f"http://{login}{'@' if login else ''}{self.host}/{name}"

    def behaves(self, **changed: Any) -> None:
        """Have it behave well but for what is given."""
        self._told(PLAIN | changed)

    def requests(self) -> list[dict[str, Any]]:
        """Return method, path and headers of what was asked for since the last time."""
        return list(self._told(None))

    def stop(self) -> None:
        """End it; its port refuses from now on."""
        self._process.terminate()
        self._process.wait()

    def __enter__(self) -> WebServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def _told(self, value: Any) -> Any:
        request = urllib.request.Request(self.url("!"), data=json.dumps(value).encode(), method="POST")
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read())


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    folder: ClassVar[Path]
    how: ClassVar[dict[str, Any]] = dict(PLAIN)
    asked: ClassVar[list[dict[str, Any]]] = []

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 -- the library's name
        pass

    def do_POST(self) -> None:
        value = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if value is not None:
            self.how.update(value)
        content = json.dumps(list(self.asked)).encode()
        self.asked.clear()
        self._answer(200, content)

    def do_HEAD(self) -> None:
        self._serve()

    def do_GET(self) -> None:
        self._serve()

    def _serve(self) -> None:
        how = dict(self.how)
        self.asked.append({"method": self.command, "path": self.path, "headers": dict(self.headers)})
        path = self.folder / unquote(self.path.partition("?")[0]).lstrip("/")
        if how["login"] and not self._is_let_in(how["login"]):
            return self._answer(401)
        if how["only_get"] and self.command != "GET":
            return self._answer(403)
        if not path.is_file():
            return self._answer(404)
        content = path.read_bytes()
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")) if how["ranges"] else None
        headers = {"Accept-Ranges": "bytes"}
        if how["etag"] != "none":
            headers["ETag"] = ("W/" if how["etag"] == "weak" else "") + f'"{hashlib.md5(content).hexdigest()}"'
        if how["modified"]:
            headers["Last-Modified"] = email.utils.formatdate(path.stat().st_mtime, usegmt=True)
        if wanted is None:
            return self._answer(200, content, **headers)
        first, last = int(wanted[1]), min(int(wanted[2] or len(content)), len(content) - 1)
        if how["silent_from"] is not None and last >= how["silent_from"]:
            time.sleep(600)
        if how["status_from"] is not None and last >= how["status_from"][1]:
            return self._answer(how["status_from"][0])
        headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
        part = content[first : last + 1]
        cut = how["cut_from"] is not None and last >= how["cut_from"]
        return self._answer(206, part, given=len(part) // 2 if cut else len(part), **headers)

    def _is_let_in(self, login: str) -> bool:
        import base64

        return self.headers.get("Authorization") == f"Basic {base64.b64encode(login.encode()).decode()}"

    def _answer(self, code: int, content: bytes = b"", given: int | None = None, **headers: str) -> None:
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content[: len(content) if given is None else given])
        if given is not None and given < len(content):
            self.close_connection = True


if __name__ == "__main__":
    _Handler.folder = Path(sys.argv[1])
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    print(server.server_port, flush=True)
    server.serve_forever()
