//! Runs the statements of a template.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use super::arguments::{Args, check_len};
use super::ast::{Body, Expr, Kind, Loop, Macro, Statement, Target};
use super::effort::Effort;
use super::error::{Result, fail};
use super::function::{Closure, Function};
use super::html::escape;
use super::loops::LoopState;
use super::repr::text_of;
use super::scope::Scope;
use super::value::{Dict, Value};
use crate::text::Clock;

/// Calls in calls and expressions in expressions: beyond this a template would exhaust the stack.
const MAX_DEPTH: usize = 100;

/// The flow of control behind a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    Next,
    Break,
    Continue,
}

pub(super) struct Interpreter<'t> {
    pub(super) clock: &'t Clock,
    pub(super) out: String,
    /// Whether output is escaped for HTML.
    pub(super) autoescape: bool,
    /// The text captured by the innermost `set` or `filter` block.
    pub(super) captured: Value,
    depth: usize,
    pub(super) effort: Effort,
    root: Rc<Scope>,
    /// Scopes that macros are defined in: a macro and its scope hold each other.
    closed_over: Vec<Rc<Scope>>,
    /// All namespaces: one may hold itself.
    pub(super) namespaces: Vec<Rc<RefCell<Dict>>>,
}

impl Drop for Interpreter<'_> {
    fn drop(&mut self) {
        for scope in &self.closed_over {
            scope.clear();
        }
        for namespace in &self.namespaces {
            namespace.borrow_mut().clear();
        }
    }
}

impl<'t> Interpreter<'t> {
    /// Renders a template with these variables.
    pub(super) fn render(body: &Body, variables: Scope, clock: &'t Clock) -> Result<String> {
        let root = Scope::inside(&Rc::new(variables));
        let mut interpreter = Interpreter {
            clock,
            out: String::new(),
            autoescape: false,
            captured: Value::None,
            depth: 0,
            effort: Effort::default(),
            root: Rc::clone(&root),
            closed_over: Vec::new(),
            namespaces: Vec::new(),
        };
        interpreter.body(body, &root)?;
        Ok(std::mem::take(&mut interpreter.out))
    }

    /// Runs `run` one level deeper.
    pub(super) fn deeper<T>(&mut self, run: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if self.depth == MAX_DEPTH {
            return fail(format!("the template goes deeper than {MAX_DEPTH} levels"));
        }
        self.depth += 1;
        let result = run(self);
        self.depth -= 1;
        result
    }

    fn body(&mut self, body: &Body, scope: &Rc<Scope>) -> Result<Flow> {
        for statement in body {
            let flow = self.statement(statement, scope).map_err(|error| error.at(statement.line))?;
            if flow != Flow::Next {
                return Ok(flow);
            }
        }
        Ok(Flow::Next)
    }

    fn statement(&mut self, statement: &Statement, scope: &Rc<Scope>) -> Result<Flow> {
        self.effort.step()?;
        match &statement.kind {
            Kind::Text(text) => self.write(text)?,
            Kind::Print(expr) => {
                let value = self.eval(expr, scope)?;
                self.print(&value)?;
            }
            Kind::If(branches, otherwise) => {
                for (test, body) in branches {
                    if self.eval(test, scope)?.is_true() {
                        return self.deeper(|this| this.body(body, scope));
                    }
                }
                return self.deeper(|this| this.body(otherwise, scope));
            }
            Kind::For(code) => {
                let items = self.eval(&code.items, scope)?;
                self.deeper(|this| this.run_loop(code, &items, scope, 0))?;
            }
            Kind::Set(target, expr) => {
                let value = self.eval(expr, scope)?;
                assign(target, value, scope)?;
            }
            Kind::SetBlock(target, expr, body) => {
                let (value, flow) = self.captured(expr, body, scope)?;
                assign(target, value, scope)?;
                return Ok(flow);
            }
            Kind::FilterBlock(expr, body) => {
                let (value, flow) = self.captured(expr, body, scope)?;
                self.print(&value)?;
                return Ok(flow);
            }
            Kind::With(targets, body) => {
                let inner = Scope::inside(scope);
                for (target, expr) in targets {
                    let value = self.eval(expr, scope)?;
                    assign(target, value, &inner)?;
                }
                return self.deeper(|this| this.body(body, &inner));
            }
            Kind::Macro(code) => {
                let closure = Closure { code: Arc::clone(code), scope: Rc::clone(scope) };
                scope.set(&code.name, Value::Function(Function::Macro(Rc::new(closure))));
                self.closed_over.push(Rc::clone(scope));
            }
            other => return self.block_statement(other, scope),
        }
        Ok(Flow::Next)
    }

    /// Runs statements with a callable or replaceable body, and those that only change the flow.
    fn block_statement(&mut self, kind: &Kind, scope: &Rc<Scope>) -> Result<Flow> {
        match kind {
            Kind::CallBlock(code, function, arguments) => {
                let function = self.eval(function, scope)?;
                let mut args = self.arguments(arguments, scope)?;
                let closure = Closure { code: Arc::clone(code), scope: Rc::clone(scope) };
                args.named.push(("caller".to_owned(), Value::Function(Function::Macro(Rc::new(closure)))));
                let value = self.deeper(|this| this.call(&function, args))?;
                self.print(&value)?;
            }
            Kind::AutoEscape(expr, body) => {
                let on = self.eval(expr, scope)?.is_true();
                let before = std::mem::replace(&mut self.autoescape, on);
                let flow = self.deeper(|this| this.body(body, &Scope::inside(scope)));
                self.autoescape = before;
                return flow;
            }
            Kind::Block(body, is_scoped) => {
                let outer = if *is_scoped { Rc::clone(scope) } else { Rc::clone(&self.root) };
                self.deeper(|this| this.body(body, &Scope::inside(&outer)))?;
            }
            Kind::Generation(body) => {
                self.deeper(|this| this.body(body, &Scope::inside(scope)))?;
            }
            Kind::Break => return Ok(Flow::Break),
            Kind::Continue => return Ok(Flow::Continue),
            Kind::OtherTemplate(tag) => {
                return fail(format!("`{tag}` needs another template, and a chat template stands alone"));
            }
            _ => return fail("a statement of an unknown kind"),
        }
        Ok(Flow::Next)
    }

    pub(super) fn write(&mut self, text: &str) -> Result<()> {
        check_len(self.out.len() + text.len())?;
        self.effort.make(text.len())?;
        self.out.push_str(text);
        Ok(())
    }

    fn print(&mut self, value: &Value) -> Result<()> {
        match value {
            Value::Str(text) if text.is_safe || !self.autoescape => self.write(&text.text),
            _ if self.autoescape => self.write(&escape(value)),
            _ => self.write(&text_of(value)),
        }
    }

    /// Runs a body and returns the text that it has printed.
    fn printed(&mut self, body: &Body, scope: &Rc<Scope>) -> Result<(String, Flow)> {
        let before = std::mem::take(&mut self.out);
        let flow = self.deeper(|this| this.body(body, scope));
        let printed = std::mem::replace(&mut self.out, before);
        flow.map(|flow| (printed, flow))
    }

    /// Returns printed text as a value.
    fn text(&self, text: String) -> Value {
        if self.autoescape { Value::safe(text) } else { Value::from(text) }
    }

    fn captured(&mut self, expr: &Expr, body: &Body, scope: &Rc<Scope>) -> Result<(Value, Flow)> {
        let (text, flow) = self.printed(body, &Scope::inside(scope))?;
        self.captured = self.text(text);
        Ok((self.eval(expr, scope)?, flow))
    }

    fn run_loop(&mut self, code: &Arc<Loop>, items: &Value, scope: &Rc<Scope>, depth: usize) -> Result<()> {
        let mut items = items.items()?;
        self.effort.make_items(items.len())?;
        if let Some(filter) = &code.filter {
            let mut kept = Vec::with_capacity(items.len());
            for item in items {
                self.effort.step()?;
                let inner = Scope::inside(scope);
                assign(&code.target, item.clone(), &inner)?;
                if self.eval(filter, &inner)?.is_true() {
                    kept.push(item);
                }
            }
            items = kept;
        }
        if items.is_empty() {
            self.body(&code.otherwise, &Scope::inside(scope))?;
            return Ok(());
        }
        let state = Rc::new(LoopState::new(Arc::clone(code), Rc::clone(scope), items, depth));
        let name = super::ast::Name::from("loop");
        for index in 0..state.len() {
            self.effort.step()?;
            state.index.set(index);
            let inner = Scope::inside(scope);
            inner.set(&name, Value::Loop(Rc::clone(&state)));
            assign(&code.target, state.items[index].clone(), &inner)?;
            if self.body(&code.body, &inner)? == Flow::Break {
                break;
            }
        }
        Ok(())
    }

    /// `loop(items)` in a recursive loop: the same body for other items, as text.
    pub(super) fn recurse(&mut self, state: &Rc<LoopState>, args: Args) -> Result<Value> {
        let [items] = args.bind("loop", ["iterable"], 1)?;
        if !state.code.is_recursive {
            return fail("the loop must be marked `recursive` to be called");
        }
        let before = std::mem::take(&mut self.out);
        let items = items.unwrap_or(Value::None);
        let done = self.deeper(|this| this.run_loop(&state.code, &items, &state.scope, state.depth + 1));
        let printed = std::mem::replace(&mut self.out, before);
        done.map(|()| self.text(printed))
    }

    pub(super) fn call_macro(&mut self, closure: &Closure, args: Args) -> Result<Value> {
        let Macro { name, parameters, body, reads } = &*closure.code;
        let scope = Scope::inside(&closure.scope);
        let Args { positional, mut named } = args;
        let mut positional = positional.into_iter();
        for (parameter, default) in parameters {
            let given = positional.next().or_else(|| {
                let index = named.iter().position(|(name, _)| **name == **parameter)?;
                Some(named.remove(index).1)
            });
            let value = match (given, default) {
                (Some(value), _) => value,
                (None, Some(default)) => self.eval(default, &scope)?,
                (None, None) => Value::undefined(format!("parameter '{parameter}' was not provided")),
            };
            scope.set(parameter, value);
        }
        let rest: Vec<Value> = positional.collect();
        let is_parameter = parameters.iter().any(|(parameter, _)| &**parameter == "caller");
        if reads.caller && !is_parameter {
            let index = named.iter().position(|(name, _)| name == "caller");
            let caller = index.map(|index| named.remove(index).1);
            scope.set(&"caller".into(), caller.unwrap_or_else(|| Value::undefined("no caller defined")));
        }
        if reads.kwargs {
            let mut kwargs = Dict::default();
            for (name, value) in named.drain(..) {
                kwargs.insert(Value::from(name), value)?;
            }
            scope.set(&"kwargs".into(), kwargs.into());
        } else if let Some((argument, _)) = named.first() {
            return fail(format!("macro `{name}` takes no argument named `{argument}`"));
        }
        if reads.varargs {
            scope.set(&"varargs".into(), Value::Tuple(rest.into()));
        } else if !rest.is_empty() {
            return fail(format!("macro `{name}` takes at most {} arguments", parameters.len()));
        }
        let (text, _) = self.printed(body, &scope)?;
        Ok(self.text(text))
    }
}

/// Assigns a value to a target; a tuple is unpacked.
fn assign(target: &Target, value: Value, scope: &Rc<Scope>) -> Result<()> {
    match target {
        Target::Name(name) => scope.set(name, value),
        Target::Attribute(name, attribute) => match scope.get(name) {
            Some(Value::Namespace(_)) if attribute.starts_with('_') => {
                return fail(format!("a namespace cannot have `{attribute}`, rename it"));
            }
            Some(Value::Namespace(dict)) => dict.borrow_mut().insert(Value::from(&**attribute), value)?,
            _ => return fail(format!("cannot set `{attribute}` of `{name}`, which is no namespace")),
        },
        Target::Tuple(targets) => {
            let items = value.items()?;
            if items.len() != targets.len() {
                return fail(format!("{} values cannot be unpacked to {} names", items.len(), targets.len()));
            }
            for (target, item) in targets.iter().zip(items) {
                assign(target, item, scope)?;
            }
        }
    }
    Ok(())
}
