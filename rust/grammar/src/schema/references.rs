//! The targets of `$ref`.

use rustc_hash::FxHashMap;
use serde_json::{Map, Value};

use super::keywords::subschemas;
use super::path::Path;
use crate::error::GrammarError;
use crate::limits::{MAX_DEPTH, MAX_SCHEMA_NODES, check};

/// A schema, and the root of the resource that it belongs to.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) schema: &'a Value,
    pub(super) base: &'a Value,
}

impl<'a> Place<'a> {
    /// Returns a schema within this one; it is a resource of its own where it has an `$id` that is
    /// more than an anchor.
    pub(super) fn within(self, schema: &'a Value) -> Self {
        let id = schema.get("$id").and_then(Value::as_str);
        let base = if id.is_some_and(|id| !id.starts_with('#')) { schema } else { self.base };
        Self { schema, base }
    }
}

/// The names that a document gives to its schemas.
pub(super) struct Names<'a> {
    root: Place<'a>,
    /// By `$id`, and by `#` and anchor; none where two schemas have one name.
    named: FxHashMap<String, Option<Place<'a>>>,
    /// Drafts before 2019 ignore what stands beside a `$ref`.
    references_stand_alone: bool,
}

impl<'a> Names<'a> {
    /// Collects the names.
    ///
    /// # Errors
    /// The schema is too large or too deep.
    pub(super) fn collect(root: &'a Value) -> Result<Self, GrammarError> {
        let root = Place { schema: root, base: root };
        let draft = root.schema.get("$schema").and_then(Value::as_str).unwrap_or_default();
        let references_stand_alone = draft.contains("json-schema.org/draft-0");
        let mut names = Self { root, named: FxHashMap::default(), references_stand_alone };
        let mut todo = vec![(root, 0)];
        let mut num_schemas = 0;
        while let Some((place, depth)) = todo.pop() {
            num_schemas += 1;
            check("the number of schemas in the schema", num_schemas, MAX_SCHEMA_NODES)?;
            check("the depth of the schema", depth, MAX_DEPTH)?;
            let Some(schema) = place.schema.as_object() else { continue };
            names.add(schema, place);
            todo.extend(subschemas(schema).map(|schema| (place.within(schema), depth + 1)));
        }
        Ok(names)
    }

    fn add(&mut self, schema: &Map<String, Value>, place: Place<'a>) {
        let text = |key: &str| schema.get(key).and_then(Value::as_str);
        let id =
            text("$id").map(|id| id.strip_suffix('#').filter(|id| !id.is_empty()).unwrap_or(id).to_owned());
        let anchors = [text("$anchor"), text("$dynamicAnchor")];
        for name in id.into_iter().chain(anchors.into_iter().flatten().map(|anchor| format!("#{anchor}"))) {
            let unambiguous = !self.named.contains_key(&name);
            self.named.insert(name, unambiguous.then_some(place));
        }
    }

    /// Finds what a reference points at.
    ///
    /// # Errors
    /// It is not in the document, or two schemas have its name.
    pub(super) fn resolve(
        &self,
        reference: &str,
        from: Place<'a>,
        at: &Path<'_>,
    ) -> Result<Place<'a>, GrammarError> {
        let (resource, fragment) = reference.split_once('#').unwrap_or((reference, ""));
        let resource = match resource {
            "" => Place { schema: from.base, base: from.base },
            _ => self.by_name(resource, at)?,
        };
        if fragment.is_empty() {
            return Ok(resource);
        }
        if !fragment.starts_with('/') {
            return self.by_name(&format!("#{fragment}"), at);
        }
        let pointer = percent_decoded(fragment).ok_or_else(|| at.invalid("it is not a reference"))?;
        let mut place = resource;
        for segment in pointer[1..].split('/') {
            let segment = segment.replace("~1", "/").replace("~0", "~");
            let next = match place.schema {
                Value::Array(values) => segment.parse().ok().and_then(|index: usize| values.get(index)),
                value => value.get(&segment),
            };
            let next = next.ok_or_else(|| at.invalid(format!("`{reference}` points at nothing")))?;
            place = place.within(next);
        }
        Ok(place)
    }

    fn by_name(&self, name: &str, at: &Path<'_>) -> Result<Place<'a>, GrammarError> {
        match self.named.get(name) {
            Some(Some(place)) => Ok(*place),
            Some(None) => Err(at.invalid(format!("two schemas have the name `{name}`"))),
            None => Err(at.invalid(format!("`{name}` is not in the schema, and nothing is fetched"))),
        }
    }

    /// Returns whether only the `$ref` of a schema counts.
    pub(super) fn reference_stands_alone(&self, schema: &Map<String, Value>) -> bool {
        self.references_stand_alone && schema.contains_key("$ref")
    }

    pub(super) fn root(&self) -> Place<'a> {
        self.root
    }
}

/// Returns a fragment of a URI as text.
fn percent_decoded(fragment: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(fragment.len());
    let mut rest = fragment.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || (rest.next()? as char).to_digit(16);
        let (high, low) = (digit()?, digit()?);
        bytes.push((high * 16 + low) as u8);
    }
    String::from_utf8(bytes).ok()
}
