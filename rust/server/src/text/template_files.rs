//! The chat templates of a model folder.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value};

use super::TextError;
use super::json_files::{read_object, read_optional, wrong_field};

/// Templates by name, each with the file that it stands in.
pub(super) type TemplateSources = BTreeMap<String, (String, String)>;

const FIELD: &str = "chat_template";
const JINJA: &str = "chat_template.jinja";
const MORE: &str = "additional_chat_templates";
const CONFIG: &str = "tokenizer_config.json";
const JSON: &str = "chat_template.json";

/// Returns the templates of `chat_template.jinja` and `additional_chat_templates/`; if there are
/// none those of `tokenizer_config.json`, and else that of `chat_template.json`, which processors
/// of images have. Ignored templates that differ go into `notices`.
///
/// # Errors
/// A file that cannot be read, or a field of the wrong kind.
pub(super) fn read_sources(
    folder: &Path,
    config: &Map<String, Value>,
    notices: &mut Vec<String>,
) -> Result<TemplateSources, TextError> {
    let path = folder.join(JSON);
    let places = [
        template_files(folder)?,
        named(config.get(FIELD), CONFIG, &folder.join(CONFIG))?,
        named(read_object(&path)?.get(FIELD), JSON, &path)?,
    ];
    let mut places = places.into_iter().filter(|sources| !sources.is_empty());
    let Some(used) = places.next() else { return Ok(TemplateSources::new()) };
    let text = |sources: &TemplateSources| sources.get("default").map(|(_, source)| source.trim().to_owned());
    for (file, _) in
        places.filter(|others| text(others) != text(&used)).filter_map(|others| others.into_values().next())
    {
        let used = used.values().next().map_or("", |(file, _)| file);
        notices.push(format!("`{FIELD}` of `{file}` not read: `{used}` comes first"));
    }
    let others: Vec<_> =
        used.keys().filter(|name| !matches!(name.as_str(), "default" | "tool_use")).collect();
    if !others.is_empty() {
        let names: Vec<_> = others.into_iter().map(|name| format!("`{name}`")).collect();
        notices.push(format!(
            "chat templates not used: {}, only `default` and, with tools, `tool_use`",
            names.join(", ")
        ));
    }
    Ok(used)
}

fn template_files(folder: &Path) -> Result<TemplateSources, TextError> {
    let mut sources = TemplateSources::new();
    let mut take = |name: &str, file: String| -> Result<(), TextError> {
        let path = folder.join(&file);
        let Some(bytes) = read_optional(&path)? else { return Ok(()) };
        let invalid = |error| TextError::Read { path: path.clone(), source: std::io::Error::other(error) };
        sources.insert(name.to_owned(), (file, String::from_utf8(bytes).map_err(invalid)?));
        Ok(())
    };
    take("default", JINJA.to_owned())?;
    for entry in std::fs::read_dir(folder.join(MORE)).into_iter().flatten().flatten() {
        let file = entry.file_name();
        if let Some(name) = file.to_str().and_then(|file| file.strip_suffix(".jinja")) {
            take(name, format!("{MORE}/{name}.jinja"))?;
        }
    }
    Ok(sources)
}

/// Returns a template, or a list of them with names.
fn named(value: Option<&Value>, file: &str, path: &Path) -> Result<TemplateSources, TextError> {
    let refuse = |value| wrong_field(path, FIELD, "a template or a list of templates with names", value);
    let source = |name: &str, text: &str| (name.to_owned(), (file.to_owned(), text.to_owned()));
    match value {
        None | Some(Value::Null) => Ok(TemplateSources::new()),
        Some(Value::String(text)) => Ok([source("default", text)].into()),
        Some(value) => {
            let items = value.as_array().ok_or_else(|| refuse(value))?;
            let item = |item: &Value| Some(source(item["name"].as_str()?, item["template"].as_str()?));
            items.iter().map(item).collect::<Option<_>>().ok_or_else(|| refuse(value))
        }
    }
}
