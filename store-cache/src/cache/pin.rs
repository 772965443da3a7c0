//! Pins the calling thread to one core. The crate's island of unsafe code for a system call that std does not offer.

#![allow(unsafe_code, reason = "sched_setaffinity has no safe wrapper among our dependencies")]

/// Keeps the calling thread on the `at`-th core this process may use. Where the system refuses, the thread stays free:
/// placement is a matter of speed only.
pub(crate) fn to_core(at: usize) {
    // SAFETY: `cpu_set_t` is plain bits for which zero is valid; both calls are given its own size and a live pointer,
    // and `CPU_ISSET`/`CPU_SET` stay below CPU_SETSIZE, the number of bits in it. Zero means the calling thread.
    unsafe {
        let mut allowed: libc::cpu_set_t = std::mem::zeroed();
        if libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &mut allowed) != 0 {
            return;
        }
        let cores: Vec<usize> =
            (0..libc::CPU_SETSIZE as usize).filter(|core| libc::CPU_ISSET(*core, &allowed)).collect();
        if cores.is_empty() {
            return;
        }
        let mut one: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(cores[at % cores.len()], &mut one);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &one);
    }
}
