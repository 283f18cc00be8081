"""One site behind uvicorn, started once: the demo model at its root and under a prefix, bare and wrapped in middleware."""

import threading
from collections.abc import Iterator

import pytest
import uvicorn
from fastapi import FastAPI
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import Response
from tests.server_process import ServerProcess

from streamcore.asgi import create_app


async def _mark(request: Request, call_next: RequestResponseEndpoint) -> Response:
    response = await call_next(request)
    response.headers["x-seen"] = request.url.path
    return response


def _site() -> FastAPI:
    llm = create_app()
    site = FastAPI(lifespan=llm.router.lifespan_context)

    @site.get("/hello")
    def hello() -> str:
        return "world"

    site.mount("/llm", llm)
    wrapped = CORSMiddleware(GZipMiddleware(BaseHTTPMiddleware(llm, _mark)), allow_origins=["*"])
    site.mount("/wrapped", wrapped)
    site.mount("/", llm)
    return site


@pytest.fixture(scope="session")
def site() -> Iterator[str]:
    """The URL of the site."""
    server = uvicorn.Server(uvicorn.Config(_site(), port=0, log_level="warning", ws="none"))
    started = threading.Event()
    startup = server.startup

    async def tell(sockets: object = None) -> None:
        await startup()
        started.set()

    server.startup = tell  # type: ignore[method-assign]
    thread = threading.Thread(target=server.run)
    thread.start()
    assert started.wait(250)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join()


@pytest.fixture(scope="session")
def native() -> Iterator[str]:
    """The URL of the server in Rust."""
    with ServerProcess() as process:
        yield process.url
