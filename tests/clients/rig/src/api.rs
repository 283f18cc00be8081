//! The ways in which rig asks, and what it makes of a stream.

use std::sync::atomic::{AtomicUsize, Ordering};

use futures::StreamExt;
use rig::agent::AgentBuilder;
use rig::completion::{CompletionRequest, CompletionResponse};
use rig::operation::Completion;
use rig::prelude::{DynModel, ProviderError};
use rig::providers::anthropic::AnthropicConfig;
use rig::providers::openai::{OpenAIConfig, Route};
use rig::streaming::{Item, StreamEvent};

use crate::server::{KEY, script};

/// More than the script ever says; Anthropic's API wants a number.
const MAX_TOKENS: u64 = 1000;

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Api {
    Responses,
    Chat,
    Messages,
}

impl Api {
    pub const ALL: [Self; 3] = [Self::Responses, Self::Chat, Self::Messages];

    /// A model of a server, asked with a key.
    pub fn model_with_key(self, url: &str, key: &str, name: &str) -> DynModel<Completion> {
        let openai = OpenAIConfig::new(key).with_base_url(format!("{url}/v1"));
        match self {
            Self::Responses => openai.client().completion(name).erase(),
            Self::Chat => openai.with_route(Route::Chat).client().completion(name).erase(),
            Self::Messages => AnthropicConfig::new(key).with_base_url(url).client().completion(name).erase(),
        }
    }

    /// A model of a server.
    pub fn model(self, url: &str, name: &str) -> DynModel<Completion> {
        self.model_with_key(url, &KEY, name)
    }

    /// The model that plays the script.
    pub fn script(self) -> DynModel<Completion> {
        self.model(script(), "script")
    }

    /// An agent over it that may go on for some turns.
    pub fn agent(self) -> AgentBuilder {
        AgentBuilder::new(self.script()).preamble("Be brief.").max_tokens(MAX_TOKENS).default_max_turns(5)
    }

    /// How the ids of its answers begin.
    pub fn id_prefix(self) -> &'static str {
        match self {
            Self::Responses => "resp_",
            Self::Chat => "chatcmpl-",
            Self::Messages => "msg_",
        }
    }
}

/// What to ask the scripted model for a case of `script.py`, from its first turn.
pub fn question(case: &str) -> String {
    static NUM_ASKED: AtomicUsize = AtomicUsize::new(0);
    format!("{case} {}", NUM_ASKED.fetch_add(1, Ordering::Relaxed) + 1)
}

/// A request with the question alone.
pub fn asked(question: impl Into<String>) -> CompletionRequest {
    CompletionRequest::new(question.into()).max_tokens(MAX_TOKENS)
}

/// The pieces of a stream.
#[derive(Debug, Default)]
pub struct Pieces {
    pub text: Vec<String>,
    pub thought: Vec<String>,
}

/// Reads a stream to its end: its pieces, also those before an error, and the answer that rig
/// puts together.
pub async fn streamed(
    model: &DynModel<Completion>,
    request: CompletionRequest,
) -> (Pieces, Result<CompletionResponse, ProviderError>) {
    let mut pieces = Pieces::default();
    let mut stream = match model.stream(request) {
        Ok(stream) => stream,
        Err(error) => return (pieces, Err(error)),
    };
    while let Some(item) = stream.next().await {
        match item {
            Ok(Item::Event(StreamEvent::Text { text, .. })) => pieces.text.push(text),
            Ok(Item::Event(StreamEvent::Reasoning { text, .. })) => pieces.thought.push(text),
            _ => {}
        }
    }
    (pieces, stream.finish().await)
}
