//! The system calls that no safe wrapper offers. All unsafe code of the workspace is in this file.
//!
//! Each function is safe to call under the condition its own doc states; those that duplicate or change the whole
//! process are called by the supervisor and by process 1 only, which have a single thread.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use rustix::process::Pid;
use rustix::thread::UnshareFlags;

/// Who one is after a fork.
pub(crate) enum Side {
    Parent(Pid),
    Child,
}

/// Duplicates the process. Only called with a single thread, so the copy is complete: no lock is held by a thread that
/// does not exist in it.
#[expect(
    unsafe_code,
    reason = "rustix offers no fork, because a fork with threads is unsound; there are none here"
)]
pub(crate) fn fork() -> io::Result<Side> {
    // SAFETY: fork(2) takes no arguments; the caller has one thread, so every lock and allocation of the copy is usable.
    let answer = unsafe { libc::fork() };
    side(i64::from(answer))
}

/// Duplicates the process into new namespaces, its copy being process 1 of a new pid namespace where asked. Only called
/// with a single thread.
#[expect(unsafe_code, reason = "no wrapper offers clone in the manner of a fork")]
pub(crate) fn fork_into(namespaces: UnshareFlags) -> io::Result<Side> {
    let flags = libc::c_long::from(namespaces.bits()) | libc::c_long::from(libc::SIGCHLD);
    // SAFETY: with no CLONE_VM and a null stack, clone(2) is a fork: the copy runs on its own copy of the stack. The
    // remaining pointers are null and not used without their flags. The caller has one thread.
    let answer = unsafe { libc::syscall(libc::SYS_clone, flags, 0_usize, 0_usize, 0_usize, 0_usize) };
    side(answer)
}

fn side(answer: i64) -> io::Result<Side> {
    match i32::try_from(answer) {
        Ok(0) => Ok(Side::Child),
        Ok(number) if number > 0 => {
            Pid::from_raw(number).map(Side::Parent).ok_or_else(io::Error::last_os_error)
        }
        _ => Err(io::Error::last_os_error()),
    }
}

/// Leaves the namespaces that the flags name. Never given `FILES`, the one flag that could pull open files from under
/// other threads.
#[expect(unsafe_code, reason = "rustix marks unshare unsafe for the sake of its FILES flag")]
pub(crate) fn unshare(namespaces: UnshareFlags) -> io::Result<()> {
    // SAFETY: CLONE_FILES is removed, so the table of open files stays as it is.
    unsafe { rustix::thread::unshare_unsafe(namespaces.difference(UnshareFlags::FILES)) }.map_err(Into::into)
}

/// Ends the process at once, without the exit handlers that belong to the process it was copied from.
#[expect(unsafe_code, reason = "std offers no _exit")]
pub(crate) fn exit_now(status: i32) -> ! {
    // SAFETY: _exit(2) does not return and touches no memory.
    unsafe { libc::_exit(status) }
}

/// Closes every open file but the standard three. For the very start of a supervisor, which owns no other yet, and may
/// have inherited some from a caller that forgot to mark them.
#[expect(unsafe_code, reason = "no wrapper closes files that it does not own")]
pub(crate) fn close_inherited_files() -> io::Result<()> {
    // SAFETY: the numbers closed belong to no Rust object: the process has just begun and has opened nothing.
    let answer = unsafe { libc::syscall(libc::SYS_close_range, 3_u32, u32::MAX, 0_u32) };
    zero(answer)
}

/// The largest that any process was of those that this one waited for, and that those waited for, in bytes of its own
/// and shared memory; 0 where the kernel does not say. The sum of two that ran side by side is not known to it.
#[expect(unsafe_code, reason = "no wrapper offers getrusage")]
pub(crate) fn largest_child_bytes() -> u64 {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: getrusage(2) fills one rusage at the pointer, and nothing but numbers is in it, for which zeros stand.
    let usage = unsafe {
        libc::getrusage(libc::RUSAGE_CHILDREN, usage.as_mut_ptr());
        usage.assume_init()
    };
    // Linux counts in KiB.
    u64::try_from(usage.ru_maxrss).map_or(0, |kibibytes| kibibytes.saturating_mul(1024))
}

/// Mount attributes, as `mount_setattr(2)` takes them.
#[repr(C)]
struct MountAttributes {
    set: u64,
    clear: u64,
    propagation: u64,
    user_namespace: u64,
}

pub(crate) const READ_ONLY: u64 = 0x1;
pub(crate) const NO_SET_USER_ID: u64 = 0x2;
pub(crate) const NO_DEVICES: u64 = 0x4;

/// `MOUNT_ATTR_IDMAP`: the ids on disk are taken for ids inside a user namespace.
const MAP_IDS: u64 = 0x0010_0000;

/// Adds attributes to a mount, and to the mounts below it where asked.
pub(crate) fn set_mount_attributes(mount: impl AsFd, set: u64, recursive: bool) -> io::Result<()> {
    change_mount(mount, &MountAttributes { set, clear: 0, propagation: 0, user_namespace: 0 }, recursive)
}

/// Shows the owners of a detached mount's files as those of the same number inside a user namespace.
pub(crate) fn map_mount_ids(mount: impl AsFd, user_namespace: impl AsFd, recursive: bool) -> io::Result<()> {
    let number = user_namespace.as_fd().as_raw_fd();
    let user_namespace = u64::try_from(number).map_err(io::Error::other)?;
    change_mount(
        mount,
        &MountAttributes { set: MAP_IDS, clear: 0, propagation: 0, user_namespace },
        recursive,
    )
}

#[expect(unsafe_code, reason = "rustix does not have mount_setattr")]
fn change_mount(mount: impl AsFd, attributes: &MountAttributes, recursive: bool) -> io::Result<()> {
    let mut flags = libc::AT_EMPTY_PATH;
    if recursive {
        flags |= libc::AT_RECURSIVE;
    }
    // SAFETY: the descriptor is open for the length of the call, the path is an empty C string, and the structure has
    // the layout and the size that is passed with it.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_fd().as_raw_fd(),
            c"".as_ptr(),
            flags,
            std::ptr::from_ref(attributes),
            size_of::<MountAttributes>(),
        )
    };
    zero(answer)
}

/// The part of `struct ifreq` that carries flags, padded to the size that the kernel copies (40 bytes).
#[repr(C)]
struct InterfaceFlags {
    name: [u8; libc::IFNAMSIZ],
    flags: libc::c_short,
    rest: [u8; 22],
}

/// Brings the loopback interface of the current network namespace up.
#[expect(unsafe_code, reason = "the request is an ioctl without a wrapper")]
pub(crate) fn raise_loopback() -> io::Result<()> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0")?;
    let mut request = InterfaceFlags { name: [0; libc::IFNAMSIZ], flags: 0, rest: [0; 22] };
    request.name[..2].copy_from_slice(b"lo");
    request.flags = libc::c_short::try_from(libc::IFF_UP).map_err(io::Error::other)?;
    // SAFETY: SIOCSIFFLAGS reads one ifreq, 40 bytes, from the pointer; the structure is at least that large.
    let answer = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) };
    zero(i64::from(answer))
}

/// Gives the process a keyring of its own, so that no key of the caller's session can be read.
#[expect(unsafe_code, reason = "no wrapper offers keyctl")]
pub(crate) fn join_fresh_keyring() -> io::Result<()> {
    /// `KEYCTL_JOIN_SESSION_KEYRING` of `linux/keyctl.h`.
    const JOIN_SESSION_KEYRING: libc::c_int = 1;
    // SAFETY: the name is null, which asks for a new anonymous keyring; no memory is passed.
    let answer = unsafe { libc::syscall(libc::SYS_keyctl, JOIN_SESSION_KEYRING, 0_usize) };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn zero(answer: i64) -> io::Result<()> {
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structures_have_the_sizes_that_the_kernel_copies() {
        assert_eq!(size_of::<MountAttributes>(), 32);
        assert_eq!(size_of::<InterfaceFlags>(), 40);
    }
}
