//! The functions of the Berkeley Function Calling Leaderboard: `BFCL` names the folder of its data,
//! else the test is skipped.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod common;

use std::path::Path;
use std::time::Instant;

use common::{Random, can_say, compile, random_answer};
use serde_json::{Map, Value};
use streamcore_grammar::Grammar;

/// Its types are those of Python, Java and JavaScript.
fn to_json_schema(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            let kind = members.get("type").and_then(Value::as_str).map(str::to_lowercase);
            let kind = match kind.as_deref() {
                Some("dict" | "hashmap" | "hashtable" | "object") => Some("object"),
                Some("float" | "double" | "number") => Some("number"),
                Some("integer" | "long" | "short" | "byte" | "bigint") => Some("integer"),
                Some("tuple" | "array" | "arraylist" | "list" | "set" | "queue" | "stack") => Some("array"),
                Some("string" | "char") => Some("string"),
                Some("boolean") => Some("boolean"),
                _ => None,
            };
            match kind {
                Some(kind) => {
                    members.insert("type".to_owned(), kind.into());
                }
                None if members.get("type").is_some_and(Value::is_string) => {
                    members.shift_remove("type");
                }
                None => {}
            }
            // Some list the default or a sentence where a schema's keyword would be.
            if members.get("enum").is_some_and(|values| !values.is_array()) {
                members.shift_remove("enum");
            }
            for (name, value) in members.iter_mut() {
                match name.as_str() {
                    "properties" => value
                        .as_object_mut()
                        .into_iter()
                        .flatten()
                        .for_each(|(_, schema)| to_json_schema(schema)),
                    "items" | "additionalProperties" => to_json_schema(value),
                    _ => {}
                }
            }
        }
        Value::String(_) => *schema = Value::Bool(true),
        _ => {}
    }
}

fn functions(folder: &Path) -> Vec<Value> {
    let mut functions = Vec::new();
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    for path in files.iter().filter(|path| path.extension().is_some_and(|ext| ext == "json")) {
        for line in std::fs::read_to_string(path).unwrap().lines() {
            let Ok(entry) = serde_json::from_str::<Value>(line) else { continue };
            functions.extend(entry["function"].as_array().into_iter().flatten().cloned());
        }
    }
    functions
}

/// An agent's tool gets arguments that its schema does not know.
#[test]
fn the_arguments_of_every_function_are_valid() {
    let Some(folder) = std::env::var_os("BFCL").filter(|folder| !folder.is_empty()) else { return };
    let (mut num_compiled, mut num_answers, mut num_said) = (0, 0, 0);
    let mut times = Vec::new();
    let mut refused = Vec::new();
    for (seed, function) in functions(Path::new(&folder)).into_iter().enumerate() {
        let mut schema = function["parameters"].clone();
        to_json_schema(&mut schema);
        let begin = Instant::now();
        let compiled = match compile(&Grammar::json_schema(schema.clone())) {
            Ok(compiled) => compiled,
            Err(error) => {
                refused.push(format!("{}: {error}", function["name"]));
                continue;
            }
        };
        times.push(begin.elapsed());
        num_compiled += 1;
        let Ok(validator) = jsonschema::options().should_validate_formats(true).build(&schema) else {
            continue;
        };
        for round in 0..2 {
            let answer = random_answer(&compiled, &mut Random((seed * 2 + round) as u64 | 1 << 40), 600);
            let answer = answer.unwrap_or_else(|error| panic!("{error}: {schema}"));
            let Some(answer) = answer else { continue };
            if let Ok(value) = serde_json::from_slice::<Value>(&answer) {
                assert!(validator.is_valid(&value), "{value}\n{schema}");
                num_answers += 1;
            }
        }
        // The least that a call can have.
        let required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
        if required.count() == 0 {
            let empty = Value::from(Map::new());
            assert_eq!(validator.is_valid(&empty), can_say(&compiled, "{}"), "{schema}");
            num_said += 1;
        }
    }
    times.sort();
    println!("{num_compiled} functions compiled, {num_answers} answers checked, {num_said} empty calls said");
    println!("compiled in a median of {:?}, at most {:?}", times[times.len() / 2], times[times.len() - 1]);
    println!("{} refused: {refused:#?}", refused.len());
    assert!(
        num_compiled > 1000 && refused.len() * 50 < num_compiled,
        "{num_compiled} compiled, {} refused",
        refused.len()
    );
}
