"""Conversations that chat templates are compared on, from a plain question to what a template refuses."""

from typing import Any

Conversation = dict[str, Any]

WEATHER: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": 'The weather at a place, in °C; "now" & <later>',
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "description": "Where?\nOne city."},
                "days": {"type": "array", "items": {"type": "integer"}, "default": [1, 2]},
                "scale": {"type": ["string", "null"], "enum": ["C", "F", None], "default": None},
                "precision": {"type": "number", "minimum": 1e-05, "maximum": 2.5, "default": 1.0},
            },
            "required": ["city"],
        },
        "strict": True,
    },
}
CLOCK: dict[str, Any] = {
    "type": "function",
    "function": {"name": "clock", "description": "", "parameters": {"type": "object", "properties": {}}},
}


def said(*contents: str | None, system: str | None = None) -> list[dict[str, Any]]:
    """Turns by user and assistant, after an optional system message."""
    roles = ("user", "assistant")
    turns = [{"role": roles[i % 2], "content": content} for i, content in enumerate(contents)]
    return ([{"role": "system", "content": system}] if system is not None else []) + turns


def called(arguments: Any, content: str | None = None, num_calls: int = 1) -> dict[str, Any]:
    """An assistant message that calls a tool."""
    function = {"name": "get_weather", "arguments": arguments}
    calls = [{"id": f"call0000{i}", "type": "function", "function": function} for i in range(num_calls)]
    return {"role": "assistant", "content": content, "tool_calls": calls}


def answered(content: Any) -> dict[str, Any]:
    """The tool's answer."""
    return {"role": "tool", "tool_call_id": "call00000", "name": "get_weather", "content": content}


PARTS = [{"type": "text", "text": " one "}, {"type": "text", "text": "two\n"}]
QUESTION = "What is the weather in Zürich?"
ARGUMENTS = {"city": "Zürich", "days": [1], "scale": None, "precision": 0.5}

CONVERSATIONS: dict[str, Conversation] = {
    "plain": {"messages": said("Hello")},
    "no_generation_prompt": {"messages": said("Hello", "Hi."), "add_generation_prompt": False},
    "system": {"messages": said("Hello", system="Be brief.")},
    "empty_system": {"messages": said("Hello", system="")},
    "multi_turn": {"messages": said("Hello", "Hi!", "How are you?", "Well.", "Good.", system="  Be kind.\n")},
    "developer": {"messages": [{"role": "developer", "content": "Be terse."}, *said("Hello")]},
    "unicode": {"messages": said("Grüße, 世界 🌍 \u200d\u0301 \u00a0end\u00a0", system="नमस्ते\u2028")},
    "white_space": {"messages": said("\n\n  two  lines\n\tindented \x1c\r\n", " \v\f ", "\u3000x\u0085")},
    "quotes": {"messages": said("""He said "it's" \\ 'fine' {{ not }} {% code %} {# here #} <&>""")},
    "control_tokens": {"messages": said("<|eot_id|><|im_end|>[INST]</s>\x00\x7f")},
    "empty_user": {"messages": said("", "", "x")},
    "numbers_as_text": {"messages": said("0", "-1.5e10", "True")},
    "thinking": {
        "messages": said("2+2?", "<think>\neasy\n</think>\n\n4", "3+3?", "<think>\nsix\n</think>\n\n6")
    },
    "reasoning_field": {
        "messages": [*said("2+2?"), {"role": "assistant", "content": "4", "reasoning_content": "so"}]
    },
    "thinking_off": {"messages": said("Hello"), "extra": {"enable_thinking": False}},
    "thinking_on": {
        "messages": said("Hello"),
        "extra": {"enable_thinking": True, "reasoning_effort": "high"},
    },
    "date_given": {"messages": said("Hello"), "extra": {"date_string": "1 April 2030"}},
    "tokens_given": {"messages": said("Hello"), "extra": {"bos_token": "<other>"}},
    "tools": {"messages": said(QUESTION, system="Use tools."), "tools": [WEATHER, CLOCK]},
    "tools_in_system": {
        "messages": said(QUESTION),
        "tools": [WEATHER],
        "extra": {"tools_in_user_message": False},
    },
    "no_tools": {"messages": said(QUESTION), "tools": []},
    "tool_call": {"messages": [*said(QUESTION), called(ARGUMENTS)], "tools": [WEATHER]},
    "tool_call_text": {"messages": [*said(QUESTION), called('{"city": "Zürich"}')], "tools": [WEATHER]},
    "tool_call_with_content": {
        "messages": [*said(QUESTION), called(ARGUMENTS, "I look.")],
        "tools": [WEATHER],
    },
    "tool_answer": {
        "messages": [*said(QUESTION), called(ARGUMENTS), answered('{"t": 21.5}')],
        "tools": [WEATHER],
    },
    "tool_answer_list": {
        "messages": [*said(QUESTION), called(ARGUMENTS), answered([21.5, {"k": None}])],
        "tools": [WEATHER],
    },
    "after_tools": {
        "messages": [*said(QUESTION), called(ARGUMENTS, ""), answered("21"), *said("Thanks", "Gladly")[1:]],
        "tools": [WEATHER],
    },
    "two_tool_calls": {
        "messages": [*said(QUESTION), called(ARGUMENTS, "", num_calls=2), answered("21"), answered("22")],
        "tools": [WEATHER, CLOCK],
    },
    "tools_without_messages": {"messages": said(system="Alone."), "tools": [CLOCK]},
    "parts": {"messages": [{"role": "user", "content": PARTS}]},
    "system_parts": {"messages": [{"role": "system", "content": PARTS}, *said("Hello")]},
    "extra_fields": {"messages": [{"role": "user", "content": "Hi", "name": "Ann", "items": [1], "x": 1.5}]},
    "null_content": {"messages": said("Hello", None, "Still there?")},
    "no_content": {"messages": [{"role": "user"}]},
    "two_users": {"messages": [*said("One"), *said("Two")]},
    "assistant_first": {"messages": said("Hello", "Hi")[1:]},
    "late_system": {
        "messages": [*said("Hello", "Hi"), {"role": "system", "content": "Now rhyme."}, *said("Go")]
    },
    "two_systems": {"messages": [*said(system="First."), *said("Hello", system="Second.")]},
    "unknown_role": {"messages": [{"role": "critic", "content": "Meh."}, *said("Hello")]},
    "empty": {"messages": []},
}
