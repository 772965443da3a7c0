//! The promise of scheduler-core about memory: a plain pod that comes and is placed costs a handful of allocations, those
//! that keep it included; counted by the allocator of this test.
#![expect(unsafe_code, reason = "an allocator that counts is one")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering};

use gantry_scheduler_core::cycle::Event;

#[path = "../benches/support/stream.rs"]
mod stream;
use stream::{Stream, cluster, pod};

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: every call is passed on to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn a_placed_pod_costs_few_allocations() {
    const PODS: u64 = 256;
    let mut stream = Stream::new(cluster(100), 500, |n| pod(n, 10));
    let rows: Vec<Event> = (10_000..10_000 + PODS).map(|n| Event::Pod(pod(n, 10))).collect();
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    let plan = stream.scheduler.step(0, rows, usize::MAX);
    let each = (ALLOCATIONS.load(Ordering::Relaxed) - before) as f64 / PODS as f64;
    assert_eq!(plan.decisions.len() as u64, PODS);
    assert!(each < 2.0, "{each} allocations a pod");
}
