//! The Status errors that patches end in, with upstream's texts.

use crate::status::Status;

/// 422 as upstream's handlers say it when a well-formed patch does not fit the object: they keep the cause to
/// themselves, we add it after upstream's text.
pub(super) fn does_not_apply(cause: &str) -> Status {
    let message = format!("the server rejected our request due to an error in our request: {cause}");
    Status { code: 422, reason: "Invalid", message, details: None }
}

/// 500 without a reason: what upstream makes of an error that has no Status of its own.
pub(super) fn plain(message: impl Into<String>) -> Status {
    Status { code: 500, reason: "", message: message.into(), details: None }
}
