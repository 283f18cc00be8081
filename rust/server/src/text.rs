//! Between text and tokens: tokenizer, detokenizer, chat template, stop strings.
//!
//! Everything here is plain computation on values that were loaded once: no clock but the one that is handed
//! in, no thread, no lock.

mod chat_template;
mod detokenizer;
mod error;
mod generation_config;
mod jinja;
mod json_files;
mod literals;
mod prompt;
mod stop_strings;
mod token_names;
mod token_table;
mod tokenizer;
mod too_long;

use std::path::Path;

pub use chat_template::{ChatTemplate, Clock, RenderOptions};
pub use detokenizer::Detokenizer;
pub use error::{TemplateError, TextError};
pub use generation_config::GenerationConfig;
pub use prompt::{PromptEnd, PromptError};
pub use stop_strings::StopStrings;
pub use token_names::{TokenNames, token_name};
pub use tokenizer::Tokenizer;
pub use too_long::encode_within;

/// All that a model folder says about text.
#[derive(Debug, Clone)]
pub struct TextModel {
    /// Text to token ids and back.
    pub tokenizer: Tokenizer,
    /// Conversations to text; a base model has none.
    pub chat_template: Option<ChatTemplate>,
    /// The model's own sampling defaults and end tokens.
    pub generation: GenerationConfig,
}

impl TextModel {
    /// Reads the text side of a model folder in Hugging Face layout.
    ///
    /// `tokenizer.json` is required. `tokenizer_config.json`, `chat_template.jinja`,
    /// `generation_config.json` and `config.json` are read where they exist.
    ///
    /// # Errors
    /// Names the file and what is wrong in it.
    pub fn load(folder: &Path) -> Result<Self, TextError> {
        let tokenizer = Tokenizer::load(&folder.join("tokenizer.json"))?;
        let tokenizer_config = json_files::read_object(&folder.join("tokenizer_config.json"))?;
        let chat_template = ChatTemplate::load(folder, &tokenizer_config, jiff::Zoned::now)?;
        let generation = GenerationConfig::load(folder, &tokenizer_config, &tokenizer)?;
        Ok(Self { tokenizer, chat_template, generation })
    }
}
