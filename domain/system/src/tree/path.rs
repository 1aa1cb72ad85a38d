//! Paths below `/usr` as text: which are in order, what is above them, where links lead.

/// Where the links in the root of the file system lead.
const ROOT_LINKS: [(&str, &[&str]); 5] = [
    ("bin", &["usr", "bin"]),
    ("lib", &["usr", "lib"]),
    ("lib32", &["usr", "lib32"]),
    ("lib64", &["usr", "lib"]),
    ("sbin", &["usr", "sbin"]),
];

/// Longest path that is placed: what Linux takes in one call (`PATH_MAX`), less room for what comes before `/usr`.
const PATH_BYTES_MAX: usize = 4096 - 1024;

/// Longest name in a path that Linux file systems take (`NAME_MAX`).
const NAME_BYTES_MAX: usize = 255;

/// Says what is wrong with a path that a package brings.
pub(super) fn check_path(path: &str) -> Result<(), &'static str> {
    if path.is_empty() {
        return Err("the path is empty");
    }
    if path.starts_with('/') {
        return Err("the path is absolute, and packages bring files below /usr only");
    }
    if path.contains('\0') {
        return Err("the path contains a NUL byte");
    }
    if path.len() > PATH_BYTES_MAX {
        return Err("the path is longer than Linux can look up");
    }
    for name in path.split('/') {
        match name {
            "" => return Err("the path contains an empty name"),
            "." | ".." => return Err("the path contains . or .."),
            _ if name.len() > NAME_BYTES_MAX => {
                return Err("the path contains a name that is longer than Linux allows");
            }
            _ => {}
        }
    }
    Ok(())
}

/// The proper ancestors of a path, shortest first, without `/usr` itself.
pub(super) fn ancestors(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('/').map(|(position, _)| &path[..position])
}

/// `name` below `directory`, where the empty directory is `/usr`.
pub(super) fn join(directory: &str, name: &str) -> String {
    if directory.is_empty() { name.to_owned() } else { format!("{directory}/{name}") }
}

/// Where the link at `path` with the text `target` leads, as a path below `/usr`; none when it leads elsewhere.
pub(super) fn follow(path: &str, target: &str) -> Option<String> {
    let mut place: Vec<&str> = Vec::new();
    if !target.starts_with('/') {
        place.push("usr");
        place.extend(path.split('/'));
        place.pop();
    }
    for name in target.split('/') {
        match name {
            "" | "." => {}
            // Above the root is the root again.
            ".." => drop(place.pop()),
            _ => place.push(name),
        }
    }
    if let Some((_, merged)) = ROOT_LINKS.iter().find(|(name, _)| place.first() == Some(name)) {
        place.splice(..1, merged.iter().copied());
    }
    match place.split_first() {
        Some((&"usr", below)) => Some(below.join("/")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_relative_paths_are_in_order() {
        for path in ["bin/nano", "bin/[", ".stateID", "share/ünïcode", "a/...b"] {
            assert_eq!(check_path(path), Ok(()), "{path}");
        }
        let long = "x".repeat(256);
        let deep = "x/".repeat(2000);
        for path in ["", "/etc/passwd", "../etc", "a/../../etc", "a//b", "a/", "./a", "a\0b", &long, &deep] {
            assert!(check_path(path).is_err(), "{path}");
        }
    }

    #[test]
    fn links_are_followed_as_the_kernel_would() {
        let table = [
            ("sbin", "bin", Some("bin")),
            ("sbin", "../bin", Some("bin")),
            ("lib/a/link", "../b", Some("lib/b")),
            ("lib/a/link", "../../../usr/share", Some("share")),
            ("lib/a/link", "./.././b//c", Some("lib/b/c")),
            ("x", "/usr/lib", Some("lib")),
            ("x", "/lib64/y", Some("lib/y")),
            ("x", "../../../../bin", Some("bin")),
            ("x", "/usr", Some("")),
            ("x", "/etc", None),
            ("x", "..", None),
            ("x", "/", None),
        ];
        for (path, target, expect) in table {
            assert_eq!(follow(path, target).as_deref(), expect, "{path} -> {target}");
        }
    }

    #[test]
    fn ancestors_come_shortest_first() {
        assert_eq!(ancestors("a/b/c").collect::<Vec<_>>(), ["a", "a/b"]);
        assert_eq!(ancestors("a").count(), 0);
    }
}
