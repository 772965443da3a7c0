//! CEL expressions at their fields: whether they parse; and of device selectors, whether they can be evaluated. Types and
//! names of others are checked by whoever evaluates them. The language itself is [`gantry_cel`]'s.

use gantry_cel::device::Selector;

use super::{Errors, Path};

/// An expression that only has to parse.
pub fn check(expression: &str, at: &Path<'_>, errors: &mut Errors) {
    if let Err(why) = gantry_cel::parse(expression) {
        errors.invalid(at, expression, why.to_string());
    }
}

/// A selector of devices. What has passed, the scheduler compiles.
pub fn check_device_selector(expression: &str, at: &Path<'_>, errors: &mut Errors) {
    if let Err(why) = Selector::compile(expression) {
        errors.invalid(at, expression, why.to_string());
    }
}
