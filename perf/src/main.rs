//! gantry-perf
fn main() {}
