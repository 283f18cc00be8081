//! Grammars for the arguments of calls, in the notation of a model family.
//!
//! JSON takes a schema as it is. Other notations support a subset: an object of named, typed
//! members. Anything else is an error, so that no schema is enforced in part.

use serde_json::{Map, Value, json};
use streamcore_grammar::{Node, Piece, Tag};
use streamcore_parsers::ArgumentsSyntax;

use crate::text::Tokenizer;

/// Keywords of an object that do not constrain its values.
const ANNOTATIONS: [&str; 11] = [
    "title",
    "description",
    "default",
    "examples",
    "example",
    "$schema",
    "$id",
    "$comment",
    "deprecated",
    "$defs",
    "definitions",
];
/// Keys under which a schema keeps its definitions.
const DEFINITIONS: [&str; 2] = ["$defs", "definitions"];

/// A keyword, or a combination of keywords, that a notation cannot enforce.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unsupported(pub(super) String);

/// One parameter.
struct Member<'a> {
    key: &'a str,
    schema: &'a Value,
    is_required: bool,
}

/// Writes arguments in one notation, with one tokenizer's markers.
pub(super) struct Arguments<'a> {
    pub(super) syntax: ArgumentsSyntax,
    /// The text that follows the arguments.
    pub(super) behind: &'a str,
    pub(super) tokenizer: &'a Tokenizer,
}

impl Arguments<'_> {
    /// Returns a grammar of arguments that the schema accepts, with the text behind them.
    pub(super) fn exact(&self, schema: &Value) -> Result<Node, Unsupported> {
        let arguments = match self.syntax {
            ArgumentsSyntax::Json => Node::json(as_object(schema)),
            ArgumentsSyntax::Tags { before_key, behind_key, behind_value } => {
                let member = |member: &Member<'_>| {
                    let value = self.tagged(member.schema, schema, behind_value)?;
                    Ok(Node::Sequence(vec![self.text(&[before_key, member.key, behind_key]), value]))
                };
                independent(&members(schema)?, member)?
            }
            ArgumentsSyntax::Python => {
                let member = |member: &Member<'_>| {
                    let value = Node::json(with_definitions(member.schema, schema));
                    Ok(Node::Sequence(vec![self.text(&[member.key, "="]), value]))
                };
                separated(&members(schema)?, ", ", member)?
            }
            ArgumentsSyntax::Gemma { quote } => self.gemma_object(schema, quote)?,
        };
        Ok(Node::Sequence(vec![arguments, self.text(&[self.behind])]))
    }

    /// Returns a grammar of arguments with the right names, or of any where the notation leaves no
    /// choice, with the text behind them.
    pub(super) fn loose(&self, schema: &Value) -> Node {
        match self.syntax {
            ArgumentsSyntax::Json => {
                Node::Sequence(vec![Node::json(json!({"type": "object"})), self.text(&[self.behind])])
            }
            ArgumentsSyntax::Python => {
                let properties = schema.get("properties").and_then(Value::as_object);
                let keys = properties.into_iter().flatten().map(|(key, _)| key.as_str());
                let any = Value::Bool(true);
                let members: Vec<_> =
                    keys.map(|key| Member { key, schema: &any, is_required: false }).collect();
                let member = |member: &Member<'_>| {
                    Ok(Node::Sequence(vec![self.text(&[member.key, "="]), Node::json(any.clone())]))
                };
                let arguments = separated(&members, ", ", member).unwrap_or(Node::Text(String::new()));
                Node::Sequence(vec![arguments, self.text(&[self.behind])])
            }
            ArgumentsSyntax::Tags { .. } | ArgumentsSyntax::Gemma { .. } => self.until(self.behind),
        }
    }

    /// Joins parts with the notation's markers.
    fn text(&self, parts: &[&str]) -> Node {
        Node::pieces(self.tokenizer.pieces(&parts.concat()))
    }

    /// Matches any text up to and including `end`.
    fn until(&self, end: &str) -> Node {
        until(self.tokenizer, end, Node::Text(String::new()))
    }

    /// Matches a value between tags: strings unquoted, all else JSON.
    fn tagged(&self, schema: &Value, root: &Value, behind: &str) -> Result<Node, Unsupported> {
        match kind(schema)? {
            Kind::Text => Ok(self.until(behind)),
            Kind::Words(words) => Ok(Node::Sequence(vec![Node::Choice(words), self.text(&[behind])])),
            Kind::Other => {
                Ok(Node::Sequence(vec![Node::json(with_definitions(schema, root)), self.text(&[behind])]))
            }
        }
    }

    fn gemma_object(&self, schema: &Value, quote: &str) -> Result<Node, Unsupported> {
        let member = |member: &Member<'_>| {
            let value = self.gemma(member.schema, quote)?;
            Ok(Node::Sequence(vec![self.text(&[member.key, ":"]), value]))
        };
        let members = separated(&members(schema)?, ",", member)?;
        Ok(Node::Sequence(vec![self.text(&["{"]), members, self.text(&["}"])]))
    }

    fn gemma(&self, schema: &Value, quote: &str) -> Result<Node, Unsupported> {
        match (kind(schema)?, schema.get("type").and_then(Value::as_str)) {
            (Kind::Text, _) => Ok(Node::Sequence(vec![self.text(&[quote]), self.until(quote)])),
            (Kind::Words(words), _) => {
                Ok(Node::Sequence(vec![self.text(&[quote]), Node::Choice(words), self.text(&[quote])]))
            }
            (Kind::Other, Some("object")) => self.gemma_object(schema, quote),
            (Kind::Other, Some("array")) => {
                known_keywords(schema, &["type", "items"])?;
                let items =
                    schema.get("items").ok_or_else(|| Unsupported("an array without `items`".to_owned()))?;
                let item = Box::new(self.gemma(items, quote)?);
                let items = Node::Repeat { node: item, separator: ",".to_owned(), min: 0, max: None };
                Ok(Node::Sequence(vec![self.text(&["["]), items, self.text(&["]"])]))
            }
            (Kind::Other, Some("integer" | "number" | "boolean" | "null")) => Ok(Node::json(schema.clone())),
            (Kind::Other, _) => Err(Unsupported("a value of more than one type".to_owned())),
        }
    }
}

/// Matches any text up to the first `end`, then `end` and `rest`.
pub(super) fn until(tokenizer: &Tokenizer, end: &str, rest: Node) -> Node {
    let mut pieces = tokenizer.pieces(end).into_iter();
    let trigger = pieces.next().unwrap_or_else(|| Piece::Text(String::new()));
    let rest = Node::Sequence(vec![Node::pieces(pieces), rest]);
    match trigger {
        // Text without a marker cannot mean anything else.
        Piece::Text(text) => Node::Sequence(vec![Node::Until(text), rest]),
        token @ Piece::Token(_) => {
            Node::Free { tags: vec![Tag { trigger: token, rest }], min: 1, max: Some(1) }
        }
    }
}

/// The kinds of a value where strings have no quotes.
enum Kind {
    /// Any string.
    Text,
    /// One of these strings.
    Words(Vec<String>),
    /// Not a string.
    Other,
}

fn kind(schema: &Value) -> Result<Kind, Unsupported> {
    let words = match (schema.get("enum").and_then(Value::as_array), schema.get("const")) {
        (Some(values), _) => Some(values.iter().collect()),
        (None, Some(value)) => Some(vec![value]),
        (None, None) => None,
    };
    let is_string = schema.get("type").and_then(Value::as_str) == Some("string");
    if let Some(words) = words {
        let texts: Option<Vec<_>> = words.iter().map(|word| word.as_str().map(str::to_owned)).collect();
        return match texts {
            Some(texts) => known_keywords(schema, &["type", "enum", "const"]).map(|()| Kind::Words(texts)),
            None if words.iter().any(|word| word.is_string()) => {
                Err(Unsupported("`enum` with strings and other values".to_owned()))
            }
            None => Ok(Kind::Other),
        };
    }
    if is_string {
        return known_keywords(schema, &["type"]).map(|()| Kind::Text);
    }
    let types: Vec<&str> = match schema.get("type") {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    if types.is_empty() || types.contains(&"string") {
        return Err(Unsupported("a value that may be a string and something else".to_owned()));
    }
    Ok(Kind::Other)
}

/// Returns the named members of an object.
fn members(schema: &Value) -> Result<Vec<Member<'_>>, Unsupported> {
    known_keywords(schema, &["type", "properties", "required", "additionalProperties"])?;
    let required: Vec<&str> = schema
        .get("required")
        .and_then(Value::as_array)
        .map_or_else(Vec::new, |names| names.iter().filter_map(Value::as_str).collect());
    let properties = schema.get("properties").and_then(Value::as_object);
    let members: Vec<Member<'_>> = properties
        .into_iter()
        .flatten()
        .map(|(key, schema)| Member { key, schema, is_required: required.contains(&key.as_str()) })
        .collect();
    if let Some(name) = required.iter().find(|name| members.iter().all(|member| member.key != **name)) {
        return Err(Unsupported(format!("`required` of `{name}`, which `properties` does not have")));
    }
    Ok(members)
}

fn known_keywords(schema: &Value, known: &[&str]) -> Result<(), Unsupported> {
    let keywords = schema.as_object().into_iter().flatten().map(|(name, _)| name.as_str());
    let mut unknown = keywords.filter(|name| !known.contains(name) && !ANNOTATIONS.contains(name));
    unknown.next().map_or(Ok(()), |name| Err(Unsupported(format!("`{name}`"))))
}

/// Matches members in order, each separate; optional ones may be missing.
fn independent(
    members: &[Member<'_>],
    node: impl Fn(&Member<'_>) -> Result<Node, Unsupported>,
) -> Result<Node, Unsupported> {
    let parts = members.iter().map(|member| Ok(optional(node(member)?, member.is_required)));
    Ok(Node::Sequence(parts.collect::<Result<_, _>>()?))
}

/// Matches members in order with separators. The first member decides what can follow.
fn separated(
    members: &[Member<'_>],
    separator: &str,
    node: impl Fn(&Member<'_>) -> Result<Node, Unsupported>,
) -> Result<Node, Unsupported> {
    let behind = |member: &Member<'_>| {
        let next = Node::Sequence(vec![Node::Text(separator.to_owned()), node(member)?]);
        Ok(optional(next, member.is_required))
    };
    let mut beginnings = Vec::new();
    for (index, first) in members.iter().enumerate() {
        let rest = members[index + 1..].iter().map(behind).collect::<Result<Vec<_>, _>>()?;
        beginnings.push(Node::Sequence(std::iter::once(node(first)?).chain(rest).collect()));
        if first.is_required {
            return Ok(Node::AnyOf(beginnings));
        }
    }
    beginnings.push(Node::Text(String::new()));
    Ok(Node::AnyOf(beginnings))
}

fn optional(node: Node, is_required: bool) -> Node {
    if is_required { node } else { Node::AnyOf(vec![node, Node::Text(String::new())]) }
}

/// Marks the schema as an object, which arguments always are.
fn as_object(schema: &Value) -> Value {
    match schema {
        Value::Object(keywords) if !keywords.contains_key("type") => {
            let mut keywords = keywords.clone();
            keywords.insert("type".to_owned(), "object".into());
            keywords.into()
        }
        other => other.clone(),
    }
}

/// Adds the definitions to a part of a schema.
fn with_definitions(schema: &Value, root: &Value) -> Value {
    let Some(keywords) = schema.as_object() else { return schema.clone() };
    let mut keywords: Map<String, Value> = keywords.clone();
    for name in DEFINITIONS {
        if let Some(definitions) = root.get(name) {
            keywords.entry(name).or_insert_with(|| definitions.clone());
        }
    }
    keywords.into()
}
