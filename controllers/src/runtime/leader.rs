//! One of several processes leads, by holding a Lease (upstream's `kube-controller-manager` and `kube-scheduler`, in
//! `kube-system`): renewed every 2 s, given up after 10 s without success, taken over 15 s after the last renewal.
//!
//! The time a foreign Lease lapses is measured on our own clock from when we saw it change, so clocks of hosts need not
//! agree. `follower → leader → lost`: a process that loses the Lease must stop its loops; there is no way back but
//! [`lead`] again.

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use gantry_machinery::clock::Clock;
use gantry_machinery::resource::gvr;
use gantry_machinery::resource_api::{ResourceApi, Target};
use gantry_machinery::status::Status;
use gantry_machinery::typed::typed;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::write::{LoopError, Writer, is_already_exists};

/// How leadership is held. The defaults are upstream's.
#[derive(Clone, Debug)]
pub struct LeaderConfig {
    /// The Lease's name in `kube-system`.
    pub name: String,
    /// This process among the candidates: host name and something random.
    pub identity: String,
    /// Others may take over this long after the last renewal they saw.
    pub lease: Duration,
    /// A leader that could not renew for this long stops.
    pub renew_deadline: Duration,
    /// Between attempts.
    pub retry: Duration,
}

impl LeaderConfig {
    /// Upstream's periods.
    #[must_use]
    pub fn new(name: impl Into<String>, identity: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            identity: identity.into(),
            lease: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry: Duration::from_secs(2),
        }
    }
}

/// Waits to become leader, then runs `work` with a token that is cancelled when leadership is lost or `stop` is.
/// Returns when `work` has ended; gives the Lease back if it was still held, so that another takes over at once.
pub async fn lead<W, F>(api: Arc<dyn ResourceApi>, clock: Clock, config: LeaderConfig, stop: CancellationToken, work: W)
where
    W: FnOnce(CancellationToken) -> F,
    F: Future<Output = ()>,
{
    let mut candidate = Candidate { writer: Writer::new(api, &config.identity), clock, config, held: None, seen: None };
    loop {
        match candidate.attempt().await {
            Ok(true) => break,
            Ok(false) => {}
            Err(error) => tracing::debug!(lease = candidate.config.name, %error, "could not take the lease"),
        }
        if stop.run_until_cancelled(tokio::time::sleep(candidate.config.retry)).await.is_none() {
            return;
        }
    }
    tracing::info!(lease = candidate.config.name, identity = candidate.config.identity, "leading");
    let leading = stop.child_token();
    let kept = async {
        let mut renewed = Instant::now();
        loop {
            tokio::time::sleep(candidate.config.retry).await;
            let left = candidate.config.renew_deadline.saturating_sub(renewed.elapsed());
            match tokio::time::timeout(left, candidate.attempt()).await {
                Ok(Ok(true)) => renewed = Instant::now(),
                Ok(Ok(false)) => break,
                Ok(Err(error)) => tracing::warn!(lease = candidate.config.name, %error, "could not renew the lease"),
                Err(_) => break,
            }
            if renewed.elapsed() >= candidate.config.renew_deadline {
                break;
            }
        }
    };
    let working = work(leading.clone());
    tokio::pin!(working);
    let lost = tokio::select! {
        () = &mut working => false,
        () = kept => true,
    };
    if lost {
        tracing::error!(lease = candidate.config.name, "leadership lost");
        leading.cancel();
        working.await;
    } else if let Err(error) = candidate.release().await {
        tracing::debug!(lease = candidate.config.name, %error, "could not give the lease back");
    }
}

struct Candidate {
    writer: Writer,
    clock: Clock,
    config: LeaderConfig,
    /// The Lease as we last wrote it, while we hold it.
    held: Option<Lease>,
    /// What somebody else's Lease said, and when we first saw it say so.
    seen: Option<(LeaseSpec, Instant)>,
}

impl Candidate {
    /// Takes or renews the Lease; whether we hold it now.
    async fn attempt(&mut self) -> Result<bool, LoopError> {
        if let Some(held) = self.held.clone()
            && self.write(held).await.is_ok()
        {
            return Ok(true);
        }
        self.held = None;
        let Some(current) = self.writer.get(&gvr::LEASES, "kube-system", &self.config.name).await? else {
            return self.create().await;
        };
        let lease: Lease = Lease::clone(&*typed::<Lease>(&current)?);
        let spec = lease.spec.clone().unwrap_or_default();
        let holder = spec.holder_identity.clone().unwrap_or_default();
        if holder != self.config.identity && !holder.is_empty() {
            let now = Instant::now();
            let since = match &self.seen {
                Some((known, since)) if *known == spec => *since,
                _ => {
                    self.seen = Some((spec.clone(), now));
                    now
                }
            };
            let lapse = spec
                .lease_duration_seconds
                .and_then(|seconds| u64::try_from(seconds).ok())
                .map_or(self.config.lease, Duration::from_secs);
            if now.duration_since(since) < lapse {
                return Ok(false);
            }
        }
        match self.write(lease).await {
            Ok(()) => Ok(true),
            Err(error) if error.is_conflict() => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn create(&mut self) -> Result<bool, LoopError> {
        let now = MicroTime(self.clock.now());
        let lease = Lease {
            metadata: ObjectMeta {
                name: Some(self.config.name.clone()),
                namespace: Some("kube-system".into()),
                ..ObjectMeta::default()
            },
            spec: Some(LeaseSpec {
                holder_identity: Some(self.config.identity.clone()),
                lease_duration_seconds: i32::try_from(self.config.lease.as_secs()).ok(),
                acquire_time: Some(now.clone()),
                renew_time: Some(now),
                lease_transitions: Some(0),
                ..LeaseSpec::default()
            }),
        };
        match self.writer.create_typed(&gvr::LEASES, "kube-system", &lease).await {
            Ok(created) => {
                self.held = Some(Lease::clone(&*typed::<Lease>(&created)?));
                Ok(true)
            }
            Err(LoopError::Api(status)) if is_already_exists(&status) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Writes `lease` as ours, as of now.
    async fn write(&mut self, mut lease: Lease) -> Result<(), LoopError> {
        let now = MicroTime(self.clock.now());
        let spec = lease.spec.get_or_insert_default();
        if spec.holder_identity.as_deref() != Some(&self.config.identity) {
            spec.lease_transitions = Some(spec.lease_transitions.unwrap_or(0) + 1);
            spec.acquire_time = Some(now.clone());
        }
        spec.holder_identity = Some(self.config.identity.clone());
        spec.lease_duration_seconds = i32::try_from(self.config.lease.as_secs()).ok();
        spec.renew_time = Some(now);
        self.put(lease).await
    }

    async fn put(&mut self, lease: Lease) -> Result<(), LoopError> {
        let leases = &gvr::LEASES;
        let target = Target::object(leases, "kube-system", &self.config.name);
        let written = self.writer.update_typed(target, &lease).await?;
        self.held = Some(Lease::clone(&*typed::<Lease>(&written)?));
        Ok(())
    }

    /// Gives the Lease back, as client-go's ReleaseOnCancel does: no holder, one second left.
    async fn release(&mut self) -> Result<(), LoopError> {
        let Some(mut lease) = self.held.take() else { return Ok(()) };
        let spec = lease.spec.get_or_insert_default();
        spec.holder_identity = Some(String::new());
        spec.lease_duration_seconds = Some(1);
        match self.put(lease).await {
            Err(LoopError::Api(Status { code: 409, .. })) => Ok(()),
            other => other,
        }
    }
}
