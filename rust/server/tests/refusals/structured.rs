//! Refusals of constraints on answers.

use insta::assert_snapshot;
use serde_json::{Value, json};

use crate::{chat, completion, refusals};

/// A program that relies on a schema would parse an answer that was never held to it.
#[tokio::test]
async fn structured() {
    let format = |value: Value| chat("response_format", value);
    let schema = |schema: Value| {
        chat(
            "response_format",
            json!({ "type": "json_schema", "json_schema": { "name": "x", "schema": schema } }),
        )
    };
    let outputs = |value: Value| chat("structured_outputs", value);
    let many: Vec<_> = (0..600).map(|number| json!({ "const": number })).collect();
    assert_snapshot!(
        refusals(vec![
            ("a format that is no object", format(json!("json"))),
            ("a format without a type", format(json!({ "json_schema": {} }))),
            ("a format of another type", format(json!({ "type": "yaml" }))),
            ("no schema", format(json!({ "type": "json_schema" }))),
            (
                "a schema without a schema",
                format(json!({ "type": "json_schema", "json_schema": { "name": "x" } }))
            ),
            (
                "a schema that is none",
                format(json!({ "type": "json_schema", "json_schema": { "schema": true } }))
            ),
            (
                "a keyword that is not enforced",
                schema(json!({ "properties": { "a": { "not": { "const": 1 } } } }))
            ),
            ("a keyword of the wrong type", schema(json!({ "type": "object", "required": "a" }))),
            ("a reference to nowhere", schema(json!({ "$ref": "#/$defs/a" }))),
            (
                "a schema that nothing fulfils",
                schema(json!({ "type": "integer", "minimum": 3, "maximum": 2 }))
            ),
            ("a pattern that is none", schema(json!({ "type": "string", "pattern": "(" }))),
            ("too many alternatives", schema(json!({ "anyOf": many }))),
            ("a tag that is none", format(json!({ "type": "structural_tag" }))),
            ("outputs of nothing", outputs(json!({}))),
            ("outputs of two kinds", outputs(json!({ "regex": "a", "choice": ["a"] }))),
            ("outputs of an unknown kind", outputs(json!({ "regex": "a", "whitespace_pattern": " " }))),
            ("a regex that is none", outputs(json!({ "regex": "(" }))),
            ("a regex that is a number", outputs(json!({ "regex": 1 }))),
            ("a lookahead", outputs(json!({ "regex": "(?=a)b" }))),
            ("a choice of nothing", outputs(json!({ "choice": [] }))),
            ("a choice of a number", outputs(json!({ "choice": ["a", 1] }))),
            ("a choice of no list", outputs(json!({ "choice": 7 }))),
            ("a grammar of another kind", outputs(json!({ "grammar": "root ::= \"a\"" }))),
            ("a grammar without a start", outputs(json!({ "grammar": "a: \"b\"" }))),
            ("a schema as text that is none", outputs(json!({ "json": "{" }))),
            ("a tag as text that is none", outputs(json!({ "structural_tag": "[]" }))),
            ("whitespace that is no switch", outputs(json!({ "json": {}, "disable_any_whitespace": 1 }))),
            ("an older choice of nothing", completion("guided_choice", json!([]))),
            ("an older schema that is none", completion("guided_json", json!(7))),
            ("an older field that is left", completion("guided_whitespace_pattern", json!(" "))),
            ("a field of another server", chat("regex", json!("a"))),
            ("a thought that is none of this model's", chat("thinking_token_budget", json!(7))),
            ("a thought of less than nothing", chat("thinking_token_budget", json!(-1))),
            ("a thought of a text completion", completion("thinking_token_budget", json!(7))),
        ])
        .await
    );
}
