"""lm-evaluation-harness through `local-completions`: log-probabilities of the prompt, and text up to a stop string."""

import json
import tempfile
from pathlib import Path
from typing import Any

from checks import check, run_checks
from tools import DEMO, TOKENIZER, read_json, run_tool

MODEL = (
    f"model=demo,base_url={DEMO.url}/v1/completions,tokenizer={TOKENIZER},num_concurrent=2,max_length=1024"
)
SO_FAR = "<|bos|><|start|>user\nCount from 1 to {}<|end|><|start|>assistant\n{}"
DOCUMENTS = [
    {
        "so_far": SO_FAR.format(10, "1, 2, 3"),
        "next": [", 4, 5", ", 9, 1", " moon"],
        "right": 0,
        "rest": ", 4, 5, 6, ",
    },
    {
        "so_far": SO_FAR.format(20, "1, 2, 3, 4"),
        "next": [" bread", ", 5, 6", ", 4, 4"],
        "right": 1,
        "rest": ", 5, 6, ",
    },
]
CHOICE = {"output_type": "multiple_choice", "doc_to_choice": "{{next}}", "doc_to_target": "right"}
TEXT = {
    "output_type": "generate_until",
    "doc_to_target": "{{rest}}",
    "generation_kwargs": {"until": ["7"], "max_gen_toks": 32},
    "metric_list": [{"metric": "exact_match"}],
}


def evaluate(task: dict[str, Any]) -> dict[str, Any]:
    """The scores of one task over the documents."""
    with tempfile.TemporaryDirectory() as folder:
        documents, output = Path(folder) / "documents.jsonl", Path(folder) / "scores"
        documents.write_text("".join(json.dumps(document) + "\n" for document in DOCUMENTS))
        data = {"dataset_path": "json", "dataset_kwargs": {"data_files": {"test": str(documents)}}}
        prompt = {
            "task": "counting",
            "test_split": "test",
            "doc_to_text": "{{so_far}}",
            "target_delimiter": "",
        }
        # JSON is YAML.
        (Path(folder) / "counting.yaml").write_text(json.dumps({**data, **prompt, **task}))
        run_tool(
            "lm_eval",
            *("run", "--model", "local-completions", "--model_args", MODEL, "--tasks", "counting"),
            *("--include_path", folder, "--output_path", str(output)),
        )
        (results,) = output.rglob("results_*.json")
        scores: dict[str, Any] = read_json(results)["results"]["counting"]
    return scores


@check
def likelihoods() -> None:
    """Multiple choice by log-probability of the prompt: the demo model, which can count, knows what follows."""
    assert evaluate(CHOICE)["acc,none"] == 1.0


@check
def generation() -> None:
    """Generation up to a stop string gives the text before it."""
    assert evaluate(TEXT)["exact_match,none"] == 1.0


run_checks()
