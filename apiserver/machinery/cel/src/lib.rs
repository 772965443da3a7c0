//! gantry-cel is the Common Expression Language (cel.dev) as Kubernetes uses it: pure, no I/O, and bounded: in the depth of
//! an expression, and in what evaluating it may cost.
//!
//! ```text
//! text ─ lexer ─ parser ─→ Expr ─ check (names, types as far as they are known) ─→ evaluate(variables, budget) ─→ Value
//!                                   functions: one table for both               device: what selectors of devices see
//! ```
//! The API server checks expressions with it when they are stored, the scheduler core evaluates the selectors of devices;
//! both mean the same by an expression. It is written here and not taken from a crate because the users of a cluster
//! write these expressions and the scheduler's own thread evaluates them: `cel` 0.15 can neither stop an evaluation that
//! costs too much nor bound how deep it recurses.
//!
//! Left out of Kubernetes' libraries: addresses (`ip`, `cidr`), `url`, `format`, durations and timestamps, `authorizer`.
//! An expression for a selector that calls them is refused, by name.

mod ast;
mod check;
pub mod device;
mod evaluate;
mod functions;
mod lexer;
mod parser;
pub mod quantity;
pub mod semver;
mod value;

use ast::Expr;
pub use parser::is_identifier;

/// Why a text is no expression, or not one that makes sense here; the words after cel-go's `compilation failed: `.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompileError {
    /// It does not parse.
    #[error("compilation failed: ERROR: <input>:{line}:{column}: Syntax error: {why}")]
    Syntax {
        /// Counted from 1.
        line: usize,
        /// Characters from the start of the line, counted from 1.
        column: usize,
        /// What is wrong.
        why: String,
    },
    /// It names or combines what cannot be.
    #[error("compilation failed: ERROR: <input>: {0}")]
    Meaning(String),
    /// It gives something else than it must.
    #[error("must evaluate to bool or the unknown type, not {0}")]
    Result(&'static str),
}

/// Why an evaluation gave nothing; the words are cel-go's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EvaluateError {
    /// The map has no such key.
    #[error("no such key: {0}")]
    NoSuchKey(String),
    /// It cost more than allowed.
    #[error("operation cancelled: actual cost limit exceeded")]
    TooExpensive,
    /// Anything else.
    #[error("{0}")]
    Failed(String),
}

/// Whether a text is an expression, whatever its names mean.
///
/// # Errors
/// Where it does not parse.
pub fn parse(text: &str) -> Result<(), CompileError> {
    parser::parse(text).map(drop)
}

/// An expression that parsed.
#[derive(Debug)]
struct Parsed {
    root: Expr,
}
