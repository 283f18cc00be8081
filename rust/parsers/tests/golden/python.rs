//! Calls that are Python.

use streamcore_parsers::ToolFormat;

use crate::{Cases, check};

const PYTHONIC: Cases<'_> = &[
    (
        "[weather(city=\"Oslo\", days=3, exact=True, where=None)]",
        &["call weather {\"city\":\"Oslo\",\"days\":3,\"exact\":true,\"where\":null}"],
    ),
    (
        " [now(), weather(city='it\\'s \"x\"\\n\\x41\\u00e9\\101\\q')]\n",
        &["call now {}", "call weather {\"city\":\"it's \\\"x\\\"\\nAéA\\\\q\"}"],
    ),
    (
        "[weather(limits=[1, -2.5, +3, .5, 1., 1_000, 0x1F, 007, 1e3,], where={'a': (1, 2), 2: {}})]",
        &["call weather {\"limits\":[1,-2.5,3,0.5,1.0,1000,31,7,1e3],\"where\":{\"a\":[1,2],\"2\":{}}}"],
    ),
    (
        "[weather(city=\"\"\"a \"b\"\n\"\"\" , days = 1 , )]",
        &["call weather {\"city\":\"a \\\"b\\\"\\n\",\"days\":1}"],
    ),
    ("[weather(city=r'\\n', where=\"\")]", &["call weather {\"city\":\"\\\\n\",\"where\":\"\"}"]),
    ("[weather(city=\"\\ud83d\\ude00 \\U0001F600\")]", &["call weather {\"city\":\"\\ud83d\\ude00 😀\"}"]),
    ("[now()] and more", &["call now {}", "content  and more"]),
    ("[Oslo(x=1)]", &["content [Oslo(x=1)]"]),
    ("[weather(1)]", &["content [weather(1)]"]),
    ("[weather(a == 1)]", &["content [weather(a == 1)]"]),
    ("[weather]", &["content [weather]"]),
    ("Hello [now()]", &["content Hello [now()]"]),
    ("[weather(days=two)]", &["call weather {\"days\":two)] malformed"]),
    ("[weather(days=1, 2)]", &["call weather {\"days\":12)] malformed"]),
    ("[weather(limits=[1}, x]", &["call weather {\"limits\":[1}, x] malformed"]),
];

const LLAMA4_PYTHONIC: Cases<'_> = &[
    ("<|python_start|>[now(), weather(days=1)]<|python_end|>", &["call now {}", "call weather {\"days\":1}"]),
    ("[now()]", &["call now {}"]),
    ("I see.<|python_start|>now()<|python_end|>", &["content I see.", "call now {}"]),
    ("<|python_start|>x = 1<|python_end|>", &["content <|python_start|>x = 1<|python_end|>"]),
];

const LFM2: Cases<'_> = &[
    (
        "<|tool_call_start|>[weather(city=\"<|tool_call_end|>\")]<|tool_call_end|>Looking.",
        &["call weather {\"city\":\"<|tool_call_end|>\"}", "content Looking."],
    ),
    ("<|tool_call_start|>[]<|tool_call_end|>", &["content <|tool_call_start|>[]<|tool_call_end|>"]),
    (
        "<|tool_call_start|>[weather(days=two)]<|tool_call_end|>x",
        &["call weather {\"days\":two)] malformed", "content x"],
    ),
];

const OLMO3: Cases<'_> = &[
    (
        "<function_calls>\nnow()\nweather(city=\"Oslo\")\n</function_calls>",
        &["call now {}", "call weather {\"city\":\"Oslo\"}"],
    ),
    ("Hm.\n<function_calls>now()</function_calls>", &["content Hm.\n", "call now {}"]),
];

/// Python's strings and numbers become JSON's.
#[test]
fn pythonic() {
    check(ToolFormat::Pythonic, PYTHONIC);
    check(ToolFormat::Llama4Pythonic, LLAMA4_PYTHONIC);
    check(ToolFormat::Lfm2, LFM2);
    check(ToolFormat::Olmo3, OLMO3);
}
