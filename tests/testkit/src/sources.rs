//! Small upstream projects, packed as upstreams pack them.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A source archive on this machine.
#[derive(Debug, Clone)]
pub struct Tarball {
    /// Where it lies.
    pub path: PathBuf,
    /// SHA-256 in lower-case hex.
    pub sha256: String,
}

impl Tarball {
    /// The address by which a recipe names it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("file://{}", self.path.display())
    }

    /// Packs `files` (name and content) as `NAME.tar.gz`, in a folder of that name, with the programs of the machine.
    ///
    /// # Panics
    /// When the disk or a program fails: a test cannot go on.
    #[must_use]
    #[expect(clippy::unwrap_used, reason = "a test's own way to fail")]
    pub fn pack(folder: &Path, name: &str, files: &[(&str, &str)]) -> Tarball {
        let tree = folder.join(name);
        for (file, content) in files {
            let path = tree.join(file);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, content).unwrap();
        }
        let path = folder.join(format!("{name}.tar.gz"));
        let status =
            Command::new("tar").arg("-czf").arg(&path).arg("-C").arg(folder).arg(name).status().unwrap();
        assert!(status.success(), "tar ended with {status}");
        let output = Command::new("sha256sum").arg(&path).output().unwrap();
        let sha256 = String::from_utf8_lossy(&output.stdout).chars().take(64).collect();
        Tarball { path, sha256 }
    }
}
