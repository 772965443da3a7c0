//! Kubeconfig files: who to call, how to trust it, and as whom (kubectl documentation, "Organizing Cluster Access").
//!
//! Read by the client and by the load generator. Understands clusters, users with certificates or tokens, and contexts;
//! exec and auth-provider plugins are refused with a message that says so.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::ClientConfig;
use serde::Deserialize;

use super::tls::{self, Trust};

/// Why a kubeconfig cannot be used: one line that names the file and the remedy.
#[derive(Debug, thiserror::Error)]
#[error("kubeconfig {path}: {problem}")]
pub struct KubeconfigError {
    path: String,
    problem: String,
}

/// A kubeconfig file.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Kubeconfig {
    #[serde(default)]
    current_context: String,
    #[serde(default)]
    clusters: Vec<Named<NamedCluster>>,
    #[serde(default)]
    users: Vec<Named<NamedUser>>,
    #[serde(default)]
    contexts: Vec<Named<NamedContext>>,
    /// Where it was read from: relative paths inside count from there.
    #[serde(skip)]
    path: PathBuf,
}

/// How to reach a server: what a context comes to.
#[derive(Clone, Debug)]
pub struct Access {
    /// The server's name or address.
    pub host: String,
    /// The name that its certificate is checked against: the host, unless `tls-server-name` says another.
    pub server_name: String,
    /// The server's port.
    pub port: u16,
    /// What stands before every path; empty for most servers.
    pub path_prefix: String,
    /// Trust and client certificate; ALPN is left to the caller.
    pub tls: Arc<ClientConfig>,
    /// A bearer token, where the user has one.
    pub token: Option<String>,
    /// The context's namespace, `default` if it has none.
    pub namespace: String,
}

#[derive(Debug, Deserialize)]
struct Named<T> {
    name: String,
    #[serde(flatten)]
    what: T,
}

#[derive(Debug, Deserialize)]
struct NamedCluster {
    cluster: Cluster,
}

#[derive(Debug, Deserialize)]
struct NamedUser {
    user: Option<User>,
}

#[derive(Debug, Deserialize)]
struct NamedContext {
    context: Context,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Cluster {
    server: String,
    certificate_authority: Option<PathBuf>,
    certificate_authority_data: Option<String>,
    #[serde(default)]
    insecure_skip_tls_verify: bool,
    tls_server_name: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct User {
    client_certificate: Option<PathBuf>,
    client_certificate_data: Option<String>,
    client_key: Option<PathBuf>,
    client_key_data: Option<String>,
    token: Option<String>,
    #[serde(rename = "tokenFile")]
    token_file: Option<PathBuf>,
    exec: Option<serde_json::Value>,
    auth_provider: Option<serde_json::Value>,
}

#[derive(Debug, Deserialize)]
struct Context {
    cluster: String,
    user: String,
    namespace: Option<String>,
}

impl Kubeconfig {
    /// Reads a kubeconfig file.
    ///
    /// # Errors
    /// When the file cannot be read or is not a kubeconfig.
    pub fn load(path: &Path) -> Result<Self, KubeconfigError> {
        let fail = |problem: String| KubeconfigError { path: path.display().to_string(), problem };
        let text = fs::read_to_string(path).map_err(|error| fail(format!("cannot be read: {error}")))?;
        let mut config: Self = serde_saphyr::from_str(&text)
            .map_err(|error| fail(format!("is no kubeconfig: {}", error.to_string().lines().next().unwrap_or(""))))?;
        config.path = path.to_owned();
        Ok(config)
    }

    /// What a context comes to; `None` takes the current one.
    ///
    /// # Errors
    /// When the context, its cluster or its user is missing, or a certificate or key cannot be used.
    pub fn access(&self, context: Option<&str>) -> Result<Access, KubeconfigError> {
        let wanted = context.unwrap_or(&self.current_context);
        if wanted.is_empty() {
            return Err(self.fail("has no current-context: set one with `kubectl config use-context`"));
        }
        let context = self.find(&self.contexts, "context", wanted).map(|named| &named.context)?;
        let cluster = self.find(&self.clusters, "cluster", &context.cluster).map(|named| &named.cluster)?;
        let no_user = User::default();
        let user = match context.user.as_str() {
            "" => &no_user,
            name => self.find(&self.users, "user", name)?.user.as_ref().unwrap_or(&no_user),
        };
        if user.exec.is_some() || user.auth_provider.is_some() {
            return Err(self.fail(&format!(
                "user {} needs a credential plugin, which is not supported: use a token or a client certificate",
                context.user
            )));
        }
        let (host, port, path_prefix) = self.server(&cluster.server)?;
        let token = match (&user.token, &user.token_file) {
            (Some(token), _) => Some(token.clone()),
            (None, Some(file)) => Some(String::from_utf8_lossy(&self.file(file)?).trim().to_owned()),
            (None, None) => None,
        };
        Ok(Access {
            server_name: cluster.tls_server_name.clone().unwrap_or_else(|| host.clone()),
            host,
            port,
            path_prefix,
            tls: Arc::new(self.tls(cluster, user)?),
            token,
            namespace: context.namespace.clone().unwrap_or_else(|| "default".to_owned()),
        })
    }

    fn find<'a, T>(&self, all: &'a [Named<T>], what: &str, name: &str) -> Result<&'a T, KubeconfigError> {
        let found = all.iter().find(|named| named.name == name);
        found.map(|named| &named.what).ok_or_else(|| self.fail(&format!("has no {what} named {name:?}")))
    }

    /// Host, port and path prefix of a server's URL.
    fn server(&self, url: &str) -> Result<(String, u16, String), KubeconfigError> {
        let wrong = || self.fail(&format!("server {url:?} is no https URL"));
        let uri: http::Uri = url.parse().map_err(|_| wrong())?;
        if uri.scheme_str() != Some("https") {
            return Err(wrong());
        }
        let host = uri.host().ok_or_else(wrong)?.trim_start_matches('[').trim_end_matches(']');
        Ok((host.to_owned(), uri.port_u16().unwrap_or(443), uri.path().trim_end_matches('/').to_owned()))
    }

    fn tls(&self, cluster: &Cluster, user: &User) -> Result<ClientConfig, KubeconfigError> {
        let authority = self.material(&cluster.certificate_authority_data, &cluster.certificate_authority)?;
        let trust = match &authority {
            _ if cluster.insecure_skip_tls_verify => Trust::Anyone,
            Some(pem) => Trust::Roots(pem),
            None => {
                let problem = "the cluster has no certificate-authority: without one its server cannot be trusted";
                return Err(self.fail(problem));
            }
        };
        let certificate = self.material(&user.client_certificate_data, &user.client_certificate)?;
        let key = self.material(&user.client_key_data, &user.client_key)?;
        let identity = match (&certificate, &key) {
            (Some(certificate), Some(key)) => Some((&certificate[..], &key[..])),
            (None, None) => None,
            _ => return Err(self.fail("a client certificate and its key go together: one of them is missing")),
        };
        tls::client(trust, identity).map_err(|error| self.fail(&error.to_string()))
    }

    /// PEM given inline (base64) or as a file; inline wins, as in client-go.
    fn material(&self, data: &Option<String>, file: &Option<PathBuf>) -> Result<Option<Vec<u8>>, KubeconfigError> {
        match (data.as_deref().filter(|data| !data.is_empty()), file) {
            (Some(data), _) => STANDARD
                .decode(data.as_bytes())
                .map(Some)
                .map_err(|error| self.fail(&format!("certificate or key data is no base64: {error}"))),
            (None, Some(file)) => self.file(file).map(Some),
            (None, None) => Ok(None),
        }
    }

    fn file(&self, path: &Path) -> Result<Vec<u8>, KubeconfigError> {
        let path = self.path.parent().unwrap_or(Path::new("")).join(path);
        fs::read(&path).map_err(|error| self.fail(&format!("{} cannot be read: {error}", path.display())))
    }

    fn fail(&self, problem: &str) -> KubeconfigError {
        KubeconfigError { path: self.path.display().to_string(), problem: problem.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<Access, KubeconfigError> {
        let mut file = std::env::temp_dir();
        file.push(format!("gantry-kubeconfig-{}-{:p}", std::process::id(), text));
        fs::write(&file, text).unwrap();
        let access = Kubeconfig::load(&file).and_then(|config| config.access(None));
        fs::remove_file(&file).unwrap();
        access
    }

    #[test]
    fn a_context_comes_to_an_address_and_a_token() {
        let access = load(
            "{current-context: c, contexts: [{name: c, context: {cluster: k, user: u, namespace: space}}],\
              clusters: [{name: k, cluster: {server: 'https://[::1]:6443/sub/', insecure-skip-tls-verify: true,\
              tls-server-name: api}}],\
              users: [{name: u, user: {token: t}}]}",
        )
        .unwrap();
        assert_eq!((access.host.as_str(), access.port, access.path_prefix.as_str()), ("::1", 6443, "/sub"));
        assert_eq!(access.server_name, "api");
        assert_eq!((access.token.as_deref(), access.namespace.as_str()), (Some("t"), "space"));
    }

    #[test]
    fn what_is_missing_is_said_in_one_line() {
        for (text, part) in [
            ("{}", "no current-context"),
            ("{current-context: c}", "no context named \"c\""),
            ("{current-context: c, contexts: [{name: c, context: {cluster: k, user: u}}]}", "no cluster named \"k\""),
            (
                "{current-context: c, contexts: [{name: c, context: {cluster: k, user: ''}}],\
                 clusters: [{name: k, cluster: {server: 'http://x'}}]}",
                "is no https URL",
            ),
            (
                "{current-context: c, contexts: [{name: c, context: {cluster: k, user: ''}}],\
                 clusters: [{name: k, cluster: {server: 'https://x'}}]}",
                "certificate-authority",
            ),
            ("[", "is no kubeconfig"),
        ] {
            let error = load(text).unwrap_err().to_string();
            assert!(error.contains(part) && !error.contains('\n'), "{error}");
        }
    }
}
