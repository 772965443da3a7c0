//! An IPAddress cannot be deleted while the Service it belongs to has that address.
//!
//! Ours, not upstream's: there, a loop notices that the address went and creates it anew, and until then another Service
//! can be given it. Here the IPAddress is the allocation itself, so it is refused.

use gantry_machinery::status::Status;
use gantry_machinery::value::Value;
use gantry_store_cache::key::ObjectKey;

use super::{Attributes, Operation, Plugin};
use crate::registry::body;

/// See the file's head.
pub(crate) struct IpAddressInUse;

impl Plugin for IpAddressInUse {
    fn name(&self) -> &'static str {
        "IPAddressInUse"
    }

    fn handles(&self, attributes: &Attributes<'_>) -> bool {
        attributes.operation == Operation::Delete && attributes.writes("ipaddresses.networking.k8s.io")
    }

    fn validate(&self, attributes: &Attributes<'_>, _new: Option<&Value>, old: Option<&Value>) -> Result<(), Status> {
        let Some(address) = old else { return Ok(()) };
        let parent = |field: &str| address.str_at(&["spec", "parentRef", field]).unwrap_or_default();
        if parent("resource") != "services" || !parent("group").is_empty() {
            return Ok(());
        }
        let (namespace, name) = (parent("namespace"), parent("name"));
        let key = ObjectKey::new("services", namespace, name);
        let Some(service) = attributes.registry.store().get(&key) else { return Ok(()) };
        let service = body::decode(&service)?;
        let addresses = service.array_at(&["spec", "clusterIPs"]);
        if addresses.iter().any(|a| a.as_str() == address.str_at(&["metadata", "name"])) {
            let why = format!("it is the address of Service {namespace}/{name}");
            return Err(attributes.forbidden(address, why));
        }
        Ok(())
    }
}
