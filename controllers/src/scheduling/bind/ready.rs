//! Makes ready what a placed pod needs of volumes and claims before it is bound (upstream's PreBind).

use std::sync::Arc;

use gantry_machinery::clock::Clock;
use gantry_machinery::resource_api::ResourceApi;
use gantry_scheduler_core::plan::Placement;
use gantry_scheduler_core::profile::{Plugin, Profile};

use super::super::devices;
use super::super::metrics::Metrics;
use super::super::volumes::{self, NotReady, Notices};

/// What that takes.
#[derive(Clone)]
pub(super) struct Readying {
    pub(super) api: Arc<dyn ResourceApi>,
    /// Tell of claims that are waited for.
    pub(super) notices: Arc<Notices>,
    /// Says when a claim was allocated.
    pub(super) clock: Clock,
    pub(super) metrics: Arc<Metrics>,
    /// Say how long is waited.
    pub(super) profiles: Arc<[Arc<Profile>]>,
}

impl Readying {
    /// Writes what must be written, and waits for what must come of it.
    ///
    /// # Errors
    /// Whose work failed, and why.
    pub(super) async fn make_ready(&self, placement: &Placement) -> Result<(), (Plugin, NotReady)> {
        let Some(work) = &placement.preparation else { return Ok(()) };
        let Self { api, notices, clock, metrics, profiles } = self;
        let patience = profiles[usize::from(placement.profile)].patience;
        let volumes = volumes::prepare(api, notices, patience.volumes, placement, work).await;
        volumes.map_err(|why| (Plugin::VolumeBinding, why))?;
        let scribe = devices::Scribe::new(api, *clock, metrics);
        let devices = devices::prepare(&scribe, notices, patience.devices, placement, &work.claims).await;
        devices.map_err(|why| (Plugin::DynamicResources, why))
    }
}
