"""Reads answers with vLLM's parsers, and shows where ours read them otherwise.

    STREAMCORE_ANSWERS=$PWD/answers.jsonl cargo test -p streamcore-parsers --test golden
    python benches/parsers/compare_vllm.py answers.jsonl

The first line writes down the golden answers of `rust/parsers` with what our parsers say; the second runs
where vLLM 0.32 is installed. Whole answers are compared: reasoning first, then the calls in what is left, as vLLM's server
does it. `docs/tools.md` says why we differ where we do.
"""

import json
import logging
import sys
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

DEMO_TOKENIZER = Path(__file__).parents[2] / "python" / "streamcore" / "demo_model" / "tokenizer.json"
MARKERS = [
    "<tool_call>",
    "</tool_call>",
    "<think>",
    "</think>",
    "[TOOL_CALLS]",
    "[ARGS]",
    "[CALL_ID]",
    "[THINK]",
    "[/THINK]",
    "<|python_tag|>",
    "<|python_start|>",
    "<|python_end|>",
    "<|tool_call_start|>",
    "<|tool_call_end|>",
    "<|tool_call>",
    "<tool_call|>",
    "<|channel>",
    "<channel|>",
    '<|"|>',
    "<start_function_call>",
    "<end_function_call>",
    "<escape>",
    "<|tool_call|>",
    "<|/tool_call|>",
    "<arg_key>",
    "</arg_key>",
    "<arg_value>",
    "</arg_value>",
    "<\uff5ctool\u2581calls\u2581begin\uff5c>",
    "<\uff5ctool\u2581calls\u2581end\uff5c>",
    "<\uff5ctool\u2581call\u2581begin\uff5c>",
    "<\uff5ctool\u2581call\u2581end\uff5c>",
    "<\uff5ctool\u2581sep\uff5c>",
    "<|observation|>",
    "<|user|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|start_of_role|>",
    "<|end_of_role|>",
    "<|turn>",
    "<turn|>",
    "<|tool_response>",
    "<tool_response|>",
]
OTHER_NAMES = {"granite_thinking": "granite_thinking_parser"}
"""Of parsers that vLLM calls otherwise."""


def read_by_vllm(case: dict[str, Any], tokenizer: Any) -> dict[str, Any]:
    """What vLLM's parsers say of an answer."""
    from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
    from vllm.reasoning import ReasoningParserManager
    from vllm.tool_parsers import ToolParserManager

    tools = [{"type": "function", "function": tool} for tool in case["declared"]]
    messages = [{"role": "user", "content": "hi"}]
    request = ChatCompletionRequest(model="m", messages=messages, tools=tools or None)
    reasoning, content = None, case["text"]
    if case["reasoning"]:
        name = OTHER_NAMES.get(case["reasoning"], case["reasoning"])
        reader = ReasoningParserManager.get_reasoning_parser(name)(tokenizer)
        reasoning, content = reader.extract_reasoning(content, request)
    calls: list[tuple[str, Any]] = []
    if case["tools"]:
        parser = ToolParserManager.get_tool_parser(case["tools"])(tokenizer, request.tools)
        found = parser.extract_tool_calls(content or "", request)
        content = found.content
        calls = [(call.function.name, value_of(call.function.arguments)) for call in found.tool_calls]
    return {"reasoning": reasoning or "", "content": content or "", "calls": calls}


def read_by_us(said: list[str]) -> dict[str, Any]:
    """The same of the lines that our tests write down."""
    read: dict[str, Any] = {"reasoning": "", "content": "", "calls": []}
    for line in said:
        kind, _, text = line.partition(" ")
        if kind == "call":
            name, _, arguments = text.partition(" ")
            if arguments.startswith("#"):
                arguments = arguments.partition(" ")[2]
            read["calls"].append((name, value_of(arguments)))
        else:
            read[kind] += text
    return read


def value_of(arguments: str) -> Any:
    """Arguments as a value, so that spaces do not matter; as they are where they are no JSON."""
    try:
        return json.loads(arguments)
    except ValueError:
        return arguments


def difference(ours: dict[str, Any], theirs: dict[str, Any]) -> str:
    """In what they differ, in a word or two; nothing if they do not."""
    if ours == theirs:
        return ""
    parts = ("reasoning", "content", "calls")
    differing = [part for part in parts if ours[part] != theirs[part]]
    if "calls" not in differing and all(ours[part].strip() == theirs[part].strip() for part in differing):
        return "space alone"
    return ", ".join(differing)


def main(path: str) -> None:
    """Prints each difference, and how many there are by format."""
    from transformers import PreTrainedTokenizerFast

    logging.disable(logging.CRITICAL)
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(DEMO_TOKENIZER))  # type: ignore[no-untyped-call]
    tokenizer.add_special_tokens({"additional_special_tokens": MARKERS})
    seen = set()
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for line in Path(path).read_text(encoding="utf-8").splitlines():
        case = json.loads(line)
        formats = f"{case['tools']} {case['reasoning']}"
        key = (formats, case["starts_in_reasoning"], case["text"])
        # Harmony is not read from text there.
        if key in seen or "openai" in formats or case["starts_in_reasoning"]:
            continue
        seen.add(key)
        ours = read_by_us(case["said"])
        try:
            theirs = read_by_vllm(case, tokenizer)
        except Exception as error:
            counts[formats][f"error: {error!r}"[:60]] += 1
            print(f"\n{formats}: {case['text']!r}\n  ours   {ours}\n  vLLM   {error!r}")
            continue
        what = difference(ours, theirs)
        counts[formats][what or "equal"] += 1
        if what:
            print(f"\n{formats}: {case['text']!r} ({what})\n  ours   {ours}\n  vLLM   {theirs}")
    print()
    for formats, counted in counts.items():
        print(f"{formats:40} {dict(counted)}")


if __name__ == "__main__":
    main(sys.argv[1])
