//! Jinja templates as Python's jinja2 renders them in the sandbox of `transformers`.
//!
//! Chat templates are written for jinja2 with Python's values: their methods, operators, printed
//! forms and errors. A prompt that differs by one character makes answers quietly worse, so this
//! implements exactly that language. [Decision
//! 24](../../../../docs/decisions/0024-an-engine-for-chat-templates.md) explains why it is written
//! here.
//!
//! ```text
//! source ──► scan, lexer ──► parser, expression ──► ast ──► interpreter, evaluate ──► text
//!                                                    │             │
//!                                                  names      value, operators, filters, …
//! ```

mod arguments;
mod ast;
mod characters;
mod containers;
mod effort;
mod error;
mod evaluate;
mod expression;
mod filter_order;
mod filter_text;
mod filters;
mod function;
mod html;
mod interpreter;
mod lexer;
mod loops;
mod names;
mod numbers;
mod numeric;
mod operators;
mod parser;
mod parts;
mod pretty;
mod printf;
mod python_json;
mod repr;
mod scan;
mod scope;
mod spec;
mod split;
mod str_format;
mod str_methods;
mod strftime;
mod subscript;
mod tests;
mod value;
mod wordwrap;

use serde_json::Value as Json;

pub(super) use error::Error;
use interpreter::Interpreter;
use scope::Scope;

use super::Clock;

/// A compiled template.
#[derive(Debug)]
pub(super) struct Template {
    body: ast::Body,
    warnings: Vec<Error>,
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// The line of a syntax error, or of an unknown name.
    pub(super) fn compile(source: &str) -> Result<Self, Error> {
        let source = source.replace("\r\n", "\n").replace('\r', "\n");
        // One newline at the end belongs to the file, not to the template.
        let body = parser::parse(source.strip_suffix('\n').unwrap_or(&source))?;
        let unknown = names::unknown(&body);
        match unknown.always {
            Some(error) => Err(error),
            None => Ok(Self { body, warnings: unknown.conditional }),
        }
    }

    /// Places that cannot be rendered, though other ways through the template can.
    pub(super) fn warnings(&self) -> &[Error] {
        &self.warnings
    }

    /// Renders the template with these variables; of two with one name the later one counts.
    ///
    /// # Errors
    /// The template refuses, or fails as it would in Python.
    pub(super) fn render<'v>(
        &self,
        variables: impl IntoIterator<Item = (&'v str, &'v Json)>,
        clock: Clock,
    ) -> Result<String, Error> {
        let scope = Scope::default();
        for (name, value) in variables {
            scope.set(&name.into(), value.into());
        }
        Interpreter::render(&self.body, scope, &clock)
    }
}
