//! Python's values, as far as templates have them.

use std::cell::RefCell;
use std::fmt::Debug;
use std::rc::Rc;
use std::vec;

use super::ast::Literal;
pub(super) use super::containers::{Dict, Key, Range, View};
use super::error::{Error, Result, fail};
use super::function::Function;
use super::loops::{Cycler, LoopState};
use super::repr::repr;

/// A value; cloning shares what it holds.
#[derive(Debug, Clone)]
pub(super) enum Value {
    /// A variable, attribute or item that is not there; the text says which one.
    Undefined(Rc<str>),
    None,
    Bool(bool),
    Int(i128),
    Float(f64),
    Str(Text),
    List(Rc<Vec<Value>>),
    Tuple(Rc<Vec<Value>>),
    /// A pair of `groupby`: a tuple whose items have the names `grouper` and `list`.
    Group(Rc<Vec<Value>>),
    Dict(Rc<Dict>),
    /// `dict.keys()`, `dict.values()` or `dict.items()`.
    View(View, Rc<Dict>),
    Range(Range),
    /// An iterator that can be used once, as the result of the filter `map`.
    Iterator(Rc<RefCell<Lazy>>),
    Namespace(Rc<RefCell<Dict>>),
    Loop(Rc<LoopState>),
    Cycler(Rc<Cycler>),
    /// A separator before all but the first, and whether it was used already.
    Joiner(Rc<(Text, RefCell<bool>)>),
    Function(Function),
}

/// The remaining items of an iterator, and the error behind them, since Python raises it only
/// there.
#[derive(Debug)]
pub(super) struct Lazy {
    items: vec::IntoIter<Value>,
    error: Option<Error>,
}

impl Lazy {
    pub(super) fn next(&mut self) -> Result<Option<Value>> {
        match self.items.next() {
            Some(item) => Ok(Some(item)),
            None => self.error.take().map_or(Ok(None), Err),
        }
    }
}

/// A string; a safe one needs no escaping for HTML.
#[derive(Debug, Clone)]
pub(super) struct Text {
    pub(super) text: Rc<str>,
    pub(super) is_safe: bool,
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Str(Text { text: text.into(), is_safe: false })
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Str(Text { text: text.into(), is_safe: false })
    }
}

impl From<usize> for Value {
    fn from(number: usize) -> Self {
        Self::Int(number as i128)
    }
}

impl From<Vec<Value>> for Value {
    fn from(items: Vec<Value>) -> Self {
        Self::List(items.into())
    }
}

impl From<Dict> for Value {
    fn from(dict: Dict) -> Self {
        Self::Dict(dict.into())
    }
}

impl From<&Literal> for Value {
    fn from(literal: &Literal) -> Self {
        match literal {
            Literal::None => Self::None,
            Literal::Bool(flag) => Self::Bool(*flag),
            Literal::Int(number) => Self::Int(*number),
            Literal::Float(number) => Self::Float(*number),
            Literal::Text(text) => Self::from(&**text),
        }
    }
}

impl From<&serde_json::Value> for Value {
    fn from(json: &serde_json::Value) -> Self {
        match json {
            serde_json::Value::Null => Self::None,
            serde_json::Value::Bool(flag) => Self::Bool(*flag),
            serde_json::Value::Number(number) => {
                let whole = number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from));
                whole.map_or_else(|| Self::Float(number.as_f64().unwrap_or(f64::NAN)), Self::Int)
            }
            serde_json::Value::String(text) => Self::from(text.as_str()),
            serde_json::Value::Array(items) => items.iter().map(Self::from).collect::<Vec<_>>().into(),
            serde_json::Value::Object(fields) => Dict::from_fields(fields).into(),
        }
    }
}

impl Value {
    pub(super) fn pair(first: Self, second: Self) -> Self {
        Self::Tuple(vec![first, second].into())
    }

    pub(super) fn safe(text: String) -> Self {
        Self::Str(Text { text: text.into(), is_safe: true })
    }

    pub(super) fn iterator(items: Vec<Self>) -> Self {
        Self::Iterator(Rc::new(RefCell::new(Lazy { items: items.into_iter(), error: None })))
    }

    /// Returns an iterator over what `fill` finds up to its end or its first error.
    pub(super) fn lazily(fill: impl FnOnce(&mut Vec<Self>) -> Result<()>) -> Self {
        let mut items = Vec::new();
        let error = fill(&mut items).err();
        Self::Iterator(Rc::new(RefCell::new(Lazy { items: items.into_iter(), error })))
    }

    pub(super) fn undefined(message: impl Into<Rc<str>>) -> Self {
        Self::Undefined(message.into())
    }

    pub(super) fn as_str(&self) -> Option<&str> {
        match self {
            Self::Str(text) => Some(&text.text),
            _ => None,
        }
    }

    /// Returns a whole number, or True and False as 1 and 0.
    pub(super) fn as_int(&self) -> Option<i128> {
        match self {
            Self::Int(number) => Some(*number),
            Self::Bool(flag) => Some((*flag).into()),
            _ => None,
        }
    }

    /// Any number.
    pub(super) fn as_float(&self) -> Option<f64> {
        match self {
            Self::Float(number) => Some(*number),
            other => other.as_int().map(|number| number as f64),
        }
    }

    pub(super) fn is_undefined(&self) -> bool {
        matches!(self, Self::Undefined(_))
    }

    /// Returns Python's name of the type.
    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Self::Undefined(_) => "Undefined",
            Self::None => "NoneType",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Float(_) => "float",
            Self::Str(_) => "str",
            Self::List(_) => "list",
            Self::Tuple(_) | Self::Group(_) => "tuple",
            Self::Dict(_) => "dict",
            Self::View(View::Keys, _) => "dict_keys",
            Self::View(View::Values, _) => "dict_values",
            Self::View(View::Items, _) => "dict_items",
            Self::Range(_) => "range",
            Self::Iterator(_) => "generator",
            Self::Namespace(_) => "namespace",
            Self::Loop(_) => "loop",
            Self::Cycler(_) => "cycler",
            Self::Joiner(_) => "joiner",
            Self::Function(_) => "function",
        }
    }

    pub(super) fn is_true(&self) -> bool {
        match self {
            Self::Undefined(_) | Self::None => false,
            Self::Bool(flag) => *flag,
            Self::Int(number) => *number != 0,
            Self::Float(number) => *number != 0.0,
            other => other.len().is_none_or(|len| len > 0),
        }
    }

    /// Returns the number of items, for values that have a length.
    pub(super) fn len(&self) -> Option<usize> {
        Some(match self {
            Self::Undefined(_) => 0,
            Self::Str(text) => text.text.chars().count(),
            Self::List(items) | Self::Tuple(items) | Self::Group(items) => items.len(),
            Self::Dict(dict) | Self::View(_, dict) => dict.len(),
            Self::Range(range) => range.len(),
            Self::Loop(state) => state.len(),
            _ => return None,
        })
    }

    /// Returns all items; an iterator has none afterwards.
    pub(super) fn items(&self) -> Result<Vec<Self>> {
        Ok(match self {
            Self::Undefined(_) => Vec::new(),
            Self::Str(text) => {
                text.text.chars().map(|char| Self::from(char.encode_utf8(&mut [0; 4]) as &str)).collect()
            }
            Self::List(items) | Self::Tuple(items) | Self::Group(items) => items.to_vec(),
            Self::Dict(dict) => View::Keys.items(dict),
            Self::View(view, dict) => view.items(dict),
            Self::Range(range) => range.iter().collect(),
            Self::Iterator(lazy) => {
                let mut items = Vec::new();
                while let Some(item) = lazy.borrow_mut().next()? {
                    items.push(item);
                }
                items
            }
            other => return fail(format!("`{}` object is not iterable", other.type_name())),
        })
    }
}

/// Python's `==`, which is never an error.
pub(super) fn equal(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Str(left), Value::Str(right)) => left.text == right.text,
        (Value::None, Value::None) | (Value::Undefined(_), Value::Undefined(_)) => true,
        (Value::List(left), Value::List(right)) => all_equal(left, right),
        (Value::Tuple(left) | Value::Group(left), Value::Tuple(right) | Value::Group(right)) => {
            all_equal(left, right)
        }
        (Value::Dict(left), Value::Dict(right)) => {
            left.len() == right.len()
                && left
                    .iter()
                    .all(|(key, value)| matches!(right.get(key), Ok(Some(other)) if equal(value, other)))
        }
        (Value::Range(left), Value::Range(right)) => {
            left.len() == right.len()
                && (left.len() == 0 || left.start == right.start)
                && (left.len() <= 1 || left.step == right.step)
        }
        (Value::View(View::Keys, left), Value::View(View::Keys, right)) => {
            left.len() == right.len() && left.iter().all(|(key, _)| matches!(right.get(key), Ok(Some(_))))
        }
        (Value::View(View::Items, left), Value::View(View::Items, right)) => {
            equal(&Value::Dict(Rc::clone(left)), &Value::Dict(Rc::clone(right)))
        }
        (Value::Loop(left), Value::Loop(right)) => Rc::ptr_eq(left, right),
        (Value::Namespace(left), Value::Namespace(right)) => Rc::ptr_eq(left, right),
        (Value::Iterator(left), Value::Iterator(right)) => Rc::ptr_eq(left, right),
        (Value::Cycler(left), Value::Cycler(right)) => Rc::ptr_eq(left, right),
        (Value::Joiner(left), Value::Joiner(right)) => Rc::ptr_eq(left, right),
        (Value::Function(left), Value::Function(right)) => left.is_same(right),
        _ => match (left.as_int(), right.as_int()) {
            (Some(left), Some(right)) => left == right,
            (Some(whole), None) => right.as_float().is_some_and(|float| is_whole(float, whole)),
            (None, Some(whole)) => left.as_float().is_some_and(|float| is_whole(float, whole)),
            (None, None) => left.as_float().is_some_and(|left| right.as_float() == Some(left)),
        },
    }
}

fn is_whole(float: f64, whole: i128) -> bool {
    float == float.trunc() && float.abs() < 1e38 && float as i128 == whole
}

fn all_equal(left: &[Value], right: &[Value]) -> bool {
    left.len() == right.len() && left.iter().zip(right).all(|(left, right)| equal(left, right))
}

/// Python's `x in container`.
pub(super) fn contains(container: &Value, item: &Value) -> Result<bool> {
    match container {
        Value::Str(text) => match item.as_str() {
            Some(part) => Ok(text.text.contains(part)),
            None => fail(format!("`in <string>` requires string as left operand, not {}", item.type_name())),
        },
        Value::Dict(dict) | Value::View(View::Keys, dict) => Ok(dict.get(item)?.is_some()),
        other => Ok(other.items()?.iter().any(|found| equal(found, item))),
    }
}

/// Returns the error of a key that a dictionary does not have.
pub(super) fn no_key(key: &Value) -> String {
    format!("KeyError: {}", repr(key))
}
