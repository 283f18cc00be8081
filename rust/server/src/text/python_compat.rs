//! Where the template engine and Python would part ways: strings' white space, and a few type tests.

use minijinja::value::{ValueKind, from_args};
use minijinja::{Environment, Error, State, Value};
use minijinja_contrib::pycompat;

/// Teaches `environment` Python's methods and tests.
pub(super) fn install(environment: &mut Environment<'static>) {
    environment.set_unknown_method_callback(call_method);
    environment.add_filter("trim", |value: &Value, chars: Option<&str>| {
        strip(&value.to_string(), chars, true, true)
    });
    // A string or a mapping can be iterated and has a length, so Python counts it as both.
    environment.add_test("sequence", |value: &Value| {
        matches!(value.kind(), ValueKind::Seq | ValueKind::Map | ValueKind::String | ValueKind::Undefined)
    });
    environment.add_test("iterable", |value: &Value| {
        value.as_str().is_some() || value.try_iter().is_ok() && !value.is_none()
    });
}

/// The methods of Python's types; what is not special here is left to the engine's own set.
fn call_method(state: &mut State, value: &Value, method: &str, args: &[Value]) -> Result<Value, Error> {
    let Some(text) = value.as_str() else {
        return pycompat::unknown_method_callback(state, value, method, args);
    };
    let (start, end) = match method {
        "strip" => (true, true),
        "lstrip" => (true, false),
        "rstrip" => (false, true),
        "split" if matches!(args, [] | [_]) && args.iter().all(Value::is_none) => {
            return Ok(text.split(is_space).filter(|word| !word.is_empty()).collect());
        }
        _ => return pycompat::unknown_method_callback(state, value, method, args),
    };
    let (chars,): (Option<&str>,) = from_args(args)?;
    Ok(strip(text, chars, start, end).into())
}

/// `str.strip`: white space, or any of `chars`.
fn strip(text: &str, chars: Option<&str>, start: bool, end: bool) -> String {
    let goes = |char: char| chars.map_or_else(|| is_space(char), |chars| chars.contains(char));
    let text = if start { text.trim_start_matches(goes) } else { text };
    let text = if end { text.trim_end_matches(goes) } else { text };
    text.to_owned()
}

/// `str.isspace`: Unicode's white space and the four ASCII separators.
fn is_space(char: char) -> bool {
    char.is_whitespace() || matches!(char, '\u{1c}'..='\u{1f}')
}
