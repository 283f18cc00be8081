//! The JSON Schema Test Suite: `JSON_SCHEMA_TEST_SUITE` names its folder, else the test is skipped.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod common;

use std::collections::BTreeMap;
use std::path::Path;

use common::{Random, can_say, compile, random_answer};
use jsonschema::Draft;
use serde_json::{Map, Value, json};
use streamcore_grammar::{Grammar, GrammarError};

const DRAFTS: [(&str, Draft, &str); 5] = [
    ("draft4", Draft::Draft4, "http://json-schema.org/draft-04/schema#"),
    ("draft6", Draft::Draft6, "http://json-schema.org/draft-06/schema#"),
    ("draft7", Draft::Draft7, "http://json-schema.org/draft-07/schema#"),
    ("draft2019-09", Draft::Draft201909, "https://json-schema.org/draft/2019-09/schema"),
    ("draft2020-12", Draft::Draft202012, "https://json-schema.org/draft/2020-12/schema"),
];

/// In draft 7 a validator may look into strings; later drafts say that it does not.
const ANNOTATIONS: &str = "content.json";

/// Members in the order in which the schema names them.
fn in_order(value: &Value, schema: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let properties = schema.get("properties").and_then(Value::as_object);
            let required = schema
                .get("required")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
                .filter_map(Value::as_str);
            let named: Vec<&str> =
                properties.into_iter().flatten().map(|(name, _)| name.as_str()).chain(required).collect();
            let place = |name: &str| named.iter().position(|one| *one == name).unwrap_or(usize::MAX);
            let mut sorted: Vec<_> = members.iter().collect();
            sorted.sort_by_key(|(name, _)| place(name));
            let child =
                |name: &str| properties.and_then(|properties| properties.get(name)).unwrap_or(&Value::Null);
            sorted
                .into_iter()
                .map(|(name, value)| (name.clone(), in_order(value, child(name))))
                .collect::<Map<_, _>>()
                .into()
        }
        Value::Array(values) => {
            values.iter().map(|value| in_order(value, schema.get("items").unwrap_or(&Value::Null))).collect()
        }
        _ => value.clone(),
    }
}

#[derive(Default)]
struct Count {
    num_compiled: usize,
    num_answers: usize,
    num_checked: usize,
    refused: BTreeMap<String, usize>,
    wrong: Vec<String>,
    unsaid: Vec<String>,
}

fn check_case(case: &Value, (draft, uri): (Draft, &str), file: &str, count: &mut Count) {
    let mut schema = case["schema"].clone();
    if let Some(schema) = schema.as_object_mut() {
        schema.entry("$schema").or_insert_with(|| uri.into());
    }
    let compiled = match compile(&Grammar::json_schema(schema.clone())) {
        Ok(compiled) => compiled,
        Err(error) => {
            let name = match error {
                GrammarError::Unsupported { keyword, .. } => keyword,
                other => other.to_string(),
            };
            *count.refused.entry(name).or_default() += 1;
            return;
        }
    };
    count.num_compiled += 1;
    for test in case["tests"].as_array().unwrap() {
        let text = in_order(&test["data"], &schema).to_string();
        let said = can_say(&compiled, &text) || can_say(&compiled, &test["data"].to_string());
        let story = format!("{file}: {}: {}: {text}", case["description"], test["description"]);
        count.num_checked += 1;
        match (test["valid"].as_bool().unwrap(), said) {
            (false, true) => count.wrong.push(story),
            (true, false) => count.unsaid.push(story),
            _ => {}
        }
    }
    let options = jsonschema::options().with_draft(draft).should_validate_formats(true).offline();
    let Ok(validator) = options.build(&schema) else { return };
    for seed in 1..=5 {
        match random_answer(&compiled, &mut Random(seed), 300) {
            Err(error) => count.wrong.push(format!("{file}: {}: {error}", case["description"])),
            Ok(None) => {}
            Ok(Some(answer)) => {
                count.num_answers += 1;
                let value = serde_json::from_slice::<Value>(&answer);
                if value.is_ok_and(|value| !validator.is_valid(&value)) {
                    count.wrong.push(format!(
                        "{file}: {}: {}",
                        case["description"],
                        String::from_utf8_lossy(&answer)
                    ));
                }
            }
        }
    }
}

/// A keyword means something else to the model than to every other reader of the schema.
#[test]
fn no_invalid_value_of_the_suite_can_be_said() {
    let Some(folder) = std::env::var_os("JSON_SCHEMA_TEST_SUITE").filter(|folder| !folder.is_empty()) else {
        return;
    };
    let mut count = Count::default();
    for (name, draft, uri) in DRAFTS {
        let folder = Path::new(&folder).join("tests").join(name);
        for folder in [folder.clone(), folder.join("optional"), folder.join("optional/format")] {
            let Ok(entries) = std::fs::read_dir(folder) else { continue };
            let is_case = |path: &std::path::PathBuf| {
                path.extension().is_some_and(|ext| ext == "json") && !path.ends_with(ANNOTATIONS)
            };
            for path in entries.map(|entry| entry.unwrap().path()).filter(is_case) {
                let cases: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
                for case in cases.as_array().unwrap() {
                    check_case(case, (draft, uri), &path.display().to_string(), &mut count);
                }
            }
        }
    }
    println!(
        "{} schemas compiled, {} values checked, {} answers checked",
        count.num_compiled, count.num_checked, count.num_answers
    );
    println!("refused: {:#?}", count.refused);
    println!("valid, and not said: {:#?}", count.unsaid);
    assert!(count.wrong.is_empty(), "{:#?}", count.wrong);
    assert!(count.num_compiled > 60, "{}", count.num_compiled);
}

/// Keywords of several schemas of the suite in one, and such schemas within it.
fn mixture(schemas: &[Map<String, Value>], random: &mut Random, depth: usize) -> Value {
    let mut out = Map::new();
    for _ in 0..=random.below(3) {
        for (keyword, value) in random.pick(schemas) {
            if !keyword.starts_with('$') && !random.one_in(4) {
                out.insert(keyword.clone(), value.clone());
            }
        }
    }
    if depth > 0 {
        let choice = random.below(5);
        let mut inner = || mixture(schemas, random, depth - 1);
        match choice {
            0 => out.insert("properties".to_owned(), json!({"foo": inner(), "bar": inner()})),
            1 => out.insert("items".to_owned(), inner()),
            2 => out.insert("allOf".to_owned(), json!([inner(), inner()])),
            3 => out.insert("anyOf".to_owned(), json!([inner(), inner(), {"type": "null"}])),
            _ => out.insert("additionalProperties".to_owned(), inner()),
        };
    }
    out.into()
}

/// Two keywords that are enforced one by one are not enforced together.
#[test]
fn what_a_random_model_says_under_mixed_schemas_is_valid() {
    let Some(folder) = std::env::var_os("JSON_SCHEMA_TEST_SUITE").filter(|folder| !folder.is_empty()) else {
        return;
    };
    let mut schemas = Vec::new();
    for name in ["draft2020-12", "draft2020-12/optional/format", "draft4"] {
        let Ok(entries) = std::fs::read_dir(Path::new(&folder).join("tests").join(name)) else { continue };
        let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        for path in paths.iter().filter(|path| path.extension().is_some_and(|ext| ext == "json")) {
            let cases: Vec<Value> = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
            schemas.extend(cases.iter().filter_map(|case| case["schema"].as_object().cloned()));
        }
    }
    let (mut num_compiled, mut num_answers) = (0, 0);
    let num_seeds: u64 = std::env::var("SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(4000);
    for seed in 1..=num_seeds {
        let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        let schema = mixture(&schemas, &mut random, (seed % 3) as usize);
        let compiled = compile(&Grammar::json_schema(schema.clone()));
        let error = compiled.as_ref().map_or_else(ToString::to_string, |_| String::new());
        assert!(!error.contains("compiler failed"), "{seed}: {schema}");
        let options =
            jsonschema::options().with_draft(Draft::Draft202012).should_validate_formats(true).offline();
        let (Ok(compiled), Ok(validator)) = (compiled, options.build(&schema)) else { continue };
        num_compiled += 1;
        for _ in 0..3 {
            let answer = random_answer(&compiled, &mut random, 300);
            let answer = answer.unwrap_or_else(|error| panic!("{seed}: {error}: {schema}"));
            let Some(Ok(value)) = answer.map(|answer| serde_json::from_slice::<Value>(&answer)) else {
                continue;
            };
            assert!(validator.is_valid(&value), "{seed}: {value}\n{schema}");
            num_answers += 1;
        }
    }
    println!("{num_compiled} mixed schemas compiled, {num_answers} answers checked");
    assert!(num_compiled > 300, "{num_compiled}");
}
