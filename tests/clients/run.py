"""Run released clients and load tools against the real server, each in an environment of its own.

    python -m tests.clients.run [NAME ...]

A client is a folder beside this file: `requirements.txt`, `package.json` or `Cargo.toml` pins it (two of them do where it
needs packages of two kinds), a lock beside it pins all that it brings (`make update` writes them), and its program prints
what it checked and ends with a status other than 0 if something was wrong. Environments are kept in `target/clients/NAME` and
made again when the lock changes. Needs the registries once, the standard library only, and a
`streamcore` that this Python can import.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from tests.clients import script
from tests.clients.checks import API_KEY, Server, Watched

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
ENVIRONMENTS = ROOT / "target" / "clients"
TIMEOUT_S = 900
INSTALL_TIMEOUT_S = 1800
# What pins a client, and what pins all that it brings.
LOCKS = {"requirements.txt": "locked.txt", "package.json": "package-lock.json", "Cargo.toml": "Cargo.lock"}


class NotInstalledError(Exception):
    """Why there is no environment for a client on this machine."""


@dataclass(frozen=True)
class Client:
    """One client or tool: its name is that of its folder here, and that of its environment."""

    name: str
    program: str

    @property
    def pins(self) -> list[Path]:
        """The files that say which releases are checked."""
        return [path for name in LOCKS if (path := HERE / self.name / name).exists()]

    @property
    def folder(self) -> Path:
        """Its environment."""
        return ENVIRONMENTS / self.name

    def is_installed(self) -> bool:
        """Whether the environment is there and made from today's lock."""
        stamp = self.folder / "pins"
        return stamp.exists() and stamp.read_text() == self.digest()

    def digest(self) -> str:
        """Stands for the pins and the locks."""
        files = [path for pins in self.pins for path in (pins, pins.with_name(LOCKS[pins.name]))]
        return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()

    def install(self) -> None:
        """Make the environment.

        Raises:
            NotInstalledError: the registry, or this machine, cannot provide it.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        for command in self.installation():
            self.install_step(command)
        (self.folder / "pins").write_text(self.digest())

    def installation(self) -> list[list[str]]:
        """The commands that make the environment, in its folder."""
        ways = {".txt": self.pip, ".json": self.npm, ".toml": self.cargo}
        return [command for pins in self.pins for command in ways[pins.suffix](pins)]

    def npm(self, pins: Path) -> list[list[str]]:
        """The commands that install packages of Node."""
        for source in (pins, pins.with_name(LOCKS[pins.name])):
            shutil.copy(source, self.folder)
        return [["npm", "ci", "--no-audit", "--no-fund", "--loglevel", "error"]]

    def pip(self, pins: Path) -> list[list[str]]:
        """The commands that make a virtual environment."""
        python = str(self.folder / "venv" / "bin" / "python")
        pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        return [
            [sys.executable, "-m", "venv", "--clear", str(self.folder / "venv")],
            [*pip, "--no-deps", "-r", str(pins.with_name(LOCKS[pins.name]))],
            # Brings torch to a client that wants it, the one package that no lock has.
            [*pip, "-r", str(pins)],
            # Come with vLLM, are made for the CUDA build of torch, and break the import beside
            # another one.
            [python, "-m", "pip", "uninstall", "--quiet", "--yes", "torchvision", "torchaudio", "torchcodec"],
        ]

    def cargo(self, pins: Path) -> list[list[str]]:
        """The command that fetches crates, which are compiled with the program when it is run."""
        return [["cargo", "fetch", "--quiet", "--locked", "--manifest-path", str(pins)]]

    def install_step(self, command: list[str]) -> None:
        """Run one command of the installation.

        Raises:
            NotInstalledError: it failed.
        """
        try:
            ended = subprocess.run(
                command,
                cwd=self.folder,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=INSTALL_TIMEOUT_S,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise NotInstalledError(str(error)) from error
        if ended.returncode != 0:
            lines = [line.strip() for line in ended.stdout.splitlines() if line.strip()]
            # pip, npm and cargo say first what is wrong, then what else there is to say.
            said = [line for line in lines if re.match(r"(npm )?error\b(?!: Ignored)", line, re.IGNORECASE)]
            raise NotInstalledError(
                (said or lines[-1:] or [f"{command[0]} ended with {ended.returncode}"])[0]
            )

    def command(self) -> list[str]:
        """How its program is started, in its environment."""
        program = HERE / self.program
        if program.suffix == ".rs":
            manifest = str(HERE / self.name / "Cargo.toml")
            run = ["cargo", "run", "--quiet", "--locked", "--offline"]
            return [*run, "--manifest-path", manifest, "--target-dir", str(self.folder)]
        if program.suffix == ".py":
            return [str(self.folder / "venv" / "bin" / "python"), str(program)]
        # Node looks for packages beside the program, wherever it was started.
        for source in (*program.parent.glob("*.mjs"), HERE / "checks.mjs"):
            shutil.copy(source, self.folder)
        return ["node", str(self.folder / program.name)]

    def version(self) -> str:
        """What is checked, as pinned."""
        return ", ".join(release for pins in self.pins for release in pinned(pins))


def pinned(pins: Path) -> list[str]:
    """Each package that a file pins, with its release."""
    text = pins.read_text()
    if pins.suffix == ".json":
        return [f"{name} {version}" for name, version in json.loads(text)["dependencies"].items()]
    if pins.suffix == ".toml":
        # A package with a range is not what is checked, but helps with it.
        return [
            f"{name} {release}" for name, release in re.findall(r'^(\S+) = .*"=([^"]+)"', text, re.MULTILINE)
        ]
    return [line.replace("==", " ") for line in text.splitlines() if "==" in line]


CLIENTS = (
    Client("openai-oldest", "openai-newest/check.py"),
    Client("openai-newest", "openai-newest/check.py"),
    Client("openai-node", "openai-node/check.mjs"),
    Client("ai-sdk", "ai-sdk/check.mjs"),
    Client("langchain-openai", "langchain-openai/check.py"),
    Client("langchain-tests", "langchain-tests/check.py"),
    Client("litellm", "litellm/check.py"),
    Client("pydantic-ai", "pydantic-ai/check.py"),
    Client("instructor", "instructor/check.py"),
    Client("openai-agents", "openai-agents/check.py"),
    Client("openai-agents-node", "openai-agents-node/check.mjs"),
    Client("rig", "rig/src/main.rs"),
    Client("smolagents", "smolagents/check.py"),
    Client("llama-index", "llama-index/check.py"),
    Client("opencode", "opencode/check.mjs"),
    Client("codex", "codex/check.mjs"),
    Client("anthropic", "anthropic/check.py"),
    Client("anthropic-node", "anthropic-node/check.mjs"),
    Client("claude-code", "claude-code/check.mjs"),
    Client("open-webui", "open-webui/check.py"),
    Client("guidellm", "guidellm/check.py"),
    Client("aiperf", "aiperf/check.py"),
    Client("vllm-bench", "vllm-bench/check.py"),
    Client("lm-eval", "lm-eval/check.py"),
    Client("sdk-tests", "sdk-tests/check.py"),
    Client("schemathesis", "schemathesis/check.py"),
)


@dataclass(frozen=True)
class Result:
    """What came of one client."""

    client: Client
    word: str
    num_checks: int
    seconds: float


def run(client: Client, demo: Server) -> Result:
    """Install one client if need be, run its program, show what it printed."""
    start = time.monotonic()

    def result(word: str, num_checks: int = 0) -> Result:
        return Result(client, word, num_checks, time.monotonic() - start)

    print(f"\n== {client.name}: {client.version()}", flush=True)
    if not client.is_installed():
        try:
            client.install()
        except NotInstalledError as error:
            print(f"skipped, because it cannot be installed here: {error}")
            return result("skipped")
    with scripted() as player:
        servers = (demo, player)
        try:
            ended = execute(client, servers)
        except subprocess.TimeoutExpired as error:
            print((error.stdout or b"").decode(), f"FAILED: not at its end after {TIMEOUT_S} s", sep="")
            return result("FAILED")
        for server in servers:
            server.assert_idle()
    print(ended.stdout, end="")
    if ended.returncode != 0:
        print(ended.stderr, end="")
    num_checks = sum(line.startswith("ok ") for line in ended.stdout.splitlines())
    return result("FAILED" if ended.returncode else "ok", num_checks)


def scripted() -> Server:
    """A server that plays the script. Each client gets its own: it counts what it is asked."""
    path = ENVIRONMENTS / "script.json"
    path.write_text(json.dumps({"models": script.MODELS, "rules": script.rules()}))
    return Server(f"script:{path}", "--api-key", API_KEY, *script.OPTIONS)


def execute(client: Client, servers: tuple[Watched, ...]) -> subprocess.CompletedProcess[str]:
    """Run a client's program to its end."""
    environment = os.environ | {
        "OPENAI_API_KEY": API_KEY,
        "PYTHONPATH": str(HERE),
        "HF_HUB_OFFLINE": "1",
        "STREAMCORE_TOKENIZER": str(ROOT / "python" / "streamcore" / "demo_model"),
        "STREAMCORE_URLS": " ".join(server.url for server in servers),
    }
    return subprocess.run(
        client.command(), env=environment, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )


def main(names: list[str]) -> int:
    """Run the clients that are named, or all; 1 if one failed."""
    known = {client.name: client for client in CLIENTS}
    if unknown := set(names) - set(known):
        print(f"no client {', '.join(sorted(unknown))}; there are {', '.join(known)}", file=sys.stderr)
        return 2
    with Server("--api-key", API_KEY) as demo:
        results = [run(known[name], demo) for name in names or known]
    print("\n| client | version | checks | result | seconds |\n|---|---|---|---|---|")
    for result in results:
        client = result.client
        print(
            f"| {client.name} | {client.version()} | {result.num_checks} | {result.word} | {result.seconds:.0f} |"
        )
    return int(any(result.word == "FAILED" for result in results))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
