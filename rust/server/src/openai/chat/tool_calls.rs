//! Calls on the wire, and their ids.

use std::borrow::Cow;

use serde::Serialize;

use crate::stream::{CallHead, CallId, Identity};

/// One entry of `delta.tool_calls`: the beginning of a call, or more of its arguments.
#[derive(Debug, Serialize)]
pub(super) struct ToolCallDelta<'a> {
    index: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<Cow<'a, str>>,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    function: FunctionDelta<'a>,
}

#[derive(Debug, Serialize)]
struct FunctionDelta<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    arguments: &'a str,
}

impl<'a> ToolCallDelta<'a> {
    /// A call begins.
    pub(super) fn begin(identity: &Identity, choice: usize, head: &'a CallHead) -> Self {
        Self {
            index: head.index,
            id: Some(call_id(identity, choice, head)),
            kind: Some("function"),
            function: FunctionDelta { name: Some(&head.name), arguments: "" },
        }
    }

    /// A piece of the arguments of a call.
    pub(super) fn arguments(call: usize, arguments: &'a str) -> Self {
        Self { index: call, id: None, kind: None, function: FunctionDelta { name: None, arguments } }
    }
}

/// One entry of `message.tool_calls`.
#[derive(Debug, Serialize)]
pub(super) struct ToolCall<'a> {
    id: Cow<'a, str>,
    #[serde(rename = "type")]
    kind: &'static str,
    function: Function<'a>,
}

#[derive(Debug, Serialize)]
struct Function<'a> {
    name: &'a str,
    arguments: String,
}

impl<'a> ToolCall<'a> {
    /// A call that has no arguments so far.
    pub(super) fn new(identity: &Identity, choice: usize, head: &'a CallHead) -> Self {
        let function = Function { name: &head.name, arguments: String::new() };
        Self { id: call_id(identity, choice, head), kind: "function", function }
    }

    /// Adds a piece of its arguments.
    pub(super) fn push(&mut self, arguments: &str) {
        self.function.arguments.push_str(arguments);
    }
}

/// The model's own id, or one that follows from the answer's id and the call's place in it, so that
/// a request that is repeated under one name gets the same.
fn call_id<'a>(identity: &Identity, choice: usize, head: &'a CallHead) -> Cow<'a, str> {
    let made = |len| letters_and_digits(&format!("{} {choice} {}", identity.id, head.index), len);
    match &head.id {
        CallId::Given(id) => id.into(),
        CallId::Long => format!("call_{}", made(24)).into(),
        CallId::Short => made(9).into(),
    }
}

/// So many of them, made of a seed by FNV-1a, and `SplitMix64` from there on: the same on every
/// machine.
fn letters_and_digits(seed: &str, len: usize) -> String {
    const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut state = seed.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let letter = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        char::from(ALPHABET[((mixed ^ (mixed >> 31)) % 62) as usize])
    };
    std::iter::repeat_with(letter).take(len).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn id(answer: &str, choice: usize, index: usize, id: CallId) -> String {
        let identity = Identity { id: answer.to_owned(), created: 0, model: String::new() };
        call_id(&identity, choice, &CallHead { index, name: "f".to_owned(), id }).into_owned()
    }

    /// Results are matched to calls by these, and Mistral's templates refuse ids of another shape.
    #[test]
    fn ids_are_different_and_of_the_shape_that_clients_know() {
        let mut ids = BTreeSet::new();
        for answer in ["chatcmpl-1", "chatcmpl-2", ""] {
            for (choice, index) in (0..40).flat_map(|choice| (0..40).map(move |index| (choice, index))) {
                let long = id(answer, choice, index, CallId::Long);
                let short = id(answer, choice, index, CallId::Short);
                let is_plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric());
                let rest = long.strip_prefix("call_");
                assert!(rest.is_some_and(|rest| rest.len() == 24 && is_plain(rest)), "{long}");
                assert!(short.len() == 9 && is_plain(&short), "{short}");
                assert!(ids.insert(long) && ids.insert(short));
            }
        }
        assert_eq!(id("chatcmpl-1", 0, 0, CallId::Long), id("chatcmpl-1", 0, 0, CallId::Long));
        assert_eq!(id("chatcmpl-1", 0, 0, CallId::Given("a-b".to_owned())), "a-b");
    }
}
