//! What a namespace's labels ask for: a level and a version of the standards for each of the three modes.

use std::fmt;

use gantry_machinery::value::Value;

use crate::registry::validate::{Errors, Path};

/// What the labels begin with.
pub(super) const PREFIX: &str = "pod-security.kubernetes.io/";

/// How strict; each includes the ones before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    /// Everything may run.
    #[default]
    Privileged,
    /// Known privilege escalations may not.
    Baseline,
    /// Only what follows hardening practice may.
    Restricted,
}

impl Level {
    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "privileged" => Self::Privileged,
            "baseline" => Self::Baseline,
            "restricted" => Self::Restricted,
            _ => return None,
        })
    }
}

/// The version of the standards: the minor number of `v1.N`, or the newest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Version {
    /// As this server knows them.
    #[default]
    Latest,
    /// As release 1.N had them.
    Minor(u32),
}

impl Version {
    fn parse(text: &str) -> Option<Self> {
        if text == "latest" {
            return Some(Self::Latest);
        }
        let minor = text.strip_prefix("v1.")?;
        let plain = minor.bytes().all(|b| b.is_ascii_digit()) && (minor == "0" || !minor.starts_with('0'));
        if plain { minor.parse().ok().map(Self::Minor) } else { None }
    }

    /// Whether the standards of release 1.`minor` are in it.
    pub(super) fn has(self, minor: u32) -> bool {
        match self {
            Self::Latest => true,
            Self::Minor(this) => this >= minor,
        }
    }
}

/// A level as some release defines it: `restricted:v1.30`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Standard {
    pub(super) level: Level,
    pub(super) version: Version,
}

impl fmt::Display for Standard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let level = match self.level {
            Level::Privileged => "privileged",
            Level::Baseline => "baseline",
            Level::Restricted => "restricted",
        };
        match self.version {
            Version::Latest => write!(f, "{level}:latest"),
            Version::Minor(minor) => write!(f, "{level}:v1.{minor}"),
        }
    }
}

/// What is asked of a namespace's pods.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Policy {
    /// What breaks it is refused.
    pub(super) enforce: Standard,
    /// What breaks it is let in with a warning.
    pub(super) warn: Standard,
}

impl Policy {
    /// The policy of a namespace. Levels that cannot be read count as the strictest where they enforce and as none where
    /// they only tell.
    pub(super) fn of(namespace: &Value, errors: &mut Errors) -> Self {
        let mut standard = |mode: &str, unreadable: Level| {
            let mut read = |suffix: &str, known: &dyn Fn(&str) -> bool, wrong: &str| {
                let label = format!("{PREFIX}{mode}{suffix}");
                let text = namespace.str_at(&["metadata", "labels", &label])?;
                if !known(text) {
                    errors.invalid(&Path::new("metadata.labels").key(&label), text, wrong);
                }
                Some(text)
            };
            let known = |text: &str| Level::parse(text).is_some();
            let level = read("", &known, "must be one of privileged, baseline, restricted");
            let known = |text: &str| Version::parse(text).is_some();
            let version = read("-version", &known, "must be \"latest\" or \"v1.x\"");
            Standard {
                level: level.map_or(Level::Privileged, |text| Level::parse(text).unwrap_or(unreadable)),
                version: version.and_then(Version::parse).unwrap_or_default(),
            }
        };
        let enforce = standard("enforce", Level::Restricted);
        standard("audit", Level::Privileged);
        Self { enforce, warn: standard("warn", Level::Privileged) }
    }
}

#[cfg(test)]
mod tests {
    use gantry_machinery::value;

    use super::*;

    #[test]
    fn labels_say_level_and_version() {
        let namespace = value!({"metadata": {"labels": {
            "pod-security.kubernetes.io/enforce": "baseline", "pod-security.kubernetes.io/enforce-version": "v1.30",
            "pod-security.kubernetes.io/warn": "restricted",
        }}});
        let mut errors = Errors::new();
        let policy = Policy::of(&namespace, &mut errors);
        assert!(errors.is_empty());
        assert_eq!(policy.enforce.to_string(), "baseline:v1.30");
        assert_eq!(policy.warn.to_string(), "restricted:latest");
        assert!(policy.enforce.version.has(30) && !policy.enforce.version.has(31) && policy.warn.version.has(99));
    }

    #[test]
    fn what_cannot_be_read_enforces_the_most_and_warns_of_nothing() {
        let namespace = value!({"metadata": {"labels": {
            "pod-security.kubernetes.io/enforce": "strict", "pod-security.kubernetes.io/warn": "strict",
            "pod-security.kubernetes.io/audit-version": "v1.07",
        }}});
        let mut errors = Errors::new();
        let policy = Policy::of(&namespace, &mut errors);
        assert_eq!((policy.enforce.level, policy.warn.level), (Level::Restricted, Level::Privileged));
        let told: Vec<String> = errors.into_vec().iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: \"strict\": must be one of \
                 privileged, baseline, restricted",
                "metadata.labels[pod-security.kubernetes.io/audit-version]: Invalid value: \"v1.07\": must be \"latest\" \
                 or \"v1.x\"",
                "metadata.labels[pod-security.kubernetes.io/warn]: Invalid value: \"strict\": must be one of privileged, \
                 baseline, restricted",
            ]
        );
    }
}
