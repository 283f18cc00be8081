//! Answers of each family, read letter by letter, cut at every letter, all at once, with markers as text and as special tokens.

mod support;

use serde_json::{Value, json};
use streamcore_parsers::{EventKind, Finish, Outcome, ReasoningFormat, ToolFormat};
use support::{Answer, Part, lines};

/// The tools of the requests, with a parameter of each type.
fn parameters() -> Value {
    json!({ "type": "object", "properties": {
        "city": { "type": "string" },
        "days": { "type": "integer" },
        "exact": { "type": "boolean" },
        "limits": { "type": "array" },
        "where": { "anyOf": [{ "type": "object" }, { "type": "null" }] },
    } })
}

fn answer(tools: ToolFormat) -> Answer {
    Answer::of(tools).declares("weather", parameters()).declares("now", json!({ "type": "object" }))
}

/// What a family writes, and what it says.
type Cases<'a> = &'a [(&'a str, &'a [&'a str])];

/// Reads each case with markers as text and as special tokens.
fn check(tools: ToolFormat, cases: Cases<'_>) {
    for (text, expected) in cases {
        assert_eq!(answer(tools).says(text), *expected, "{text:?} as letters");
        assert_eq!(answer(tools).special().says(text), *expected, "{text:?} with special tokens");
    }
    for (text, _) in cases {
        truncate(&answer(tools), text);
        truncate(&answer(tools).special(), text);
    }
}

/// Cuts the answer off at every letter: calls that were complete stay so, and the last one is a beginning of what it would have been.
fn truncate(answer: &Answer, text: &str) {
    let whole = lines(&answer.events(&answer.parts(text)));
    let answer = answer.clone().ends(Finish::Length);
    let mut ends = vec![0];
    for part in answer.parts(text) {
        let start = ends[ends.len() - 1];
        // A special token comes as a whole or not at all.
        match part {
            Part::Special(text) => ends.push(start + text.len()),
            Part::Text(text) => {
                ends.extend(text.char_indices().map(|(at, letter)| start + at + letter.len_utf8()))
            }
        }
    }
    for end in ends {
        let parts = answer.parts(&text[..end]);
        let events = answer.events(&parts);
        support::check(&events, &text[..end]);
        let letters = answer.events(&support::cut(&parts, |_| true));
        assert_eq!(letters, events, "{:?}", &text[..end]);
        let calls = |lines: &[String]| -> Vec<String> {
            lines.iter().filter(|line| line.starts_with("call ")).cloned().collect()
        };
        let (whole, cut) = (calls(&whole), calls(&lines(&events)));
        let Some((last, before)) = cut.split_last() else { continue };
        assert_eq!(before, &whole[..before.len()], "{:?}", &text[..end]);
        let last = last.strip_suffix(" truncated").or(last.strip_suffix(" malformed")).unwrap_or(last);
        // Two of three quotes are an empty string, for all that is there.
        let last = last.strip_suffix("\"\"").map_or(last, |_| &last[..last.len() - 1]);
        assert!(whole[before.len()].starts_with(last), "{last} of {whole:?}");
    }
}

/// Text without a call is content to its last letter, whatever it looks like.
#[test]
fn text_that_is_no_call_is_content_in_every_family() {
    let texts = [
        "Hello.",
        " \n Hello, ünïcödé 😀 \n ",
        "\n\n",
        "Use <tool_call> and </tool_call>, `functools` or `[TOOL_CALLS]`; then <function=",
        "<tool_call>",
        "<tool_call>\n{\"name\": \"weather\"",
        "<tool_call>\n{\"nam",
        "<tool_c",
        "x = {\"name\": \"weather\", \"parameters\": {}}",
        "a [weather(city=\"Oslo\")] b",
        "<|tool_call>call:weather",
        "<｜tool▁calls▁begin｜>weather",
        "<tool_call>weather, please</tool_call>",
        "[1, 2]",
        "{\"a\": 1}",
        "<function_calls>\nweather\n</function_calls>",
        "<function=weather> is how it begins",
        "</think> is no beginning",
    ];
    for (name, tools) in ToolFormat::ALL {
        if tools == ToolFormat::Openai {
            continue;
        }
        for text in texts {
            let expected = vec![format!("content {text}")];
            assert_eq!(answer(tools).says(text), expected, "{name}");
            assert_eq!(answer(tools).special().says(text), expected, "{name} with special tokens");
            assert_eq!(Answer::new(None, None).says(text), expected);
        }
    }
}

/// What a user wrote, and the model repeats in ordinary letters, would be run as a call.
#[test]
fn letters_that_spell_a_special_token_are_text() {
    for (tools, text) in [
        (ToolFormat::Hermes, "<tool_call>\n{\"name\": \"now\", \"arguments\": {}}\n</tool_call>"),
        (ToolFormat::Mistral, "[TOOL_CALLS]now[ARGS]{}"),
        (ToolFormat::Gemma4, "<|tool_call>call:now{}<tool_call|>"),
        (ToolFormat::Glm47, "<tool_call>now</tool_call>"),
    ] {
        let answer = answer(tools).special();
        let parts = [Part::Text(text.to_owned())];
        assert_eq!(lines(&answer.read(&parts)), [format!("content {text}")]);
        assert_eq!(answer.says(text), ["call now {}"]);
    }
    // The reasoning goes on where it quotes its own end.
    let answer = Answer::new(Some(ToolFormat::Hermes), Some(ReasoningFormat::Qwen3)).special();
    let parts = [
        Part::Special("<think>".to_owned()),
        Part::Text("is </think> the end?".to_owned()),
        Part::Special("</think>".to_owned()),
        Part::Text("Yes.".to_owned()),
    ];
    assert_eq!(lines(&answer.read(&parts)), ["reasoning is </think> the end?", "content Yes."]);
}

#[test]
fn hermes() {
    check(
        ToolFormat::Hermes,
        &[
            (
                "<tool_call>\n{\"name\": \"weather\", \"arguments\": {\"city\": \"Oslo\"}}\n</tool_call>",
                &["call weather {\"city\": \"Oslo\"}"],
            ),
            (
                "Let me see.\n<tool_call>{\"name\":\"now\",\"arguments\":{}}</tool_call> Done.",
                &["content Let me see.\n", "call now {}", "content  Done."],
            ),
            (
                "\n<tool_call>\n{\"name\": \"now\", \"arguments\": {}}\n</tool_call>\n<tool_call>\n{\"name\": \"weather\", \"arguments\": {\"days\": 2}}\n</tool_call>\n",
                &["call now {}", "call weather {\"days\": 2}"],
            ),
            (
                "<tool_call>{\"arguments\": {\"where\": {\"a\": [1, {\"b\": \"}\"}]}}, \"name\": \"weather\"}</tool_call>",
                &["call weather {\"where\": {\"a\": [1, {\"b\": \"}\"}]}}"],
            ),
            (
                "<tool_call>{\"type\": \"function\", \"name\": \"weather\", \"parameters\": {\"city\": \"\\u00c5s \\\"\\\\ 日本 😀</tool_call>\"}, \"x\": [1]}</tool_call>",
                &["call weather {\"city\": \"\\u00c5s \\\"\\\\ 日本 😀</tool_call>\"}"],
            ),
            (
                "<tool_call>{\"name\": \"weather\", \"arguments\": \"{\\\"city\\\": \\\"O\\\\\\\"s\\u006co\\\"}\"}</tool_call>",
                &["call weather {\"city\": \"O\\\"slo\"}"],
            ),
            (
                "<tool_call>{\"arguments\": \"{\\\"days\\\": 1}\", \"name\": \"weather\"}</tool_call>",
                &["call weather {\"days\": 1}"],
            ),
            ("<tool_call>{\"name\": \"now\"}</tool_call>", &["call now {}"]),
            ("<tool_call>{\"name\": \"now\", \"arguments\": null}</tool_call>", &["call now {}"]),
            ("<tool_call>{\"name\": \"now\", \"arguments\": \"\"}</tool_call>", &["call now {}"]),
            // Malformed: a list, no name, no quotes, a word, and a call that breaks off once it has begun.
            (
                "<tool_call>{\"name\": \"now\", \"arguments\": [1]}</tool_call>",
                &["content <tool_call>{\"name\": \"now\", \"arguments\": [1]}</tool_call>"],
            ),
            (
                "<tool_call>{\"arguments\": {}}</tool_call>",
                &["content <tool_call>{\"arguments\": {}}</tool_call>"],
            ),
            ("<tool_call>{name: \"now\"}</tool_call>", &["content <tool_call>{name: \"now\"}</tool_call>"]),
            (
                "<tool_call>{\"name\": \"now\", \"arguments\": \"none\"}</tool_call>",
                &["content <tool_call>{\"name\": \"now\", \"arguments\": \"none\"}</tool_call>"],
            ),
            (
                "<tool_call>{\"name\": \"now\", \"arguments\": {\"a\": 'b'}}</tool_call> x",
                &["call now {\"a\": 'b'}} malformed", "content  x"],
            ),
            (
                "<tool_call>{\"name\": \"now\", \"arguments\": \"{\\\"a\\\" 1}\"}</tool_call> x",
                &["call now {\"a\" 1}\"} malformed", "content  x"],
            ),
            // A brace too many is text, and so is the tag behind it.
            (
                "<tool_call>{\"name\": \"now\", \"arguments\": {}}}</tool_call>",
                &["call now {}", "content }</tool_call>"],
            ),
            ("<tool_call>{\"name\": \"now\", \"arguments\": {}}", &["call now {}"]),
            (
                "<tool_call><tool_call>{\"name\": \"now\", \"arguments\": {}}</tool_call>",
                &["content <tool_call>", "call now {}"],
            ),
            (
                "<tool_call>[{\"name\": \"now\"}, {\"name\": \"weather\", \"arguments\": {}}]</tool_call>",
                &["call now {}", "call weather {}"],
            ),
            (
                "<tool_call>{\"name\": \"now\"}\n{\"name\": \"weather\"}</tool_call>",
                &["call now {}", "call weather {}"],
            ),
        ],
    );
}

/// What is not a call by the name of a tool is an answer that happens to be JSON.
#[test]
fn llama3_json() {
    check(
        ToolFormat::Llama3Json,
        &[
            (
                "{\"name\": \"weather\", \"parameters\": {\"city\": \"Oslo\"}}",
                &["call weather {\"city\": \"Oslo\"}"],
            ),
            (" \n{\"type\": \"function\", \"name\": \"now\", \"parameters\": {}}", &["call now {}"]),
            (
                "<|python_tag|>{\"name\": \"now\", \"parameters\": {}}; {\"name\": \"weather\", \"parameters\": {\"days\": 1}}",
                &["call now {}", "call weather {\"days\": 1}"],
            ),
            (
                "{\"name\": \"now\", \"parameters\": {}}\n{\"name\": \"now\", \"parameters\": {}}",
                &["call now {}", "call now {}"],
            ),
            (
                "{\"parameters\": {\"city\": \"\\n\"}, \"name\": \"weather\"}",
                &["call weather {\"city\": \"\\n\"}"],
            ),
            (
                "I call <|python_tag|>{\"name\": \"now\", \"parameters\": {}} now",
                &["content I call ", "call now {}", "content  now"],
            ),
            (
                "{\"name\": \"Oslo\", \"parameters\": {}}",
                &["content {\"name\": \"Oslo\", \"parameters\": {}}"],
            ),
            ("{\"name\": \"now\", \"size\": 1}", &["content {\"name\": \"now\", \"size\": 1}"]),
            ("{\"name\": 1}", &["content {\"name\": 1}"]),
            (
                "{\"a\": 1}; {\"name\": \"now\", \"parameters\": {}}",
                &["content {\"a\": 1}; {\"name\": \"now\", \"parameters\": {}}"],
            ),
            ("<|python_tag|>print(1)", &["content <|python_tag|>print(1)"]),
            ("{\"name\": \"now\", \"parameters\": {\"a\": x}}", &["call now {\"a\": x}} malformed"]),
        ],
    );
}

#[test]
fn lists_of_json() {
    check(
        ToolFormat::Granite,
        &[
            (
                "<|tool_call|>[{\"name\": \"now\", \"arguments\": {}}, {\"name\": \"weather\", \"arguments\": {\"days\": 1}}]",
                &["call now {}", "call weather {\"days\": 1}"],
            ),
            ("Sure: <tool_call>[{\"name\": \"now\"}]", &["content Sure: ", "call now {}"]),
            ("<|tool_call|>{\"name\": \"now\"}", &["content <|tool_call|>{\"name\": \"now\"}"]),
            ("<|tool_call|>[]", &["content <|tool_call|>[]"]),
            (
                "<|tool_call|>[{\"name\": \"now\"} {\"name\": \"now\"}]",
                &["call now {}", "content  {\"name\": \"now\"}]"],
            ),
        ],
    );
    check(
        ToolFormat::Phi4MiniJson,
        &[
            (
                "functools[{\"name\": \"weather\", \"arguments\": {\"limits\": [[1], \"]\"]}}]",
                &["call weather {\"limits\": [[1], \"]\"]}"],
            ),
            ("<|tool_call|>[{\"name\": \"now\", \"arguments\": {}}]<|/tool_call|>", &["call now {}"]),
            ("import functools\nfunctools.reduce", &["content import functools\nfunctools.reduce"]),
        ],
    );
    check(
        ToolFormat::Granite4,
        &[(
            "<tool_call>\n{\"name\": \"now\", \"arguments\": {}}\n</tool_call>\n<tool_call>{\"name\": \"now\"}</tool_call>",
            &["call now {}", "call now {}"],
        )],
    );
}

#[test]
fn mistral_in_both_ways() {
    check(
        ToolFormat::Mistral,
        &[
            (
                "[TOOL_CALLS] [{\"name\": \"weather\", \"arguments\": {\"city\": \"Oslo\"}, \"id\": \"aB3dE6gH9\"}]",
                &["call weather {\"city\": \"Oslo\"}"],
            ),
            (
                "[TOOL_CALLS][{\"id\": \"aB3dE6gH9\", \"name\": \"now\", \"arguments\": {}}, {\"name\": \"now\"}]",
                &["call now #aB3dE6gH9 {}", "call now {}"],
            ),
            (
                "Wait.[TOOL_CALLS]weather[ARGS]{\"city\": \"[ARGS] Oslo\"}[TOOL_CALLS]now[ARGS]{}",
                &["content Wait.", "call weather {\"city\": \"[ARGS] Oslo\"}", "call now {}"],
            ),
            (
                "[TOOL_CALLS]weather[CALL_ID]aB3dE6gH9[ARGS]{\"days\": 1}",
                &["call weather #aB3dE6gH9 {\"days\": 1}"],
            ),
            ("[TOOL_CALLS]weather{\"days\": 1}", &["call weather {\"days\": 1}"]),
            ("[TOOL_CALLS] weather [ARGS] {\"days\": 1}\n", &["call weather {\"days\": 1}"]),
            ("[TOOL_CALLS]not a name[ARGS]{}", &["content [TOOL_CALLS]not a name[ARGS]{}"]),
            ("[TOOL_CALLS]now[ARGS]none", &["content [TOOL_CALLS]now[ARGS]none"]),
            ("[TOOL_CALLS]now[ARGS]", &["content [TOOL_CALLS]now[ARGS]"]),
            ("[TOOL_CALLS][]", &["content [TOOL_CALLS][]"]),
            (
                "[TOOL_CALLS]now[ARGS]{\"a\" 1}[TOOL_CALLS]now[ARGS]{}",
                &["call now {\"a\" 1} malformed", "call now {}"],
            ),
        ],
    );
}

#[test]
fn deepseek_v31() {
    check(
        ToolFormat::DeepseekV31,
        &[
            (
                "Hm.<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>weather<｜tool▁sep｜>{\"city\": \"Oslo\"}<｜tool▁call▁end｜><｜tool▁call▁begin｜>now<｜tool▁sep｜>{}<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
                &["content Hm.", "call weather {\"city\": \"Oslo\"}", "call now {}"],
            ),
            (
                "<｜tool▁calls▁begin｜>\n<｜tool▁call▁begin｜>now<｜tool▁sep｜><｜tool▁call▁end｜>\n<｜tool▁calls▁end｜> x",
                &["call now {}", "content  x"],
            ),
            ("<｜tool▁call▁begin｜>now<｜tool▁sep｜>{}", &["call now {}"]),
            (
                "<｜tool▁calls▁begin｜>x<｜tool▁calls▁end｜>",
                &["content <｜tool▁calls▁begin｜>x<｜tool▁calls▁end｜>"],
            ),
            (
                "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>now<｜tool▁sep｜>[]<｜tool▁call▁end｜>",
                &[
                    "content <｜tool▁calls▁begin｜><｜tool▁call▁begin｜>now<｜tool▁sep｜>[]<｜tool▁call▁end｜>",
                ],
            ),
            (
                "<｜tool▁call▁begin｜>now<｜tool▁sep｜>{1}<｜tool▁call▁end｜><｜tool▁call▁begin｜>now<｜tool▁sep｜>{}<｜tool▁call▁end｜>",
                &["call now {1} malformed", "call now {}"],
            ),
        ],
    );
}

#[test]
fn qwen3_xml() {
    check(
        ToolFormat::Qwen3Xml,
        &[
            (
                "<tool_call>\n<function=weather>\n<parameter=city>\nOslo\n</parameter>\n<parameter=days>\n3\n</parameter>\n<parameter=exact>\nTrue\n</parameter>\n</function>\n</tool_call>",
                &["call weather {\"city\":\"Oslo\",\"days\":3,\"exact\":true}"],
            ),
            (
                "I look.\n\n<tool_call>\n<function=weather>\n<parameter=city>\n\n a \"b\"\\\n<b> </parameter\n\n</parameter>\n<parameter=where>\n{\"a\": [1]}\n</parameter>\n</function>\n</tool_call>\n",
                &[
                    "content I look.\n\n",
                    "call weather {\"city\":\"\\n a \\\"b\\\"\\\\\\n<b> </parameter\\n\",\"where\":{\"a\": [1]}}",
                ],
            ),
            (
                "<tool_call>\n<function=now>\n</function>\n</tool_call>\n<tool_call>\n<function=now></function></tool_call>",
                &["call now {}", "call now {}"],
            ),
            (
                "<function=weather><parameter=city></parameter><parameter=days>three</parameter></function>",
                &["call weather {\"city\":\"\",\"days\":\"three\"}"],
            ),
            (
                "<tool_call><function=weather><parameter=where>null</parameter><parameter=new key>5</parameter></function></tool_call>",
                &["call weather {\"where\":null,\"new key\":\"5\"}"],
            ),
            (
                "<tool_call><function=now></function>\n<function=now></function></tool_call>.",
                &["call now {}", "call now {}", "content ."],
            ),
            // The model forgets to close: the function, or all.
            (
                "<tool_call><function=weather><parameter=city>x</parameter></tool_call>.",
                &["call weather {\"city\":\"x\"}", "content ."],
            ),
            (
                "<tool_call><function=weather><parameter=city>x</parameter>",
                &["call weather {\"city\":\"x\"}"],
            ),
            // Malformed: no name, no tag behind it, no function, text between the tags, a value without an end.
            (
                "<tool_call><function=></function></tool_call>",
                &["content <tool_call><function=></function></tool_call>"],
            ),
            (
                "<tool_call><function=now>text</function></tool_call>",
                &["content <tool_call><function=now>text</function></tool_call>"],
            ),
            ("<tool_call>\n</tool_call>", &["content <tool_call>\n</tool_call>"]),
            (
                "<tool_call><function=weather><parameter=days>1</parameter>text</function></tool_call>.",
                &["call weather {\"days\":1text</function> malformed", "content ."],
            ),
            (
                "<tool_call><function=weather><parameter=city>x</function></tool_call>",
                &["call weather {\"city\":\"x</function></tool_call> truncated"],
            ),
        ],
    );
}

#[test]
fn glm47() {
    check(
        ToolFormat::Glm47,
        &[
            (
                "<tool_call>weather<arg_key>city</arg_key><arg_value>Oslo</arg_value><arg_key>days</arg_key><arg_value>3</arg_value></tool_call>",
                &["call weather {\"city\":\"Oslo\",\"days\":3}"],
            ),
            (
                "Hm.\n<tool_call>weather\n<arg_key>city</arg_key>\n<arg_value> a\n</arg_value>\n</tool_call>\n<tool_call>now\n</tool_call>",
                &["content Hm.\n", "call weather {\"city\":\" a\\n\"}", "call now {}"],
            ),
            (
                "<tool_call>weather<arg_key>limits</arg_key><arg_value>[1, \"</tool_call>\"]</arg_value></tool_call>",
                &["call weather {\"limits\":[1, \"</tool_call>\"]}"],
            ),
            ("<tool_call>two words</tool_call>", &["content <tool_call>two words</tool_call>"]),
            ("<tool_call></tool_call>", &["content <tool_call></tool_call>"]),
            (
                "<tool_call>weather<arg_key>city</arg_key>Oslo</tool_call>x",
                &["call weather {<arg_key>city</arg_key>Oslo malformed", "content x"],
            ),
            ("<tool_call>weather<arg_value>", &["content <tool_call>weather<arg_value>"]),
            ("<tool_call>weather<arg_key>days</arg_key><arg_value>3", &["call weather {\"days\": truncated"]),
        ],
    );
}

#[test]
fn gemma() {
    check(
        ToolFormat::Gemma4,
        &[
            (
                "<|tool_call>call:weather{city:<|\"|>Os\"lo\\ {,}<|\"|>,days:3,exact:true}<tool_call|>",
                &["call weather {\"city\":\"Os\\\"lo\\\\ {,}\",\"days\":3,\"exact\":true}"],
            ),
            (
                "Hm.<|tool_call>call:weather{where:{a:[1,<|\"|>b<|\"|>,[],{}],c:null},limits:[ ]}<tool_call|><|tool_call>call:now{}<tool_call|>\n",
                &[
                    "content Hm.",
                    "call weather {\"where\":{\"a\":[1,\"b\",[],{}],\"c\":null},\"limits\":[]}",
                    "call now {}",
                ],
            ),
            (
                "<|tool_call>call:weather{ <|\"|>city<|\"|> : Oslo , days : x }",
                &["call weather {\"city\":\"Oslo\",\"days\":\"x\"}"],
            ),
            (
                "<|tool_call>call:weather{city:42,other:42}<tool_call|>",
                &["call weather {\"city\":\"42\",\"other\":42}"],
            ),
            ("<|tool_call>weather{}<tool_call|>", &["content <|tool_call>weather{}<tool_call|>"]),
            ("<|tool_call>call:{}<tool_call|>", &["content <|tool_call>call:{}<tool_call|>"]),
            ("<|tool_call>call:now{a:1]}<tool_call|>x", &["call now {\"a\":1]} malformed", "content x"]),
            ("<|tool_call>call:now{a:[1,]}<tool_call|>x", &["call now {\"a\":[1]} malformed", "content x"]),
            ("<|tool_call>call:now{a}<tool_call|>x", &["call now {a} malformed", "content x"]),
            ("<|tool_call>call:weather{city:<|\"|>Oslo", &["call weather {\"city\":\"Oslo truncated"]),
        ],
    );
    check(
        ToolFormat::FunctionGemma,
        &[
            (
                "<start_function_call>call:weather{city:<escape>Oslo<escape>,days:3}<end_function_call>",
                &["call weather {\"city\":\"Oslo\",\"days\":3}"],
            ),
            (
                "<start_function_call>call:now{}<end_function_call><start_function_call>call:now{}<end_function_call>",
                &["call now {}", "call now {}"],
            ),
        ],
    );
}

#[test]
fn pythonic() {
    check(
        ToolFormat::Pythonic,
        &[
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
                &[
                    "call weather {\"limits\":[1,-2.5,3,0.5,1.0,1000,31,7,1e3],\"where\":{\"a\":[1,2],\"2\":{}}}",
                ],
            ),
            (
                "[weather(city=\"\"\"a \"b\"\n\"\"\" , days = 1 , )]",
                &["call weather {\"city\":\"a \\\"b\\\"\\n\",\"days\":1}"],
            ),
            ("[weather(city=r'\\n', where=\"\")]", &["call weather {\"city\":\"\\\\n\",\"where\":\"\"}"]),
            (
                "[weather(city=\"\\ud83d\\ude00 \\U0001F600\")]",
                &["call weather {\"city\":\"\\ud83d\\ude00 😀\"}"],
            ),
            ("[now()] and more", &["call now {}", "content  and more"]),
            ("[Oslo(x=1)]", &["content [Oslo(x=1)]"]),
            ("[weather(1)]", &["content [weather(1)]"]),
            ("[weather(a == 1)]", &["content [weather(a == 1)]"]),
            ("[weather]", &["content [weather]"]),
            ("Hello [now()]", &["content Hello [now()]"]),
            ("[weather(days=two)]", &["call weather {\"days\":two)] malformed"]),
            ("[weather(days=1, 2)]", &["call weather {\"days\":1 2)] malformed"]),
            ("[weather(limits=[1}, x]", &["call weather {\"limits\":[1}, x] malformed"]),
        ],
    );
    check(
        ToolFormat::Llama4Pythonic,
        &[
            (
                "<|python_start|>[now(), weather(days=1)]<|python_end|>",
                &["call now {}", "call weather {\"days\":1}"],
            ),
            ("[now()]", &["call now {}"]),
            ("I see.<|python_start|>now()<|python_end|>", &["content I see.", "call now {}"]),
            ("<|python_start|>x = 1<|python_end|>", &["content <|python_start|>x = 1<|python_end|>"]),
        ],
    );
    check(
        ToolFormat::Lfm2,
        &[
            (
                "<|tool_call_start|>[weather(city=\"<|tool_call_end|>\")]<|tool_call_end|>Looking.",
                &["call weather {\"city\":\"<|tool_call_end|>\"}", "content Looking."],
            ),
            ("<|tool_call_start|>[]<|tool_call_end|>", &["content <|tool_call_start|>[]<|tool_call_end|>"]),
            (
                "<|tool_call_start|>[weather(days=two)]<|tool_call_end|>x",
                &["call weather {\"days\":two)] malformed", "content x"],
            ),
        ],
    );
    check(
        ToolFormat::Olmo3,
        &[
            (
                "<function_calls>\nnow()\nweather(city=\"Oslo\")\n</function_calls>",
                &["call now {}", "call weather {\"city\":\"Oslo\"}"],
            ),
            ("Hm.\n<function_calls>now()</function_calls>", &["content Hm.\n", "call now {}"]),
        ],
    );
}

#[test]
fn harmony() {
    check(
        ToolFormat::Openai,
        &[
            (
                "<|channel|>analysis<|message|>Think.<|end|><|start|>assistant<|channel|>final<|message|>Hello.<|return|>",
                &["reasoning Think.", "content Hello."],
            ),
            (
                "<|channel|>analysis<|message|>I look.<|end|><|start|>assistant<|channel|>commentary to=functions.weather <|constrain|>json<|message|>{\"city\": \"Oslo\"}<|call|>",
                &["reasoning I look.", "call weather {\"city\": \"Oslo\"}"],
            ),
            (" to=functions.now<|channel|>commentary<|constrain|>json<|message|>{}", &["call now {}"]),
            (
                "<|channel|>commentary<|message|>First.<|end|><|start|>assistant to=functions.now<|channel|>commentary<|message|><|call|>",
                &["content First.", "call now {}"],
            ),
            (
                "<|channel|>commentary to=weather<|message|> {\"days\": 1} <|call|><|start|>assistant<|channel|>commentary to=functions.now<|message|>{}<|call|>",
                &["call weather {\"days\": 1}", "call now {}"],
            ),
            ("<|channel|>analysis to=python<|message|>print(1)<|call|>", &["reasoning print(1)"]),
            ("Just text.", &["content Just text."]),
            ("<|channel|>final<|message|>", &[]),
            (
                "<|channel|>commentary to=functions.now<|message|>[1]<|call|>",
                &["content <|channel|>commentary to=functions.now<|message|>[1]"],
            ),
            (
                "<|channel|>commentary to=functions.now<|message|>{\"a\" 1}<|call|><|start|>assistant<|channel|>final<|message|>x",
                &["call now {\"a\" 1} malformed", "content x"],
            ),
            (
                "<|channel|>commentary to=functions.now<|message|>{\"a\": \"b",
                &["call now {\"a\": \"b truncated"],
            ),
            ("<|channel|>odd<|message|>x<|end|>", &["content x"]),
            ("<|channel|>final<|end|>", &["content <|channel|>final"]),
        ],
    );
}

/// Reasoning before everything, in each of its forms.
#[test]
fn reasoning() {
    let cases: &[(&str, ToolFormat, &str, &[&str])] = &[
        (
            "qwen3",
            ToolFormat::Hermes,
            "<think>\nHm.\n</think>\n\nHello.",
            &["reasoning \nHm.\n", "content \n\nHello."],
        ),
        ("qwen3", ToolFormat::Hermes, "\n<think>\n\n</think>\n\nHello.", &["content \n\nHello."]),
        (
            "qwen3",
            ToolFormat::Hermes,
            "<think>a</think>\n\n<tool_call>{\"name\": \"now\"}</tool_call>",
            &["reasoning a", "call now {}"],
        ),
        (
            "qwen3",
            ToolFormat::Hermes,
            "<think>a <tool_call> is\n<tool_call>{\"name\": \"now\"}</tool_call></think>b",
            &["reasoning a <tool_call> is\n", "call now {}", "content </think>b"],
        ),
        ("qwen3", ToolFormat::Hermes, "<think>never ends", &["reasoning never ends"]),
        ("qwen3", ToolFormat::Hermes, "No. <think>x</think>", &["content No. <think>x</think>"]),
        ("qwen3", ToolFormat::Hermes, "<thin", &["content <thin"]),
        (
            "qwen3",
            ToolFormat::Qwen3Xml,
            "<think>a<tool_call>\n<function=now>\n</function>\n</tool_call>",
            &["reasoning a", "call now {}"],
        ),
        ("deepseek_r1", ToolFormat::DeepseekV31, "<think>a</think>b", &["reasoning a", "content b"]),
        (
            "mistral",
            ToolFormat::Mistral,
            "[THINK]a[/THINK]b[TOOL_CALLS]now[ARGS]{}",
            &["reasoning a", "content b", "call now {}"],
        ),
        (
            "gemma4",
            ToolFormat::Gemma4,
            "<|channel>thought\nHm.\n<channel|>Hello.",
            &["reasoning Hm.\n", "content Hello."],
        ),
        ("gemma4", ToolFormat::Gemma4, "<|channel>thought\n<channel|>Hello.", &["content Hello."]),
        (
            "gemma4",
            ToolFormat::Gemma4,
            "<|channel>other\n<channel|>",
            &["content <|channel>other\n<channel|>"],
        ),
        (
            "granite",
            ToolFormat::Granite,
            "Here is my thought process: a Here is my response: b",
            &["reasoning  a ", "content  b"],
        ),
        (
            "granite",
            ToolFormat::Granite,
            "Here's my thought process:aHere's my response:b",
            &["reasoning a", "content b"],
        ),
        ("granite", ToolFormat::Granite, "Here is my answer: b", &["content Here is my answer: b"]),
        ("granite_thinking", ToolFormat::Qwen3Xml, "<think>a</think>\n\nb", &["reasoning a", "content b"]),
        (
            "glm45",
            ToolFormat::Glm47,
            "<think>a</think><tool_call>now</tool_call>",
            &["reasoning a", "call now {}"],
        ),
        ("olmo3", ToolFormat::Olmo3, "<think>a</think>b", &["reasoning a", "content b"]),
        // A list in the thought of a format without markers is no call.
        (
            "deepseek_r1",
            ToolFormat::Pythonic,
            "<think>[now()]</think>[now()]",
            &["reasoning [now()]", "call now {}"],
        ),
    ];
    for (name, tools, text, expected) in cases {
        let format = ReasoningFormat::named(name).expect("the format has a name");
        let answer = Answer { reasoning: Some(format), ..answer(*tools) };
        assert_eq!(answer.says(text), *expected, "{name}: {text:?}");
        assert_eq!(answer.clone().special().says(text), *expected, "{name} with special tokens: {text:?}");
        truncate(&answer.special(), text);
    }
}

/// A prompt that ends in the marker leaves none for the answer.
#[test]
fn reasoning_that_the_prompt_has_opened() {
    let answer = Answer { reasoning: Some(ReasoningFormat::Qwen3), ..answer(ToolFormat::Qwen3Xml) }.inside();
    let cases: Cases<'_> = &[
        ("Hm.\n</think>\n\nHello.", &["reasoning Hm.\n", "content \n\nHello."]),
        ("<think>\nHm.</think>b", &["reasoning \nHm.", "content b"]),
        ("</think>b", &["content b"]),
        ("Hm.\n<tool_call>\n<function=now>\n</function>\n</tool_call>", &["reasoning Hm.\n", "call now {}"]),
        ("never ends <tool_call>", &["reasoning never ends <tool_call>"]),
    ];
    for (text, expected) in cases {
        assert_eq!(answer.says(text), *expected);
        assert_eq!(answer.clone().special().says(text), *expected);
    }
    assert!(ReasoningFormat::Qwen3.is_open_behind("<|im_start|>assistant\n<think>\n"));
    assert!(!ReasoningFormat::Qwen3.is_open_behind("<|im_start|>assistant\n<think>\n\n</think>\n\n"));
    assert!(!ReasoningFormat::Qwen3.is_open_behind("<|im_start|>assistant\n"));
}

/// With `tool_choice: "none"` the answer has no calls, but all of its text.
#[test]
fn without_a_format_calls_are_content() {
    let text = "<tool_call>{\"name\": \"now\"}</tool_call>";
    assert_eq!(Answer::new(None, Some(ReasoningFormat::Qwen3)).says(text), [format!("content {text}")]);
    let harmony = Answer::new(None, Some(ReasoningFormat::OpenaiGptoss)).special();
    assert_eq!(harmony.says("<|channel|>commentary to=functions.now<|message|>{}<|call|>"), ["content {}"]);
}

/// The writer of a family writes what its parser reads.
#[test]
fn each_syntax_is_read_back() {
    for (name, tools) in ToolFormat::ALL {
        for has_tokens in [false, true] {
            let syntax = tools.call_syntax(|_| has_tokens);
            let weather = json!({ "city": "Os\"lo\n", "days": 3, "exact": true, "limits": [1, "a"], "where": { "b": null } });
            let now = json!({});
            let calls = [("weather", &weather), ("now", &now)];
            let calls = &calls[..if syntax.is_parallel { 2 } else { 1 }];
            let text = syntax.write(
                calls.iter().map(|(name, arguments)| (*name, arguments.as_object().expect("an object"))),
            );
            assert!(text.starts_with(syntax.trigger), "{text}");
            let answer = if has_tokens { answer(tools).special() } else { answer(tools) };
            let mut read: Vec<(String, String)> = Vec::new();
            for event in answer.read(&answer.parts(&text)) {
                match event.kind {
                    EventKind::CallBegin { name, .. } => read.push((name, String::new())),
                    EventKind::Arguments(json) => {
                        read.last_mut().expect("a call has begun").1.push_str(&json)
                    }
                    EventKind::CallEnd(outcome) => assert_eq!(outcome, Outcome::Complete),
                    EventKind::Syntax => {}
                    EventKind::Content(_) | EventKind::Reasoning(_) => panic!("{name}: {event:?} of {text}"),
                }
            }
            let read: Vec<(&str, Value)> = read
                .iter()
                .map(|(name, json)| (&name[..], serde_json::from_str(json).expect("it is JSON")))
                .collect();
            let expected: Vec<_> =
                calls.iter().map(|(name, arguments)| (*name, (*arguments).clone())).collect();
            assert_eq!(read, expected, "{name}: {text}");
        }
    }
}
