//! The arguments of a call, matched with the parameters of a function.

use super::error::{Result, fail};
use super::value::Value;

/// The arguments of a call.
#[derive(Debug, Default, Clone)]
pub(super) struct Args {
    pub(super) positional: Vec<Value>,
    pub(super) named: Vec<(String, Value)>,
}

impl Args {
    pub(super) fn of(positional: Vec<Value>) -> Self {
        Self { positional, named: Vec::new() }
    }

    /// Returns the values by parameter, of which the first `num_required` must be there. A name
    /// that begins with `*` belongs to a parameter that can be given by position only.
    pub(super) fn bind<const N: usize>(
        self,
        function: &str,
        names: [&str; N],
        num_required: usize,
    ) -> Result<[Option<Value>; N]> {
        let num_given = self.positional.len();
        if num_given > N {
            return fail(format!("`{function}` takes at most {N} arguments, {num_given} were given"));
        }
        let mut values = [const { None }; N];
        for (place, value) in values.iter_mut().zip(self.positional) {
            *place = Some(value);
        }
        for (name, value) in self.named {
            let Some(index) = names.iter().position(|known| *known == name) else {
                return fail(format!("`{function}` has no parameter `{name}`"));
            };
            if values[index].is_some() {
                return fail(format!("`{function}` was given `{name}` twice"));
            }
            values[index] = Some(value);
        }
        if let Some(index) = values[..num_required].iter().position(Option::is_none) {
            return fail(format!("`{function}` needs `{}`", names[index].trim_start_matches('*')));
        }
        Ok(values)
    }

    /// Checks that there are no arguments.
    pub(super) fn none(self, function: &str) -> Result<()> {
        self.bind(function, [], 0).map(|[]| ())
    }
}

/// Returns a whole number, such as an index or a width.
pub(super) fn int(value: &Value) -> Result<i128> {
    match value.as_int() {
        Some(number) => Ok(number),
        None => fail(format!("`{}` object cannot be interpreted as an integer", value.type_name())),
    }
}

pub(super) fn int_or(value: Option<&Value>, default: i128) -> Result<i128> {
    value.map_or(Ok(default), int)
}

/// Returns a whole number or None.
pub(super) fn optional_int(value: Option<&Value>) -> Result<Option<i128>> {
    match value {
        None | Some(Value::None) => Ok(None),
        Some(value) => int(value).map(Some),
    }
}

/// Returns a string and nothing else.
pub(super) fn text(value: &Value) -> Result<&str> {
    match value.as_str() {
        Some(text) => Ok(text),
        None => fail(format!("must be a string, not {}", value.type_name())),
    }
}

/// Returns a string or None.
pub(super) fn optional_text(value: Option<&Value>) -> Result<Option<&str>> {
    match value {
        None | Some(Value::None) => Ok(None),
        Some(value) => text(value).map(Some),
    }
}

pub(super) fn is_true(value: Option<&Value>) -> bool {
    value.is_some_and(Value::is_true)
}

/// Maximum length that a template can make from nothing, such as by `'x' * 10 ** 9`: more
/// characters than any prompt has.
const MAX_MADE: usize = 1 << 26;

/// Refuses to make a text or a list of `len` items.
pub(super) fn check_len(len: usize) -> Result<()> {
    if len <= MAX_MADE {
        Ok(())
    } else {
        fail(format!("a value of {len} items is too large, limit is {MAX_MADE}"))
    }
}

/// Returns a width or a count as a length; a negative one is 0.
pub(super) fn len(number: i128) -> Result<usize> {
    let len = usize::try_from(number.max(0)).unwrap_or(usize::MAX);
    check_len(len)?;
    Ok(len)
}
