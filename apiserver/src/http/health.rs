//! `/healthz`, `/livez`, `/readyz`: is the server alive, may it be sent requests, and if not, why.
//!
//! The text is upstream's: `ok`, or with `?verbose` (and on failure) one line per check. `?exclude=NAME` leaves a check
//! out; `/readyz/NAME` asks for one alone.

use std::fmt::Write;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{Response, StatusCode};

use super::payload::Payload;
use super::query::Query;

/// One thing that can be well or not; says what is wrong.
pub struct Check {
    name: &'static str,
    /// Asked by `/livez` and `/healthz` too: a failure means that only a restart helps.
    liveness: bool,
    test: Box<dyn Fn() -> Result<(), String> + Send + Sync>,
}

impl Check {
    /// A check for all three endpoints.
    pub fn alive(name: &'static str, test: impl Fn() -> Result<(), String> + Send + Sync + 'static) -> Self {
        Self { name, liveness: true, test: Box::new(test) }
    }

    /// A check for `/readyz` alone.
    pub fn ready(name: &'static str, test: impl Fn() -> Result<(), String> + Send + Sync + 'static) -> Self {
        Self { name, liveness: false, test: Box::new(test) }
    }
}

/// All checks, in the order they are listed.
pub struct Health {
    checks: Vec<Check>,
}

impl Health {
    /// These checks, after `ping` and `log`, which a server that answers at all passes.
    #[must_use]
    pub fn new(checks: Vec<Check>) -> Self {
        let mut all = vec![Check::alive("ping", || Ok(())), Check::alive("log", || Ok(()))];
        all.extend(checks);
        Self { checks: all }
    }

    /// The answer to a path that begins with one of the three; `None` for a check that does not exist.
    #[must_use]
    pub fn answer(&self, path: &str, query: &Query<'_>) -> Option<Response<Payload>> {
        let (endpoint, one) = path.trim_start_matches('/').split_once('/').unwrap_or((path.trim_matches('/'), ""));
        let mut checks: Vec<&Check> = self.checks.iter().filter(|c| c.liveness || endpoint == "readyz").collect();
        if !one.is_empty() {
            checks.retain(|c| c.name == one);
            if checks.is_empty() {
                return None;
            }
        }
        let excluded: Vec<&str> = query.all("exclude").collect();
        let mut lines = String::new();
        let mut failed = Vec::new();
        for check in checks {
            let outcome = if excluded.contains(&check.name) {
                writeln!(lines, "[+]{} excluded: ok", check.name)
            } else {
                match (check.test)() {
                    Ok(()) => writeln!(lines, "[+]{} ok", check.name),
                    Err(why) => {
                        tracing::warn!(check = check.name, %why, "health check failed");
                        failed.push(check.name);
                        // The reason is for the log: whoever asks may be anybody.
                        writeln!(lines, "[-]{} failed: reason withheld", check.name)
                    }
                }
            };
            outcome.expect("writing to a text does not fail");
        }
        for unknown in excluded.iter().filter(|e| self.checks.iter().all(|c| c.name != **e)) {
            writeln!(lines, "warn: some health checks cannot be excluded: no matches for {unknown:?}")
                .expect("writing to a text does not fail");
        }
        let code = if failed.is_empty() { StatusCode::OK } else { StatusCode::INTERNAL_SERVER_ERROR };
        let text = match (failed.is_empty(), query.truth("verbose").is_some()) {
            (true, false) => "ok".to_owned(),
            (true, true) => format!("{lines}{endpoint} check passed\n"),
            (false, _) => format!("{lines}{endpoint} check failed\n"),
        };
        let mut response = Response::new(Payload::whole(Bytes::from(text)));
        *response.status_mut() = code;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, http::HeaderValue::from_static("text/plain; charset=utf-8"));
        headers.insert("x-content-type-options", http::HeaderValue::from_static("nosniff"));
        Some(response)
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    async fn ask(health: &Health, path: &str, query: &str) -> (u16, String) {
        let response = health.answer(path, &Query::new(query)).unwrap();
        let code = response.status().as_u16();
        let text = response.into_body().collect().await.unwrap().to_bytes();
        (code, String::from_utf8(text.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn a_failed_check_fails_the_endpoint_that_asks_it() {
        let health =
            Health::new(vec![Check::alive("etcd", || Ok(())), Check::ready("shutdown", || Err("secret".to_owned()))]);
        assert_eq!(ask(&health, "/livez", "").await, (200, "ok".to_owned()));
        let (code, text) = ask(&health, "/readyz", "").await;
        assert_eq!(code, 500);
        assert_eq!(
            text,
            "[+]ping ok\n[+]log ok\n[+]etcd ok\n[-]shutdown failed: reason withheld\nreadyz check failed\n"
        );
        let (code, text) = ask(&health, "/readyz", "verbose&exclude=shutdown").await;
        assert_eq!(code, 200);
        assert!(text.ends_with("[+]shutdown excluded: ok\nreadyz check passed\n"), "{text}");
        assert_eq!(ask(&health, "/readyz/etcd", "").await.0, 200);
        assert!(health.answer("/readyz/nothing", &Query::new("")).is_none());
    }
}
