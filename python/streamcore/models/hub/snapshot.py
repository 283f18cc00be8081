"""What the cache holds of one repository. The layout is huggingface_hub's, and other programs share it:

    models--org--name/refs/main              the commit of a branch or a tag
    models--org--name/blobs/ETAG             the content of files, and of `ETAG.incomplete` what there is so far
    models--org--name/snapshots/COMMIT/      the files of a commit: links to blobs
    models--org--name/.streamcore/COMMIT     which files of a commit are needed, with their sizes

The last is ours. Without it an interrupted download of another program can look whole.
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
        """The commit that the revision was when it was last asked for; None: there is nothing of it."""
        commit = self.revision
        if not _COMMIT.fullmatch(commit):
            try:
                commit = (self._storage / "refs" / self.revision).read_text().strip()
            except (OSError, UnicodeDecodeError):
                return None
        return commit if _COMMIT.fullmatch(commit) and self.snapshot(commit).is_dir() else None

    def keep_commit(self, commit: str) -> None:
        """Notes which commit the revision is, unless the cache cannot be written: all that is needed may be there."""
        if self.revision == commit:
            return
        path = self._storage / "refs" / self.revision
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(commit)

    def snapshot(self, commit: str) -> Path:
        """The folder of a commit, which need not exist."""
        return self._storage / "snapshots" / commit

    def blob(self, etag: str) -> Path:
        """The content of a file, which need not exist."""
        return self._storage / "blobs" / etag

    def part(self, etag: str) -> Path:
        """What there is of the content of a file so far."""
        return self._storage / "blobs" / f"{etag}.incomplete"

    def needed(self, commit: str) -> Sizes | None:
        """Which files of a commit are needed; None: that was never noted."""
        try:
            sizes = json.loads(self._note(commit).read_text())
        except (OSError, ValueError, RecursionError):
            return None
        is_read = isinstance(sizes, dict) and all(type(size) in (int, type(None)) for size in sizes.values())
        return sizes if is_read else None

    def keep_needed(self, commit: str, sizes: Sizes) -> None:
        """Notes which files of a commit are needed; where the cache cannot be written, the hub is asked
        again at the next start.
        """
        note = self._note(commit)
        with suppress(OSError):
            note.parent.mkdir(parents=True, exist_ok=True)
            note.write_text(json.dumps(sizes))

    def _note(self, commit: str) -> Path:
        return self._storage / ".streamcore" / f"{commit}.json"

    def missing(self, commit: str) -> list[str]:
        """Which of the files that are needed the snapshot lacks, as far as that is known."""
        sizes = self.needed(commit)
        if sizes is None:
            return missing_files(self.snapshot(commit))
        return [name for name, size in sizes.items() if not self.holds(commit, name, size)]

    def holds(self, commit: str, name: str, size: int | None) -> bool:
        """Whether a file of a snapshot is there in its whole length."""
        try:
            found = (self.snapshot(commit) / name).stat().st_size
        except (OSError, ValueError):
            return False
        return size is None or found == size
