//! Collects the descriptions of all API types from `k8s-openapi`, which has them as JSON schemas, into one compressed text
//! that the library carries: a table of texts is all the server needs of them.
//!
//! The text is a sequence of `definition \0 field \0 description \n`, sorted; the field is empty where the type itself is
//! described. Runs at build time only, so that neither the schemas nor what makes them are part of the server.

use std::collections::BTreeMap;
use std::io::Write;
use std::{env, fs, path};

use flate2::Compression;
use flate2::write::ZlibEncoder;
use k8s_openapi::schemars::SchemaGenerator;
use k8s_openapi::schemars::generate::SchemaSettings;

/// Adds types, and with them all they are made of.
macro_rules! add {
    ($generator:expr; $($module:ident $(:: $more:ident)*: $($kind:ident),+;)+) => {
        $({
            use k8s_openapi::$module $(:: $more)*::{$($kind),+};
            $( let _ = $generator.subschema_for::<$kind>(); )+
        })+
    };
}

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let mut generator = SchemaSettings::draft07().into_generator();
    add_all(&mut generator);

    let mut texts = BTreeMap::new();
    for (name, schema) in generator.take_definitions(false) {
        if let Some(text) = schema["description"].as_str() {
            texts.insert((name.clone(), String::new()), one_line(text));
        }
        for (field, schema) in schema["properties"].as_object().into_iter().flatten() {
            if let Some(text) = schema["description"].as_str() {
                texts.insert((name.clone(), field.clone()), one_line(text));
            }
        }
    }
    assert!(texts.len() > 2000, "k8s-openapi describes only {} types and fields", texts.len());

    let out = path::PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it")).join("descriptions.z");
    let mut file = ZlibEncoder::new(fs::File::create(out).expect("cargo made the folder"), Compression::best());
    for ((definition, field), text) in texts {
        writeln!(file, "{definition}\0{field}\0{text}").expect("the folder is writable");
    }
    file.finish().expect("the folder is writable");
}

/// Newlines end an entry: inside one they are escaped, as in JSON.
fn one_line(text: &str) -> String {
    text.replace('\\', "\\\\").replace('\n', "\\n")
}

/// Every type that is served by itself.
fn add_all(generator: &mut SchemaGenerator) {
    add! { generator;
        api::admissionregistration::v1: MutatingAdmissionPolicy, MutatingAdmissionPolicyBinding, MutatingWebhookConfiguration, ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding, ValidatingWebhookConfiguration;
        api::admissionregistration::v1alpha1: MutatingAdmissionPolicy, MutatingAdmissionPolicyBinding;
        api::admissionregistration::v1beta1: MutatingAdmissionPolicy, MutatingAdmissionPolicyBinding;
        api::apiserverinternal::v1alpha1: StorageVersion;
        api::apps::v1: ControllerRevision, DaemonSet, Deployment, ReplicaSet, StatefulSet;
        api::authentication::v1: SelfSubjectReview, TokenRequest, TokenReview;
        api::authorization::v1: LocalSubjectAccessReview, SelfSubjectAccessReview, SelfSubjectRulesReview, SubjectAccessReview;
        api::autoscaling::v1: HorizontalPodAutoscaler, Scale;
        api::autoscaling::v2: HorizontalPodAutoscaler;
        api::batch::v1: CronJob, Job;
        api::certificates::v1: CertificateSigningRequest;
        api::certificates::v1alpha1: ClusterTrustBundle;
        api::certificates::v1beta1: ClusterTrustBundle, PodCertificateRequest;
        api::coordination::v1: Lease;
        api::coordination::v1alpha2: LeaseCandidate;
        api::coordination::v1beta1: LeaseCandidate;
        api::core::v1: Binding, ComponentStatus, ConfigMap, Endpoints, Event, LimitRange, Namespace, Node, PersistentVolume, PersistentVolumeClaim, Pod, PodTemplate, ReplicationController, ResourceQuota, Secret, Service, ServiceAccount;
        api::discovery::v1: EndpointSlice;
        api::events::v1: Event;
        api::flowcontrol::v1: FlowSchema, PriorityLevelConfiguration;
        api::networking::v1: IPAddress, Ingress, IngressClass, NetworkPolicy, ServiceCIDR;
        api::networking::v1beta1: IPAddress, ServiceCIDR;
        api::node::v1: RuntimeClass;
        api::policy::v1: Eviction, PodDisruptionBudget;
        api::rbac::v1: ClusterRole, ClusterRoleBinding, Role, RoleBinding;
        api::resource::v1: DeviceClass, ResourceClaim, ResourceClaimTemplate, ResourceSlice;
        api::resource::v1alpha3: DeviceTaintRule, ResourcePoolStatusRequest;
        api::resource::v1beta1: DeviceClass, ResourceClaim, ResourceClaimTemplate, ResourceSlice;
        api::resource::v1beta2: DeviceClass, DeviceTaintRule, ResourceClaim, ResourceClaimTemplate, ResourceSlice;
        api::scheduling::v1: PriorityClass;
        api::scheduling::v1alpha2: PodGroup, Workload;
        api::storage::v1: CSIDriver, CSINode, CSIStorageCapacity, StorageClass, VolumeAttachment, VolumeAttributesClass;
        api::storage::v1beta1: VolumeAttributesClass;
        api::storagemigration::v1beta1: StorageVersionMigration;
        apiextensions_apiserver::pkg::apis::apiextensions::v1: CustomResourceDefinition;
        apimachinery::pkg::apis::meta::v1: Status, DeleteOptions;
        kube_aggregator::pkg::apis::apiregistration::v1: APIService;
    }
}
