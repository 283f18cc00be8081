//! The filters of Jinja.

use super::arguments::{Args, int, int_or, is_true, len};
use super::error::{Result, fail};
use super::filter_text::text_filter;
use super::html::{attributes, escape, escaped, url_encoded, without_tags};
use super::interpreter::Interpreter;
use super::numeric::{float_of, int_of, round};
use super::operators::{concat, defined};
use super::pretty::pretty;
use super::python_json::tojson;
use super::repr::{repr, text_of};
use super::subscript::own_attribute;
use super::value::{Value, View, equal};

pub(super) const FILTERS: &[&str] = &[
    "abs",
    "attr",
    "batch",
    "capitalize",
    "center",
    "count",
    "d",
    "default",
    "dictsort",
    "e",
    "escape",
    "filesizeformat",
    "first",
    "float",
    "forceescape",
    "format",
    "groupby",
    "indent",
    "int",
    "items",
    "join",
    "last",
    "length",
    "list",
    "lower",
    "map",
    "max",
    "min",
    "pprint",
    "random",
    "reject",
    "rejectattr",
    "replace",
    "reverse",
    "round",
    "safe",
    "select",
    "selectattr",
    "slice",
    "sort",
    "string",
    "striptags",
    "sum",
    "title",
    "tojson",
    "trim",
    "truncate",
    "unique",
    "upper",
    "urlencode",
    "urlize",
    "wordcount",
    "wordwrap",
    "xmlattr",
];

impl Interpreter<'_> {
    /// `value | name(arguments)`
    pub(super) fn filter(&mut self, name: &str, value: &Value, args: Args) -> Result<Value> {
        match name {
            "map" => Ok(self.map(value, args)),
            "select" | "reject" | "selectattr" | "rejectattr" => Ok(self.select(name, value, args)),
            "sort" | "unique" | "min" | "max" | "groupby" | "sum" | "dictsort" => {
                super::filter_order::ordered(name, value, args)
            }
            "join" => self.join(value, args),
            "random" => fail("`random` is not supported: the same conversation must be the same prompt"),
            "urlize" => fail("`urlize` is not supported: a prompt has no links"),
            _ if !FILTERS.contains(&name) => fail(format!("there is no filter `{name}`")),
            _ => match plain(name, value, args)? {
                Value::Str(text) if self.autoescape && matches!(name, "xmlattr") => {
                    Ok(Value::safe(text.text.to_string()))
                }
                result => Ok(result),
            },
        }
    }

    fn join(&mut self, value: &Value, args: Args) -> Result<Value> {
        let [separator, attribute] = args.bind("join", ["d", "attribute"], 0)?;
        let getter = Getter::new(attribute.as_ref(), None);
        let mut parts = Vec::new();
        for item in value.items()? {
            parts.push(getter.get(&item)?);
        }
        let separator = separator.unwrap_or_else(|| Value::from(""));
        let between: Vec<Value> =
            parts.into_iter().flat_map(|part| [separator.clone(), part]).skip(1).collect();
        if self.autoescape {
            return Ok(concat(&between));
        }
        Ok(Value::from(between.iter().map(text_of).collect::<String>()))
    }
}

fn plain(name: &str, value: &Value, args: Args) -> Result<Value> {
    match name {
        "abs" => {
            args.none(name)?;
            match (value, value.as_int()) {
                (Value::Float(number), _) => Ok(Value::Float(number.abs())),
                (_, Some(number)) => Ok(Value::Int(number.abs())),
                _ => fail(format!("bad operand type for abs: `{}`", value.type_name())),
            }
        }
        "attr" => {
            let [attribute] = args.bind(name, ["name"], 1)?;
            defined(value)?;
            let attribute = text_of(&attribute.unwrap_or(Value::None));
            Ok(own_attribute(value, &attribute)
                .unwrap_or_else(|| Value::undefined(format!("no attribute '{attribute}'"))))
        }
        "batch" => batches(value, args),
        "slice" => slices(value, args),
        "count" | "length" => match (args.none(name)?, value.len()) {
            ((), Some(len)) => Ok(len.into()),
            _ => fail(format!("object of type `{}` has no length", value.type_name())),
        },
        "d" | "default" => {
            let [default, boolean] = args.bind(name, ["default_value", "boolean"], 0)?;
            let is_absent = value.is_undefined() || (is_true(boolean.as_ref()) && !value.is_true());
            Ok(if is_absent { default.unwrap_or_else(|| Value::from("")) } else { value.clone() })
        }
        "e" | "escape" => args.none(name).map(|()| Value::safe(escape(value))),
        "forceescape" => args.none(name).map(|()| Value::safe(escaped(&text_of(value)))),
        "safe" => args.none(name).map(|()| Value::safe(text_of(value))),
        "striptags" => args.none(name).map(|()| Value::from(without_tags(&text_of(value)))),
        "urlencode" => args.none(name).and_then(|()| Ok(Value::from(url_encoded(value)?))),
        "xmlattr" => {
            let [space] = args.bind(name, ["autospace"], 0)?;
            attributes(value, space.is_none_or(|space| space.is_true())).map(Value::from)
        }
        "first" => {
            args.none(name)?;
            let first = match value {
                Value::Iterator(lazy) => lazy.borrow_mut().next()?,
                other => other.items()?.into_iter().next(),
            };
            Ok(first.unwrap_or_else(|| Value::undefined("no first item, the sequence is empty")))
        }
        "last" => {
            args.none(name)?;
            let last = reversible(value)?.pop();
            Ok(last.unwrap_or_else(|| Value::undefined("no last item, the sequence is empty")))
        }
        "reverse" => {
            args.none(name)?;
            Ok(match value {
                Value::Str(text) => Value::from(text.text.chars().rev().collect::<String>()),
                Value::Iterator(_) => value.items()?.into_iter().rev().collect::<Vec<_>>().into(),
                other => Value::iterator(reversible(other)?.into_iter().rev().collect()),
            })
        }
        _ => converted(name, value, args),
    }
}

/// Applies a filter that converts a value's type.
fn converted(name: &str, value: &Value, args: Args) -> Result<Value> {
    match name {
        "items" => {
            args.none(name)?;
            Ok(Value::lazily(|out| match value {
                Value::Undefined(_) => Ok(()),
                Value::Dict(dict) => {
                    out.extend(View::Items.items(dict));
                    Ok(())
                }
                _ => fail("`items` needs a mapping"),
            }))
        }
        "list" => args.none(name).and_then(|()| Ok(value.items()?.into())),
        "string" => args
            .none(name)
            .map(|()| if value.as_str().is_some() { value.clone() } else { Value::from(text_of(value)) }),
        "float" => {
            let [default] = args.bind(name, ["default"], 0)?;
            Ok(float_of(value)?.map_or_else(|| default.unwrap_or(Value::Float(0.0)), Value::Float))
        }
        "int" => {
            let [default, base] = args.bind(name, ["default", "base"], 0)?;
            Ok(int_of(value, int_or(base.as_ref(), 10)?)?
                .map_or_else(|| default.unwrap_or(Value::Int(0)), Value::Int))
        }
        "round" => {
            let [precision, method] = args.bind(name, ["precision", "method"], 0)?;
            let method = method.unwrap_or_else(|| Value::from("common"));
            let precision = if matches!(precision, Some(Value::None)) {
                None
            } else {
                Some(int_or(precision.as_ref(), 0)?)
            };
            round(value, precision, method.as_str().unwrap_or_default())
        }
        "pprint" => args.none(name).and_then(|()| Ok(Value::from(pretty(value)?))),
        "tojson" => tojson(value, args).map(Value::from),
        _ => text_filter(name, value, args),
    }
}

/// Returns the items of a value that can be reversed.
fn reversible(value: &Value) -> Result<Vec<Value>> {
    match value {
        Value::Iterator(_) | Value::Loop(_) => {
            fail(format!("`{}` object is not reversible", value.type_name()))
        }
        other => other.items(),
    }
}

/// Returns lists of this many items each.
fn batches(value: &Value, args: Args) -> Result<Value> {
    let [count, fill] = args.bind("batch", ["linecount", "fill_with"], 1)?;
    let (count, fill) = (count.unwrap_or(Value::None), fill.filter(|fill| !matches!(fill, Value::None)));
    Ok(Value::lazily(|out| {
        let mut batch: Vec<Value> = Vec::new();
        for item in value.items()? {
            if equal(&Value::from(batch.len()), &count) {
                out.push(std::mem::take(&mut batch).into());
            }
            batch.push(item);
        }
        if batch.is_empty() {
            return Ok(());
        }
        if let Some(fill) = fill {
            batch.resize(batch.len().max(len(int(&count)?)?), fill);
        }
        out.push(batch.into());
        Ok(())
    }))
}

/// Returns this many lists of about the same length.
fn slices(value: &Value, args: Args) -> Result<Value> {
    let [count, fill] = args.bind("slice", ["slices", "fill_with"], 1)?;
    let (count, fill) = (count.unwrap_or(Value::None), fill.filter(|fill| !matches!(fill, Value::None)));
    Ok(Value::lazily(|out| {
        let items = value.items()?;
        let num_items = items.len();
        let count = int(&count)?;
        if count == 0 {
            return fail("division by zero");
        }
        let count = len(count)?;
        let (len, num_longer) =
            (num_items.checked_div(count).unwrap_or(0), num_items.checked_rem(count).unwrap_or(0));
        let mut rest = items.into_iter();
        for index in 0..count {
            let mut slice: Vec<Value> = rest.by_ref().take(len + usize::from(index < num_longer)).collect();
            slice.extend(fill.clone().filter(|_| index >= num_longer));
            out.push(slice.into());
        }
        Ok(())
    }))
}

/// Gets an attribute such as `address.city` or `0.name` of each item.
pub(super) struct Getter {
    path: Vec<Value>,
    default: Option<Value>,
}

impl Getter {
    pub(super) fn new(attribute: Option<&Value>, default: Option<Value>) -> Self {
        let path = match attribute {
            None | Some(Value::None) => Vec::new(),
            Some(Value::Str(path)) => {
                let part =
                    |part: &str| part.parse().ok().filter(|_| part.bytes().all(|byte| byte.is_ascii_digit()));
                path.text
                    .split('.')
                    .map(|text| part(text).map_or_else(|| Value::from(text), Value::Int))
                    .collect()
            }
            Some(other) => vec![other.clone()],
        };
        Self { path, default: default.filter(|default| !matches!(default, Value::None)) }
    }

    pub(super) fn get(&self, item: &Value) -> Result<Value> {
        let mut value = item.clone();
        for part in &self.path {
            value = super::subscript::item(&value, part)?;
            if let Some(default) = self.default.as_ref().filter(|_| value.is_undefined()) {
                value = default.clone();
            }
        }
        Ok(value)
    }
}

impl Interpreter<'_> {
    fn map(&mut self, value: &Value, args: Args) -> Value {
        Value::lazily(|out| if value.is_true() { self.map_into(value, args, out) } else { Ok(()) })
    }

    fn map_into(&mut self, value: &Value, mut args: Args, out: &mut Vec<Value>) -> Result<()> {
        if args.positional.is_empty() && args.named.iter().any(|(name, _)| name == "attribute") {
            let [attribute, default] = args.bind("map", ["attribute", "default"], 0)?;
            let getter = Getter::new(attribute.as_ref(), default);
            for item in value.items()? {
                out.push(getter.get(&item)?);
            }
            return Ok(());
        }
        if args.positional.is_empty() {
            return fail("`map` needs a filter, or `attribute`");
        }
        let filter = args.positional.remove(0);
        let Some(filter) = filter.as_str() else {
            return fail(format!("there is no filter {}", repr(&filter)));
        };
        for item in value.items()? {
            out.push(self.filter(filter, &item, args.clone())?);
        }
        Ok(())
    }

    fn select(&mut self, name: &str, value: &Value, args: Args) -> Value {
        Value::lazily(|out| if value.is_true() { self.select_into(name, value, args, out) } else { Ok(()) })
    }

    fn select_into(&mut self, name: &str, value: &Value, mut args: Args, out: &mut Vec<Value>) -> Result<()> {
        let getter = if name.ends_with("attr") {
            if args.positional.is_empty() {
                return fail(format!("`{name}` needs the name of an attribute"));
            }
            Getter::new(Some(&args.positional.remove(0)), None)
        } else {
            Getter::new(None, None)
        };
        let test = if args.positional.is_empty() { None } else { Some(args.positional.remove(0)) };
        let wanted = name.starts_with("select");
        for item in value.items()? {
            let subject = getter.get(&item)?;
            let passes = match &test {
                None => subject.is_true(),
                Some(test) => match test.as_str() {
                    Some(test) => self.test(test, &subject, args.clone())?,
                    None => return fail(format!("there is no test {}", repr(test))),
                },
            };
            if passes == wanted {
                out.push(item);
            }
        }
        Ok(())
    }
}
