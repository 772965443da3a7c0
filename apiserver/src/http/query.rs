//! The query of a request as typed options, with upstream's reading and upstream's refusals.
//!
//! Booleans never fail (anything but `false` and `0` is true), numbers do (400), combinations that make no sense are
//! 422 on the options' own kind (`ListOptions.meta.k8s.io "" is invalid: ...`).

use std::borrow::Cow;
use std::time::Duration;

use gantry_machinery::resource_api::{
    DeleteOptions, FieldValidation, ListOptions, VersionRule, WatchOptions, WriteOptions,
};
use gantry_machinery::selector::{FieldSelector, LabelSelector, ShardSelector};
use gantry_machinery::status::{FieldError, Status};
use gantry_machinery::value::Value;
use gantry_store_cache::revision::Revision;
use smallvec::SmallVec;

use super::route::{parameters, truth};
use crate::registry;

/// A field manager's name may be this long.
const FIELD_MANAGER_MAX: usize = 128;

/// The parameters of one request.
#[derive(Debug)]
pub struct Query<'q> {
    pairs: SmallVec<[(Cow<'q, str>, Cow<'q, str>); 8]>,
}

/// Which write the options are for: their checks differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteVerb {
    /// POST.
    Create,
    /// PUT.
    Update,
    /// PATCH in one of the three formats that are no apply.
    Patch,
    /// Server-side apply.
    Apply,
}

impl WriteVerb {
    fn options_kind(self) -> &'static str {
        match self {
            Self::Create => "CreateOptions",
            Self::Update => "UpdateOptions",
            Self::Patch | Self::Apply => "PatchOptions",
        }
    }
}

/// What a watch is asked for, with what the registry's options cannot say.
#[derive(Debug)]
pub struct WatchRequest {
    /// For the registry.
    pub options: WatchOptions,
    /// `sendInitialEvents=false` without a revision: begin now, show nothing that is there already.
    pub from_now: bool,
}

impl<'q> Query<'q> {
    /// Reads a query.
    #[must_use]
    pub fn new(query: &'q str) -> Self {
        Self { pairs: parameters(query).collect() }
    }

    /// A parameter's first value; empty where it is missing.
    #[must_use]
    pub fn text(&self, name: &str) -> &str {
        self.pairs.iter().find(|(k, _)| k == name).map_or("", |(_, v)| v)
    }

    /// A boolean; `None` where it is missing.
    #[must_use]
    pub fn truth(&self, name: &str) -> Option<bool> {
        self.pairs.iter().find(|(k, _)| k == name).map(|(_, v)| truth(v))
    }

    /// Every value of a parameter.
    pub fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.pairs.iter().filter(move |(k, _)| k == name).map(|(_, v)| v.as_ref())
    }

    fn integer(&self, name: &str) -> Result<Option<i64>, Status> {
        match self.text(name) {
            "" => Ok(None),
            text => match text.parse() {
                Ok(number) => Ok(Some(number)),
                Err(e) => Err(Status::bad_request(format!(
                    "strconv.ParseInt: parsing {text:?}: {}",
                    go_number_error(&e, "value out of range", "invalid syntax")
                ))),
            },
        }
    }

    fn revision(&self) -> Result<Option<Revision>, Status> {
        revision(self.text("resourceVersion"))
    }

    fn selectors(&self) -> Result<(LabelSelector, FieldSelector), Status> {
        let labels =
            LabelSelector::parse(self.text("labelSelector")).map_err(|e| Status::bad_request(e.to_string()))?;
        let fields =
            FieldSelector::parse(self.text("fieldSelector")).map_err(|e| Status::bad_request(e.to_string()))?;
        Ok((labels, fields))
    }

    /// The part of a collection that is asked for, by servers that have shards.
    ///
    /// # Errors
    /// 400.
    pub fn shard(&self) -> Result<Option<ShardSelector>, Status> {
        match self.text("shardSelector") {
            "" => Ok(None),
            text => ShardSelector::parse(text)
                .map(Some)
                .map_err(|e| Status::bad_request(format!("invalid shard selector: {e}"))),
        }
    }

    /// The state that a get asks for.
    ///
    /// # Errors
    /// 400.
    pub fn get_version(&self) -> Result<VersionRule, Status> {
        Ok(match self.revision()? {
            None => VersionRule::MostRecent,
            Some(Revision(0)) => VersionRule::Any,
            Some(revision) => VersionRule::NotOlderThan(revision),
        })
    }

    /// The options of a list.
    ///
    /// # Errors
    /// 400 or 422.
    pub fn list_options(&self) -> Result<ListOptions, Status> {
        let (labels, fields) = self.selectors()?;
        let limit = self.integer("limit")?.and_then(|l| u64::try_from(l).ok()).unwrap_or(0);
        self.integer("timeoutSeconds")?;
        let (version, matching, token) =
            (self.text("resourceVersion"), self.text("resourceVersionMatch"), self.text("continue"));
        let mut errors = Vec::new();
        const MATCH: &str = "resourceVersionMatch";
        if !matching.is_empty() {
            if version.is_empty() {
                errors.push(FieldError::forbidden(
                    MATCH,
                    "resourceVersionMatch is forbidden unless resourceVersion is provided",
                ));
            }
            if !token.is_empty() {
                errors
                    .push(FieldError::forbidden(MATCH, "resourceVersionMatch is forbidden when continue is provided"));
            }
            if !matches!(matching, "Exact" | "NotOlderThan") {
                errors.push(FieldError::not_supported(MATCH, matching, &["Exact", "NotOlderThan", ""]));
            }
            if matching == "Exact" && version == "0" {
                errors.push(FieldError::forbidden(
                    MATCH,
                    "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"",
                ));
            }
        }
        if self.truth("sendInitialEvents").is_some() {
            errors.push(FieldError::forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list"));
        }
        refuse("ListOptions", &errors)?;
        let asked = self.revision()?;
        if !token.is_empty() && !matches!(version, "" | "0") {
            return Err(Status::bad_request("specifying resource version is not allowed when using continue"));
        }
        let version = match (asked, matching) {
            (None, _) => VersionRule::MostRecent,
            (Some(Revision(0)), _) => VersionRule::Any,
            (Some(revision), "Exact") => VersionRule::Exact(revision),
            // A chunk of a list at a given version is that very version, as it has always been (API concepts).
            (Some(revision), "") if limit > 0 => VersionRule::Exact(revision),
            (Some(revision), _) => VersionRule::NotOlderThan(revision),
        };
        Ok(ListOptions { labels, fields, shard: None, limit, continue_token: token.to_owned(), version })
    }

    /// The options of a watch.
    ///
    /// # Errors
    /// 400 or 422.
    pub fn watch_options(&self) -> Result<WatchRequest, Status> {
        let (labels, fields) = self.selectors()?;
        let timeout = self.integer("timeoutSeconds")?.and_then(|s| u64::try_from(s).ok()).filter(|s| *s > 0);
        let (matching, initial) = (self.text("resourceVersionMatch"), self.truth("sendInitialEvents"));
        let mut errors = Vec::new();
        const MATCH: &str = "resourceVersionMatch";
        if initial.is_some() && matching != "NotOlderThan" {
            errors.push(FieldError::forbidden(
                MATCH,
                "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
            ));
        }
        if !matching.is_empty() {
            if initial.is_none() {
                errors.push(FieldError::forbidden(
                    MATCH,
                    "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
                ));
            }
            if matching != "NotOlderThan" {
                errors.push(FieldError::not_supported(MATCH, matching, &["NotOlderThan"]));
            }
            if !self.text("continue").is_empty() {
                errors
                    .push(FieldError::forbidden(MATCH, "resourceVersionMatch is forbidden when continue is provided"));
            }
        }
        refuse("ListOptions", &errors)?;
        let after = self.revision()?;
        let options = WatchOptions {
            labels,
            fields,
            shard: None,
            after,
            bookmarks: self.truth("allowWatchBookmarks").unwrap_or(false),
            initial_events: initial.unwrap_or(false),
            timeout: timeout.map(Duration::from_secs),
        };
        let from_now = initial == Some(false) && after.is_none_or(|a| a == Revision(0));
        Ok(WatchRequest { options, from_now })
    }

    /// The options of a write.
    ///
    /// # Errors
    /// 422.
    pub fn write_options(&self, verb: WriteVerb) -> Result<WriteOptions, Status> {
        let mut errors = Vec::new();
        let dry_run = dry_run(self.all("dryRun"), &mut errors);
        let field_manager = self.text("fieldManager");
        check_field_manager(field_manager, &mut errors);
        let force = self.truth("force");
        match verb {
            WriteVerb::Apply if field_manager.is_empty() => {
                errors.push(FieldError::required("fieldManager", "is required for apply patch"));
            }
            WriteVerb::Patch if force.is_some() => {
                errors.push(FieldError::forbidden("force", "may not be specified for non-apply patch"));
            }
            _ => {}
        }
        let field_validation = match self.text("fieldValidation") {
            "" | "Warn" => FieldValidation::Warn,
            "Ignore" => FieldValidation::Ignore,
            "Strict" => FieldValidation::Strict,
            other => {
                errors.push(FieldError::not_supported("fieldValidation", other, &["", "Ignore", "Strict", "Warn"]));
                FieldValidation::Warn
            }
        };
        refuse(verb.options_kind(), &errors)?;
        let field_manager = field_manager.to_owned();
        Ok(WriteOptions { field_manager, dry_run, field_validation, force: force.unwrap_or(false) })
    }

    /// The options of a delete: from the body, where there is one, else from the query.
    ///
    /// # Errors
    /// 400 or 422.
    pub fn delete_options(&self, body: Option<&Value>) -> Result<DeleteOptions, Status> {
        if let Some(body) = body {
            let kind = body.str_at(&["kind"]).unwrap_or("DeleteOptions");
            if kind != "DeleteOptions" {
                return Err(Status::bad_request(format!("the body of a delete is DeleteOptions, not {kind:?}")));
            }
            return registry::delete_options(Some(body));
        }
        let mut options = Value::object();
        if let Some(seconds) = self.integer("gracePeriodSeconds")? {
            options.set(&["gracePeriodSeconds"], seconds);
        }
        if let Some(orphan) = self.truth("orphanDependents") {
            options.set(&["orphanDependents"], orphan);
        }
        match self.text("propagationPolicy") {
            "" => {}
            policy => options.set(&["propagationPolicy"], policy),
        }
        options.set(&["dryRun"], self.all("dryRun").map(Value::from).collect::<Vec<_>>());
        registry::delete_options(Some(&options))
    }
}

/// A `resourceVersion` as a revision; `None` where it is empty.
fn revision(text: &str) -> Result<Option<Revision>, Status> {
    if text.is_empty() {
        return Ok(None);
    }
    match text.parse::<u64>() {
        Ok(number) => Ok(Some(Revision(number))),
        Err(e) => {
            let why = go_number_error(&e, "value out of range", "invalid syntax");
            Err(Status::bad_request(format!(
                "resourceVersion: Invalid value: {text:?}: strconv.ParseUint: parsing {text:?}: {why}"
            )))
        }
    }
}

fn go_number_error<'a>(error: &std::num::ParseIntError, range: &'a str, syntax: &'a str) -> &'a str {
    use std::num::IntErrorKind::{NegOverflow, PosOverflow};
    if matches!(error.kind(), PosOverflow | NegOverflow) { range } else { syntax }
}

fn dry_run<'a>(values: impl Iterator<Item = &'a str>, errors: &mut Vec<FieldError>) -> bool {
    let values: Vec<&str> = values.collect();
    for value in values.iter().filter(|v| **v != "All") {
        errors.push(FieldError::not_supported("dryRun", *value, &["All"]));
    }
    !values.is_empty()
}

fn check_field_manager(name: &str, errors: &mut Vec<FieldError>) {
    if name.len() > FIELD_MANAGER_MAX {
        errors.push(FieldError::too_long("fieldManager", FIELD_MANAGER_MAX));
    }
    if let Some((at, c)) = name.char_indices().find(|(_, c)| c.is_control()) {
        let detail = format!("should only contain printable characters: {:?} at {at}", c);
        errors.push(FieldError::invalid("fieldManager", name, detail));
    }
}

fn refuse(kind: &str, errors: &[FieldError]) -> Result<(), Status> {
    if errors.is_empty() { Ok(()) } else { Err(Status::invalid("meta.k8s.io", kind, "", errors)) }
}

#[cfg(test)]
mod tests {
    use gantry_machinery::resource_api::Propagation;
    use gantry_machinery::value;

    use super::*;

    #[test]
    fn a_lists_version_rules_follow_the_api_concepts() {
        let rule = |q: &str| Query::new(q).list_options().unwrap().version;
        assert_eq!(rule(""), VersionRule::MostRecent);
        assert_eq!(rule("resourceVersion=0"), VersionRule::Any);
        assert_eq!(rule("resourceVersion=7"), VersionRule::NotOlderThan(Revision(7)));
        assert_eq!(rule("resourceVersion=7&limit=5"), VersionRule::Exact(Revision(7)));
        assert_eq!(rule("resourceVersion=7&resourceVersionMatch=Exact"), VersionRule::Exact(Revision(7)));
    }

    #[test]
    fn senseless_options_are_refused_in_upstreams_words() {
        let list = |q: &str| Query::new(q).list_options().unwrap_err();
        assert_eq!(
            list("resourceVersionMatch=Exact").message,
            "ListOptions.meta.k8s.io \"\" is invalid: resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden \
             unless resourceVersion is provided"
        );
        assert_eq!(list("limit=x").message, "strconv.ParseInt: parsing \"x\": invalid syntax");
        assert_eq!((list("resourceVersion=a").code, list("sendInitialEvents=1&resourceVersion=1").code), (400, 422));
        assert_eq!(Query::new("resourceVersionMatch=NotOlderThan").watch_options().unwrap_err().code, 422);
        let create = Query::new("dryRun=x").write_options(WriteVerb::Create).unwrap_err();
        assert_eq!(
            create.message,
            "CreateOptions.meta.k8s.io \"\" is invalid: dryRun: Unsupported value: \"x\": supported values: \"All\""
        );
        assert_eq!(Query::new("").write_options(WriteVerb::Apply).unwrap_err().code, 422);
        assert_eq!(Query::new("force=1").write_options(WriteVerb::Patch).unwrap_err().code, 422);
    }

    #[test]
    fn streaming_lists_and_bookmarks_are_read() {
        let q = "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&timeoutSeconds=9";
        let asked = Query::new(q).watch_options().unwrap();
        assert!(asked.options.initial_events && asked.options.bookmarks && !asked.from_now);
        assert_eq!(asked.options.timeout, Some(Duration::from_secs(9)));
        let q = "sendInitialEvents=false&resourceVersionMatch=NotOlderThan";
        assert!(Query::new(q).watch_options().unwrap().from_now);
    }

    #[test]
    fn delete_options_come_from_the_body_or_else_the_query() {
        let query = Query::new("gracePeriodSeconds=5&propagationPolicy=Foreground");
        let options = query.delete_options(None).unwrap();
        assert_eq!((options.grace_period_seconds, options.propagation), (Some(5), Some(Propagation::Foreground)));
        let body = value!({"kind": "DeleteOptions", "orphanDependents": true, "preconditions": {"uid": "u"}, "dryRun": ["All"]});
        let options = query.delete_options(Some(&body)).unwrap();
        assert_eq!((options.grace_period_seconds, options.propagation), (None, Some(Propagation::Orphan)));
        assert!(options.dry_run && options.uid.as_deref() == Some("u"));
        let both = value!({"orphanDependents": true, "propagationPolicy": "Orphan"});
        assert_eq!(query.delete_options(Some(&both)).unwrap_err().code, 422);
        assert_eq!(query.delete_options(Some(&value!({"kind": "Pod"}))).unwrap_err().code, 400);
    }
}
