//! Where an object lives: `collection/namespace/name`. The order of keys is the order of lists.

use std::fmt;
use std::sync::Arc;

/// The address of one object. `collection` is a name without `/` (`pods`, `deployments.apps`); the namespace is empty
/// for objects that have none. Keys sort by their bytes, as upstream's do in etcd, so lists come in the same order.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey {
    path: Arc<str>,
    namespace_at: u16,
    name_at: u16,
}

impl ObjectKey {
    /// A key from its parts. No part may hold a `/`; names are validated long before they come here.
    #[must_use]
    pub fn new(collection: &str, namespace: &str, name: &str) -> Self {
        let mut path = String::with_capacity(collection.len() + namespace.len() + name.len() + 2);
        path.push_str(collection);
        path.push('/');
        let namespace_at = path.len() as u16;
        path.push_str(namespace);
        path.push('/');
        let name_at = path.len() as u16;
        path.push_str(name);
        Self { path: path.into(), namespace_at, name_at }
    }

    /// The inverse of [`as_str`](Self::as_str); `None` if `path` does not have three parts.
    #[must_use]
    pub fn parse(path: &str) -> Option<Self> {
        let (collection, rest) = path.split_once('/')?;
        let (namespace, name) = rest.split_once('/')?;
        Some(Self::new(collection, namespace, name))
    }

    /// The collection, such as `pods` or `deployments.apps`.
    #[must_use]
    pub fn collection(&self) -> &str {
        &self.path[..usize::from(self.namespace_at) - 1]
    }

    /// The namespace, empty where the object has none.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.path[usize::from(self.namespace_at)..usize::from(self.name_at) - 1]
    }

    /// The object's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.path[usize::from(self.name_at)..]
    }

    /// `collection/namespace/name`, the form on disk.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.path
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path)
    }
}

impl fmt::Debug for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_survive_the_round_trip() {
        let key = ObjectKey::new("deployments.apps", "default", "nginx");
        assert_eq!((key.collection(), key.namespace(), key.name()), ("deployments.apps", "default", "nginx"));
        assert_eq!(ObjectKey::parse(key.as_str()), Some(key));
        let node = ObjectKey::new("nodes", "", "n1");
        assert_eq!((node.namespace(), node.name()), ("", "n1"));
        assert_eq!(ObjectKey::parse("pods"), None);
    }
}
