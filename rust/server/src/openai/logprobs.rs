//! Log-probabilities on the wire: chat's, completions', and vLLM's of a prompt.

use std::collections::HashSet;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use crate::stream::{Scored, ShownToken, TokenScore};

/// How log-probabilities are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogprobsFormat {
    /// Tokens as ids rather than as text.
    pub tokens_as_ids: bool,
    /// The likeliest tokens were asked for.
    pub has_top: bool,
}

/// `choices[].logprobs` of chat.
#[derive(Debug, Serialize)]
pub struct ChatLogprobs<'a> {
    content: Vec<ChatToken<'a>>,
    refusal: Option<()>,
}

#[derive(Debug, Serialize)]
struct ChatToken<'a> {
    // The fields of the token's own `ChatScore`: to flatten it would cost more than to write it.
    token: Name<'a>,
    logprob: Option<f32>,
    bytes: Option<&'a [u8]>,
    top_logprobs: Vec<ChatScore<'a>>,
}

#[derive(Debug, Serialize)]
struct ChatScore<'a> {
    token: Name<'a>,
    logprob: Option<f32>,
    bytes: Option<&'a [u8]>,
}

/// `choices[].logprobs` of completions: four lists with one entry for each token.
#[derive(Debug, Serialize)]
pub struct CompletionLogprobs<'a> {
    tokens: Vec<Name<'a>>,
    token_logprobs: Vec<Option<f32>>,
    top_logprobs: Option<Vec<Option<TopLogprobs<'a>>>>,
    text_offset: Vec<usize>,
}

/// vLLM's `prompt_logprobs`: for each token an object of ids, the first is `null`.
#[derive(Debug, Serialize)]
pub struct PromptLogprobs<'a>(Vec<Option<PromptToken<'a>>>);

impl<'a> ChatLogprobs<'a> {
    /// Those of these tokens.
    #[must_use]
    pub fn new(tokens: &'a [ShownToken], format: LogprobsFormat) -> Self {
        let score = |score: &'a TokenScore| ChatScore {
            token: Name { score, as_id: format.tokens_as_ids },
            logprob: score.logprob,
            bytes: score.bytes.as_deref(),
        };
        let token = |scored: &'a Scored| {
            let ChatScore { token, logprob, bytes } = score(&scored.own);
            ChatToken { token, logprob, bytes, top_logprobs: scored.top.iter().map(score).collect() }
        };
        Self { content: scored(tokens).map(|(_, scored)| token(scored)).collect(), refusal: None }
    }
}

impl<'a> CompletionLogprobs<'a> {
    /// Those of these tokens.
    #[must_use]
    pub fn new(tokens: &'a [ShownToken], format: LogprobsFormat) -> Self {
        let as_id = format.tokens_as_ids;
        // The first token of a prompt has no number, and nothing was likelier.
        let top = |(_, scored): (_, &'a Scored)| scored.own.logprob.map(|_| TopLogprobs { scored, as_id });
        Self {
            tokens: scored(tokens).map(|(_, scored)| Name { score: &scored.own, as_id }).collect(),
            token_logprobs: scored(tokens).map(|(_, scored)| scored.own.logprob).collect(),
            top_logprobs: format.has_top.then(|| scored(tokens).map(top).collect()),
            text_offset: scored(tokens).map(|(token, _)| token.offset).collect(),
        }
    }
}

impl<'a> PromptLogprobs<'a> {
    /// Those of a prompt.
    #[must_use]
    pub fn new(prompt: &'a [Scored], format: LogprobsFormat) -> Self {
        let as_id = format.tokens_as_ids;
        Self(prompt.iter().map(|scored| scored.own.logprob.map(|_| PromptToken { scored, as_id })).collect())
    }
}

/// The tokens that have log-probabilities.
fn scored(tokens: &[ShownToken]) -> impl Iterator<Item = (&ShownToken, &Scored)> {
    tokens.iter().filter_map(|token| Some((token, token.logprobs.as_deref()?)))
}

/// What a token is called.
#[derive(Debug)]
struct Name<'a> {
    score: &'a TokenScore,
    as_id: bool,
}

impl Serialize for Name<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.as_id {
            return serializer.collect_str(&format_args!("token_id:{}", self.score.id));
        }
        serializer.serialize_str(&self.score.name)
    }
}

/// The likeliest tokens by name, and the one that is there. Of several with one name, the likeliest counts.
#[derive(Debug)]
struct TopLogprobs<'a> {
    scored: &'a Scored,
    as_id: bool,
}

impl Serialize for TopLogprobs<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut seen = HashSet::new();
        let mut map = serializer.serialize_map(None)?;
        for score in self.scored.top.iter().chain([&self.scored.own]) {
            let is_new =
                if self.as_id { seen.insert(score.id.to_string()) } else { seen.insert(score.name.clone()) };
            if is_new {
                map.serialize_entry(&Name { score, as_id: self.as_id }, &score.logprob)?;
            }
        }
        map.end()
    }
}

/// The likeliest tokens by id, and the one that is there.
#[derive(Debug)]
struct PromptToken<'a> {
    scored: &'a Scored,
    as_id: bool,
}

#[derive(Serialize)]
struct PromptScore<'a> {
    logprob: Option<f32>,
    /// 1 is the likeliest; unknown if it is not among those that were asked for.
    rank: Option<usize>,
    decoded_token: Name<'a>,
}

impl<'a> PromptScore<'a> {
    fn new(score: &'a TokenScore, rank: Option<usize>, as_id: bool) -> Self {
        Self { logprob: score.logprob, rank, decoded_token: Name { score, as_id } }
    }
}

impl Serialize for PromptToken<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Scored { own, top } = self.scored;
        let mut map = serializer.serialize_map(None)?;
        for (index, score) in top.iter().enumerate() {
            map.serialize_entry(
                &score.id.to_string(),
                &PromptScore::new(score, Some(index + 1), self.as_id),
            )?;
        }
        if top.iter().all(|score| score.id != own.id) {
            map.serialize_entry(&own.id.to_string(), &PromptScore::new(own, None, self.as_id))?;
        }
        map.end()
    }
}
