//! The syntax tree of a template.

use std::sync::Arc;

/// A name of a variable, an attribute, a filter.
pub(super) type Name = Arc<str>;

/// A constant as the template spells it.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Literal {
    None,
    Bool(bool),
    Int(i128),
    Float(f64),
    Text(Arc<str>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BinaryOp {
    Add,
    Sub,
    Mul,
    Div,
    FloorDiv,
    Mod,
    Pow,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CompareOp {
    Eq,
    Ne,
    Less,
    LessEq,
    Greater,
    GreaterEq,
    In,
    NotIn,
}

#[derive(Debug)]
pub(super) enum Expr {
    Literal(Literal),
    Name(Name),
    Tuple(Vec<Expr>),
    List(Vec<Expr>),
    Dict(Vec<(Expr, Expr)>),
    Negative(Box<Expr>),
    Positive(Box<Expr>),
    Not(Box<Expr>),
    And(Box<Expr>, Box<Expr>),
    Or(Box<Expr>, Box<Expr>),
    Binary(BinaryOp, Box<Expr>, Box<Expr>),
    /// `a ~ b ~ c`
    Concat(Vec<Expr>),
    /// `a < b <= c`
    Compare(Box<Expr>, Vec<(CompareOp, Expr)>),
    /// `a if test else b`
    Condition {
        test: Box<Expr>,
        then: Box<Expr>,
        otherwise: Option<Box<Expr>>,
    },
    /// `a.name`
    Attribute(Box<Expr>, Name),
    /// `a[item]`
    Item(Box<Expr>, Box<Expr>),
    /// `a[start:stop:step]`
    Slice(Box<Expr>, Box<[Option<Expr>; 3]>),
    Call(Box<Expr>, Arguments),
    Filter(Box<Expr>, Name, Arguments),
    Test(Box<Expr>, Name, Arguments),
    /// The text that a `filter` or `set` block has captured.
    Captured,
}

/// The arguments of a call.
#[derive(Debug, Default)]
pub(super) struct Arguments {
    pub(super) positional: Vec<Expr>,
    pub(super) named: Vec<(Name, Expr)>,
    /// `*list`
    pub(super) more_positional: Option<Box<Expr>>,
    /// `**mapping`
    pub(super) more_named: Option<Box<Expr>>,
}

/// Where a value goes.
#[derive(Debug)]
pub(super) enum Target {
    Name(Name),
    /// `namespace.attribute`
    Attribute(Name, Name),
    Tuple(Vec<Target>),
}

/// A statement and the line on which it starts.
#[derive(Debug)]
pub(super) struct Statement {
    pub(super) line: usize,
    pub(super) kind: Kind,
}

pub(super) type Body = Vec<Statement>;

#[derive(Debug)]
pub(super) enum Kind {
    Text(String),
    Print(Expr),
    /// Tests with their bodies, and the body of `else`.
    If(Vec<(Expr, Body)>, Body),
    For(Arc<Loop>),
    Set(Target, Expr),
    /// Captures its body; the expression makes the value of `Captured`.
    SetBlock(Target, Expr, Body),
    FilterBlock(Expr, Body),
    With(Vec<(Target, Expr)>, Body),
    Macro(Arc<Macro>),
    /// `call(arguments) expression`: the macro is handed over as `caller`.
    CallBlock(Arc<Macro>, Box<Expr>, Arguments),
    AutoEscape(Expr, Body),
    /// A block that another template could replace; the second field says whether it sees inner
    /// variables.
    Block(Body, bool),
    /// `{% generation %}`: its body in a scope.
    Generation(Body),
    Break,
    Continue,
    /// `include`, `import`, `from` and `extends`: a chat template stands alone.
    OtherTemplate(&'static str),
}

#[derive(Debug)]
pub(super) struct Loop {
    pub(super) target: Target,
    pub(super) items: Expr,
    pub(super) filter: Option<Expr>,
    pub(super) is_recursive: bool,
    pub(super) body: Body,
    pub(super) otherwise: Body,
}

#[derive(Debug)]
pub(super) struct Macro {
    pub(super) name: Name,
    /// Parameters, the last ones with their defaults.
    pub(super) parameters: Vec<(Name, Option<Expr>)>,
    pub(super) body: Body,
    /// Whether the body reads `caller`, `varargs` and `kwargs`; a macro that does not is not given
    /// them.
    pub(super) reads: Specials,
}

#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Specials {
    pub(super) caller: bool,
    pub(super) varargs: bool,
    pub(super) kwargs: bool,
}
