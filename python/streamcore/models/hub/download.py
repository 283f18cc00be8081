"""Downloads files of a repository into the cache.

A file that was interrupted is resumed from the bytes that are there, and each file is compared
with the size and the hash that the hub lists for it.
"""

import hashlib
import io
import os
import shutil
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

from streamcore.models.hub.aside import Aside
from streamcore.models.hub.library import CutError, Hub, Location, RemoteFile
from streamcore.models.hub.name import RepositoryName
from streamcore.models.hub.refusals import DamagedError, NotWrittenError, no_room
from streamcore.models.hub.snapshot import CachedRepository

_NUM_FILES_AT_ONCE = 4
_MAX_VAIN_TRIES = 2
"""Attempts in a row that may add no byte; within each the library tries several times itself."""
_BLOCK_BYTES = 1 << 20


class Download:
    """A download of files of one commit."""

    def __init__(
        self, hub: Hub, name: RepositoryName, cached: CachedRepository, commit: str, aside: Aside
    ) -> None:
        self._hub = hub
        self._name = name
        self._cached = cached
        self._commit = commit
        self._aside = aside
        self._blobs: dict[str, tuple[Path, Path]] = {}

    def fetch(self, files: Iterable[RemoteFile]) -> None:
        """Downloads files into the snapshot of the commit, small ones first.

        Raises:
            Exception: see `refusals.explain`.
        """
        waiting = sorted(files, key=lambda file: file.size or 0)
        self._check_room(waiting)
        works = [partial(self._fetch, file) for file in waiting]
        self._aside.run(works, num_threads=_NUM_FILES_AT_ONCE)

    def num_bytes(self, files: Iterable[RemoteFile]) -> int:
        """Counts the bytes of files that are on the disk, whichever process has written them."""
        return sum(self._num_bytes_of(file) for file in files)

    def _num_bytes_of(self, file: RemoteFile) -> int:
        if self._cached.holds(self._commit, file.name, file.size):
            return file.size or 0
        # The hub's etags are hashes, those of a mirror may not be.
        etag = file.sha256 or file.git_sha1 or ""
        guessed = (self._cached.blob(etag), self._cached.part(etag)) if etag else ()
        return max(map(_size_of, self._blobs.get(file.name, guessed)), default=0)

    def _check_room(self, files: Iterable[RemoteFile]) -> None:
        needed = sum((file.size or 0) - self._num_bytes_of(file) for file in files)
        folder = self._hub.cache
        while not folder.exists() and folder != folder.parent:
            folder = folder.parent
        free = shutil.disk_usage(folder).free
        if needed > free:
            raise no_room(self._hub, self._name, needed, free)

    def _fetch(self, file: RemoteFile) -> None:
        """Downloads one file into the snapshot."""
        if self._cached.holds(self._commit, file.name, file.size):
            return
        repository = self._name.repository
        location = self._hub.locate(repository, self._commit, file.name)
        blob, part = self._cached.blob(location.etag), self._cached.part(location.etag)
        self._blobs[file.name] = blob, part
        blob.parent.mkdir(parents=True, exist_ok=True)
        with self._hub.lock(repository, location.etag):
            self._make_whole(file, location, blob, part)
        self._hub.link(repository, self._commit, file.name)

    def _make_whole(self, file: RemoteFile, location: Location, blob: Path, part: Path) -> None:
        """Downloads the blob of a file unless it exists; the caller holds its lock."""
        if self._cached.holds(self._commit, file.name, file.size):
            # Another process downloaded it meanwhile.
            return
        # The library would take a truncated file for the whole one.
        (self._cached.snapshot(self._commit) / file.name).unlink(missing_ok=True)
        size = location.size if file.size is None else file.size
        if not blob.is_file() or size not in (None, _size_of(blob)):
            self._complete(file, location, part, size)
            os.replace(part, blob)

    def _complete(self, file: RemoteFile, location: Location, part: Path, size: int | None) -> None:
        """Resumes a file until it is complete and its hash is right."""
        num_vain_tries = 0
        while True:
            begin = _size_of(part)
            if size is not None and begin > size:
                part.unlink()
                begin = 0
            try:
                self._copy(location, part, begin, size)
                if size is not None and _size_of(part) < size:
                    raise CutError(self._hub.server_of(location.address))
                self._verify(file, part)
            except DamagedError:
                # An earlier attempt may have written the damaged bytes: start again once.
                part.unlink(missing_ok=True)
                if begin == 0:
                    raise
            except self._hub.network_errors:
                num_vain_tries = 0 if _size_of(part) > begin else num_vain_tries + 1
                if num_vain_tries == _MAX_VAIN_TRIES:
                    raise
                # Signed addresses expire.
                location = self._hub.locate(self._name.repository, self._commit, file.name)
            else:
                return

    def _copy(self, location: Location, part: Path, begin: int, size: int | None) -> None:
        if size is not None and begin == size:
            part.touch()
            return
        target = _Part(part, self._aside)
        try:
            self._hub.copy(location, target, begin=begin, size=size)
        finally:
            target.close()

    def _verify(self, file: RemoteFile, part: Path) -> None:
        found = _size_of(part)
        if file.size not in (None, found):
            raise DamagedError(f"`{file.name}` has {found} bytes, the repository says {file.size}")
        if file.sha256 is not None:
            self._compare(file.name, part, hashlib.sha256(), file.sha256)
        elif file.git_sha1 is not None:
            # How git hashes a file: https://git-scm.com/book/en/v2/Git-Internals-Git-Objects
            begun = hashlib.sha1(b"blob %d\0" % found, usedforsecurity=False)
            self._compare(file.name, part, begun, file.git_sha1)

    def _compare(self, name: str, part: Path, begun: Any, expected: str) -> None:
        with part.open("rb") as opened:
            while block := opened.read(_BLOCK_BYTES):
                self._aside.go_on()
                begun.update(block)
        if begun.hexdigest() != expected:
            raise DamagedError(
                f"`{name}` has the {begun.name} {begun.hexdigest()[:12]}…, the repository says {expected[:12]}…"
            )


class _Part(io.BufferedWriter):
    """A file that is being written. Its errors are errors of the disk, not of the network."""

    def __init__(self, path: Path, aside: Aside) -> None:
        try:
            super().__init__(io.FileIO(path, "ab"))
        except OSError as error:
            raise NotWrittenError from error
        self._aside = aside

    def write(self, block: Any) -> int:
        self._aside.go_on()
        try:
            return super().write(block)
        except OSError as error:
            raise NotWrittenError from error

    def close(self) -> None:
        try:
            super().close()
        except OSError as error:
            raise NotWrittenError from error


def _size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
