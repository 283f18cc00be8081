//! What a request body may have in it: one table ([`params`], [`dialects`] for what other servers
//! know, [`message`] for the messages, [`tool`] for tools and calls) that the parser obeys and that
//! the reference page and `/openapi.json` are made of.

pub mod dialects;
mod kind;
pub mod message;
mod neutral;
pub mod params;
pub mod structured;
pub mod tool;

pub use self::kind::Kind;
pub use self::neutral::Neutral;
use super::fields::Fields;
use super::options::unsupported;
use crate::error::ApiError;

/// Most stop strings.
pub const MAX_STOP_STRINGS: usize = 4;
/// Longest stop string in characters: what is held back is never longer.
pub const MAX_STOP_STRING_CHARS: usize = 1024;
/// Maximum prompts in one request.
pub const MAX_PROMPTS: usize = 128;
/// Most of the client's own stop tokens.
pub const MAX_STOP_TOKENS: usize = 128;
/// Far above every context; keeps sums of lengths away from overflow.
pub const MAX_TOKENS: i64 = 1 << 31;

/// One of the routes that generate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endpoint {
    /// `/v1/chat/completions`
    Chat,
    /// `/v1/completions`
    Completions,
    /// `/v1/messages`
    Messages,
}

/// Which routes know a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum On {
    /// One of them.
    Only(Endpoint),
    /// Both of OpenAI's, with the same meaning; a dialect takes some of them into its own table.
    Both,
}

/// What becomes of a field.
#[derive(Debug, Clone, Copy)]
pub enum Fate {
    /// It does what it says.
    Honoured {
        /// What holds without it, in words; empty if it has to be there.
        default: &'static str,
    },
    /// It would change the answer, so it is refused, unless its value changes nothing.
    Refused {
        /// Values that change nothing.
        unless: Neutral,
        /// The field that does the same here, if there is one.
        instead: Option<&'static str>,
    },
    /// It cannot change the answer, so its value is not looked at.
    Ignored,
}

/// One field of a request.
#[derive(Debug, Clone, Copy)]
pub struct Param {
    /// Its name in the body.
    pub name: &'static str,
    /// The routes that know it.
    pub on: On,
    /// Its type and range.
    pub kind: Kind,
    /// What becomes of it.
    pub fate: Fate,
    /// What it does, in a sentence.
    pub about: &'static str,
}

impl Param {
    /// Returns whether this route knows the field.
    #[must_use]
    pub fn is_on(&self, endpoint: Endpoint) -> bool {
        self.on == On::Both || self.on == On::Only(endpoint)
    }
}

/// Returns every field of a body that is known.
pub fn body_params() -> impl Iterator<Item = &'static Param> + Clone {
    params::PARAMS.iter().chain(structured::STRUCTURED).chain(dialects::DIALECTS)
}

/// Checks every field of a body, or of an object in it, that is in the table: what is honoured has
/// its type and is within its range afterwards, and is all that is left of them. Fields that the
/// table does not have are left alone.
///
/// # Errors
/// 400, naming the field.
pub fn check<'a>(
    fields: &mut Fields,
    params: impl IntoIterator<Item = &'a Param, IntoIter: Clone>,
    endpoint: Endpoint,
    vocab_size: usize,
) -> Result<(), ApiError> {
    let known = params.into_iter();
    let is_honoured = |name: &str| {
        let mut of_name = known.clone().filter(|param| param.name == name && param.is_on(endpoint));
        of_name.any(|param| matches!(param.fate, Fate::Honoured { .. }))
    };
    for param in known.clone().filter(|param| param.is_on(endpoint)) {
        let Some(value) = fields.get(param.name) else { continue };
        let path = || fields.path_of(param.name);
        match param.fate {
            Fate::Honoured { .. } => param.kind.check(&path(), value, vocab_size)?,
            Fate::Refused { unless, instead } if !unless.matches(value) => {
                // Only what this route knows is worth a try.
                let instead = instead.filter(|ours| is_honoured(ours));
                return Err(unsupported(&path(), value, instead));
            }
            Fate::Refused { .. } | Fate::Ignored => {
                fields.take(param.name);
            }
        }
    }
    Ok(())
}
