//! Log-probabilities on the wire: chat's, completions', and vLLM's of a prompt.
//!
//! A chunk has many of them and lives for a microsecond, so nothing is gathered first: each list is
//! made while it is written.

use std::borrow::Cow;

use serde::ser::{Error, SerializeMap, SerializeStruct};
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use crate::stream::{Scored, ShownToken};

/// The format of log-probabilities.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogprobsFormat {
    /// Tokens as ids rather than as text.
    pub tokens_as_ids: bool,
}

/// `choices[].logprobs` of chat.
#[derive(Debug)]
pub struct ChatLogprobs<'a> {
    tokens: &'a [ShownToken],
    as_ids: bool,
}

impl<'a> ChatLogprobs<'a> {
    /// Returns those of these tokens.
    #[must_use]
    pub fn new(tokens: &'a [ShownToken], format: LogprobsFormat) -> Self {
        Self { tokens, as_ids: format.tokens_as_ids }
    }
}

impl ChatLogprobs<'_> {
    /// Appends them as JSON. By hand: a chunk has six tokens if five likely ones are requested, and
    /// constant keys took half of its time.
    pub fn write(&self, json: &mut Vec<u8>) {
        json.extend_from_slice(b"{\"content\":[");
        self.write_entries(json);
        json.extend_from_slice(b"],\"refusal\":null}");
    }

    /// Appends an object for each token, with commas between them.
    pub fn write_entries(&self, json: &mut Vec<u8>) {
        for (index, (_, scored)) in scored(self.tokens).enumerate() {
            json.extend_from_slice(if index == 0 { b"{\"token\":" } else { b",{\"token\":" });
            self.write_score(json, scored, scored.id, scored.logprob);
            json.extend_from_slice(b",\"top_logprobs\":[");
            for (index, (id, logprob)) in scored.top.iter().enumerate() {
                json.extend_from_slice(if index == 0 { b"{\"token\":" } else { b",{\"token\":" });
                self.write_score(json, scored, *id, Some(*logprob));
                json.push(b'}');
            }
            json.extend_from_slice(b"]}");
        }
    }

    /// Writes a token's object behind its first key, up to its end or its further keys.
    fn write_score(&self, json: &mut Vec<u8>, scored: &Scored, id: u32, logprob: Option<f32>) {
        write_value(json, &Name { scored, id, as_id: self.as_ids });
        json.extend_from_slice(b",\"logprob\":");
        write_value(json, &logprob);
        json.extend_from_slice(b",\"bytes\":");
        let Some(bytes) = scored.names.bytes(id) else { return json.extend_from_slice(b"null") };
        json.push(b'[');
        for (index, byte) in bytes.iter().enumerate() {
            if index > 0 {
                json.push(b',');
            }
            write_decimal(json, *byte);
        }
        json.push(b']');
    }
}

/// For `serde_json` alone.
impl Serialize for ChatLogprobs<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut json = Vec::new();
        self.write(&mut json);
        let json = String::from_utf8(json).map_err(S::Error::custom)?;
        RawValue::from_string(json).map_err(S::Error::custom)?.serialize(serializer)
    }
}

fn write_value<T: Serialize>(json: &mut Vec<u8>, value: &T) {
    serde_json::to_writer(json, value).expect("names and numbers serialise and a vector takes every byte");
}

fn write_decimal(json: &mut Vec<u8>, byte: u8) {
    if byte >= 100 {
        json.push(b'0' + byte / 100);
    }
    if byte >= 10 {
        json.push(b'0' + byte / 10 % 10);
    }
    json.push(b'0' + byte % 10);
}

/// `choices[].logprobs` of completions: four lists with one entry for each token.
#[derive(Debug)]
pub struct CompletionLogprobs<'a> {
    tokens: &'a [ShownToken],
    format: LogprobsFormat,
}

impl<'a> CompletionLogprobs<'a> {
    /// Returns those of these tokens.
    #[must_use]
    pub fn new(tokens: &'a [ShownToken], format: LogprobsFormat) -> Self {
        Self { tokens, format }
    }
}

impl Serialize for CompletionLogprobs<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let LogprobsFormat { tokens_as_ids: as_id } = self.format;
        let all = || scored(self.tokens);
        // The first token of a prompt has no log-probability, and no likelier tokens.
        let top = List(|| all().map(|(_, scored)| scored.logprob.map(|_| TopLogprobs { scored, as_id })));
        let mut object = serializer.serialize_struct("CompletionLogprobs", 4)?;
        object.serialize_field("tokens", &List(|| all().map(|(_, scored)| Name::own(scored, as_id))))?;
        object.serialize_field("token_logprobs", &List(|| all().map(|(_, scored)| scored.logprob)))?;
        object.serialize_field("top_logprobs", &top)?;
        object.serialize_field("text_offset", &List(|| all().map(|(token, _)| token.offset)))?;
        object.end()
    }
}

/// vLLM's `prompt_logprobs`: for each token an object of ids, the first is `null`.
#[derive(Debug)]
pub struct PromptLogprobs<'a> {
    prompt: &'a [Scored],
    as_ids: bool,
}

impl<'a> PromptLogprobs<'a> {
    /// Returns those of a prompt.
    #[must_use]
    pub fn new(prompt: &'a [Scored], format: LogprobsFormat) -> Self {
        Self { prompt, as_ids: format.tokens_as_ids }
    }
}

impl Serialize for PromptLogprobs<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let as_id = self.as_ids;
        let tokens = self.prompt.iter().map(|scored| scored.logprob.map(|_| PromptToken { scored, as_id }));
        serializer.collect_seq(tokens)
    }
}

/// Returns the tokens that have log-probabilities.
fn scored(tokens: &[ShownToken]) -> impl Iterator<Item = (&ShownToken, &Scored)> {
    tokens.iter().filter_map(|token| Some((token, token.logprobs.as_ref()?)))
}

/// A list that is made while it is written.
struct List<F>(F);

impl<I, F> Serialize for List<F>
where
    I: Iterator<Item: Serialize>,
    F: Fn() -> I,
{
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq((self.0)())
    }
}

/// The name of a token.
struct Name<'a> {
    scored: &'a Scored,
    id: u32,
    as_id: bool,
}

impl<'a> Name<'a> {
    fn own(scored: &'a Scored, as_id: bool) -> Self {
        Self { scored, id: scored.id, as_id }
    }
}

impl Serialize for Name<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.as_id {
            return serializer.collect_str(&format_args!("token_id:{}", self.id));
        }
        serializer.serialize_str(&self.scored.names.name(self.id))
    }
}

/// The likeliest tokens by name, and the one that is there. Of several with one name, the likeliest
/// counts.
struct TopLogprobs<'a> {
    scored: &'a Scored,
    as_id: bool,
}

impl Serialize for TopLogprobs<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { scored, as_id } = *self;
        // At most six, so looking through them is the quickest.
        let mut seen: Vec<(u32, Cow<'_, str>)> = Vec::with_capacity(scored.top.len() + 1);
        let mut map = serializer.serialize_map(None)?;
        let own = scored.logprob.map(|logprob| (scored.id, logprob));
        for (id, logprob) in scored.top.iter().copied().chain(own) {
            let name = scored.names.name(id);
            if !seen.iter().any(|other| if as_id { other.0 == id } else { other.1 == name }) {
                map.serialize_entry(&Name { scored, id, as_id }, &logprob)?;
                seen.push((id, name));
            }
        }
        map.end()
    }
}

/// The likeliest tokens by id, and the one that is there.
struct PromptToken<'a> {
    scored: &'a Scored,
    as_id: bool,
}

#[derive(Serialize)]
struct PromptScore<'a> {
    logprob: Option<f32>,
    /// 1 is the likeliest; `None` if it is not among the requested ones.
    rank: Option<usize>,
    decoded_token: Name<'a>,
}

impl Serialize for PromptToken<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { scored, as_id } = *self;
        let entry =
            |id, logprob, rank| PromptScore { logprob, rank, decoded_token: Name { scored, id, as_id } };
        let mut map = serializer.serialize_map(None)?;
        for (index, (id, logprob)) in scored.top.iter().enumerate() {
            map.serialize_entry(&id.to_string(), &entry(*id, Some(*logprob), Some(index + 1)))?;
        }
        if scored.top.iter().all(|(id, _)| *id != scored.id) {
            map.serialize_entry(&scored.id.to_string(), &entry(scored.id, scored.logprob, None))?;
        }
        map.end()
    }
}
