"""The SDKs' own tests of responses, messages and models, which their makers run against a mock, against the server.

They are in the sources that the makers publish beside each release, and are downloaded with the hashes of the lock.
"""

import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path

from checks import servers

HERE = Path(__file__).resolve().parent
FOLDER = Path(sys.prefix).parent / "sources"
URL = servers()[-1].url
TESTS = {
    "openai": (f"{URL}/v1", ["test_responses.py", "responses"], []),
    "anthropic": (URL, ["test_messages.py", "test_models.py"], ["-p", "tests._alias_httpx"]),
}


def sources(name: str) -> Path:
    """The unpacked sources of the release that is pinned."""
    lock = (HERE / "locked.txt").read_text()
    found = re.search(rf"^{name}(?:\[.*\])?(==\S+).*(?:\n .*)*", lock, re.MULTILINE)
    assert found is not None, f"no {name} in the lock"
    release = FOLDER / f"{name}-{found[1].removeprefix('==')}"
    if not release.exists():
        FOLDER.mkdir(exist_ok=True)
        requirement = FOLDER / f"{name}.txt"
        requirement.write_text(re.sub(r"\[.*?\]", "", found[0], count=1) + "\n")
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", name]
        subprocess.run([*pip, "--dest", str(FOLDER), "-r", str(requirement)], check=True)
        with tarfile.open(f"{release}.tar.gz") as archive:
            archive.extractall(FOLDER, filter="data")
    return release


def run(name: str) -> bool:
    """Run the tests of one SDK; whether all passed."""
    base_url, files, options = TESTS[name]
    pytest = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "--no-header",
        "--no-summary",
        "--capture=no",
        "--tb=short",
    ]
    settings = ["-o", "addopts=", "-p", "world", "-p", "no:cacheprovider", *options]
    environment = os.environ | {
        "SDK": name,
        "TEST_API_BASE_URL": base_url,
        "PYTHONPATH": os.pathsep.join([str(HERE), os.environ["PYTHONPATH"]]),
    }
    paths = [f"tests/api_resources/{file}" for file in files]
    ended = subprocess.run(
        [*pytest, *settings, *paths],
        cwd=sources(name),
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    lines = ended.stdout.splitlines()
    # The tests also print which members of a union each value is not of.
    told = [line for line in lines if re.match(r"ok  |FAIL|SKIP|E  |\d+ (?:passed|failed)", line)]
    print("\n".join(told or lines), flush=True)
    return ended.returncode == 0


results = [run(name) for name in TESTS]
sys.exit(not all(results))
