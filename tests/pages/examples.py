"""Ways for blocks to which the reader adds something, or which promise more than to run."""

import ast
import itertools
import re
import shlex
import subprocess
import sys
from typing import Any

import httpx
import tomli
from openai import OpenAI
from starlette.applications import Starlette
from starlette.testclient import TestClient
from tests.pages.commands import crates
from tests.pages.reader import ROOT, Block, blocks_of
from tests.pages.ways import World


def serves_models(names: dict[str, Any], _world: World) -> None:
    """The application that a block has made answers."""
    with TestClient(names["app"]) as client:
        assert client.get("/v1/models").status_code == 200


def fastapi_site(block: Block, world: World) -> None:
    """The site serves the model under its prefix."""
    names: dict[str, Any] = {}
    exec(world.fill_in(block.text), names)
    with TestClient(names["site"]) as client:
        assert client.get("/llm/v1/models").status_code == 200


def lifespan_of_site(block: Block, world: World) -> None:
    """The site that the block before it makes, with a lifespan of its own."""
    from fastapi import FastAPI

    page = (ROOT / block.page).read_text()
    site = next(other for other in blocks_of(block.page, page) if other.text.startswith("from fastapi"))
    names: dict[str, Any] = {}
    exec(world.fill_in(f"{site.text}\n{block.text}"), names)
    own = FastAPI(lifespan=names["lifespan"])
    own.mount("/llm", names["llm"])
    with TestClient(own) as client:
        assert client.get("/llm/v1/models").status_code == 200


def uvicorn_module(block: Block, world: World) -> None:
    """The module under the name that its first line gives it, started as the line behind it says, on a free port."""
    page = list(blocks_of(block.page, (ROOT / block.page).read_text()))
    module, command = next(pair for pair in itertools.pairwise(page) if pair[1].text.startswith("uvicorn "))
    path = re.match(r"# (\w+\.py)\n", module.text)
    assert path is not None
    (world.folder / path[1]).write_text(world.fill_in(module.text))
    words = shlex.split(command.text.replace("--port 8000", "--port 0"))
    with subprocess.Popen(
        [sys.executable, "-m", *words], cwd=world.folder, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        try:
            said = ""
            for line in process.stderr:
                said += line
                if match := re.search(r"running on (http://\S+)", line):
                    assert httpx.get(f"{match[1]}/v1/models").status_code == 200
                    return
            raise AssertionError(said)
        finally:
            process.terminate()
            process.stderr.read()


def ray_serve(block: Block, world: World) -> None:
    """Ray is in no lock (it has no build for the newest Python for months): what is ours runs, the rest is read.

    The script must stay alive while it serves, and must not ask for a GPU where there is none.
    """
    tree = ast.parse(world.fill_in(block.text))
    build = next(node for node in tree.body if isinstance(node, ast.FunctionDef))
    names: dict[str, Any] = {}
    exec(ast.unparse(build), names)
    assert isinstance(names["build"](), Starlette)
    run = next(
        node for node in ast.walk(tree) if isinstance(node, ast.Call) and "serve.run" in ast.unparse(node)
    )
    options = {keyword.arg: ast.unparse(keyword.value) for keyword in run.keywords}
    assert options["blocking"] == "True"
    assert "torch.cuda.is_available()" in block.text


def engine_is_a_dependency(block: Block, _world: World) -> None:
    """The crate has the name that the lines ask for."""
    (name,) = tomli.loads(block.text)["dependencies"]
    assert ("lib", name.replace("-", "_")) in crates()[name]


def deltas_of(names: dict[str, Any], _world: World) -> None:
    """The model has answered, and is given back."""
    assert names["delta"].index == 0
    names["llm"].close()


def answered_twice(block: Block, world: World) -> None:
    """The program that is tested tries again after a 429."""

    def my_program(base_url: str) -> str | None:
        client = OpenAI(base_url=base_url, api_key="none", max_retries=1)
        completion = client.chat.completions.create(
            model="script", messages=[{"role": "user", "content": "Hi"}]
        )
        return completion.choices[0].message.content

    names: dict[str, Any] = {"my_program": my_program}
    exec(world.fill_in(block.text), names)
    names["test_second_attempt"](world.request.getfixturevalue("streamcore_server"))


def scheduler_loop(block: Block, world: World) -> None:
    """The loop ends when the model has drawn its stop token."""
    drawn: list[int] = []

    def my_model(step: Any) -> list[int]:
        drawn.append(2 if len(drawn) == 3 else 5)
        assert step.num_samples == 1
        return drawn[-1:]

    names: dict[str, Any] = {"prompt": [1, 3], "my_model": my_model}
    exec(f"from streamcore import Scheduler\n{block.text}", names)
    assert drawn == [5, 5, 5, 2]
    assert not names["scheduler"].has_work
