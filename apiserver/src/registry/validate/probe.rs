//! Probes and lifecycle handlers of containers.

use gantry_machinery::value::Value;

use super::view::{Held, view};
use super::{Errors, Path, name};

view! {
    struct Handler { exec: "exec", http: "httpGet", tcp: "tcpSocket", grpc: "grpc", sleep: "sleep" }
}

/// Which probe of a container it is: they differ in what they may say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// Restarts the container.
    Liveness,
    /// Takes the pod out of Services.
    Readiness,
    /// Holds the others back.
    Startup,
}

impl Probe {
    /// The container's field.
    #[must_use]
    pub const fn field(self) -> &'static str {
        match self {
            Self::Liveness => "livenessProbe",
            Self::Readiness => "readinessProbe",
            Self::Startup => "startupProbe",
        }
    }
}

/// One probe, after defaulting.
pub fn check_probe(probe: &Value, which: Probe, at: &Path<'_>, errors: &mut Errors) {
    check_handler(probe, None, at, errors);
    for field in ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"] {
        name::non_negative(probe.get(field).number(), &at.child(field), errors);
    }
    let grace = probe.get("terminationGracePeriodSeconds").int();
    if let Some(seconds) = grace.filter(|s| *s <= 0) {
        errors.invalid(&at.child("terminationGracePeriodSeconds"), seconds, "must be greater than 0");
    }
    if which == Probe::Readiness {
        if let Some(seconds) = grace {
            let detail = "must not be set for readinessProbes";
            errors.invalid(&at.child("terminationGracePeriodSeconds"), seconds, detail);
        }
    } else {
        let threshold = probe.get("successThreshold").number();
        if threshold != 1 {
            errors.invalid(&at.child("successThreshold"), threshold, "must be 1");
        }
    }
}

/// The `lifecycle` of a container; `grace` is the pod's termination grace period.
pub fn check_lifecycle(lifecycle: &Value, grace: Option<i64>, at: &Path<'_>, errors: &mut Errors) {
    for hook in ["postStart", "preStop"] {
        if let Some(handler) = lifecycle.get(hook).filter(|h| !h.is_null()) {
            check_handler(handler, grace, &at.child(hook), errors);
        }
    }
}

fn check_handler(handler: &Value, grace: Option<i64>, at: &Path<'_>, errors: &mut Errors) {
    let handler = Handler::of(handler);
    let mut seen = false;
    let each = [
        ("exec", handler.exec),
        ("httpGet", handler.http),
        ("tcpSocket", handler.tcp),
        ("grpc", handler.grpc),
        ("sleep", handler.sleep),
    ];
    for (field, action) in each {
        let Some(action) = action else { continue };
        let at = at.child(field);
        if seen {
            errors.forbidden(&at, "may not specify more than 1 handler type");
            continue;
        }
        seen = true;
        match field {
            "exec" => {
                if action.get("command").items().is_empty() {
                    errors.required(&at.child("command"), "");
                }
            }
            "httpGet" => check_http(action, &at, errors),
            "sleep" => check_sleep(action, grace, &at, errors),
            _ => name::port(action.get("port"), &at.child("port"), errors),
        }
    }
    if !seen {
        errors.required(at, "must specify a handler type");
    }
}

fn check_http(http: &Value, at: &Path<'_>, errors: &mut Errors) {
    if http.get("path").text().is_empty() {
        errors.required(&at.child("path"), "");
    }
    name::port(http.get("port"), &at.child("port"), errors);
    let scheme = http.get("scheme").text();
    if !matches!(scheme, "HTTP" | "HTTPS") {
        errors.not_supported(&at.child("scheme"), scheme, &["HTTP", "HTTPS"]);
    }
    for header in http.get("httpHeaders").items() {
        name::http_header(header.get("name").text(), &at.child("httpHeaders"), errors);
    }
}

fn check_sleep(sleep: &Value, grace: Option<i64>, at: &Path<'_>, errors: &mut Errors) {
    let seconds = sleep.get("seconds").number();
    if let Some(grace) = grace.filter(|grace| seconds < 0 || seconds > *grace) {
        let detail = format!("must be non-negative and less than terminationGracePeriodSeconds ({grace})");
        errors.invalid(at, seconds, detail);
    }
}
