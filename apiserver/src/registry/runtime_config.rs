//! `--runtime-config`: which versions and resources of the API are served (upstream's flag, rule for rule).
//!
//! Read once at start, before the table of resources is made from it ([`super::kinds::served`]). Stable versions are on
//! and all others off until the flag says otherwise; the order of its parts does not matter: `api/all`, `api/ga`,
//! `api/beta` and `api/alpha` come first, then versions, then single resources.

use std::collections::{BTreeMap, BTreeSet};

use gantry_machinery::feature::parse_bool;
use gantry_machinery::resource::{self, GroupVersionResource};

use super::kinds;

/// What the flag switches, by itself meaning the default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuntimeConfig {
    /// Whole stages, in the order in which they apply.
    stages: Vec<(Stage, bool)>,
    /// By group and version.
    versions: BTreeMap<(String, String), bool>,
    /// By group, version and resource.
    resources: BTreeMap<(String, String, String), bool>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    All,
    Stable,
    Beta,
    Alpha,
}

/// The stages by their keys, in the order in which they apply.
const STAGES: [(&str, Stage); 4] =
    [("api/all", Stage::All), ("api/ga", Stage::Stable), ("api/beta", Stage::Beta), ("api/alpha", Stage::Alpha)];

/// Versions that 1.36 still knows but serves nothing in: naming them is no mistake.
const KNOWN_ONLY: &[(&str, &str)] = &[
    ("apps", "v1beta1"),
    ("apps", "v1beta2"),
    ("authentication.k8s.io", "v1alpha1"),
    ("authentication.k8s.io", "v1beta1"),
    ("authorization.k8s.io", "v1beta1"),
    ("batch", "v1beta1"),
    ("coordination.k8s.io", "v1beta1"),
    ("discovery.k8s.io", "v1beta1"),
    ("events.k8s.io", "v1beta1"),
    ("extensions", "v1beta1"),
    ("flowcontrol.apiserver.k8s.io", "v1beta1"),
    ("flowcontrol.apiserver.k8s.io", "v1beta2"),
    ("flowcontrol.apiserver.k8s.io", "v1beta3"),
    ("imagepolicy.k8s.io", "v1alpha1"),
    ("node.k8s.io", "v1alpha1"),
    ("node.k8s.io", "v1beta1"),
    ("policy", "v1beta1"),
    ("rbac.authorization.k8s.io", "v1alpha1"),
    ("rbac.authorization.k8s.io", "v1beta1"),
    ("scheduling.k8s.io", "v1alpha1"),
    ("scheduling.k8s.io", "v1beta1"),
    ("storage.k8s.io", "v1alpha1"),
];

impl Stage {
    fn has(self, version: &str) -> bool {
        match self {
            Self::All => true,
            own => Self::of(version) == Some(own),
        }
    }

    /// `v1`, `v1beta1`, `v1alpha1`; `None` for a version of another form.
    fn of(version: &str) -> Option<Self> {
        let number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let rest = version.strip_prefix('v')?;
        let with = |word: &str| rest.split_once(word).is_some_and(|(major, minor)| number(major) && number(minor));
        if number(rest) {
            Some(Self::Stable)
        } else if with("beta") {
            Some(Self::Beta)
        } else if with("alpha") {
            Some(Self::Alpha)
        } else {
            None
        }
    }
}

impl RuntimeConfig {
    /// Reads the flag's values, each a list of `key=value` with commas between; of two equal keys the last counts.
    ///
    /// # Errors
    /// What is wrong, in one line without the flag's name.
    pub fn parse<'v>(values: impl IntoIterator<Item = &'v str>) -> Result<Self, String> {
        let mut given: BTreeMap<&str, &str> = BTreeMap::new();
        for part in values.into_iter().flat_map(|value| value.split(',')).filter(|part| !part.is_empty()) {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            given.insert(key.trim(), value.trim());
        }
        if given.len() == 1 && given.get("api/all") == Some(&"false") {
            return Err("invalid key with only api/all=false".to_owned());
        }
        let mut config = Self::default();
        let mut unknown: BTreeSet<&str> = BTreeSet::new();
        for (key, value) in &given {
            if STAGES.iter().any(|(stage, _)| stage == key) {
                continue;
            }
            let parts: Vec<&str> = key.split('/').collect();
            let (group, version, resource) = match parts[..] {
                [group, version] => (group, version, None),
                [group, version, resource] => (group, version, Some(resource)),
                _ => return Err(format!("runtime-config invalid key {key}")),
            };
            if !is_group(group) {
                unknown.insert(group);
                continue;
            }
            if !is_version(group, version) {
                return Err(format!("group version {group}/{version} that has not been registered"));
            }
            let on = truth(key, value)?;
            let Some(resource) = resource else {
                refuse_unbuilt(on, key, |gvr| gvr.group == group && gvr.version == version)?;
                config.versions.insert((group.to_owned(), version.to_owned()), on);
                continue;
            };
            if resource.to_lowercase() != resource {
                return Err(format!(
                    "invalid key {key}: group/version/resource and resource is always lowercase plural, not {resource:?}"
                ));
            }
            let named =
                |gvr: &GroupVersionResource| gvr.group == group && gvr.version == version && gvr.resource == resource;
            refuse_unbuilt(on, key, named)?;
            config.resources.insert((group.to_owned(), version.to_owned(), resource.to_owned()), on);
        }
        if !unknown.is_empty() {
            return Err(format!("unknown api groups {}", unknown.into_iter().collect::<Vec<_>>().join(",")));
        }
        for (key, stage) in STAGES {
            match given.get(key) {
                None => {}
                Some(&"true") => config.stages.push((stage, true)),
                Some(&"false") => config.stages.push((stage, false)),
                Some(value) => return Err(format!("invalid value {key}={value}")),
            }
        }
        Ok(config)
    }

    /// Whether a resource is served.
    #[must_use]
    pub fn serves(&self, gvr: &GroupVersionResource) -> bool {
        let (group, version) = (gvr.group.to_string(), gvr.version.to_string());
        let key = (group, version, gvr.resource.to_string());
        if let Some(on) = self.resources.get(&key) {
            return *on;
        }
        let (group, version, _) = key;
        let by_default = Stage::of(&version) == Some(Stage::Stable);
        let by_stage = self.stages.iter().rfind(|(stage, _)| stage.has(&version)).map(|(_, on)| *on);
        self.versions.get(&(group, version)).copied().or(by_stage).unwrap_or(by_default)
    }
}

impl std::str::FromStr for RuntimeConfig {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::parse([text])
    }
}

fn is_group(group: &str) -> bool {
    resource::table().iter().any(|row| row.gvr.group == group) || KNOWN_ONLY.iter().any(|(known, _)| *known == group)
}

fn is_version(group: &str, version: &str) -> bool {
    resource::table().iter().any(|row| row.gvr.group == group && row.gvr.version == version)
        || KNOWN_ONLY.contains(&(group, version))
}

/// Turning on what 1.36 has and this server has not is refused: it would look as if it were there.
fn refuse_unbuilt(on: bool, key: &str, named: impl Fn(&GroupVersionResource) -> bool) -> Result<(), String> {
    let stable = |gvr: &GroupVersionResource| Stage::of(&gvr.version) == Some(Stage::Stable);
    let wanted = resource::table().iter().any(|row| named(&row.gvr) && !stable(&row.gvr));
    if on && wanted && !kinds::every().iter().any(|kind| named(&kind.resource().gvr)) {
        return Err(format!("{key} is not built yet"));
    }
    Ok(())
}

/// A boolean; nothing at all is true.
fn truth(key: &str, value: &str) -> Result<bool, String> {
    let read = if value.is_empty() { Ok(true) } else { parse_bool(value) };
    read.map_err(|error| format!("invalid value of {key}: {value}, err: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn served(flag: &str) -> Vec<String> {
        let config: RuntimeConfig = flag.parse().unwrap();
        let asked = [
            ("batch", "v1", "jobs"),
            ("batch", "v1", "cronjobs"),
            ("storage.k8s.io", "v1beta1", "volumeattributesclasses"),
            ("coordination.k8s.io", "v1alpha2", "leasecandidates"),
        ];
        let on = asked.into_iter().filter(|(g, v, r)| config.serves(&GroupVersionResource::of(g, v, r)));
        on.map(|(_, version, resource)| format!("{version}/{resource}")).collect()
    }

    #[test]
    fn the_narrower_key_wins_in_whatever_order() {
        let (jobs, crons, beta, alpha) =
            ("v1/jobs", "v1/cronjobs", "v1beta1/volumeattributesclasses", "v1alpha2/leasecandidates");
        for (flag, expected) in [
            ("", vec![jobs, crons]),
            ("api/beta=true", vec![jobs, crons, beta]),
            ("api/all=true", vec![jobs, crons, beta, alpha]),
            ("api/all=true,api/alpha=false", vec![jobs, crons, beta]),
            ("api/alpha=false,api/all=true", vec![jobs, crons, beta]),
            ("api/ga=false,storage.k8s.io/v1beta1", vec![beta]),
            ("api/all=false,batch/v1=true", vec![jobs, crons]),
            ("batch/v1=false", vec![]),
            ("batch/v1=false,batch/v1/jobs=1", vec![jobs]),
            ("batch/v1/jobs=F", vec![crons]),
            ("storage.k8s.io/v1beta1/volumeattributesclasses=true", vec![jobs, crons, beta]),
            (" batch/v1 = false ,,", vec![]),
            ("policy/v1beta1=true", vec![jobs, crons]),
        ] {
            assert_eq!(served(flag), expected, "{flag}");
        }
    }

    #[test]
    fn mistakes_are_told_in_upstreams_words() {
        for (flag, text) in [
            ("api/all=false", "invalid key with only api/all=false"),
            ("v1=true", "runtime-config invalid key v1"),
            ("a/b/c/d=true", "runtime-config invalid key a/b/c/d"),
            ("nothing.example/v1=true,other.example/v1", "unknown api groups nothing.example,other.example"),
            ("batch/v2alpha1=true", "group version batch/v2alpha1 that has not been registered"),
            ("api/beta=yes", "invalid value api/beta=yes"),
            (
                "batch/v1=maybe",
                "invalid value of batch/v1: maybe, err: strconv.ParseBool: parsing \"maybe\": invalid syntax",
            ),
            (
                "batch/v1/Jobs=true",
                "invalid key batch/v1/Jobs: group/version/resource and resource is always lowercase plural, not \"Jobs\"",
            ),
        ] {
            assert_eq!(flag.parse::<RuntimeConfig>().unwrap_err(), text, "{flag}");
        }
    }

    #[test]
    fn the_core_group_is_named_by_nothing() {
        let config: RuntimeConfig = "/v1/configmaps=false".parse().unwrap();
        assert!(!config.serves(&GroupVersionResource::of("", "v1", "configmaps")));
        assert!(config.serves(&GroupVersionResource::of("", "v1", "pods")));
    }
}
