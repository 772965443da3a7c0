//! The object model of Kubernetes 1.36: values, schema, codecs, selectors, quantities, patches, Status errors, and
//! [`resource_api::ResourceApi`], the one door to the API that every loop uses. No sockets but the client's.

pub mod client;
pub mod clock;
pub mod codec;
pub mod discovery;
pub mod document;
pub mod event;
pub mod feature;
pub mod interchange;
pub mod names;
pub mod openapi;
pub mod patch;
pub mod quota;
pub mod recorder;
pub mod reflector;
pub mod resource;
pub mod resource_api;
pub mod schema;
pub mod selector;
pub mod status;
pub mod time;
pub mod typed;
pub mod value;

// Amounts are at home beside the expressions that compare them; here they are part of the object model.
pub use gantry_cel::quantity;
