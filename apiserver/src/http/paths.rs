//! The server's own paths: health, version, metrics, discovery, OpenAPI, and what OIDC clients read.

use std::sync::Arc;

use bytes::Bytes;
use gantry_machinery::status::Status;
use http::Response;

use super::payload::Payload;
use super::query::Query;
use super::service::{Asked, Service};
use super::{aggregated, answer};

/// The version that clients are told: they compare the leading numbers.
pub const GIT_VERSION: &str = "v1.36.2+gantry";

/// Every path that is listed at `/`.
const LISTED: [&str; 14] = [
    "/.well-known/openid-configuration",
    "/api",
    "/api/v1",
    "/apis",
    "/healthz",
    "/livez",
    "/metrics",
    "/openapi/v2",
    "/openapi/v3",
    "/openapi/v3/",
    "/openid/v1/jwks",
    "/readyz",
    "/version",
    "/version/",
];

/// The answer to a request that is for no resource.
pub(super) async fn answer(service: &Arc<Service>, asked: Asked) -> Result<Response<Payload>, Status> {
    let info = &asked.info;
    if !matches!(info.verb, "get" | "head") {
        return Err(Status::method_not_allowed());
    }
    let path = info.path.as_str();
    let first = path.trim_start_matches('/').split('/').next().unwrap_or_default();
    match first {
        "healthz" | "livez" | "readyz" => {
            Ok(service.health.answer(path, &Query::new(&asked.query)).unwrap_or_else(answer::no_such_path))
        }
        "" => Ok(answer::json(200, &serde_json::json!({ "paths": LISTED }))),
        "version" if matches!(path.trim_end_matches('/'), "/version") => Ok(answer::json(200, &version())),
        "metrics" if path == "/metrics" => {
            let text = Bytes::from(service.metrics.text());
            Ok(answer::response(200, "text/plain; version=0.0.4; charset=utf-8", Payload::whole(text)))
        }
        ".well-known" if path == "/.well-known/openid-configuration" => {
            let tokens = &service.authenticator.tokens;
            Ok(answer::json(
                200,
                &serde_json::json!({
                    "issuer": tokens.issuer(),
                    "jwks_uri": format!("{}/openid/v1/jwks", tokens.issuer().trim_end_matches('/')),
                    "response_types_supported": ["id_token"],
                    "subject_types_supported": ["public"],
                    "id_token_signing_alg_values_supported": ["ES256", "RS256"],
                }),
            ))
        }
        "openid" if path == "/openid/v1/jwks" => {
            let text =
                serde_json::to_vec(&service.authenticator.tokens.jwks()).expect("a JSON value always has a text");
            Ok(answer::response(200, "application/jwk-set+json", Payload::whole(Bytes::from(text))))
        }
        "api" | "apis" => service.documents.answer(path, &asked.headers).map_err(|status| match status.code {
            404 => aggregated::unserved_path(&service.registry, path),
            _ => status,
        }),
        "openapi" => {
            let service = service.clone();
            let made = tokio::task::spawn_blocking(move || service.documents.answer(&asked.info.path, &asked.headers));
            made.await.unwrap_or_else(|e| Err(Status::internal(format!("the document could not be made: {e}"))))
        }
        _ => Ok(answer::no_such_path()),
    }
}

/// What `/version` says.
fn version() -> serde_json::Value {
    serde_json::json!({
        "major": "1",
        "minor": "36",
        "emulationMajor": "1",
        "emulationMinor": "36",
        "minCompatibilityMajor": "1",
        "minCompatibilityMinor": "35",
        "gitVersion": GIT_VERSION,
        "gitCommit": option_env!("GANTRY_COMMIT").unwrap_or("unknown"),
        "gitTreeState": "clean",
        "buildDate": option_env!("GANTRY_BUILD_DATE").unwrap_or("1970-01-01T00:00:00Z"),
        "goVersion": "none (Rust)",
        "compiler": "rustc",
        "platform": format!("{}/{}", std::env::consts::OS, go_arch()),
    })
}

/// The machine in Go's words, which clients print.
fn go_arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
