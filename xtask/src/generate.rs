//! Rust from `.proto` files, without protoc, and pages from code.
//!
//! The files in `platform/wire/proto` are compiled by protox, a compiler written in Rust, and turned into client and
//! server code by tonic's generator. The result is committed, so that building Moraine needs neither. `--check`
//! writes nothing and fails when what is committed differs.

use std::error::Error;
use std::path::{Path, PathBuf};

/// Protocol files, in `platform/wire/proto`.
const PROTOCOLS: [&str; 2] = ["summit.proto", "vessel.proto"];

type Page = fn() -> String;

/// Pages of the documentation that code writes.
const PAGES: [(&str, Page); 1] = [("docs/task-life-cycle.md", farm::task::page)];

/// What to do with what was generated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Write it to the source tree.
    Write,
    /// Compare it with the source tree.
    Check,
}

/// Generates every module below `platform/wire/src/generated` and every page. Answers the paths that were, or would be, changed.
pub(crate) fn run(workspace: &Path, mode: Mode) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    let wire = workspace.join("platform/wire");
    let proto = wire.join("proto");
    let descriptors = protox::compile(PROTOCOLS.map(|name| proto.join(name)), [&proto])?;

    let fresh = tempfile::tempdir()?;
    tonic_prost_build::configure()
        .out_dir(fresh.path())
        .emit_rerun_if_changed(false)
        .compile_fds(descriptors)?;

    let committed = wire.join("src/generated");
    let mut changed = Vec::new();
    for entry in fs_err::read_dir(fresh.path())? {
        let entry = entry?;
        let text = with_reasons(&fs_err::read_to_string(entry.path())?).into_bytes();
        let target = committed.join(entry.file_name());
        if fs_err::read(&target).ok().as_deref() == Some(text.as_slice()) {
            continue;
        }
        if mode == Mode::Write {
            fs_err::create_dir_all(&committed)?;
            fs_err::write(&target, text)?;
        }
        changed.push(target);
    }
    for entry in fs_err::read_dir(&committed)? {
        let entry = entry?;
        if !fresh.path().join(entry.file_name()).exists() {
            if mode == Mode::Write {
                fs_err::remove_file(entry.path())?;
            }
            changed.push(entry.path());
        }
    }
    for (path, page) in PAGES {
        let (target, text) = (workspace.join(path), page());
        if fs_err::read_to_string(&target).ok().as_deref() == Some(text.as_str()) {
            continue;
        }
        if mode == Mode::Write {
            fs_err::write(&target, text)?;
        }
        changed.push(target);
    }
    changed.sort();
    Ok(changed)
}

/// The generator excepts lints without a word; the workspace demands one.
fn with_reasons(text: &str) -> String {
    text.replace(
        "        clippy::let_unit_value,\n    )]",
        "        clippy::let_unit_value,\n        reason = \"generated\",\n    )]",
    )
    .replace("#[allow(non_camel_case_types)]", "#[allow(non_camel_case_types, reason = \"generated\")]")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn committed_code_is_what_the_protocols_say() {
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let changed = run(workspace, Mode::Check).unwrap();
        assert!(changed.is_empty(), "run `cargo run -p xtask -- gen`; it would change {changed:?}");
    }
}
