//! What the kernel is told about this process's memory. Called once, by `main`, before anything else runs.

#![allow(unsafe_code, reason = "a system call that the standard library has no name for")]

/// Asks for pages of the ordinary size. The allocator asks for huge ones, and with them every freed corner of a huge page
/// stays resident: a fifth of what a busy control plane holds, and no faster for it.
pub(crate) fn use_small_pages() {
    // SAFETY: takes numbers only and touches no memory of ours. Kernels without it answer with an error, which is fine.
    unsafe {
        libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0);
    }
}
