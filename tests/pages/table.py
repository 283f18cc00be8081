"""How each block of the pages and the docstrings is run: by its page and its first line.

A block that is not here fails `test_every_block_is_known`: say here how it is run, and mend what does not run as it is written.
"""

from collections.abc import Mapping

from tests.pages.examples import (
    answered_twice,
    deltas_of,
    engine_is_a_dependency,
    fastapi_site,
    lifespan_of_site,
    ray_serve,
    scheduler_loop,
    serves_models,
    uvicorn_module,
)
from tests.pages.ways import (
    Way,
    ask,
    parts,
    python,
    quotes,
    replays,
    server,
    simulation,
    torch_for_the_cpu,
    trace_and_simulate,
    transcript,
)

GENERATED = ("docs/demo-model.md",)
"""Pages whose blocks are what a program wrote down: `make demo` shows there what the model said."""

WAYS: Mapping[tuple[str, str], Way] = {
    ("CONTRIBUTING.md", "make test        # cargo, pytest, style; what CI runs"): parts,
    ("README.md", "make serve"): parts,
    ("README.md", "export PIP_EXTRA_INDEX_URL=<the index for CPU builds>"): torch_for_the_cpu,
    (
        "README.md",
        "curl -N http://127.0.0.1:8000/v1/chat/completions -H 'Content-Type: application/json' \\",
    ): ask,
    ("README.md", "from openai import OpenAI"): python(),
    ("README.md", ".venv/bin/pip install huggingface_hub"): parts,
    ("README.md", "from streamcore import LLM, SamplingParams"): python(),
    ("benches/README.md", "streamcore serve CHECKPOINT --port 8001 --served-model-name tiny"): parts,
    ("docs/asgi.md", "make wheel"): parts,
    ("docs/performance.md", "make wheel"): parts,
    ("docs/asgi.md", "# llm_app.py"): uvicorn_module,
    ("docs/asgi.md", "uvicorn llm_app:app --port 8000"): uvicorn_module,
    ("docs/asgi.md", "from fastapi import FastAPI"): fastapi_site,
    ("docs/asgi.md", "from collections.abc import AsyncIterator"): lifespan_of_site,
    ("docs/asgi.md", "import torch"): ray_serve,
    ("docs/embedding-rust.md", "[dependencies]"): engine_is_a_dependency,
    ("docs/embedding-rust.md", "use std::error::Error;"): quotes(
        "rust/engine/examples/toy_runner.rs", "use std::error"
    ),
    ("docs/embedding.md", "import numpy as np"): quotes("examples/numpy_runner.py", "import numpy"),
    ("docs/llm.md", "from streamcore import LLM, SamplingParams"): python(then=deltas_of),
    (
        "docs/performance.md",
        "STREAMCORE_TOKENIZERS=FOLDER BFCL=FOLDER cargo bench -p streamcore-grammar --bench grammar",
    ): parts,
    ("docs/performance.md", "cargo bench -p streamcore-server --bench token"): parts,
    ("docs/performance.md", "cargo bench -p streamcore-server --bench sockets"): parts,
    ("docs/performance.md", "python benches/serving/constrained.py tiny --rounds 2 --tokens 100"): parts,
    ("docs/performance.md", "python benches/serving/doors.py --tokens 64"): parts,
    ("docs/performance.md", "python benches/serving/faults.py neighbour"): parts,
    ("docs/performance.md", "python benches/serving/ceiling.py"): parts,
    ("docs/performance.md", "python benches/runner/step.py FOLDER"): parts,
    ("docs/performance.md", "python benches/runner/operations.py FOLDER"): parts,
    ("docs/performance.md", "python benches/runner/operations.py FOLDER --prompts 8"): parts,
    ("docs/performance.md", "python benches/runner/operations.py FOLDER --rows 1 32"): parts,
    ("docs/performance.md", "python benches/kernels/sampling.py"): parts,
    ("docs/performance.md", "python benches/kernels/linear.py"): parts,
    ("docs/performance.md", "python benches/runner/operations.py FOLDER --rows 1 8 32"): parts,
    (
        "docs/performance.md",
        "python benches/runner/operations.py FILE.gguf --quantize-activations int8 --rows 1 8 32 --rounds 8",
    ): parts,
    ("docs/performance.md", "python benches/kernels/linear.py --groups --threads 1"): parts,
    (
        "docs/performance.md",
        "python benches/kernels/linear.py --groups --activations int8 --threads 1",
    ): parts,
    ("docs/performance.md", "streamcore serve tiny --served-model-name tiny --port 8001"): parts,
    (
        "docs/performance.md",
        "python benches/runner/perplexity.py FOLDER --quantize-activations none,int8 --pieces 12",
    ): parts,
    ("docs/performance.md", "python benches/serving/builds.py FOLDER BEFORE AFTER"): parts,
    (
        "docs/performance.md",
        "python benches/serving/builds.py FOLDER BEFORE AFTER --streams 1 8 32 128 --rounds 2 --warm-up 2800",
    ): parts,
    ("docs/performance.md", "cargo bench -p streamcore-engine --bench engine"): parts,
    (
        "docs/performance.md",
        "python benches/engine/compare_vllm.py --vllm VENV/bin/python --checkpoint CHECKPOINT",
    ): parts,
    ("docs/performance.md", "python benches/runner/embedding.py"): parts,
    (
        "docs/simulation.md",
        "streamcore serve MODEL --trace-file trace.jsonl     # write every call to the engine down",
    ): trace_and_simulate,
    ("docs/simulation.md", "$ streamcore replay trace.jsonl"): replays,
    (
        "docs/simulation.md",
        "$ streamcore simulate --requests 300 --rate 5 10 20 --prefixes 4 --keys 10 1 --prompt-len 128:1024",
    ): transcript,
    (
        "docs/simulation.md",
        "$ streamcore simulate --requests 100 --rate 5 --max-num-batched-tokens 512 2048 --prefix-caching on off --prefixes 4",
    ): transcript,
    ("docs/simulation.md", "$ streamcore simulate --requests 300 --concurrency 16"): transcript,
    (
        "docs/simulation.md",
        "streamcore simulate --requests 1000000 --concurrency 256 --prompt-len 256 --output-len 128",
    ): simulation,
    ("docs/testing-clients.md", "from openai import OpenAI"): python(),
    ("docs/tools.md", "import json"): python(),
    ("docs/testing-clients.md", "import json"): python(),
    ("docs/testing-clients.md", "def test_second_attempt(streamcore_server):"): answered_twice,
    ("docs/testing-clients.md", "streamcore serve script:docs/script.example.json"): server,
    ("benches/crossing.py", "python benches/crossing.py [--rows 256] [--steps 2000]"): parts,
    (
        "benches/engine/compare_vllm.py",
        "python benches/engine/compare_vllm.py --vllm VENV/bin/python --checkpoint FOLDER",
    ): parts,
    (
        "benches/kernels/sampling.py",
        "python benches/kernels/sampling.py [--vocab 8192 49152 151936] [--rows 1 8 32] [--rounds 20]",
    ): parts,
    ("benches/kernels/linear.py", "python benches/kernels/linear.py [--rounds N] [--threads N]"): parts,
    (
        "benches/parsers/compare_vllm.py",
        "STREAMCORE_ANSWERS=$PWD/answers.jsonl cargo test -p streamcore-parsers --test golden",
    ): parts,
    (
        "benches/runner/embedding.py",
        "python benches/runner/embedding.py [--rounds 5] [--prompts 256] [--tokens 128]",
    ): parts,
    (
        "benches/runner/operations.py",
        "python benches/runner/operations.py FOLDER [--rows 1 32] [--context 128] [--rounds 200]",
    ): parts,
    (
        "benches/runner/perplexity.py",
        "python benches/runner/perplexity.py MODEL... [--quantize none,int8,int4] "
        "[--quantize-activations none,int8] [--pieces 64]",
    ): parts,
    ("benches/runner/step.py", "python benches/runner/step.py FOLDER [--rows 8 32] [--steps 100]"): parts,
    (
        "benches/serving/compare.py",
        "python benches/serving/compare.py --bench BENCH --checkpoint FOLDER --ours PORT --peer PORT",
    ): parts,
    (
        "benches/serving/doors.py",
        "python benches/serving/doors.py [MODEL] [--streams 1 8 64] [--tokens 256] [--rounds 5]",
    ): parts,
    (
        "benches/serving/builds.py",
        "python benches/serving/builds.py FOLDER BEFORE AFTER [--streams 1 8 32]",
    ): parts,
    (
        "benches/serving/ceiling.py",
        "python benches/serving/ceiling.py [--memory-mib 4096] [--seconds 60]",
    ): parts,
    ("benches/serving/faults.py", "python benches/serving/faults.py flood [--requests 10000]"): parts,
    (
        "python/streamcore/asgi.py",
        'app = streamcore.asgi.create_app("/models/Llama-3.1-8B-Instruct", max_num_seqs=64)',
    ): python(before="import streamcore", then=serves_models),
    ("python/streamcore/llm/__init__.py", 'with LLM("/models/Llama-3.1-8B-Instruct") as llm:'): python(
        before="from streamcore import LLM, SamplingParams; prompts = ['Hello']"
    ),
    ("python/streamcore/scheduler.py", "scheduler = Scheduler(num_blocks=512)"): scheduler_loop,
    (
        "python/streamcore/testing.py",
        'with scripted_server([{"answer": {"text": "Hello!"}}]) as server:',
    ): python(before="from openai import OpenAI; from streamcore.testing import scripted_server"),
    ("requirements/update.py", "python requirements/update.py"): parts,
    ("tests/checkpoints.py", "from tests.checkpoints import LLAMA_3_1_8B, write_checkpoint"): python(
        before="import tempfile, pathlib; tmp_path = pathlib.Path(tempfile.mkdtemp())"
    ),
    ("tests/clients/run.py", "python -m tests.clients.run [NAME ...]"): parts,
    (
        "tests/text/make_chat_templates.py",
        "python -m tests.text.make_chat_templates                         # our templates; rewrites the expectations",
    ): parts,
    (
        "tests/text/make_snippets.py",
        "python -m tests.text.make_snippets                                    # rewrites the expectations",
    ): parts,
}

UVICORN_DRAWING = (
    " uvicorn ── scope, receive, send ── streamcore/asgi.py ── rust/python/src/asgi.rs"
    " ── rust/server/src/door.rs ── Router"
)

DRAWINGS = frozenset(
    {
        (
            "docs/architecture.md",
            " sockets ──► rust/server ──► rust/engine            (threads of tokio; no Python)",
        ),
        (
            "docs/simulation.md",
            "max( (bytes of all weights + bytes of the keys and values of every context in the step) / bandwidth,",
        ),
        ("docs/embedding.md", "add_request ─► next_step ─► your model ─► complete_step ─► drain_events"),
        ("docs/embedding.md", "num_seqs = 3, num_tokens = 6: a prefill of four tokens between two decodes"),
        (
            "docs/llm.md",
            " generate ── fields as JSON ── rust/server/src/door.rs ── the routes of `streamcore serve` ── engine",
        ),
        ("docs/asgi.md", UVICORN_DRAWING),
    }
)
"""Blocks of pages that are drawings, tables or formulas."""
