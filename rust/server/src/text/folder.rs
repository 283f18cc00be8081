//! The files of a model folder: those that are read, and notices about the others.

use std::path::Path;

use super::TextError;

/// The treatment of a known file. Files that are not in the table do not affect text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// Read for text, here or beside this file.
    Read,
    /// Read by the runner of the model.
    Model,
    /// Another form of the content of `tokenizer.json`.
    Vocabulary,
    /// Not read, for this reason.
    Ignored(&'static str),
}

const MEDIA: &str = "messages have text only";
const CODE: &str = "code of a model folder is never run";

/// By name; one that ends in `/` is a folder, one that begins with `*` is any name that ends so.
const FILES: [(&str, Fate); 29] = [
    ("tokenizer.json", Fate::Read),
    ("tokenizer_config.json", Fate::Read),
    ("special_tokens_map.json", Fate::Read),
    ("added_tokens.json", Fate::Read),
    ("chat_template.jinja", Fate::Read),
    ("chat_template.json", Fate::Read),
    ("additional_chat_templates/", Fate::Read),
    ("generation_config.json", Fate::Read),
    ("config.json", Fate::Read),
    ("*.safetensors", Fate::Model),
    ("*.safetensors.index.json", Fate::Model),
    ("vocab.json", Fate::Vocabulary),
    ("merges.txt", Fate::Vocabulary),
    ("vocab.txt", Fate::Vocabulary),
    ("tokenizer.model", Fate::Vocabulary),
    ("tokenizer.model.v3", Fate::Vocabulary),
    ("spiece.model", Fate::Vocabulary),
    ("sentencepiece.bpe.model", Fate::Vocabulary),
    ("tekken.json", Fate::Vocabulary),
    ("tiktoken.model", Fate::Vocabulary),
    ("qwen.tiktoken", Fate::Vocabulary),
    ("preprocessor_config.json", Fate::Ignored(MEDIA)),
    ("processor_config.json", Fate::Ignored(MEDIA)),
    ("video_preprocessor_config.json", Fate::Ignored(MEDIA)),
    ("adapter_config.json", Fate::Ignored("adapters are not applied, merge them into the model")),
    ("modules.json", Fate::Ignored("embeddings are not served")),
    ("custom_generate/", Fate::Ignored(CODE)),
    ("tokenization_*.py", Fate::Ignored(CODE)),
    ("modeling_*.py", Fate::Ignored(CODE)),
];

fn is_called(name: &str, pattern: &str) -> bool {
    match pattern.split_once('*') {
        Some((start, end)) => {
            name.len() >= start.len() + end.len() && name.starts_with(start) && name.ends_with(end)
        }
        None => name == pattern,
    }
}

/// Returns the names in `folder`, with `/` behind those of folders, in order.
fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let name = |entry: std::fs::DirEntry| {
        let slash = if entry.path().is_dir() { "/" } else { "" };
        entry.file_name().into_string().ok().map(|name| name + slash)
    };
    let mut names: Vec<String> = entries.filter_map(name).collect();
    names.sort();
    names
}

/// Returns one line for each reason to ignore files of the folder.
pub(super) fn ignored(folder: &Path) -> Vec<String> {
    let mut reasons: Vec<(&str, Vec<String>)> = Vec::new();
    for name in names(folder) {
        let fate = FILES.iter().find(|(pattern, _)| is_called(&name, pattern));
        let Some((_, Fate::Ignored(reason))) = fate else { continue };
        match reasons.iter_mut().find(|(known, _)| known == reason) {
            Some((_, names)) => names.push(format!("`{name}`")),
            None => reasons.push((reason, vec![format!("`{name}`")])),
        }
    }
    reasons.into_iter().map(|(reason, names)| format!("{} not read: {reason}", names.join(", "))).collect()
}

/// Refuses a folder whose vocabulary is not in `tokenizer.json`, with a remedy.
///
/// # Errors
/// There is such a file, and no `tokenizer.json`.
pub(super) fn check_vocabulary(folder: &Path) -> Result<(), TextError> {
    if folder.join("tokenizer.json").exists() {
        return Ok(());
    }
    let is_vocabulary = |name: &String| {
        FILES.iter().any(|(pattern, fate)| *fate == Fate::Vocabulary && is_called(name, pattern))
    };
    let found: Vec<String> =
        names(folder).into_iter().filter(is_vocabulary).map(|name| format!("`{name}`")).collect();
    if found.is_empty() {
        Ok(())
    } else {
        Err(TextError::NoTokenizer { folder: folder.to_owned(), found: found.join(", ") })
    }
}
