//! Mistral: the marker `[TOOL_CALLS]`, then calls in one of two notations.

use super::json_call::CallRules;
use super::json_calls::JsonCalls;
use super::named_json::{NamedJson, NamedMarkers};
use crate::calls::{Calls, Step};
use crate::marker::Marker;
use crate::session::{Next, Session};

/// Tokenizers before version 11 write a list of objects behind the marker, later ones a name; the
/// text there decides.
#[derive(Debug)]
pub(crate) struct Mistral {
    list: JsonCalls,
    named: NamedJson,
    /// Whether the calls are a list, once known.
    is_list: Option<bool>,
}

impl Mistral {
    pub(crate) fn new(opening: Marker, separator: Marker, id: Marker) -> Self {
        let rules = CallRules { is_bare: false, has_ids: true };
        let named = NamedMarkers {
            section: None,
            opening,
            separator,
            id: Some(id),
            closing: None,
            may_lack_separator: true,
        };
        Self { list: JsonCalls::new(vec![opening], None, rules), named: NamedJson::new(named), is_list: None }
    }
}

impl Calls for Mistral {
    fn openings(&self) -> &[Marker] {
        self.list.openings()
    }

    fn step(&mut self, session: &mut Session) -> Step {
        let is_list = match self.is_list {
            Some(is_list) => is_list,
            None => match session.skip_whitespace(self.openings()[0].len()) {
                (_, Next::Wait) => return Step::Wait,
                (_, next) => matches!(next, Next::Byte(b'[' | b'{')),
            },
        };
        let step = if is_list { self.list.step(session) } else { self.named.step(session) };
        self.is_list = (step == Step::Wait).then_some(is_list);
        step
    }
}
