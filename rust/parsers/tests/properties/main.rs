//! Random calls, written by a writer of each family that shares nothing with the parser, and random
//! texts that are nearly calls.

mod fragments;
#[path = "../support/mod.rs"]
mod support;
mod writer;

use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::RngSeed;
use serde_json::{Value, json};
use streamcore_parsers::{Event, EventKind, Finish, Outcome, ReasoningFormat, ToolFormat};

use crate::fragments::{fragment, nearly_calls};
use crate::support::{Answer, cut};
use crate::writer::{Style, calls};

/// The same cases in every run.
fn config(cases: u32) -> ProptestConfig {
    let rng_seed = RngSeed::Fixed(1);
    ProptestConfig { rng_seed, failure_persistence: None, max_shrink_iters: 300, cases, ..Default::default() }
}

/// Returns the calls in events; anything else in them is a failure.
fn read(events: &[Event]) -> Vec<(String, Value)> {
    let mut calls: Vec<(String, String)> = Vec::new();
    for event in events {
        match &event.kind {
            EventKind::CallBegin { name, .. } => calls.push((name.clone(), String::new())),
            EventKind::Arguments(json) => calls.last_mut().expect("a call has begun").1.push_str(json),
            EventKind::CallEnd(outcome) => assert_eq!(*outcome, Outcome::Complete),
            EventKind::Syntax => {}
            EventKind::Content(text) | EventKind::Reasoning(text) => panic!("{text:?} is told as text"),
        }
    }
    let value = |json: &str| serde_json::from_str(json).expect("the arguments of a call are JSON");
    calls.iter().map(|(name, json)| (name.clone(), value(json))).collect()
}

fn formats() -> impl Strategy<Value = ToolFormat> {
    select(ToolFormat::ALL.map(|(_, format)| format).to_vec())
}

/// An edit of a text: this many letters from a place on are replaced.
#[derive(Debug, Clone)]
struct Edit {
    place: prop::sample::Index,
    num_letters: usize,
    text: String,
}

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let fragments = prop_oneof![Just(String::new()), fragment().prop_map(str::to_owned)];
    let edit = (any::<prop::sample::Index>(), 0usize..4, fragments)
        .prop_map(|(place, num_letters, text)| Edit { place, num_letters, text });
    prop::collection::vec(edit, 1..4)
}

fn edited(text: &str, edits: &[Edit]) -> String {
    edits.iter().fold(text.to_owned(), |text, edit| {
        let letters: Vec<char> = text.chars().collect();
        let place = edit.place.index(letters.len() + 1);
        let rest = (place + edit.num_letters).min(letters.len());
        letters[..place]
            .iter()
            .chain(&edit.text.chars().collect::<Vec<_>>())
            .chain(&letters[rest..])
            .collect()
    })
}

/// Reads a text in several pieces, and all at once.
fn read_in_any_way(answer: &Answer, text: &str, letter: usize) -> Result<(), TestCaseError> {
    let parts = answer.parts(text);
    let events = answer.events(&parts);
    support::check(&events, text);
    prop_assert_eq!(&answer.events(&cut(&parts, |_| true)), &events);
    for rest in 0..3 {
        prop_assert_eq!(&answer.events(&cut(&parts, |at| at % letter == rest)), &events);
    }
    // Without calls and reasoning, every character is content.
    let is_harmony =
        answer.tools == Some(ToolFormat::Openai) || answer.reasoning == Some(ReasoningFormat::OpenaiGptoss);
    let is_text = |event: &Event| matches!(event.kind, EventKind::Content(_));
    let is_call = |event: &Event| matches!(event.kind, EventKind::CallBegin { .. });
    if answer.reasoning.is_none() && !is_harmony && !events.iter().any(is_call) {
        prop_assert!(events.iter().all(is_text), "{:?}", events);
    }
    Ok(())
}

/// Returns a setup in any of its ways, but for the format of calls.
fn setup(answer: Answer) -> impl Strategy<Value = Answer> {
    let reasoning = prop::option::of(select(ReasoningFormat::ALL.map(|(_, format)| format).to_vec()));
    (reasoning, any::<[bool; 4]>()).prop_map(
        move |(reasoning, [is_inside, is_special, is_cut_off, has_tools])| {
            let mut answer = Answer { reasoning, starts_in_reasoning: is_inside, ..answer.clone() };
            if has_tools {
                answer =
                    answer.declares("f", json!({ "properties": { "a": { "type": ["integer", "null"] } } }));
            }
            let answer = if is_special { answer.special() } else { answer };
            if is_cut_off { answer.ends(Finish::Length) } else { answer }
        },
    )
}

proptest! {
    #![proptest_config(config(400))]

    /// A call that a model writes and the client does not get, or gets with other arguments, runs
    /// the wrong thing.
    #[test]
    fn what_the_model_writes_is_what_the_client_gets(
        tools in formats(), calls in calls(),
        seed in any::<u64>(), is_special in any::<bool>(), letter in 2usize..40,
    ) {
        let mut style = Style(seed);
        let mut answer = Answer::of(tools);
        let mut calls = calls;
        // Tools have one schema each.
        calls.iter_mut().enumerate().for_each(|(index, call)| call.name += &index.to_string());
        for call in &calls {
            answer = answer.declares(&call.name, style.parameters(call));
        }
        let answer = if is_special { answer.special() } else { answer };
        let text = style.answer(tools, &calls);
        let parts = answer.parts(&text);
        let events = answer.events(&parts);
        support::check(&events, &text);
        prop_assert_eq!(&answer.events(&cut(&parts, |_| true)), &events);
        prop_assert_eq!(&answer.events(&cut(&parts, |at| at % letter == 0)), &events);
        let expected: Vec<_> =
            calls.into_iter().map(|call| (call.name, Value::from(call.arguments))).collect();
        prop_assert_eq!(read(&events), expected, "{}: {}", tools.name(), text);
    }
}

proptest! {
    #![proptest_config(config(800))]

    /// A text that is nearly a call loses a character, says one thing in one chunk and another in
    /// two, or panics.
    #[test]
    fn no_text_is_lost_however_it_is_cut(
        answer in prop::option::of(formats()).prop_flat_map(|tools| setup(Answer::new(tools, None))),
        text in nearly_calls(), letter in 2usize..20,
    ) {
        read_in_any_way(&answer, &text, letter)?;
    }

    /// The same of calls that the model has not got quite right.
    #[test]
    fn no_call_is_lost_that_is_nearly_right(
        answer in formats().prop_flat_map(|tools| setup(Answer::of(tools))),
        calls in calls(), seed in any::<u64>(), edits in edits(), letter in 2usize..20,
        thought in select(vec!["", "<think>\nHm.</think>\n"]),
    ) {
        let tools = answer.tools.expect("the format is set");
        let mut answer = answer;
        if !answer.declared.is_empty() {
            let mut style = Style(seed ^ 1);
            for call in &calls {
                answer = answer.declares(&call.name, style.parameters(call));
            }
        }
        let text = edited(&format!("{thought}{}", Style(seed).answer(tools, &calls)), &edits);
        read_in_any_way(&answer, &text, letter)?;
    }
}
