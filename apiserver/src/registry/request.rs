//! Who asks, and what goes back beside the answer: the part of a request that every verb sees.
//!
//! Made by the gate (or by a loop that runs in process) once per request and shared from there on; the verbs read the
//! user for admission, the field manager for managedFields, and leave warnings for the `Warning` headers.

use std::sync::Arc;

use compact_str::CompactString;
use parking_lot::Mutex;

/// The user that authentication found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserInfo {
    /// The name (`system:serviceaccount:default:default`).
    pub name: String,
    /// The uid, where the authenticator knows one.
    pub uid: String,
    /// The groups, `system:authenticated` included.
    pub groups: Vec<String>,
    /// Whatever else the authenticator says, by key.
    pub extra: Vec<(String, Vec<String>)>,
}

impl UserInfo {
    /// A user of these groups, with nothing else known.
    #[must_use]
    pub fn new(name: impl Into<String>, groups: &[&str]) -> Self {
        Self { name: name.into(), groups: groups.iter().map(ToString::to_string).collect(), ..Self::default() }
    }

    /// Whether the user is in a group.
    #[must_use]
    pub fn is_in(&self, group: &str) -> bool {
        self.groups.iter().any(|g| g == group)
    }
}

/// One request: its user and its side channels. Shared by reference; only the warnings change.
#[derive(Debug, Default)]
pub struct RequestContext {
    /// Who asks.
    pub user: UserInfo,
    /// The `User-Agent` as sent; a loop's name in process.
    pub user_agent: String,
    /// The id under which the request is logged (`Audit-Id`).
    pub audit_id: CompactString,
    /// What the answer warns about.
    pub warnings: Warnings,
}

impl RequestContext {
    /// A request of a loop inside this process: `name` is its user and its field manager.
    #[must_use]
    pub fn in_process(name: &str) -> Arc<Self> {
        Arc::new(Self {
            user: UserInfo::new(name, &["system:masters", "system:authenticated"]),
            user_agent: name.to_owned(),
            ..Self::default()
        })
    }

    /// Who is recorded in managedFields: `asked` if given, else the user agent's first word, as upstream takes it
    /// (at most 128 characters, printable).
    #[must_use]
    pub fn field_manager<'a>(&'a self, asked: &'a str) -> &'a str {
        const LONGEST: usize = 128;
        if !asked.is_empty() {
            return asked;
        }
        let agent = self.user_agent.split('/').next().unwrap_or_default();
        let end = agent
            .char_indices()
            .find(|(at, c)| *at + c.len_utf8() > LONGEST || c.is_control())
            .map_or(agent.len(), |(at, _)| at);
        &agent[..end]
    }
}

/// Advice that accumulates during a request and leaves as `Warning: 299` headers. Bounded as upstream bounds it.
#[derive(Debug, Default)]
pub struct Warnings {
    texts: Mutex<Vec<String>>,
}

impl Warnings {
    /// Upstream stops adding warnings when their headers would grow beyond 4 KiB; we stop at as many texts.
    const TEXTS_MAX: usize = 64;

    /// Adds a warning unless it is already there.
    pub fn add(&self, text: impl Into<String>) {
        let text = text.into();
        let mut texts = self.texts.lock();
        if texts.len() < Self::TEXTS_MAX && !texts.contains(&text) {
            texts.push(text);
        }
    }

    /// The warnings so far, in order; none remain.
    #[must_use]
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.texts.lock())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn field_manager_is_what_was_asked_or_the_agents_first_word() {
        let request = RequestContext { user_agent: "kubectl/v1.36.0 (linux/amd64)".into(), ..Default::default() };
        assert_eq!(request.field_manager(""), "kubectl");
        assert_eq!(request.field_manager("mine"), "mine");
        let long = RequestContext { user_agent: "x".repeat(300), ..Default::default() };
        assert_eq!(long.field_manager("").len(), 128);
    }

    #[test]
    fn a_warning_is_given_once() {
        let warnings = Warnings::default();
        warnings.add("a");
        warnings.add("b");
        warnings.add("a");
        assert_eq!(warnings.take(), ["a", "b"]);
        assert!(warnings.take().is_empty());
    }
}
