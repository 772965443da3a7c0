//! Rows of volumes and of what says where they can be had, from stored JSON; and what a pod needs of them.

use serde::Deserialize;

use super::wire::{
    Azure, Ebs, Gce, Iscsi, Map, Meta, NodeSelectorJson, PodSpec, PodStatus, Quantities, Quantity, Rbd,
    RequirementJson, Resources, SelectorJson, Text,
};
use super::{NotAnObject, Operator, Requirement, Selector, devices, node_term, pairs, selector, text};
use crate::rows::amounts;
use crate::rows::storage::{
    AttachmentRow, CapacityRow, ClaimRef, ClaimRow, ClaimUse, CsiDriverRow, CsiNodeRow, Disk, DiskKind, Key, Kind,
    Needs, StorageClassRow, Thing, VolumeRow,
};

/// The annotation that named the class before the field did.
const CLASS_ANNOTATION: &str = "volume.beta.kubernetes.io/storage-class";
/// Both sides of a claim's binding are written.
const BIND_COMPLETED: &str = "pv.kubernetes.io/bind-completed";
/// The node that a volume is provisioned for.
pub const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";

impl Thing {
    /// The row of a stored object of this kind.
    ///
    /// # Errors
    /// When the bytes are no JSON of such an object.
    pub fn from_json(kind: Kind, body: &[u8]) -> Result<Self, NotAnObject> {
        Ok(match kind {
            Kind::Volume => Self::Volume(volume(serde_json::from_slice(body)?)),
            Kind::Claim => Self::Claim(claim(serde_json::from_slice(body)?)),
            Kind::Class => Self::Class(class(serde_json::from_slice(body)?)),
            Kind::CsiNode => Self::CsiNode(csi_node(serde_json::from_slice(body)?)),
            Kind::CsiDriver => Self::CsiDriver(csi_driver(serde_json::from_slice(body)?)),
            Kind::Capacity => Self::Capacity(capacity(serde_json::from_slice(body)?)),
            Kind::Attachment => Self::Attachment(attachment(serde_json::from_slice(body)?)),
            Kind::DeviceClaim => Self::DeviceClaim(devices::claim(serde_json::from_slice(body)?)),
            Kind::DeviceClass => Self::DeviceClass(devices::class(serde_json::from_slice(body)?)),
            Kind::Slice => Self::Slice(devices::slice(serde_json::from_slice(body)?)),
        })
    }
}

#[derive(Deserialize, Default)]
#[serde(default, bound(deserialize = "'de: 'a"))]
struct VolumeJson<'a> {
    metadata: Option<OwnedMeta<'a>>,
    spec: Option<VolumeSpec<'a>>,
    status: Option<Phase<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default, bound(deserialize = "'de: 'a"))]
struct Phase<'a> {
    phase: Option<Text<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase", bound(deserialize = "'de: 'a"))]
struct VolumeSpec<'a> {
    capacity: Option<Quantities<'a>>,
    storage_class_name: Option<Text<'a>>,
    access_modes: Option<Vec<Text<'a>>>,
    volume_mode: Option<Text<'a>>,
    volume_attributes_class_name: Option<Text<'a>>,
    claim_ref: Option<ClaimRefJson<'a>>,
    node_affinity: Option<VolumeAffinity<'a>>,
    csi: Option<CsiSource<'a>>,
    gce_persistent_disk: Option<Gce<'a>>,
    aws_elastic_block_store: Option<Ebs<'a>>,
    azure_disk: Option<Azure<'a>>,
    cinder: Option<Ebs<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default, bound(deserialize = "'de: 'a"))]
struct ClaimRefJson<'a> {
    namespace: Option<Text<'a>>,
    name: Option<Text<'a>>,
    uid: Option<Text<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default, bound(deserialize = "'de: 'a"))]
struct VolumeAffinity<'a> {
    required: Option<NodeSelectorJson<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase", bound(deserialize = "'de: 'a"))]
struct CsiSource<'a> {
    driver: Option<Text<'a>>,
    volume_handle: Option<Text<'a>>,
}

/// Sources built into Kubernetes once, which pods and PersistentVolumes may name.
struct Sources<'s, 'a> {
    gce: Option<&'s Gce<'a>>,
    ebs: Option<&'s Ebs<'a>>,
    azure: Option<&'s Azure<'a>>,
    cinder: Option<&'s Ebs<'a>>,
    iscsi: Option<&'s Iscsi<'a>>,
    rbd: Option<&'s Rbd<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default, bound(deserialize = "'de: 'a"))]
struct ClaimJson<'a> {
    metadata: Option<OwnedMeta<'a>>,
    spec: Option<ClaimSpec<'a>>,
    status: Option<Phase<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase", bound(deserialize = "'de: 'a"))]
struct OwnedMeta<'a> {
    name: Option<Text<'a>>,
    namespace: Option<Text<'a>>,
    uid: Option<Text<'a>>,
    labels: Option<Map<'a>>,
    annotations: Option<Map<'a>>,
    deletion_timestamp: Option<Text<'a>>,
    owner_references: Option<Vec<Owner<'a>>>,
}

#[derive(Deserialize, Default)]
#[serde(default, bound(deserialize = "'de: 'a"))]
struct Owner<'a> {
    uid: Option<Text<'a>>,
    controller: Option<bool>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase", bound(deserialize = "'de: 'a"))]
struct ClaimSpec<'a> {
    volume_name: Option<Text<'a>>,
    storage_class_name: Option<Text<'a>>,
    access_modes: Option<Vec<Text<'a>>>,
    volume_mode: Option<Text<'a>>,
    volume_attributes_class_name: Option<Text<'a>>,
    selector: Option<SelectorJson<'a>>,
    resources: Option<Resources<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase", bound(deserialize = "'de: 'a"))]
struct ClassJson<'a> {
    metadata: Option<Meta<'a>>,
    provisioner: Option<Text<'a>>,
    volume_binding_mode: Option<Text<'a>>,
    allowed_topologies: Option<Vec<TopologyJson<'a>>>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase", bound(deserialize = "'de: 'a"))]
struct TopologyJson<'a> {
    match_label_expressions: Option<Vec<RequirementJson<'a>>>,
}

#[derive(Deserialize, Default)]
#[serde(default, bound(deserialize = "'de: 'a"))]
struct CsiNodeJson<'a> {
    metadata: Option<Meta<'a>>,
    spec: Option<CsiNodeSpec<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default, bound(deserialize = "'de: 'a"))]
struct CsiNodeSpec<'a> {
    drivers: Option<Vec<CsiNodeDriver<'a>>>,
}

#[derive(Deserialize, Default)]
#[serde(default, bound(deserialize = "'de: 'a"))]
struct CsiNodeDriver<'a> {
    name: Option<Text<'a>>,
    allocatable: Option<Allocatable>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Allocatable {
    count: Option<i64>,
}

#[derive(Deserialize, Default)]
#[serde(default, bound(deserialize = "'de: 'a"))]
struct CsiDriverJson<'a> {
    metadata: Option<Meta<'a>>,
    spec: Option<CsiDriverSpec>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct CsiDriverSpec {
    storage_capacity: Option<bool>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase", bound(deserialize = "'de: 'a"))]
struct CapacityJson<'a> {
    metadata: Option<Meta<'a>>,
    storage_class_name: Option<Text<'a>>,
    node_topology: Option<SelectorJson<'a>>,
    capacity: Option<Quantity<'a>>,
    maximum_volume_size: Option<Quantity<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default, bound(deserialize = "'de: 'a"))]
struct AttachmentJson<'a> {
    metadata: Option<Meta<'a>>,
    spec: Option<AttachmentSpec<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase", bound(deserialize = "'de: 'a"))]
struct AttachmentSpec<'a> {
    attacher: Option<Text<'a>>,
    node_name: Option<Text<'a>>,
    source: Option<AttachmentSource<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase", bound(deserialize = "'de: 'a"))]
struct AttachmentSource<'a> {
    persistent_volume_name: Option<Text<'a>>,
}

/// What a pod of this spec needs; `None` for the many that need nothing.
pub(super) fn needs(spec: &PodSpec<'_>, status: &PodStatus<'_>, pod: &str) -> Option<Box<Needs>> {
    let (devices, extended) = (devices::uses(spec, status), devices::extended(spec));
    let mut needs = Needs { devices, extended, ..Needs::default() };
    for volume in spec.volumes.iter().flatten() {
        if let Some(claim) = &volume.persistent_volume_claim {
            needs.claims.push(ClaimUse { name: owned(claim.claim_name.as_ref()), ephemeral: false });
        } else if volume.ephemeral.is_some() {
            let name = format!("{pod}-{}", volume.name.as_deref().unwrap_or_default());
            needs.claims.push(ClaimUse { name: name.into(), ephemeral: true });
        } else {
            let sources = Sources {
                gce: volume.gce_persistent_disk.as_ref(),
                ebs: volume.aws_elastic_block_store.as_ref(),
                azure: volume.azure_disk.as_ref(),
                cinder: volume.cinder.as_ref(),
                iscsi: volume.iscsi.as_ref(),
                rbd: volume.rbd.as_ref(),
            };
            needs.disks.extend(disk(&sources));
            needs.inline.extend(handle(&sources));
        }
    }
    (!needs.is_empty()).then(|| Box::new(needs))
}

fn disk(sources: &Sources<'_, '_>) -> Option<Disk> {
    let of = |kind, name: Option<&Text<'_>>, read_only: Option<bool>| Disk {
        kind,
        name: owned(name),
        pool: "".into(),
        monitors: Vec::new(),
        read_only: read_only.unwrap_or(false),
    };
    if let Some(gce) = sources.gce {
        return Some(of(DiskKind::Gce, gce.pd_name.as_ref(), gce.read_only));
    }
    if let Some(ebs) = sources.ebs {
        return Some(of(DiskKind::Ebs, ebs.id.as_ref(), None));
    }
    if let Some(iscsi) = sources.iscsi {
        return Some(of(DiskKind::Iscsi, iscsi.iqn.as_ref(), iscsi.read_only));
    }
    let rbd = sources.rbd?;
    Some(Disk {
        monitors: rbd.monitors.iter().flatten().map(|m| Box::from(&**m)).collect(),
        pool: owned(rbd.pool.as_ref()),
        ..of(DiskKind::Rbd, rbd.image.as_ref(), rbd.read_only)
    })
}

/// The CSI driver that took over a source, and the volume's handle.
fn handle(sources: &Sources<'_, '_>) -> Option<(Box<str>, Box<str>)> {
    if let Some(gce) = sources.gce {
        return Some(("pd.csi.storage.gke.io".into(), owned(gce.pd_name.as_ref())));
    }
    if let Some(ebs) = sources.ebs {
        let id = ebs.id.as_deref().unwrap_or_default();
        // `aws://zone/vol-1` and `vol-1` are the same volume.
        let id = id.strip_prefix("aws://").and_then(|rest| rest.rsplit('/').next()).unwrap_or(id);
        return Some(("ebs.csi.aws.com".into(), id.into()));
    }
    if let Some(azure) = sources.azure {
        return Some(("disk.csi.azure.com".into(), owned(azure.uri.as_ref())));
    }
    sources.cinder.map(|cinder| ("cinder.csi.openstack.org".into(), owned(cinder.id.as_ref())))
}

/// The name of the CSI driver that took over an in-tree provisioner; other names are drivers' own.
#[must_use]
pub fn driver_of(provisioner: &str) -> &str {
    match provisioner {
        "kubernetes.io/gce-pd" => "pd.csi.storage.gke.io",
        "kubernetes.io/aws-ebs" => "ebs.csi.aws.com",
        "kubernetes.io/azure-disk" => "disk.csi.azure.com",
        "kubernetes.io/cinder" => "cinder.csi.openstack.org",
        other => other,
    }
}

fn volume(json: VolumeJson<'_>) -> VolumeRow {
    let (meta, spec) = (json.metadata.unwrap_or_default(), json.spec.unwrap_or_default());
    let annotated = meta.annotations.as_ref().and_then(|a| a.get(CLASS_ANNOTATION)).map(|c| Box::from(&**c));
    let csi = spec.csi.map(|csi| (text(csi.driver), text(csi.volume_handle)));
    let took_over = handle(&Sources {
        gce: spec.gce_persistent_disk.as_ref(),
        ebs: spec.aws_elastic_block_store.as_ref(),
        azure: spec.azure_disk.as_ref(),
        cinder: spec.cinder.as_ref(),
        iscsi: None,
        rbd: None,
    });
    VolumeRow {
        capacity: storage(spec.capacity.as_ref()).unwrap_or(0),
        class: annotated.unwrap_or_else(|| text(spec.storage_class_name)),
        modes: texts(spec.access_modes),
        block: spec.volume_mode.as_deref() == Some("Block"),
        attributes_class: text(spec.volume_attributes_class_name),
        claim: spec.claim_ref.map(|claim| ClaimRef {
            key: Key { namespace: text(claim.namespace), name: text(claim.name) },
            uid: text(claim.uid),
        }),
        terms: spec
            .node_affinity
            .and_then(|a| a.required)
            .map(|required| required.node_selector_terms.iter().flatten().map(node_term).collect()),
        available: json.status.is_some_and(|s| s.phase.as_deref() == Some("Available")),
        deleting: meta.deletion_timestamp.is_some(),
        attachment: csi.or(took_over),
        name: text(meta.name),
        labels: pairs(meta.labels),
    }
}

fn claim(json: ClaimJson<'_>) -> ClaimRow {
    let (meta, spec) = (json.metadata.unwrap_or_default(), json.spec.unwrap_or_default());
    let annotation = |name: &str| meta.annotations.as_ref().and_then(|a| a.get(name)).map(|v| Box::from(&**v));
    let controller = meta.owner_references.iter().flatten().find(|owner| owner.controller == Some(true));
    ClaimRow {
        controller: owned(controller.and_then(|owner| owner.uid.as_ref())),
        volume: text(spec.volume_name),
        bind_completed: annotation(BIND_COMPLETED).is_some(),
        class: annotation(CLASS_ANNOTATION).unwrap_or_else(|| text(spec.storage_class_name)),
        request: storage(spec.resources.as_ref().and_then(|r| r.requests.as_ref())),
        modes: texts(spec.access_modes),
        block: spec.volume_mode.as_deref() == Some("Block"),
        attributes_class: text(spec.volume_attributes_class_name),
        selector: spec.selector.as_ref().map(selector),
        selected_node: annotation(SELECTED_NODE),
        lost: json.status.is_some_and(|s| s.phase.as_deref() == Some("Lost")),
        deleting: meta.deletion_timestamp.is_some(),
        key: Key { namespace: text(meta.namespace), name: text(meta.name) },
        uid: text(meta.uid),
    }
}

fn class(json: ClassJson<'_>) -> StorageClassRow {
    let topology = |t: &TopologyJson<'_>| Selector {
        requirements: t
            .match_label_expressions
            .iter()
            .flatten()
            .map(|r| Requirement { operator: Operator::In, ..super::requirement(r) })
            .collect(),
    };
    StorageClassRow {
        name: text(json.metadata.unwrap_or_default().name),
        provisioner: text(json.provisioner),
        waits: json.volume_binding_mode.as_deref() == Some("WaitForFirstConsumer"),
        topologies: json.allowed_topologies.iter().flatten().map(topology).collect(),
    }
}

fn csi_node(json: CsiNodeJson<'_>) -> CsiNodeRow {
    let drivers = json.spec.unwrap_or_default().drivers.unwrap_or_default();
    CsiNodeRow {
        name: text(json.metadata.unwrap_or_default().name),
        limits: drivers.into_iter().filter_map(|d| Some((text(d.name), d.allocatable?.count?))).collect(),
    }
}

fn csi_driver(json: CsiDriverJson<'_>) -> CsiDriverRow {
    CsiDriverRow {
        name: text(json.metadata.unwrap_or_default().name),
        storage_capacity: json.spec.is_some_and(|s| s.storage_capacity == Some(true)),
    }
}

fn capacity(json: CapacityJson<'_>) -> CapacityRow {
    let meta = json.metadata.unwrap_or_default();
    CapacityRow {
        key: Key { namespace: text(meta.namespace), name: text(meta.name) },
        class: text(json.storage_class_name),
        topology: json.node_topology.as_ref().map(selector),
        limit: json.maximum_volume_size.or(json.capacity).as_ref().map(bytes),
    }
}

fn attachment(json: AttachmentJson<'_>) -> AttachmentRow {
    let spec = json.spec.unwrap_or_default();
    AttachmentRow {
        name: text(json.metadata.unwrap_or_default().name),
        driver: text(spec.attacher),
        node: text(spec.node_name),
        volume: text(spec.source.and_then(|s| s.persistent_volume_name)),
    }
}

fn storage(quantities: Option<&Quantities<'_>>) -> Option<i64> {
    quantities?.get("storage").map(bytes)
}

fn bytes(quantity: &Quantity<'_>) -> i64 {
    match quantity {
        Quantity::Text(text) => amounts::whole(text),
        Quantity::Int(number) => *number,
        Quantity::Float(number) => amounts::whole(&number.to_string()),
    }
}

fn owned(text: Option<&Text<'_>>) -> Box<str> {
    text.map(|t| Box::from(&**t)).unwrap_or_default()
}

fn texts(texts: Option<Vec<Text<'_>>>) -> Vec<Box<str>> {
    texts.into_iter().flatten().map(|t| t.into_owned().into()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::PodRow;

    #[test]
    fn what_a_pod_needs_is_read_from_its_volumes() {
        let body = br#"{"metadata":{"name":"p","namespace":"d","uid":"u"},"spec":{"volumes":[
            {"name":"a","persistentVolumeClaim":{"claimName":"c"}},
            {"name":"b","ephemeral":{"volumeClaimTemplate":{"spec":{}}}},
            {"name":"c","configMap":{"name":"x"}},
            {"name":"d","gcePersistentDisk":{"pdName":"g","readOnly":true}},
            {"name":"e","awsElasticBlockStore":{"volumeID":"aws://z/vol-1"}},
            {"name":"f","rbd":{"monitors":["m"],"image":"i","pool":"rbd"}}]}}"#;
        let needs = PodRow::from_json(body).expect("valid").needs.expect("has volumes");
        assert_eq!(
            needs.claims,
            [ClaimUse { name: "c".into(), ephemeral: false }, ClaimUse { name: "p-b".into(), ephemeral: true }]
        );
        assert_eq!(needs.disks.len(), 3);
        assert_eq!(needs.inline[1], ("ebs.csi.aws.com".into(), "vol-1".into()));
        let plain = br#"{"metadata":{"name":"p"},"spec":{"volumes":[{"name":"c","emptyDir":{}}]}}"#;
        assert_eq!(PodRow::from_json(plain).expect("valid").needs, None);
    }

    #[test]
    fn volumes_and_claims_are_read() {
        let body = br#"{"metadata":{"name":"v","annotations":{"volume.beta.kubernetes.io/storage-class":"old"}},
            "spec":{"capacity":{"storage":"1Gi"},"storageClassName":"new","accessModes":["ReadWriteOnce"],
            "volumeMode":"Block","claimRef":{"namespace":"d","name":"c"},"csi":{"driver":"x","volumeHandle":"h"},
            "nodeAffinity":{"required":{"nodeSelectorTerms":[{"matchExpressions":[
              {"key":"zone","operator":"In","values":["a"]}]}]}}},"status":{"phase":"Available"}}"#;
        let Thing::Volume(row) = Thing::from_json(Kind::Volume, body).expect("valid") else { panic!("a volume") };
        assert_eq!((row.capacity, &*row.class, row.block, row.available), (1 << 30, "old", true, true));
        assert_eq!(row.claim, Some(ClaimRef { key: Key::new("d", "c"), uid: "".into() }));
        assert_eq!(row.attachment, Some(("x".into(), "h".into())));
        assert_eq!(row.terms.expect("given").len(), 1);

        let body = br#"{"metadata":{"name":"c","namespace":"d","uid":"u","annotations":
            {"pv.kubernetes.io/bind-completed":"yes","volume.kubernetes.io/selected-node":"n"},
            "ownerReferences":[{"uid":"o","controller":true}]},
            "spec":{"volumeName":"v","resources":{"requests":{"storage":"5"}},"accessModes":["ReadWriteOncePod"]}}"#;
        let Thing::Claim(row) = Thing::from_json(Kind::Claim, body).expect("valid") else { panic!("a claim") };
        assert!(row.is_bound() && row.is_for_one_pod());
        assert_eq!((row.request, &*row.controller, row.selected_node.as_deref()), (Some(5), "o", Some("n")));
    }
}
