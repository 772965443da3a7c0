//! Counts allocations, so that a bench can say how many an operation takes beside how long: time varies with the machine,
//! this does not. What the product allocates with does the work.

#![allow(
    unsafe_code,
    reason = "an allocator is unsafe by its trait; this one only counts and passes on to the product's"
)]

use std::alloc::{GlobalAlloc, Layout};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use mimalloc::MiMalloc;

struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

/// Only while somebody wants to know: a bench's times are those of the product.
static COUNTS: AtomicBool = AtomicBool::new(false);
static MADE: AtomicU64 = AtomicU64::new(0);
static BYTES: AtomicU64 = AtomicU64::new(0);

fn count(bytes: usize) {
    if COUNTS.load(Relaxed) {
        MADE.fetch_add(1, Relaxed);
        BYTES.fetch_add(bytes as u64, Relaxed);
    }
}

// SAFETY: every call goes to mimalloc with the caller's own arguments; counting neither allocates nor fails.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller's promise.
        unsafe { MiMalloc.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller's promise.
        unsafe { MiMalloc.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { MiMalloc.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size);
        // SAFETY: the caller's promise.
        unsafe { MiMalloc.realloc(at, layout, size) }
    }
}

/// Does the work `rounds` times and prints what each round allocated on average, in every thread of the process.
pub(crate) fn report<R>(id: &str, rounds: u64, mut work: impl FnMut() -> R) {
    drop(work());
    let before = (MADE.load(Relaxed), BYTES.load(Relaxed));
    COUNTS.store(true, Relaxed);
    for _ in 0..rounds {
        drop(work());
    }
    COUNTS.store(false, Relaxed);
    let (made, bytes) = (MADE.load(Relaxed) - before.0, BYTES.load(Relaxed) - before.1);
    let each = |total: u64| total as f64 / rounds as f64;
    eprintln!("{id:<44} {:>10.1} allocations, {:>12.0} bytes each", each(made), each(bytes));
}
