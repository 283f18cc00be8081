//! Turns a checked request into running choices.

mod answer_grammar;
mod answer_setup;
mod arguments;
mod chat;
mod constrain;
mod instruction;
mod lengths;
mod limits;
mod prompt;
mod request;
mod submit;

use crate::app::App;
use crate::asked::Options;
use crate::stream::Identity;

pub use self::answer_grammar::{AskedGrammar, Manner, chat_grammar, completion_grammar};
pub use self::answer_setup::answer_setup;
pub use self::chat::{num_prompt_tokens, of_chat};
pub use self::instruction::instruct;
pub use self::prompt::{Prompt, encode, encode_conversation, max_prompt_tokens};
pub use self::request::Generation;

/// Makes the answer's identity: the API's prefix, the request's id and the model.
#[must_use]
pub fn identity(app: &App, prefix: &str, options: &Options, name: &str) -> Identity {
    let name = options.request_id.as_deref().unwrap_or(name);
    let (created, model) = (app.driver.unix_time_s(), options.model.clone());
    Identity { id: format!("{prefix}{name}"), created, model }
}

/// Returns a number that cannot be guessed.
#[must_use]
pub fn random() -> u64 {
    getrandom::u64().expect("the system has random numbers")
}
