//! What an expression is made of, macros already expanded. Never deeper than [`DEPTH_MAX`]: everything that walks a tree
//! may recurse.

use crate::functions::Function;
use crate::value::Value;

/// How deep an expression may nest (cel-go's `maxRecursionDepth`).
pub(crate) const DEPTH_MAX: usize = 250;

/// An expression.
#[derive(Clone, Debug)]
pub(crate) enum Expr {
    Literal(Value),
    /// A variable: of the environment, or bound by a macro.
    Name(Box<str>),
    /// `operand.field`, or `operand.?field`.
    Select {
        operand: Box<Expr>,
        field: Box<str>,
        optional: bool,
    },
    /// `has(operand.field)`.
    Has {
        operand: Box<Expr>,
        field: Box<str>,
    },
    /// `operand[key]`, or `operand[?key]`.
    Index {
        operand: Box<Expr>,
        key: Box<Expr>,
        optional: bool,
    },
    /// A function by name, with the target of a method call first among the arguments.
    Call {
        name: Box<str>,
        function: Option<Function>,
        arguments: Vec<Expr>,
    },
    List(Vec<(bool, Expr)>),
    Map(Vec<(bool, Expr, Expr)>),
    Not(Box<Expr>),
    Negate(Box<Expr>),
    /// All of them; a false one decides even if others fail.
    And(Vec<Expr>),
    /// Any of them; a true one decides even if others fail.
    Or(Vec<Expr>),
    Binary(Operator, Box<Expr>, Box<Expr>),
    Choose(Box<[Expr; 3]>),
    /// A macro over a list or the keys of a map.
    Each {
        kind: Each,
        range: Box<Expr>,
        variable: Box<str>,
        filter: Option<Box<Expr>>,
        body: Box<Expr>,
    },
    /// `cel.bind(name, value, body)`.
    Bind {
        name: Box<str>,
        value: Box<Expr>,
        body: Box<Expr>,
    },
    /// `optional.optMap(name, body)` (`flat`: `optFlatMap`).
    OptionalMap {
        operand: Box<Expr>,
        name: Box<str>,
        body: Box<Expr>,
        flat: bool,
    },
}

/// The macros that look at each element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Each {
    All,
    Exists,
    ExistsOne,
    Map,
    Filter,
}

/// The operators with two sides that are asked for their values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    In,
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

impl Operator {
    /// cel-go's name of the function.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Equal => "_==_",
            Self::NotEqual => "_!=_",
            Self::Less => "_<_",
            Self::LessOrEqual => "_<=_",
            Self::Greater => "_>_",
            Self::GreaterOrEqual => "_>=_",
            Self::In => "@in",
            Self::Add => "_+_",
            Self::Subtract => "_-_",
            Self::Multiply => "_*_",
            Self::Divide => "_/_",
            Self::Remainder => "_%_",
        }
    }
}
