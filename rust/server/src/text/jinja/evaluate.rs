//! Evaluates the expressions of a template.

use std::cell::RefCell;
use std::rc::Rc;

use super::arguments::{Args, text};
use super::ast::{Arguments, Expr};
use super::error::{Error, Result, fail};
use super::function::{Function, dict, range};
use super::interpreter::Interpreter;
use super::loops::Cycler;
use super::operators::{binary, compare, concat, negative, positive};
use super::repr::text_of;
use super::scope::Scope;
use super::strftime::strftime;
use super::subscript::{attribute, item, slice};
use super::value::{Dict, Text, Value};

/// The functions that every template has.
pub(super) const GLOBALS: [&str; 8] =
    ["range", "dict", "namespace", "cycler", "joiner", "lipsum", "raise_exception", "strftime_now"];

impl Interpreter<'_> {
    pub(super) fn eval(&mut self, expr: &Expr, scope: &Rc<Scope>) -> Result<Value> {
        match expr {
            Expr::Literal(literal) => Ok(literal.into()),
            Expr::Name(name) => Ok(lookup(name, scope)),
            Expr::Captured => Ok(self.captured.clone()),
            other => {
                self.effort.step()?;
                let value = self.deeper(|this| this.operation(other, scope))?;
                if makes_value(other) {
                    self.effort.make_value(&value)?;
                }
                Ok(value)
            }
        }
    }

    fn operation(&mut self, expr: &Expr, scope: &Rc<Scope>) -> Result<Value> {
        match expr {
            Expr::Attribute(value, name) => attribute(&self.eval(value, scope)?, name),
            Expr::Item(value, key) => {
                let value = self.eval(value, scope)?;
                item(&value, &self.eval(key, scope)?)
            }
            Expr::Slice(value, bounds) => {
                let value = self.eval(value, scope)?;
                let mut found = [const { None }; 3];
                for (found, bound) in found.iter_mut().zip(bounds.iter()) {
                    *found = bound.as_ref().map(|bound| self.eval(bound, scope)).transpose()?;
                }
                slice(&value, found.each_ref().map(Option::as_ref))
            }
            Expr::Call(function, arguments) => {
                let function = self.eval(function, scope)?;
                let args = self.arguments(arguments, scope)?;
                self.call(&function, args)
            }
            Expr::Filter(value, name, arguments) => {
                let value = self.eval(value, scope)?;
                let args = self.arguments(arguments, scope)?;
                self.filter(name, &value, args)
            }
            Expr::Test(value, name, arguments) => {
                let value = self.eval(value, scope)?;
                let args = self.arguments(arguments, scope)?;
                self.test(name, &value, args).map(Value::Bool)
            }
            Expr::Condition { test, then, otherwise } => {
                if self.eval(test, scope)?.is_true() {
                    return self.eval(then, scope);
                }
                let absent = "the condition is false and there is no `else`";
                otherwise.as_ref().map_or_else(|| Ok(Value::undefined(absent)), |expr| self.eval(expr, scope))
            }
            Expr::Tuple(items) => Ok(Value::Tuple(self.all(items, scope)?.into())),
            Expr::List(items) => Ok(self.all(items, scope)?.into()),
            Expr::Dict(pairs) => {
                let mut dict = Dict::default();
                for (key, value) in pairs {
                    let key = self.eval(key, scope)?;
                    dict.insert(key, self.eval(value, scope)?)?;
                }
                Ok(dict.into())
            }
            other => self.operator(other, scope),
        }
    }

    fn operator(&mut self, expr: &Expr, scope: &Rc<Scope>) -> Result<Value> {
        match expr {
            Expr::And(left, right) => {
                let left = self.eval(left, scope)?;
                if left.is_true() { self.eval(right, scope) } else { Ok(left) }
            }
            Expr::Or(left, right) => {
                let left = self.eval(left, scope)?;
                if left.is_true() { Ok(left) } else { self.eval(right, scope) }
            }
            Expr::Not(value) => Ok(Value::Bool(!self.eval(value, scope)?.is_true())),
            Expr::Negative(value) => negative(&self.eval(value, scope)?),
            Expr::Positive(value) => positive(&self.eval(value, scope)?),
            Expr::Binary(operator, left, right) => {
                let left = self.eval(left, scope)?;
                binary(*operator, &left, &self.eval(right, scope)?)
            }
            Expr::Concat(parts) => {
                let parts = self.all(parts, scope)?;
                super::arguments::check_len(parts.iter().filter_map(Value::as_str).map(str::len).sum())?;
                // Without escaping, safe texts are like others.
                let plain = || Value::from(parts.iter().map(text_of).collect::<String>());
                Ok(if self.autoescape { concat(&parts) } else { plain() })
            }
            Expr::Compare(first, rest) => {
                let mut left = self.eval(first, scope)?;
                for (operator, right) in rest {
                    let right = self.eval(right, scope)?;
                    if !compare(*operator, &left, &right)? {
                        return Ok(Value::Bool(false));
                    }
                    left = right;
                }
                Ok(Value::Bool(true))
            }
            _ => fail("an expression of an unknown kind"),
        }
    }

    fn all(&mut self, items: &[Expr], scope: &Rc<Scope>) -> Result<Vec<Value>> {
        items.iter().map(|item| self.eval(item, scope)).collect()
    }

    pub(super) fn arguments(&mut self, arguments: &Arguments, scope: &Rc<Scope>) -> Result<Args> {
        let mut args = Args::of(self.all(&arguments.positional, scope)?);
        if let Some(more) = &arguments.more_positional {
            args.positional.extend(self.eval(more, scope)?.items()?);
        }
        for (name, value) in &arguments.named {
            args.named.push((name.to_string(), self.eval(value, scope)?));
        }
        if let Some(more) = &arguments.more_named {
            let Value::Dict(dict) = self.eval(more, scope)? else { return fail("`**` needs a mapping") };
            for (name, value) in dict.iter() {
                args.named.push((text(name)?.to_owned(), value.clone()));
            }
        }
        for (index, (name, _)) in args.named.iter().enumerate() {
            if args.named[..index].iter().any(|(other, _)| other == name) {
                return fail(format!("argument `{name}` is given twice"));
            }
        }
        Ok(args)
    }

    pub(super) fn call_global(&mut self, name: &str, args: Args) -> Result<Value> {
        match name {
            "range" => range(args),
            "dict" => dict(args).map(Value::from),
            "namespace" => {
                let dict = dict(args)?;
                if let Some((name, _)) =
                    dict.iter().find(|(name, _)| name.as_str().is_some_and(|name| name.starts_with('_')))
                {
                    return fail(format!("a namespace cannot have `{}`, rename it", text_of(name)));
                }
                let namespace = Rc::new(RefCell::new(dict));
                self.namespaces.push(Rc::clone(&namespace));
                Ok(Value::Namespace(namespace))
            }
            "cycler" => Ok(Value::Cycler(Rc::new(Cycler::new(args)?))),
            "joiner" => {
                let [separator] = args.bind(name, ["sep"], 0)?;
                let separator = match separator.unwrap_or_else(|| Value::from(", ")) {
                    Value::Str(text) => text,
                    other => Text { text: text_of(&other).into(), is_safe: false },
                };
                Ok(Value::Joiner(Rc::new((separator, RefCell::new(false)))))
            }
            "raise_exception" => {
                let [message] = args.bind(name, ["message"], 1)?;
                let message = text_of(&message.unwrap_or(Value::None));
                Err(Error { message, line: 0, is_raised: true })
            }
            "strftime_now" => {
                let [format] = args.bind(name, ["format"], 1)?;
                let format = format.unwrap_or(Value::None);
                Ok(Value::from(strftime(text(&format)?, &(self.clock)())))
            }
            _ => fail("`lipsum` is not supported: the same conversation must be the same prompt"),
        }
    }
}

/// Returns whether the expression makes a new value.
fn makes_value(expr: &Expr) -> bool {
    !matches!(
        expr,
        Expr::Attribute(..) | Expr::Item(..) | Expr::Condition { .. } | Expr::And(..) | Expr::Or(..)
    )
}

fn lookup(name: &str, scope: &Rc<Scope>) -> Value {
    scope.get(name).unwrap_or_else(|| match GLOBALS.iter().find(|global| **global == name) {
        Some(global) => Value::Function(Function::Global(global)),
        None => Value::undefined(format!("'{name}' is undefined")),
    })
}
