//! What may become part of a path, a file name or an argument.
//!
//! Recipes are foreign text. Names and versions end up in file names of packages, upstream names in the folder of
//! sources, directories in the build root; nothing of the kind may leave its folder or look like an option.

/// `NAME-VERSION-RELEASE-BUILD-ARCH.stone` must fit the 255 bytes that file systems give a name.
const NAME_BYTES_MAX: usize = 100;

/// A file name on every file system.
const COMPONENT_BYTES_MAX: usize = 255;

/// Well below the 4096 bytes that Linux gives a path, with room for what stands before it.
const RELATIVE_PATH_BYTES_MAX: usize = 1024;

/// Whether a text can name a package.
pub(crate) fn check_name(text: &str) -> Result<(), String> {
    length(text, NAME_BYTES_MAX)?;
    if !text.starts_with(|first: char| first.is_ascii_alphanumeric()) {
        return Err("it must begin with a letter or digit".to_owned());
    }
    only(text, "+-._")
}

/// Whether a text can be a version. The format wants a digit at the beginning, but real recipes have letters there.
pub(crate) fn check_version(text: &str) -> Result<(), String> {
    length(text, NAME_BYTES_MAX)?;
    if !text.starts_with(|first: char| first.is_ascii_alphanumeric()) {
        return Err("it must begin with a digit".to_owned());
    }
    only(text, "+-._~^:")
}

/// Whether a text is a single path component that stays in its folder.
pub(crate) fn check_component(text: &str) -> Result<(), String> {
    length(text, COMPONENT_BYTES_MAX)?;
    if matches!(text, "." | "..") {
        return Err("it must name something in the folder".to_owned());
    }
    if text.contains('/') {
        return Err("it must not contain a slash".to_owned());
    }
    no_control(text)
}

/// Whether a text is a relative path that stays in its folder. A slash at the end is allowed.
pub(crate) fn check_relative_path(text: &str) -> Result<(), String> {
    length(text, RELATIVE_PATH_BYTES_MAX)?;
    if text.starts_with('/') {
        return Err("it must not begin with a slash".to_owned());
    }
    text.trim_end_matches('/').split('/').try_for_each(|component| match component {
        "" => Err("two slashes stand together".to_owned()),
        "." | ".." => Err("it must not contain \".\" or \"..\"".to_owned()),
        other => check_component(other),
    })
}

/// Whether a text can be given to git as a commit, tag or branch.
pub(crate) fn check_git_reference(text: &str) -> Result<(), String> {
    length(text, COMPONENT_BYTES_MAX)?;
    if text.starts_with('-') {
        return Err("it must not begin with \"-\"".to_owned());
    }
    if text.contains("..") || text.contains(['~', '^', ':', '?', '*', '[', '\\', ' ']) {
        return Err("it is not a commit, tag or branch".to_owned());
    }
    no_control(text)
}

fn length(text: &str, bytes_max: usize) -> Result<(), String> {
    match text.len() {
        0 => Err("it is empty".to_owned()),
        bytes if bytes > bytes_max => Err(format!("it is longer than {bytes_max} bytes")),
        _ => Ok(()),
    }
}

fn only(text: &str, others: &str) -> Result<(), String> {
    match text.chars().find(|letter| !letter.is_ascii_alphanumeric() && !others.contains(*letter)) {
        Some(letter) => Err(format!("it must not contain {letter:?}")),
        None => Ok(()),
    }
}

fn no_control(text: &str) -> Result<(), String> {
    match text.chars().find(|letter| letter.is_control()) {
        Some(letter) => Err(format!("it must not contain {letter:?}")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_versions() {
        for name in ["nano", "gtk+", "lm_sensors", "python-3.11", "7zip"] {
            assert_eq!(check_name(name), Ok(()), "{name}");
        }
        for name in ["", "-x", ".x", "a/b", "a b", "a\0", "ä", "%(name)", "$(x)"] {
            assert!(check_name(name).is_err(), "{name}");
        }
        for version in ["1", "1.10", "059", "7.1.2-26", "5.15.18+kde.118", "1~rc1", "2025-11-05", "r1.683"] {
            assert_eq!(check_version(version), Ok(()), "{version}");
        }
        for version in ["", ".1", "-1", "1/2", "1 2", "1;2"] {
            assert!(check_version(version).is_err(), "{version}");
        }
    }

    #[test]
    fn paths_stay_in_their_folder() {
        for path in ["a", "a/b", "a/b/", "..a", "a b"] {
            assert_eq!(check_relative_path(path), Ok(()), "{path}");
        }
        for path in ["", "/", "/a", "..", "a/..", "a/../b", "./a", "a//b", "a\n"] {
            assert!(check_relative_path(path).is_err(), "{path}");
        }
        for component in ["", ".", "..", "a/b", "/", "a\u{7}"] {
            assert!(check_component(component).is_err(), "{component}");
        }
    }

    #[test]
    fn git_references() {
        for reference in ["v1.0", "main", "feature/x", "1189557a50f11e7bc5716467a149cd09987a9f88"] {
            assert_eq!(check_git_reference(reference), Ok(()), "{reference}");
        }
        for reference in ["", "--upload-pack=x", "a..b", "a b", "HEAD^"] {
            assert!(check_git_reference(reference).is_err(), "{reference}");
        }
    }
}
