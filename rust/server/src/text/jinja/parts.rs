//! Parts of tags: targets, and filters without a value in front.

use super::ast::{Arguments, Expr, Name, Target};
use super::error::{Result, fail};
use super::lexer::TokenKind;
use super::parser::Parser;

impl Parser {
    pub(super) fn variable_name(&mut self) -> Result<Name> {
        let name = self.name()?;
        match &*name {
            "true" | "false" | "none" | "True" | "False" | "None" => {
                fail(format!("cannot assign to `{name}`"))
            }
            _ => Ok(name),
        }
    }

    /// Parses a target: a name, an attribute of a namespace, or several.
    pub(super) fn target(&mut self, with_attributes: bool, ends: &[&str]) -> Result<Target> {
        let (mut targets, mut is_tuple) = (Vec::new(), false);
        loop {
            let is_end = ends.iter().any(|end| self.is_word(end)) || self.is_operator("=");
            if is_tuple && (is_end || matches!(self.peek(), TokenKind::TagEnd)) {
                break;
            }
            targets.push(if self.skip_operator("(") {
                let inner = self.deeper(|parser| parser.target(with_attributes, &[]))?;
                self.expect_operator(")")?;
                inner
            } else {
                let name = self.variable_name()?;
                if with_attributes && self.skip_operator(".") {
                    Target::Attribute(name, self.name()?)
                } else {
                    Target::Name(name)
                }
            });
            if !self.skip_operator(",") {
                break;
            }
            is_tuple = true;
            if self.is_operator(")") {
                break;
            }
        }
        match targets.pop() {
            Some(target) if !is_tuple => Ok(target),
            last => {
                targets.extend(last);
                Ok(Target::Tuple(targets))
            }
        }
    }

    /// Parses filters behind `input`; the first without its bar if a tag begins with it.
    pub(super) fn filter_chain(&mut self, input: Expr, starts_inline: bool) -> Result<Expr> {
        let (mut value, mut is_inline) = (input, starts_inline);
        while is_inline || self.skip_operator("|") {
            is_inline = false;
            let (name, arguments) = self.filter_call()?;
            value = Expr::Filter(Box::new(value), name, arguments);
        }
        Ok(value)
    }

    /// Parses a filter's or test's name, which may contain dots, and its arguments.
    pub(super) fn filter_call(&mut self) -> Result<(Name, Arguments)> {
        let name = self.dotted_name()?;
        let arguments = if self.is_operator("(") { self.arguments()? } else { Arguments::default() };
        Ok((name, arguments))
    }

    pub(super) fn dotted_name(&mut self) -> Result<Name> {
        let mut name = self.name()?.to_string();
        while self.skip_operator(".") {
            name = format!("{name}.{}", self.name()?);
        }
        Ok(name.into())
    }
}
