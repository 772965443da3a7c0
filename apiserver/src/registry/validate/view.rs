//! Borrowed views of objects: the fields a check needs, found in one pass over the object, nothing copied.
//!
//! Lookups in a [`Value`] scan, so a check of ten fields by ten lookups is quadratic; a view reads each key once.

use gantry_machinery::value::{Object, Value};

/// Declares a view: for each field its key in JSON. `of` fills it; absent and `null` are `None`.
macro_rules! view {
    ($(#[$doc:meta])* $vis:vis struct $name:ident { $($field:ident : $key:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default)]
        $vis struct $name<'a> {
            $(
                #[doc = concat!("`", $key, "`")]
                pub $field: Option<&'a gantry_machinery::value::Value>,
            )*
        }

        impl<'a> $name<'a> {
            /// The fields of `object`; none of anything that is not an object.
            #[must_use]
            $vis fn of(object: &'a gantry_machinery::value::Value) -> Self {
                let mut view = Self::default();
                for (key, value) in object.as_object().into_iter().flat_map(gantry_machinery::value::Object::iter) {
                    if value.is_null() {
                        continue;
                    }
                    match key.as_str() {
                        $($key => view.$field = Some(value),)*
                        _ => {}
                    }
                }
                view
            }
        }
    };
}
pub(crate) use view;

/// Reads a field that may be absent as its Go zero value. The schema has checked types, so a wrong type is absence.
pub trait Held<'a> {
    /// The text; empty if absent.
    fn text(self) -> &'a str;
    /// The items; none if absent.
    fn items(self) -> &'a [Value];
    /// The number, if there is one.
    fn int(self) -> Option<i64>;
    /// The number; zero if absent.
    fn number(self) -> i64;
    /// The truth; false if absent.
    fn truth(self) -> bool;
    /// The fields, if there is an object.
    fn object(self) -> Option<&'a Object>;
    /// The entries of a map; none if absent.
    fn entries(self) -> impl Iterator<Item = (&'a str, &'a Value)>;
}

impl<'a> Held<'a> for Option<&'a Value> {
    fn text(self) -> &'a str {
        self.and_then(Value::as_str).unwrap_or_default()
    }

    fn items(self) -> &'a [Value] {
        self.and_then(Value::as_array).unwrap_or_default()
    }

    fn int(self) -> Option<i64> {
        self.and_then(Value::as_i64)
    }

    fn number(self) -> i64 {
        self.int().unwrap_or_default()
    }

    fn truth(self) -> bool {
        self.and_then(Value::as_bool).unwrap_or_default()
    }

    fn object(self) -> Option<&'a Object> {
        self.and_then(Value::as_object)
    }

    fn entries(self) -> impl Iterator<Item = (&'a str, &'a Value)> {
        self.object().into_iter().flat_map(Object::iter).map(|(k, v)| (k.as_str(), v))
    }
}
