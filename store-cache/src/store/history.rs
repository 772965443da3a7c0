//! Collections as they were: the latest view with the window's events taken back, newest first.
//!
//! Pages of one list ask for the same revision again and again, so the last few answers are kept. They hold on to old
//! versions and are therefore few, and forgotten after a while.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use compact_str::CompactString;
use parking_lot::Mutex;

use crate::cache::Cache;
use crate::cache::shard::shard_of;
use crate::revision::Revision;
use crate::view::View;
use crate::watch::Expired;

const KEPT: usize = 8;
const KEPT_FOR: Duration = Duration::from_secs(60);

/// Past views somebody may ask for again.
#[derive(Default)]
pub(crate) struct History {
    kept: Mutex<VecDeque<Kept>>,
}

struct Kept {
    collection: CompactString,
    at: Instant,
    view: Arc<View>,
}

impl History {
    pub(crate) fn view_at(&self, cache: &Cache, collection: &str, revision: Revision) -> Result<Arc<View>, Expired> {
        let latest = cache.view();
        if revision >= latest.revision() {
            return Ok(latest);
        }
        if let Some(view) = self.find(collection, revision) {
            return Ok(view);
        }
        let window = cache.collection(collection).window();
        if revision < window.oldest_view() {
            return Err(Expired { asked: revision, oldest: window.oldest_view() });
        }
        let mut shards: Box<[_]> = latest.shards().into();
        for event in window.newest_first_until(revision) {
            // The window may already hold commits that the view does not.
            if event.revision <= latest.revision() {
                let shard = shard_of(&event.object.key, shards.len());
                Arc::make_mut(&mut shards[shard]).undo(&event);
            }
        }
        let view = Arc::new(View::new(revision, shards));
        let mut kept = self.kept.lock();
        kept.retain(|kept| kept.at.elapsed() < KEPT_FOR);
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back(Kept { collection: collection.into(), at: Instant::now(), view: view.clone() });
        Ok(view)
    }

    fn find(&self, collection: &str, revision: Revision) -> Option<Arc<View>> {
        let mut kept = self.kept.lock();
        let found = kept.iter_mut().find(|kept| kept.collection == collection && kept.view.revision() == revision)?;
        found.at = Instant::now();
        Some(found.view.clone())
    }
}
