//! The fields of request bodies: one table ([`params`], [`dialects`] for those of other servers,
//! [`message`] for the messages, [`tool`] for tools and calls) that the parser obeys and that the
//! reference page and `/openapi.json` are made of.

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

/// Maximum stop strings.
pub const MAX_STOP_STRINGS: usize = 4;
/// Longest stop string in characters, which limits the text held back.
pub const MAX_STOP_STRING_CHARS: usize = 1024;
/// Maximum prompts in one request.
pub const MAX_PROMPTS: usize = 128;
/// Maximum stop tokens of a client.
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

/// The routes that know a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum On {
    /// One of them.
    Only(Endpoint),
    /// Both of OpenAI's, with the same meaning; a dialect takes some of them into its own table.
    Both,
}

/// The treatment of a field.
#[derive(Debug, Clone, Copy)]
pub enum Fate {
    /// The field takes effect.
    Honoured {
        /// The default, in words; empty if the field is required.
        default: &'static str,
    },
    /// The field would change the answer, so it is refused, unless its value changes nothing.
    Refused {
        /// Values that change nothing.
        unless: Neutral,
        /// The field that does the same here, if there is one.
        instead: Option<&'static str>,
    },
    /// The field cannot change the answer, so its value is ignored.
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
    /// Its treatment.
    pub fate: Fate,
    /// Its effect, in a sentence.
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

/// Checks every field of a body, or of an object in it, that is in the table: afterwards only
/// honoured ones remain, of their type and range. Other fields are left alone.
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
                // Suggests only fields that this route knows.
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
