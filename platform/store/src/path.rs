//! Which texts are paths of objects. The same for both engines, so that a tree can move from one to the other.

use crate::error::StoreError;

/// Bytes of a path: the longest key that S3 allows, less room for a prefix.
const PATH_SIZE_BYTES_MAX: usize = 900;

/// Bytes of a component: NAME_MAX of Linux file systems, less what the name of a file in the making has more.
const COMPONENT_SIZE_BYTES_MAX: usize = 225;

/// Refuses what cannot be the path of an object: it is relative, has no empty component, and none begins with a dot,
/// which is how files in the making begin.
pub(crate) fn check(path: &str) -> Result<(), StoreError> {
    check_components(path, |component| !component.starts_with('.'))
}

/// The same for what may be listed and removed: files in the making as well, and nothing outside.
pub(crate) fn check_leftover(path: &str) -> Result<(), StoreError> {
    check_components(path, |component| component != "." && component != "..")
}

fn check_components(path: &str, is_name: impl Fn(&str) -> bool) -> Result<(), StoreError> {
    let is_good = |component: &str| {
        !component.is_empty()
            && component.len() <= COMPONENT_SIZE_BYTES_MAX
            && is_name(component)
            && !component.contains(|character: char| character.is_control() || character == '\\')
    };
    if path.len() <= PATH_SIZE_BYTES_MAX && path.split('/').all(is_good) {
        Ok(())
    } else {
        Err(StoreError::Path { path: path.chars().take(200).collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_objects() {
        for path in
            ["a", "main/pool/v0/g/gcc/g++-15~rc1-2-1-x86_64.stone", "main/history/1-ab/x86_64/stone.index"]
        {
            check(path).unwrap();
        }
        let long = ["a/".repeat(500) + "a", "a".repeat(226)];
        for path in [
            "", "/a", "a/", "a//b", "..", "a/../b", "./a", "a/.b.new", "a\\b", "a\nb", "a\0", &long[0],
            &long[1],
        ] {
            assert!(check(path).is_err(), "{path:?}");
        }
        check_leftover("a/.b.new").unwrap();
        for path in ["", "..", "a/../b", "."] {
            assert!(check_leftover(path).is_err(), "{path:?}");
        }
    }
}
