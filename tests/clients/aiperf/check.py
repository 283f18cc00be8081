"""AIPerf with synthetic prompts, over both APIs."""

import tempfile
from pathlib import Path

from checks import API_KEY, check, run_checks
from tools import DEMO, NUM_REQUESTS, OUTPUT_TOKENS, PROMPT_TOKENS, TOKENIZER, Counted, read_json, run_tool


def report(endpoint: str) -> None:
    """Run a profile over one route and compare its figures with the server's."""
    with tempfile.TemporaryDirectory() as folder, Counted() as counted:
        run_tool(
            "aiperf",
            *("profile", "--model", "demo", "--url", DEMO.url, "--api-key", API_KEY, "--ui", "none"),
            *("--endpoint-type", endpoint, "--streaming", "--use-server-token-count"),
            *("--concurrency", "4", "--request-count", str(NUM_REQUESTS), "--random-seed", "1"),
            *("--isl", str(PROMPT_TOKENS), "--osl", str(OUTPUT_TOKENS)),
            *("--extra-inputs", "ignore_eos:true", "--tokenizer", TOKENIZER, "--artifact-dir", folder),
            # Offline, it takes a folder for the name of a repository.
            HF_HUB_OFFLINE="",
        )
        profile = read_json(Path(folder) / "profile_export_aiperf.json")
    assert profile["error_summary"] == []
    assert profile["request_count"]["avg"] == counted.ended == NUM_REQUESTS
    assert profile["total_osl"]["avg"] == NUM_REQUESTS * OUTPUT_TOKENS
    assert counted.output_tokens >= NUM_REQUESTS * OUTPUT_TOKENS
    assert profile["time_to_first_token"]["avg"] > 0
    assert profile["inter_token_latency"]["avg"] > 0


@check
def chat() -> None:
    """The chat profile ends without an error and counts the tokens that the server counted."""
    report("chat")


@check
def text() -> None:
    """So does the one over text completions."""
    report("completions")


run_checks()
