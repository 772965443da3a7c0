//! Starts the controllers.

use std::sync::Arc;

use gantry_machinery::clock::Clock;
use gantry_machinery::resource_api::ResourceApi;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::runtime::informers::Informers;
use crate::runtime::reconcile::{self, Reconcile};
use crate::services::endpoint_slices::EndpointSlices;
use crate::services::endpoints::Endpoints;
use crate::workloads::deployment::Deployments;
use crate::workloads::replicaset::ReplicaSets;

/// What runs.
#[derive(Clone, Debug, Default)]
pub struct ManagerConfig {
    /// Upstream's `--controllers`.
    pub controllers: Vec<String>,
}

/// The controllers.
pub struct Manager;

impl Manager {
    /// Starts them.
    ///
    /// # Errors
    /// A name that no controller has.
    pub fn start(
        api: Arc<dyn ResourceApi>,
        _config: ManagerConfig,
        tasks: &TaskTracker,
        stop: &CancellationToken,
    ) -> Result<(), String> {
        let informers = Informers::new(api, Clock::System, tasks.clone(), stop.clone());
        let loops: Vec<(Arc<dyn Reconcile>, usize)> = vec![
            (Deployments::new(&informers), 5),
            (ReplicaSets::new(&informers), 5),
            (EndpointSlices::new(&informers), 5),
            (Endpoints::new(&informers), 5),
        ];
        for (looped, workers) in loops {
            reconcile::run(looped, workers, tasks, stop.clone());
        }
        Ok(())
    }
}
