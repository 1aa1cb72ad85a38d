//! Compressed manual and info pages, where a recipe asks for them.
//!
//! A page becomes its `.zst`, and a link to a page becomes a link to that `.zst`, with the same text otherwise: relative links
//! stay relative. This happens in the install root after the last phase, when nothing of the recipe runs any more.

use std::io;
use std::os::unix::fs::{chown, lchown, symlink};
use std::path::{Path, PathBuf};

use crate::collect::{InstalledFile, InstalledKind};

/// Level of zstd: pages are small, read often and compressed once.
const LEVEL: i32 = 16;
/// Name of a compressed page.
const SUFFIX: &str = ".zst";

/// Compresses every page among `files`, in place. Returns how many there were.
///
/// # Errors
/// When the disk fails; a page is then there in its old form, in its new one, or in both.
pub fn compress(files: &[InstalledFile]) -> io::Result<usize> {
    let mut count = 0;
    for file in files.iter().filter(|file| is_page(&file.path)) {
        let compressed = with_suffix(&file.source);
        match &file.kind {
            InstalledKind::Regular { .. } => {
                let bytes = zstd::bulk::compress(&fs_err::read(&file.source)?, LEVEL)?;
                fs_err::write(&compressed, bytes)?;
                fs_err::set_permissions(&compressed, fs_err::metadata(&file.source)?.permissions())?;
                chown(&compressed, Some(file.uid), Some(file.gid))?;
            }
            InstalledKind::Symlink(text) => {
                symlink(format!("{text}{SUFFIX}"), &compressed)?;
                lchown(&compressed, Some(file.uid), Some(file.gid))?;
            }
            _ => continue,
        }
        fs_err::remove_file(&file.source)?;
        count += 1;
    }
    Ok(count)
}

/// A file below a `man` folder whose name ends with its section, or below an `info` folder with the ending `.info`.
fn is_page(path: &str) -> bool {
    let (folders, name) = path.rsplit_once('/').unwrap_or(("", path));
    let below = |folder: &str| folders.split('/').any(|part| part == folder);
    let has_section =
        name.rsplit_once('.').is_some_and(|(_, ending)| matches!(ending.as_bytes(), [b'1'..=b'9']));
    (below("man") && has_section) || (below("info") && name.ends_with(".info"))
}

fn with_suffix(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(SUFFIX);
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collect::collect;

    #[test]
    fn pages_are_known_by_place_and_name() {
        for (path, expected) in [
            ("/usr/share/man/man1/nano.1", true),
            ("/usr/share/man/de/man9/x.9", true),
            ("/usr/share/man/man1/nano.1.zst", false),
            ("/usr/share/man/whatis", false),
            ("/usr/share/info/nano.info", true),
            ("/usr/share/info/dir", false),
            ("/usr/lib/libx.so.1", false),
        ] {
            assert_eq!(is_page(path), expected, "{path}");
        }
    }

    #[test]
    fn a_page_and_the_links_to_it_move_together() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("usr/share/man/man1");
        fs_err::create_dir_all(&folder).unwrap();
        fs_err::write(folder.join("nano.1"), "how to use nano").unwrap();
        symlink("nano.1", folder.join("rnano.1")).unwrap();
        assert_eq!(compress(&collect(root.path()).unwrap()).unwrap(), 2);

        let paths: Vec<String> = collect(root.path()).unwrap().into_iter().map(|file| file.path).collect();
        assert_eq!(paths, ["/usr/share/man/man1/nano.1.zst", "/usr/share/man/man1/rnano.1.zst"]);
        let read = zstd::bulk::decompress(&fs_err::read(folder.join("rnano.1.zst")).unwrap(), 1024).unwrap();
        assert_eq!(read, b"how to use nano");
        assert_eq!(compress(&collect(root.path()).unwrap()).unwrap(), 0, "nothing is compressed twice");
    }
}
