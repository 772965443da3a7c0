//! gantry-scheduler-core decides which pod runs on which node. It is pure: no I/O, no clock, no async, no randomness
//! but a seed. The scheduling loop feeds it events and carries out the [`Plan`](plan::Plan) it gives back.
//!
//! ```text
//! stored JSON ─ rows ─→ events ─→ cycle::Scheduler::step(now, events) ─→ Plan { bindings, refusals, evictions }
//!                                   │
//!              pods (who is where) ─┼─ queue (who is next, who waits for what)
//!              columns (nodes as columns, a journal of what changed)
//!              class (equal pods scanned once, a tournament tree repaired from the journal)
//!              outlook (what classes think of nodes apart from what is on them, shared)
//!              neighbours (pods counted per node and question) ─ wide, wide/chart (spread and affinity on top of a class)
//!              storage (volumes, claims, what is assumed about them), devices (the same of devices)
//!              gangs (which pods are placed together or not at all)
//!                └─ filter/*, score/*: one file per rule
//!              seats, budgets, nominations ─ preempt (who would have to leave), preempt/prices, on wide/whatif (one node, as if ...)
//! ```
//!
//! Invariants, each held by a test in `tests/equal_decisions`:
//! - a decision equals that of a plain scheduler which looks at every node, one pod at a time, with upstream's default
//!   plugins and weights;
//! - no node is over-committed by a placement;
//! - when `step` comes back with nothing left to try, no waiting pod fits anywhere: no wake-up is lost;
//! - the same events with the same times and seed give the same plan.

pub mod budgets;
pub mod class;
pub mod columns;
pub mod cycle;
pub mod devices;
pub mod filter;
pub mod gangs;
pub mod intern;
pub mod kindred;
pub mod meter;
pub mod neighbours;
pub mod nominations;
pub mod outlook;
pub mod plan;
pub mod pods;
pub mod preempt;
pub mod profile;
pub mod queue;
pub mod rows;
pub mod score;
pub mod seats;
pub mod selector;
pub mod storage;
pub mod tournament;
pub mod wide;
