//! Debug information apart from the programs: what to split and strip, and the script that does it.
//!
//! The tools run inside the sandbox, like every other program that reads what a build made. Only files with a GNU
//! build id are touched, because without one a debugger could not find the split part again.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use crate::analyse::elf::ElfFacts;
use crate::collect::{InstalledFile, InstalledKind};

/// Programs that work on ELF files, by the toolchain of the recipe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tools {
    /// Copies and changes ELF files.
    pub objcopy: &'static str,
    /// Removes what is not needed to run.
    pub strip: &'static str,
}

/// Tools of binutils.
pub const BINUTILS: Tools = Tools { objcopy: "objcopy", strip: "strip" };
/// Tools of LLVM.
pub const LLVM: Tools = Tools { objcopy: "llvm-objcopy", strip: "llvm-strip" };

/// What the recipe's options ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wishes {
    /// Put debug information into files of its own.
    pub debug: bool,
    /// Strip what is left.
    pub strip: bool,
}

/// One file to work on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// The file: `/usr/bin/nano`.
    pub path: String,
    /// Where its debug information goes: `/usr/lib/debug/.build-id/ab/cdef.debug`.
    pub debug_path: Option<String>,
    /// How to strip it.
    pub strip: Option<Strip>,
}

/// How much is stripped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strip {
    /// Everything that running does not need.
    All,
    /// What linking does not need either is kept out, dynamic symbols stay.
    Unneeded,
}

/// Decides what is done to which file. A file with several names is worked on once.
#[must_use]
pub fn jobs(files: &[(InstalledFile, ElfFacts)], wishes: Wishes) -> Vec<Job> {
    let mut seen = BTreeSet::new();
    let mut jobs = Vec::new();
    for (file, elf) in files {
        let (InstalledKind::Regular { inode, .. }, Some(build_id)) = (&file.kind, &elf.build_id) else {
            continue;
        };
        if build_id.len() < 4 || !(wishes.debug || wishes.strip) || !seen.insert(*inode) {
            continue;
        }
        let directory = if elf.is_64_bit { "/usr/lib/debug" } else { "/usr/lib32/debug" };
        let debug_path = format!("{directory}/.build-id/{}/{}.debug", &build_id[..2], &build_id[2..]);
        jobs.push(Job {
            path: file.path.clone(),
            debug_path: (wishes.debug && elf.has_debug_info).then_some(debug_path),
            strip: wishes.strip.then(|| strip_for(&file.path)),
        });
    }
    jobs
}

fn strip_for(path: &str) -> Strip {
    match path.rsplit('/').nth(1) {
        Some("bin" | "sbin") => Strip::All,
        _ => Strip::Unneeded,
    }
}

/// The bash script that does the jobs below `install_root`, at most `parallel` at once. A file that a tool refuses is
/// left as it was and named in the log.
#[must_use]
pub fn script(jobs: &[Job], tools: Tools, install_root: &str, parallel: usize) -> String {
    let mut script = format!(
        r#"set -u
umask 022
running=0
work_on() {{
    local file=$1 debug=$2 mode=$3
    if [ -n "$debug" ]; then
        mkdir -p "${{debug%/*}}" &&
            {objcopy} --only-keep-debug "$file" "$debug" &&
            chmod 0644 "$debug" &&
            {objcopy} --add-gnu-debuglink="$debug" "$file" ||
            echo "warning: no debug information split from $file"
    fi
    case "$mode" in
        all) {strip} "$file" ;;
        unneeded) {strip} -g --strip-unneeded "$file" ;;
    esac || echo "warning: $file is not stripped"
}}
begin() {{
    work_on "$@" &
    running=$((running + 1))
    if [ "$running" -ge {parallel} ]; then
        wait -n
        running=$((running - 1))
    fi
}}
"#,
        objcopy = tools.objcopy,
        strip = tools.strip,
        parallel = parallel.max(1),
    );
    for job in jobs {
        let debug = job.debug_path.as_deref().map(|path| format!("{install_root}{path}")).unwrap_or_default();
        let mode = match job.strip {
            Some(Strip::All) => "all",
            Some(Strip::Unneeded) => "unneeded",
            None => "none",
        };
        // Writing to a String cannot fail.
        let file = quoted(&format!("{install_root}{}", job.path));
        let _ok = writeln!(script, "begin {file} {} {mode}", quoted(&debug));
    }
    script.push_str("wait\n");
    script
}

/// As one word for the shell, whatever is in it.
#[must_use]
pub fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, inode: u64) -> InstalledFile {
        InstalledFile {
            path: path.into(),
            source: path.into(),
            mode: 0o100_755,
            uid: 0,
            gid: 0,
            kind: InstalledKind::Regular { size_bytes: 1, inode: (1, inode) },
        }
    }

    fn elf(build_id: Option<&str>) -> ElfFacts {
        ElfFacts {
            build_id: build_id.map(str::to_owned),
            is_64_bit: true,
            has_debug_info: true,
            ..ElfFacts::default()
        }
    }

    const BOTH: Wishes = Wishes { debug: true, strip: true };

    #[test]
    fn programs_are_stripped_more_than_libraries() {
        let files = [
            (file("/usr/bin/a", 1), elf(Some("abcdef"))),
            (file("/usr/lib/liba.so.1", 2), elf(Some("123456"))),
        ];
        let jobs = jobs(&files, BOTH);
        assert_eq!(jobs[0].strip, Some(Strip::All));
        assert_eq!(jobs[0].debug_path.as_deref(), Some("/usr/lib/debug/.build-id/ab/cdef.debug"));
        assert_eq!(jobs[1].strip, Some(Strip::Unneeded));
    }

    #[test]
    fn without_build_id_or_wish_nothing_happens() {
        assert!(jobs(&[(file("/usr/bin/a", 1), elf(None))], BOTH).is_empty());
        assert!(
            jobs(&[(file("/usr/bin/a", 1), elf(Some("x")))], BOTH).is_empty(),
            "too short to be a build id"
        );
        let wishes = Wishes { debug: false, strip: false };
        assert!(jobs(&[(file("/usr/bin/a", 1), elf(Some("abcdef")))], wishes).is_empty());
    }

    #[test]
    fn two_names_of_one_file_are_one_job() {
        let files =
            [(file("/usr/bin/a", 7), elf(Some("abcdef"))), (file("/usr/bin/b", 7), elf(Some("abcdef")))];
        assert_eq!(jobs(&files, BOTH).len(), 1);
    }

    #[test]
    fn names_cannot_leave_their_quotes() {
        let job =
            Job { path: "/usr/bin/$(touch x)'; reboot".into(), debug_path: None, strip: Some(Strip::All) };
        let script = script(&[job], BINUTILS, "/mason/install", 2);
        assert!(script.contains(r"begin '/mason/install/usr/bin/$(touch x)'\''; reboot' '' all"), "{script}");
    }
}
