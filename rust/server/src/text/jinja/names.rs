//! The names that a template uses: those that a macro reads, and unknown ones.

use std::collections::HashSet;

use super::ast::{Arguments, Body, Expr, Kind, Name, Specials, Target};
use super::error::Error;
use super::evaluate::GLOBALS;
use super::filters::FILTERS;
use super::tests::TESTS;

/// Returns which of its special variables a macro reads.
pub(super) fn specials(body: &Body, parameters: &[(Name, Option<Expr>)]) -> Specials {
    let mut reads = Specials::default();
    let mut walk = Walk { visit: &mut |expr, _, _| note(expr, &mut reads), line: 0, is_conditional: false };
    walk.body(body);
    for (_, default) in parameters {
        walk.option(default.as_ref());
    }
    reads
}

fn note(expr: &Expr, reads: &mut Specials) {
    if let Expr::Name(name) = expr {
        match &**name {
            "caller" => reads.caller = true,
            "varargs" => reads.varargs = true,
            "kwargs" => reads.kwargs = true,
            _ => {}
        }
    }
}

/// Unknown names of a template. If a condition may skip the fault, the template can still be
/// rendered, and the fault is `conditional`.
#[derive(Debug, Default)]
pub(super) struct Unknown {
    pub(super) always: Option<Error>,
    pub(super) conditional: Vec<Error>,
}

/// Finds unknown filters and tests, and calls of functions that nothing can define.
pub(super) fn unknown(body: &Body) -> Unknown {
    let mut assigned = HashSet::new();
    assigned_in(body, &mut assigned);
    let mut unknown = Unknown::default();
    let mut visit = |expr: &Expr, line: usize, is_conditional: bool| {
        let message = match expr {
            Expr::Filter(_, name, _) if !FILTERS.contains(&&**name) => format!("there is no filter `{name}`"),
            Expr::Test(_, name, _) if !TESTS.contains(&&**name) => format!("there is no test `{name}`"),
            Expr::Call(function, _) => match &**function {
                Expr::Name(name) if !GLOBALS.contains(&&**name) && !assigned.contains(name) => {
                    let error = Error::new(format!("there is no function `{name}`")).at(line);
                    return unknown.conditional.push(error);
                }
                _ => return,
            },
            _ => return,
        };
        let error = Error::new(message).at(line);
        if is_conditional {
            unknown.conditional.push(error);
        } else {
            unknown.always.get_or_insert(error);
        }
    };
    Walk { visit: &mut visit, line: 0, is_conditional: false }.body(body);
    unknown
}

/// Names that may be functions, since the template gives them a value.
fn assigned_in(body: &Body, names: &mut HashSet<Name>) {
    names.extend(["caller", "loop", "self", "super"].map(Name::from));
    for statement in body {
        match &statement.kind {
            Kind::Macro(code) | Kind::CallBlock(code, ..) => {
                names.insert(code.name.clone());
                names.extend(code.parameters.iter().map(|(name, _)| name.clone()));
                assigned_in(&code.body, names);
            }
            Kind::For(code) => {
                targets(&code.target, names);
                assigned_in(&code.body, names);
                assigned_in(&code.otherwise, names);
            }
            Kind::Set(target, _) => targets(target, names),
            Kind::SetBlock(target, _, body) => {
                targets(target, names);
                assigned_in(body, names);
            }
            Kind::With(pairs, body) => {
                pairs.iter().for_each(|(target, _)| targets(target, names));
                assigned_in(body, names);
            }
            Kind::If(branches, otherwise) => {
                branches.iter().for_each(|(_, body)| assigned_in(body, names));
                assigned_in(otherwise, names);
            }
            Kind::FilterBlock(_, body)
            | Kind::AutoEscape(_, body)
            | Kind::Block(body, _)
            | Kind::Generation(body) => {
                assigned_in(body, names);
            }
            Kind::Text(_) | Kind::Print(_) | Kind::Break | Kind::Continue | Kind::OtherTemplate(_) => {}
        }
    }
}

fn targets(target: &Target, names: &mut HashSet<Name>) {
    match target {
        Target::Name(name) => {
            names.insert(name.clone());
        }
        Target::Attribute(..) => {}
        Target::Tuple(inner) => inner.iter().for_each(|target| targets(target, names)),
    }
}

/// Visits every expression with its line, and whether a condition in the same scope decides about
/// it.
struct Walk<'v> {
    visit: &'v mut dyn FnMut(&Expr, usize, bool),
    line: usize,
    is_conditional: bool,
}

impl Walk<'_> {
    /// A body that is a scope of its own.
    fn scope(&mut self, body: &Body) {
        self.under(false, |walk| walk.body(body));
    }

    fn under(&mut self, is_conditional: bool, walk: impl FnOnce(&mut Self)) {
        let before = std::mem::replace(&mut self.is_conditional, is_conditional);
        walk(self);
        self.is_conditional = before;
    }

    fn body(&mut self, body: &Body) {
        for statement in body {
            self.line = statement.line;
            match &statement.kind {
                Kind::Print(expr) | Kind::Set(_, expr) => self.expr(expr),
                Kind::If(branches, otherwise) => self.under(true, |walk| {
                    for (test, body) in branches {
                        walk.expr(test);
                        walk.body(body);
                    }
                    walk.body(otherwise);
                }),
                Kind::For(code) => {
                    self.expr(&code.items);
                    self.under(false, |walk| walk.option(code.filter.as_ref()));
                    self.scope(&code.body);
                    self.scope(&code.otherwise);
                }
                Kind::SetBlock(_, expr, body)
                | Kind::FilterBlock(expr, body)
                | Kind::AutoEscape(expr, body) => {
                    self.expr(expr);
                    self.scope(body);
                }
                Kind::With(pairs, body) => {
                    pairs.iter().for_each(|(_, expr)| self.expr(expr));
                    self.scope(body);
                }
                Kind::Macro(code) => {
                    self.under(false, |walk| {
                        code.parameters.iter().for_each(|(_, default)| walk.option(default.as_ref()));
                    });
                    self.scope(&code.body);
                }
                Kind::CallBlock(code, function, arguments) => {
                    self.expr(function);
                    self.arguments(arguments);
                    self.scope(&code.body);
                }
                Kind::Block(body, _) | Kind::Generation(body) => self.scope(body),
                Kind::Text(_) | Kind::Break | Kind::Continue | Kind::OtherTemplate(_) => {}
            }
        }
    }

    fn option(&mut self, expr: Option<&Expr>) {
        if let Some(expr) = expr {
            self.expr(expr);
        }
    }

    fn arguments(&mut self, arguments: &Arguments) {
        arguments.positional.iter().for_each(|expr| self.expr(expr));
        arguments.named.iter().for_each(|(_, expr)| self.expr(expr));
        self.option(arguments.more_positional.as_deref());
        self.option(arguments.more_named.as_deref());
    }

    fn expr(&mut self, expr: &Expr) {
        (self.visit)(expr, self.line, self.is_conditional);
        match expr {
            Expr::Literal(_) | Expr::Name(_) | Expr::Captured => {}
            Expr::Tuple(items) | Expr::List(items) | Expr::Concat(items) => {
                items.iter().for_each(|item| self.expr(item));
            }
            Expr::Dict(pairs) => pairs.iter().for_each(|(key, value)| {
                self.expr(key);
                self.expr(value);
            }),
            Expr::Negative(value) | Expr::Positive(value) | Expr::Not(value) | Expr::Attribute(value, _) => {
                self.expr(value);
            }
            Expr::And(left, right)
            | Expr::Or(left, right)
            | Expr::Binary(_, left, right)
            | Expr::Item(left, right) => {
                self.expr(left);
                self.expr(right);
            }
            Expr::Compare(first, rest) => {
                self.expr(first);
                rest.iter().for_each(|(_, expr)| self.expr(expr));
            }
            Expr::Condition { test, then, otherwise } => self.under(true, |walk| {
                walk.expr(test);
                walk.expr(then);
                walk.option(otherwise.as_deref());
            }),
            Expr::Slice(value, bounds) => {
                self.expr(value);
                bounds.iter().for_each(|bound| self.option(bound.as_ref()));
            }
            Expr::Call(value, arguments)
            | Expr::Filter(value, _, arguments)
            | Expr::Test(value, _, arguments) => {
                self.expr(value);
                self.arguments(arguments);
            }
        }
    }
}
