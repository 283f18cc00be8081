//! The events of a stream.
//!
//! ```text
//! message_start                                             with the first token
//! content_block_start  content_block_delta …  content_block_stop      for each block
//! message_delta                                             why it has ended, and the usage
//! message_stop
//! ```

use std::borrow::Cow;

use serde::Serialize;

use super::error::ErrorObject;
use super::response::{ContentBlock, End, Input, Message, Tokens};
use crate::error::ApiError;
use crate::sse::{KEEPALIVE, write_named_event};
use crate::stream::finish::Finish;
use crate::stream::usage::Usage;
use crate::stream::{Chunks, Identity, Said, ShownToken};

/// The keep-alive event, for clients that ignore comments.
const PING: &[u8] = b"event: ping\ndata: {\"type\":\"ping\"}\n\n";

/// Writes the events of a stream.
#[derive(Debug)]
pub struct MessageEvents {
    identity: Identity,
    has_begun: bool,
    /// What the open block is, if one is.
    open: Option<BlockKind>,
    /// Blocks that are closed.
    num_closed: usize,
}

/// What a block is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BlockKind {
    Text,
    Thinking,
    /// The call with this index.
    Call(usize),
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Event<'a> {
    MessageStart { message: Message<'a> },
    ContentBlockStart { index: usize, content_block: ContentBlock<'a> },
    ContentBlockDelta { index: usize, delta: BlockDelta<'a> },
    ContentBlockStop { index: usize },
    MessageDelta { delta: End<'a>, usage: Tokens },
    MessageStop {},
    Error { error: ErrorObject<'a> },
}

impl Event<'_> {
    fn write(&self, frames: &mut Vec<u8>) {
        let name = match self {
            Self::MessageStart { .. } => "message_start",
            Self::ContentBlockStart { .. } => "content_block_start",
            Self::ContentBlockDelta { .. } => "content_block_delta",
            Self::ContentBlockStop { .. } => "content_block_stop",
            Self::MessageDelta { .. } => "message_delta",
            Self::MessageStop {} => "message_stop",
            Self::Error { .. } => "error",
        };
        write_named_event(frames, name, self);
    }
}

#[derive(Serialize)]
#[serde(tag = "type")]
enum BlockDelta<'a> {
    #[serde(rename = "text_delta")]
    Text { text: &'a str },
    #[serde(rename = "thinking_delta")]
    Thinking { thinking: &'a str },
    #[serde(rename = "signature_delta")]
    Signature { signature: &'a str },
    #[serde(rename = "input_json_delta")]
    InputJson { partial_json: &'a str },
}

impl MessageEvents {
    /// Writes the events of this answer.
    #[must_use]
    pub fn new(identity: Identity) -> Self {
        Self { identity, has_begun: false, open: None, num_closed: 0 }
    }

    fn say(&mut self, kind: BlockKind, delta: BlockDelta<'_>, frames: &mut Vec<u8>) {
        if self.open != Some(kind) {
            self.open(kind, frames);
        }
        Event::ContentBlockDelta { index: self.num_closed, delta }.write(frames);
    }

    /// Begins a block of text or thoughts.
    fn open(&mut self, kind: BlockKind, frames: &mut Vec<u8>) {
        let content_block = match kind {
            BlockKind::Thinking => ContentBlock::Thinking { thinking: "", signature: "" },
            _ => ContentBlock::Text { text: "" },
        };
        self.start(kind, content_block, frames);
    }

    fn start(&mut self, kind: BlockKind, content_block: ContentBlock<'_>, frames: &mut Vec<u8>) {
        self.close(frames);
        Event::ContentBlockStart { index: self.num_closed, content_block }.write(frames);
        self.open = Some(kind);
    }

    fn close(&mut self, frames: &mut Vec<u8>) {
        let Some(kind) = self.open.take() else { return };
        let index = self.num_closed;
        if kind == BlockKind::Thinking {
            let delta = BlockDelta::Signature { signature: &self.identity.id };
            Event::ContentBlockDelta { index, delta }.write(frames);
        }
        Event::ContentBlockStop { index }.write(frames);
        self.num_closed += 1;
    }
}

impl Chunks for MessageEvents {
    /// The first event and the last but one carry it.
    fn tells_usage(&self) -> bool {
        true
    }

    fn tells_tokens(&self) -> bool {
        false
    }

    fn keepalive(&self) -> &'static [u8] {
        if self.has_begun { PING } else { KEEPALIVE }
    }

    fn opening(&mut self, _: usize, usage: Option<Usage>, frames: &mut Vec<u8>) {
        let usage = usage.unwrap_or_else(|| Usage::new(0, 0, 0, None));
        Event::MessageStart { message: Message::begun(&self.identity, usage) }.write(frames);
        self.has_begun = true;
    }

    fn text(&mut self, _: usize, text: &str, _: &[ShownToken], _: Option<Usage>, frames: &mut Vec<u8>) {
        self.say(BlockKind::Text, BlockDelta::Text { text }, frames);
    }

    fn said(
        &mut self,
        index: usize,
        said: Said<'_>,
        tokens: &[ShownToken],
        usage: Option<Usage>,
        frames: &mut Vec<u8>,
    ) {
        match said {
            Said::Content(text) => self.text(index, text, tokens, usage, frames),
            Said::Reasoning(thinking) => {
                self.say(BlockKind::Thinking, BlockDelta::Thinking { thinking }, frames);
            }
            Said::CallBegin(head) => {
                let id = Cow::Owned(head.id_in(&self.identity.id, index).into_owned());
                let block = ContentBlock::ToolUse { id, name: &head.name, input: Input::default() };
                self.start(BlockKind::Call(head.index), block, frames);
            }
            Said::Arguments { call, text } => {
                let delta = BlockDelta::InputJson { partial_json: text };
                self.say(BlockKind::Call(call), delta, frames);
            }
        }
    }

    fn finish(
        &mut self,
        _: usize,
        finish: &Finish,
        _: &[ShownToken],
        usage: Option<Usage>,
        frames: &mut Vec<u8>,
    ) {
        self.close(frames);
        let usage = usage.unwrap_or_else(|| Usage::new(0, 0, 0, None)).into();
        Event::MessageDelta { delta: finish.into(), usage }.write(frames);
    }

    fn end(&mut self, _: Usage, frames: &mut Vec<u8>) {
        Event::MessageStop {}.write(frames);
    }

    /// Every client knows the error event, and misses `message_stop`.
    fn fail(&mut self, error: &ApiError, _: Usage, frames: &mut Vec<u8>) -> bool {
        Event::Error { error: ErrorObject::new(error) }.write(frames);
        true
    }
}
