//! The methods of Python's strings.

use super::arguments::{Args, check_len, int, int_or, is_true, len, optional_int, optional_text, text};
use super::characters::{capitalized, folded, is_of, swapped, title};
use super::error::{Result, fail};
use super::operators::concat;
use super::scan::is_space;
use super::split::{partition, right_partition, right_split, split, split_lines};
use super::str_format::{format_map, str_format};
use super::subscript::substring;
use super::value::{Dict, Text, Value};

/// All of them but `encode`, which makes bytes.
pub(super) const STR_METHODS: &[&str] = &[
    "capitalize",
    "casefold",
    "center",
    "count",
    "endswith",
    "expandtabs",
    "find",
    "format",
    "format_map",
    "index",
    "isalnum",
    "isalpha",
    "isascii",
    "isdecimal",
    "isdigit",
    "isidentifier",
    "islower",
    "isnumeric",
    "isprintable",
    "isspace",
    "istitle",
    "isupper",
    "join",
    "ljust",
    "lower",
    "lstrip",
    "maketrans",
    "partition",
    "removeprefix",
    "removesuffix",
    "replace",
    "rfind",
    "rindex",
    "rjust",
    "rpartition",
    "rsplit",
    "rstrip",
    "split",
    "splitlines",
    "startswith",
    "strip",
    "swapcase",
    "title",
    "translate",
    "upper",
    "zfill",
    "encode",
];

/// Calls `text.method(arguments)`; the result of a text that is safe for HTML is safe.
pub(super) fn str_method(receiver: &Text, method: &str, args: Args) -> Result<Value> {
    let result = call(&receiver.text, method, args)?;
    let safe = |value: Value| match value {
        Value::Str(text) => Value::Str(Text { is_safe: true, ..text }),
        other => other,
    };
    Ok(match result {
        result if !receiver.is_safe => result,
        Value::List(items) => items.iter().cloned().map(safe).collect::<Vec<_>>().into(),
        Value::Tuple(items) => Value::Tuple(items.iter().cloned().map(safe).collect::<Vec<_>>().into()),
        result => safe(result),
    })
}

fn call(this: &str, method: &str, args: Args) -> Result<Value> {
    if let Some(answer) = is_of(this, method) {
        return args.none(method).map(|()| Value::Bool(answer));
    }
    match method {
        "upper" | "lower" | "capitalize" | "title" | "swapcase" | "casefold" => {
            args.none(method)?;
            Ok(Value::from(match method {
                "upper" => this.to_uppercase(),
                "lower" => this.to_lowercase(),
                "capitalize" => capitalized(this),
                "title" => title(this),
                "swapcase" => swapped(this),
                _ => folded(this),
            }))
        }
        "strip" | "lstrip" | "rstrip" => {
            let [chars] = args.bind(method, ["*chars"], 0)?;
            let chars = optional_text(chars.as_ref())?;
            Ok(Value::from(strip(this, chars, method != "rstrip", method != "lstrip")))
        }
        "find" | "rfind" | "index" | "rindex" | "count" => search(this, method, args),
        "startswith" | "endswith" => has_affix(this, method, args),
        "removeprefix" | "removesuffix" => {
            let [affix] = args.bind(method, ["*affix"], 1)?;
            let affix = affix.unwrap_or(Value::None);
            let affix = text(&affix)?;
            let rest =
                if method == "removeprefix" { this.strip_prefix(affix) } else { this.strip_suffix(affix) };
            Ok(Value::from(rest.unwrap_or(this)))
        }
        "split" | "rsplit" | "partition" | "rpartition" | "splitlines" => cut(this, method, args),
        "replace" => {
            let [old, new, count] = args.bind(method, ["*old", "*new", "*count"], 2)?;
            let (old, new) = (old.unwrap_or(Value::None), new.unwrap_or(Value::None));
            replace(this, text(&old)?, text(&new)?, int_or(count.as_ref(), -1)?)
        }
        "join" => {
            let [parts] = args.bind(method, ["*iterable"], 1)?;
            join(this, &parts.unwrap_or(Value::None))
        }
        "center" | "ljust" | "rjust" | "zfill" => pad(this, method, args),
        "expandtabs" => {
            let [size] = args.bind(method, ["tabsize"], 0)?;
            expand_tabs(this, int_or(size.as_ref(), 8)?)
        }
        "format" => str_format(this, &args).map(Value::from),
        "format_map" => {
            let [mapping] = args.bind(method, ["*mapping"], 1)?;
            format_map(this, &mapping.unwrap_or(Value::None)).map(Value::from)
        }
        "maketrans" => translation(args),
        "translate" => {
            let [table] = args.bind(method, ["*table"], 1)?;
            translate(this, &table.unwrap_or(Value::None))
        }
        "encode" => fail("`encode` makes bytes, which a chat template cannot use here"),
        _ => fail(format!("a string has no method `{method}`")),
    }
}

/// Calls a method that cuts a text into pieces.
fn cut(this: &str, method: &str, args: Args) -> Result<Value> {
    match method {
        "split" | "rsplit" => {
            let [separator, limit] = args.bind(method, ["sep", "maxsplit"], 0)?;
            let (separator, limit) = (optional_text(separator.as_ref())?, int_or(limit.as_ref(), -1)?);
            let limit = usize::try_from(limit).unwrap_or(usize::MAX);
            let split = if method == "split" { split } else { right_split };
            Ok(split(this, separator, limit)?.into_iter().map(Value::from).collect::<Vec<_>>().into())
        }
        "partition" | "rpartition" => {
            let [separator] = args.bind(method, ["*sep"], 1)?;
            let separator = separator.unwrap_or(Value::None);
            let partition = if method == "partition" { partition } else { right_partition };
            Ok(Value::Tuple(partition(this, text(&separator)?)?.map(Value::from).to_vec().into()))
        }
        _ => {
            let [keep_ends] = args.bind(method, ["keepends"], 0)?;
            let lines = split_lines(this, is_true(keep_ends.as_ref()));
            Ok(lines.into_iter().map(Value::from).collect::<Vec<_>>().into())
        }
    }
}

/// `str.strip`: white space, or any of `chars`.
pub(super) fn strip<'t>(this: &'t str, chars: Option<&str>, start: bool, end: bool) -> &'t str {
    let goes = |char: char| chars.map_or_else(|| is_space(char), |chars| chars.contains(char));
    let this = if start { this.trim_start_matches(goes) } else { this };
    if end { this.trim_end_matches(goes) } else { this }
}

/// Returns the part of a text between two positions and where it starts; nothing if they lie the
/// wrong way round.
fn window<'t>(
    this: &'t str,
    start: Option<&Value>,
    stop: Option<&Value>,
) -> Result<Option<(&'t str, usize)>> {
    let num_chars = this.chars().count() as i128;
    let at = |bound: i128| if bound < 0 { (bound + num_chars).max(0) } else { bound };
    let start = at(optional_int(start)?.unwrap_or(0));
    let stop = at(optional_int(stop)?.unwrap_or(num_chars)).min(num_chars);
    Ok((start <= stop).then(|| (substring(this, Some(start), Some(stop)), start as usize)))
}

fn search(this: &str, method: &str, args: Args) -> Result<Value> {
    let [part, start, stop] = args.bind(method, ["*sub", "*start", "*end"], 1)?;
    let part = part.unwrap_or(Value::None);
    let part = text(&part)?;
    let window = window(this, start.as_ref(), stop.as_ref())?;
    if method == "count" {
        return Ok(window.map_or(0, |(window, _)| window.matches(part).count()).into());
    }
    let found = window.and_then(|(window, start)| {
        let byte = if method.starts_with('r') { window.rfind(part) } else { window.find(part) }?;
        Some(start + window[..byte].chars().count())
    });
    match found {
        Some(index) => Ok(index.into()),
        None if method.ends_with("find") => Ok(Value::Int(-1)),
        None => fail("substring not found"),
    }
}

fn has_affix(this: &str, method: &str, args: Args) -> Result<Value> {
    let [affix, start, stop] = args.bind(method, ["*affix", "*start", "*end"], 1)?;
    let Some((window, _)) = window(this, start.as_ref(), stop.as_ref())? else {
        return Ok(Value::Bool(false));
    };
    let has = |affix: &str| {
        if method == "startswith" { window.starts_with(affix) } else { window.ends_with(affix) }
    };
    match affix.unwrap_or(Value::None) {
        Value::Str(affix) => Ok(Value::Bool(has(&affix.text))),
        Value::Tuple(affixes) => {
            for affix in affixes.iter() {
                if has(text(affix)?) {
                    return Ok(Value::Bool(true));
                }
            }
            Ok(Value::Bool(false))
        }
        other => fail(format!("`{method}` needs a string or a tuple of strings, not {}", other.type_name())),
    }
}

pub(super) fn replace(this: &str, old: &str, new: &str, count: i128) -> Result<Value> {
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    check_len(this.len().saturating_add(this.matches(old).count().min(count).saturating_mul(new.len())))?;
    Ok(Value::from(if count == usize::MAX { this.replace(old, new) } else { this.replacen(old, new, count) }))
}

fn join(separator: &str, parts: &Value) -> Result<Value> {
    let parts = parts.items()?;
    for part in &parts {
        text(part)?;
    }
    let between = Value::from(separator);
    let joined: Vec<Value> = parts.into_iter().flat_map(|part| [between.clone(), part]).skip(1).collect();
    check_len(joined.iter().filter_map(Value::as_str).map(str::len).sum())?;
    Ok(concat(&joined))
}

fn pad(this: &str, method: &str, args: Args) -> Result<Value> {
    let [width, fill] = match method {
        "zfill" => {
            let [width] = args.bind(method, ["*width"], 1)?;
            [width, None]
        }
        _ => args.bind(method, ["*width", "*fillchar"], 1)?,
    };
    let width = len(int(&width.unwrap_or(Value::None))?)?;
    let mut chars = fill.as_ref().map(text).transpose()?.unwrap_or(" ").chars();
    let (Some(fill), None) = (chars.next(), chars.next()) else {
        return fail("the fill character must be exactly one character long");
    };
    let missing = width.saturating_sub(this.chars().count());
    let left = match method {
        "ljust" => 0,
        "center" => missing / 2 + (missing & width & 1),
        _ => missing,
    };
    if method == "zfill" {
        let sign = this.len() - this.strip_prefix(['+', '-']).unwrap_or(this).len();
        return Ok(Value::from(format!("{}{}{}", &this[..sign], "0".repeat(missing), &this[sign..])));
    }
    let filled = |count| String::from_iter(std::iter::repeat_n(fill, count));
    Ok(Value::from(format!("{}{this}{}", filled(left), filled(missing - left))))
}

fn expand_tabs(this: &str, size: i128) -> Result<Value> {
    let size = len(size)?;
    let (mut out, mut column) = (String::new(), 0);
    for char in this.chars() {
        match char {
            '\t' if size > 0 => {
                let count = size - column % size;
                check_len(out.len() + count)?;
                out.push_str(&" ".repeat(count));
                column += count;
            }
            '\t' => {}
            '\n' | '\r' => {
                out.push(char);
                column = 0;
            }
            _ => {
                out.push(char);
                column += 1;
            }
        }
    }
    Ok(Value::from(out))
}

fn code(char: char) -> Value {
    Value::Int(u32::from(char).into())
}

/// `str.maketrans`: a dictionary of characters' codes.
fn translation(args: Args) -> Result<Value> {
    let [from, to, removed] = args.bind("maketrans", ["*x", "*y", "*z"], 1)?;
    let (mut table, from) = (Dict::default(), from.unwrap_or(Value::None));
    match (from, to) {
        (Value::Dict(dict), None) => {
            for (key, value) in dict.iter() {
                let mut chars = key.as_str().unwrap_or_default().chars();
                let key = match (key, chars.next(), chars.next()) {
                    (Value::Str(_), Some(char), None) => code(char),
                    (Value::Str(_), ..) => return fail("keys of a translation must be one character long"),
                    (other, ..) => other.clone(),
                };
                table.insert(key, value.clone())?;
            }
        }
        (from, Some(to)) => {
            let (from, to) = (text(&from)?, text(&to)?);
            if from.chars().count() != to.chars().count() {
                return fail("the first two arguments of `maketrans` must have equal length");
            }
            for (from, to) in from.chars().zip(to.chars()) {
                table.insert(code(from), code(to))?;
            }
            for char in removed.as_ref().map(text).transpose()?.unwrap_or_default().chars() {
                table.insert(code(char), Value::None)?;
            }
        }
        _ => return fail("`maketrans` needs a dict, or two strings"),
    }
    Ok(table.into())
}

fn translate(this: &str, table: &Value) -> Result<Value> {
    let Value::Dict(table) = table else { return fail("`translate` needs a dict") };
    let mut out = String::with_capacity(this.len());
    for char in this.chars() {
        match table.get(&code(char))? {
            None => out.push(char),
            Some(Value::None) => {}
            Some(Value::Str(text)) => out.push_str(&text.text),
            Some(other) => match u32::try_from(int(other)?).ok().and_then(char::from_u32) {
                Some(char) => out.push(char),
                None => return fail("`translate` found a code of no character"),
            },
        }
    }
    Ok(Value::from(out))
}
