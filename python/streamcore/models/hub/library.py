"""The one place that knows `huggingface_hub`.

The library reads the variables of the environment (`HF_HOME`, `HF_HUB_CACHE`, `HF_ENDPOINT`,
`HF_TOKEN`, `HF_HUB_OFFLINE` and others), makes the requests, and keeps the layout and the locks of
the cache. Its present release discards a file that was interrupted, so that `download.py` writes
the bytes itself.
"""

import logging
import os
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit

from streamcore import _core
from streamcore.errors import ConfigError

LOWEST = (0, 34)
"""The lowest release of huggingface_hub that is tested."""
REQUIREMENT = "huggingface_hub>={}.{}".format(*LOWEST)

_US: Mapping[str, Any] = {"library_name": "streamcore", "library_version": _core.__version__}
_COMMIT = re.compile(r"[0-9a-f]{40}")
# It becomes the name of a file.
_ETAG = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,199}")


# Several threads may load models, and the library has one log and one switch for all of them.
_SILENCE = threading.Lock()
_num_silences = 0
_before: list[tuple[int, bool]] = []


class CutError(ConnectionError):
    """The server of a file cannot be reached, or its answer broke off; the cause says why."""

    def __init__(self, server: str) -> None:
        super().__init__(f"{server} has broken off")
        self.server = server


class LibraryError(Exception):
    """The library refuses a call."""


class NotAHubError(Exception):
    """The server does not answer as a Hugging Face Hub does."""


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file as the hub lists it; None: not listed."""

    name: str
    size: int | None
    sha256: str | None
    """Of a file that is stored outside git."""
    git_sha1: str | None
    """Of any other file: the hash by which git knows it."""


@dataclass(frozen=True, slots=True)
class Listing:
    """The files of one commit of a repository."""

    commit: str
    files: Mapping[str, RemoteFile]


@dataclass(frozen=True, slots=True)
class Location:
    """Where the bytes of a file are; the address may expire."""

    address: str
    headers: Mapping[str, str]
    """Headers that a request for them must have."""
    etag: str
    """Its name among the blobs of the cache."""
    size: int | None


class Hub:
    """A hub and the cache in front of it.

    Args:
        wanted: what needs the library, for the message where that is missing.

    Raises:
        ConfigError: `huggingface_hub` is missing or too old, or a variable of the environment
            makes no sense.
    """

    def __init__(self, wanted: str) -> None:
        _check_address(os.environ.get("HF_ENDPOINT"))
        library = _import_library(wanted)
        self._library = library
        self._endpoint: str = library.constants.ENDPOINT
        self.address = without_user(self._endpoint)
        """What messages call it."""
        self.cache = Path(library.constants.HF_HUB_CACHE)
        self.is_offline = bool(library.constants.HF_HUB_OFFLINE)
        self.network_errors: tuple[type[Exception], ...] = (
            OSError,
            # The base class of the HTTP library, which differs from release to release.
            library.errors.HfHubHTTPError.__bases__[0],
        )

    @property
    def errors(self) -> Any:
        """The library's module of errors."""
        return self._library.errors

    @cached_property
    def _headers(self) -> Mapping[str, str]:
        """The headers of every request, with the token if there is one.

        Made when the hub is asked anyway: the library may send a request to make them.
        """
        headers: Mapping[str, str] = self._library.utils.build_hf_headers(**_US)
        if re.search(r"[^\x20-\x7e]", headers.get("authorization", "")):
            raise ConfigError(
                "the token in `HF_TOKEN` has a character in it that no header can carry",
                "copy it again; a token begins with hf_",
            )
        return headers

    @property
    def has_token(self) -> bool:
        """Whether requests carry a token."""
        return "authorization" in self._headers

    def without_token(self, text: str) -> str:
        """Replaces the token in a text."""
        token = self._headers.get("authorization", "").removeprefix("Bearer ")
        return text.replace(token, "<token>") if token else text

    def server_of(self, address: str) -> str:
        """Names the server of an address: the hub, or the one where it keeps large files."""
        is_hub = address.startswith(self._endpoint)
        return self.address if is_hub else without_user("://".join(_origin(address)))

    def storage(self, repository: str) -> Path:
        """The folder of a repository in the cache."""
        return self.cache / ("models--" + repository.replace("/", "--"))

    def list_files(self, repository: str, revision: str) -> Listing:
        """Lists the files of a revision.

        Raises:
            NotAHubError: the answer is not a list of files.
            Exception: see `refusals.explain`.
        """
        # A token that no header can carry is refused here, in words that do not show it.
        _ = self._headers
        api = self._library.HfApi(endpoint=self._endpoint, **_US)
        timeout_s = self._library.constants.HF_HUB_ETAG_TIMEOUT
        try:
            info = api.model_info(repository, revision=revision, files_metadata=True, timeout=timeout_s)
            files = [_remote_file(sibling) for sibling in info.siblings]
            is_read = all(isinstance(file.name, str) for file in files)
        except self.errors.HfHubHTTPError:
            raise
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise NotAHubError from error
        if not is_read or not isinstance(info.sha, str) or _COMMIT.fullmatch(info.sha) is None:
            raise NotAHubError
        return Listing(info.sha, {file.name: file for file in files})

    def locate(self, repository: str, commit: str, name: str) -> Location:
        """Finds out where the bytes of a file are.

        Raises:
            NotAHubError: the answer lacks the headers of a hub.
            Exception: see `refusals.explain`.
        """
        library = self._library
        url = library.hf_hub_url(repository, name, revision=commit, endpoint=self._endpoint)
        timeout_s = library.constants.HF_HUB_ETAG_TIMEOUT
        found = library.get_hf_file_metadata(url, timeout=timeout_s, endpoint=self._endpoint, **_US)
        if found.commit_hash is None or found.etag is None or _ETAG.fullmatch(found.etag) is None:
            raise NotAHubError
        # A compressed answer could not be resumed.
        headers = {**self._headers, "Accept-Encoding": "identity"}
        if _origin(found.location) != _origin(self._endpoint):
            headers.pop("authorization", None)
        return Location(found.location, headers, found.etag, found.size)

    def copy(self, location: Location, target: BinaryIO, *, begin: int, size: int | None) -> None:
        """Appends the bytes of a remote file, from `begin` on, to a local one.

        Raises:
            Exception: see `refusals.explain`.
        """
        from huggingface_hub.file_download import http_get

        # The library refuses a larger size unseen.
        largest: int = self._library.constants.MAX_HTTP_DOWNLOAD_SIZE
        expected = None if size is None or size > largest else size
        headers = dict(location.headers)
        try:
            http_get(location.address, target, resume_size=begin, headers=headers, expected_size=expected)
        except self.network_errors as error:
            if isinstance(error, self.errors.HfHubHTTPError):
                raise
            raise CutError(self.server_of(location.address)) from error
        except (ValueError, RuntimeError) as error:
            raise LibraryError(str(error)) from error

    def link(self, repository: str, commit: str, name: str) -> None:
        """Links a blob of the cache into the snapshot of a commit."""
        self._library.hf_hub_download(
            repository, name, revision=commit, cache_dir=self.cache, endpoint=self._endpoint, **_US
        )

    def lock(self, repository: str, etag: str) -> AbstractContextManager[object]:
        """The lock of a blob, which other users of the library respect."""
        path = self.cache / ".locks" / self.storage(repository).name / f"{etag}.lock"
        path.parent.mkdir(parents=True, exist_ok=True)
        lock: AbstractContextManager[object] = self._library.utils.WeakFileLock(path)
        return lock

    @contextmanager
    def silence(self) -> Iterator[None]:
        """Keeps the library's log and progress bars away from standard error."""
        global _num_silences
        logger = logging.getLogger("huggingface_hub")
        with _SILENCE:
            _num_silences += 1
            if _num_silences == 1:
                _before.append((logger.level, self._show_bars(False)))
                logger.setLevel(logging.CRITICAL + 1)
        try:
            yield
        finally:
            with _SILENCE:
                _num_silences -= 1
                if _num_silences == 0:
                    level, were_shown = _before.pop()
                    logger.setLevel(level)
                    self._show_bars(were_shown)

    def _show_bars(self, is_shown: bool) -> bool:
        """Switches the library's progress bars; returns whether they were shown."""
        utils, constants = self._library.utils, self._library.constants
        were_shown = not utils.are_progress_bars_disabled()
        # The environment's choice would prevail, with a warning.
        if constants.HF_HUB_DISABLE_PROGRESS_BARS is None:
            (utils.enable_progress_bars if is_shown else utils.disable_progress_bars)()
        return were_shown


def _import_library(wanted: str) -> Any:
    hint = f"`pip install '{REQUIREMENT}'`, or name a folder"
    try:
        import huggingface_hub

        # Modules that were imported later would set up the library's log again.
        from huggingface_hub import constants, errors, file_download, hf_api, utils  # noqa: F401
        from huggingface_hub.utils import logging  # noqa: F401
    except ModuleNotFoundError as error:
        raise ConfigError(f"{wanted} needs {error.name}, which is not installed", hint) from error
    except ImportError as error:
        raise ConfigError(
            f"{wanted} needs huggingface_hub, which cannot be imported: {error}", hint
        ) from error
    except ValueError as error:
        raise ConfigError(
            f"a variable of the environment that begins with `HF_` makes no sense: {error}"
        ) from error
    release = re.match(r"(\d+)\.(\d+)", huggingface_hub.__version__)
    if release is not None and (int(release[1]), int(release[2])) < LOWEST:
        raise ConfigError(f"{wanted} needs {REQUIREMENT}, there is {huggingface_hub.__version__}", hint)
    return huggingface_hub


def _remote_file(sibling: Any) -> RemoteFile:
    lfs = sibling.lfs
    return RemoteFile(
        name=sibling.rfilename,
        size=sibling.size,
        sha256=None if lfs is None else lfs.sha256,
        git_sha1=None if lfs is not None else sibling.blob_id,
    )


def _check_address(text: str | None) -> None:
    """Refuses a `HF_ENDPOINT` that is no address; the library takes anything."""
    if text is None:
        return
    try:
        parts = urlsplit(text)
        if parts.scheme in ("http", "https") and parts.hostname and (parts.port or 1) > 0:
            return
    except ValueError:
        pass
    shown = without_user(text)
    raise ConfigError(f"`HF_ENDPOINT` is `{shown}`, it must be like https://huggingface.co")


def without_user(text: str) -> str:
    """Removes names and passwords from the addresses in a text."""
    return re.sub(r"//[^/@\s]*@", "//", text)


def _origin(address: str) -> tuple[str, str]:
    parts = urlsplit(address)
    return parts.scheme, parts.netloc
