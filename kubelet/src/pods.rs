//! From a pod's object to its status: [`news`] (whether a change is to be read), [`brief`] (what a node needs to know of
//! it), [`worker`] (the state machine), [`status`] (what the API is shown), [`status_batch`] (when it is written).

pub mod brief;
pub mod news;
pub mod status;
pub mod status_batch;
pub mod worker;
