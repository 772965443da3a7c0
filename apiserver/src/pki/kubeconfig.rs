//! kubeconfig files for the certificates this server issues.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::{Identity, PkiError, write};

/// A kubeconfig with everything inline: one cluster, one user, one context. JSON, which is YAML.
#[must_use]
pub fn kubeconfig(server: &str, ca: &str, user: &str, identity: &Identity) -> String {
    let context = format!("{user}@gantry");
    let document = serde_json::json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{
            "name": "gantry",
            "cluster": {"server": server, "certificate-authority-data": STANDARD.encode(ca)},
        }],
        "users": [{
            "name": user,
            "user": {
                "client-certificate-data": STANDARD.encode(&identity.certificate),
                "client-key-data": STANDARD.encode(&identity.key),
            },
        }],
        "contexts": [{"name": context, "context": {"cluster": "gantry", "user": user}}],
        "current-context": context,
    });
    let mut text = serde_json::to_string_pretty(&document).expect("a JSON value always has a text");
    text.push('\n');
    text
}

/// Writes a kubeconfig, readable by its owner alone.
///
/// # Errors
/// [`PkiError::File`].
pub fn write_kubeconfig(path: &Path, server: &str, ca: &str, user: &str, identity: &Identity) -> Result<(), PkiError> {
    write(path, kubeconfig(server, ca, user, identity).as_bytes(), 0o600)
}
