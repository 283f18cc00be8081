"""Schemathesis over `/openapi.json`: whatever the schema allows, and much that it does not, is answered in time and in shape."""

import json
import os
import tempfile
import urllib.request
from pathlib import Path
from typing import Any

from checks import API_KEY, check, run_checks, servers
from tools import run_tool

# The scripted model: what is asked for is generated at once.
SERVER = servers()[-1]
NUM_STORED = 40
# Enough to meet each field with values of each kind; SCHEMATHESIS_EXAMPLES=1000 looks longer.
NUM_EXAMPLES = os.environ.get("SCHEMATHESIS_EXAMPLES", "50")


def get(path: str) -> Any:
    """A JSON page of the server."""
    asked = urllib.request.Request(f"{SERVER.url}{path}", headers={"Authorization": f"Bearer {API_KEY}"})
    with urllib.request.urlopen(asked, timeout=60) as answer:
        return json.load(answer)


def stored_response(model: str) -> str:
    """The id of a response that is kept with its events."""
    body = json.dumps({"model": model, "input": "hi", "stream": True}).encode()
    headers = {"Authorization": f"Bearer {API_KEY}", "Content-Type": "application/json"}
    asked = urllib.request.Request(f"{SERVER.url}/v1/responses", body, headers)
    with urllib.request.urlopen(asked, timeout=60) as answer:
        created: dict[str, dict[str, str]] = json.loads(answer.read().split(b"data: ")[1].splitlines()[0])
    return created["response"]["id"]


def schema() -> dict[str, Any]:
    """The server's own, with the names of what is there in the place of any: else nearly every request were a 404."""
    document: dict[str, Any] = get("/openapi.json")
    model = get("/v1/models")["data"][0]["id"]
    # Some of them are deleted on the way.
    ids = ["resp_0", *(stored_response(model) for _ in range(NUM_STORED))]
    for path, operations in document["paths"].items():
        if path.startswith("/v1/responses/{id}"):
            operations["parameters"][0]["schema"]["enum"] = ids
    for part in document["components"]["schemas"].values():
        if "model" in part.get("properties", {}):
            part["properties"]["model"] = {"type": "string", "enum": [model]}
    return document


@check
def contract() -> None:
    """No request gets a 5xx, hangs, or gets an answer that the schema does not know."""
    with tempfile.TemporaryDirectory() as folder:
        document = Path(folder) / "openapi.json"
        document.write_text(json.dumps(schema()))
        run_tool(
            "schemathesis",
            *("run", str(document), "--url", SERVER.url, "--header", f"Authorization: Bearer {API_KEY}"),
            *("--checks", "not_a_server_error,status_code_conformance,response_schema_conformance"),
            *("--max-examples", NUM_EXAMPLES, "--seed", "1", "--request-timeout", "60", "--no-color"),
        )


run_checks()
