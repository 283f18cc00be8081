//! Filters that sort, group and add up.

use super::arguments::{Args, is_true};
use super::ast::{BinaryOp, CompareOp};
use super::error::{Result, fail};
use super::filters::Getter;
use super::operators::{binary, compare, sorted};
use super::value::{Dict, Value, View, equal};

pub(super) fn ordered(name: &str, value: &Value, args: Args) -> Result<Value> {
    match name {
        "sort" => sort(value, args),
        "unique" => unique(value, args),
        "min" | "max" => extreme(name, value, args),
        "groupby" => group(value, args),
        "dictsort" => sort_dict(value, args),
        _ => sum(value, args),
    }
}

/// Returns the key to compare by; texts without regard to case, unless requested.
fn key(value: Value, is_case_sensitive: bool) -> Value {
    match &value {
        Value::Str(text) if !is_case_sensitive => Value::from(text.text.to_lowercase()),
        _ => value,
    }
}

fn sort(value: &Value, args: Args) -> Result<Value> {
    let [reverse, case, attribute] = args.bind("sort", ["reverse", "case_sensitive", "attribute"], 0)?;
    let getters = match &attribute {
        Some(Value::Str(names)) => {
            names.text.split(',').map(|name| Getter::new(Some(&Value::from(name)), None)).collect()
        }
        other => vec![Getter::new(other.as_ref(), None)],
    };
    let mut items = Vec::new();
    for item in value.items()? {
        let mut keys = Vec::with_capacity(getters.len());
        for getter in &getters {
            keys.push(key(getter.get(&item)?, is_true(case.as_ref())));
        }
        items.push((Value::from(keys), item));
    }
    Ok(sorted(items, is_true(reverse.as_ref()))?.into())
}

fn unique(value: &Value, args: Args) -> Result<Value> {
    let [case, attribute] = args.bind("unique", ["case_sensitive", "attribute"], 0)?;
    let getter = Getter::new(attribute.as_ref(), None);
    let mut seen = Dict::default();
    Ok(Value::lazily(|out| {
        for item in value.items()? {
            let key = key(getter.get(&item)?, is_true(case.as_ref()));
            if seen.get(&key)?.is_none() {
                seen.insert(key, Value::None)?;
                out.push(item);
            }
        }
        Ok(())
    }))
}

fn extreme(name: &str, value: &Value, args: Args) -> Result<Value> {
    let [case, attribute] = args.bind(name, ["case_sensitive", "attribute"], 0)?;
    let getter = Getter::new(attribute.as_ref(), None);
    let operator = if name == "min" { CompareOp::Less } else { CompareOp::Greater };
    let mut best: Option<(Value, Value)> = None;
    for item in value.items()? {
        let key = key(getter.get(&item)?, is_true(case.as_ref()));
        let is_better = match &best {
            Some((best, _)) => compare(operator, &key, best)?,
            None => true,
        };
        if is_better {
            best = Some((key, item));
        }
    }
    Ok(best.map_or_else(|| Value::undefined("no aggregated item, the sequence is empty"), |(_, item)| item))
}

fn group(value: &Value, args: Args) -> Result<Value> {
    let [attribute, default, case] = args.bind("groupby", ["attribute", "default", "case_sensitive"], 1)?;
    let getter = Getter::new(attribute.as_ref(), default);
    let is_case_sensitive = is_true(case.as_ref());
    let mut items = Vec::new();
    for item in value.items()? {
        let found = getter.get(&item)?;
        let key = key(found.clone(), is_case_sensitive);
        items.push((key.clone(), Value::from(vec![key, found, item])));
    }
    let mut groups: Vec<(Value, Value, Vec<Value>)> = Vec::new();
    for entry in sorted(items, false)? {
        let [key, found, item] = entry.items()?.try_into().unwrap_or([const { Value::None }; 3]);
        match groups.last_mut() {
            Some((last, _, group)) if equal(last, &key) => group.push(item),
            _ => groups.push((key, found, vec![item])),
        }
    }
    let groups = groups.into_iter().map(|(_, found, group)| Value::Group(vec![found, group.into()].into()));
    Ok(groups.collect::<Vec<_>>().into())
}

fn sort_dict(value: &Value, args: Args) -> Result<Value> {
    let [case, by, reverse] = args.bind("dictsort", ["case_sensitive", "by", "reverse"], 0)?;
    let index = match by.as_ref().map_or(Some("key"), Value::as_str) {
        Some("key") => 0,
        Some("value") => 1,
        _ => return fail("`dictsort` sorts by `key` or by `value`"),
    };
    let Value::Dict(dict) = value else {
        return fail(format!("`dictsort` needs a mapping, not `{}`", value.type_name()));
    };
    let mut items = Vec::new();
    for pair in View::Items.items(dict) {
        let part = pair.items()?.swap_remove(index);
        items.push((key(part, is_true(case.as_ref())), pair));
    }
    Ok(sorted(items, is_true(reverse.as_ref()))?.into())
}

fn sum(value: &Value, args: Args) -> Result<Value> {
    let [attribute, start] = args.bind("sum", ["attribute", "start"], 0)?;
    let getter = Getter::new(attribute.as_ref(), None);
    let mut total = start.unwrap_or(Value::Int(0));
    if total.as_str().is_some() {
        return fail("`sum` cannot add up strings, use `join`");
    }
    for item in value.items()? {
        total = binary(BinaryOp::Add, &total, &getter.get(&item)?)?;
    }
    Ok(total)
}
