//! Which package owns which path, to see when a second one brings the same.
//!
//! Pure. Paths are kept as hashes, some twenty to forty bytes for each; two paths with one hash would be told as one, and are looked
//! at again by whoever tells it. What is found is a remark and never a reason to refuse: a path
//! may move from one package to another, and clients say by themselves when two that are installed have the same.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hasher};

use repository::signed::Digest;

/// Paths of all packages of an architecture that are remembered: some 70 MB. What comes beyond that is not looked at.
const PATHS_MAX: usize = 2 << 20;

/// Collisions that are told; a person reads the first few.
pub(crate) const TOLD_MAX: usize = 5;

/// The packages of one architecture by the paths that they own.
#[derive(Debug, Clone, Default)]
pub(crate) struct Owners(HashMap<u64, u64>);

/// A path that two packages have.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Collision {
    /// The package that came.
    pub(crate) newcomer: String,
    /// The one that has it already.
    pub(crate) owner: String,
    /// Below `/usr`.
    pub(crate) path: String,
}

impl Owners {
    /// A package leaves.
    pub(crate) fn remove<'p>(&mut self, package: &Digest, paths: impl IntoIterator<Item = &'p str>) {
        for path in paths {
            let key = key_of(path);
            if self.0.get(&key) == Some(&short(package)) {
                self.0.remove(&key);
            }
        }
    }

    /// A package comes; `collided` is told each path that another one owns already, with the short form of that one.
    pub(crate) fn add<'p>(
        &mut self,
        package: &Digest,
        paths: impl IntoIterator<Item = &'p str>,
        mut collided: impl FnMut(u64, &'p str),
    ) {
        for path in paths {
            if self.0.len() >= PATHS_MAX {
                return;
            }
            let owner = *self.0.entry(key_of(path)).or_insert_with(|| short(package));
            if owner != short(package) {
                collided(owner, path);
            }
        }
    }
}

fn key_of(path: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(path.as_bytes());
    hasher.finish()
}

/// The first bytes of a digest: enough to tell the packages of a channel apart.
pub(crate) fn short(package: &Digest) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = *package.as_bytes();
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

/// One line for an operator; empty when there is none.
pub(crate) fn remark(collisions: &[Collision]) -> String {
    if collisions.is_empty() {
        return String::new();
    }
    let told = collisions.iter().take(TOLD_MAX);
    let mut parts: Vec<String> =
        told.map(|it| format!("/usr/{} of {} is in {} as well", it.path, it.newcomer, it.owner)).collect();
    if collisions.len() > TOLD_MAX {
        parts.push(format!("and {} more", collisions.len() - TOLD_MAX));
    }
    parts.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(name: &str) -> Digest {
        Digest::of(name.as_bytes())
    }

    fn added(owners: &mut Owners, package: &str, paths: &[&str]) -> Vec<String> {
        let names = ["a@1", "a@2", "b@1"];
        let name = |owner| names.iter().find(|name| short(&digest(name)) == owner).unwrap();
        let mut told = Vec::new();
        owners.add(&digest(package), paths.iter().copied(), |owner, path| {
            told.push(format!("{path} {}", name(owner)));
        });
        told
    }

    #[test]
    fn a_second_owner_is_told_and_an_heir_is_not() {
        let mut owners = Owners::default();
        assert_eq!(added(&mut owners, "a@1", &["bin/x", "bin/y"]), Vec::<String>::new());
        assert_eq!(added(&mut owners, "b@1", &["bin/y", "bin/z"]), ["bin/y a@1"]);
        // The first package is replaced, and leaves a path to the other.
        owners.remove(&digest("a@1"), ["bin/x", "bin/y"]);
        assert_eq!(added(&mut owners, "a@2", &["bin/x"]), Vec::<String>::new());
        assert_eq!(added(&mut owners, "b@1", &["bin/y", "bin/z"]), Vec::<String>::new(), "the same again");
        // What somebody else owns is not taken along.
        owners.remove(&digest("a@2"), ["bin/z"]);
        assert_eq!(added(&mut owners, "a@2", &["bin/z"]), ["bin/z b@1"]);
    }

    #[test]
    fn a_few_are_told_and_the_rest_counted() {
        let collision = |number: usize| Collision {
            newcomer: "b".into(),
            owner: "a".into(),
            path: format!("bin/{number}"),
        };
        assert_eq!(remark(&[]), "");
        assert_eq!(remark(&[collision(1)]), "/usr/bin/1 of b is in a as well");
        let many: Vec<Collision> = (0..8).map(collision).collect();
        assert!(remark(&many).ends_with("/usr/bin/4 of b is in a as well; and 3 more"));
    }
}
