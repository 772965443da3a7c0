//! What runs containers: one trait, so that one pod worker drives simulated and real nodes alike.
//!
//! Operations are begun without waiting; what came of them is handed out by [`ContainerRuntime::finished`], as are
//! containers that end on their own. The worker never blocks on a runtime.

pub mod simulated;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

use crate::pods::brief::PodBrief;

/// A pod on this process's nodes; never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PodId(pub u64);

/// Something to do, about one pod.
#[derive(Clone, Debug)]
pub struct Operation {
    /// The pod.
    pub pod: PodId,
    /// What the pod is to be.
    pub brief: Arc<PodBrief>,
    /// What to do.
    pub what: What,
}

/// What to do. `container` counts through [`PodBrief::containers`]: init containers first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// The pod's sandbox, with its network.
    CreateSandbox,
    /// Make sure that the container's image is there.
    PullImage {
        /// Which container.
        container: u16,
    },
    /// Create and start a container whose image is there.
    Start {
        /// Which container.
        container: u16,
        /// How often it was started before: part of its identity.
        attempt: u32,
    },
    /// A container that runs since an earlier life of this process.
    Adopt {
        /// Which container.
        container: u16,
        /// As given when it was started.
        attempt: u32,
        /// When it was started.
        since: Timestamp,
    },
    /// Ask a container to end, and make it after `grace`.
    Stop {
        /// Which container.
        container: u16,
        /// As given when it was started.
        attempt: u32,
        /// How long it may take.
        grace: Duration,
    },
}

/// What came of an operation, or happened by itself.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The pod.
    pub pod: PodId,
    /// What happened.
    pub what: Happened,
}

/// What happened. `attempt` as it was given: outcomes of an earlier attempt are void.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happened {
    /// The sandbox is there.
    SandboxReady,
    /// The image is there.
    Pulled {
        /// Whose image.
        container: u16,
    },
    /// The image cannot be had.
    PullFailed {
        /// Whose image.
        container: u16,
        /// Why, as the runtime says it.
        message: String,
    },
    /// The container runs.
    Started {
        /// Which one.
        container: u16,
        /// The attempt.
        attempt: u32,
    },
    /// The container ended.
    Exited {
        /// Which one.
        container: u16,
        /// The attempt.
        attempt: u32,
        /// Its exit code; 137 when it was killed.
        code: i32,
    },
}

/// Runs containers.
#[async_trait]
pub trait ContainerRuntime: Send + Sync + 'static {
    /// The scheme of its container ids (`containerd`).
    fn scheme(&self) -> &'static str;

    /// Name and version as nodes report them (`containerd://2.1.4`).
    fn version(&self) -> String;

    /// Begins an operation.
    fn begin(&self, operation: Operation);

    /// The pod is gone: nothing more about it needs to be told.
    fn forget(&self, pod: PodId);

    /// What happened since the last call, in order; waits until something has. Cancel-safe.
    async fn finished(&self) -> Vec<Outcome>;
}
