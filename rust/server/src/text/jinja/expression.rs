//! Parses tokens into expressions, loosest operator first.

use super::ast::{Arguments, BinaryOp, CompareOp, Expr, Literal, Name};
use super::error::{Result, fail};
use super::lexer::TokenKind;
use super::parser::{MAX_CHAIN, Parser};

impl Parser {
    /// `a if test else b`, or less.
    pub(super) fn expression(&mut self) -> Result<Expr> {
        self.deeper(|parser| {
            let mut value = parser.disjunction()?;
            while parser.skip_word("if") {
                parser.link()?;
                let test = Box::new(parser.disjunction()?);
                let otherwise =
                    if parser.skip_word("else") { Some(Box::new(parser.expression()?)) } else { None };
                value = Expr::Condition { test, then: Box::new(value), otherwise };
            }
            Ok(value)
        })
    }

    /// Parses an expression, or several with commas between: a tuple without brackets. A loop's
    /// items may not end in a condition.
    pub(super) fn tuple(&mut self, with_condition: bool, ends: &[&str]) -> Result<Expr> {
        let (mut items, mut is_tuple) = (Vec::new(), false);
        loop {
            let at_end = matches!(self.peek(), TokenKind::PrintEnd | TokenKind::TagEnd)
                || self.is_operator(")")
                || ends.iter().any(|end| self.is_word(end));
            if is_tuple && at_end {
                break;
            }
            items.push(if with_condition { self.expression()? } else { self.deeper(Self::disjunction)? });
            if !self.skip_operator(",") {
                break;
            }
            is_tuple = true;
        }
        match items.pop() {
            Some(item) if !is_tuple => Ok(item),
            last => {
                items.extend(last);
                Ok(Expr::Tuple(items))
            }
        }
    }

    fn disjunction(&mut self) -> Result<Expr> {
        let mut left = self.conjunction()?;
        while self.skip_word("or") {
            self.link()?;
            left = Expr::Or(Box::new(left), Box::new(self.conjunction()?));
        }
        Ok(left)
    }

    fn conjunction(&mut self) -> Result<Expr> {
        let mut left = self.negation()?;
        while self.skip_word("and") {
            self.link()?;
            left = Expr::And(Box::new(left), Box::new(self.negation()?));
        }
        Ok(left)
    }

    fn negation(&mut self) -> Result<Expr> {
        if self.skip_word("not") {
            return self.deeper(|parser| Ok(Expr::Not(Box::new(parser.negation()?))));
        }
        self.comparison()
    }

    fn comparison(&mut self) -> Result<Expr> {
        let first = self.sum()?;
        let mut rest = Vec::new();
        loop {
            let operator = match self.peek() {
                TokenKind::Operator("==") => CompareOp::Eq,
                TokenKind::Operator("!=") => CompareOp::Ne,
                TokenKind::Operator("<") => CompareOp::Less,
                TokenKind::Operator("<=") => CompareOp::LessEq,
                TokenKind::Operator(">") => CompareOp::Greater,
                TokenKind::Operator(">=") => CompareOp::GreaterEq,
                TokenKind::Word(word) if word == "in" => CompareOp::In,
                TokenKind::Word(word)
                    if word == "not" && *self.peek_second() == TokenKind::Word("in".to_owned()) =>
                {
                    self.next();
                    CompareOp::NotIn
                }
                _ => break,
            };
            self.next();
            rest.push((operator, self.sum()?));
        }
        Ok(if rest.is_empty() { first } else { Expr::Compare(Box::new(first), rest) })
    }

    fn sum(&mut self) -> Result<Expr> {
        self.binary(&[("+", BinaryOp::Add), ("-", BinaryOp::Sub)], Self::concatenation)
    }

    fn concatenation(&mut self) -> Result<Expr> {
        let first = self.product()?;
        if !self.is_operator("~") {
            return Ok(first);
        }
        let mut parts = vec![first];
        while self.skip_operator("~") {
            parts.push(self.product()?);
        }
        Ok(Expr::Concat(parts))
    }

    fn product(&mut self) -> Result<Expr> {
        let operators =
            [("*", BinaryOp::Mul), ("//", BinaryOp::FloorDiv), ("/", BinaryOp::Div), ("%", BinaryOp::Mod)];
        self.binary(&operators, Self::power)
    }

    /// Parses a power; unlike in Python, `2 ** 3 ** 2` is left-associative.
    fn power(&mut self) -> Result<Expr> {
        self.binary(&[("**", BinaryOp::Pow)], |parser| parser.unary(true))
    }

    fn binary(
        &mut self,
        operators: &[(&str, BinaryOp)],
        operand: fn(&mut Self) -> Result<Expr>,
    ) -> Result<Expr> {
        let (mut left, mut len) = (operand(self)?, 0);
        while let Some((sign, operator)) = operators.iter().find(|(sign, _)| self.is_operator(sign)) {
            self.expect_operator(sign)?;
            len += 1;
            self.link()?;
            if len > MAX_CHAIN {
                return fail(format!(
                    "more than {MAX_CHAIN} operators follow each other, use `~` or brackets"
                ));
            }
            left = Expr::Binary(*operator, Box::new(left), Box::new(operand(self)?));
        }
        Ok(left)
    }

    /// Parses a sign, which binds closer than a filter: `-1 | abs` is 1.
    fn unary(&mut self, with_filters: bool) -> Result<Expr> {
        let operand = |parser: &mut Self| Ok(Box::new(parser.deeper(|parser| parser.unary(false))?));
        let value = if self.skip_operator("-") {
            Expr::Negative(operand(self)?)
        } else if self.skip_operator("+") {
            Expr::Positive(operand(self)?)
        } else {
            self.primary()?
        };
        let value = self.postfix(value)?;
        if with_filters { self.filters_and_tests(value) } else { Ok(value) }
    }

    fn primary(&mut self) -> Result<Expr> {
        let literal = match self.peek().clone() {
            TokenKind::Word(word) => {
                self.next();
                return Ok(match word.as_str() {
                    "true" | "True" => Expr::Literal(Literal::Bool(true)),
                    "false" | "False" => Expr::Literal(Literal::Bool(false)),
                    "none" | "None" => Expr::Literal(Literal::None),
                    _ => Expr::Name(word.into()),
                });
            }
            TokenKind::Text(mut text) => {
                self.next();
                while let TokenKind::Text(more) = self.peek() {
                    text.push_str(more);
                    self.next();
                }
                return Ok(Expr::Literal(Literal::Text(text.into())));
            }
            TokenKind::Int(number) => Literal::Int(number),
            TokenKind::Float(number) => Literal::Float(number),
            TokenKind::Operator("(") => return self.parenthesis(),
            TokenKind::Operator("[") => {
                self.next();
                return Ok(Expr::List(self.items("]", Self::expression)?));
            }
            TokenKind::Operator("{") => {
                self.next();
                return Ok(Expr::Dict(self.items("}", |parser| {
                    let key = parser.expression()?;
                    parser.expect_operator(":")?;
                    Ok((key, parser.expression()?))
                })?));
            }
            _ => return self.unexpected("an expression"),
        };
        self.next();
        Ok(Expr::Literal(literal))
    }

    fn parenthesis(&mut self) -> Result<Expr> {
        self.next();
        if self.skip_operator(")") {
            return Ok(Expr::Tuple(Vec::new()));
        }
        let inner = self.tuple(true, &[])?;
        self.expect_operator(")")?;
        Ok(inner)
    }

    /// Parses items with commas between them up to a bracket, which may follow a comma.
    fn items<T>(&mut self, end: &str, item: fn(&mut Self) -> Result<T>) -> Result<Vec<T>> {
        let mut items = Vec::new();
        while !self.skip_operator(end) {
            if !items.is_empty() {
                self.expect_operator(",")?;
                if self.skip_operator(end) {
                    break;
                }
            }
            items.push(item(self)?);
        }
        Ok(items)
    }

    /// Parses attributes, items and calls.
    fn postfix(&mut self, mut value: Expr) -> Result<Expr> {
        loop {
            if self.skip_operator(".") {
                self.link()?;
                value = match self.next() {
                    TokenKind::Word(name) => Expr::Attribute(Box::new(value), name.into()),
                    TokenKind::Int(index) => {
                        Expr::Item(Box::new(value), Box::new(Expr::Literal(Literal::Int(index))))
                    }
                    _ => return fail("expected a name or a number behind `.`"),
                };
            } else if self.skip_operator("[") {
                self.link()?;
                value = self.subscript(value)?;
            } else if self.is_operator("(") {
                self.link()?;
                value = Expr::Call(Box::new(value), self.arguments()?);
            } else {
                return Ok(value);
            }
        }
    }

    fn subscript(&mut self, value: Expr) -> Result<Expr> {
        let start = if self.is_operator(":") { None } else { Some(self.expression()?) };
        if self.skip_operator(":") {
            let part = |parser: &mut Self| -> Result<Option<Expr>> {
                let is_absent = parser.is_operator(":") || parser.is_operator("]");
                if is_absent { Ok(None) } else { parser.expression().map(Some) }
            };
            let stop = part(self)?;
            let step = if self.skip_operator(":") { part(self)? } else { None };
            self.expect_operator("]")?;
            return Ok(Expr::Slice(Box::new(value), Box::new([start, stop, step])));
        }
        let Some(first) = start else { return self.unexpected("an index") };
        if self.skip_operator("]") {
            return Ok(Expr::Item(Box::new(value), Box::new(first)));
        }
        let mut keys = vec![first];
        while !self.skip_operator("]") {
            self.expect_operator(",")?;
            keys.push(self.expression()?);
        }
        Ok(Expr::Item(Box::new(value), Box::new(Expr::Tuple(keys))))
    }

    fn filters_and_tests(&mut self, mut value: Expr) -> Result<Expr> {
        loop {
            if self.skip_operator("|") {
                self.link()?;
                let (name, arguments) = self.filter_call()?;
                value = Expr::Filter(Box::new(value), name, arguments);
            } else if self.skip_word("is") {
                self.link()?;
                value = self.test(value)?;
            } else if self.is_operator("(") {
                self.link()?;
                value = Expr::Call(Box::new(value), self.arguments()?);
            } else {
                return Ok(value);
            }
        }
    }

    /// `is not name argument`; the argument of a test may stand without brackets.
    fn test(&mut self, value: Expr) -> Result<Expr> {
        let is_negated = self.skip_word("not");
        let name: Name = self.dotted_name()?;
        let arguments = match self.peek() {
            TokenKind::Operator("(") => self.arguments()?,
            TokenKind::Word(word) if word == "is" => return fail("tests cannot be chained with `is`"),
            TokenKind::Word(word) if matches!(word.as_str(), "else" | "or" | "and") => Arguments::default(),
            TokenKind::Word(_)
            | TokenKind::Text(_)
            | TokenKind::Int(_)
            | TokenKind::Float(_)
            | TokenKind::Operator("[" | "{") => {
                let argument = self.primary()?;
                Arguments { positional: vec![self.postfix(argument)?], ..Arguments::default() }
            }
            _ => Arguments::default(),
        };
        let test = Expr::Test(Box::new(value), name, arguments);
        Ok(if is_negated { Expr::Not(Box::new(test)) } else { test })
    }

    /// `(a, *b, name=c, **d)`
    pub(super) fn arguments(&mut self) -> Result<Arguments> {
        const WRONG_ORDER: &str = "the arguments of a call stand in a wrong order";
        self.expect_operator("(")?;
        let mut arguments = Arguments::default();
        let mut is_first = true;
        while !self.skip_operator(")") {
            if !is_first {
                self.expect_operator(",")?;
                if self.skip_operator(")") {
                    break;
                }
            }
            is_first = false;
            let is_named =
                matches!(self.peek(), TokenKind::Word(_)) && *self.peek_second() == TokenKind::Operator("=");
            if arguments.more_named.is_some() {
                return fail(WRONG_ORDER);
            } else if self.skip_operator("**") {
                arguments.more_named = Some(Box::new(self.expression()?));
            } else if is_named {
                let name = self.name()?;
                self.expect_operator("=")?;
                arguments.named.push((name, self.expression()?));
            } else if arguments.more_positional.is_some() {
                return fail(WRONG_ORDER);
            } else if self.skip_operator("*") {
                arguments.more_positional = Some(Box::new(self.expression()?));
            } else if arguments.named.is_empty() {
                arguments.positional.push(self.expression()?);
            } else {
                return fail(WRONG_ORDER);
            }
        }
        Ok(arguments)
    }
}
