//! Random schemas: what a model says is valid, and what is valid can be said.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod common;
#[path = "common/schemas.rs"]
mod schemas;

use common::{Random, can_say, compile, random_answer};
use jsonschema::{Draft, Validator};
use serde_json::Value;
use streamcore_grammar::{Compiled, Grammar};

/// `SEEDS=100000 cargo test -p streamcore-grammar --test schemas` checks more.
fn num_seeds() -> u64 {
    std::env::var("SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(300)
}

fn validator(schema: &Value) -> Validator {
    jsonschema::options().with_draft(Draft::Draft202012).should_validate_formats(true).build(schema).unwrap()
}

fn random_schema(seed: u64) -> (Random, Value, Option<std::sync::Arc<Compiled>>) {
    let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let schema = schemas::document(&mut random);
    let compiled = compile(&Grammar::json_schema(schema.clone())).ok();
    (random, schema, compiled)
}

/// A client that asked for a schema gets a value that its own validator throws out.
#[test]
fn what_a_random_model_says_is_valid() {
    let (mut num_answers, mut num_refused) = (0, 0);
    for seed in 1..=num_seeds() {
        let (mut random, schema, compiled) = random_schema(seed);
        let Some(compiled) = compiled else {
            num_refused += 1;
            continue;
        };
        let validator = validator(&schema);
        for _ in 0..4 {
            let answer = random_answer(&compiled, &mut random, 400);
            let answer = answer.unwrap_or_else(|error| panic!("SEED {seed}: {error}\n{schema}"));
            let Some(answer) = answer else { continue };
            let text = String::from_utf8(answer).unwrap_or_else(|error| panic!("SEED {seed}: {error}"));
            match serde_json::from_str(&text) {
                Ok(value) => assert!(validator.is_valid(&value), "SEED {seed}: {text}\n{schema}"),
                // A number such as 1e999 is JSON, and too large for this reader.
                Err(error) => assert!(
                    error.to_string().contains("out of range"),
                    "SEED {seed}: {error}: {text}\n{schema}"
                ),
            }
            num_answers += 1;
        }
    }
    println!("{num_answers} answers are valid, {num_refused} of {} schemas were refused", num_seeds());
    assert!(
        num_answers > num_seeds() && num_refused < num_seeds() / 2,
        "{num_answers} answers, {num_refused} refused"
    );
}

/// A grammar that leaves out what the schema accepts bends the model's answer without need.
#[test]
fn what_is_valid_can_be_said() {
    let mut num_said = 0;
    for seed in 1..=num_seeds() {
        let (mut random, schema, compiled) = random_schema(seed);
        // Where schemas hold at once, members come in an order that this test does not know.
        let Some(compiled) = compiled.filter(|_| !schema.to_string().contains("allOf")) else { continue };
        let validator = validator(&schema);
        for _ in 0..5 {
            let chosen = schemas::choose(&schema, &mut random);
            let accepts_choice = self::validator(&chosen);
            for _ in 0..4 {
                let value = schemas::value(&chosen, &schema, &mut random, 0);
                let text = value.to_string();
                if accepts_choice.is_valid(&value) {
                    assert!(can_say(&compiled, &text), "SEED {seed}: {text}\n{schema}");
                    num_said += 1;
                } else if !validator.is_valid(&value) {
                    assert!(!can_say(&compiled, &text), "SEED {seed}: {text} is not valid\n{schema}");
                }
            }
        }
    }
    println!("{num_said} values can be said");
    assert!(num_said > num_seeds() * 2, "{num_said}");
}
