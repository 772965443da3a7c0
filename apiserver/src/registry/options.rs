//! The query parameters of lists and watches that say which state is good enough, and which combinations of them are
//! refused (API concepts, "Resource versions"). The HTTP layer reads queries through this; loops build the typed options
//! themselves.

use gantry_machinery::resource_api::VersionRule;
use gantry_machinery::status::{FieldError, FieldErrorKind, Status};
use gantry_store_cache::revision::Revision;

/// The raw parameters.
#[derive(Clone, Copy, Debug, Default)]
pub struct VersionParameters<'q> {
    /// `resourceVersion`; empty if not given.
    pub resource_version: &'q str,
    /// `resourceVersionMatch`; empty if not given.
    pub resource_version_match: &'q str,
    /// `continue`; empty if not given.
    pub continue_token: &'q str,
    /// `limit`; 0 if not given.
    pub limit: u64,
    /// `sendInitialEvents`, if given.
    pub send_initial_events: Option<bool>,
}

impl VersionParameters<'_> {
    /// Which state a GET may be served from.
    ///
    /// # Errors
    /// 400 for a version that is no number.
    pub fn of_get(&self) -> Result<VersionRule, Status> {
        Ok(match self.resource_version {
            "" => VersionRule::MostRecent,
            "0" => VersionRule::Any,
            version => VersionRule::NotOlderThan(parse(version)?),
        })
    }

    /// Which state a list may be served from.
    ///
    /// # Errors
    /// 422 for combinations that have no meaning, 400 for a version that is no number.
    pub fn of_list(&self) -> Result<VersionRule, Status> {
        let mut errors = Vec::new();
        let matching = self.resource_version_match;
        if !matching.is_empty() {
            if self.resource_version.is_empty() {
                errors.push(forbidden(MATCH, "resourceVersionMatch is forbidden unless resourceVersion is provided"));
            }
            if !self.continue_token.is_empty() {
                errors.push(forbidden(MATCH, "resourceVersionMatch is forbidden when continue is provided"));
            }
            if !matches!(matching, EXACT | NOT_OLDER_THAN) {
                errors.push(not_supported(matching, "\"Exact\", \"NotOlderThan\", \"\""));
            }
            if matching == EXACT && self.resource_version == "0" {
                errors.push(forbidden(MATCH, "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\""));
            }
        }
        if self.send_initial_events.is_some() {
            errors.push(forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list"));
        }
        refuse(&errors)?;
        if !self.continue_token.is_empty() {
            if !matches!(self.resource_version, "" | "0") {
                return Err(Status::bad_request("specifying resource version is not allowed when using continue"));
            }
            return Ok(VersionRule::MostRecent);
        }
        Ok(match (self.resource_version, matching) {
            ("", _) => VersionRule::MostRecent,
            ("0", _) => VersionRule::Any,
            (version, EXACT) => VersionRule::Exact(parse(version)?),
            // A first chunk at a bare version is that version, for the sake of clients older than the match parameter.
            (version, "") if self.limit > 0 => VersionRule::Exact(parse(version)?),
            (version, _) => VersionRule::NotOlderThan(parse(version)?),
        })
    }

    /// Where a watch begins.
    ///
    /// # Errors
    /// 422 for combinations that have no meaning, 400 for a version that is no number.
    pub fn of_watch(&self) -> Result<Option<Revision>, Status> {
        let mut errors = Vec::new();
        let matching = self.resource_version_match;
        if self.send_initial_events.is_some() && matching != NOT_OLDER_THAN {
            errors.push(forbidden(MATCH, "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"));
        }
        if !matching.is_empty() {
            if self.send_initial_events.is_none() {
                errors.push(forbidden(
                    MATCH,
                    "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
                ));
            }
            if matching != NOT_OLDER_THAN {
                errors.push(not_supported(matching, "\"NotOlderThan\""));
            }
            if !self.continue_token.is_empty() {
                errors.push(forbidden(MATCH, "resourceVersionMatch is forbidden when continue is provided"));
            }
        }
        refuse(&errors)?;
        match self.resource_version {
            "" => Ok(None),
            version => parse(version).map(Some),
        }
    }
}

const MATCH: &str = "resourceVersionMatch";
const EXACT: &str = "Exact";
const NOT_OLDER_THAN: &str = "NotOlderThan";

fn parse(version: &str) -> Result<Revision, Status> {
    // `u64::from_str` also takes a plus sign, Go's ParseUint does not.
    match version.parse() {
        Ok(number) if !version.starts_with('+') => Ok(Revision(number)),
        _ => Err(Status::bad_request(format!(
            "resourceVersion: Invalid value: {version:?}: strconv.ParseUint: parsing {version:?}: invalid syntax"
        ))),
    }
}

fn forbidden(field: &str, detail: &str) -> FieldError {
    FieldError { kind: FieldErrorKind::Forbidden, field: field.into(), value: String::new(), detail: detail.into() }
}

fn not_supported(value: &str, supported: &str) -> FieldError {
    FieldError {
        kind: FieldErrorKind::NotSupported,
        field: MATCH.into(),
        value: format!("{value:?}"),
        detail: format!("supported values: {supported}"),
    }
}

fn refuse(errors: &[FieldError]) -> Result<(), Status> {
    if errors.is_empty() { Ok(()) } else { Err(Status::invalid("meta.k8s.io", "ListOptions", "", errors)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(resource_version: &'static str, matching: &'static str, limit: u64) -> Result<VersionRule, Status> {
        VersionParameters { resource_version, resource_version_match: matching, limit, ..Default::default() }.of_list()
    }

    #[test]
    fn every_row_of_the_documented_table() {
        use VersionRule::{Any, Exact, MostRecent, NotOlderThan};
        let five = Revision(5);
        assert_eq!(list("", "", 0).unwrap(), MostRecent);
        assert_eq!(list("0", "", 0).unwrap(), Any);
        assert_eq!(list("5", "", 0).unwrap(), NotOlderThan(five));
        assert_eq!(list("5", "", 10).unwrap(), Exact(five));
        assert_eq!(list("5", "Exact", 0).unwrap(), Exact(five));
        assert_eq!(list("5", "NotOlderThan", 10).unwrap(), NotOlderThan(five));
        assert_eq!(list("0", "NotOlderThan", 0).unwrap(), Any);
        assert_eq!(list("", "Exact", 0).unwrap_err().code, 422);
        assert_eq!(list("0", "Exact", 0).unwrap_err().code, 422);
        assert_eq!(list("5", "Newer", 0).unwrap_err().code, 422);
        assert_eq!(list("x", "", 0).unwrap_err().code, 400);
        assert_eq!(list("+5", "", 0).unwrap_err().code, 400);
    }

    #[test]
    fn a_continued_list_has_no_version_of_its_own() {
        let with = |resource_version, resource_version_match| VersionParameters {
            resource_version,
            resource_version_match,
            continue_token: "x",
            ..Default::default()
        };
        assert_eq!(with("", "").of_list().unwrap(), VersionRule::MostRecent);
        assert_eq!(with("5", "").of_list().unwrap_err().code, 400);
        assert_eq!(with("5", "Exact").of_list().unwrap_err().code, 422);
    }

    #[test]
    fn initial_events_need_not_older_than() {
        let with = |resource_version_match, send_initial_events| VersionParameters {
            resource_version: "7",
            resource_version_match,
            send_initial_events,
            ..Default::default()
        };
        assert_eq!(with("NotOlderThan", Some(true)).of_watch().unwrap(), Some(Revision(7)));
        assert_eq!(with("", None).of_watch().unwrap(), Some(Revision(7)));
        assert_eq!(with("", Some(true)).of_watch().unwrap_err().code, 422);
        assert_eq!(with("NotOlderThan", None).of_watch().unwrap_err().code, 422);
        assert!(with("NotOlderThan", Some(true)).of_list().is_err());
    }
}
