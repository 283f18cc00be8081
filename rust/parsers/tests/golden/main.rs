//! Answers of each family, read letter by letter, cut at every letter, all at once, with markers as
//! text and as special tokens.

mod json;
mod named;
mod python;
mod reasoning;
#[path = "../support/mod.rs"]
mod support;
mod tags;

use serde_json::{Value, json};
use streamcore_parsers::{EventKind, Finish, Outcome, Piece, ReasoningFormat, ToolFormat};
use support::{Answer, Part, lines};

/// Returns the tools of the requests, with a parameter of each type.
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

/// A family's text, and its meaning.
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

/// Cuts the answer off at every letter: calls that were complete stay so, and the last one is a
/// beginning of what it would have been.
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
                ends.extend(text.char_indices().map(|(at, letter)| start + at + letter.len_utf8()));
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
                        read.last_mut().expect("a call has begun").1.push_str(&json);
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

/// A file that a model writes as an argument would be held in memory, and reach the client in one
/// piece.
#[test]
fn long_strings_and_long_spaces_stream() {
    let content = json!({ "city": "x".repeat(5000) });
    let arguments = content.as_object().expect("an object");
    for (name, tools) in ToolFormat::ALL {
        let text = tools.call_syntax(|_| false).write([("weather", arguments)]);
        let longest = longest_hold(&answer(tools), &text);
        assert!(longest <= 100, "{name} holds {longest} bytes of a call");
        let text = format!("Hello.{}{text}{}", " \n".repeat(2000), "\n".repeat(5000));
        let longest = longest_hold(&answer(tools), &text);
        assert!(longest <= 100, "{name} holds {longest} bytes of a space");
    }
}

/// Returns the most bytes that are held back.
fn longest_hold(answer: &Answer, text: &str) -> usize {
    let mut parser = answer.parser(|_| false);
    let mut events = Vec::new();
    let mut hold = 0;
    for letter in text.chars() {
        parser.push(Piece::Text(letter.encode_utf8(&mut [0; 4])), &mut events);
        hold = hold.max(parser.num_held_bytes());
    }
    parser.finish(Finish::Stop, &mut events);
    hold
}
