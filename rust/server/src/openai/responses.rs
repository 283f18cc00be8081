//! `/v1/responses`: a dialect of chat. A request is translated into a chat, whose rules it then
//! obeys; the answer is one object, and the events that build it up.

mod events;
mod items;
mod object;
mod open_item;
pub mod params;
pub mod reference;
pub mod request;
pub(in crate::openai) mod schemas;
mod tools;
mod translation;

pub use self::events::ResponseEvents;
pub use self::items::stored_input;
pub use self::object::{InputTokens, Status, Told};
pub use self::request::{Kept, Past, ResponsesRequest};
