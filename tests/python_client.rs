//! The promise: the official Python client works unchanged. `tests/run` installs it into `target/python`.

#[path = "support/cluster.rs"]
mod cluster;

use std::process::Command;

use cluster::Cluster;

#[test]
fn the_python_client_creates_lists_patches_and_watches() {
    let c = Cluster::up(&[]);
    let root = env!("CARGO_MANIFEST_DIR");
    let mut python = Command::new(format!("{root}/target/python/bin/python"));
    python.arg(format!("{root}/tests/python/client.py")).env("KUBECONFIG", c.kubeconfig());
    let said = cluster::run(python, "");
    assert_eq!((said.code, said.stdout.trim()), (0, "python client: all well"), "{said:#?}");
}
