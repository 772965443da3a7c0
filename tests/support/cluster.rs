//! A cluster under test: the real `gantry` binary on a free loopback port with a data directory of its own, and the
//! real kubectl pointed at it. Dropped, it is gone: process, port and files.

#![allow(dead_code, reason = "each test binary uses its own part of this module")]

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// How long anything may take before a test gives up: generous, since CI machines stall; nothing waits for it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A running `gantry up` (or another role that prints where its kubeconfig is).
pub(crate) struct Cluster {
    server: Child,
    output: BufReader<ChildStdout>,
    kubeconfig: PathBuf,
    data: TempDir,
    args: Vec<String>,
}

/// What a command said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Cluster {
    /// `gantry up` with further flags, ready to be used.
    pub(crate) fn up(args: &[&str]) -> Self {
        let data = TempDir::new().expect("a temporary directory");
        Self::server("up", args, data)
    }

    /// `gantry apiserver` with further flags: a control plane whose other parts are yet to come, see [`role`](Self::role).
    pub(crate) fn apiserver(args: &[&str]) -> Self {
        Self::server("apiserver", args, TempDir::new().expect("a temporary directory"))
    }

    fn server(role: &str, args: &[&str], data: TempDir) -> Self {
        let args: Vec<String> = [role].iter().chain(args).map(ToString::to_string).collect();
        let (server, output, kubeconfig) = start(data.path(), &args);
        Self { server, output, kubeconfig, data, args }
    }

    /// A role of its own process (`"scheduler"`, `"controller-manager"`, `"kubelet"`), once it has begun.
    #[allow(
        clippy::zombie_processes,
        reason = "a role that ends before it has begun panics the test; else `Role` waits for it"
    )]
    pub(crate) fn role(&self, role: &str, args: &[&str]) -> Role {
        // Several on one machine cannot all have the usual port.
        let ported = matches!(role, "scheduler" | "controller-manager") && !args.contains(&"--secure-port");
        let no_port: &[&str] = if ported { &["--secure-port", "0"] } else { &[] };
        let mut process = gantry()
            .arg(role)
            .arg("--kubeconfig")
            .arg(&self.kubeconfig)
            .args(no_port)
            .args(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("the gantry binary starts");
        let mut output = BufReader::new(process.stdout.take().expect("stdout is piped"));
        let mut line = String::new();
        output.read_line(&mut line).expect("the role's output can be read");
        assert!(line.starts_with(&format!("gantry {role} works")), "{line:?}");
        Role { process, _output: output }
    }

    /// Kills the process as a power cut would, without a word.
    pub(crate) fn kill(&mut self) {
        self.server.kill().expect("the server can be killed");
        self.server.wait().expect("the server can be waited for");
    }

    /// Asks the process to end (SIGTERM) and gives its exit code.
    pub(crate) fn terminate(&mut self) -> Option<i32> {
        terminate(&mut self.server)
    }

    /// Starts the process again on the same data, after [`kill`](Self::kill) or [`terminate`](Self::terminate).
    pub(crate) fn restart(&mut self) {
        (self.server, self.output, self.kubeconfig) = start(self.data.path(), &self.args);
    }

    pub(crate) fn pid(&self) -> u32 {
        self.server.id()
    }

    pub(crate) fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    pub(crate) fn data_dir(&self) -> &Path {
        self.data.path()
    }

    /// Runs kubectl against the cluster.
    pub(crate) fn try_kubectl<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Said {
        self.kubectl_with("", args)
    }

    /// Runs kubectl with something on its standard input.
    pub(crate) fn kubectl_with<S: AsRef<OsStr>>(&self, stdin: &str, args: impl IntoIterator<Item = S>) -> Said {
        let mut command = Command::new("kubectl");
        command.args(args).env("KUBECONFIG", &self.kubeconfig).env("HOME", self.data.path());
        run(command, stdin)
    }

    /// Runs kubectl, which must succeed, and gives what it printed. Words are split at spaces.
    pub(crate) fn kubectl(&self, words: &str) -> String {
        let said = self.try_kubectl(words.split_whitespace());
        assert_eq!(said.code, 0, "kubectl {words}\n{said:#?}");
        said.stdout
    }

    /// Runs kubectl, which must fail, and gives what it complained of.
    pub(crate) fn kubectl_fails(&self, words: &str) -> String {
        let said = self.try_kubectl(words.split_whitespace());
        assert_ne!(said.code, 0, "kubectl {words} should have failed\n{said:#?}");
        said.stderr
    }

    /// `kubectl apply -f -` of a manifest, which must succeed.
    pub(crate) fn apply(&self, manifest: &str) -> String {
        let said = self.kubectl_with(manifest, ["apply", "-f", "-"]);
        assert_eq!(said.code, 0, "{said:#?}");
        said.stdout
    }

    /// One value of one object by JSONPath.
    pub(crate) fn value(&self, object: &str, path: &str) -> String {
        self.kubectl(&format!("get {object} -o jsonpath={path}"))
    }

    /// Asks kubectl again and again until it prints what is wanted: for state that a loop brings about.
    pub(crate) fn eventually(&self, words: &str, wanted: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let said = self.try_kubectl(words.split_whitespace());
            if said.code == 0 && wanted(&said.stdout) {
                return said.stdout;
            }
            assert!(Instant::now() < deadline, "kubectl {words} never printed what was wanted: {said:#?}");
        }
    }
}

/// One role beside a cluster: a process that works for whom a kubeconfig names. Dropped, it is killed.
pub(crate) struct Role {
    process: Child,
    _output: BufReader<ChildStdout>,
}

impl Role {
    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Whether it still runs.
    pub(crate) fn runs(&mut self) -> bool {
        self.process.try_wait().expect("the role can be asked").is_none()
    }

    /// Kills it as a power cut would.
    pub(crate) fn kill(mut self) {
        self.process.kill().expect("the role can be killed");
        self.process.wait().expect("the role can be waited for");
    }

    /// Asks it to end (SIGTERM) and gives its exit code.
    pub(crate) fn terminate(mut self) -> Option<i32> {
        terminate(&mut self.process)
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

fn terminate(process: &mut Child) -> Option<i32> {
    let pid = libc::pid_t::try_from(process.id()).expect("a pid fits");
    // SAFETY: plain system call on our own child, which has not been waited for.
    #[allow(unsafe_code, reason = "std has no way to send SIGTERM")]
    unsafe {
        libc::kill(pid, libc::SIGTERM);
    }
    process.wait().expect("the process can be waited for").code()
}

/// The binary under test.
pub(crate) fn gantry() -> Command {
    Command::new(env!("CARGO_BIN_EXE_gantry"))
}

/// Runs a command to its end with `stdin` as its input.
pub(crate) fn run(mut command: Command, stdin: &str) -> Said {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("cannot run {command:?}: {error}; `tests/run` installs what tests need"));
    child.stdin.take().expect("stdin is piped").write_all(stdin.as_bytes()).expect("the command reads its input");
    let output = child.wait_with_output().expect("the command ends");
    Said {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

#[allow(
    clippy::zombie_processes,
    reason = "a server that ends before it is ready panics the test; else the cluster waits for it"
)]
fn start(data: &Path, args: &[String]) -> (Child, BufReader<ChildStdout>, PathBuf) {
    let (role, args) = args.split_first().expect("a role comes first");
    let mut server = gantry()
        .arg(role)
        .arg("--data-dir")
        .arg(data.join("state"))
        .args(["--secure-port", "0"])
        .args(args)
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .expect("the gantry binary starts");
    let mut output = BufReader::new(server.stdout.take().expect("stdout is piped"));
    let mut said = String::new();
    loop {
        let mut line = String::new();
        let read = output.read_line(&mut line).expect("the server's output can be read");
        assert_ne!(read, 0, "gantry {role} ended before it was ready: {said}");
        if let Some((_, path)) = line.trim().split_once("KUBECONFIG=") {
            return (server, output, PathBuf::from(path));
        }
        said.push_str(&line);
    }
}
