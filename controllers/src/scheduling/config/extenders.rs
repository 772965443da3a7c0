//! `extenders`: where they are, what they are asked, and how they are trusted (`enableHTTPS`, `tlsConfig`).

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gantry_machinery::client::tls::{self, Trust};
use gantry_machinery::names;
use gantry_machinery::status::FieldError;

use super::fields::Fields;
use crate::scheduling::extender::{EXTENDERS_MAX, ExtenderConfig, ExtenderTls, ManagedResource};

/// Where Debian and its kin keep the authorities that programs trust.
const SYSTEM_ROOTS: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Reads `extenders`.
pub(super) fn read(fields: &Fields<'_>) -> Vec<ExtenderConfig> {
    let known = [
        "urlPrefix",
        "filterVerb",
        "preemptVerb",
        "prioritizeVerb",
        "weight",
        "bindVerb",
        "enableHTTPS",
        "tlsConfig",
        "httpTimeout",
        "nodeCacheCapable",
        "managedResources",
        "ignorable",
    ];
    let mut extenders: Vec<ExtenderConfig> = Vec::new();
    let wrong = |error| fields.faults().wrong(error);
    let mut managed: Vec<&str> = Vec::new();
    for entry in fields.objects("extenders", &known) {
        let text = |key: &str| entry.text_or_empty(key).to_owned();
        let weight = entry.int("weight").unwrap_or(0);
        if !entry.text_or_empty("prioritizeVerb").is_empty() && !(1..=10_000).contains(&weight) {
            let text = if weight <= 0 { "must have a positive weight applied to it" } else { "must be at most 10000" };
            wrong(FieldError::invalid(entry.at("weight"), weight, text));
        }
        let url = entry.text_or_empty("urlPrefix");
        if url.is_empty() {
            wrong(FieldError::required(entry.at("urlPrefix"), "where the extender is"));
        }
        let mut managed_resources = Vec::new();
        for resource in entry.objects("managedResources", &["name", "ignoredByScheduler"]) {
            let name = resource.text_or_empty("name");
            let complaints = names::qualified_name(name);
            if complaints.is_empty() && (!name.contains('/') || name.contains("kubernetes.io/")) {
                wrong(FieldError::invalid(resource.at("name"), name, "is an invalid extended resource name"));
            }
            complaints.into_iter().for_each(|why| wrong(FieldError::invalid(resource.at("name"), name, why)));
            if managed.contains(&name) {
                wrong(FieldError::invalid(resource.at("name"), name, "duplicate extender managed resource name"));
            }
            managed.push(name);
            let ignored_by_scheduler = resource.boolean("ignoredByScheduler").unwrap_or(false);
            managed_resources.push(ManagedResource { name: name.to_owned(), ignored_by_scheduler });
        }
        if !(url.is_empty() || url.starts_with("http://") || url.starts_with("https://")) {
            wrong(FieldError::invalid(entry.at("urlPrefix"), url, "must begin with http:// or https://"));
        }
        // Go's client goes by the URL's scheme; TLS is set up either way.
        let secure = url.starts_with("https:");
        let tls = tls(&entry, entry.boolean("enableHTTPS").unwrap_or(false), secure);
        let (timeout, negative) = entry.duration("httpTimeout").unwrap_or((Duration::ZERO, false));
        extenders.push(ExtenderConfig {
            url_prefix: url.trim_end_matches('/').to_owned(),
            filter_verb: text("filterVerb"),
            prioritize_verb: text("prioritizeVerb"),
            bind_verb: text("bindVerb"),
            preempt_verb: text("preemptVerb"),
            weight,
            timeout: if timeout.is_zero() || negative { Duration::from_secs(5) } else { timeout },
            node_cache_capable: entry.boolean("nodeCacheCapable").unwrap_or(false),
            managed_resources,
            ignorable: entry.boolean("ignorable").unwrap_or(false),
            tls: tls.filter(|_| secure),
        });
    }
    if extenders.len() > EXTENDERS_MAX {
        wrong(FieldError::too_many("extenders", extenders.len(), EXTENDERS_MAX));
    }
    let binders = extenders.iter().filter(|extender| !extender.bind_verb.is_empty()).count();
    if binders > 1 {
        let given = format!("found {binders} extenders implementing bind");
        wrong(FieldError::invalid("extenders", given, "only one extender can implement bind"));
    }
    extenders
}

/// TLS towards an extender. As upstream has it: who turns HTTPS on and names no authority trusts anyone; who does
/// neither trusts the system's authorities.
fn tls(entry: &Fields<'_>, enabled: bool, secure: bool) -> Option<ExtenderTls> {
    let known = ["insecure", "serverName", "certFile", "keyFile", "caFile", "certData", "keyData", "caData"];
    let given = entry.within("tlsConfig", &known);
    let wrong =
        |key: &str, value: &str, why: String| given.faults().wrong(FieldError::invalid(given.at(key), value, why));
    // Given inline (base64) or as a file; inline wins.
    let material = |data: &str, file: &str| -> Option<Vec<u8>> {
        let (text, path) = (given.text_or_empty(data), given.text_or_empty(file));
        if !text.is_empty() {
            let decoded = STANDARD.decode(text.split_whitespace().collect::<String>());
            return decoded.inspect_err(|error| wrong(data, "...", format!("must be base64: {error}"))).ok();
        }
        if path.is_empty() {
            return None;
        }
        std::fs::read(path).inspect_err(|error| wrong(file, path, format!("cannot be read: {error}"))).ok()
    };
    let (certificate, key, authority) =
        (material("certData", "certFile"), material("keyData", "keyFile"), material("caData", "caFile"));
    let insecure = given.boolean("insecure").unwrap_or(false);
    if insecure && authority.is_some() {
        let text = "specifying a root certificates file with the insecure flag is not allowed";
        wrong("insecure", "true", text.to_owned());
    }
    if certificate.is_some() != key.is_some() {
        given.faults().wrong(FieldError::required(given.at("keyFile"), "a client certificate and its key go together"));
    }
    let system = || std::fs::read(SYSTEM_ROOTS).unwrap_or_default();
    let anyone = insecure || (enabled && authority.is_none());
    let authority = if secure && !anyone { Some(authority.unwrap_or_else(system)) } else { authority };
    let trust = authority.as_deref().filter(|_| !anyone).map_or(Trust::Anyone, Trust::Roots);
    match tls::client(trust, certificate.as_deref().zip(key.as_deref())) {
        Ok(client) => {
            let server_name = given.text_or_empty("serverName").to_owned();
            Some(ExtenderTls { client: Arc::new(client), server_name })
        }
        Err(error) => {
            given.faults().wrong(FieldError::invalid(entry.at("tlsConfig"), "...", error.to_string()));
            None
        }
    }
}
