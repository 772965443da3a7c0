//! Reads a configuration document strictly: every field is asked for by name, what nobody asks for is an error, and every
//! error says where.

use std::cell::RefCell;
use std::time::Duration;

use gantry_machinery::codec::yaml;
use gantry_machinery::status::{FieldError, quote};
use gantry_machinery::value::{Object, Value};

/// What is wrong with a document.
#[derive(Default)]
pub(super) struct Faults {
    strict: RefCell<Vec<String>>,
    wrong: RefCell<Vec<FieldError>>,
}

impl Faults {
    /// A field says something that cannot be.
    pub(super) fn wrong(&self, error: FieldError) {
        self.wrong.borrow_mut().push(error);
    }

    /// The first complaint wins the form: a document that is not understood is not judged.
    pub(super) fn into_text(self) -> Option<String> {
        let strict = self.strict.into_inner();
        if !strict.is_empty() {
            return Some(format!("strict decoding error: {}", strict.join(", ")));
        }
        // As upstream prints an aggregate: each complaint once, brackets around several.
        let mut texts: Vec<String> = Vec::new();
        for text in self.wrong.into_inner().iter().map(ToString::to_string) {
            if !texts.contains(&text) {
                texts.push(text);
            }
        }
        match &*texts {
            [] => None,
            [only] => Some(only.clone()),
            _ => Some(format!("[{}]", texts.join(", "))),
        }
    }
}

/// The fields of one object in the document.
pub(super) struct Fields<'a> {
    path: String,
    object: Option<&'a Object>,
    faults: &'a Faults,
}

impl<'a> Fields<'a> {
    /// The fields of a value; an absent one has none. `known` are all that there may be.
    pub(super) fn new(path: String, value: Option<&'a Value>, known: &[&str], faults: &'a Faults) -> Self {
        let object = match value {
            None | Some(Value::Null) => None,
            Some(Value::Object(object)) => Some(object),
            Some(other) => {
                faults.wrong(FieldError::invalid(path.clone(), other, "must be an object"));
                None
            }
        };
        let fields = Self { path, object, faults };
        for key in object.into_iter().flat_map(Object::keys).filter(|key| !known.contains(&&***key)) {
            faults.strict.borrow_mut().push(format!("unknown field {}", quote(&fields.at(key))));
        }
        fields
    }

    /// The path of a field.
    pub(super) fn at(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// The path of the object itself.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// Whether the object was written at all.
    pub(super) fn is_there(&self) -> bool {
        self.object.is_some()
    }

    pub(super) fn faults(&self) -> &'a Faults {
        self.faults
    }

    /// A field as it stands; `null` reads as absent.
    pub(super) fn value(&self, key: &str) -> Option<&'a Value> {
        self.object?.get(key).filter(|value| !matches!(value, Value::Null))
    }

    fn typed<T>(&self, key: &str, read: impl Fn(&'a Value) -> Option<T>, wanted: &str) -> Option<T> {
        let value = self.value(key)?;
        let read = read(value);
        if read.is_none() {
            self.faults.wrong(FieldError::invalid(self.at(key), value, format!("must be {wanted}")));
        }
        read
    }

    pub(super) fn text(&self, key: &str) -> Option<&'a str> {
        let read = |value: &'a Value| match value {
            Value::String(text) => Some(text.as_str()),
            _ => None,
        };
        self.typed(key, read, "a string")
    }

    /// A text, empty where there is none.
    pub(super) fn text_or_empty(&self, key: &str) -> &'a str {
        self.text(key).unwrap_or_default()
    }

    pub(super) fn boolean(&self, key: &str) -> Option<bool> {
        let read = |value: &Value| match value {
            Value::Bool(yes) => Some(*yes),
            _ => None,
        };
        self.typed(key, read, "true or false")
    }

    /// An integer of Go's int32, int64 or int: bounds beyond 32 bits are the caller's.
    pub(super) fn int(&self, key: &str) -> Option<i64> {
        let read = |value: &Value| match value {
            Value::Int(number) => Some(*number),
            _ => None,
        };
        self.typed(key, read, "an integer")
    }

    /// A number with a fraction.
    pub(super) fn number(&self, key: &str) -> Option<f64> {
        let read = |value: &Value| match value {
            Value::Int(number) => Some(*number as f64),
            Value::Float(number) => Some(*number),
            _ => None,
        };
        self.typed(key, read, "a number")
    }

    /// A duration as Go writes them: `1m30s`. The bool says whether it is negative.
    pub(super) fn duration(&self, key: &str) -> Option<(Duration, bool)> {
        let read = |value: &Value| match value {
            Value::String(text) => go_duration(text),
            _ => None,
        };
        self.typed(key, read, "a duration such as \"15s\" or \"1m30s\"")
    }

    /// An object within.
    pub(super) fn within(&self, key: &str, known: &[&str]) -> Fields<'a> {
        Fields::new(self.at(key), self.value(key), known, self.faults)
    }

    /// The items of a list with their paths.
    pub(super) fn list(&self, key: &str) -> Vec<(String, &'a Value)> {
        match self.value(key) {
            None => Vec::new(),
            Some(Value::Array(items)) => {
                items.iter().enumerate().map(|(at, item)| (format!("{}[{at}]", self.at(key)), item)).collect()
            }
            Some(other) => {
                self.faults.wrong(FieldError::invalid(self.at(key), other, "must be a list"));
                Vec::new()
            }
        }
    }

    /// The objects of a list.
    pub(super) fn objects(&self, key: &str, known: &[&str]) -> Vec<Fields<'a>> {
        let items = self.list(key).into_iter();
        items.map(|(path, item)| Fields::new(path, Some(item), known, self.faults)).collect()
    }

    /// The texts of a list, with their paths.
    pub(super) fn texts(&self, key: &str) -> Vec<(String, &'a str)> {
        let mut texts = Vec::new();
        for (path, item) in self.list(key) {
            match item {
                Value::String(text) => texts.push((path, text.as_str())),
                other => self.faults.wrong(FieldError::invalid(path, other, "must be a string")),
            }
        }
        texts
    }
}

/// The document in a file: YAML or JSON, every key once.
/// # Errors
/// What is wrong with it, in one line.
pub(super) fn document(bytes: &[u8]) -> Result<Value, String> {
    yaml::parse_unique(bytes).map_err(|error| format!("strict decoding error: {error}"))
}

/// A duration as Go's `time.ParseDuration` reads it, and whether it is negative.
fn go_duration(text: &str) -> Option<(Duration, bool)> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some((Duration::ZERO, false));
    }
    if rest.is_empty() {
        return None;
    }
    let mut sum = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(digits);
        let unit = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit);
        let seconds = match unit {
            "ns" => 1e-9,
            "us" | "µs" | "μs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        sum = sum.checked_add(Duration::try_from_secs_f64(number.parse::<f64>().ok()? * seconds).ok()?)?;
        rest = tail;
    }
    Some((sum, negative && !sum.is_zero()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_gos() {
        let millis = |text: &str| go_duration(text).map(|(d, negative)| (d.as_millis(), negative));
        assert_eq!(millis("1m30s"), Some((90_000, false)));
        assert_eq!(millis("-1.5s"), Some((1500, true)));
        assert_eq!(millis("0"), Some((0, false)));
        assert_eq!(millis("2h3ms"), Some((7_200_003, false)));
        for bad in ["", "5", "s", "1x", "1s2", "-"] {
            assert_eq!(millis(bad), None, "{bad}");
        }
    }
}
