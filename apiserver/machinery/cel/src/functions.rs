//! The functions: CEL's own and those of Kubernetes' libraries (strings, lists, sets, quantities, versions, optionals), as
//! one table that both the check and the evaluation go by. A method's target is its first argument.

use std::fmt::Write as _;

use regex::RegexBuilder;

use crate::EvaluateError;
use crate::check::Kind;
use crate::quantity::Quantity;
use crate::semver::Version;
use crate::value::Value;

type Called = Result<Value, EvaluateError>;

/// One overload of a function.
pub(crate) struct Row {
    name: &'static str,
    method: bool,
    takes: &'static [Kind],
    gives: Kind,
    /// What a call costs besides one and a tenth of the size of its arguments.
    costs: u64,
    call: fn(&[Value]) -> Called,
}

/// All overloads of a function with one number of arguments: rows that stand together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Function {
    first: usize,
    rows: usize,
}

impl Function {
    /// A function by name, as a method or not, with so many arguments (a method's target counts).
    pub(crate) fn find(name: &str, method: bool, arguments: usize) -> Option<Self> {
        let is = |row: &Row| row.name == name && row.method == method && row.takes.len() == arguments;
        let first = ROWS.iter().position(is)?;
        let rows = ROWS[first..].iter().take_while(|row| is(row)).count();
        Some(Self { first, rows })
    }

    fn rows(self) -> &'static [Row] {
        &ROWS[self.first..self.first + self.rows]
    }

    /// What it gives for arguments of these kinds; `None` if it takes none such.
    pub(crate) fn gives(self, kinds: &[Kind]) -> Option<Kind> {
        let fitting = |row: &&Row| row.takes.iter().zip(kinds).all(|(takes, kind)| takes.admits(*kind));
        let mut rows = self.rows().iter().filter(fitting).map(|row| row.gives);
        let first = rows.next()?;
        Some(if rows.all(|kind| kind == first) { first } else { Kind::Dyn })
    }

    /// What calling it costs.
    pub(crate) fn costs(self, arguments: &[Value]) -> u64 {
        let size: usize = arguments.iter().map(Value::size).sum();
        1 + size as u64 / 10 + self.rows()[0].costs
    }

    /// Calls it.
    pub(crate) fn call(self, name: &str, arguments: &[Value]) -> Called {
        let fits = |row: &&Row| row.takes.iter().zip(arguments).all(|(takes, value)| takes.admits(Kind::of(value)));
        match self.rows().iter().find(fits) {
            Some(row) => (row.call)(arguments),
            None => Err(no_overload(name, arguments)),
        }
    }
}

/// cel-go's words for arguments that nothing is made for.
pub(crate) fn no_overload(name: &str, arguments: &[Value]) -> EvaluateError {
    let mut text = format!("no such overload: {name}(");
    for (at, argument) in arguments.iter().enumerate() {
        let _ = write!(text, "{}{}", if at > 0 { ", " } else { "" }, argument.kind());
    }
    EvaluateError::Failed(text + ")")
}

fn failed<T>(why: impl Into<String>) -> Result<T, EvaluateError> {
    Err(EvaluateError::Failed(why.into()))
}

/// Compiling a pattern costs as much as many comparisons.
const PATTERN: u64 = 1000;
/// The memory that a compiled pattern may take, in bytes.
const PATTERN_BYTES_MAX: usize = 1 << 18;

macro_rules! row {
    ($method:literal $name:literal ($($takes:ident),*) $gives:ident, $costs:expr, $arguments:pat => $body:expr) => {
        Row {
            name: $name,
            method: $method,
            takes: &[$(Kind::$takes),*],
            gives: Kind::$gives,
            costs: $costs,
            call: |arguments| match arguments {
                $arguments => $body,
                _ => Err(no_overload($name, arguments)),
            },
        }
    };
    (fn $($rest:tt)*) => { row!(false $($rest)*) };
    (method $($rest:tt)*) => { row!(true $($rest)*) };
}

static ROWS: &[Row] = {
    use Value as V;
    &[
        // Sizes.
        row!(fn "size"(Text) Int, 0, [V::Text(text)] => count(text.chars().count())),
        row!(fn "size"(Bytes) Int, 0, [V::Bytes(bytes)] => count(bytes.len())),
        row!(fn "size"(List) Int, 0, [V::List(items)] => count(items.len())),
        row!(fn "size"(Map) Int, 0, [V::Map(map)] => count(map.entries.len())),
        row!(method "size"(Text) Int, 0, [V::Text(text)] => count(text.chars().count())),
        row!(method "size"(Bytes) Int, 0, [V::Bytes(bytes)] => count(bytes.len())),
        row!(method "size"(List) Int, 0, [V::List(items)] => count(items.len())),
        row!(method "size"(Map) Int, 0, [V::Map(map)] => count(map.entries.len())),
        // Conversions.
        row!(fn "dyn"(Dyn) Dyn, 0, [value] => Ok(value.clone())),
        row!(fn "type"(Dyn) Type, 0, [value] => Ok(V::Type(value.kind()))),
        row!(fn "int"(Int) Int, 0, [value] => Ok(value.clone())),
        row!(fn "int"(Uint) Int, 0, [V::Uint(n)] => whole(i64::try_from(*n).ok())),
        row!(fn "int"(Double) Int, 0, [V::Double(n)] => whole(truncated(*n))),
        row!(fn "int"(Text) Int, 0, [V::Text(text)] => whole(text.parse().ok())),
        row!(fn "uint"(Uint) Uint, 0, [value] => Ok(value.clone())),
        row!(fn "uint"(Int) Uint, 0, [V::Int(n)] => natural(u64::try_from(*n).ok())),
        row!(fn "uint"(Double) Uint, 0, [V::Double(n)] =>
            natural(truncated(*n).and_then(|n| u64::try_from(n).ok()))),
        row!(fn "uint"(Text) Uint, 0, [V::Text(text)] => natural(text.parse().ok())),
        row!(fn "double"(Double) Double, 0, [value] => Ok(value.clone())),
        row!(fn "double"(Int) Double, 0, [V::Int(n)] => Ok(V::Double(*n as f64))),
        row!(fn "double"(Uint) Double, 0, [V::Uint(n)] => Ok(V::Double(*n as f64))),
        row!(fn "double"(Text) Double, 0, [V::Text(text)] =>
            text.parse().map_or_else(|_| failed("type conversion error from 'string' to 'double'"), |n| Ok(V::Double(n)))),
        row!(fn "string"(Text) Text, 0, [value] => Ok(value.clone())),
        row!(fn "string"(Int) Text, 0, [value] => Ok(V::text(&value.to_string()))),
        row!(fn "string"(Uint) Text, 0, [value] => Ok(V::text(&value.to_string()))),
        row!(fn "string"(Double) Text, 0, [value] => Ok(V::text(&value.to_string()))),
        row!(fn "string"(Bool) Text, 0, [value] => Ok(V::text(&value.to_string()))),
        row!(fn "bool"(Bool) Bool, 0, [value] => Ok(value.clone())),
        row!(fn "bool"(Text) Bool, 0, [V::Text(text)] => match &**text {
            "true" | "True" | "TRUE" | "t" | "1" => Ok(V::Bool(true)),
            "false" | "False" | "FALSE" | "f" | "0" => Ok(V::Bool(false)),
            _ => failed("type conversion error from 'string' to 'bool'"),
        }),
        // Texts.
        row!(method "contains"(Text, Text) Bool, 0, [V::Text(text), V::Text(part)] => truth(text.contains(&**part))),
        row!(method "startsWith"(Text, Text) Bool, 0, [V::Text(text), V::Text(part)] => truth(text.starts_with(&**part))),
        row!(method "endsWith"(Text, Text) Bool, 0, [V::Text(text), V::Text(part)] => truth(text.ends_with(&**part))),
        row!(method "matches"(Text, Text) Bool, PATTERN, [V::Text(text), V::Text(p)] => truth(pattern(p)?.is_match(text))),
        row!(fn "matches"(Text, Text) Bool, PATTERN, [V::Text(text), V::Text(p)] => truth(pattern(p)?.is_match(text))),
        row!(method "find"(Text, Text) Text, PATTERN, [V::Text(text), V::Text(p)] =>
            Ok(V::text(pattern(p)?.find(text).map_or("", |found| found.as_str())))),
        row!(method "findAll"(Text, Text) List, PATTERN, [V::Text(text), V::Text(p)] =>
            Ok(V::list(pattern(p)?.find_iter(text).map(|found| V::text(found.as_str())).collect()))),
        row!(method "lowerAscii"(Text) Text, 0, [V::Text(text)] => Ok(V::text(&text.to_ascii_lowercase()))),
        row!(method "upperAscii"(Text) Text, 0, [V::Text(text)] => Ok(V::text(&text.to_ascii_uppercase()))),
        row!(method "trim"(Text) Text, 0, [V::Text(text)] => Ok(V::text(text.trim()))),
        row!(method "split"(Text, Text) List, 0, [V::Text(text), V::Text(by)] => Ok(V::list(split(text, by)))),
        row!(method "join"(List) Text, 0, [V::List(items)] => join(items, "")),
        row!(method "join"(List, Text) Text, 0, [V::List(items), V::Text(by)] => join(items, by)),
        row!(method "replace"(Text, Text, Text) Text, 0, [V::Text(text), V::Text(old), V::Text(new)] =>
            replaced(text, old, new)),
        row!(method "charAt"(Text, Int) Text, 0, [V::Text(text), V::Int(at)] => substring(text, *at, at.saturating_add(1))),
        row!(method "substring"(Text, Int) Text, 0, [V::Text(text), V::Int(from)] => substring(text, *from, i64::MAX)),
        row!(method "substring"(Text, Int, Int) Text, 0, [V::Text(text), V::Int(from), V::Int(to)] =>
            substring(text, *from, *to)),
        row!(method "indexOf"(Text, Text) Int, 0, [V::Text(text), V::Text(part)] => position(text, text.find(&**part))),
        row!(method "indexOf"(List, Dyn) Int, 0, [V::List(items), item] =>
            index(items.iter().position(|other| other.equals(item)))),
        row!(method "lastIndexOf"(Text, Text) Int, 0, [V::Text(text), V::Text(part)] => position(text, text.rfind(&**part))),
        row!(method "lastIndexOf"(List, Dyn) Int, 0, [V::List(items), item] =>
            index(items.iter().rposition(|other| other.equals(item)))),
        // Lists and sets.
        row!(method "isSorted"(List) Bool, 0, [V::List(items)] =>
            truth(items.windows(2).all(|pair| pair[0].compare(&pair[1]).is_some_and(|order| order.is_le())))),
        row!(method "min"(List) Dyn, 0, [V::List(items)] => extreme(items, "min", std::cmp::Ordering::Less)),
        row!(method "max"(List) Dyn, 0, [V::List(items)] => extreme(items, "max", std::cmp::Ordering::Greater)),
        row!(method "sum"(List) Dyn, 0, [V::List(items)] => items.iter().try_fold(V::Int(0), |sum, item| {
            match (&sum, item) {
                // Of whatever type the items are.
                (V::Int(0), V::Uint(_) | V::Double(_)) => Ok(item.clone()),
                _ => crate::evaluate::add(&sum, item),
            }
        })),
        row!(fn "sets.contains"(List, List) Bool, 0, [V::List(all), V::List(some)] => truth(holds(all, some))),
        row!(fn "sets.equivalent"(List, List) Bool, 0, [V::List(a), V::List(b)] => truth(holds(a, b) && holds(b, a))),
        row!(fn "sets.intersects"(List, List) Bool, 0, [V::List(a), V::List(b)] =>
            truth(a.iter().any(|item| b.iter().any(|other| other.equals(item))))),
        // Quantities.
        row!(fn "quantity"(Text) Quantity, 0, [V::Text(text)] =>
            Quantity::parse(text).map_or_else(|why| failed(why.to_string()), |amount| Ok(V::Quantity(amount)))),
        row!(fn "isQuantity"(Text) Bool, 0, [V::Text(text)] => truth(Quantity::parse(text).is_ok())),
        row!(method "isInteger"(Quantity) Bool, 0, [V::Quantity(amount)] => truth(amount.is_whole())),
        row!(method "asInteger"(Quantity) Int, 0, [V::Quantity(amount)] => match amount.is_whole() {
            true => Ok(V::Int(amount.value())),
            false => failed("cannot convert value to integer"),
        }),
        row!(method "asApproximateFloat"(Quantity) Double, 0, [V::Quantity(amount)] => Ok(V::Double(amount.to_f64()))),
        row!(method "sign"(Quantity) Int, 0, [V::Quantity(amount)] => Ok(V::Int(i64::from(amount.sign())))),
        row!(method "add"(Quantity, Quantity) Quantity, 0, [V::Quantity(a), V::Quantity(b)] => Ok(V::Quantity(a.plus(*b)))),
        row!(method "add"(Quantity, Int) Quantity, 0, [V::Quantity(a), V::Int(b)] =>
            Ok(V::Quantity(a.plus(Quantity::from_units(*b))))),
        row!(method "sub"(Quantity, Quantity) Quantity, 0, [V::Quantity(a), V::Quantity(b)] => Ok(V::Quantity(a.minus(*b)))),
        row!(method "sub"(Quantity, Int) Quantity, 0, [V::Quantity(a), V::Int(b)] =>
            Ok(V::Quantity(a.minus(Quantity::from_units(*b))))),
        row!(method "isGreaterThan"(Quantity, Quantity) Bool, 0, [V::Quantity(a), V::Quantity(b)] => truth(a > b)),
        row!(method "isGreaterThan"(Version, Version) Bool, 0, [V::Version(a), V::Version(b)] => truth(a > b)),
        row!(method "isLessThan"(Quantity, Quantity) Bool, 0, [V::Quantity(a), V::Quantity(b)] => truth(a < b)),
        row!(method "isLessThan"(Version, Version) Bool, 0, [V::Version(a), V::Version(b)] => truth(a < b)),
        row!(method "compareTo"(Quantity, Quantity) Int, 0, [V::Quantity(a), V::Quantity(b)] =>
            Ok(V::Int(a.cmp(b) as i64))),
        row!(method "compareTo"(Version, Version) Int, 0, [V::Version(a), V::Version(b)] => Ok(V::Int(a.cmp(b) as i64))),
        // Versions.
        row!(fn "semver"(Text) Version, 0, [V::Text(text)] => version(Version::parse(text))),
        row!(fn "semver"(Text, Bool) Version, 0, [V::Text(text), V::Bool(loose)] => version(read_version(text, *loose))),
        row!(fn "isSemver"(Text) Bool, 0, [V::Text(text)] => truth(Version::parse(text).is_some())),
        row!(fn "isSemver"(Text, Bool) Bool, 0, [V::Text(text), V::Bool(loose)] =>
            truth(read_version(text, *loose).is_some())),
        row!(method "major"(Version) Int, 0, [V::Version(version)] => part(version, 0)),
        row!(method "minor"(Version) Int, 0, [V::Version(version)] => part(version, 1)),
        row!(method "patch"(Version) Int, 0, [V::Version(version)] => part(version, 2)),
        // Optionals.
        row!(fn "optional.none"() Optional, 0, [] => Ok(V::Optional(None))),
        row!(fn "optional.of"(Dyn) Optional, 0, [value] => Ok(V::Optional(Some(value.clone().into())))),
        row!(fn "optional.ofNonZeroValue"(Dyn) Optional, 0, [value] =>
            Ok(V::Optional((!is_zero(value)).then(|| value.clone().into())))),
        row!(method "hasValue"(Optional) Bool, 0, [V::Optional(value)] => truth(value.is_some())),
        row!(method "value"(Optional) Dyn, 0, [V::Optional(value)] => match value {
            Some(value) => Ok(V::clone(value)),
            None => failed("optional.none() dereference"),
        }),
        row!(method "orValue"(Optional, Dyn) Dyn, 0, [V::Optional(value), other] =>
            Ok(value.as_deref().unwrap_or(other).clone())),
        row!(method "or"(Optional, Optional) Optional, 0, [this @ V::Optional(value), other] =>
            Ok(if value.is_some() { this.clone() } else { other.clone() })),
    ]
};

fn truth(is: bool) -> Called {
    Ok(Value::Bool(is))
}

fn count(size: usize) -> Called {
    Ok(Value::Int(i64::try_from(size).unwrap_or(i64::MAX)))
}

fn index(at: Option<usize>) -> Called {
    at.map_or(Ok(Value::Int(-1)), count)
}

/// Where a part of a text begins, in characters.
fn position(text: &str, at: Option<usize>) -> Called {
    index(at.map(|at| text[..at].chars().count()))
}

fn whole(number: Option<i64>) -> Called {
    number.map_or_else(|| failed("integer overflow"), |number| Ok(Value::Int(number)))
}

fn natural(number: Option<u64>) -> Called {
    number.map_or_else(|| failed("unsigned integer overflow"), |number| Ok(Value::Uint(number)))
}

#[expect(clippy::cast_possible_truncation, reason = "checked before")]
fn truncated(number: f64) -> Option<i64> {
    (number > -9.223_372_036_854_775e18 && number < 9.223_372_036_854_775e18).then_some(number as i64)
}

fn pattern(text: &str) -> Result<regex::Regex, EvaluateError> {
    let built = RegexBuilder::new(text).size_limit(PATTERN_BYTES_MAX).build();
    built.map_err(|why| EvaluateError::Failed(format!("error parsing regexp: {why}")))
}

fn split(text: &str, by: &str) -> Vec<Value> {
    if by.is_empty() {
        return text.chars().map(|c| Value::text(c.encode_utf8(&mut [0; 4]))).collect();
    }
    text.split(by).map(Value::text).collect()
}

fn join(items: &[Value], by: &str) -> Called {
    let mut joined = String::new();
    for (at, item) in items.iter().enumerate() {
        let Value::Text(text) = item else { return Err(no_overload("join", std::slice::from_ref(item))) };
        joined.push_str(if at > 0 { by } else { "" });
        joined.push_str(text);
    }
    Ok(Value::text(&joined))
}

/// The longest text that replacing may make of one, in bytes.
const REPLACED_MAX: usize = 1 << 20;

fn replaced(text: &str, old: &str, new: &str) -> Called {
    let places = text.matches(old).count();
    if text.len() + places * new.len() > REPLACED_MAX {
        return Err(EvaluateError::TooExpensive);
    }
    Ok(Value::text(&text.replace(old, new)))
}

/// Characters from `from` to before `to`; [`i64::MAX`] for the end.
fn substring(text: &str, from: i64, to: i64) -> Called {
    let length = i64::try_from(text.chars().count()).unwrap_or(i64::MAX);
    let to = if to == i64::MAX { length } else { to };
    if from < 0 || from > to || to > length {
        return failed(format!("index out of range: {}", if from < 0 || from > length { from } else { to }));
    }
    let range = |n: i64| usize::try_from(n).unwrap_or(usize::MAX);
    let part: String = text.chars().skip(range(from)).take(range(to - from)).collect();
    Ok(Value::text(&part))
}

fn extreme(items: &[Value], name: &str, wanted: std::cmp::Ordering) -> Called {
    let Some((first, rest)) = items.split_first() else { return failed(format!("{name} called on empty list")) };
    let mut best = first;
    for item in rest {
        let order = item.compare(best).ok_or_else(|| no_overload(name, std::slice::from_ref(item)))?;
        if order == wanted {
            best = item;
        }
    }
    Ok(best.clone())
}

fn holds(all: &[Value], some: &[Value]) -> bool {
    some.iter().all(|item| all.iter().any(|other| other.equals(item)))
}

fn read_version(text: &str, loose: bool) -> Option<Version> {
    if loose { Version::parse_normalized(text) } else { Version::parse(text) }
}

fn version(version: Option<Version>) -> Called {
    version.map_or_else(|| failed("No Major.Minor.Patch elements found"), |version| Ok(Value::Version(version)))
}

fn part(version: &Version, at: usize) -> Called {
    whole(i64::try_from(version.part(at)).ok())
}

fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null | Value::Optional(None) | Value::Bool(false) => true,
        Value::Text(_) | Value::Bytes(_) | Value::List(_) | Value::Map(_) => value.size() == 0,
        value => value.equals(&Value::Int(0)),
    }
}
