"""Turns failures into one sentence each, with the address to visit."""

import errno
import re
from pathlib import Path

from streamcore.errors import ModelLoadError
from streamcore.models.hub.library import CutError, Hub, LibraryError, NotAHubError, without_user
from streamcore.models.hub.name import RepositoryName, near_model

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_INVALID_TOKEN = "Invalid credentials in Authorization header"


class NotWrittenError(Exception):
    """A file of the cache could not be written; its cause says why."""


class DamagedError(Exception):
    """A file is not the one that the repository holds."""


def page_of(hub: Hub, name: RepositoryName) -> str:
    """The address of a repository, for people."""
    return f"{hub.address}/{name.repository}"


def explain(error: BaseException, hub: Hub, name: RepositoryName) -> ModelLoadError | None:
    """Explains an exception of the library or the system; returns None for a bug.

    The library's own words are avoided where possible: they may contain signed addresses.
    """
    if isinstance(error, ModelLoadError):
        return error
    if isinstance(error, NotWrittenError):
        return _not_written(error.__cause__, hub, name)
    if isinstance(error, DamagedError):
        hint = f"try again; if that does not help, see {page_of(hub, name)}"
        return ModelLoadError(f"download of {name} is damaged: {error}", hint)
    if isinstance(error, LibraryError):
        return ModelLoadError(f"huggingface_hub cannot download {name}: {_first_line(error, hub)}")
    if isinstance(error, NotAHubError):
        hint = "see whether `HF_ENDPOINT` is right, and whether a proxy asks for something"
        return ModelLoadError(f"{hub.address} does not answer as a Hugging Face Hub does", hint)
    if isinstance(error, hub.errors.HfHubHTTPError):
        return _answered(error, hub, name)
    if isinstance(error, OSError) and error.errno is not None and not isinstance(error, ConnectionError):
        # Errors of an HTTP library have no number.
        return _not_written(error, hub, name)
    if isinstance(error, CutError):
        return _not_reached(error.__cause__ or error, error.server, hub, name)
    if isinstance(error, hub.network_errors):
        return _not_reached(error, hub.address, hub, name)
    return None


def offline(hub: Hub, name: RepositoryName, missing: list[str] | None) -> ModelLoadError:
    """Makes the error for a repository that the cache lacks, or holds in part, while offline."""
    hint = "unset `HF_HUB_OFFLINE` to have it downloaded"
    if missing is None:
        hint = _or_near_model(name, hint)
        return ModelLoadError(
            f"there is no folder {name}, no {name} in the cache {hub.cache}, and `HF_HUB_OFFLINE` is set",
            hint,
        )
    return ModelLoadError(
        f"{name} is not whole in the cache {hub.cache}, which lacks {listed(missing)}, and `HF_HUB_OFFLINE` is set",
        hint,
    )


def listed(names: list[str]) -> str:
    """Lists up to three names of files in a sentence."""
    shown = ", ".join(f"`{name}`" for name in names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"


def no_room(hub: Hub, name: RepositoryName, needed: int, free: int) -> ModelLoadError:
    """Makes the error for a disk that is too small."""
    return ModelLoadError(
        f"{name} needs {needed / 1e9:.2f} GB, the disk of the cache {hub.cache} has {free / 1e9:.2f} GB left",
        "make room, or set `HF_HUB_CACHE` to a folder on another disk",
    )


def _not_written(cause: BaseException | None, hub: Hub, name: RepositoryName) -> ModelLoadError:
    number = getattr(cause, "errno", None)
    reason = getattr(cause, "strerror", None) or cause
    if number in _NO_ROOM:
        hint = "make room and start again, which goes on where it ended, or set `HF_HUB_CACHE` to a folder on another disk"
    else:
        hint = "set `HF_HUB_CACHE` to a folder that can be written"
    return ModelLoadError(f"{name} cannot be written to the cache {hub.cache}: {reason}", hint)


def _answered(error: BaseException, hub: Hub, name: RepositoryName) -> ModelLoadError:
    page, errors = page_of(hub, name), hub.errors
    response = getattr(error, "response", None)
    status = getattr(response, "status_code", None)
    headers = getattr(response, "headers", {})
    server = hub.server_of(str(getattr(response, "url", hub.address)))
    if isinstance(error, errors.GatedRepoError):
        return _gated(hub, name)
    if isinstance(error, errors.RevisionNotFoundError):
        hint = f"{page}/tree/main lists its branches and tags"
        return ModelLoadError(
            f"repository {name.repository} has no revision `{name.revision or 'main'}`", hint
        )
    if isinstance(error, errors.DisabledRepoError):
        return ModelLoadError(f"repository {name.repository} is disabled", f"see {page}")
    if status == 401 and (hub.has_token and headers.get("X-Error-Message") == _INVALID_TOKEN):
        hint = f"make a new one at {hub.address}/settings/tokens, or unset `HF_TOKEN` (`hf auth logout` without it)"
        return ModelLoadError(
            f"{hub.address} does not know the token that `HF_TOKEN` or `hf auth login` gives", hint
        )
    if isinstance(error, errors.RepositoryNotFoundError):
        return _not_found(hub, name)
    if isinstance(error, errors.EntryNotFoundError):
        return ModelLoadError(f"a file of {name} has gone from {hub.address} meanwhile", f"see {page}")
    if status == 403:
        hint = f"see {page}, and what the token may do at {hub.address}/settings/tokens"
        return ModelLoadError(f"{server} forbids to read repository {name.repository}", hint)
    if status == 429:
        hint = "try again later" if hub.has_token else "try again later, or set `HF_TOKEN`, which allows more"
        return ModelLoadError(f"{server} has had too many requests from here", hint)
    return ModelLoadError(
        f"{server} answered {status} when it was asked for {name}", f"try again later, or see {page}"
    )


def _gated(hub: Hub, name: RepositoryName) -> ModelLoadError:
    page = page_of(hub, name)
    if hub.has_token:
        return ModelLoadError(
            f"repository {name.repository} is gated, and the account of the token is not among those that may read it",
            f"visit {page} with that account and ask for access",
        )
    return ModelLoadError(
        f"repository {name.repository} is gated: only accounts that have accepted its terms may read it",
        f"visit {page} and accept them, then set `HF_TOKEN` to a token from {hub.address}/settings/tokens",
    )


def _not_found(hub: Hub, name: RepositoryName) -> ModelLoadError:
    what = f"there is no folder {name.repository} and no repository of that name at {hub.address}"
    if hub.has_token:
        hint = _or_near_model(name, f"see {page_of(hub, name)}")
        return ModelLoadError(f"{what}, or the token may not read it", hint)
    hint = f"see {page_of(hub, name)}; for a private one set `HF_TOKEN` to a token from {hub.address}/settings/tokens"
    return ModelLoadError(f"{what}, or it is private", _or_near_model(name, hint))


def _or_near_model(name: RepositoryName, hint: str) -> str:
    """A hint, behind the folder that may have been meant."""
    near = near_model(Path(name.repository))
    return hint if near is None else f"did you mean the folder `{near}`? If not, {hint}"


def _not_reached(error: BaseException, server: str, hub: Hub, name: RepositoryName) -> ModelLoadError:
    return ModelLoadError(
        f"there is no folder {name}, and {server} cannot be reached to download it: {_first_line(error, hub)}",
        _or_near_model(name, "see whether the network and `HF_ENDPOINT` are right, or name a folder"),
    )


def _first_line(error: BaseException, hub: Hub) -> str:
    """The first line of a message, without secrets."""
    line = without_user(hub.without_token(str(error).strip().partition("\n")[0]))
    # The query of an address holds its signature.
    return re.sub(r"\?\S+", "?…", line) or type(error).__name__
