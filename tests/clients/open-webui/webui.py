"""Open WebUI as its users start it, and a browser that shows its page; neither needs more of a network than this machine."""

import ctypes
import os
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import brotli
from checks import API_KEY
from playwright.sync_api import Page, sync_playwright

ENVIRONMENT = Path(sys.prefix)
CHROMIUM = ENVIRONMENT.parent / "node_modules" / "@sparticuz" / "chromium" / "bin"
START_TIMEOUT_S = 300
PR_SET_PDEATHSIG = 1
# An operator's settings: no accounts, no Ollama, nothing fetched from elsewhere, no model for
# embeddings.
SETTINGS = {
    "WEBUI_AUTH": "False",
    "WEBUI_SECRET_KEY": "of-the-tests",
    "ENABLE_OLLAMA_API": "False",
    "OFFLINE_MODE": "True",
    "RAG_EMBEDDING_ENGINE": "openai",
    "ANONYMIZED_TELEMETRY": "False",
    "DEFAULT_MODELS": "script",
    "NO_COLOR": "1",
}


@contextmanager
def open_webui(base_url: str) -> Iterator[str]:
    """Open WebUI, new each time, in front of a server; gives its address."""
    with tempfile.TemporaryDirectory() as folder, (Path(folder) / "log").open("wb") as log:
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        environment |= SETTINGS
        environment |= {"DATA_DIR": folder, "OPENAI_API_BASE_URL": base_url, "OPENAI_API_KEY": API_KEY}
        # It does not say which port it has chosen, so it is given one that was free a moment ago.
        port = free_port()
        command = [str(ENVIRONMENT / "bin" / "open-webui"), "serve", "--host", "127.0.0.1", "--port", port]
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            preexec_fn=end_with_parent,
        )
        try:
            wait_until_ready(process, address := f"http://127.0.0.1:{port}", Path(log.name))
            yield address
        finally:
            process.terminate()
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def end_with_parent() -> None:
    """Have Linux end this process when the program that started it is killed, as the runner does with one that hangs."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def free_port() -> str:
    """A port on which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return str(listener.getsockname()[1])


def wait_until_ready(process: subprocess.Popen[bytes], address: str, log: Path) -> None:
    """Ask again and again until Open WebUI says that it is well.

    Raises:
        AssertionError: the process ended, or took too long.
    """
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        try:
            urllib.request.urlopen(f"{address}/health", timeout=10).close()
        except OSError:
            has_failed = process.poll() is not None or time.monotonic() > deadline
            assert not has_failed, f"Open WebUI did not start:\n{log.read_text(errors='replace')[-8000:]}"
            time.sleep(0.1)
        else:
            return


@contextmanager
def chromium() -> Iterator[Page]:
    """A page of a headless browser that runs with the libraries of its package."""
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        program = Path(folder) / "chromium"
        program.write_bytes(unpacked("chromium.br"))
        program.chmod(0o755)
        with tarfile.open(fileobj=BytesIO(unpacked("al2023.tar.br"))) as libraries:
            libraries.extractall(folder, filter="data")
        browser = playwright.chromium.launch(
            executable_path=program,
            env=os.environ | {"LD_LIBRARY_PATH": f"{folder}/lib", "HOME": folder},
            # What the page would fetch from elsewhere is not there.
            args=["--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"],
        )
        try:
            yield browser.new_page(locale="en-US")
        finally:
            browser.close()


def unpacked(name: str) -> bytes:
    """A file of Chromium's package."""
    return brotli.decompress((CHROMIUM / name).read_bytes())
