//! What stands before the resources, one file each, in the order a request meets them: who asks ([`authn`]), is there
//! room ([`flow`]), may they ([`authz`]).

pub mod authn;
pub mod authz;
pub mod certificate;
pub mod escalation;
pub mod flow;
pub mod impersonate;
pub mod rbac;
pub mod reviews;
pub mod schemas;
pub mod token;
