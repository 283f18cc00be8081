//! Dictionaries with their views, and ranges.

use std::hash::{Hash, Hasher};

use indexmap::IndexMap;

use super::error::{Result, fail};
use super::value::{Value, equal};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum View {
    Keys,
    Values,
    Items,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) start: i128,
    pub(super) stop: i128,
    pub(super) step: i128,
}

/// A dictionary, in the order of insertion.
#[derive(Debug, Clone, Default)]
pub(super) struct Dict(IndexMap<Key, Value>);

/// A value that can be a key: equal ones, such as 1, 1.0 and True, are one key.
#[derive(Debug, Clone)]
pub(super) struct Key(Value);

impl Key {
    pub(super) fn new(value: Value) -> Result<Self> {
        match &value {
            Value::List(_) | Value::Dict(_) | Value::View(View::Keys | View::Items, _) => {
                fail(format!("unhashable type: `{}`", value.type_name()))
            }
            Value::Tuple(items) | Value::Group(items) => {
                for item in items.iter() {
                    Self::new(item.clone())?;
                }
                Ok(Self(value))
            }
            _ => Ok(Self(value)),
        }
    }

    pub(super) fn value(&self) -> &Value {
        &self.0
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        equal(&self.0, &other.0)
    }
}

impl Eq for Key {}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        hash(&self.0, state);
    }
}

fn hash<H: Hasher>(value: &Value, state: &mut H) {
    match value {
        Value::Str(text) => text.text.hash(state),
        Value::Bool(flag) => i128::from(*flag).hash(state),
        Value::Int(number) => number.hash(state),
        Value::Float(number) if *number == number.trunc() => (*number as i128).hash(state),
        Value::Float(number) => number.to_bits().hash(state),
        Value::Tuple(items) | Value::Group(items) => items.iter().for_each(|item| hash(item, state)),
        // The few other types of keys are distinguished by comparison.
        _ => 0.hash(state),
    }
}

impl Dict {
    pub(super) fn from_fields(fields: &serde_json::Map<String, serde_json::Value>) -> Self {
        let entry = |(name, value): (&String, _)| (Key(Value::from(name.as_str())), Value::from(value));
        Self(fields.iter().map(entry).collect())
    }

    pub(super) fn get(&self, key: &Value) -> Result<Option<&Value>> {
        Ok(self.0.get(&Key::new(key.clone())?))
    }

    pub(super) fn get_text(&self, name: &str) -> Option<&Value> {
        self.0.get(&Key(Value::from(name)))
    }

    pub(super) fn insert(&mut self, key: Value, value: Value) -> Result<()> {
        self.0.insert(Key::new(key)?, value);
        Ok(())
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = (&Value, &Value)> {
        self.0.iter().map(|(key, value)| (key.value(), value))
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

impl Range {
    pub(super) fn len(self) -> usize {
        let Self { start, stop, step } = self;
        let (distance, step) = if step > 0 { (stop - start, step) } else { (start - stop, -step) };
        if distance <= 0 { 0 } else { usize::try_from((distance - 1) / step + 1).unwrap_or(usize::MAX) }
    }

    pub(super) fn iter(self) -> impl Iterator<Item = Value> {
        (0..self.len()).map(move |index| Value::Int(self.start + self.step * index as i128))
    }
}

impl View {
    pub(super) fn items(self, dict: &Dict) -> Vec<Value> {
        match self {
            Self::Keys => dict.iter().map(|(key, _)| key.clone()).collect(),
            Self::Values => dict.iter().map(|(_, value)| value.clone()).collect(),
            Self::Items => dict.iter().map(|(key, value)| Value::pair(key.clone(), value.clone())).collect(),
        }
    }
}
