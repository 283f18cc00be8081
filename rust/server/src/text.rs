//! Text and tokens: tokenizer, detokenizer, chat template, stop strings.
//!
//! Plain computation on values that were loaded once: no clock of its own, no thread, no lock.

mod chat_template;
mod detokenizer;
mod error;
mod folder;
mod formats;
mod generation_config;
mod grammar_tokens;
mod jinja;
mod json_files;
mod literals;
mod pieces;
mod prompt;
mod seams;
mod special_tokens;
mod stop_strings;
mod template_files;
mod token_names;
mod token_table;
mod tokenizer;
mod wanted;

use std::path::Path;

use streamcore_parsers::Detected;

pub use chat_template::{ChatTemplate, Clock, RenderOptions};
pub use detokenizer::Detokenizer;
pub use error::{TemplateError, TextError};
pub use formats::{reasoning_formats, tool_formats};
pub use generation_config::GenerationConfig;
pub use pieces::{Pieces, encode_within};
pub use prompt::{Conversation, EncodedConversation, PromptEnd, PromptError};
pub use seams::Seams;
use special_tokens::SpecialTokens;
pub use stop_strings::StopStrings;
use template_files::read_sources;
pub use token_names::{TokenNames, token_name};
pub use tokenizer::Tokenizer;
pub(crate) use wanted::may_read;
pub use wanted::{Bound, EndOnDrop, Wanted, bounded};

/// The text side of a model folder.
#[derive(Debug, Clone)]
pub struct TextModel {
    /// Text to token ids and back.
    pub tokenizer: Tokenizer,
    /// Conversations to text; a base model has none.
    pub chat_template: Option<ChatTemplate>,
    /// Why there is no chat template, where the folder has one that cannot be used.
    pub chat_template_fault: Option<String>,
    /// The model's own sampling defaults and end tokens.
    pub generation: GenerationConfig,
    /// The formats of calls and of reasoning in answers.
    pub formats: Detected,
    /// Files of the folder that are ignored or unusable: a line each, for the log.
    pub notices: Vec<String>,
}

impl TextModel {
    /// Reads the text side of a model folder in Hugging Face layout.
    ///
    /// `tokenizer.json` is required. `tokenizer_config.json`, `special_tokens_map.json`,
    /// `added_tokens.json`, chat templates, `generation_config.json` and `config.json` are read
    /// where they exist, with the precedence of `transformers`.
    ///
    /// # Errors
    /// Names the file and its fault. An invalid chat template is ignored: text can be completed
    /// without it.
    pub fn load(folder: &Path) -> Result<Self, TextError> {
        folder::check_vocabulary(folder)?;
        let mut notices = folder::ignored(folder);
        let config = json_files::read_object(&folder.join("tokenizer_config.json"))?;
        let SpecialTokens { named, added } = SpecialTokens::read(folder, &config, &mut notices)?;
        let tokenizer = Tokenizer::load_with(&folder.join("tokenizer.json"), added)?;
        let generation = GenerationConfig::load(folder, &named, &tokenizer)?;
        let sources = read_sources(folder, &config, &mut notices)?;
        let (mut chat_template, mut chat_template_fault) = (None, None);
        if !sources.is_empty() {
            match ChatTemplate::compile(&sources, &named, jiff::Zoned::now, &mut notices) {
                Ok(template) => chat_template = Some(template),
                Err(fault) => {
                    notices.push(fault.clone());
                    chat_template_fault = Some(fault);
                }
            }
        }
        let formats = Detected::default();
        let mut model = Self { tokenizer, chat_template, chat_template_fault, generation, formats, notices };
        model.detect_formats();
        Ok(model)
    }
}
