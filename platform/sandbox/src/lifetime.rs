//! Ending with the process that started this one.
//!
//! A supervisor that is killed cannot stop what it started. A program of ours that finds [`DIE_WITH_PARENT`] in its
//! environment asks the kernel for a signal at that moment instead. The kernel means the *thread* that started it: whoever
//! sets the variable starts programs from a thread that lives as long as they should.

use rustix::process::{Signal, getpid, getppid, kill_process, set_parent_process_death_signal};

/// Environment that tells a program to end when the thread that started it does.
pub const DIE_WITH_PARENT: &str = "MORAINE_DIE_WITH_PARENT";

/// Honours [`DIE_WITH_PARENT`] from now on. Every `main` calls it before it starts threads.
pub fn die_with_parent_if_asked() {
    if std::env::var_os(DIE_WITH_PARENT).is_none() {
        return;
    }
    let parent = getppid();
    // Without the signal the program outlives its supervisor, which is no reason not to work.
    let _refused = set_parent_process_death_signal(Some(Signal::TERM));
    if getppid() != parent {
        // The parent ended in between; nobody will send the signal any more.
        let _unsent = kill_process(getpid(), Signal::TERM);
    }
}
