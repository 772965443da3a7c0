//! The value of an expression. Every step is paid for from a budget, so that what users write ends.

use std::sync::Arc;

use crate::ast::{Each, Expr, Operator};
use crate::check::type_named;
use crate::functions::no_overload;
use crate::value::{Map, Value};
use crate::{EvaluateError, Parsed};

type Evaluated = Result<Value, EvaluateError>;

/// The variables in force.
#[derive(Clone, Copy)]
pub(crate) struct Variables<'v> {
    name: &'v str,
    value: &'v Value,
    outer: Option<&'v Variables<'v>>,
}

impl<'v> Variables<'v> {
    /// One variable, inside of others.
    pub(crate) fn new(name: &'v str, value: &'v Value, outer: Option<&'v Self>) -> Self {
        Self { name, value, outer }
    }

    fn find(&self, name: &str) -> Option<&'v Value> {
        if self.name == name { Some(self.value) } else { self.outer?.find(name) }
    }
}

impl Parsed {
    /// The value of the expression.
    ///
    /// # Errors
    /// Where it has none, or costs more than `budget`.
    pub(crate) fn evaluate(&self, variables: &Variables<'_>, budget: u64) -> Evaluated {
        Evaluation { budget }.value(&self.root, variables)
    }
}

struct Evaluation {
    budget: u64,
}

fn failed<T>(why: impl Into<String>) -> Result<T, EvaluateError> {
    Err(EvaluateError::Failed(why.into()))
}

impl Evaluation {
    fn pay(&mut self, cost: u64) -> Result<(), EvaluateError> {
        self.budget = self.budget.checked_sub(cost).ok_or(EvaluateError::TooExpensive)?;
        Ok(())
    }

    fn value(&mut self, expr: &Expr, variables: &Variables<'_>) -> Evaluated {
        self.pay(1)?;
        match expr {
            Expr::Literal(value) => Ok(value.clone()),
            Expr::Name(name) => match variables.find(name) {
                Some(value) => Ok(value.clone()),
                None => match type_named(name) {
                    Some(name) => Ok(Value::Type(name)),
                    None => failed(format!("no such attribute(s): {name}")),
                },
            },
            Expr::Select { operand, field, optional } => {
                let operand = self.value(operand, variables)?;
                select(&operand, &Value::text(field), *optional)
            }
            Expr::Has { operand, field } => match self.value(operand, variables)? {
                Value::Map(map) => Ok(Value::Bool(map.field(field).is_some())),
                other => Err(no_overload("has", &[other])),
            },
            Expr::Index { operand, key, optional } => {
                let operand = self.value(operand, variables)?;
                let key = self.value(key, variables)?;
                select(&operand, &key, *optional)
            }
            Expr::Call { name, function, arguments } => {
                let Some(function) = function else { return failed(format!("no such overload: {name}")) };
                let mut values = Vec::with_capacity(arguments.len());
                for argument in arguments {
                    values.push(self.value(argument, variables)?);
                }
                self.pay(function.costs(&values))?;
                function.call(name, &values)
            }
            Expr::List(items) => {
                let mut values = Vec::with_capacity(items.len());
                for (optional, item) in items {
                    match (optional, self.value(item, variables)?) {
                        (true, Value::Optional(value)) => values.extend(value.as_deref().cloned()),
                        (_, value) => values.push(value),
                    }
                }
                Ok(Value::list(values))
            }
            Expr::Map(entries) => self.map(entries, variables),
            Expr::Not(operand) => match self.value(operand, variables)? {
                Value::Bool(is) => Ok(Value::Bool(!is)),
                other => Err(no_overload("!_", &[other])),
            },
            Expr::Negate(operand) => match self.value(operand, variables)? {
                Value::Int(n) => n.checked_neg().map_or_else(|| failed("integer overflow"), |n| Ok(Value::Int(n))),
                Value::Double(n) => Ok(Value::Double(-n)),
                other => Err(no_overload("-_", &[other])),
            },
            Expr::And(parts) => self.decide(parts.iter(), false, |me, part| me.value(part, variables)),
            Expr::Or(parts) => self.decide(parts.iter(), true, |me, part| me.value(part, variables)),
            Expr::Binary(operator, left, right) => {
                let (left, right) = (self.value(left, variables)?, self.value(right, variables)?);
                self.pay((left.size() + right.size()) as u64 / 10)?;
                binary(*operator, &left, &right)
            }
            Expr::Choose(parts) => {
                let [condition, this, that] = &**parts;
                match self.value(condition, variables)? {
                    Value::Bool(true) => self.value(this, variables),
                    Value::Bool(false) => self.value(that, variables),
                    other => Err(no_overload("_?_:_", &[other])),
                }
            }
            Expr::Each { kind, range, variable, filter, body } => {
                let range = self.value(range, variables)?;
                self.each(*kind, &range, variable, filter.as_deref(), body, variables)
            }
            Expr::Bind { name, value, body } => {
                let value = self.value(value, variables)?;
                self.value(body, &Variables::new(name, &value, Some(variables)))
            }
            Expr::OptionalMap { operand, name, body, flat } => match self.value(operand, variables)? {
                Value::Optional(None) => Ok(Value::Optional(None)),
                Value::Optional(Some(value)) => {
                    let mapped = self.value(body, &Variables::new(name, &value, Some(variables)))?;
                    Ok(if *flat { mapped } else { Value::Optional(Some(mapped.into())) })
                }
                other => Err(no_overload("optMap", &[other])),
            },
        }
    }

    fn map(&mut self, entries: &[(bool, Expr, Expr)], variables: &Variables<'_>) -> Evaluated {
        let mut map = Map::default();
        for (optional, key, value) in entries {
            let key = self.value(key, variables)?;
            if !matches!(key, Value::Bool(_) | Value::Int(_) | Value::Uint(_) | Value::Text(_)) {
                return failed(format!("unsupported key type: {}", key.kind()));
            }
            self.pay(map.entries.len() as u64 / 10)?;
            if map.find(&key).is_some() {
                return failed(format!("Failed with repeated key: {key}"));
            }
            match (optional, self.value(value, variables)?) {
                (true, Value::Optional(value)) => map.entries.extend(value.map(|value| (key, Value::clone(&value)))),
                (_, value) => map.entries.push((key, value)),
            }
        }
        Ok(Value::Map(Arc::new(map)))
    }

    /// `&&` and `||` over any number of parts: one that is `decisive` decides, whatever became of the others; without
    /// one, the first failure counts.
    fn decide<T>(
        &mut self,
        parts: impl Iterator<Item = T>,
        decisive: bool,
        mut value: impl FnMut(&mut Self, T) -> Evaluated,
    ) -> Evaluated {
        let mut failure = None;
        for part in parts {
            match value(self, part) {
                Ok(Value::Bool(is)) if is == decisive => return Ok(Value::Bool(is)),
                Ok(Value::Bool(_)) => {}
                Ok(other) => {
                    failure.get_or_insert(no_overload(if decisive { "_||_" } else { "_&&_" }, &[other]));
                }
                Err(EvaluateError::TooExpensive) => return Err(EvaluateError::TooExpensive),
                Err(why) => {
                    failure.get_or_insert(why);
                }
            }
        }
        failure.map_or(Ok(Value::Bool(!decisive)), Err)
    }

    fn each(
        &mut self,
        kind: Each,
        range: &Value,
        variable: &str,
        filter: Option<&Expr>,
        body: &Expr,
        variables: &Variables<'_>,
    ) -> Evaluated {
        let elements: Vec<&Value> = match range {
            Value::List(items) => items.iter().collect(),
            Value::Map(map) => map.entries.iter().map(|(key, _)| key).collect(),
            other => return Err(no_overload("@iterable", std::slice::from_ref(other))),
        };
        let with = |me: &mut Self, expr: &Expr, element: &Value| {
            me.value(expr, &Variables::new(variable, element, Some(variables)))
        };
        let holds = |me: &mut Self, expr: &Expr, element: &Value| match with(me, expr, element)? {
            Value::Bool(is) => Ok(is),
            other => Err(no_overload("_?_:_", &[other])),
        };
        match kind {
            Each::All => self.decide(elements.into_iter(), false, |me, element| with(me, body, element)),
            Each::Exists => self.decide(elements.into_iter(), true, |me, element| with(me, body, element)),
            Each::ExistsOne => {
                let mut found = 0;
                for element in elements {
                    found += usize::from(holds(self, body, element)?);
                }
                Ok(Value::Bool(found == 1))
            }
            Each::Filter => {
                let mut kept = Vec::new();
                for element in elements {
                    if holds(self, body, element)? {
                        kept.push(element.clone());
                    }
                }
                Ok(Value::list(kept))
            }
            Each::Map => {
                let mut made = Vec::new();
                for element in elements {
                    let wanted = match filter {
                        Some(filter) => holds(self, filter, element)?,
                        None => true,
                    };
                    if wanted {
                        made.push(with(self, body, element)?);
                    }
                }
                Ok(Value::list(made))
            }
        }
    }
}

/// `operand.key` and `operand[key]`.
fn select(operand: &Value, key: &Value, optional: bool) -> Evaluated {
    if let Value::Optional(inner) = operand {
        return match inner {
            None => Ok(Value::Optional(None)),
            Some(inner) => select(inner, key, true),
        };
    }
    let found = match (operand, key) {
        (Value::Map(map), key) => match map.get(key) {
            Some(value) => Ok(value.clone()),
            None => Err(EvaluateError::NoSuchKey(key.to_string())),
        },
        (Value::List(items), Value::Int(at)) => match usize::try_from(*at).ok().and_then(|at| items.get(at)) {
            Some(value) => Ok(value.clone()),
            None => failed(format!("index out of bounds: {at}")),
        },
        (operand, key) => return Err(no_overload("_[_]", &[operand.clone(), key.clone()])),
    };
    match (optional, found) {
        (true, found) => Ok(Value::Optional(found.ok().map(Arc::new))),
        (false, found) => found,
    }
}

fn binary(operator: Operator, left: &Value, right: &Value) -> Evaluated {
    let order = || left.compare(right).ok_or_else(|| no_overload(operator.name(), &[left.clone(), right.clone()]));
    Ok(Value::Bool(match operator {
        Operator::Equal => left.equals(right),
        Operator::NotEqual => !left.equals(right),
        Operator::Less => order()?.is_lt(),
        Operator::LessOrEqual => order()?.is_le(),
        Operator::Greater => order()?.is_gt(),
        Operator::GreaterOrEqual => order()?.is_ge(),
        Operator::In => match right {
            Value::List(items) => items.iter().any(|item| item.equals(left)),
            Value::Map(map) => map.find(left).is_some(),
            _ => return Err(no_overload(operator.name(), &[left.clone(), right.clone()])),
        },
        Operator::Add => return add(left, right),
        Operator::Subtract | Operator::Multiply | Operator::Divide | Operator::Remainder => {
            return calculate(operator, left, right);
        }
    }))
}

/// `left + right`.
pub(crate) fn add(left: &Value, right: &Value) -> Evaluated {
    match (left, right) {
        (Value::Text(a), Value::Text(b)) => Ok(Value::text(&[&**a, &**b].concat())),
        (Value::Bytes(a), Value::Bytes(b)) => Ok(Value::Bytes([&**a, &**b].concat().into())),
        (Value::List(a), Value::List(b)) => Ok(Value::list([&**a, &**b].concat())),
        (left, right) => calculate(Operator::Add, left, right),
    }
}

/// Arithmetic of whole numbers of one type; `None` beyond its bounds.
macro_rules! whole {
    ($operator:expr, $a:expr, $b:expr) => {
        match $operator {
            Operator::Add => $a.checked_add(*$b),
            Operator::Subtract => $a.checked_sub(*$b),
            Operator::Multiply => $a.checked_mul(*$b),
            Operator::Divide => $a.checked_div(*$b),
            _ => $a.checked_rem(*$b),
        }
    };
}

fn calculate(operator: Operator, left: &Value, right: &Value) -> Evaluated {
    let by_zero = || match operator {
        Operator::Remainder => failed("modulus by zero"),
        _ => failed("division by zero"),
    };
    match (left, right) {
        (Value::Int(_), Value::Int(0)) | (Value::Uint(_), Value::Uint(0))
            if matches!(operator, Operator::Divide | Operator::Remainder) =>
        {
            by_zero()
        }
        (Value::Int(a), Value::Int(b)) => match whole!(operator, a, b) {
            Some(n) => Ok(Value::Int(n)),
            None => failed("integer overflow"),
        },
        (Value::Uint(a), Value::Uint(b)) => match whole!(operator, a, b) {
            Some(n) => Ok(Value::Uint(n)),
            None => failed("unsigned integer overflow"),
        },
        (Value::Double(a), Value::Double(b)) if operator != Operator::Remainder => Ok(Value::Double(match operator {
            Operator::Add => a + b,
            Operator::Subtract => a - b,
            Operator::Multiply => a * b,
            _ => a / b,
        })),
        (left, right) => Err(no_overload(operator.name(), &[left.clone(), right.clone()])),
    }
}
