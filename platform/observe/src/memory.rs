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

/// Gives back now what is free in between, page by page. For after work that took much for a moment, such as reading thousands
/// of recipes: what is left of it lies strewn over the pools, a third of all that Summit holds. Takes some milliseconds;
/// does nothing where the C library is not GNU's.
#[cfg_attr(
    target_env = "gnu",
    expect(
        unsafe_code,
        reason = "no wrapper offers malloc_trim, which touches free memory of the allocator only"
    )
)]
pub fn give_memory_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: takes a number and touches no memory that anybody has.
    if unsafe { libc::malloc_trim(0) } == 0 {
        tracing::trace!("no page of free memory could be given back");
    }
}

#[cfg(test)]
mod tests {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[expect(
        clippy::disallowed_methods,
        reason = "the path needs no telling, and this crate has no other use for fs-err"
    )]
    fn resident_kib() -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
        line.trim().strip_suffix(" kB").unwrap().parse().unwrap()
    }

    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[test]
    fn what_lies_free_between_what_is_kept_is_given_back() {
        // 64 MiB in small pieces, of which one in a thousand stays.
        let pieces: Vec<Vec<u8>> = (0..65_536).map(|_| vec![1; 1000]).collect();
        let kept: Vec<Vec<u8>> = pieces.into_iter().step_by(1000).collect();
        let before = resident_kib();
        super::give_memory_back();
        let after = resident_kib();
        assert!(after + (32 << 10) < before, "{before} KiB, then {after} KiB");
        assert_eq!(kept.len(), 66);
    }
}
