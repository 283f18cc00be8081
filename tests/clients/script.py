"""What the scripted model of these checks says: the faults of `faults.json`, and cases of agents, turn by turn.

The question "weather 3" plays the case `weather` from its first turn, as does every other number: a check that takes
a number of its own is not disturbed by one that broke off. Calls are in the format of Hermes, thoughts in that of Qwen 3.
"""

import json
from pathlib import Path
from typing import Any

Turn = dict[str, Any]

MODELS = ["script", "caller"]
OPTIONS = ("--tool-call-parser", "hermes", "--reasoning-parser", "qwen3")
FAULTS = Path(__file__).with_name("faults.json")
# What Claude Code edits; it wants the whole path.
NOTE = Path(__file__).resolve().parents[2] / "target" / "clients" / "claude-code" / "scratch" / "note.txt"
# A check that asks more often than that gets the answer to all other questions.
NUM_PLAYS = 80


def call(name: str, **arguments: Any) -> str:
    """A call as a model writes it."""
    written = json.dumps({"name": name, "arguments": arguments}, ensure_ascii=False)
    return f"<tool_call>\n{written}\n</tool_call>"


def fenced(json_text: str) -> str:
    """JSON as a model writes it that was asked for it in words alone."""
    return f"Here it is:\n```json\n{json_text}\n```"


ZURICH = call("get_weather", city="Zürich", days=2)
OSLO = call("get_weather", city="Oslo", days=1)
SUNNY: Turn = {"text": "It is 21 °C in Zürich."}
THOUGHT = "<think>They ask about Zürich.</think>I look it up.\n"
REPORT = json.dumps({"city": "Zürich", "celsius": 21}, ensure_ascii=False)

CASES: dict[str, list[Turn]] = {
    "weather": [{"text": f"{THOUGHT}{ZURICH}"}, SUNNY],
    "trip": [{"text": f"{THOUGHT}{ZURICH}"}, {"text": OSLO}, {"text": "Zürich is warmer."}],
    "called": [{"text": ZURICH}],
    "cities": [{"text": f"{ZURICH}\n{OSLO}"}, {"text": "Zürich has 21 °C, Oslo has 4 °C."}],
    "thought": [{"text": "<think>Six times seven.</think>It is 42."}],
    "mention": [{"text": "A call begins with <tool_call> and goes on with JSON."}],
    "stranger": [{"text": call("fly", to="Oslo")}, {"text": "I cannot fly."}],
    "mistake": [{"text": call("get_weather", city="Zürich", days="many")}, {"text": ZURICH}, SUNNY],
    "short": [{"text": ZURICH[: ZURICH.index("rich")], "finish_reason": "length"}],
    "broken": [
        {"text": ZURICH, "fault": {"kind": "error", "after_tokens": 40, "message": "broke in a call"}}
    ],
    "report": [{"text": REPORT}],
    "named": [{"text": call("Report", city="Zürich", celsius=21)}],
    "final": [{"text": call("final_result", city="Zürich", celsius=21)}],
    "submitted": [{"text": call("submit", city="Zürich", celsius=21)}],
    "listed": [{"text": call("IterableReport", tasks=[json.loads(REPORT), {"city": "Oslo", "celsius": 4}])}],
    "fenced": [{"text": fenced(REPORT)}],
    "warm": [{"text": fenced(REPORT.replace("21", '"warm"'))}],
    "reports": [
        {"text": f"{call('Report', city='Zürich', celsius=21)}\n{call('Report', city='Oslo', celsius=4)}"}
    ],
    "transfer": [{"text": call("transfer_to_meteorologist")}, SUNNY],
    "shell": [
        {"text": call("bash", command="echo $((6 * 7))", description="Multiplies")},
        {"text": "The shell says 42."},
    ],
    "patch": [
        {"text": call("exec_command", cmd="cat note.txt")},
        {"text": call("exec_command", cmd="sed -i s/green/blue/ note.txt")},
        {"text": "The note is right now."},
    ],
    "edit": [{"text": call("Read", file_path=str(NOTE))}],
    "clock": [{"text": call("get_current_timestamp")}, {"text": "The clock has been read."}],
    "code": [{"text": 'Thought: I look it up.\n<code>\nprint("measured", measure("Zürich"))\n</code>'}],
    "coded": [
        {
            "text": json.dumps(
                {"thought": "I know it.", "code": 'final_answer("It is 21 °C.")'}, ensure_ascii=False
            )
        }
    ],
}
# Some agents go on with a message of the user, which is then the question: smolagents with the
# result of a tool, instructor with what was wrong.
OBSERVED: dict[str, Turn] = {
    "Correct your JSON": {"text": fenced(REPORT)},
    "measured 21": {"text": 'Thought: I know it.\n<code>\nfinal_answer("It is 21 °C.")\n</code>'},
    "reported 21": {"text": call("final_answer", answer="It is 21 °C.")},
}
# Others put notes of their own behind the result of a tool, so that the question is another one:
# Claude Code.
RETURNED: dict[str, Turn] = {
    "Read": {"text": call("Edit", file_path=str(NOTE), old_string="green", new_string="blue")},
    "Edit": {"text": "The note is right now."},
}
# What Open WebUI asks by itself behind an answer. The chat is in these questions, so their rules
# come first.
ABOUT_CHATS: dict[str, dict[str, Any]] = {
    "Generate a concise title": {"title": "A short greeting"},
    "Generate 1-3 broad tags": {"tags": ["greetings"]},
    "Predict 3-5 useful messages": {"follow_ups": ["How are you?", "thought 40"]},
}
# What LangChain's standard tests ask, and what they want to hear; `caller` answers by a call what
# `script` answers in JSON.
JOKE = {"setup": "Why do cats sit on keyboards?", "punchline": "They like the mouse."}
STANDARD: list[tuple[dict[str, str], str]] = [
    ({"contains": "magic_function(3)"}, call("magic_function", input=3)),
    ({"equals": "Hello!"}, call("magic_function", input=3)),
    ({"contains": "magic_function_no_args()"}, call("magic_function_no_args")),
    ({"contains": "Pirate"}, call("greeting_generator", answer_style="Pirate")),
    ({"equals": "What is 3 + 4"}, call("my_adder_tool", a=3, b=4)),
    ({"contains": "San Francisco"}, call("get_weather", location="San Francisco, CA")),
    (
        {"contains": "你好啊集团"},
        call("unicode_customer", customer_name="你好啊集团", description="Technology"),
    ),
    (
        {"contains": "こんにちは株式会社"},
        call("unicode_customer", customer_name="こんにちは株式会社", description="A company"),
    ),
    ({"regex": "joke about cats.*JSON"}, json.dumps(JOKE)),
    ({"contains": "joke about cats", "model": "caller"}, call("Joke", **JOKE)),
    ({"contains": "joke about cats"}, json.dumps(JOKE)),
]


def rules() -> list[dict[str, Any]]:
    """All that the model can be asked; the faults come last, since they end with a rule for everything."""
    chats = [
        {"when": {"contains": text}, "answer": {"text": json.dumps(said)}}
        for text, said in ABOUT_CHATS.items()
    ]
    agents = [
        {"when": {"regex": rf"\b{case} {number}\b"}, "answers": turns}
        for case, turns in CASES.items()
        for number in range(1, NUM_PLAYS + 1)
    ]
    returned = [{"when": {"tool": {"name": tool}}, "answer": turn} for tool, turn in RETURNED.items()]
    observed = [{"when": {"contains": text}, "answer": turn} for text, turn in OBSERVED.items()]
    standard = [{"when": when, "answer": {"text": text}} for when, text in STANDARD]
    faults = json.loads(FAULTS.read_text())["rules"]
    return [*chats, *returned, *agents, *observed, *standard, *faults]
