//! The promise, kind by kind: bad objects get upstream's causes (reason, field path, words), good ones are stored with
//! upstream's defaults. Everything goes through the registry in process, admission included.
//!
//! The cases are data: each `.yaml` file beside this one lists kinds; [`case`] says what a kind's entry holds, and how
//! a case is tried.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so")]

mod case;
mod edit;

use std::fs;
use std::path::Path;

use gantry_machinery::codec::yaml;

use crate::case::Kind;

/// Tries every case of one file and tells all that went otherwise, each with what was expected.
async fn try_file(name: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bad_objects").join(name);
    let text = fs::read(&path).unwrap();
    let entries = yaml::parse_unique(&text).unwrap();
    let mut failures = Vec::new();
    let mut tried = 0;
    for entry in entries.as_array().unwrap() {
        let kind = Kind::of(entry);
        tried += kind.try_all(&mut failures).await;
    }
    assert!(failures.is_empty(), "{} of {tried} cases went otherwise:\n\n{}", failures.len(), failures.join("\n\n"));
    assert!(tried > 0, "{name} holds no case");
}

/// One test per file, so that they run side by side and a failure names its group of kinds.
macro_rules! files {
    ($($test:ident: $file:literal),* $(,)?) => {
        $(
            #[tokio::test]
            async fn $test() {
                try_file($file).await;
            }
        )*

        #[test]
        fn every_file_is_tried() {
            let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bad_objects");
            let files = fs::read_dir(directory).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
            let mut there: Vec<String> = files.filter(|name| name.ends_with(".yaml")).collect();
            there.sort();
            let mut named = vec![$($file),*];
            named.sort_unstable();
            assert_eq!(there, named);
        }
    };
}

files! {
    configured_admission: "admission.yaml",
    devices: "devices.yaml",
    extension: "extension.yaml",
    cluster: "cluster.yaml",
    network: "network.yaml",
    nodes: "nodes.yaml",
    pods: "pods.yaml",
    storage: "storage.yaml",
    volumes_of_pods: "pod_volumes.yaml",
    workloads: "workloads.yaml",
}
