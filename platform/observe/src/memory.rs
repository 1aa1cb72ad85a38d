//! How freely a service that runs for months holds on to memory it no longer needs.
//!
//! The C library keeps what is freed in pools, up to eight for each core, and lets the size from which memory comes
//! straight from the kernel grow with the largest piece that was ever freed. A service that reads an index of some
//! megabytes now and then, each time on another thread, then holds several times what it needs: twice as much in a farm
//! of 1,341 recipes.

/// Pools: threads of a service wait for the network and the disk far more often than for each other's allocations.
#[cfg(target_env = "gnu")]
const ARENAS_MAX: libc::c_int = 2;

/// Pieces of this size come from the kernel and go back to it at once, and so does so much free memory at the end of a
/// pool. It is where the C library begins, before it lets both grow.
#[cfg(target_env = "gnu")]
const DIRECT_SIZE_BYTES: libc::c_int = 128 << 10;

/// Lets this process give memory back to the system soon. For services; before they start a thread. Does nothing where the
/// C library is not GNU's.
#[cfg_attr(
    target_env = "gnu",
    expect(unsafe_code, reason = "no wrapper offers mallopt, which touches settings of the allocator only")
)]
pub fn give_memory_back_early() {
    #[cfg(target_env = "gnu")]
    for (setting, value) in [
        (libc::M_ARENA_MAX, ARENAS_MAX),
        (libc::M_MMAP_THRESHOLD, DIRECT_SIZE_BYTES),
        (libc::M_TRIM_THRESHOLD, DIRECT_SIZE_BYTES),
    ] {
        // SAFETY: takes two numbers and reads no memory of ours.
        if unsafe { libc::mallopt(setting, value) } == 0 {
            tracing::debug!(setting, value, "the C library does not take a setting of its allocator");
        }
    }
}
