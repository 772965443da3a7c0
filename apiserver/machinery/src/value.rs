//! An object between its decoder and its encoder: a JSON tree with cheap keys and ordered fields.
//!
//! Defaulting, validation, patches and apply all work on [`Value`]s, guided by the schema table; nothing here knows a
//! kind. Keys and short texts (up to 24 bytes) are held inline, so a decoded pod costs few allocations.

use compact_str::CompactString;

/// A JSON value. Integers and floats are kept apart, as Kubernetes' own decoders do.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Value {
    /// `null`.
    #[default]
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number without fraction or exponent that fits 64 bits.
    Int(i64),
    /// Any other number.
    Float(f64),
    /// A text.
    String(CompactString),
    /// A list.
    Array(Vec<Value>),
    /// Fields in the order they came.
    Object(Object),
}

/// The fields of a JSON object, in order, keys unique. Lookups scan: Kubernetes objects are narrow.
#[derive(Clone, Debug, Default)]
pub struct Object {
    fields: Vec<(CompactString, Value)>,
}

/// Two objects are equal when they hold the same fields, in whatever order.
impl PartialEq for Object {
    fn eq(&self, other: &Self) -> bool {
        // Mostly both sides have their fields in the same order.
        let same = |at: usize, key: &CompactString, value: &Value| match other.fields.get(at) {
            Some((k, v)) if k == key => v == value,
            _ => other.get(key) == Some(value),
        };
        self.len() == other.len() && self.fields.iter().enumerate().all(|(at, (k, v))| same(at, k, v))
    }
}

impl Object {
    /// No fields.
    #[must_use]
    pub const fn new() -> Self {
        Self { fields: Vec::new() }
    }

    /// No fields yet, room for `capacity`.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        Self { fields: Vec::with_capacity(capacity) }
    }

    /// Fields whose keys the caller knows to be unique.
    #[must_use]
    pub const fn from_unchecked(fields: Vec<(CompactString, Value)>) -> Self {
        Self { fields }
    }

    /// The fields in order.
    #[must_use]
    pub fn as_slice(&self) -> &[(CompactString, Value)] {
        &self.fields
    }

    /// The fields as their list: for callers that keep an order of their own and keep the keys unique.
    pub fn fields_mut(&mut self) -> &mut Vec<(CompactString, Value)> {
        &mut self.fields
    }

    /// How many fields.
    #[must_use]
    pub fn len(&self) -> usize {
        self.fields.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// The field `key`.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.fields.iter().find(|(k, _)| k == key).map(|(_, v)| v)
    }

    /// The field `key`, to change.
    pub fn get_mut(&mut self, key: &str) -> Option<&mut Value> {
        self.fields.iter_mut().find(|(k, _)| k == key).map(|(_, v)| v)
    }

    /// Whether there is a field `key`.
    #[must_use]
    pub fn contains_key(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    /// Sets a field; gives back the value it had. A new field goes to the end.
    pub fn insert(&mut self, key: impl Into<CompactString>, value: impl Into<Value>) -> Option<Value> {
        let key = key.into();
        match self.get_mut(&key) {
            Some(old) => Some(std::mem::replace(old, value.into())),
            None => {
                self.fields.push((key, value.into()));
                None
            }
        }
    }

    /// Appends a field that the caller knows to be new: the decoder, which checks for duplicates itself.
    pub fn push_unchecked(&mut self, key: CompactString, value: Value) {
        self.fields.push((key, value));
    }

    /// Takes a field out, keeping the order of the others.
    pub fn remove(&mut self, key: &str) -> Option<Value> {
        let at = self.fields.iter().position(|(k, _)| k == key)?;
        Some(self.fields.remove(at).1)
    }

    /// The field `key`, set to `null` first if it is not there.
    pub fn entry(&mut self, key: impl Into<CompactString>) -> &mut Value {
        let key = key.into();
        let at = self.fields.iter().position(|(k, _)| *k == key).unwrap_or_else(|| {
            self.fields.push((key, Value::Null));
            self.fields.len() - 1
        });
        &mut self.fields[at].1
    }

    /// The field `key` as an object, made (or made anew from anything that is not one) if need be.
    pub fn object_entry(&mut self, key: impl Into<CompactString>) -> &mut Object {
        let value = self.entry(key);
        if !matches!(value, Value::Object(_)) {
            *value = Value::Object(Object::new());
        }
        match value {
            Value::Object(object) => object,
            _ => unreachable!("made an object just above"),
        }
    }

    /// The fields in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&CompactString, &Value)> + DoubleEndedIterator {
        self.fields.iter().map(|(k, v)| (k, v))
    }

    /// The fields in order, their values to change.
    pub fn iter_mut(&mut self) -> impl ExactSizeIterator<Item = (&CompactString, &mut Value)> {
        self.fields.iter_mut().map(|(k, v)| (&*k, v))
    }

    /// The keys in order.
    pub fn keys(&self) -> impl ExactSizeIterator<Item = &CompactString> {
        self.fields.iter().map(|(k, _)| k)
    }

    /// Drops the fields for which `keep` is false.
    pub fn retain(&mut self, mut keep: impl FnMut(&str, &mut Value) -> bool) {
        self.fields.retain_mut(|(k, v)| keep(k, v));
    }

    /// Sorts the fields by key.
    pub fn sort_keys(&mut self) {
        self.fields.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
    }

    /// The value at a path of field names.
    #[must_use]
    pub fn at(&self, path: &[&str]) -> Option<&Value> {
        let (first, rest) = path.split_first()?;
        self.get(first)?.at(rest)
    }
}

impl IntoIterator for Object {
    type Item = (CompactString, Value);
    type IntoIter = std::vec::IntoIter<(CompactString, Value)>;
    fn into_iter(self) -> Self::IntoIter {
        self.fields.into_iter()
    }
}

impl<K: Into<CompactString>, V: Into<Value>> FromIterator<(K, V)> for Object {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(fields: I) -> Self {
        let mut object = Self::new();
        for (key, value) in fields {
            object.insert(key, value);
        }
        object
    }
}

impl Value {
    /// The same value, the fields of its objects sorted by name.
    #[must_use]
    pub fn sorted(&self) -> Self {
        match self {
            Self::Array(items) => Self::Array(items.iter().map(Self::sorted).collect()),
            Self::Object(object) => {
                let mut fields: Vec<_> = object.iter().map(|(key, value)| (key.clone(), value.sorted())).collect();
                fields.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
                Self::Object(Object::from_unchecked(fields))
            }
            other => other.clone(),
        }
    }

    /// Whether lists and objects stand in each other more than `limit` deep.
    #[must_use]
    pub fn deeper_than(&self, limit: usize) -> bool {
        match self {
            Self::Array(items) => limit == 0 || items.iter().any(|item| item.deeper_than(limit - 1)),
            Self::Object(fields) => limit == 0 || fields.iter().any(|(_, field)| field.deeper_than(limit - 1)),
            _ => false,
        }
    }

    /// An empty object.
    #[must_use]
    pub const fn object() -> Self {
        Self::Object(Object::new())
    }

    /// The field `key` of an object; `None` of anything else.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Self> {
        self.as_object()?.get(key)
    }

    /// The field `key` of an object, to change.
    pub fn get_mut(&mut self, key: &str) -> Option<&mut Self> {
        self.as_object_mut()?.get_mut(key)
    }

    /// The value at a path of field names; itself for the empty path.
    #[must_use]
    pub fn at(&self, path: &[&str]) -> Option<&Self> {
        path.iter().try_fold(self, |value, key| value.get(key))
    }

    /// The value at a path of field names, to change.
    pub fn at_mut(&mut self, path: &[&str]) -> Option<&mut Self> {
        path.iter().try_fold(self, |value, key| value.get_mut(key))
    }

    /// The text at a path; `None` where there is none or it is no text.
    #[must_use]
    pub fn str_at(&self, path: &[&str]) -> Option<&str> {
        self.at(path)?.as_str()
    }

    /// The integer at a path.
    #[must_use]
    pub fn i64_at(&self, path: &[&str]) -> Option<i64> {
        self.at(path)?.as_i64()
    }

    /// The boolean at a path.
    #[must_use]
    pub fn bool_at(&self, path: &[&str]) -> Option<bool> {
        self.at(path)?.as_bool()
    }

    /// The list at a path; empty where there is none.
    #[must_use]
    pub fn array_at(&self, path: &[&str]) -> &[Self] {
        self.at(path).and_then(Self::as_array).unwrap_or_default()
    }

    /// The object at a path.
    #[must_use]
    pub fn object_at(&self, path: &[&str]) -> Option<&Object> {
        self.at(path)?.as_object()
    }

    /// Sets the value at a path, making objects on the way (also of what was no object).
    ///
    /// # Panics
    /// For the empty path.
    pub fn set(&mut self, path: &[&str], value: impl Into<Self>) {
        let (last, way) = path.split_last().expect("a path names at least one field");
        let mut object = self.force_object();
        for key in way {
            object = object.object_entry(*key);
        }
        object.insert(*last, value);
    }

    /// Takes out the value at a path.
    pub fn remove(&mut self, path: &[&str]) -> Option<Self> {
        let (last, way) = path.split_last()?;
        self.at_mut(way)?.as_object_mut()?.remove(last)
    }

    /// This as an object; anything else becomes an empty one first.
    pub fn force_object(&mut self) -> &mut Object {
        if !matches!(self, Self::Object(_)) {
            *self = Self::object();
        }
        match self {
            Self::Object(object) => object,
            _ => unreachable!("made an object just above"),
        }
    }

    /// The fields, of an object.
    #[must_use]
    pub fn as_object(&self) -> Option<&Object> {
        match self {
            Self::Object(object) => Some(object),
            _ => None,
        }
    }

    /// The fields, of an object, to change.
    pub fn as_object_mut(&mut self) -> Option<&mut Object> {
        match self {
            Self::Object(object) => Some(object),
            _ => None,
        }
    }

    /// The items, of a list.
    #[must_use]
    pub fn as_array(&self) -> Option<&[Self]> {
        match self {
            Self::Array(items) => Some(items),
            _ => None,
        }
    }

    /// The items, of a list, to change.
    pub fn as_array_mut(&mut self) -> Option<&mut Vec<Self>> {
        match self {
            Self::Array(items) => Some(items),
            _ => None,
        }
    }

    /// The text, of a string.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// The number, of an integer.
    #[must_use]
    pub fn as_i64(&self) -> Option<i64> {
        match self {
            Self::Int(number) => Some(*number),
            _ => None,
        }
    }

    /// The number, of any number.
    #[must_use]
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Self::Int(number) => Some(*number as f64),
            Self::Float(number) => Some(*number),
            _ => None,
        }
    }

    /// The truth, of a boolean.
    #[must_use]
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(truth) => Some(*truth),
            _ => None,
        }
    }

    /// Whether this is `null`.
    #[must_use]
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// What JSON calls this, in Go's words: used in error texts.
    #[must_use]
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "bool",
            Self::Int(_) | Self::Float(_) => "number",
            Self::String(_) => "string",
            Self::Array(_) => "array",
            Self::Object(_) => "object",
        }
    }
}

impl From<bool> for Value {
    fn from(truth: bool) -> Self {
        Self::Bool(truth)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

impl From<i32> for Value {
    fn from(number: i32) -> Self {
        Self::Int(number.into())
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Self::Float(number)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::String(text.into())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::String(text.into())
    }
}

impl From<CompactString> for Value {
    fn from(text: CompactString) -> Self {
        Self::String(text)
    }
}

impl From<Object> for Value {
    fn from(object: Object) -> Self {
        Self::Object(object)
    }
}

impl<T: Into<Value>> From<Vec<T>> for Value {
    fn from(items: Vec<T>) -> Self {
        Self::Array(items.into_iter().map(Into::into).collect())
    }
}

/// Writes a [`Value`] as JSON is written: `value!({"spec": {"replicas": 3}, "names": [name, "b"]})`. Keys are literals;
/// values are literals, nested forms, or expressions (bare names, or anything in parentheses) that convert into a `Value`.
#[macro_export]
macro_rules! value {
    (null) => { $crate::value::Value::Null };
    ([ $($item:tt),* $(,)? ]) => { $crate::value::Value::Array(vec![ $($crate::value!($item)),* ]) };
    ({ $($key:tt : $val:tt),* $(,)? }) => {{
        #[allow(unused_mut, reason = "the empty object has no field to insert")]
        let mut object = $crate::value::Object::new();
        $( object.insert($key, $crate::value!($val)); )*
        $crate::value::Value::Object(object)
    }};
    ($other:expr) => { $crate::value::Value::from($other) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_made_read_and_removed() {
        let mut pod = value!({"spec": {"containers": [{"name": "c"}]}});
        pod.set(&["metadata", "labels", "app"], "web");
        assert_eq!(pod.str_at(&["metadata", "labels", "app"]), Some("web"));
        assert_eq!(pod.array_at(&["spec", "containers"])[0].str_at(&["name"]), Some("c"));
        assert_eq!(pod.remove(&["metadata", "labels", "app"]), Some(Value::from("web")));
        assert_eq!(pod.str_at(&["metadata", "labels", "app"]), None);
    }

    #[test]
    fn equality_ignores_the_order_of_fields() {
        assert_eq!(value!({"a": 1, "b": 2}), value!({"b": 2, "a": 1}));
        assert_ne!(value!({"a": 1}), value!({"a": 1, "b": 2}));
    }
}
