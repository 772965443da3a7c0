//! What can be known of an expression before it is evaluated: that its names and functions are there, and that types which
//! are known fit. What is not known is [`Kind::Dyn`] and fits everywhere.

use crate::CompileError;
use crate::ast::{Each, Expr, Operator};
use crate::value::Value;

/// The type of a value, without what is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Dyn,
    Null,
    Bool,
    Int,
    Uint,
    Double,
    Text,
    Bytes,
    List,
    Map,
    Quantity,
    Version,
    Optional,
    Type,
    /// An object with these fields.
    Object(&'static [(&'static str, Kind)]),
    /// A map whose values are maps, and their values of this kind.
    Domains(Leaf),
    /// A map whose values are of this kind.
    Domain(Leaf),
}

/// What is at the end of a map of maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leaf {
    Dyn,
    Quantity,
}

impl Kind {
    /// The kind of a value.
    pub(crate) fn of(value: &Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(_) => Self::Bool,
            Value::Int(_) => Self::Int,
            Value::Uint(_) => Self::Uint,
            Value::Double(_) => Self::Double,
            Value::Text(_) => Self::Text,
            Value::Bytes(_) => Self::Bytes,
            Value::List(_) => Self::List,
            Value::Map(_) => Self::Map,
            Value::Quantity(_) => Self::Quantity,
            Value::Version(_) => Self::Version,
            Value::Optional(_) => Self::Optional,
            Value::Type(_) => Self::Type,
        }
    }

    /// Whether something of another kind may stand where one of this kind is wanted.
    pub(crate) fn admits(self, other: Self) -> bool {
        let plain = |kind: Self| if matches!(kind, Self::Domains(_) | Self::Domain(_)) { Self::Map } else { kind };
        let (this, other) = (plain(self), plain(other));
        this == Self::Dyn || other == Self::Dyn || this == other
    }

    /// cel-go's name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Dyn => "dyn",
            Self::Null => "null",
            Self::Bool => "bool",
            Self::Int => "int",
            Self::Uint => "uint",
            Self::Double => "double",
            Self::Text => "string",
            Self::Bytes => "bytes",
            Self::List => "list(dyn)",
            Self::Map | Self::Domain(Leaf::Dyn) => "map(string, any)",
            Self::Domain(Leaf::Quantity) => "map(string, kubernetes.Quantity)",
            Self::Domains(Leaf::Dyn) => "map(string, map(string, any))",
            Self::Domains(Leaf::Quantity) => "map(string, map(string, kubernetes.Quantity))",
            Self::Quantity => "kubernetes.Quantity",
            Self::Version => "kubernetes.Semver",
            Self::Optional => "optional_type(dyn)",
            Self::Type => "type",
            Self::Object(_) => "kubernetes.DRADevice",
        }
    }

    /// The kind of one of its fields or elements.
    fn inner(self, field: Option<&str>) -> Result<Self, CompileError> {
        Ok(match self {
            Self::Dyn | Self::Map | Self::List => Self::Dyn,
            Self::Domains(leaf) => Self::Domain(leaf),
            Self::Domain(Leaf::Quantity) => Self::Quantity,
            Self::Domain(Leaf::Dyn) => Self::Dyn,
            // Of an optional's value, as an optional.
            Self::Optional => Self::Optional,
            Self::Object(fields) => match field {
                Some(name) => match fields.iter().find(|(known, _)| *known == name) {
                    Some((_, kind)) => *kind,
                    None => return meaning(format!("undefined field '{name}'")),
                },
                None => {
                    return meaning(format!("found no matching overload for '_[_]' applied to '({})'", self.name()));
                }
            },
            other => match field {
                Some(_) => return meaning(format!("type '{}' does not support field selection", other.name())),
                None => {
                    return meaning(format!("found no matching overload for '_[_]' applied to '({})'", other.name()));
                }
            },
        })
    }
}

fn meaning<T>(why: String) -> Result<T, CompileError> {
    Err(CompileError::Meaning(why))
}

/// The names in force.
pub(crate) struct Scope<'s> {
    name: &'s str,
    kind: Kind,
    outer: Option<&'s Scope<'s>>,
}

impl<'s> Scope<'s> {
    /// One name, inside of others.
    pub(crate) fn new(name: &'s str, kind: Kind, outer: Option<&'s Scope<'s>>) -> Self {
        Self { name, kind, outer }
    }

    fn find(&self, name: &str) -> Option<Kind> {
        if self.name == name { Some(self.kind) } else { self.outer?.find(name) }
    }
}

/// What an expression gives.
///
/// # Errors
/// Where it can give nothing.
pub(crate) fn kind_of(expr: &Expr, scope: &Scope<'_>) -> Result<Kind, CompileError> {
    Ok(match expr {
        Expr::Literal(value) => Kind::of(value),
        Expr::Name(name) => match scope.find(name) {
            Some(kind) => kind,
            None if is_type(name) => Kind::Type,
            None => return meaning(format!("undeclared reference to '{name}' (in container '')")),
        },
        Expr::Select { operand, field, optional } => {
            let inner = kind_of(operand, scope)?.inner(Some(field))?;
            if *optional { Kind::Optional } else { inner }
        }
        Expr::Has { operand, field } => {
            kind_of(operand, scope)?.inner(Some(field))?;
            Kind::Bool
        }
        Expr::Index { operand, key, optional } => {
            let operand = kind_of(operand, scope)?;
            let key = kind_of(key, scope)?;
            if matches!(operand, Kind::Domains(_) | Kind::Domain(_)) && !Kind::Text.admits(key) {
                return no_overload("_[_]", &[operand, key]);
            }
            let inner = operand.inner(None)?;
            if *optional { Kind::Optional } else { inner }
        }
        Expr::Call { name, function, arguments } => {
            let kinds = arguments.iter().map(|argument| kind_of(argument, scope)).collect::<Result<Vec<_>, _>>();
            let Some(function) = function else {
                return meaning(format!("undeclared reference to '{name}' (in container '')"));
            };
            let kinds = kinds?;
            match function.gives(&kinds) {
                Some(kind) => kind,
                None => return no_overload(name, &kinds),
            }
        }
        Expr::List(items) => {
            items.iter().try_for_each(|(_, item)| kind_of(item, scope).map(drop))?;
            Kind::List
        }
        Expr::Map(entries) => {
            for (_, key, value) in entries {
                kind_of(key, scope)?;
                kind_of(value, scope)?;
            }
            Kind::Map
        }
        Expr::Not(operand) => match kind_of(operand, scope)? {
            Kind::Bool | Kind::Dyn => Kind::Bool,
            other => return no_overload("!_", &[other]),
        },
        Expr::Negate(operand) => match kind_of(operand, scope)? {
            kind @ (Kind::Int | Kind::Double | Kind::Dyn) => kind,
            other => return no_overload("-_", &[other]),
        },
        Expr::And(parts) | Expr::Or(parts) => {
            for part in parts {
                let kind = kind_of(part, scope)?;
                if !Kind::Bool.admits(kind) {
                    let name = if matches!(expr, Expr::And(_)) { "_&&_" } else { "_||_" };
                    return no_overload(name, &[kind]);
                }
            }
            Kind::Bool
        }
        Expr::Binary(operator, left, right) => binary(*operator, kind_of(left, scope)?, kind_of(right, scope)?)?,
        Expr::Choose(parts) => {
            let [condition, this, that] = &**parts;
            let condition = kind_of(condition, scope)?;
            if !Kind::Bool.admits(condition) {
                return no_overload("_?_:_", &[condition]);
            }
            let (this, that) = (kind_of(this, scope)?, kind_of(that, scope)?);
            if !this.admits(that) {
                return no_overload("_?_:_", &[condition, this, that]);
            }
            if this == that { this } else { Kind::Dyn }
        }
        Expr::Each { kind, range, variable, filter, body } => {
            let element = match kind_of(range, scope)? {
                Kind::Domains(_) | Kind::Domain(_) => Kind::Text,
                Kind::Dyn | Kind::List | Kind::Map => Kind::Dyn,
                other => {
                    let name = other.name();
                    return meaning(format!(
                        "expression of type '{name}' cannot be range of a comprehension (must be list, map, or dynamic)"
                    ));
                }
            };
            let inner = Scope::new(variable, element, Some(scope));
            let conditions = filter.iter().chain((*kind != Each::Map).then_some(body));
            for condition in conditions {
                let found = kind_of(condition, &inner)?;
                if !Kind::Bool.admits(found) {
                    return no_overload("_?_:_", &[found]);
                }
            }
            kind_of(body, &inner)?;
            match kind {
                Each::Map | Each::Filter => Kind::List,
                Each::All | Each::Exists | Each::ExistsOne => Kind::Bool,
            }
        }
        Expr::Bind { name, value, body } => kind_of(body, &Scope::new(name, kind_of(value, scope)?, Some(scope)))?,
        Expr::OptionalMap { operand, name, body, .. } => {
            let operand = kind_of(operand, scope)?;
            if !Kind::Optional.admits(operand) {
                return no_overload("optMap", &[operand]);
            }
            kind_of(body, &Scope::new(name, Kind::Dyn, Some(scope)))?;
            Kind::Optional
        }
    })
}

fn no_overload(name: &str, kinds: &[Kind]) -> Result<Kind, CompileError> {
    let kinds: Vec<&str> = kinds.iter().map(|kind| kind.name()).collect();
    meaning(format!("found no matching overload for '{name}' applied to '({})'", kinds.join(", ")))
}

fn binary(operator: Operator, left: Kind, right: Kind) -> Result<Kind, CompileError> {
    use Kind::{Bool, Bytes, Double, Dyn, Int, List, Map, Null, Text, Uint};
    let number = |kind: Kind| matches!(kind, Int | Uint | Double | Dyn);
    let wrong = || no_overload(operator.name(), &[left, right]);
    match operator {
        Operator::Equal | Operator::NotEqual => {
            let nullable = left == Null || right == Null;
            if left.admits(right) || nullable { Ok(Bool) } else { wrong() }
        }
        Operator::Less | Operator::LessOrEqual | Operator::Greater | Operator::GreaterOrEqual => {
            let ordered = |kind: Kind| number(kind) || matches!(kind, Bool | Text | Bytes);
            let fit = left.admits(right) || number(left) && number(right);
            if fit && ordered(left) && ordered(right) { Ok(Bool) } else { wrong() }
        }
        Operator::In => {
            if List.admits(right) || Map.admits(right) {
                Ok(Bool)
            } else {
                wrong()
            }
        }
        Operator::Add => match (left, right) {
            (Dyn, _) => Ok(if number(right) { Dyn } else { right }),
            (_, Dyn) => Ok(left),
            (Int | Uint | Double | Text | Bytes | List, _) if left == right => Ok(left),
            _ => wrong(),
        },
        Operator::Subtract | Operator::Multiply | Operator::Divide | Operator::Remainder => {
            let fit = number(left) && number(right) && left.admits(right);
            let whole = operator != Operator::Remainder || left != Double && right != Double;
            if fit && whole { Ok(if left == Dyn { right } else { left }) } else { wrong() }
        }
    }
}

/// Whether a name stands for a type.
pub(crate) fn is_type(name: &str) -> bool {
    type_named(name).is_some()
}

/// The type of a name.
pub(crate) fn type_named(name: &str) -> Option<&'static str> {
    const TYPES: &[&str] = &["bool", "int", "uint", "double", "string", "bytes", "list", "map", "null_type", "type"];
    TYPES.iter().find(|known| **known == name).copied()
}
