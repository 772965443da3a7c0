//! The table of checks: one file each, in upstream's order (baseline first, then by their names there), which is the
//! order of the messages.

mod allow_privilege_escalation;
mod app_armor_profile;
mod capabilities_baseline;
mod capabilities_restricted;
mod host_namespaces;
mod host_path_volumes;
mod host_ports;
mod host_probes;
mod host_process;
mod privileged;
mod proc_mount;
mod restricted_volumes;
mod run_as_non_root;
mod run_as_user;
mod se_linux_options;
mod seccomp_baseline;
mod seccomp_restricted;
mod sysctls;

use super::pod::Pod;
use super::policy::{Level, Standard};

/// A rule that a pod breaks.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Violation {
    /// Which, briefly: `hostPort`.
    reason: &'static str,
    /// By what: `container "a" uses hostPort 80`.
    detail: String,
}

impl Violation {
    fn new(reason: &'static str, detail: String) -> Self {
        Self { reason, detail }
    }
}

/// One rule.
struct Check {
    /// The lowest level that has it.
    level: Level,
    /// The release, 1.N, whose standards have it first.
    since: u32,
    /// The release, 1.N, since which a stricter rule takes its place at the next level.
    replaced: Option<u32>,
    /// What of the pod breaks it, under this standard.
    test: fn(Pod<'_>, Standard) -> Option<Violation>,
}

impl Check {
    const fn of(level: Level, since: u32, test: fn(Pod<'_>, Standard) -> Option<Violation>) -> Self {
        Self { level, since, replaced: None, test }
    }

    const fn replaced(mut self, since: u32) -> Self {
        self.replaced = Some(since);
        self
    }

    fn is_of(&self, standard: Standard) -> bool {
        let replaced = standard.level > self.level && self.replaced.is_some_and(|since| standard.version.has(since));
        self.level <= standard.level && standard.version.has(self.since) && !replaced
    }
}

const BASELINE: Level = Level::Baseline;
const RESTRICTED: Level = Level::Restricted;

static CHECKS: [Check; 19] = [
    Check::of(BASELINE, 0, app_armor_profile::test),
    Check::of(BASELINE, 0, capabilities_baseline::test).replaced(22),
    Check::of(BASELINE, 0, host_namespaces::test),
    Check::of(BASELINE, 0, host_path_volumes::test).replaced(0),
    Check::of(BASELINE, 0, host_ports::test),
    Check::of(BASELINE, 34, host_probes::test),
    Check::of(BASELINE, 0, privileged::test),
    Check::of(BASELINE, 0, proc_mount::test).replaced(35),
    Check::of(BASELINE, 0, se_linux_options::test),
    Check::of(BASELINE, 0, seccomp_baseline::test).replaced(19),
    Check::of(BASELINE, 0, sysctls::test),
    Check::of(BASELINE, 0, host_process::test),
    Check::of(RESTRICTED, 8, allow_privilege_escalation::test),
    Check::of(RESTRICTED, 22, capabilities_restricted::test),
    Check::of(RESTRICTED, 35, proc_mount::test),
    Check::of(RESTRICTED, 0, restricted_volumes::test),
    Check::of(RESTRICTED, 0, run_as_non_root::test),
    Check::of(RESTRICTED, 23, run_as_user::test),
    Check::of(RESTRICTED, 19, seccomp_restricted::test),
];

/// Every rule of the standard that the pod breaks: those of the lower level first.
pub(super) fn violations(pod: &Pod<'_>, standard: Standard) -> Vec<Violation> {
    let checks = CHECKS.iter().filter(|check| check.is_of(standard));
    checks.filter_map(|check| (check.test)(*pod, standard)).collect()
}

/// `hostPort (container "a" uses hostPort 80), privileged (…)`.
pub(super) fn details(violations: &[Violation]) -> String {
    let each: Vec<String> = violations.iter().map(|v| format!("{} ({})", v.reason, v.detail)).collect();
    each.join(", ")
}

/// `hostPort, privileged`.
pub(super) fn reasons(violations: &[Violation]) -> String {
    let each: Vec<&str> = violations.iter().map(|v| v.reason).collect();
    each.join(", ")
}

#[cfg(test)]
mod tests;
