//! One collection of the API, followed once and shared by all loops: the latest objects, small decoded rows beside
//! them, indexes, and handlers that are told what changed.
//!
//! Fed by a [`Reflector`]; read by loops at any time through cheap lookups. A handler is called in the order of
//! changes, after the store shows the change, on the informer's own task: it must only name keys for a queue.

use std::collections::BTreeMap;
use std::sync::Arc;

use ahash::HashMap;
use compact_str::CompactString;
use gantry_machinery::reflector::{Delta, Reflector};
use gantry_machinery::resource_api::WatchEvent;
use gantry_machinery::typed::{DecodeError, Typed, typed};
use gantry_store_cache::key::ObjectKey;
use gantry_store_cache::object::StoredObject;
use gantry_store_cache::revision::Revision;
use parking_lot::RwLock;
use serde::de::DeserializeOwned;
use tokio::sync::watch;

/// What loops read most of an object, decoded once per version.
pub trait Row: Sized + Send + Sync + 'static {
    /// The row of an object.
    ///
    /// # Errors
    /// When the body is not what it should be; the object is then left out, with a line in the log.
    fn of(object: &StoredObject) -> Result<Self, serde_json::Error>;
}

/// One object and its row.
#[derive(Debug)]
pub struct Entry<R> {
    /// The object as stored.
    pub object: Arc<StoredObject>,
    /// What loops read most of it.
    pub row: R,
}

impl<R> Entry<R> {
    /// Its key.
    #[must_use]
    pub fn key(&self) -> &ObjectKey {
        &self.object.key
    }

    /// Its namespace, empty for none.
    #[must_use]
    pub fn namespace(&self) -> &str {
        self.object.key.namespace()
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.object.key.name()
    }

    /// The whole object, decoded as `T` for as long as somebody holds it.
    ///
    /// # Errors
    /// When the body is no `T`.
    pub fn typed<T: DeserializeOwned + Send + Sync + 'static>(&self) -> Result<Typed<T>, DecodeError> {
        typed(&self.object)
    }
}

/// The values under which an index finds an entry: it calls back with each.
pub type IndexFn<R> = fn(&Entry<R>, &mut dyn FnMut(&str));

type Handler<R> = Box<dyn Fn(Option<&Arc<Entry<R>>>, Option<&Arc<Entry<R>>>) + Send + Sync>;
type Tell<'a, R> = dyn Fn(Option<&Arc<Entry<R>>>, Option<&Arc<Entry<R>>>) + 'a;
type Slice<R> = BTreeMap<ObjectKey, Arc<Entry<R>>>;

/// A shared, indexed copy of one collection.
pub struct Informer<R> {
    collection: String,
    /// Locked before `store`. Held for reading while changes are applied and told, for writing while a handler joins,
    /// so that a new handler sees everything exactly once.
    handlers: RwLock<Vec<Handler<R>>>,
    store: RwLock<Store<R>>,
    synced: watch::Sender<bool>,
}

struct Store<R> {
    entries: Slice<R>,
    indexes: Vec<Index<R>>,
    reached: Revision,
}

struct Index<R> {
    name: &'static str,
    values: IndexFn<R>,
    found: HashMap<CompactString, Slice<R>>,
}

impl<R: Row> Informer<R> {
    /// An empty copy of `collection` with these indexes; [`follow`](Self::follow) fills it.
    #[must_use]
    pub fn new(collection: impl Into<String>, indexes: &[(&'static str, IndexFn<R>)]) -> Self {
        let indexes = indexes.iter().map(|&(name, values)| Index { name, values, found: HashMap::default() }).collect();
        Self {
            collection: collection.into(),
            handlers: RwLock::new(Vec::new()),
            store: RwLock::new(Store { entries: BTreeMap::new(), indexes, reached: Revision(0) }),
            synced: watch::Sender::new(false),
        }
    }

    /// Follows the collection for ever: the body of the informer's task.
    pub async fn follow(&self, mut reflector: Reflector) {
        loop {
            let delta = reflector.next().await;
            self.apply(delta, reflector.revision());
        }
    }

    /// Tells `handler` of everything there is, as new, and then of every change: `(before, after)`.
    pub fn on_change(&self, handler: impl Fn(Option<&Arc<Entry<R>>>, Option<&Arc<Entry<R>>>) + Send + Sync + 'static) {
        let mut handlers = self.handlers.write();
        let present: Vec<_> = self.store.read().entries.values().cloned().collect();
        for entry in &present {
            handler(None, Some(entry));
        }
        handlers.push(Box::new(handler));
    }

    /// Waits until the first full list has been applied.
    pub async fn synced(&self) {
        // The sender lives as long as self, so this cannot fail.
        let _ = self.synced.subscribe().wait_for(|synced| *synced).await;
    }

    /// Whether the first full list has been applied.
    #[must_use]
    pub fn has_synced(&self) -> bool {
        *self.synced.borrow()
    }

    /// Every change up to here is in the store.
    #[must_use]
    pub fn reached(&self) -> Revision {
        self.store.read().reached
    }

    /// One object.
    #[must_use]
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<Entry<R>>> {
        self.get_key(&ObjectKey::new(&self.collection, namespace, name))
    }

    /// One object by its key.
    #[must_use]
    pub fn get_key(&self, key: &ObjectKey) -> Option<Arc<Entry<R>>> {
        self.store.read().entries.get(key).cloned()
    }

    /// The key an object of this collection has.
    #[must_use]
    pub fn key(&self, namespace: &str, name: &str) -> ObjectKey {
        ObjectKey::new(&self.collection, namespace, name)
    }

    /// All objects, in key order.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Entry<R>>> {
        self.store.read().entries.values().cloned().collect()
    }

    /// How many objects there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.store.read().entries.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The objects of a namespace, in key order.
    #[must_use]
    pub fn in_namespace(&self, namespace: &str) -> Vec<Arc<Entry<R>>> {
        let first = ObjectKey::new(&self.collection, namespace, "");
        self.store
            .read()
            .entries
            .range(first..)
            .take_while(|(key, _)| key.namespace() == namespace)
            .map(|(_, entry)| entry.clone())
            .collect()
    }

    /// The objects that index `index` finds under `value`, in key order.
    ///
    /// # Panics
    /// When there is no such index: a mistake in the loop.
    #[must_use]
    pub fn indexed(&self, index: &str, value: &str) -> Vec<Arc<Entry<R>>> {
        let store = self.store.read();
        let index = store.indexes.iter().find(|i| i.name == index).expect("loops ask for indexes that were declared");
        index.found.get(value).map(|slice| slice.values().cloned().collect()).unwrap_or_default()
    }

    /// How many objects index `index` finds under `value`.
    ///
    /// # Panics
    /// When there is no such index: a mistake in the loop.
    #[must_use]
    pub fn count(&self, index: &str, value: &str) -> usize {
        let store = self.store.read();
        let index = store.indexes.iter().find(|i| i.name == index).expect("loops ask for indexes that were declared");
        index.found.get(value).map_or(0, BTreeMap::len)
    }

    /// Applies what happened and tells the handlers, change by change.
    pub fn apply(&self, delta: Delta, reached: Revision) {
        let handlers = self.handlers.read();
        let tell = |before: Option<&Arc<Entry<R>>>, after: Option<&Arc<Entry<R>>>| {
            for handler in handlers.iter() {
                handler(before, after);
            }
        };
        match delta {
            Delta::Replace(objects) => {
                let mut gone: Vec<ObjectKey> = Vec::new();
                {
                    let store = self.store.read();
                    let keys: ahash::HashSet<&ObjectKey> = objects.iter().map(|object| &object.key).collect();
                    gone.extend(store.entries.keys().filter(|key| !keys.contains(key)).cloned());
                }
                for key in gone {
                    let before = self.store.write().set(&key, None);
                    tell(before.as_ref(), None);
                }
                for object in objects {
                    self.put(object, &tell);
                }
                self.store.write().reached = reached;
                self.synced.send_replace(true);
            }
            Delta::Changes(events) => {
                for event in events {
                    match event {
                        WatchEvent::Added(object) | WatchEvent::Modified(object) => self.put(object, &tell),
                        WatchEvent::Deleted(object) => {
                            let before = {
                                let mut store = self.store.write();
                                store.reached = store.reached.max(object.revision);
                                store.set(&object.key, None)
                            };
                            if before.is_some() {
                                tell(before.as_ref(), None);
                            }
                        }
                        WatchEvent::Bookmark { .. } => {}
                    }
                }
                let mut store = self.store.write();
                store.reached = store.reached.max(reached);
            }
        }
    }

    fn put(&self, object: Arc<StoredObject>, tell: &Tell<'_, R>) {
        let row = match R::of(&object) {
            Ok(row) => row,
            Err(error) => {
                tracing::error!(object = %object.key, %error, "cannot decode an object; the loops will not see it");
                return;
            }
        };
        let entry = Arc::new(Entry { object, row });
        let before = {
            let mut store = self.store.write();
            store.reached = store.reached.max(entry.object.revision);
            if store.entries.get(entry.key()).is_some_and(|known| known.object.revision == entry.object.revision) {
                return;
            }
            let key = entry.key().clone();
            store.set(&key, Some(entry.clone()))
        };
        tell(before.as_ref(), Some(&entry));
    }
}

impl<R> Store<R> {
    /// Puts or (with `None`) takes out; gives what was there.
    fn set(&mut self, key: &ObjectKey, after: Option<Arc<Entry<R>>>) -> Option<Arc<Entry<R>>> {
        let before = match &after {
            Some(entry) => self.entries.insert(key.clone(), entry.clone()),
            None => self.entries.remove(key),
        };
        for index in &mut self.indexes {
            if let Some(before) = &before {
                let found = &mut index.found;
                (index.values)(before, &mut |value| {
                    if let Some(slice) = found.get_mut(value) {
                        slice.remove(key);
                        if slice.is_empty() {
                            found.remove(value);
                        }
                    }
                });
            }
            if let Some(after) = &after {
                let found = &mut index.found;
                (index.values)(after, &mut |value| {
                    let slice = match found.get_mut(value) {
                        Some(slice) => slice,
                        None => found.entry(CompactString::new(value)).or_default(),
                    };
                    slice.insert(key.clone(), after.clone());
                });
            }
        }
        before
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use gantry_store_cache::object::Facets;
    use parking_lot::Mutex;

    struct Owner(String);

    impl Row for Owner {
        fn of(object: &StoredObject) -> Result<Self, serde_json::Error> {
            serde_json::from_slice(&object.body).map(Self)
        }
    }

    fn object(name: &str, owner: &str, revision: u64) -> Arc<StoredObject> {
        let body = serde_json::to_vec(owner).unwrap();
        Arc::new(StoredObject::new(
            ObjectKey::new("pods", "default", name),
            Revision(revision),
            Revision(1),
            Bytes::from(body),
            Facets::default(),
        ))
    }

    fn informer() -> Informer<Owner> {
        Informer::new("pods", &[("owner", |entry, found| found(&entry.row.0))])
    }

    fn names(entries: &[Arc<Entry<Owner>>]) -> Vec<String> {
        entries.iter().map(|entry| entry.name().to_owned()).collect()
    }

    #[test]
    fn indexes_follow_changes_and_relists() {
        let informer = informer();
        informer.apply(Delta::Replace(vec![object("a", "x", 1), object("b", "x", 2)]), Revision(2));
        assert_eq!(names(&informer.indexed("owner", "x")), ["a", "b"]);
        informer.apply(Delta::Changes(vec![WatchEvent::Modified(object("a", "y", 3))]), Revision(3));
        assert_eq!(names(&informer.indexed("owner", "x")), ["b"]);
        assert_eq!(names(&informer.indexed("owner", "y")), ["a"]);
        informer.apply(Delta::Replace(vec![object("c", "x", 4)]), Revision(9));
        assert_eq!(names(&informer.indexed("owner", "x")), ["c"]);
        assert_eq!(informer.count("owner", "y"), 0);
        assert_eq!(informer.reached(), Revision(9));
    }

    #[test]
    fn a_relist_tells_handlers_the_difference_only() {
        let informer = informer();
        informer.apply(Delta::Replace(vec![object("a", "x", 1), object("b", "x", 2)]), Revision(2));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = seen.clone();
        informer.on_change(move |before, after| {
            let name = |entry: Option<&Arc<Entry<Owner>>>| entry.map(|e| e.name().to_owned());
            log.lock().push((name(before), name(after)));
        });
        assert_eq!(std::mem::take(&mut *seen.lock()).len(), 2, "a late handler is told what is there");
        informer.apply(Delta::Replace(vec![object("b", "x", 2), object("c", "x", 5)]), Revision(5));
        let told = std::mem::take(&mut *seen.lock());
        assert_eq!(told, [(Some("a".into()), None), (None, Some("c".into()))]);
    }

    #[test]
    fn an_undecodable_object_is_left_out_without_harm() {
        let informer = informer();
        let broken = Arc::new(StoredObject::new(
            ObjectKey::new("pods", "default", "broken"),
            Revision(1),
            Revision(1),
            Bytes::from_static(b"{"),
            Facets::default(),
        ));
        informer.apply(Delta::Replace(vec![broken, object("a", "x", 2)]), Revision(2));
        assert_eq!(names(&informer.all()), ["a"]);
    }
}
