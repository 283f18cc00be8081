//! Calls of tools, and structural tags.
#![allow(clippy::unwrap_used)]

mod common;

use common::{END_MARKER, MARKER, Random, can_say, compile, random_answer};
use serde_json::{Value, json};
use streamcore_grammar::{Call, Calls, Compiled, Grammar, GrammarError, Node, Piece};

fn arguments() -> Value {
    json!({"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": false})
}

fn call(name: &str) -> Call {
    Call {
        begin: vec![Piece::Text(format!("<tool>\n{{\"name\": \"{name}\", \"arguments\": "))],
        arguments: Node::json(arguments()),
        end: vec![Piece::Text("}\n</tool>".to_owned())],
    }
}

fn calls(parallel: bool) -> Calls {
    Calls { calls: vec![call("f"), call("foo")], parallel }
}

fn said(name: &str) -> String {
    format!("<tool>\n{{\"name\": \"{name}\", \"arguments\": {{\"a\":1}}}}\n</tool>")
}

fn compiled(node: Node) -> std::sync::Arc<Compiled> {
    compile(&Grammar(node)).unwrap()
}

/// `tool_choice: "required"` is answered with prose, or a call of a tool that does not exist.
#[test]
fn a_required_call_is_a_call_and_nothing_else() {
    let one = compiled(calls(false).required("\n"));
    let many = compiled(calls(true).required("\n"));
    let (f, foo) = (said("f"), said("foo"));
    for text in [f.clone(), foo.clone()] {
        assert!(can_say(&one, &text) && can_say(&many, &text));
    }
    let two = format!("{f}\n{foo}");
    assert!(can_say(&many, &two) && !can_say(&one, &two));
    for text in [
        "",
        "Hello",
        &format!("Well: {f}"),
        &said("g"),
        &f.replace('1', "\"x\""),
        &format!("{f}{foo}"),
        &format!("{f}\n"),
    ] {
        assert!(!can_say(&one, text) && !can_say(&many, text), "{text}");
    }
}

/// With `auto` the model talks as it likes, until it calls: then the arguments hold, and it may
/// talk on.
#[test]
fn free_text_turns_into_a_call_at_the_trigger() {
    let many = compiled(calls(true).within_text("<tool>"));
    let one = compiled(calls(false).within_text("<tool>"));
    let f = said("f");
    for text in [
        "",
        "Hello é",
        "<to",
        "<tool",
        "a < b <tool </tool>",
        &f,
        &format!("Well: {f}"),
        &format!("<to<tool <{f}"),
    ] {
        assert!(can_say(&many, text) && can_say(&one, text), "{text}");
    }
    for text in [format!("{f} so"), format!("a {f} b {} c", said("foo")), format!("{f}{f}")] {
        assert!(can_say(&many, &text) && !can_say(&one, &text), "{text}");
    }
    for text in ["<tool>", "x <tool>\n", "<tool> ", &said("g"), &f.replace('1', "1.5"), &f.replace("}\n", "")]
    {
        assert!(!can_say(&many, text) && !can_say(&one, text), "{text}");
    }
}

/// A model that puts a space behind the arguments is led into line ends without end.
#[test]
fn what_follows_a_schema_may_begin_with_a_line_end() {
    let json = Node::json(json!({"type": "object", "properties": {}, "additionalProperties": false}));
    let compiled =
        compiled(Node::Sequence(vec![Node::Text("<x>\n".to_owned()), json, Node::Text("\n</x>".to_owned())]));
    assert!(can_say(&compiled, "<x>\n{}\n</x>") && can_say(&compiled, "<x>\n{ }\n</x>"));
    assert!(
        !can_say(&compiled, "<x>\n{} \n</x>")
            && !can_say(&compiled, "<x>\n{}</x>")
            && !can_say(&compiled, "<x>\n {}\n</x>")
    );
}

/// Whatever a random model says between the markers, the arguments are valid.
#[test]
fn the_arguments_of_random_calls_are_valid() {
    let many = compiled(calls(true).required(""));
    let mut num_calls = 0;
    for seed in 1..=60 {
        let Some(answer) = random_answer(&many, &mut Random(seed), 400).unwrap() else { continue };
        let text = String::from_utf8(answer).unwrap();
        for call in text.split_terminator("</tool>") {
            let call: Value = serde_json::from_str(call.trim_start_matches("<tool>"))
                .unwrap_or_else(|error| panic!("{error}: {text}"));
            assert!(call["arguments"]["a"].is_number(), "{text}");
            num_calls += 1;
        }
    }
    assert!(num_calls > 60, "{num_calls}");
}

/// A family whose markers are tokens: the letters of the marker are text, and the call is not one
/// without the token.
#[test]
fn markers_may_be_tokens() {
    let call = Call {
        begin: vec![Piece::Token(MARKER), Piece::Text("f".to_owned())],
        arguments: Node::json(arguments()),
        end: vec![Piece::Token(END_MARKER)],
    };
    let calls = Calls { calls: vec![call], parallel: true };
    let compiled = compiled(calls.within_text(""));
    assert!(can_say(&compiled, "<marker>f nothing"));
    let mut matcher = compiled.matcher();
    for token in
        [u32::from(b'h'), MARKER, u32::from(b'f')].into_iter().chain("{\"a\":1}".bytes().map(u32::from))
    {
        matcher.accept(token).unwrap();
    }
    assert!(!matcher.can_end().unwrap() && matcher.accept(u32::from(b'<')).is_err());
    matcher.accept(END_MARKER).unwrap();
    assert!(matcher.can_end().unwrap());
}

/// Parameters in a notation of their own: text up to a marker, and values that may be left out.
#[test]
fn arguments_need_not_be_json() {
    let parameter = |name: &str, value: Vec<Node>| {
        Node::Sequence([vec![Node::Text(format!("<p={name}>"))], value].concat())
    };
    let city = parameter("city", vec![Node::Until("</p>".to_owned())]);
    let days = parameter("days", vec![Node::json(json!({"type": "integer"})), Node::Text("</p>".to_owned())]);
    let days = Node::Repeat { node: Box::new(days), separator: String::new(), min: 0, max: Some(1) };
    let unit = Node::Sequence(vec![
        Node::Text("<u>".to_owned()),
        Node::Choice(vec!["C".to_owned(), "F".to_owned()]),
    ]);
    let compiled = compiled(Node::Sequence(vec![city, days, unit]));
    for text in ["<p=city>Bern</p><u>C", "<p=city>a<b \n</p </p><p=days>3</p><u>F", "<p=city></p><u>F"] {
        assert!(can_say(&compiled, text), "{text}");
    }
    for text in
        ["<p=city>Bern</p>", "<p=city>x</p>y<u>C", "<p=days>3</p><u>C", "<p=city>x</p><p=days>z</p><u>C"]
    {
        assert!(!can_say(&compiled, text), "{text}");
    }
}

/// vLLM's older shape.
#[test]
fn a_structural_tag_with_triggers_is_free_text_with_tags() {
    let tag = json!({"type": "structural_tag", "triggers": ["<fn"], "structures": [
        {"begin": "<fn=a>", "schema": arguments(), "end": "</fn>"},
        {"begin": "<fn=b>", "schema": {"type": "null"}, "end": "</fn>"},
    ]});
    let compiled = compile(&Grammar::structural_tag(&tag).unwrap()).unwrap();
    for text in ["", "free", "x <fn=b>null</fn> y <fn=a>{\"a\":1}</fn>", "<f <fn=b>null</fn>"] {
        assert!(can_say(&compiled, text), "{text}");
    }
    for text in ["<fn", "<fn=c>", "<fn=b>1</fn>", "<fn=a>null</fn>", "<fn=b>null"] {
        assert!(!can_say(&compiled, text), "{text}");
    }
}

/// vLLM's newer shape, each format of it.
#[test]
fn the_formats_of_structural_tags() {
    let nothing = json!({"type": "json_schema", "json_schema": {"type": "null"}});
    let tag =
        |name: &str| json!({"type": "tag", "begin": format!("<{name}>"), "content": nothing, "end": "</>"});
    let cases = [
        (json!({"type": "const_string", "value": "yes"}), vec!["yes"], vec!["no", ""]),
        (nothing.clone(), vec!["null"], vec!["1"]),
        (json!({"type": "any_text"}), vec!["", "x\ny"], vec![]),
        (json!({"type": "regex", "pattern": "a+"}), vec!["aa"], vec!["b"]),
        (
            json!({"type": "sequence", "elements": [nothing, {"type": "const_string", "value": "!"}]}),
            vec!["null!"],
            vec!["null"],
        ),
        (
            json!({"type": "or", "elements": [nothing, {"type": "const_string", "value": "!"}]}),
            vec!["null", "!"],
            vec!["null!"],
        ),
        (
            json!({"type": "tag", "begin": "<t>", "content": {"type": "any_text"}, "end": "</t>"}),
            vec!["<t>a</x></t>"],
            vec!["<t></t>x"],
        ),
        (
            json!({"type": "triggered_tags", "triggers": ["<a", "<b"], "tags": [tag("a"), tag("b")]}),
            vec!["", "x", "x<a>null</>y<b>null</>"],
            vec!["<a", "<a>1</>"],
        ),
        (
            json!({"type": "triggered_tags", "triggers": ["<a"], "tags": [tag("a")], "at_least_one": true, "stop_after_first": true}),
            vec!["x<a>null</>"],
            vec!["", "x", "<a>null</>y"],
        ),
        (
            json!({"type": "tags_with_separator", "separator": ",", "tags": [tag("a"), tag("b")]}),
            vec!["", "<a>null</>", "<a>null</>,<b>null</>"],
            vec!["x", "<a>null</><b>null</>"],
        ),
    ];
    for (format, yes, no) in cases {
        let grammar = Grammar::structural_tag(&json!({"type": "structural_tag", "format": format})).unwrap();
        let compiled = compile(&grammar).unwrap_or_else(|error| panic!("{format}: {error}"));
        for text in yes {
            assert!(can_say(&compiled, text), "{format}: {text}");
        }
        for text in no {
            assert!(!can_say(&compiled, text), "{format}: {text}");
        }
    }
}

/// A tag that would be free text for ever, because nothing begins it, is a mistake of the client.
#[test]
fn structural_tags_of_other_shapes_are_refused_with_their_path() {
    let refused = |tag: Value| Grammar::structural_tag(&tag).unwrap_err();
    let no_trigger = json!({"triggers": ["<x"], "structures": [{"begin": "<y>", "schema": {}, "end": ""}]});
    assert_eq!(
        refused(no_trigger).to_string(),
        "`/structures/0` is not valid: `begin` starts with none of the `triggers`"
    );
    let unknown = json!({"format": {"type": "sequence", "elements": [{"type": "qwen_xml_parameter", "json_schema": {}}]}});
    assert!(matches!(refused(unknown), GrammarError::Unsupported { keyword, path, .. }
        if keyword == "qwen_xml_parameter" && path == "/format/elements/0"));
    for tag in [
        json!({}),
        json!(1),
        json!({"structures": 1}),
        json!({"structures": [], "format": {}}),
        json!({"format": {}}),
        json!({"structures": [{"begin": "a"}], "triggers": ["a"]}),
        json!({"format": {"type": "tag", "begin": "a"}}),
    ] {
        assert!(Grammar::structural_tag(&tag).is_err(), "{tag}");
    }
}

/// A thought, or the channel of an answer, stands before the grammar of a client like before any
/// other.
#[test]
fn grammars_in_lark_are_parts_of_others() {
    let lark = Node::Lark("start: A \"b\"\nA: /a+/\n%ignore / /\n".to_owned());
    let parts = vec![Node::Until("</think>".to_owned()), lark, Node::Text(">".to_owned())];
    let compiled = compile(&Grammar(Node::Sequence(parts))).unwrap();
    assert!(can_say(&compiled, "b</think>aab>") && can_say(&compiled, "</think>a b>"));
    assert!(!can_say(&compiled, "</think>b>") && !can_say(&compiled, "aab>"));
}

/// A client's own grammar holds, and what would go past the checks of schemas does not pass.
#[test]
fn grammars_in_lark_hold() {
    let compiled = compile(&Grammar::lark(
        "start: \"a\" b~1..9 // a comment with %json & ~\nb: /[x-z]/ | \"(@\" | \"%json\"\n",
    ))
    .unwrap();
    assert!(can_say(&compiled, "axz(@") && can_say(&compiled, "a%json") && !can_say(&compiled, "a"));
    for (source, part) in [
        ("root ::= \"a\"", "::="),
        ("start: %json {\"type\": \"object\"}", "%json"),
        ("start: @other", "@"),
        ("start: A\nA: /a+/ & /b+/", "intersections"),
        ("start: A\nA: ~/a/", "negations"),
        ("start: missing", "unknown name"),
        ("start: \"a", "lexer error"),
        ("", "rule"),
    ] {
        let error = compile(&Grammar::lark(source)).map(|_| ()).expect_err(source).to_string();
        assert!(error.contains(part), "{source}: {error}");
    }
}
