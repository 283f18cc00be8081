"""A small hub on loopback, which speaks what `huggingface_hub` needs to list and to download the files of models.

`running_hub` runs one, `Hub.add` puts a repository there. Large files lie on a server of their own with another address, as
those of the real hub do. Every request is kept, and faults can be ordered.
"""

import hashlib
import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

LARGE_SUFFIXES = (".safetensors", ".bin", ".gguf")
_BLOCK_BYTES = 1 << 16


@dataclass(frozen=True)
class Request:
    """What a client has asked for."""

    server: str
    """`hub` or `cdn`."""
    method: str
    path: str
    headers: Mapping[str, str]
    """With names in small letters."""


@dataclass
class Repository:
    """Its commits, and who may see it."""

    commits: dict[str, Mapping[str, bytes]] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)
    is_gated: bool = False
    readers: frozenset[str] | None = None
    """Tokens that may see it, or read its files if it is gated; None: all may."""


@dataclass
class Faults:
    """What goes wrong, by the name of the file."""

    cuts: dict[str, list[int]] = field(default_factory=dict)
    """After how many bytes of an answer the connection breaks off, for one request after the other."""
    held: dict[str, int] = field(default_factory=dict)
    """After how many bytes nothing more comes, until `Hub.release`."""
    wrong: dict[str, bytes] = field(default_factory=dict)
    """Other content of the same length."""
    statuses: dict[str, int] = field(default_factory=dict)
    """The status of each request for the file; `*` for the list of files."""
    headers: dict[str, str] = field(default_factory=dict)
    """What such answers have in their head."""
    sizes: dict[str, int] = field(default_factory=dict)
    """Sizes that the list of files says falsely."""
    expired: list[str] = field(default_factory=list)
    """Files whose next address for a time does not hold any more."""
    shows_blobs: bool = True
    """Whether the list of files has their sizes and hashes."""
    signature: str = ""
    """Behind the address of a large file."""
    ignores_ranges: bool = False
    is_no_hub: bool = False
    """Whether all is answered with a page that asks for a login."""


def git_sha1(content: bytes) -> str:
    """The hash that git has for a file."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def folder_files(folder: Path) -> dict[str, bytes]:
    """The files of a folder by their names."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}


class Hub:
    """The state of both servers."""

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.known_tokens: set[str] = set()
        self.faults = Faults()
        self.requests: list[Request] = []
        self.is_holding = threading.Event()
        self._is_released = threading.Event()
        self._servers = {name: _Server(name, self) for name in ("hub", "cdn")}

    @property
    def address(self) -> str:
        """What `HF_ENDPOINT` is set to."""
        return self._servers["hub"].address

    @property
    def cdn_address(self) -> str:
        """Where large files lie."""
        return self._servers["cdn"].address

    def add(self, name: str, files: Mapping[str, bytes], *refs: str, **settings: Any) -> str:
        """Adds a commit to a repository, and moves branches or tags (else `main`) there; returns the commit."""
        repository = self.repositories.setdefault(name, Repository())
        for setting, value in settings.items():
            setattr(repository, setting, value)
        content = b"".join(key.encode() + value for key, value in sorted(files.items()))
        commit = hashlib.sha1(name.encode() + content).hexdigest()
        repository.commits[commit] = dict(files)
        repository.refs |= dict.fromkeys(refs or ("main",), commit)
        return commit

    def release(self) -> None:
        """Lets go on what is held."""
        self._is_released.set()

    def wait_until_released(self) -> None:
        """Called by an answer that is held."""
        self.is_holding.set()
        self._is_released.wait(60)

    def fetched(self) -> list[str]:
        """The files whose bytes were asked for."""
        return [
            request.path.rsplit("/", 1)[-1]
            for request in self.requests
            if request.method == "GET" and not request.path.startswith("/api/")
        ]

    def close(self) -> None:
        """Ends both servers."""
        self.release()
        for server in self._servers.values():
            server.shutdown()
            server.server_close()


class _Refused(Exception):  # noqa: N818
    """What is answered in the place of what was asked for."""

    def __init__(self, status: int, code: str | None = None, message: str = "no") -> None:
        super().__init__(message)
        self.status = status
        self.headers = {"X-Error-Message": message, **({} if code is None else {"X-Error-Code": code})}


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, name: str, hub: Hub) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.name = name
        self.hub = hub
        self.address = f"http://127.0.0.1:{self.server_port}"
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def handle_error(self, *_: Any) -> None:
        """A client that has gone is what some tests are about."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        """Says nothing."""

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        hub = self.server.hub
        headers = {name.lower(): value for name, value in self.headers.items()}
        hub.requests.append(Request(self.server.name, self.command, self.path, headers))
        try:
            self._route(unquote(urlsplit(self.path).path))
        except _Refused as refused:
            self._send(refused.status, b"{}", refused.headers | hub.faults.headers)

    def _route(self, path: str) -> None:
        hub = self.server.hub
        if hub.faults.is_no_hub:
            self._send(200, b"<html>Please log in</html>", {"Content-Type": "text/html"})
        elif self.server.name == "cdn":
            self._send_large(path)
        elif match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/revision/(.+)", path):
            self._list(match[1], match[2])
        elif match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            self._resolve(match[1], match[2], match[3])
        else:
            raise _Refused(404, "EntryNotFound")

    def _find(self, name: str, revision: str, *, reads_files: bool) -> tuple[str, Mapping[str, bytes]]:
        """The commit of a revision."""
        hub, authorization = self.server.hub, self.headers.get("Authorization", "")
        token = authorization.removeprefix("Bearer ") if authorization.startswith("Bearer ") else ""
        repository = hub.repositories.get(name)
        if token and token not in hub.known_tokens:
            raise _Refused(401, None, "Invalid credentials in Authorization header")
        may_read = repository is not None and (repository.readers is None or token in repository.readers)
        if repository is None or not (may_read or repository.is_gated):
            # As the real one does, which does not say whether there is a private one.
            raise _Refused(404 if token else 401, "RepoNotFound", "Repository not found")
        if reads_files and not may_read:
            raise _Refused(403 if token else 401, "GatedRepo", "Access to this model is restricted")
        commit = repository.refs.get(revision, revision)
        if commit not in repository.commits:
            raise _Refused(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return commit, repository.commits[commit]

    def _list(self, name: str, revision: str) -> None:
        faults = self.server.hub.faults
        if status := faults.statuses.get("*"):
            raise _Refused(status)
        commit, files = self._find(name, revision, reads_files=False)
        shows_blobs = faults.shows_blobs and "blobs" in parse_qs(urlsplit(self.path).query)
        siblings = [_sibling(file, content, faults, shows_blobs) for file, content in files.items()]
        body = {
            "id": name,
            "modelId": name,
            "sha": commit,
            "private": False,
            "tags": [],
            "siblings": siblings,
        }
        self._send(200, json.dumps(body).encode(), {"Content-Type": "application/json"})

    def _resolve(self, name: str, revision: str, file: str) -> None:
        faults = self.server.hub.faults
        commit, files = self._find(name, revision, reads_files=True)
        if status := faults.statuses.get(file):
            raise _Refused(status)
        if file not in files:
            raise _Refused(404, "EntryNotFound")
        content, headers = files[file], {"X-Repo-Commit": commit}
        if file.endswith(LARGE_SUFFIXES):
            address = f"{self.server.hub.cdn_address}/{name}/{commit}/{file}{faults.signature}"
            headers |= {
                "Location": address,
                "X-Linked-Etag": f'"{hashlib.sha256(content).hexdigest()}"',
                "X-Linked-Size": str(len(content)),
            }
            self._send(302, b"", headers)
        else:
            self._send_file(file, content, headers | {"ETag": f'"{git_sha1(content)}"'})

    def _send_large(self, path: str) -> None:
        name, commit, file = re.fullmatch(r"/([^/]+/[^/]+)/([^/]+)/(.+)", path).groups()  # type: ignore[union-attr]
        if file in self.server.hub.faults.expired:
            self.server.hub.faults.expired.remove(file)
            raise _Refused(403)
        if status := self.server.hub.faults.statuses.get(f"cdn/{file}"):
            raise _Refused(status)
        self._send_file(file, self.server.hub.repositories[name].commits[commit][file], {})

    def _send_file(self, file: str, content: bytes, headers: dict[str, str]) -> None:
        faults = self.server.hub.faults
        content = faults.wrong.get(file, content)
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        begin = 0 if asked is None or faults.ignores_ranges else int(asked[1])
        if begin:
            headers["Content-Range"] = f"bytes {begin}-{len(content) - 1}/{len(content)}"
        self._send(206 if begin else 200, content[begin:], headers, file)

    def _send(self, status: int, body: bytes, headers: Mapping[str, str], file: str = "") -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        hub = self.server.hub
        cuts = hub.faults.cuts.get(file)
        end = cuts.pop(0) if cuts else len(body)
        held = hub.faults.held.get(file, end)
        for first in range(0, end, _BLOCK_BYTES):
            block = body[first : min(first + _BLOCK_BYTES, end)]
            if first <= held < first + len(block):
                self.wfile.write(block[: held - first])
                hub.wait_until_released()
                block = block[held - first :]
            self.wfile.write(block)
        if end < len(body):
            self.wfile.flush()
            self.close_connection = True
            self.connection.shutdown(2)


def _sibling(file: str, content: bytes, faults: Faults, shows_blobs: bool) -> dict[str, Any]:
    if not shows_blobs:
        return {"rfilename": file}
    size = faults.sizes.get(file, len(content))
    entry: dict[str, Any] = {"rfilename": file, "size": size, "blobId": git_sha1(content)}
    if file.endswith(LARGE_SUFFIXES):
        entry["lfs"] = {"sha256": hashlib.sha256(content).hexdigest(), "size": size, "pointerSize": 134}
    return entry


@contextmanager
def running_hub() -> Iterator[Hub]:
    """A hub for the length of a `with` block."""
    hub = Hub()
    try:
        yield hub
    finally:
        hub.close()
