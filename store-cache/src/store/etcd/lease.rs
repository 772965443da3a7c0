//! Times to live as etcd leases, so that objects expire even when no server is left to sweep.
//!
//! Objects with the same time to live share a lease for a while (a twentieth of it, at most a minute) and live that
//! much longer at most; upstream does the same for Events. A lease per object would cost a round trip per write.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use etcd_client::Error;
use tokio::sync::Mutex;

use super::Link;

const SHARED_FOR_MAX: Duration = Duration::from_secs(60);

/// The leases that new objects still join, by their time to live in seconds.
#[derive(Default)]
pub(super) struct Leases {
    /// Held across the grant: writers that need the same lease wait for one grant instead of making many.
    open: Mutex<HashMap<i64, Open>>,
}

struct Open {
    lease: i64,
    until: Instant,
}

impl Leases {
    pub(super) async fn lease_for(&self, link: &Link, ttl: Duration) -> Result<i64, Error> {
        let seconds = i64::try_from(ttl.as_millis().div_ceil(1000)).unwrap_or(i64::MAX).max(1);
        let mut open = self.open.lock().await;
        let now = Instant::now();
        open.retain(|_, lease| lease.until > now);
        if let Some(lease) = open.get(&seconds) {
            return Ok(lease.lease);
        }
        let shared_for = (ttl / 20).min(SHARED_FOR_MAX);
        let granted_for = seconds.saturating_add(shared_for.as_secs() as i64);
        let mut client = link.lease.clone();
        let granted = tokio::time::timeout(link.config.request_timeout, client.grant(granted_for, None))
            .await
            .map_err(|_| Error::LeaseKeepAliveError("no answer to a lease grant".to_owned()))??;
        open.insert(seconds, Open { lease: granted.id(), until: now + shared_for });
        Ok(granted.id())
    }
}
