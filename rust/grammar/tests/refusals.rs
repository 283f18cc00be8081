//! Each keyword: enforced exactly, ignored because it says nothing about values, or refused with
//! its name and its path.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Random, can_say, compile, random_answer};
use serde_json::{Value, json};
use streamcore_grammar::{Grammar, GrammarError};

fn refusal(schema: &Value) -> Option<(String, String)> {
    match compile(&Grammar::json_schema(schema.clone())) {
        Ok(_) => None,
        Err(GrammarError::Unsupported { keyword, path, .. }) => Some((keyword, path)),
        Err(error) => panic!("{schema}: {error}"),
    }
}

/// A rule of the schema is dropped without a word, and the client finds out from its data.
#[test]
fn a_keyword_that_cannot_be_enforced_is_refused_by_name_and_path() {
    let object = json!({"type": "object"});
    for (keyword, value) in [
        ("uniqueItems", json!(true)),
        ("contains", json!({"type": "integer"})),
        ("not", json!({"type": "string"})),
        ("dependentRequired", json!({"a": ["b"]})),
        ("dependentSchemas", json!({"a": {"required": ["b"]}})),
        ("dependencies", json!({"a": ["b"]})),
        ("minProperties", json!(2)),
        ("$dynamicRef", json!("#x")),
        ("$recursiveRef", json!("#")),
        ("format", json!("idn-email")),
        ("format", json!("regex")),
        ("pattern", json!("(?!a)")),
        ("oneOf", json!([{"minimum": 1}, {"maximum": 5}])),
        ("oneOf", json!([{"type": "integer"}, {"type": "number"}])),
        ("divisibleBy", json!(2)),
    ] {
        for (schema, path) in [
            (json!({keyword: value}), "/"),
            (json!({"properties": {"a/b": {"items": {keyword: value}}}}), "/properties/a~1b/items"),
            (json!({"$ref": "#/$defs/x", "$defs": {"x": {keyword: value}}}), "#/$defs/x"),
            (json!({"anyOf": [true, {"allOf": [{keyword: value}]}]}), "/anyOf/1/allOf/0"),
        ] {
            assert_eq!(refusal(&schema), Some((keyword.to_owned(), path.to_owned())), "{schema}");
        }
    }
    for (keyword, rest) in [
        ("if", json!({"if": {"minimum": 3}, "then": {"maximum": 9}})),
        ("unevaluatedProperties", json!({"allOf": [object], "unevaluatedProperties": false})),
        ("unevaluatedItems", json!({"anyOf": [object], "unevaluatedItems": false})),
        ("propertyNames", json!({"properties": {"a": {}}, "propertyNames": {"pattern": "^a"}})),
        ("patternProperties", json!({"patternProperties": {"^a": {}, "b$": {}}})),
        ("maxProperties", json!({"properties": {"a": {}, "b": {}}, "maxProperties": 2})),
        ("minProperties", json!({"properties": {"a": {}, "b": {}}, "minProperties": 1})),
        ("prefixItems", json!({"prefixItems": [{}], "items": [{}]})),
    ] {
        assert_eq!(refusal(&rest), Some((keyword.to_owned(), "/".to_owned())), "{rest}");
    }
}

/// What says nothing about values never costs a client its schema.
#[test]
fn what_restricts_nothing_is_ignored() {
    for schema in [
        json!({"title": "t", "description": "d", "default": 1, "examples": [2], "$comment": "c", "deprecated": true, "readOnly": true,
            "writeOnly": false, "$schema": "https://json-schema.org/draft/2020-12/schema", "$id": "urn:x", "$anchor": "y", "x-foo": 1,
            "x-guidance": {"lenient": true}, "discriminator": {"propertyName": "kind"}, "nullable": true, "example": 3, "strict": true}),
        json!({"uniqueItems": false, "not": false, "if": {"type": "null"}, "dependentRequired": {}, "unevaluatedProperties": true}),
        json!({"contentEncoding": "base64", "contentMediaType": "application/json", "format": "int64"}),
        json!({"then": {"type": "null"}, "else": false, "minContains": 3, "additionalItems": false}),
        json!({"type": ["string", "null", "integer"], "uniqueItems": true, "contains": false, "propertyNames": {"format": "regex"}, "minProperties": 9}),
        json!({"contains": {"type": "null"}, "minContains": 0, "propertyNames": {"type": "string"}}),
    ] {
        assert_eq!(refusal(&schema), None, "{schema}");
        let compiled = compile(&Grammar::json_schema(schema.clone())).unwrap();
        for text in ["12", "\"x\"", "null"] {
            assert!(can_say(&compiled, text), "{schema}: {text}");
        }
    }
}

/// A schema, texts that can be said, and texts that cannot.
type Case = (Value, Vec<&'static str>, Vec<&'static str>);

fn assert_enforced(cases: Vec<Case>) {
    for (schema, yes, no) in cases {
        let compiled = compile(&Grammar::json_schema(schema.clone()))
            .unwrap_or_else(|error| panic!("{schema}: {error}"));
        let validator = jsonschema::options().build(&schema).ok();
        for text in yes {
            assert!(can_say(&compiled, text), "{schema}: {text}");
        }
        for text in no {
            assert!(!can_say(&compiled, text), "{schema}: {text}");
        }
        for seed in 1..=8 {
            let Some(answer) = random_answer(&compiled, &mut Random(seed), 300).unwrap() else { continue };
            let Ok(value) = serde_json::from_slice::<Value>(&answer) else { continue };
            assert!(
                validator.as_ref().is_none_or(|validator| validator.is_valid(&value)),
                "{schema}: {value}"
            );
        }
    }
}

/// The schemas of pydantic, zod, TypeBox and OpenAI's strict mode, and what they say.
#[test]
fn schemas_as_libraries_write_them_are_enforced() {
    assert_enforced(vec![
        // A union with a tag, whose parts are references.
        (
            json!({"$defs": {
            "Cat": {"type": "object", "properties": {"kind": {"const": "cat", "type": "string"}, "lives": {"type": "integer"}}, "required": ["kind", "lives"]},
            "Dog": {"type": "object", "properties": {"kind": {"const": "dog", "type": "string"}}, "required": ["kind"]}},
            "discriminator": {"mapping": {"cat": "#/$defs/Cat"}, "propertyName": "kind"},
            "oneOf": [{"$ref": "#/$defs/Cat"}, {"$ref": "#/$defs/Dog"}]}),
            vec![r#"{"kind":"cat","lives":9}"#, r#"{"kind":"dog"}"#, r#"{"kind":"dog","x":1}"#],
            vec![r#"{"kind":"cat"}"#, r#"{"kind":"cow"}"#],
        ),
        // A dictionary.
        (
            json!({"type": "object", "propertyNames": {"type": "string"}, "additionalProperties": {"type": "integer"}}),
            vec!["{}", r#"{"a":1,"b":2}"#],
            vec![r#"{"a":"1"}"#],
        ),
        (
            json!({"type": "object", "propertyNames": {"enum": ["a.b", "c"]}, "additionalProperties": {"type": "integer"}}),
            vec!["{}", r#"{"a.b":1,"c":2}"#],
            vec![r#"{"axb":1}"#, r#"{"c":"1"}"#],
        ),
        (
            json!({"type": "object", "propertyNames": {"pattern": "^[a-z]+$"}}),
            vec![r#"{"ab":null}"#],
            vec![r#"{"A":1}"#],
        ),
    ]);
}

/// References, tuples, bounds and members, in the notations of all drafts.
#[test]
fn schemas_of_all_drafts_are_enforced() {
    assert_enforced(vec![
        // A reference by `$id`, to the schema itself.
        (
            json!({"$id": "Node", "type": "object", "properties": {"id": {"type": "string"}, "nodes": {"type": "array", "items": {"$ref": "Node"}}},
            "required": ["id", "nodes"]}),
            vec![r#"{"id":"a","nodes":[{"id":"b","nodes":[]}]}"#],
            vec![r#"{"id":"a","nodes":[1]}"#],
        ),
        // Whole numbers as a JavaScript number holds them.
        (
            json!({"type": "integer", "minimum": -9007199254740991i64, "maximum": 9007199254740991i64}),
            vec!["9007199254740991", "-9007199254740991", "0"],
            vec!["9007199254740992", "1.5"],
        ),
        // A tuple of older drafts, and of newer ones.
        (
            json!({"items": [{"type": "integer"}, {"type": "null"}], "additionalItems": false, "type": "array"}),
            vec!["[]", "[1]", "[1,null]"],
            vec!["[null]", "[1,null,2]"],
        ),
        (
            json!({"type": "array", "prefixItems": [{"type": "integer"}], "items": {"type": "null"}, "minItems": 2}),
            vec!["[1,null]", "[1, null, null]"],
            vec!["[1]", "[1,1]"],
        ),
        (json!({"minimum": 1, "exclusiveMinimum": true, "type": "integer"}), vec!["2"], vec!["1", "0"]),
        (
            json!({"type": "object", "properties": {"a": {"type": "null"}}, "unevaluatedProperties": false}),
            vec!["{}", r#"{"a":null}"#],
            vec![r#"{"b":null}"#],
        ),
        (
            json!({"type": "object", "required": ["z"], "properties": {"a": {}}}),
            vec![r#"{"a":1,"z":2}"#, r#"{"z":[]}"#],
            vec!["{}", r#"{"z":1,"a":2}"#],
        ),
        (
            json!({"type": "object", "properties": {"a": {}, "b": {}}, "additionalProperties": false, "minProperties": 1}),
            vec![r#"{"b":1}"#, r#"{"a":1,"b":2}"#],
            vec!["{}"],
        ),
        (
            json!({"type": "object", "properties": {"a": {}, "b": {}}, "additionalProperties": false, "maxProperties": 1}),
            vec!["{}", r#"{"b":1}"#],
            vec![r#"{"a":1,"b":2}"#],
        ),
        (
            json!({"$ref": "#/definitions/a%25b/~0x~1y", "definitions": {"a%b": {"~x/y": {"type": "null"}}}}),
            vec!["null"],
            vec!["1"],
        ),
        (
            json!({"$ref": "#here", "$defs": {"x": {"$anchor": "here", "type": "null"}}}),
            vec!["null"],
            vec!["1"],
        ),
        (json!({"type": "string", "const": "a\n\"é"}), vec![r#""a\n\"é""#], vec![r#""a""#]),
    ]);
}

/// A name that is spelled with an escape is another name to the grammar, and the same name to every
/// reader.
#[test]
fn a_name_can_be_said_in_one_way_only() {
    let schema = json!({"type": "object", "properties": {"a": {"type": "integer"}}, "additionalProperties": {"type": "string"}});
    let compiled = compile(&Grammar::json_schema(schema)).unwrap();
    assert!(can_say(&compiled, r#"{"a":1,"b":"x"}"#));
    for text in [r#"{"\u0061":"x"}"#, r#"{"a":1,"a":"x"}"#, r#"{"b":"\u0041"}"#, r#"{"a":"x"}"#] {
        assert!(!can_say(&compiled, text), "{text}");
    }
}

/// Between the tokens of JSON there is space, but not without end, and none outside.
#[test]
fn space_is_bounded() {
    let compiled = compile(&Grammar::json_object()).unwrap();
    let space = |space: &str| can_say(&compiled, &format!("{{\"a\":{space}1}}"));
    let indented = |len: usize| space(&format!("\n{}", " ".repeat(len)));
    assert!(space("") && space(" ") && indented(32) && space("\n\t\t"));
    assert!(!space("  ") && !indented(33) && !space("\n\n") && !space("\t"));
    assert!(can_say(&compiled, "{\r\n\t\"a\" : [ 1 ,\n2 ]\n}") && !can_say(&compiled, " {}"));
    assert!(!can_say(&compiled, "[]") && !can_say(&compiled, "1"));
}

/// An invalid schema, or one without values, is refused before the answer begins.
#[test]
fn what_is_no_schema_is_refused() {
    for (schema, part) in [
        (json!(1), "object or a boolean"),
        (json!({"type": "text"}), "`/type` is not valid: \"text\" is not a type"),
        (json!({"type": []}), "is not a type"),
        (json!({"enum": []}), "`/enum` is not valid"),
        (json!({"properties": []}), "`/properties` is not valid: it must be an object"),
        (json!({"items": 3}), "`/items` is not valid"),
        (json!({"required": [1]}), "`/required/0` is not valid"),
        (json!({"minLength": -1}), "`/minLength` is not valid"),
        (json!({"minItems": 1.5}), "`/minItems` is not valid"),
        (json!({"maxLength": 2_000_000}), "limit is 1000000"),
        (json!({"multipleOf": 0}), "`/multipleOf` is not valid"),
        (json!({"multipleOf": 0.07}), "too many digits"),
        (json!({"minimum": "1"}), "`/minimum` is not valid"),
        (json!({"maximum": 9223372036854775807u64}), "too many digits"),
        (json!({"const": 9007199254740993u64}), "too many digits"),
        (json!({"const": {"a": ["\u{1}"]}}), "`/const/a/0` is not valid: control character U+0001"),
        (json!({"properties": {"\u{7f}": {}}}), "U+007F"),
        (json!({"anyOf": []}), "`/anyOf` is not valid"),
        (json!({"pattern": "["}), "`pattern` at `/` cannot be enforced"),
        (json!({"$ref": "https://example.com/schema"}), "nothing is fetched"),
        (json!({"$ref": "#/$defs/x"}), "points at nothing"),
        (json!({"$ref": 1}), "must be a string"),
        (
            json!({"$ref": "#/$defs/a", "$defs": {"a": {"required": ["a"], "type": "object", "properties": {"a": {"$ref": "#/$defs/a"}}}}}),
            "no end",
        ),
        (
            json!({"anyOf": [{"type": "null"}, {"$ref": "#/$defs/a"}], "$defs": {"a": {"$ref": "#/$defs/a"}}}),
            "no end",
        ),
        (json!(false), "no value is valid"),
        (json!({"type": "string", "minLength": 3, "maxLength": 2}), "no value is valid"),
        (json!({"type": "integer", "minimum": 1, "maximum": 2, "multipleOf": 5}), "no value is valid"),
        (json!({"type": "string", "pattern": "^\\x01$"}), "no value is valid"),
        (json!({"type": "string", "enum": [1, 2]}), "no value is valid"),
        (json!({"allOf": [{"type": "string"}, {"type": "null"}]}), "no value is valid"),
    ] {
        let error = compile(&Grammar::json_schema(schema.clone()))
            .map(|_| ())
            .expect_err(&schema.to_string())
            .to_string();
        assert!(error.contains(part), "{schema}: {error}");
        assert!(!error.contains('\n') && !error.ends_with('.'), "{error}");
    }
}
