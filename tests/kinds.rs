//! The promise: every kind of the API that no other test creates can be created, read, changed, applied and deleted with
//! the real kubectl, and is shown in the columns that upstream shows.
//!
//! The objects are the files in `manifests/kinds`, one kind each; a file's first line is the heading that `kubectl get`
//! prints for it.

#[path = "support/cluster.rs"]
mod cluster;

use std::path::PathBuf;

use cluster::Cluster;

fn manifests() -> Vec<PathBuf> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/manifests/kinds");
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .expect("the manifests are there")
        .map(|entry| entry.expect("the folder can be read").path())
        .collect();
    files.sort();
    files
}

#[test]
fn every_kind_goes_through_its_life_under_kubectl() {
    let c = Cluster::up(&[]);
    let files = manifests();
    assert!(!files.is_empty());
    for path in files {
        let text = std::fs::read_to_string(&path).unwrap();
        let heading = text.lines().next().unwrap().trim_start_matches("# ");
        let file = path.display();

        let created = c.kubectl(&format!("create -f {file}"));
        let name = created.strip_suffix(" created\n").unwrap_or_else(|| panic!("{created}"));
        let table = c.kubectl(&format!("get -f {file}"));
        let columns = table.lines().next().unwrap().split("  ").map(str::trim).filter(|c| !c.is_empty());
        assert_eq!(columns.collect::<Vec<_>>().join(" "), heading, "{file}");
        assert_eq!(table.lines().count(), 2, "{table}");
        assert_eq!(c.kubectl(&format!("get -f {file} -o name")), format!("{name}\n"));
        let yaml = c.kubectl(&format!("get -f {file} -o yaml"));
        for field in ["uid: ", "creationTimestamp: ", "resourceVersion: "] {
            assert!(yaml.contains(field), "{yaml}");
        }

        let patched =
            c.kubectl(&format!("patch {name} --type=merge -p {{\"metadata\":{{\"labels\":{{\"a\":\"b\"}}}}}}"));
        assert_eq!(patched, format!("{name} patched\n"));
        let again = c.kubectl(&format!("patch {name} --type=merge -p {{\"metadata\":{{\"labels\":{{\"a\":\"b\"}}}}}}"));
        assert_eq!(again, format!("{name} patched (no change)\n"), "defaulting is stable");
        let applied = c.kubectl(&format!("apply --server-side --force-conflicts -f {file}"));
        assert_eq!(applied, format!("{name} serverside-applied\n"));
        let managers = c.value(&format!("-f {file}"), "{.metadata.managedFields[*].manager}");
        assert!(managers.contains("kubectl-create") && managers.contains("kubectl-patch"), "{managers}");
        assert_eq!(c.value(&format!("-f {file}"), "{.metadata.labels.a}"), "b");

        let deleted = c.kubectl(&format!("delete -f {file}"));
        assert!(deleted.contains(" deleted"), "{deleted}");
        assert!(c.kubectl_fails(&format!("get {name}")).contains("NotFound"), "{name}");
    }
}

#[test]
fn addresses_of_services_are_objects() {
    let c = Cluster::up(&[]);
    let ranges = c.kubectl("get servicecidrs");
    assert!(ranges.contains("kubernetes") && ranges.contains("10.96.0.0/12"), "{ranges}");
    assert_eq!(c.value("servicecidr kubernetes", "{.status.conditions[0].type}"), "Ready");
    let addresses = c.kubectl("get ipaddresses");
    assert!(addresses.contains("10.96.0.1") && addresses.contains("services/default/kubernetes"), "{addresses}");
    let refused = c.kubectl_fails("delete ipaddress 10.96.0.1");
    assert!(refused.contains("it is the address of Service default/kubernetes"), "{refused}");

    c.kubectl("create service clusterip web --tcp=80:80 --clusterip=10.96.0.42");
    assert_eq!(c.value("ip 10.96.0.42", "{.spec.parentRef.name}"), "web");
    c.kubectl("delete service web");
    assert!(c.kubectl_fails("get ip 10.96.0.42").contains("NotFound"));
}
