//! Parses tokens into statements.

use std::sync::Arc;

use super::ast::{Body, Expr, Kind, Loop, Macro, Name, Statement};
use super::error::{Error, Result, fail};
use super::lexer::{Token, TokenKind, tokenize};
use super::names::specials;

/// Tags in tags, brackets in brackets: beyond this a template would exhaust the stack.
const MAX_DEPTH: usize = 50;
/// Maximum operators of one kind in a row: each is one level of the expression.
pub(super) const MAX_CHAIN: usize = 90;
/// Maximum operators, filters, attributes and calls of one expression: each may be one level of
/// recursion.
const MAX_LINKS: usize = 1000;

/// Reads a template.
///
/// # Errors
/// The line of the fault.
pub(super) fn parse(source: &str) -> Result<Body> {
    let tokens = tokenize(source)?;
    let mut parser = Parser { tokens, position: 0, depth: 0, num_links: 0, num_loops: 0 };
    let (body, _) = parser.body(&[]).map_err(|error| error.at(parser.line()))?;
    Ok(body)
}

pub(super) struct Parser {
    tokens: Vec<Token>,
    position: usize,
    depth: usize,
    /// Links in the expression that is being read.
    num_links: usize,
    /// Loops around the present place, in which `break` has a meaning.
    num_loops: usize,
}

impl Parser {
    pub(super) fn line(&self) -> usize {
        self.tokens[self.position].line
    }

    pub(super) fn peek(&self) -> &TokenKind {
        &self.tokens[self.position].kind
    }

    pub(super) fn peek_second(&self) -> &TokenKind {
        &self.tokens[(self.position + 1).min(self.tokens.len() - 1)].kind
    }

    pub(super) fn next(&mut self) -> TokenKind {
        let kind = self.peek().clone();
        self.position = (self.position + 1).min(self.tokens.len() - 1);
        kind
    }

    pub(super) fn is_operator(&self, operator: &str) -> bool {
        matches!(self.peek(), TokenKind::Operator(found) if *found == operator)
    }

    pub(super) fn is_word(&self, word: &str) -> bool {
        matches!(self.peek(), TokenKind::Word(found) if found == word)
    }

    /// Takes the operator if it comes next.
    pub(super) fn skip_operator(&mut self, operator: &str) -> bool {
        let found = self.is_operator(operator);
        if found {
            self.next();
        }
        found
    }

    /// Takes the word if it comes next.
    pub(super) fn skip_word(&mut self, word: &str) -> bool {
        let found = self.is_word(word);
        if found {
            self.next();
        }
        found
    }

    pub(super) fn expect_operator(&mut self, operator: &str) -> Result<()> {
        if self.skip_operator(operator) { Ok(()) } else { self.unexpected(&format!("`{operator}`")) }
    }

    fn expect_word(&mut self, word: &str) -> Result<()> {
        if self.skip_word(word) { Ok(()) } else { self.unexpected(&format!("`{word}`")) }
    }

    pub(super) fn name(&mut self) -> Result<Name> {
        match self.peek() {
            TokenKind::Word(word) => {
                let name = Name::from(word.as_str());
                self.next();
                Ok(name)
            }
            _ => self.unexpected("a name"),
        }
    }

    pub(super) fn unexpected<T>(&self, expected: &str) -> Result<T> {
        let found = match self.peek() {
            TokenKind::Data(_) => "text".to_owned(),
            TokenKind::PrintStart => "`{{`".to_owned(),
            TokenKind::PrintEnd => "`}}`".to_owned(),
            TokenKind::TagStart => "`{%`".to_owned(),
            TokenKind::TagEnd => "`%}`".to_owned(),
            TokenKind::Word(word) => format!("`{word}`"),
            TokenKind::Text(text) => format!("{text:?}"),
            TokenKind::Int(number) => format!("`{number}`"),
            TokenKind::Float(number) => format!("`{number}`"),
            TokenKind::Operator(operator) => format!("`{operator}`"),
            TokenKind::End => "the end of the template".to_owned(),
        };
        Err(Error::new(format!("expected {expected}, found {found}")).at(self.line()))
    }

    /// Runs `parse` one level deeper.
    pub(super) fn deeper<T>(&mut self, parse: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if self.depth == MAX_DEPTH {
            return fail(format!("the template is nested deeper than {MAX_DEPTH} levels"));
        }
        self.depth += 1;
        let parsed = parse(self);
        self.depth -= 1;
        parsed
    }

    /// Counts an operator, or another link that adds a level to an expression without nesting.
    pub(super) fn link(&mut self) -> Result<()> {
        self.num_links += 1;
        match self.num_links > MAX_LINKS {
            true => fail(format!("an expression has more than {MAX_LINKS} operators, filters and calls")),
            false => Ok(()),
        }
    }

    /// Parses statements up to one of the tags `ends`, whose name is taken and returned; without
    /// any, up to the end.
    fn body(&mut self, ends: &[&'static str]) -> Result<(Body, &'static str)> {
        let mut body = Body::new();
        loop {
            let line = self.line();
            self.num_links = 0;
            match self.next() {
                TokenKind::Data(text) => body.push(Statement { line, kind: Kind::Text(text) }),
                TokenKind::PrintStart => {
                    let value = self.tuple(true, &[])?;
                    if *self.peek() != TokenKind::PrintEnd {
                        return self.unexpected("`}}`");
                    }
                    self.next();
                    body.push(Statement { line, kind: Kind::Print(value) });
                }
                TokenKind::TagStart => {
                    if let Some(end) = ends.iter().find(|end| self.is_word(end)) {
                        self.next();
                        return Ok((body, end));
                    }
                    let tag = self.name()?;
                    let statement = self.deeper(|parser| parser.statement(&tag, line, &mut body));
                    statement.map_err(|error| error.at(line))?;
                    self.end_tag()?;
                }
                TokenKind::End if ends.is_empty() => return Ok((body, "")),
                _ => {
                    self.position = self.tokens.len() - 1;
                    return self.unexpected(&format!("`{}`", ends.join("` or `")));
                }
            }
        }
    }

    fn end_tag(&mut self) -> Result<()> {
        if *self.peek() != TokenKind::TagEnd {
            return self.unexpected("`%}`");
        }
        self.next();
        Ok(())
    }

    /// Parses a body behind the end of this tag; a colon may stand before it, as in Python.
    fn block(&mut self, ends: &[&'static str]) -> Result<(Body, &'static str)> {
        self.skip_operator(":");
        self.end_tag()?;
        self.body(ends)
    }

    fn statement(&mut self, tag: &str, line: usize, out: &mut Body) -> Result<()> {
        let kind = match tag {
            "if" => self.condition()?,
            "for" => self.for_loop()?,
            "set" => self.set()?,
            "with" => self.with()?,
            "macro" => {
                let name = self.name()?;
                Kind::Macro(self.macro_with("endmacro", name, None)?)
            }
            "call" => self.call_block()?,
            "filter" => {
                let chain = self.filter_chain(Expr::Captured, true)?;
                Kind::FilterBlock(chain, self.block(&["endfilter"])?.0)
            }
            "autoescape" => {
                let on = self.expression()?;
                Kind::AutoEscape(on, self.block(&["endautoescape"])?.0)
            }
            "block" => self.named_block()?,
            "generation" => Kind::Generation(self.block(&["endgeneration"])?.0),
            "print" => {
                while *self.peek() != TokenKind::TagEnd {
                    let value = self.expression()?;
                    out.push(Statement { line, kind: Kind::Print(value) });
                    if *self.peek() != TokenKind::TagEnd {
                        self.expect_operator(",")?;
                    }
                }
                return Ok(());
            }
            "break" | "continue" if self.num_loops == 0 => {
                return fail(format!("`{tag}` stands outside of a loop"));
            }
            "break" => Kind::Break,
            "continue" => Kind::Continue,
            "include" | "import" | "from" | "extends" => self.other_template(tag),
            _ => return fail(format!("unknown tag `{tag}`")),
        };
        out.push(Statement { line, kind });
        Ok(())
    }

    /// Skips a tag about another template, since there is none.
    fn other_template(&mut self, tag: &str) -> Kind {
        while !matches!(self.peek(), TokenKind::TagEnd | TokenKind::End) {
            self.next();
        }
        Kind::OtherTemplate(
            ["include", "import", "from", "extends"]
                .into_iter()
                .find(|name| *name == tag)
                .unwrap_or("include"),
        )
    }

    fn condition(&mut self) -> Result<Kind> {
        let mut branches = Vec::new();
        loop {
            let test = self.tuple(false, &[])?;
            let (body, end) = self.block(&["elif", "else", "endif"])?;
            branches.push((test, body));
            match end {
                "elif" => {}
                "else" => return Ok(Kind::If(branches, self.block(&["endif"])?.0)),
                _ => return Ok(Kind::If(branches, Body::new())),
            }
        }
    }

    fn for_loop(&mut self) -> Result<Kind> {
        let target = self.target(false, &["in"])?;
        self.expect_word("in")?;
        let items = self.tuple(false, &["recursive"])?;
        let filter = if self.skip_word("if") { Some(self.expression()?) } else { None };
        let is_recursive = self.skip_word("recursive");
        self.num_loops += 1;
        let (body, end) = self.block(&["endfor", "else"])?;
        self.num_loops -= 1;
        let otherwise = if end == "else" { self.block(&["endfor"])?.0 } else { Body::new() };
        Ok(Kind::For(Arc::new(Loop { target, items, filter, is_recursive, body, otherwise })))
    }

    fn set(&mut self) -> Result<Kind> {
        let target = self.target(true, &[])?;
        if self.skip_operator("=") {
            return Ok(Kind::Set(target, self.tuple(true, &[])?));
        }
        let chain = self.filter_chain(Expr::Captured, false)?;
        Ok(Kind::SetBlock(target, chain, self.block(&["endset"])?.0))
    }

    fn with(&mut self) -> Result<Kind> {
        let mut targets = Vec::new();
        while !matches!(self.peek(), TokenKind::TagEnd) && !self.is_operator(":") {
            if !targets.is_empty() {
                self.expect_operator(",")?;
            }
            let target = self.target(false, &[])?;
            self.expect_operator("=")?;
            targets.push((target, self.expression()?));
        }
        Ok(Kind::With(targets, self.block(&["endwith"])?.0))
    }

    /// Parses parameters and body; those of a `call` block are given already.
    fn macro_with(
        &mut self,
        end: &'static str,
        name: Name,
        parameters: Option<Vec<(Name, Option<Expr>)>>,
    ) -> Result<Arc<Macro>> {
        let parameters = match parameters {
            Some(parameters) => parameters,
            None => self.parameters()?,
        };
        let num_loops = std::mem::take(&mut self.num_loops);
        let body = self.block(&[end])?.0;
        self.num_loops = num_loops;
        let reads = specials(&body, &parameters);
        Ok(Arc::new(Macro { name, parameters, body, reads }))
    }

    fn parameters(&mut self) -> Result<Vec<(Name, Option<Expr>)>> {
        self.expect_operator("(")?;
        let mut parameters: Vec<(Name, Option<Expr>)> = Vec::new();
        while !self.is_operator(")") {
            if !parameters.is_empty() {
                self.expect_operator(",")?;
            }
            let name = self.variable_name()?;
            if self.skip_operator("=") {
                parameters.push((name, Some(self.expression()?)));
            } else if parameters.iter().any(|(_, default)| default.is_some()) {
                return fail(format!(
                    "parameter `{name}` without a default stands behind one with a default"
                ));
            } else {
                parameters.push((name, None));
            }
        }
        self.expect_operator(")")?;
        Ok(parameters)
    }

    fn call_block(&mut self) -> Result<Kind> {
        let parameters = if self.is_operator("(") { self.parameters()? } else { Vec::new() };
        let Expr::Call(function, arguments) = self.expression()? else {
            return fail("`call` must be followed by a call");
        };
        let body = self.macro_with("endcall", Name::from("caller"), Some(parameters))?;
        Ok(Kind::CallBlock(body, function, arguments))
    }

    fn named_block(&mut self) -> Result<Kind> {
        let name = self.name()?;
        let is_scoped = self.skip_word("scoped");
        self.skip_word("required");
        let body = self.block(&["endblock"])?.0;
        self.skip_word(&name);
        Ok(Kind::Block(body, is_scoped))
    }
}
