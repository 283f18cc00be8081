//! Functions, and the methods of values other than strings.

use std::rc::Rc;

use super::arguments::{Args, int};
use super::ast::Macro;
use super::error::{Result, fail};
use super::interpreter::Interpreter;
use super::loops::cycler_method;
use super::repr::repr;
use super::scope::Scope;
use super::str_methods::{STR_METHODS, str_method};
use super::value::{Dict, Value, View, equal};

#[derive(Debug, Clone)]
pub(super) enum Function {
    /// A method and the value that it belongs to.
    Method(Rc<(Value, String)>),
    /// A function that every template has.
    Global(&'static str),
    Macro(Rc<Closure>),
}

/// A macro with the variables around it.
#[derive(Debug)]
pub(super) struct Closure {
    pub(super) code: std::sync::Arc<Macro>,
    pub(super) scope: Rc<Scope>,
}

impl Closure {
    pub(super) fn attribute(&self, name: &str) -> Option<Value> {
        let names = || self.code.parameters.iter().map(|(name, _)| Value::from(&**name)).collect::<Vec<_>>();
        Some(match name {
            "name" => Value::from(&*self.code.name),
            "arguments" => Value::Tuple(names().into()),
            "catch_kwargs" => Value::Bool(self.code.reads.kwargs),
            "catch_varargs" => Value::Bool(self.code.reads.varargs),
            "caller" => Value::Bool(self.code.reads.caller),
            _ => return None,
        })
    }
}

impl Function {
    pub(super) fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Method(left), Self::Method(right)) => left.1 == right.1 && equal(&left.0, &right.0),
            (Self::Global(left), Self::Global(right)) => left == right,
            (Self::Macro(left), Self::Macro(right)) => Rc::ptr_eq(left, right),
            _ => false,
        }
    }
}

/// Returns whether Python's type has this method and a template may call it.
pub(super) fn has_method(value: &Value, name: &str) -> bool {
    let names: &[&str] = match value {
        Value::Str(_) => STR_METHODS,
        Value::List(_) => &["count", "index", "copy"],
        Value::Tuple(_) | Value::Group(_) | Value::Range(_) => &["count", "index"],
        Value::Dict(_) => &["get", "items", "keys", "values", "copy", "fromkeys"],
        Value::Int(_) | Value::Bool(_) => &["bit_length", "bit_count", "conjugate"],
        Value::Float(_) => &["is_integer", "conjugate"],
        Value::Cycler(_) => &["next", "reset"],
        Value::Loop(_) => &["cycle", "changed"],
        Value::Function(Function::Global("dict")) => &["fromkeys"],
        _ => &[],
    };
    names.contains(&name)
}

impl Interpreter<'_> {
    /// `function(arguments)`
    pub(super) fn call(&mut self, function: &Value, args: Args) -> Result<Value> {
        match function {
            Value::Function(Function::Macro(closure)) => self.call_macro(closure, args),
            Value::Function(Function::Global(name)) => self.call_global(name, args),
            Value::Function(Function::Method(method)) => self.call_method(&method.0, &method.1, args),
            Value::Loop(state) => self.recurse(state, args),
            Value::Joiner(joiner) => {
                args.none("joiner")?;
                let was_used = joiner.1.replace(true);
                Ok(if was_used { Value::Str(joiner.0.clone()) } else { Value::from("") })
            }
            Value::Undefined(message) => fail(&**message),
            other => fail(format!("`{}` object is not callable", other.type_name())),
        }
    }

    fn call_method(&mut self, value: &Value, name: &str, args: Args) -> Result<Value> {
        match value {
            Value::Str(text) => str_method(text, name, args),
            Value::List(_) | Value::Tuple(_) | Value::Group(_) | Value::Range(_) => {
                sequence_method(value, name, args)
            }
            Value::Dict(dict) => dict_method(dict, name, args),
            Value::Int(_) | Value::Bool(_) | Value::Float(_) => number_method(value, name, args),
            Value::Cycler(cycler) => cycler_method(cycler, name, args),
            Value::Loop(state) => state.method(name, args),
            _ => from_keys(args),
        }
    }
}

fn sequence_method(value: &Value, name: &str, args: Args) -> Result<Value> {
    match name {
        "count" => {
            let [item] = args.bind("count", ["*value"], 1)?;
            let count = value
                .items()?
                .iter()
                .filter(|found| item.as_ref().is_some_and(|item| equal(found, item)))
                .count();
            Ok(count.into())
        }
        "index" => {
            let [item, start, stop] = if matches!(value, Value::Range(_)) {
                let [item] = args.bind("index", ["*value"], 1)?;
                [item, None, None]
            } else {
                args.bind("index", ["*value", "*start", "*stop"], 1)?
            };
            let item = item.unwrap_or(Value::None);
            let items = value.items()?;
            let (start, stop) = (start.as_ref().map(int).transpose()?, stop.as_ref().map(int).transpose()?);
            let at = |bound: i128| if bound < 0 { (bound + items.len() as i128).max(0) } else { bound };
            let (start, stop) = (at(start.unwrap_or(0)), at(stop.unwrap_or(items.len() as i128)));
            let found = items
                .iter()
                .enumerate()
                .find(|(index, found)| (start..stop).contains(&(*index as i128)) && equal(found, &item));
            match found {
                Some((index, _)) => Ok(index.into()),
                None => fail(format!("{} is not in {}", repr(&item), value.type_name())),
            }
        }
        _ => args.none("copy").map(|()| value.clone()),
    }
}

fn dict_method(dict: &Rc<Dict>, name: &str, args: Args) -> Result<Value> {
    let view = |view, args: Args| args.none(name).map(|()| Value::View(view, Rc::clone(dict)));
    match name {
        "keys" => view(View::Keys, args),
        "values" => view(View::Values, args),
        "items" => view(View::Items, args),
        "copy" => args.none("copy").map(|()| Value::Dict(Rc::clone(dict))),
        "get" => {
            let [key, default] = args.bind("get", ["*key", "*default"], 1)?;
            let found = dict.get(&key.unwrap_or(Value::None))?.cloned();
            Ok(found.or(default).unwrap_or(Value::None))
        }
        _ => from_keys(args),
    }
}

/// `dict.fromkeys`
fn from_keys(args: Args) -> Result<Value> {
    let [keys, value] = args.bind("fromkeys", ["*iterable", "*value"], 1)?;
    let (mut dict, value) = (Dict::default(), value.unwrap_or(Value::None));
    for key in keys.unwrap_or(Value::None).items()? {
        dict.insert(key, value.clone())?;
    }
    Ok(dict.into())
}

fn number_method(value: &Value, name: &str, args: Args) -> Result<Value> {
    args.none(name)?;
    Ok(match (name, value.as_int()) {
        ("is_integer", None) => {
            Value::Bool(value.as_float().is_some_and(|number| number == number.trunc() && number.is_finite()))
        }
        ("bit_length", Some(number)) => Value::Int((128 - number.unsigned_abs().leading_zeros()).into()),
        ("bit_count", Some(number)) => Value::Int(number.unsigned_abs().count_ones().into()),
        (_, Some(number)) => Value::Int(number),
        (_, None) => value.clone(),
    })
}

/// `range(stop)` or `range(start, stop, step)`; the sandbox has none longer than this.
pub(super) fn range(args: Args) -> Result<Value> {
    const MAX_RANGE: usize = 100_000;
    let [first, second, step] = args.bind("range", ["*start", "*stop", "*step"], 1)?;
    let first = int(&first.unwrap_or(Value::None))?;
    let (start, stop) = match second {
        Some(second) => (first, int(&second)?),
        None => (0, first),
    };
    let step = step.as_ref().map(int).transpose()?.unwrap_or(1);
    if step == 0 {
        return fail("`range` needs a step that is not 0");
    }
    let limit = 1 << 100;
    if [start, stop, step].iter().any(|bound| bound.abs() > limit) {
        return fail("the bounds of `range` are too large");
    }
    let range = super::value::Range { start, stop, step };
    if range.len() > MAX_RANGE {
        return fail(format!("`range` has {} items, limit is {MAX_RANGE}", range.len()));
    }
    Ok(Value::Range(range))
}

/// `dict(mapping or pairs, name=value)`
pub(super) fn dict(args: Args) -> Result<Dict> {
    let Args { positional, named } = args;
    let mut dict = Dict::default();
    match positional.as_slice() {
        [] => {}
        [Value::Dict(other)] => dict = (**other).clone(),
        [Value::Namespace(_)] => return fail("`namespace` object is not iterable"),
        [pairs] => {
            for pair in pairs.items()? {
                let [key, value]: [Value; 2] = match pair.items()?.try_into() {
                    Ok(pair) => pair,
                    Err(_) => return fail("`dict` needs pairs"),
                };
                dict.insert(key, value)?;
            }
        }
        more => return fail(format!("`dict` takes at most 1 argument, {} were given", more.len())),
    }
    for (name, value) in named {
        dict.insert(Value::from(name), value)?;
    }
    Ok(dict)
}
