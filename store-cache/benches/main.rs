//! The store's hot paths: `cargo bench -p gantry-store-cache`. One file per path; one binary, to link once.

#![allow(clippy::unwrap_used, missing_docs, reason = "a bench that cannot go on has nothing better to do than panic")]

mod fanout;
mod objects;
mod past;
mod put;
mod read;

criterion::criterion_group!(benches, put::bench, fanout::bench, read::bench, past::bench);
criterion::criterion_main!(benches);
