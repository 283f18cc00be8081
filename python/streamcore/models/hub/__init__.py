"""Models by name: from a path, or a name such as `org/name@revision`, to a folder.

A folder that exists wins. Otherwise the repository is looked for in the Hugging Face cache, and
files that the cache lacks are downloaded. `huggingface_hub` is imported only then.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from streamcore.errors import ModelLoadError
from streamcore.models.hub.aside import Aside
from streamcore.models.hub.download import Download
from streamcore.models.hub.library import Hub, Listing, RemoteFile
from streamcore.models.hub.name import RepositoryName, parse_name
from streamcore.models.hub.refusals import explain, listed, offline, page_of
from streamcore.models.hub.selection import (
    CONFIG,
    is_split,
    refuse_other_kinds,
    small_files,
    weights_of,
)
from streamcore.models.hub.snapshot import CachedRepository
from streamcore.models.progress import Progress
from streamcore.models.tensor_files import INDEX, FileError

__all__ = ["FoundModel", "Reporter", "find_config", "find_model"]


@dataclass(frozen=True, slots=True)
class FoundModel:
    """The folder of a model, and how it was named."""

    path: Path
    repository: RepositoryName | None = None
    """None: by its path."""


def _ignore(*_: object) -> None:
    pass


@dataclass(frozen=True, slots=True)
class Reporter:
    """How a search reports what it does."""

    inform: Callable[[str], None] = _ignore
    """Logs a line."""
    warn: Callable[[str], None] = _ignore
    """Logs a warning."""
    progress: Progress = _ignore
    """Shows how far the download has come."""
    end_progress: Callable[[], None] = _ignore
    """Called once a download has succeeded or failed."""
    check: Callable[[], None] = _ignore
    """Called ten times a second; an exception from it ends the search."""


_SILENT = Reporter()


def find_model(model: Path, reporter: Reporter = _SILENT) -> FoundModel:
    """Finds the folder of a model by its path or its name, and downloads what is missing.

    A path that does not exist is returned as it is: `check_model_folder` refuses it.

    Raises:
        ConfigError: `huggingface_hub` is missing, or its settings make no sense.
        ModelLoadError: the repository cannot be had.
    """
    name = None if os.path.lexists(model) else parse_name(model)
    if name is None:
        return FoundModel(model)
    return FoundModel(_Search(name, reporter).run(), name)


def find_config(model: Path, reporter: Reporter = _SILENT) -> Path:
    """Finds a folder like `find_model`, but downloads config.json alone."""
    name = None if os.path.lexists(model) else parse_name(model)
    return model if name is None else _Search(name, reporter, only_config=True).run()


class _Search:
    """The search for one repository."""

    def __init__(self, name: RepositoryName, reporter: Reporter, *, only_config: bool = False) -> None:
        self._name = name
        self._reporter = reporter
        self._only_config = only_config
        self._hub = Hub(f"{name}, which is no folder here,")
        self._cached = CachedRepository(self._hub.storage(name.repository), name.revision)
        self._show: Callable[[], None] = _ignore
        self._aside = Aside(self._tick)

    def _tick(self) -> None:
        self._reporter.check()
        self._show()

    def run(self) -> Path:
        """Returns the snapshot of the repository, with every file that is needed."""
        commit = self._cached.commit()
        missing = None if commit is None else self._missing(commit)
        is_certain = commit is not None and (self._only_config or self._cached.needed(commit) is not None)
        if commit is not None and not missing and (is_certain or self._hub.is_offline):
            return self._found(commit)
        if self._hub.is_offline:
            raise offline(self._hub, self._name, missing)
        try:
            with self._hub.silence():
                return self._complete(commit)
        except Exception as error:
            explained = explain(error, self._hub, self._name)
            if explained is None:
                raise
            if commit is not None and not missing:
                self._reporter.warn(f"{explained}; {self._name} is served as it is in the cache")
                return self._found(commit)
            raise explained from error

    def _missing(self, commit: str) -> list[str]:
        if self._only_config:
            return [] if self._cached.holds(commit, CONFIG, None) else [CONFIG]
        return self._cached.missing(commit)

    def _found(self, commit: str) -> Path:
        snapshot = self._cached.snapshot(commit)
        self._reporter.inform(f"model {self._name} is commit {commit[:12]} in the cache {self._hub.cache}")
        return snapshot

    def _complete(self, commit: str | None) -> Path:
        """Downloads what the cache lacks, of the commit that it holds already if there is one."""
        if commit is None:
            self._reporter.inform(
                f"no folder {self._name}: looking for the repository of that name at {self._hub.address}"
            )
        try:
            listing = self._list(commit or self._cached.revision)
        except self._hub.errors.RevisionNotFoundError:
            # The branch was rewritten, and the commit in the cache exists no more.
            listing = self._list(self._cached.revision)
        if not (self._only_config and CONFIG in listing.files):
            refuse_other_kinds(self._name, listing.files.keys(), page_of(self._hub, self._name))
        self._cached.keep_commit(listing.commit)
        download = Download(self._hub, self._name, self._cached, listing.commit, self._aside)
        if self._only_config:
            download.fetch([listing.files[CONFIG]])
            return self._found(listing.commit)
        if is_split(listing.files.keys()):
            download.fetch([listing.files[INDEX]])
        files = self._wanted(listing)
        # Written before the download, so that the files an interrupted one lacks are known.
        self._cached.keep_needed(listing.commit, {file.name: file.size for file in files})
        self._fetch(download, listing.commit, files)
        return self._found(listing.commit)

    def _list(self, revision: str) -> Listing:
        listings: list[Listing] = []

        def ask() -> None:
            listings.append(self._hub.list_files(self._name.repository, revision))

        Aside(self._tick).run([ask])
        return listings[0]

    def _wanted(self, listing: Listing) -> list[RemoteFile]:
        names = listing.files.keys()
        try:
            weights = weights_of(names, self._cached.snapshot(listing.commit))
        except FileError as problem:
            raise ModelLoadError(f"repository {self._name} cannot be served: {problem}") from problem
        if absent := [name for name in weights if name not in names]:
            raise ModelLoadError(
                f"repository {self._name} lacks {listed(absent)}, which its {INDEX} names",
                f"see {page_of(self._hub, self._name)}",
            )
        return [listing.files[name] for name in [*small_files(names), *weights]]

    def _fetch(self, download: Download, commit: str, files: list[RemoteFile]) -> None:
        absent = [file for file in files if not self._cached.holds(commit, file.name, file.size)]
        if not absent:
            return
        total = sum(file.size or 0 for file in absent)
        self._reporter.inform(
            f"downloading {len(absent)} files of {self._name}, {total / 1e9:.2f} GB, to {self._hub.cache}"
        )

        def show() -> None:
            # A file of unknown size adds nothing to the total.
            self._reporter.progress(min(download.num_bytes(absent), total), total or 1)

        self._show = show
        try:
            download.fetch(absent)
            show()
        finally:
            self._reporter.end_progress()
