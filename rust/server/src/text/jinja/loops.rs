//! `loop`, `cycler` and other stateful values.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use super::arguments::Args;
use super::ast::Loop;
use super::error::{Result, fail};
use super::scope::Scope;
use super::value::{Value, equal};

/// A running loop: the value of the variable `loop`.
#[derive(Debug)]
pub(super) struct LoopState {
    pub(super) code: Arc<Loop>,
    /// The variables around the loop, for `loop(...)`.
    pub(super) scope: Rc<Scope>,
    pub(super) items: Vec<Value>,
    pub(super) index: Cell<usize>,
    pub(super) depth: usize,
    last_changed: RefCell<Option<Vec<Value>>>,
}

impl LoopState {
    pub(super) fn new(code: Arc<Loop>, scope: Rc<Scope>, items: Vec<Value>, depth: usize) -> Self {
        Self { code, scope, items, index: Cell::new(0), depth, last_changed: RefCell::new(None) }
    }

    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    pub(super) fn attribute(&self, name: &str) -> Option<Value> {
        let (index, len) = (self.index.get(), self.items.len());
        let neighbour = |index: Option<usize>, message: &str| {
            let found = index.and_then(|index| self.items.get(index)).cloned();
            found.unwrap_or_else(|| Value::undefined(message))
        };
        Some(match name {
            "index" => (index + 1).into(),
            "index0" => index.into(),
            "revindex" => (len - index).into(),
            "revindex0" => (len - index - 1).into(),
            "first" => Value::Bool(index == 0),
            "last" => Value::Bool(index + 1 == len),
            "length" => len.into(),
            "depth" => (self.depth + 1).into(),
            "depth0" => self.depth.into(),
            "previtem" => neighbour(index.checked_sub(1), "there is no previous item"),
            "nextitem" => neighbour(Some(index + 1), "there is no next item"),
            _ => return None,
        })
    }

    pub(super) fn method(&self, name: &str, args: Args) -> Result<Value> {
        if !args.named.is_empty() {
            return fail(format!("`loop.{name}` takes no named arguments"));
        }
        let values = args.positional;
        if name == "cycle" {
            return match values.len() {
                0 => fail("`loop.cycle` needs values"),
                len => Ok(values[self.index.get() % len].clone()),
            };
        }
        let is_same = self.last_changed.borrow().as_ref().is_some_and(|last| {
            last.len() == values.len() && last.iter().zip(&values).all(|(last, value)| equal(last, value))
        });
        if !is_same {
            *self.last_changed.borrow_mut() = Some(values);
        }
        Ok(Value::Bool(!is_same))
    }
}

/// Values that follow each other in a circle.
#[derive(Debug)]
pub(super) struct Cycler {
    items: Vec<Value>,
    index: Cell<usize>,
}

impl Cycler {
    pub(super) fn new(args: Args) -> Result<Self> {
        if args.positional.is_empty() || !args.named.is_empty() {
            return fail("`cycler` needs values, and no named arguments");
        }
        Ok(Self { items: args.positional, index: Cell::new(0) })
    }

    pub(super) fn current(&self) -> Value {
        self.items[self.index.get()].clone()
    }
}

pub(super) fn cycler_method(cycler: &Cycler, name: &str, args: Args) -> Result<Value> {
    args.none(name)?;
    if name == "reset" {
        cycler.index.set(0);
        return Ok(Value::None);
    }
    let current = cycler.current();
    cycler.index.set((cycler.index.get() + 1) % cycler.items.len());
    Ok(current)
}
