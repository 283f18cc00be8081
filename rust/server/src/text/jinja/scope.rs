//! Variables, scope within scope.

use std::cell::RefCell;
use std::rc::Rc;

use super::ast::Name;
use super::value::Value;

/// The variables of a loop's turn, a macro's call, or the whole template.
#[derive(Debug, Default)]
pub(super) struct Scope {
    variables: RefCell<Vec<(Name, Value)>>,
    outer: Option<Rc<Scope>>,
}

impl Scope {
    pub(super) fn inside(outer: &Rc<Self>) -> Rc<Self> {
        Rc::new(Self { variables: RefCell::default(), outer: Some(Rc::clone(outer)) })
    }

    pub(super) fn set(&self, name: &Name, value: Value) {
        let mut variables = self.variables.borrow_mut();
        match variables.iter_mut().find(|(known, _)| known == name) {
            Some((_, place)) => *place = value,
            None => variables.push((Name::clone(name), value)),
        }
    }

    pub(super) fn get(&self, name: &str) -> Option<Value> {
        let own = self
            .variables
            .borrow()
            .iter()
            .find(|(known, _)| **known == *name)
            .map(|(_, value)| value.clone());
        own.or_else(|| self.outer.as_ref()?.get(name))
    }

    /// Drops all values.
    pub(super) fn clear(&self) {
        self.variables.take();
    }
}
