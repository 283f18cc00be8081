//! The open item of a response, and the events of its parts.

use serde::Serialize;
use serde_json::value::RawValue;

use super::object::{Output, Part, Status, packed};

/// The open item.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) kind: OpenKind,
    pub(super) id: String,
    pub(super) text: String,
    /// Entries of a list, with commas between them.
    pub(super) logprobs: Vec<u8>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum OpenKind {
    Message,
    /// A thought as it is.
    Reasoning,
    /// A thought as a summary.
    Summary,
    Call {
        call_id: String,
        name: String,
    },
}

/// The names of the events of a kind of item.
pub(super) struct Names {
    pub(super) part_added: &'static str,
    pub(super) delta: &'static str,
    pub(super) done: &'static str,
    pub(super) part_done: &'static str,
}

const TEXT: Names = Names {
    part_added: "response.content_part.added",
    delta: "response.output_text.delta",
    done: "response.output_text.done",
    part_done: "response.content_part.done",
};
const REASONING: Names =
    Names { delta: "response.reasoning_text.delta", done: "response.reasoning_text.done", ..TEXT };
const SUMMARY: Names = Names {
    part_added: "response.reasoning_summary_part.added",
    delta: "response.reasoning_summary_text.delta",
    done: "response.reasoning_summary_text.done",
    part_done: "response.reasoning_summary_part.done",
};

/// The place of a part, and an event's data.
#[derive(Default, Serialize)]
pub(super) struct AtPart<'a> {
    pub(super) item_id: &'a str,
    pub(super) output_index: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) content_index: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) summary_index: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) part: Option<Part>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) delta: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) arguments: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) text: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) logprobs: Option<Box<RawValue>>,
}

impl OpenKind {
    /// `None` for a call, which has no parts.
    pub(super) fn names(&self) -> Option<&'static Names> {
        match self {
            Self::Message => Some(&TEXT),
            Self::Reasoning => Some(&REASONING),
            Self::Summary => Some(&SUMMARY),
            Self::Call { .. } => None,
        }
    }

    pub(super) fn prefix(&self) -> &'static str {
        match self {
            Self::Message => "msg",
            Self::Reasoning | Self::Summary => "rs",
            Self::Call { .. } => "fc",
        }
    }
}

impl Open {
    pub(super) fn at(&self, output_index: usize) -> AtPart<'_> {
        let index = |is_it| if is_it { Some(0) } else { None };
        AtPart {
            item_id: &self.id,
            output_index,
            content_index: index(matches!(self.kind, OpenKind::Message | OpenKind::Reasoning)),
            summary_index: index(self.kind == OpenKind::Summary),
            ..AtPart::default()
        }
    }

    pub(super) fn part(&self) -> Part {
        let text = self.text.clone();
        match self.kind {
            OpenKind::Summary => Part::SummaryText { text },
            OpenKind::Reasoning => Part::ReasoningText { text },
            _ => Part::OutputText { annotations: [], logprobs: list(&self.logprobs), text },
        }
    }

    /// Returns the present item; it has a part once it has text, or is done.
    pub(super) fn item(&self, status: Status, packs: bool) -> Output {
        let id = self.id.clone();
        let parts = if status == Status::InProgress { Vec::new() } else { vec![self.part()] };
        match &self.kind {
            OpenKind::Message => Output::Message { id, status, role: "assistant", content: parts },
            OpenKind::Call { call_id, name } => {
                let (call_id, name, arguments) = (call_id.clone(), name.clone(), self.text.clone());
                Output::FunctionCall { id, call_id, name, arguments, status }
            }
            kind => {
                let (summary, content) =
                    if *kind == OpenKind::Summary { (parts, Vec::new()) } else { (Vec::new(), parts) };
                let encrypted_content = (packs && status != Status::InProgress).then(|| packed(&self.text));
                Output::Reasoning { id, summary, content, encrypted_content, status }
            }
        }
    }
}

/// Returns a list of these entries.
pub(super) fn list(entries: &[u8]) -> Box<RawValue> {
    let json = format!("[{}]", String::from_utf8_lossy(entries));
    RawValue::from_string(json).expect("entries were written as JSON")
}
