"""If one of these fails, the server plans more memory than its container has, and the system kills it under load."""

import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from streamcore.runner.resource_limits import UNLIMITED, memory_left, num_cpus

GIB = 1 << 30
NO_LIMIT_V1 = "9223372036854771712"
V2 = "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw"


@dataclass
class System:
    """A tree of the files that a kernel shows."""

    root: Path
    mounts: list[str] = field(default_factory=list)

    def group(self, folder: str, **files: str) -> None:
        """Write the files of a group; two underscores in a name stand for a point."""
        place = self.root / folder
        place.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (place / name.replace("__", ".")).write_text(content + "\n")

    def process(self, own: str, *mounts: str) -> None:
        """Write what the kernel says of the process."""
        place = self.root / "proc/self"
        place.mkdir(parents=True, exist_ok=True)
        (place / "cgroup").write_text(own)
        (place / "mountinfo").write_text("".join(f"{mount}\n" for mount in mounts))


@pytest.fixture
def system(tmp_path: Path) -> System:
    return System(tmp_path)


def test_without_groups_there_is_no_limit(system: System) -> None:
    """macOS, and a system whose /proc is hidden, must not look like one without memory."""
    assert (memory_left(system.root), num_cpus(system.root)) == (UNLIMITED, UNLIMITED)


def test_container_of_version_2(system: System) -> None:
    """Docker and Kubernetes today: the group is mounted as if it were the root. The page cache gives way."""
    system.process("0::/\n", V2)
    system.group("sys/fs/cgroup", memory__max="3000", memory__high="max", cpu__max="250000 100000")
    system.group("sys/fs/cgroup", memory__current="1500", memory__stat="anon 500\ninactive_file 400")
    assert (memory_left(system.root), num_cpus(system.root)) == (1900, 2.5)
    system.group("sys/fs/cgroup", memory__max="max", cpu__max="max 100000")
    assert num_cpus(system.root) == UNLIMITED
    assert memory_left(system.root) > GIB << 20


@pytest.mark.parametrize("level", ["", "system.slice", "system.slice/llm.service"])
@pytest.mark.parametrize("limit", ["memory__max", "memory__high"])
def test_least_of_all_levels_counts(system: System, level: str, limit: str) -> None:
    """A unit with `MemoryMax=`, its slice, or the whole machine's may be what is full first."""
    system.process("0::/system.slice/llm.service\n", V2)
    for folder in ("", "system.slice", "system.slice/llm.service"):
        place = f"sys/fs/cgroup/{folder}"
        system.group(place, memory__max=str(8 * GIB), memory__current="1000", cpu__max="800000 100000")
    system.group(f"sys/fs/cgroup/{level}", **{limit: "5000"}, cpu__max="150000 100000")
    assert (memory_left(system.root), num_cpus(system.root)) == (4000, 1.5)


def test_groups_beside_the_own_do_not_count(system: System) -> None:
    """A neighbour's limit, and that of a group within ours that is not ours, are not for this process."""
    system.process("0::/a\n", V2)
    system.group("sys/fs/cgroup/a", memory__max="9000")
    for folder in ("b", "a/within"):
        system.group(f"sys/fs/cgroup/{folder}", memory__max="10", cpu__max="1000 100000")
    assert (memory_left(system.root), num_cpus(system.root)) == (9000, UNLIMITED)


def v1(controller: str, top: str = "/", folder: str = "") -> str:
    place = folder or f"/sys/fs/cgroup/{controller}"
    return f"35 31 0:32 {top} {place} rw,relatime shared:9 master:2 - cgroup cgroup rw,{controller}"


def test_version_1(system: System) -> None:
    """Old clusters: a tree for each controller, limits of which -1 and 2^63 are none."""
    own = "4:memory:/job_1\n3:cpu,cpuacct:/job_1/step\n0::/\n"
    system.process(own, v1("memory"), v1("cpu,cpuacct"))
    memory, cpu = "sys/fs/cgroup/memory", "sys/fs/cgroup/cpu,cpuacct"
    system.group(memory, memory__limit_in_bytes=NO_LIMIT_V1, memory__usage_in_bytes="77777")
    system.group(f"{memory}/job_1", memory__limit_in_bytes="6000", memory__usage_in_bytes="2000")
    system.group(f"{memory}/job_1", memory__stat="inactive_file 1\ntotal_inactive_file 500")
    system.group(f"{cpu}/job_1", cpu__cfs_quota_us="300000", cpu__cfs_period_us="100000")
    system.group(f"{cpu}/job_1/step", cpu__cfs_quota_us="-1", cpu__cfs_period_us="100000")
    assert (memory_left(system.root), num_cpus(system.root)) == (4500, 3)


def test_version_1_in_a_container(system: System) -> None:
    """The host's path of the group is named, only the group itself is mounted; what is above it shows in its statistics."""
    system.process("4:memory:/docker/abc\n", v1("memory", top="/docker/abc"))
    system.group(
        "sys/fs/cgroup/memory",
        memory__limit_in_bytes=NO_LIMIT_V1,
        memory__usage_in_bytes="1000",
        memory__stat="hierarchical_memory_limit 7000",
    )
    assert memory_left(system.root) == 6000


def test_hybrid_system(system: System) -> None:
    """Version 2 is mounted beside the trees of version 1, and has no memory to give."""
    mounts = (v1("memory"), "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw")
    system.process("4:memory:/job\n1:name=systemd:/other\n0::/other\n", *mounts)
    system.group("sys/fs/cgroup/unified/other", cgroup__procs="1")
    system.group("sys/fs/cgroup/memory/job", memory__limit_in_bytes="5000", memory__usage_in_bytes="1")
    assert memory_left(system.root) == 4999


@pytest.mark.parametrize("own", ["/../elsewhere", "/gone/from/here", "/"])
def test_group_that_cannot_be_seen(system: System, own: str) -> None:
    """A namespace shows paths from elsewhere; the part that is mounted still holds for this process."""
    system.process(f"0::{own}\n", V2)
    system.group("sys/fs/cgroup", memory__max="5000", memory__current="1000")
    system.group("sys/fs/elsewhere", memory__max="1")
    assert memory_left(system.root) == 4000


def test_place_with_a_space(system: System) -> None:
    """The kernel writes a space as `\\040`."""
    system.process("0::/\n", V2.replace("/sys/fs/cgroup", "/sys/my\\040groups"))
    system.group("sys/my groups", memory__max="5000")
    assert memory_left(system.root) == 5000


@pytest.mark.skipif(sys.platform != "linux", reason="`ulimit -v` is not obeyed elsewhere")
@pytest.mark.parametrize("option", ["-v", "-d"])
def test_ulimit_counts(option: str) -> None:
    """Batch systems bound the address space: what lies beyond cannot be allocated, whatever the machine has."""
    code = "from streamcore.runner.resource_limits import memory_left; print(memory_left())"
    command = ["sh", "-c", f'ulimit {option} 900000 && exec "$0" -c "$1"', sys.executable, code]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    assert 100_000_000 < int(ended.stdout) < 900_000 * 1024
