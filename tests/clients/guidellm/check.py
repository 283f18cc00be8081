"""GuideLLM with synthetic text, over both APIs."""

import tempfile
from pathlib import Path

from checks import API_KEY, check, run_checks
from tools import DEMO, NUM_REQUESTS, OUTPUT_TOKENS, PROMPT_TOKENS, TOKENIZER, Counted, read_json, run_tool


def report(path: str) -> None:
    """Run a benchmark over one route and compare its figures with the server's."""
    with tempfile.TemporaryDirectory() as folder, Counted() as counted:
        output = Path(folder) / "report.json"
        run_tool(
            "guidellm",
            *("run", "--disable-console-interactive"),
            *(
                "--backend",
                f"kind=openai_http,target={DEMO.url},api_key={API_KEY},model=demo,request_format={path}",
            ),
            *("--profile", "kind=concurrent,streams=4"),
            *("--constraint", f"kind=max_requests,count={NUM_REQUESTS}"),
            *("--data", f"kind=synthetic_text,prompt_tokens={PROMPT_TOKENS},output_tokens={OUTPUT_TOKENS}"),
            *("--tokenizer", f"kind=hf_auto,model={TOKENIZER}"),
            *("--output", f"kind=json,path={output}"),
        )
        requests = read_json(output)["benchmarks"][0]["requests"]
    errors = [request["info"]["error"] for request in requests["errored"] or []]
    assert not errors, errors[0]
    done = requests["successful"]
    assert len(done) == counted.ended == NUM_REQUESTS
    for request in done:
        assert request["output_metrics"]["text_tokens"] == OUTPUT_TOKENS, request["output_metrics"]
        assert request["time_to_first_token_ms"] > 0
        assert request["inter_token_latency_ms"] > 0


@check
def chat() -> None:
    """The chat benchmark ends without an error and counts the tokens that the server counted."""
    report("/v1/chat/completions")


@check
def text() -> None:
    """So does the one over text completions."""
    report("/v1/completions")


run_checks()
