//! vLLM's `structural_tag`, in its older and its newer shape.

use serde_json::{Map, Value};

use crate::calls::split;
use crate::error::GrammarError;
use crate::grammar::{Node, Piece, Tag};
use crate::limits::{MAX_DEPTH, check};

/// Reads either shape.
pub(crate) fn parse(tag: &Value) -> Result<Node, GrammarError> {
    let tag = object(tag, "/")?;
    match (tag.get("structures"), tag.get("format")) {
        (Some(structures), None) => older(structures, tag.get("triggers")),
        (None, Some(format)) => read(format, "/format", 0),
        _ => Err(invalid("/", "a structural tag has either `structures` and `triggers`, or `format`")),
    }
}

/// `{"structures": [{"begin", "schema", "end"}], "triggers": [...]}`
fn older(structures: &Value, triggers: Option<&Value>) -> Result<Node, GrammarError> {
    let triggers = texts(triggers, "/triggers")?;
    let tags = array(structures, "/structures")?.iter().enumerate().map(|(index, structure)| {
        let path = format!("/structures/{index}");
        let structure = object(structure, &path)?;
        let schema = structure.get("schema").ok_or_else(|| invalid(&path, "`schema` is missing"))?;
        tag(
            text(structure, "begin", &path)?,
            Node::json(schema.clone()),
            text(structure, "end", &path)?,
            &triggers,
            &path,
        )
    });
    Ok(Node::Free { tags: tags.collect::<Result<_, _>>()?, min: 0, max: None })
}

/// One format of the newer shape.
fn read(format: &Value, path: &str, depth: usize) -> Result<Node, GrammarError> {
    check("the depth of the structural tag", depth, MAX_DEPTH)?;
    let object = object(format, path)?;
    let elements = || -> Result<Vec<Node>, GrammarError> {
        let elements = array(object.get("elements").unwrap_or(&Value::Null), &format!("{path}/elements"))?;
        let read_one = |(index, element)| read(element, &format!("{path}/elements/{index}"), depth + 1);
        elements.iter().enumerate().map(read_one).collect()
    };
    match text(object, "type", path)? {
        "const_string" => Ok(Node::Text(text(object, "value", path)?.to_owned())),
        "json_schema" => {
            let style = object.get("style").and_then(Value::as_str).unwrap_or("json");
            if style != "json" {
                return Err(unsupported("style", &format!("{path}/style"), "only JSON is enforced"));
            }
            let schema =
                object.get("json_schema").ok_or_else(|| invalid(path, "`json_schema` is missing"))?;
            Ok(Node::json(schema.clone()))
        }
        "any_text" => Ok(Node::Free { tags: Vec::new(), min: 0, max: None }),
        "regex" => Ok(Node::Regex(text(object, "pattern", path)?.to_owned())),
        "sequence" => Ok(Node::Sequence(elements()?)),
        "or" => Ok(Node::AnyOf(elements()?)),
        "tag" => {
            let begin = Node::Text(text(object, "begin", path)?.to_owned());
            let end = text(object, "end", path)?;
            Ok(Node::Sequence(std::iter::once(begin).chain(content(object, end, path, depth)?).collect()))
        }
        "triggered_tags" => triggered(object, path, depth),
        "tags_with_separator" => separated(object, path, depth),
        kind => Err(unsupported(kind, path, "this format is not known")),
    }
}

/// `triggered_tags`: free text, and tags that begin with a trigger.
fn triggered(object: &Map<String, Value>, path: &str, depth: usize) -> Result<Node, GrammarError> {
    let triggers = texts(object.get("triggers"), &format!("{path}/triggers"))?;
    let mut tags = Vec::new();
    for (index, value) in
        array(object.get("tags").unwrap_or(&Value::Null), &format!("{path}/tags"))?.iter().enumerate()
    {
        let path = format!("{path}/tags/{index}");
        let object = self::object(value, &path)?;
        let begin = text(object, "begin", &path)?;
        let end = text(object, "end", &path)?;
        let body = Node::Sequence(content(object, end, &path, depth)?);
        tags.push(tag(begin, body, "", &triggers, &path)?);
    }
    let (min, max) = counts(object);
    Ok(Node::Free { tags, min, max })
}

/// `tags_with_separator`: nothing but tags.
fn separated(object: &Map<String, Value>, path: &str, depth: usize) -> Result<Node, GrammarError> {
    let mut tags = Vec::new();
    for (index, value) in
        array(object.get("tags").unwrap_or(&Value::Null), &format!("{path}/tags"))?.iter().enumerate()
    {
        let path = format!("{path}/tags/{index}");
        let object = self::object(value, &path)?;
        let begin = Node::Text(text(object, "begin", &path)?.to_owned());
        let end = text(object, "end", &path)?;
        tags.push(Node::Sequence(
            std::iter::once(begin).chain(content(object, end, &path, depth)?).collect(),
        ));
    }
    let (min, max) = counts(object);
    let separator = text(object, "separator", path)?.to_owned();
    Ok(Node::Repeat { node: Box::new(Node::AnyOf(tags)), separator, min, max })
}

/// Returns the content of a tag and its end. Any text ends with the first end, so both are one node
/// then.
fn content(
    object: &Map<String, Value>,
    end: &str,
    path: &str,
    depth: usize,
) -> Result<Vec<Node>, GrammarError> {
    let content = object.get("content").ok_or_else(|| invalid(path, "`content` is missing"))?;
    if content.get("type").and_then(Value::as_str) == Some("any_text") && !end.is_empty() {
        return Ok(vec![Node::Until(end.to_owned())]);
    }
    Ok(vec![read(content, &format!("{path}/content"), depth + 1)?, Node::Text(end.to_owned())])
}

/// Returns a tag within text, by the first of the triggers with which it begins.
fn tag(begin: &str, body: Node, end: &str, triggers: &[&str], path: &str) -> Result<Tag, GrammarError> {
    let trigger = triggers.iter().find(|trigger| !trigger.is_empty() && begin.starts_with(**trigger));
    let trigger = trigger.ok_or_else(|| invalid(path, "`begin` starts with none of the `triggers`"))?;
    let (trigger, rest) = split(Piece::Text(begin.to_owned()), trigger);
    Ok(Tag { trigger, rest: Node::Sequence(vec![Node::Text(rest), body, Node::Text(end.to_owned())]) })
}

fn counts(object: &Map<String, Value>) -> (usize, Option<usize>) {
    let is_set = |key: &str| object.get(key).and_then(Value::as_bool).unwrap_or(false);
    (usize::from(is_set("at_least_one")), is_set("stop_after_first").then_some(1))
}

fn object<'a>(value: &'a Value, path: &str) -> Result<&'a Map<String, Value>, GrammarError> {
    value.as_object().ok_or_else(|| invalid(path, "it must be an object"))
}

fn array<'a>(value: &'a Value, path: &str) -> Result<&'a Vec<Value>, GrammarError> {
    value.as_array().ok_or_else(|| invalid(path, "it must be an array"))
}

fn text<'a>(object: &'a Map<String, Value>, key: &str, path: &str) -> Result<&'a str, GrammarError> {
    object.get(key).and_then(Value::as_str).ok_or_else(|| invalid(path, &format!("`{key}` must be a string")))
}

fn texts<'a>(value: Option<&'a Value>, path: &str) -> Result<Vec<&'a str>, GrammarError> {
    let values = array(value.unwrap_or(&Value::Null), path)?;
    values.iter().map(|value| value.as_str().ok_or_else(|| invalid(path, "it must hold strings"))).collect()
}

fn invalid(path: &str, reason: &str) -> GrammarError {
    GrammarError::Invalid { path: path.to_owned(), reason: reason.to_owned() }
}

fn unsupported(keyword: &str, path: &str, reason: &str) -> GrammarError {
    GrammarError::Unsupported {
        keyword: keyword.to_owned(),
        path: path.to_owned(),
        reason: reason.to_owned(),
    }
}
