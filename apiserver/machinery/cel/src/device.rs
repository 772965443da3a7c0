//! Selectors of devices (`DeviceSelector.cel.expression` of resource.k8s.io): an expression over `device`, which says
//! whether a device is wanted.
//!
//! `device.driver`, `device.attributes["domain"].name`, `device.capacity["domain"].name`,
//! `device.allowMultipleAllocations`. Names without a domain belong to the driver's. A domain that a device has nothing in
//! is an empty map to look into, and not `in` the attributes.

use std::sync::Arc;

use crate::check::{Kind, Leaf, Scope, kind_of};
use crate::evaluate::Variables;
use crate::quantity::Quantity;
use crate::semver::Version;
use crate::value::{Map, Value};
use crate::{CompileError, EvaluateError, Parsed, parser};

/// What one evaluation may cost (`CELSelectorExpressionMaxCost`).
pub const COST_MAX: u64 = 1_000_000;

const DEVICE: Kind = Kind::Object(&[
    ("driver", Kind::Text),
    ("attributes", Kind::Domains(Leaf::Dyn)),
    ("capacity", Kind::Domains(Leaf::Quantity)),
    ("allowMultipleAllocations", Kind::Bool),
]);

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Attribute {
    /// `int`.
    Int(i64),
    /// `bool`.
    Bool(bool),
    /// `string`.
    Text(Box<str>),
    /// `version`; as written.
    Version(Box<str>),
}

/// A device as selectors see it: built once, asked often.
#[derive(Clone, Debug)]
pub struct Device(Value);

impl Device {
    /// A device of a driver, with its attributes and capacities by their names.
    #[must_use]
    pub fn new<'a>(
        driver: &str,
        attributes: impl IntoIterator<Item = (&'a str, &'a Attribute)>,
        capacity: impl IntoIterator<Item = (&'a str, Quantity)>,
        shared: bool,
    ) -> Self {
        let attributes = attributes.into_iter().map(|(name, value)| (name, value.value()));
        let capacity = capacity.into_iter().map(|(name, amount)| (name, Value::Quantity(amount)));
        let entries = vec![
            (Value::text("driver"), Value::text(driver)),
            (Value::text("attributes"), by_domain(driver, attributes)),
            (Value::text("capacity"), by_domain(driver, capacity)),
            (Value::text("allowMultipleAllocations"), Value::Bool(shared)),
        ];
        Self(Value::Map(Arc::new(Map { entries, fallback: None })))
    }
}

impl Attribute {
    fn value(&self) -> Value {
        match self {
            Self::Int(number) => Value::Int(*number),
            Self::Bool(is) => Value::Bool(*is),
            Self::Text(text) => Value::text(text),
            // The API lets no others in.
            Self::Version(text) => Version::parse(text).map_or_else(|| Value::text(text), Value::Version),
        }
    }
}

fn by_domain<'a>(driver: &str, all: impl Iterator<Item = (&'a str, Value)>) -> Value {
    let mut domains: Vec<(&str, Map)> = Vec::new();
    for (name, value) in all {
        let (domain, id) = name.split_once('/').unwrap_or((driver, name));
        let at = domains.iter().position(|(known, _)| *known == domain).unwrap_or_else(|| {
            domains.push((domain, Map::default()));
            domains.len() - 1
        });
        domains[at].1.entries.push((Value::text(id), value));
    }
    let entries = domains.into_iter().map(|(domain, map)| (Value::text(domain), Value::Map(Arc::new(map)))).collect();
    Value::Map(Arc::new(Map { entries, fallback: Some(Value::Map(Arc::default())) }))
}

/// A selector, compiled.
#[derive(Debug)]
pub struct Selector(Parsed);

impl Selector {
    /// Compiles an expression.
    ///
    /// # Errors
    /// When it does not parse, names what is not there, or gives anything but a truth value.
    pub fn compile(text: &str) -> Result<Self, CompileError> {
        let parsed = parser::parse(text)?;
        match kind_of(&parsed.root, &Scope::new("device", DEVICE, None))? {
            Kind::Bool | Kind::Dyn => Ok(Self(parsed)),
            other => Err(CompileError::Result(other.name())),
        }
    }

    /// Whether it wants a device.
    ///
    /// # Errors
    /// When the evaluation fails or costs more than [`COST_MAX`].
    pub fn matches(&self, device: &Device) -> Result<bool, EvaluateError> {
        match self.0.evaluate(&Variables::new("device", &device.0, None), COST_MAX)? {
            Value::Bool(is) => Ok(is),
            other => Err(EvaluateError::Failed(format!(
                "CEL result of type {} could not be converted to bool: type conversion error from '{0}' to 'bool'",
                other.kind()
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device() -> Device {
        let text = |text: &str| Attribute::Text(text.into());
        let attributes = [
            ("model", text("a100")),
            ("count", Attribute::Int(4)),
            ("healthy", Attribute::Bool(true)),
            ("firmware", Attribute::Version("1.10.0-rc.1".into())),
            ("other.example/model", text("x")),
        ];
        let capacity = [("memory", Quantity::parse("80Gi").expect("fine"))];
        Device::new("gpu.example", attributes.iter().map(|(name, value)| (*name, value)), capacity, true)
    }

    fn matches(text: &str) -> Result<bool, String> {
        Selector::compile(text)
            .map_err(|error| error.to_string())?
            .matches(&device())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn selectors_see_a_device_as_upstream_shows_it() {
        for (text, expected) in [
            ("device.driver == 'gpu.example' && device.allowMultipleAllocations", true),
            ("device.attributes['gpu.example'].model == 'a100'", true),
            ("device.attributes[\"other.example\"].model.startsWith('y')", false),
            ("device.attributes['gpu.example'].count + 1 == 5", true),
            ("device.attributes['gpu.example'].count == 4.0", true),
            ("device.attributes['gpu.example'].healthy", true),
            ("device.attributes['gpu.example'].firmware.isGreaterThan(semver('1.9.9'))", true),
            ("device.attributes['gpu.example'].firmware.compareTo(semver('1.10.0')) == -1", true),
            ("device.attributes['gpu.example'].firmware.minor() == 10", true),
            ("semver('v1.2', true) == semver('1.2.0')", true),
            ("device.capacity['gpu.example'].memory.isGreaterThan(quantity('79Gi'))", true),
            ("device.capacity['gpu.example'].memory.compareTo(quantity('80Gi')) == 0", true),
            ("device.capacity['gpu.example'].memory == quantity('81920Mi')", true),
            // Not there, but to be looked into.
            ("'gone.example' in device.attributes", false),
            ("'gpu.example' in device.attributes && 'model' in device.attributes['gpu.example']", true),
            ("has(device.attributes['gone.example'].model)", false),
            ("has(device.attributes['gpu.example'].model)", true),
            ("device.attributes['gone.example'].?model.orValue('none') == 'none'", true),
            ("device.attributes['gpu.example'][?'count'].hasValue()", true),
            // A failure does not matter where the other side decides.
            ("device.attributes['gone.example'].x || true", true),
            ("device.attributes['gone.example'].x && false", false),
            (
                "device.attributes.all(d, d.endsWith('.example')) && device.attributes.exists(d, d == 'gpu.example')",
                true,
            ),
            ("[1, 2, 3].map(x, x > 1, x * 2) == [4, 6] && [1, 2].filter(x, x > 1).size() == 1", true),
            ("['a', 'b'].exists_one(x, x == 'a') && !('c' in ['a'])", true),
            ("cel.bind(d, device.attributes['gpu.example'], d.healthy && d.count > 3)", true),
            ("device.attributes['gpu.example'].model.matches('^a[0-9]+$')", true),
            ("device.attributes['gpu.example'].model.substring(1) == '100'", true),
            ("optional.of(1).optMap(x, x + 1).value() == 2 ? true : false", true),
            ("type(device.driver) == string && int('7') == 7 && sets.contains([1, 2], [2])", true),
            ("{'a': 1}.a == 1 && {'a': 1}['a'] < 2u && 7 % 4 == 3 && -7 / 2 == -3", true),
            ("dyn(device.driver) != 5", true),
        ] {
            assert_eq!(matches(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_is_refused_when_it_is_compiled() {
        for (text, why) in [
            ("device.nonsense", "undefined field 'nonsense'"),
            ("nonsense", "undeclared reference to 'nonsense' (in container '')"),
            ("device.driver.nonsense()", "undeclared reference to 'nonsense' (in container '')"),
            ("ip('1.2.3.4') == 4", "undeclared reference to 'ip' (in container '')"),
            ("device.driver", "must evaluate to bool or the unknown type, not string"),
            ("device.driver == 5", "found no matching overload for '_==_' applied to '(string, int)'"),
            (
                "device.attributes[1].x",
                "found no matching overload for '_[_]' applied to '(map(string, map(string, any)), \
              int)'",
            ),
            (
                "device.capacity['a'].b > 1",
                "found no matching overload for '_>_' applied to '(kubernetes.Quantity, int)'",
            ),
            ("!device.driver", "found no matching overload for '!_' applied to '(string)'"),
            ("device.driver.x", "type 'string' does not support field selection"),
            ("(", "Syntax error: mismatched input '<EOF>'"),
        ] {
            let found = Selector::compile(text).expect_err(text).to_string();
            assert!(found.contains(why), "{text}: {found}");
        }
    }

    #[test]
    fn failures_are_told_in_cels_words() {
        for (text, why) in [
            ("device.attributes['gone.example'].model == 'x'", "no such key: model"),
            ("device.attributes['gpu.example'].model > 5", "no such overload: _>_(string, int)"),
            ("1 / 0 == 1", "division by zero"),
            ("9223372036854775807 + 1 > 0", "integer overflow"),
            ("[1][1] == 1", "index out of bounds: 1"),
            (
                "device.attributes['gpu.example'].model",
                "CEL result of type string could not be converted to bool: type \
              conversion error from 'string' to 'bool'",
            ),
            ("'a'.matches('(')", "error parsing regexp: "),
        ] {
            let found = matches(text).expect_err(text);
            assert!(found.starts_with(why), "{text}: {found}");
        }
    }

    #[test]
    fn what_costs_too_much_ends() {
        let list = format!("[{}]", vec!["1"; 300].join(","));
        let nested = format!("{list}.all(a, {list}.all(b, {list}.all(c, {list}.all(d, a + b + c + d > 0))))");
        assert_eq!(matches(&nested), Err("operation cancelled: actual cost limit exceeded".to_owned()));
        let doubled = "cel.bind(a, 'xxxxxxxxxxxxxxxx', ".to_owned()
            + &(0..40).map(|_| "cel.bind(a, a + a, ").collect::<String>()
            + "a != ''"
            + &")".repeat(41);
        assert_eq!(matches(&doubled), Err("operation cancelled: actual cost limit exceeded".to_owned()));
        let patterns = format!("{list}.all(a, {list}.all(b, 'x'.matches('x')))");
        assert_eq!(matches(&patterns), Err("operation cancelled: actual cost limit exceeded".to_owned()));
    }
}
