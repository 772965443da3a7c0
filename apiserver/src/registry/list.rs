//! LIST: which state, which objects, in which chunks. Objects are handed out as stored, never decoded; the cost follows
//! what is selected where an index helps.

use std::time::Duration;

use gantry_machinery::resource_api::{Collection, ListOptions, ObjectList, VersionRule};
use gantry_machinery::status::Status;
use gantry_store_cache::revision::Revision;
use gantry_store_cache::view::View;

use super::continue_token::ContinueToken;
use super::request::RequestContext;
use super::selection::Selection;
use super::table::Row;
use super::{Registry, answer, components, versions};

/// How long a read waits for a state that has not arrived yet, as upstream's cache does.
pub(super) const READ_WAIT: Duration = Duration::from_secs(3);

const EXPIRED_LIST: &str = "The resourceVersion for the provided list is too old.";
const EXPIRED_TOKEN: &str = "The provided continue parameter is too old to display a consistent list result. You can start \
     a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of \
     the results. Continuing with the provided token results in an inconsistent list - objects that were created, \
     modified, or deleted between the time the first chunk was returned and now may show up in the list.";

impl Registry {
    /// The objects of a collection that match.
    pub(super) async fn list(
        &self,
        request: &RequestContext,
        of: &Collection<'_>,
        options: &ListOptions,
    ) -> Result<ObjectList, Status> {
        let row = self.row(of.resource)?;
        if !row.serves("list") {
            return Err(Status::method_not_supported(row.gvr(), "list"));
        }
        row.warn_deprecated(request);
        if components::computes(&row) {
            return Ok(self.all_components());
        }
        let selection = Selection::new(&row, of, &options.labels, &options.fields, options.shard.as_ref())?;
        let token = match options.continue_token.as_str() {
            "" => None,
            text => Some(ContinueToken::decode(text, &row.collection)?),
        };
        let view = match &token {
            Some(token) => self.continued(&row, token).await?,
            None => self.state(&row, options.version).await?,
        };
        let mut list = chunk(&view, &selection, options.limit, token.as_ref());
        if row.strategy.version().is_some() || row.strategy.is_custom() {
            let stored = std::mem::take(&mut list.items);
            list.items = stored.into_iter().map(|o| versions::show(&*row.strategy, o)).collect::<Result<_, _>>()?;
        }
        Ok(list)
    }

    /// The state a rule asks for.
    pub(super) async fn state(&self, row: &Row, rule: VersionRule) -> Result<std::sync::Arc<View>, Status> {
        match rule {
            VersionRule::MostRecent => self.store.consistent_view(READ_WAIT).await.map_err(answer::behind),
            VersionRule::Any => Ok(self.store.view()),
            VersionRule::NotOlderThan(revision) => {
                self.store.reached(revision, READ_WAIT).await.map_err(answer::behind)
            }
            VersionRule::Exact(revision) => {
                self.store.reached(revision, READ_WAIT).await.map_err(answer::behind)?;
                self.store.view_at(&row.collection, revision).map_err(|_| Status::expired(EXPIRED_LIST))
            }
        }
    }

    /// The state in which a list goes on.
    async fn continued(&self, row: &Row, token: &ContinueToken) -> Result<std::sync::Arc<View>, Status> {
        let Some(revision) = token.revision else {
            return self.state(row, VersionRule::MostRecent).await;
        };
        if revision > self.store.view().revision() {
            // Another server's list that this one has not caught up with.
            self.store.reached(revision, READ_WAIT).await.map_err(answer::behind)?;
        }
        self.store.view_at(&row.collection, revision).map_err(|_| {
            let latest = ContinueToken { revision: None, after: token.after.clone(), left: None };
            Status::expired_continue(EXPIRED_TOKEN, latest.encode())
        })
    }
}

/// One chunk of a state.
fn chunk(view: &View, selection: &Selection, limit: u64, token: Option<&ContinueToken>) -> ObjectList {
    let revision = view.revision();
    let mut found = selection.objects(view, token.map(|t| &t.after));
    if limit == 0 {
        return ObjectList { revision, items: found.collect(), continue_token: String::new(), remaining: None };
    }
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let mut items = Vec::with_capacity(limit.min(500));
    while items.len() < limit {
        match found.next() {
            Some(object) => items.push(object),
            None => return ObjectList { revision, items, continue_token: String::new(), remaining: None },
        }
    }
    if found.next().is_none() {
        return ObjectList { revision, items, continue_token: String::new(), remaining: None };
    }
    // Only counting everything is cheap; upstream leaves the number out for selectors as well.
    let total = match token {
        None if selection.is_everything() => Some(selection.count(view) as u64),
        None => None,
        Some(token) => token.left,
    };
    let remaining = total.map(|total| total.saturating_sub(items.len() as u64)).filter(|left| *left > 0);
    let after = items.last().expect("the limit is at least one").key.clone();
    // A list in the latest state goes on in this one from here.
    let token = ContinueToken { revision: Some(revision), after, left: remaining };
    ObjectList { revision, continue_token: token.encode(), items, remaining }
}

/// The revision of a state, for watches that begin with a list.
pub(super) fn at_least(asked: Option<Revision>) -> VersionRule {
    match asked {
        None => VersionRule::MostRecent,
        Some(Revision(0)) => VersionRule::Any,
        Some(revision) => VersionRule::NotOlderThan(revision),
    }
}
