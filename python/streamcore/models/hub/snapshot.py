"""What the cache holds of one repository, in the layout of huggingface_hub, which programs share.

    models--org--name/refs/main                   the commit of a branch or a tag
    models--org--name/blobs/ETAG                  the content of a file
    models--org--name/blobs/ETAG.incomplete       the part of it that has been downloaded
    models--org--name/snapshots/COMMIT/           the files of a commit: links to blobs
    models--org--name/.streamcore/COMMIT.json     the files that streamcore needs, and their sizes

The last is ours. Without it an interrupted download of another program can look complete.
"""

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from streamcore.models.hub.selection import missing_files

_COMMIT = re.compile(r"[0-9a-f]{40}")
_BRANCH = "main"

Sizes = Mapping[str, int | None]
"""Sizes of files by their names, in bytes; None: not known."""


class CachedRepository:
    """The part of the cache that belongs to one repository.

    Args:
        storage: its folder, which need not exist.
        revision: a branch, a tag or a commit; None: the branch `main`.
    """

    def __init__(self, storage: Path, revision: str | None) -> None:
        self._storage = storage
        self.revision = revision or _BRANCH

    def commit(self) -> str | None:
        """Finds the commit that the cache has for the revision; None: it has no file of one."""
        commit = self.revision
        if not _COMMIT.fullmatch(commit):
            try:
                commit = (self._storage / "refs" / self.revision).read_text().strip()
            except (OSError, UnicodeDecodeError):
                return None
        return commit if _COMMIT.fullmatch(commit) and self.snapshot(commit).is_dir() else None

    def keep_commit(self, commit: str) -> None:
        """Notes which commit the revision is; a read-only cache may hold all files even so."""
        if self.revision == commit:
            return
        path = self._storage / "refs" / self.revision
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(commit)

    def snapshot(self, commit: str) -> Path:
        """The folder of a commit; it need not exist."""
        return self._storage / "snapshots" / commit

    def blob(self, etag: str) -> Path:
        """The path of a file's content; it need not exist."""
        return self._storage / "blobs" / etag

    def part(self, etag: str) -> Path:
        """The path of a file that is being downloaded."""
        return self._storage / "blobs" / f"{etag}.incomplete"

    def needed(self, commit: str) -> Sizes | None:
        """Reads which files of a commit are needed; None: that was never noted."""
        try:
            sizes = json.loads(self._note(commit).read_text())
        except (OSError, ValueError, RecursionError):
            return None
        is_read = isinstance(sizes, dict) and all(type(size) in (int, type(None)) for size in sizes.values())
        return sizes if is_read else None

    def keep_needed(self, commit: str, sizes: Sizes) -> None:
        """Notes which files of a commit are needed; with a read-only cache the hub is asked again
        at each start.
        """
        note = self._note(commit)
        with suppress(OSError):
            note.parent.mkdir(parents=True, exist_ok=True)
            note.write_text(json.dumps(sizes))

    def _note(self, commit: str) -> Path:
        return self._storage / ".streamcore" / f"{commit}.json"

    def missing(self, commit: str) -> list[str]:
        """Lists the needed files that the snapshot lacks, as far as that is known."""
        sizes = self.needed(commit)
        if sizes is None:
            return missing_files(self.snapshot(commit))
        return [name for name, size in sizes.items() if not self.holds(commit, name, size)]

    def holds(self, commit: str, name: str, size: int | None) -> bool:
        """Whether a snapshot holds a file in full length."""
        try:
            found = (self.snapshot(commit) / name).stat().st_size
        except (OSError, ValueError):
            return False
        return size is None or found == size
