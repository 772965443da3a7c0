//! HTTP extenders: processes that are asked about nodes besides the plugins (upstream's `extender/v1` JSON protocol).
//! Off the fast path: only pods that an extender is interested in pay.

use std::time::Duration;

/// An extender as it is configured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExtenderConfig {
    /// `http://host:port/path`, without a slash at the end.
    pub url_prefix: String,
    /// Appended to the prefix when nodes are to be filtered; empty when it does not filter.
    pub filter_verb: String,
    /// Likewise for scores.
    pub prioritize_verb: String,
    /// Likewise for preemption.
    pub preempt_verb: String,
    /// Likewise for binding.
    pub bind_verb: String,
    /// What its scores count.
    pub weight: i64,
    /// Set for HTTPS.
    pub tls: Option<Tls>,
    /// How long one call may take.
    pub timeout: Duration,
    /// Whether it knows the nodes and is sent their names only.
    pub node_cache_capable: bool,
    /// If any, only pods that ask for one of these are its business.
    pub managed_resources: Vec<ManagedResource>,
    /// Whether pods are scheduled without it when it cannot be reached.
    pub ignorable: bool,
}

/// How HTTPS to an extender is secured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "upstream's fields of `tlsConfig`")]
pub struct Tls {
    pub insecure: bool,
    pub server_name: String,
    pub cert_file: String,
    pub key_file: String,
    pub ca_file: String,
    pub cert_data: String,
    pub key_data: String,
    pub ca_data: String,
}

/// A resource that an extender manages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ManagedResource {
    /// The extended resource's name.
    pub name: String,
    /// Whether NodeResourcesFit leaves it to the extender.
    pub ignored_by_scheduler: bool,
}
