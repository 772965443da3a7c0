//! `KubeSchedulerConfiguration` (`kubescheduler.config.k8s.io/v1`): a file, read strictly into what the scheduler runs
//! with. Upstream's defaults, upstream's limits, upstream's texts where it has any; everything that is wrong is said at
//! once, in one line.
//!
//! Read once at start by the roles; nothing here is asked again while scheduling.

mod arguments;
mod extenders;
mod fields;
mod plugins;
mod shown;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use gantry_machinery::feature::{Gate, Gates};
use gantry_machinery::status::FieldError;
use gantry_scheduler_core::cycle;
use gantry_scheduler_core::profile::{Plugin, Profile};

use super::extender::ExtenderConfig;
use crate::runtime::leader::LeaderConfig;
use fields::{Faults, Fields};
use plugins::{Enabled, Point};

const VERSION: &str = "kubescheduler.config.k8s.io/v1";
/// Profile numbers are small, and upstream's users have a handful.
const PROFILES_MAX: usize = 1000;

/// A file that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(String);

/// How the scheduler runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Configuration {
    /// The scheduler names and what they stand for.
    pub profiles: Vec<Profile>,
    /// HTTP extenders, in order.
    pub extenders: Vec<ExtenderConfig>,
    /// The pause after a first failure.
    pub backoff_first: Duration,
    /// The longest pause.
    pub backoff_max: Duration,
    /// Whether to wait for a Lease that one of several instances holds.
    pub leader_elect: bool,
    /// The Lease's namespace, name and times.
    pub lease: Lease,
    /// `clientConnection.kubeconfig`.
    pub kubeconfig: Option<PathBuf>,
    /// Whether the pods of a gang are placed together (feature gate `GangScheduling`).
    pub gangs: bool,
    /// Whether devices stand in for extended resources.
    pub devices_stand_in: bool,
    /// What was accepted and has no effect here, to be said once.
    pub notices: Vec<String>,
}

/// How leadership is held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// `leaderElection.resourceName`.
    pub name: String,
    /// `leaderElection.leaseDuration`.
    pub duration: Duration,
    /// `leaderElection.renewDeadline`.
    pub renew_deadline: Duration,
    /// `leaderElection.retryPeriod`.
    pub retry: Duration,
}

impl Lease {
    /// As the election wants it.
    #[must_use]
    pub fn config(&self, identity: String) -> LeaderConfig {
        LeaderConfig {
            name: self.name.clone(),
            identity,
            lease: self.duration,
            renew_deadline: self.renew_deadline,
            retry: self.retry,
        }
    }
}

impl Default for Configuration {
    fn default() -> Self {
        Self {
            profiles: vec![Profile::default()],
            extenders: Vec::new(),
            backoff_first: Duration::from_secs(1),
            backoff_max: Duration::from_secs(10),
            leader_elect: true,
            lease: Lease {
                name: "kube-scheduler".into(),
                duration: Duration::from_secs(15),
                renew_deadline: Duration::from_secs(10),
                retry: Duration::from_secs(2),
            },
            kubeconfig: None,
            gangs: false,
            devices_stand_in: true,
            notices: Vec::new(),
        }
    }
}

const FIELDS: &[&str] = &[
    "apiVersion",
    "kind",
    "parallelism",
    "leaderElection",
    "clientConnection",
    "healthzBindAddress",
    "metricsBindAddress",
    "enableProfiling",
    "enableContentionProfiling",
    "percentageOfNodesToScore",
    "podInitialBackoffSeconds",
    "podMaxBackoffSeconds",
    "profiles",
    "extenders",
    "delayCacheUntilActive",
];

impl Configuration {
    /// The configuration in a file's bytes.
    /// # Errors
    /// Everything that is wrong with it, in one line.
    pub fn read(bytes: &[u8]) -> Result<Self, ConfigError> {
        let document = fields::document(bytes).map_err(ConfigError)?;
        let of = |key: &str| document.at(&[key]).and_then(|value| value.as_str()).unwrap_or_default();
        let (version, kind) = (of("apiVersion"), of("kind"));
        for (field, value) in [("Kind", kind), ("apiVersion", version)] {
            if value.is_empty() {
                return Err(ConfigError(format!(
                    "Object '{field}' is missing: expected kind KubeSchedulerConfiguration of apiVersion {VERSION}"
                )));
            }
        }
        if (version, kind) != (VERSION, "KubeSchedulerConfiguration") {
            return Err(ConfigError(format!(
                "no kind {kind:?} is registered for version {version:?}: expected kind KubeSchedulerConfiguration of apiVersion {VERSION}"
            )));
        }
        let faults = Faults::default();
        let config = Self::of(&Fields::new(String::new(), Some(&document), FIELDS, &faults));
        match faults.into_text() {
            Some(text) => Err(ConfigError(text)),
            None => Ok(config),
        }
    }

    fn of(fields: &Fields<'_>) -> Self {
        let mut config = Self::default();
        let wrong = |error| fields.faults().wrong(error);
        if fields.int("parallelism").is_some_and(|n| n <= 0) {
            let given = fields.int("parallelism");
            wrong(FieldError::invalid("parallelism", given, "should be an integer value greater than zero"));
        }
        percentage(fields, &mut config.notices);
        for key in ["enableProfiling", "enableContentionProfiling", "delayCacheUntilActive"] {
            fields.boolean(key);
        }
        for key in ["healthzBindAddress", "metricsBindAddress"] {
            if !fields.text_or_empty(key).is_empty() {
                wrong(FieldError::invalid(key, fields.text_or_empty(key), "must be empty or with an explicit 0 port"));
            }
        }
        config.backoff(fields);
        config.client(fields);
        config.election(fields);
        config.extenders = extenders::read(fields);
        config.profiles(fields);
        // What an extender manages and the scheduler is to leave to it.
        let managed = config.extenders.iter().flat_map(|extender| &extender.managed_resources);
        for resource in managed.filter(|resource| resource.ignored_by_scheduler) {
            for profile in &mut config.profiles {
                profile.ignored_resources.push(resource.name.as_str().into());
            }
        }
        config
    }

    fn backoff(&mut self, fields: &Fields<'_>) {
        const FIRST: &str = "podInitialBackoffSeconds";
        const MAX: &str = "podMaxBackoffSeconds";
        let (first, max) = (fields.int(FIRST).unwrap_or(1), fields.int(MAX).unwrap_or(10));
        if first <= 0 {
            fields.faults().wrong(FieldError::invalid(FIRST, first, "must be greater than 0"));
        }
        if max < first {
            let text = "must be greater than or equal to PodInitialBackoffSeconds";
            fields.faults().wrong(FieldError::invalid(MAX, max, text));
        }
        self.backoff_first = Duration::from_secs(u64::try_from(first).unwrap_or(1));
        self.backoff_max = Duration::from_secs(u64::try_from(max).unwrap_or(10));
    }

    fn client(&mut self, fields: &Fields<'_>) {
        let known = ["kubeconfig", "acceptContentTypes", "contentType", "qps", "burst"];
        let client = fields.within("clientConnection", &known);
        self.kubeconfig = client.text("kubeconfig").filter(|path| !path.is_empty()).map(PathBuf::from);
        let (_, _) = (client.text("acceptContentTypes"), client.text("contentType"));
        let (qps, burst) = (client.number("qps"), client.int("burst"));
        if burst.is_some_and(|burst| burst < 0) {
            fields.faults().wrong(FieldError::invalid(client.at("burst"), burst, "must be non-negative"));
        }
        if qps.is_some() || burst.is_some() {
            self.notices.push("clientConnection.qps and burst: bindings go in batches and are not throttled".into());
        }
    }

    fn election(&mut self, fields: &Fields<'_>) {
        let known = [
            "leaderElect",
            "leaseDuration",
            "renewDeadline",
            "retryPeriod",
            "resourceLock",
            "resourceName",
            "resourceNamespace",
        ];
        let election = fields.within("leaderElection", &known);
        let wrong = |error| fields.faults().wrong(error);
        self.leader_elect = election.boolean("leaderElect").unwrap_or(true);
        let time = |key: &str, default: Duration| match election.duration(key) {
            None => default,
            // A time of 0 is one that was not given.
            Some((time, false)) if time.is_zero() => default,
            Some((time, false)) => time,
            Some((_, true)) => {
                wrong(FieldError::invalid(election.at(key), election.text_or_empty(key), "must be greater than zero"));
                default
            }
        };
        self.lease.duration = time("leaseDuration", self.lease.duration);
        self.lease.renew_deadline = time("renewDeadline", self.lease.renew_deadline);
        self.lease.retry = time("retryPeriod", self.lease.retry);
        if !self.leader_elect {
            return;
        }
        if self.lease.duration < self.lease.renew_deadline {
            let given = election.text_or_empty("renewDeadline");
            let text = "LeaseDuration must be greater than RenewDeadline";
            wrong(FieldError::invalid(election.at("leaseDuration"), given, text));
        }
        let lock = election.text("resourceLock").unwrap_or("leases");
        if lock != "leases" {
            let text = "resourceLock value must be \"leases\"";
            wrong(FieldError::invalid(election.at("resourceLock"), lock, text));
        }
        if let Some(name) = election.text("resourceName").filter(|name| !name.is_empty()) {
            name.clone_into(&mut self.lease.name);
        }
        let namespace = election.text("resourceNamespace").unwrap_or("kube-system");
        if namespace != "kube-system" && !namespace.is_empty() {
            let text = "this scheduler's Lease is in kube-system";
            wrong(FieldError::invalid(election.at("resourceNamespace"), namespace, text));
        }
    }

    fn profiles(&mut self, fields: &Fields<'_>) {
        let known = ["schedulerName", "percentageOfNodesToScore", "plugins", "pluginConfig"];
        let entries = fields.objects("profiles", &known);
        if entries.is_empty() {
            // None given, or an empty list: the default one, as upstream's defaulting has it.
            return;
        }
        if entries.len() > PROFILES_MAX {
            fields.faults().wrong(FieldError::too_many("profiles", entries.len(), PROFILES_MAX));
        }
        let alone = entries.len() == 1;
        let mut profiles: Vec<Profile> = Vec::new();
        for entry in entries {
            percentage(&entry, &mut self.notices);
            let default = if alone { "default-scheduler" } else { "" };
            let name = entry.text("schedulerName").filter(|name| !name.is_empty()).unwrap_or(default);
            if name.is_empty() {
                entry.faults().wrong(FieldError::required(entry.at("schedulerName"), ""));
            } else if let Some(first) = profiles.iter().position(|known| *known.name == *name) {
                let first = format!("profiles[{first}].schedulerName");
                entry.faults().wrong(FieldError::duplicate(entry.at("schedulerName"), first));
            }
            let mut profile = Profile::named(name);
            let enabled = Enabled::read(&entry, name);
            profile.pre_enqueue = enabled.at(Point::PreEnqueue);
            profile.filters = enabled.at(Point::Filter);
            profile.post_filters = enabled.at(Point::PostFilter);
            profile.weights = enabled.weights;
            arguments::read(&entry, &mut profile);
            profiles.push(profile);
        }
        self.profiles = profiles;
    }

    /// The same without what is behind features that are off.
    #[must_use]
    pub fn gated(mut self, gates: Gates) -> Self {
        self.gangs = gates.enabled(Gate::GangScheduling);
        self.devices_stand_in = gates.enabled(Gate::DRAExtendedResource);
        if !gates.enabled(Gate::NodeDeclaredFeatures) {
            for profile in &mut self.profiles {
                profile.filters = profile.filters.without(Plugin::NodeDeclaredFeatures);
            }
        }
        self
    }

    /// What the scheduler's core is told.
    #[must_use]
    pub fn core(&self) -> cycle::Config {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let bits = (0..u32::BITS).zip(&self.extenders);
        cycle::Config {
            profiles: self.profiles.iter().cloned().map(Arc::new).collect(),
            backoff_first: millis(self.backoff_first),
            backoff_max: millis(self.backoff_max),
            interests: self.extenders.iter().map(ExtenderConfig::interest).collect(),
            preempting: bits.filter(|(_, one)| !one.preempt_verb.is_empty()).map(|(at, _)| 1 << at).sum(),
            gangs: self.gangs,
            devices_stand_in: self.devices_stand_in,
            ..cycle::Config::default()
        }
    }
}

/// `percentageOfNodesToScore`, of the whole or of a profile.
fn percentage(fields: &Fields<'_>, notices: &mut Vec<String>) {
    const KEY: &str = "percentageOfNodesToScore";
    let Some(given) = fields.int(KEY) else { return };
    if !(0..=100).contains(&given) {
        fields.faults().wrong(FieldError::invalid(fields.at(KEY), given, "not in valid range [0-100]"));
    } else if given != 0 && given != 100 {
        notices.push(format!("{} is {given}: every node is scored all the same", fields.at(KEY)));
    }
}
