"""What the system's limits leave to this process: control groups, and `ulimit`.

Containers, services of systemd and jobs of batch systems are control groups. A group's limits hold
for the groups within it too, so every level counts, from the group of the process up to the topmost
that can be seen. Version 1 has a tree of groups for each controller, version 2 has one for all, and
a system may have both.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

UNLIMITED = 1 << 62
"""More than any machine has."""

_ROOT = Path("/")


def memory_left(root: Path = _ROOT) -> int:
    """Bytes that can still be allocated within every limit.

    Args:
        root: where `/proc` and `/sys` are.
    """
    groups = (_memory_left_in(group) for group in _groups(root, "memory"))
    return min([*groups, _address_space_left(root)])


def num_cpus(root: Path = _ROOT) -> float:
    """Processors whose time the quotas of the groups are worth.

    Args:
        root: where `/proc` and `/sys` are.
    """
    return min((_cpus_of(group) for group in _groups(root, "cpu")), default=UNLIMITED)


class _Group(NamedTuple):
    folder: Path
    is_version_1: bool

    def text(self, name: str) -> str:
        """The content of a file; nothing where there is none, since few groups have all of them."""
        return _text(self.folder / name)

    def number(self, name: str, otherwise: int = UNLIMITED) -> int:
        """The number in a file. No limit is `max`, or -1, or a number beyond all memory."""
        text = self.text(name).strip()
        return min(int(text), UNLIMITED) if text.isdecimal() else otherwise

    def statistic(self, name: str, otherwise: int) -> int:
        """One of the numbers in `memory.stat`."""
        match = re.search(rf"^{name} (\d+)$", self.text("memory.stat"), re.MULTILINE)
        return min(int(match[1]), UNLIMITED) if match else otherwise


def _memory_left_in(group: _Group) -> int:
    """Caches of files give way, so they do not count as used."""
    if group.is_version_1:
        # The second is what groups above allow, which a container may not see.
        limit = min(
            group.number("memory.limit_in_bytes"), group.statistic("hierarchical_memory_limit", UNLIMITED)
        )
        used, cached = group.number("memory.usage_in_bytes", 0), group.statistic("total_inactive_file", 0)
    else:
        # Beyond the second a group is slowed down until it gives memory back, which a model never
        # does.
        limit = min(group.number("memory.max"), group.number("memory.high"))
        used, cached = group.number("memory.current", 0), group.statistic("inactive_file", 0)
    return max(limit - max(used - cached, 0), 0)


def _cpus_of(group: _Group) -> float:
    if group.is_version_1:
        quota, period = group.number("cpu.cfs_quota_us"), group.number("cpu.cfs_period_us")
        return quota / period if quota < UNLIMITED and 0 < period < UNLIMITED else UNLIMITED
    match = re.fullmatch(r"(\d+) ([1-9]\d*)", group.text("cpu.max").strip())
    return int(match[1]) / int(match[2]) if match else UNLIMITED


def _groups(root: Path, controller: str) -> Iterator[_Group]:
    """Lists the groups of this process that limit one resource, from its own to the topmost that
    can be seen.
    """
    own: dict[str, str] = {}
    for line in _text(root / "proc/self/cgroup").splitlines():
        # Version 2 names no controller.
        _, controllers, path = line.split(":", 2)
        own |= dict.fromkeys(controllers.split(","), path)
    for line in _text(root / "proc/self/mountinfo").splitlines():
        mount, _, source = line.partition(" - ")
        _, _, _, top, point, *_ = mount.split(" ")
        kind, _, options = source.split(" ", 2)
        is_version_1 = kind == "cgroup" and controller in options.split(",")
        name = controller if is_version_1 else ""
        if (is_version_1 or kind == "cgroup2") and name in own:
            place, inside = root / _unescaped(point).lstrip("/"), _within(own[name], _unescaped(top))
            yield from (_Group(place / part, is_version_1) for part in (inside, *inside.parents))


def _within(group: str, top: str) -> PurePosixPath:
    """Where a group is below the top of what is mounted; the top itself if it is elsewhere, behind
    another namespace.
    """
    path = PurePosixPath(group)
    if ".." in path.parts or not path.is_relative_to(top):
        return PurePosixPath()
    return path.relative_to(top)


def _unescaped(path: str) -> str:
    """A path in `mountinfo`, where a space is `\\040`."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), path)


def _address_space_left(root: Path) -> int:
    """What `ulimit -v` and `ulimit -d` leave."""
    if sys.platform == "win32":
        return UNLIMITED
    import resource

    status = _text(root / "proc/self/status")
    left = [UNLIMITED]
    for kind, name in ((resource.RLIMIT_AS, "VmSize"), (resource.RLIMIT_DATA, "VmData")):
        limit, _ = resource.getrlimit(kind)
        used = re.search(rf"^{name}:\s+(\d+) kB$", status, re.MULTILINE)
        if limit != resource.RLIM_INFINITY and used is not None:
            left.append(max(limit - int(used[1]) * 1024, 0))
    return min(left)


def _text(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:
        return ""
