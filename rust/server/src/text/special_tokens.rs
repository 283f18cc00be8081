//! The special tokens of a model folder, with the precedence that `transformers` gives to its
//! files.

use std::path::Path;

use serde_json::{Map, Value};
use tokenizers::AddedToken;

use super::TextError;
use super::json_files::{read_object, wrong_field};

/// Named tokens that every tokenizer may have; other names end in `_token`, too.
const NAMES: [&str; 7] =
    ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];
const EXTRA: &str = "extra_special_tokens";
const DECODER: &str = "added_tokens_decoder";

/// The tokens in files beside `tokenizer.json`.
#[derive(Debug, Default)]
pub(super) struct SpecialTokens {
    /// Texts by name: `bos_token`, `image_token` and so on.
    pub(super) named: Map<String, Value>,
    /// Tokens that `tokenizer.json` may lack, in the order in which they get their ids.
    pub(super) added: Vec<AddedToken>,
}

impl SpecialTokens {
    /// Reads `special_tokens_map.json` and `added_tokens.json` if `tokenizer_config.json` does not
    /// list the added tokens itself: the former then take precedence. Ignored contradictions go
    /// into `notices`.
    ///
    /// # Errors
    /// A file that cannot be read, or has a field of the wrong kind.
    pub(super) fn read(
        folder: &Path,
        config: &Map<String, Value>,
        notices: &mut Vec<String>,
    ) -> Result<Self, TextError> {
        let map = read_object(&folder.join("special_tokens_map.json"))?;
        let config_path = folder.join("tokenizer_config.json");
        let mut fields = config.clone();
        take_former_name(&mut fields);
        let mut own = take_own_names(&mut fields);
        let mut tokens = Self::default();
        if let Some(decoder) = config.get(DECODER) {
            tokens.added = decoder_tokens(decoder, &config_path)?;
            let differs = |name: &&String| {
                text(&map[*name]).is_some() && text(&map[*name]) != config.get(*name).and_then(text)
            };
            let names: Vec<String> = map.keys().filter(differs).map(|name| format!("`{name}`")).collect();
            if !names.is_empty() {
                notices.push(format!(
                    "{} of `special_tokens_map.json` not read: `tokenizer_config.json` lists the added tokens, so that it counts alone",
                    names.join(", ")
                ));
            }
        } else {
            merge(&mut fields, map);
            take_former_name(&mut fields);
            own.extend(take_named(&mut fields));
            tokens.added = added_tokens(folder, &fields)?;
        }
        tokens.name(&fields, &own, &config_path)?;
        Ok(tokens)
    }

    /// Takes the names, and adds the tokens that have them; `own` are names that only this model
    /// has.
    fn name(
        &mut self,
        fields: &Map<String, Value>,
        own: &Map<String, Value>,
        path: &Path,
    ) -> Result<(), TextError> {
        let is_other = |(name, _): &(&String, &Value)| {
            name.ends_with("_token") && !NAMES.contains(&name.as_str()) && !own.contains_key(*name)
        };
        let common = NAMES.into_iter().filter_map(|name| fields.get_key_value(name));
        let named = common.chain(own).chain(fields.iter().filter(is_other));
        for (name, value) in named {
            let Some(text) = text(value) else { continue };
            self.named.insert(name.clone(), text.into());
            self.added.push(token(value, text, true));
        }
        for value in fields.get(EXTRA).and_then(Value::as_array).into_iter().flatten() {
            let expected = "a list of tokens";
            let text = text(value).ok_or_else(|| wrong_field(path, EXTRA, expected, value))?;
            self.added.push(token(value, text, true));
        }
        Ok(())
    }
}

/// Renames `additional_special_tokens` to `extra_special_tokens`, its newer name.
fn take_former_name(fields: &mut Map<String, Value>) {
    if !fields.get(EXTRA).is_some_and(is_filled)
        && let Some(tokens) = fields.remove("additional_special_tokens")
    {
        fields.insert(EXTRA.to_owned(), tokens);
    }
}

/// Returns the names in `extra_special_tokens`, where that has names.
fn take_named(fields: &mut Map<String, Value>) -> Map<String, Value> {
    match fields.remove(EXTRA) {
        Some(Value::Object(named)) => named,
        Some(other) => {
            fields.insert(EXTRA.to_owned(), other);
            Map::new()
        }
        None => Map::new(),
    }
}

/// Returns the names of `tokenizer_config.json` that only this model has: no other file changes
/// them.
fn take_own_names(fields: &mut Map<String, Value>) -> Map<String, Value> {
    let is_own = |(name, value): &(&String, &Value)| {
        name.ends_with("_token") && !NAMES.contains(&name.as_str()) && text(value).is_some()
    };
    let mut own: Map<String, Value> =
        fields.iter().filter(is_own).map(|(name, value)| (name.clone(), value.clone())).collect();
    own.extend(take_named(fields));
    own
}

fn is_filled(value: &Value) -> bool {
    value.as_array().is_some_and(|list| !list.is_empty())
        || value.as_object().is_some_and(|map| !map.is_empty())
}

/// Returns the text of a token: a string, or an object with `content`.
fn text(value: &Value) -> Option<&str> {
    value.as_str().or_else(|| value.get("content")?.as_str())
}

/// Returns a token with the flags of its object; a special one stays as it is written.
fn token(value: &Value, text: &str, is_special: bool) -> AddedToken {
    let flag = |name: &str| value.get(name).and_then(Value::as_bool);
    let special = is_special || flag("special").unwrap_or(false);
    AddedToken::from(text, special)
        .lstrip(flag("lstrip").unwrap_or(false))
        .rstrip(flag("rstrip").unwrap_or(false))
        .single_word(flag("single_word").unwrap_or(false))
        .normalized(flag("normalized").unwrap_or(!special))
}

/// `added_tokens_decoder`: objects by id.
fn decoder_tokens(decoder: &Value, path: &Path) -> Result<Vec<AddedToken>, TextError> {
    let refuse = || wrong_field(path, DECODER, "an object of added tokens by their ids", decoder);
    let mut tokens = Vec::new();
    for (id, value) in decoder.as_object().ok_or_else(refuse)? {
        let (Ok(id), Some(text)) = (id.parse::<u32>(), text(value)) else { return Err(refuse()) };
        tokens.push((id, token(value, text, false)));
    }
    tokens.sort_by_key(|(id, _)| *id);
    Ok(tokens.into_iter().map(|(_, token)| token).collect())
}

/// Puts the fields of `special_tokens_map.json` over those of `tokenizer_config.json`; lists of
/// tokens are joined.
fn merge(fields: &mut Map<String, Value>, map: Map<String, Value>) {
    for (name, value) in map {
        match (fields.get_mut(&name), value) {
            (Some(Value::Array(known)), Value::Array(more)) if name == EXTRA => {
                let new: Vec<Value> = more.into_iter().filter(|token| !known.contains(token)).collect();
                known.extend(new);
            }
            (_, value) => {
                fields.insert(name, value);
            }
        }
    }
}

/// `added_tokens.json`: ids by text. Those that have a name are special.
fn added_tokens(folder: &Path, fields: &Map<String, Value>) -> Result<Vec<AddedToken>, TextError> {
    let path = folder.join("added_tokens.json");
    let file = read_object(&path)?;
    let extra = fields.get(EXTRA).and_then(Value::as_array).into_iter().flatten();
    let special: Vec<&str> =
        NAMES.iter().filter_map(|name| fields.get(*name)).chain(extra).filter_map(text).collect();
    let mut tokens = Vec::with_capacity(file.len());
    for (text, id) in &file {
        let id = id.as_u64().ok_or_else(|| wrong_field(&path, "added_tokens", "ids by token", id))?;
        tokens.push((id, AddedToken::from(text.as_str(), special.contains(&text.as_str()))));
    }
    tokens.sort_by_key(|(id, _)| *id);
    Ok(tokens.into_iter().map(|(_, token)| token).collect())
}
