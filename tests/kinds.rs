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

#[test]
fn answers_name_the_flow_schema_and_the_level_of_the_request() {
    let c = Cluster::up(&[]);
    assert_eq!(c.kubectl("get flowschemas -o name").lines().count(), 13);
    assert_eq!(c.kubectl("get prioritylevelconfigurations -o name").lines().count(), 8);
    assert_eq!(c.value("flowschema global-default", "{.status.conditions[0].status}"), "False");
    let uid = c.value("flowschema exempt", "{.metadata.uid}");
    let level = c.value("prioritylevelconfiguration exempt", "{.metadata.uid}");
    let said = c.try_kubectl(["get", "namespaces", "-v=8"]).stderr.to_lowercase();
    assert!(said.contains(&format!("x-kubernetes-pf-flowschema-uid: {uid}")), "{said}");
    assert!(said.contains(&format!("x-kubernetes-pf-prioritylevel-uid: {level}")), "{said}");
}

#[test]
fn a_request_for_a_certificate_is_asked_approved_and_kept_apart() {
    let c = Cluster::up(&[]);
    let file = format!("{}/tests/manifests/kinds/certificatesigningrequests.yaml", env!("CARGO_MANIFEST_DIR"));
    let manifest = std::fs::read_to_string(&file).unwrap().replace("spec:", "spec:\n  username: somebody-else");
    c.apply(&manifest);
    let asked = |path: &str| c.value("csr jane", path);
    assert_eq!(asked("{.spec.username}"), "kubernetes-admin", "who asks is not what the request says");
    assert!(asked("{.spec.groups}").contains("system:masters"));
    assert!(c.kubectl("get csr").contains("Pending"));
    assert_eq!(c.kubectl("get csr --field-selector=spec.signerName=example.com/people -o name").lines().count(), 1);
    assert_eq!(c.kubectl("get csr --field-selector=spec.signerName=example.com/others -o name"), "");
    assert!(c.kubectl("certificate approve jane").contains("approved"));
    assert!(c.kubectl("get csr jane").contains("Approved"));
    assert_eq!(asked("{.status.conditions[0].reason}"), "KubectlApprove");

    c.kubectl("create clusterrole lookers --verb=get,update --resource=certificatesigningrequests/approval,certificatesigningrequests");
    c.kubectl("create clusterrolebinding lookers --clusterrole=lookers --user=looker");
    let refused = c.kubectl_fails("certificate approve jane --force --as=looker");
    assert!(refused.contains("user not permitted to approve requests with signerName"), "{refused}");
    let wrong = manifest.replace("example.com/people", "people");
    let said = c.kubectl_with(&wrong.replace("name: jane", "name: joe"), ["create", "-f", "-"]);
    assert!(said.stderr.contains("spec.signerName: Invalid value: \"people\": must be a fully qualified"), "{said:?}");
}

#[test]
fn groups_of_others_are_unavailable_and_webhooks_do_not_pretend() {
    let c = Cluster::up(&[]);
    let services = c.kubectl("get apiservices");
    assert!(services.contains("v1.apps") && services.contains("Local"), "{services}");
    let folder = format!("{}/tests/manifests/kinds", env!("CARGO_MANIFEST_DIR"));
    let said = c.try_kubectl(["create", "-f", &format!("{folder}/apiservices.yaml")]);
    assert!(said.stderr.contains("Warning: this server does not forward requests"), "{said:?}");
    assert!(c.kubectl("get apiservice v1beta1.metrics.k8s.io").contains("False (AggregationNotBuilt)"));
    let refused = c.kubectl_fails("get --raw /apis/metrics.k8s.io/v1beta1/nodes");
    assert!(refused.contains("unable to handle the request") || refused.contains("service unavailable"), "{refused}");
    assert!(c.kubectl_fails("get --raw /apis/metrics.k8s.io/v1/nodes").contains("NotFound"));

    let said = c.try_kubectl(["create", "-f", &format!("{folder}/validatingadmissionpolicies.yaml")]);
    let warned = "Warning: this server stores ValidatingAdmissionPolicy objects but does not act on them yet";
    assert!(said.stderr.contains(warned), "{said:?}");
}
