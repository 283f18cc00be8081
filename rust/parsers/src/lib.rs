//! Tool calls and reasoning in the answers of models, read as they stream.
//!
//! A [`Parser`] is a pure state machine: pieces of text and special tokens in, [`Event`]s out. What
//! comes out does not depend on where the text is cut, and each byte of the answer belongs to
//! exactly one event. What looks like a call and is none is content, as it was written.
//!
//! ```text
//! <think>                                        syntax
//! Rain?                                          reasoning
//! </think>\n                                     syntax
//! <tool_call>\n{"name": "weather", "arguments":  a call to weather begins
//! {"city": "Oslo"}                               arguments
//! }                                              the call ends
//! \n</tool_call>                                 syntax
//! ```
//!
//! [`ToolFormat`] and [`ReasoningFormat`] name the formats, [`detect`] recognises them by a chat
//! template, and [`CallSyntax`] says what a grammar has to put around the name and the arguments of
//! a call that is forced.
#![forbid(unsafe_code)]

mod calls;
mod detect;
mod event;
mod families;
mod format;
mod input;
mod json;
mod marker;
mod parser;
mod reasoning;
mod schema;
mod session;
mod syntax;

pub use calls::is_name;
pub use detect::{Detected, detect};
pub use event::{Event, EventKind, Finish, Outcome, Piece};
pub use format::ToolFormat;
pub use parser::{Parser, Setup};
pub use reasoning::{ReasoningFormat, ReasoningSyntax};
pub use schema::Tool;
pub use syntax::{ArgumentsSyntax, CallSyntax};
