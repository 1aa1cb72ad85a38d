//! The script that unpacks the sources into the build directory.
//!
//! Names and directories come from recipes: they are checked when the recipe is read, and quoted here all the same.

use std::collections::BTreeSet;
use std::fmt::Write;

use package::{Dependency, DependencyKind};

use crate::model::{Upstream, url_file_name};
use crate::plan::BuildPaths;

/// Extensions of archives that are unpacked by `bsdtar-static`, as the reference tool has them.
const TAR_EXTENSIONS: &[&str] = &["xz", "zst", "bz2", "gz", "lz", "tgz", "7z", "zip"];

/// What begins every preparation: unpacking with whatever the root has. `bsdtar` reads every format; GNU tar, which a
/// root made of the host has, reads the tar ones, and `unzip` helps out.
const FUNCTIONS: &str = r#"_unpack() {
    local archive="$1" directory="$2" strip="$3" tool scratch
    mkdir -p -- "$directory"
    for tool in bsdtar-static bsdtar; do
        if command -v "$tool" > /dev/null; then
            "$tool" -xf "$archive" -C "$directory" --strip-components "$strip" --no-same-owner
            return 0
        fi
    done
    case "$archive" in
    *.zip | *.xpi | *.jar)
        scratch="$(mktemp -d "$directory.unpack.XXXXXX")"
        unzip -q "$archive" -d "$scratch"
        find "$scratch" -mindepth "$((strip + 1))" -maxdepth "$((strip + 1))" -exec mv -t "$directory" -- {} +
        rm -rf -- "$scratch"
        ;;
    *)
        tar --extract --file "$archive" --force-local --directory "$directory" \
            --strip-components "$strip" --no-same-owner
        ;;
    esac
}
_copy_tree() {
    mkdir -p -- "$2"
    cp -R --no-dereference --preserve=mode,timestamps,links -- "$1/." "$2/"
}
"#;

/// The script, without what begins every script.
pub(crate) fn script(upstreams: &[Upstream], paths: &BuildPaths, build_directory: &str) -> String {
    let mut script = String::from(FUNCTIONS);
    for upstream in upstreams {
        let Some(directory) = upstream.build_directory() else { continue };
        let source = quote(&format!("{}/{}", paths.source_directory, upstream.file_name()));
        let target = quote(&format!("{build_directory}/{directory}"));
        // Writing to a String cannot fail.
        let _ok = match upstream {
            Upstream::Archive { strip_components, .. } => {
                writeln!(script, "_unpack {source} {target} {strip_components}")
            }
            Upstream::Git { .. } => writeln!(script, "_copy_tree {source} {target}"),
        };
    }
    script
}

/// What unpacking needs.
pub(crate) fn depends(upstreams: &[Upstream]) -> BTreeSet<Dependency> {
    let binary = |name: &str| Dependency::new(DependencyKind::Binary, name);
    let mut depends = BTreeSet::new();
    for upstream in upstreams {
        let Upstream::Archive { url, rename, .. } = upstream else { continue };
        // An archive may be renamed to something without an extension.
        for name in [Some(url_file_name(url)), rename.as_deref()].into_iter().flatten() {
            match name.rsplit_once('.').map(|(_, extension)| extension) {
                Some("rpm") => depends.extend([binary("rpm2cpio"), Dependency::name("cpio")]),
                Some("deb") => depends.extend([binary("ar")]),
                Some(extension) if TAR_EXTENSIONS.contains(&extension) => {
                    depends.extend([binary("bsdtar-static")]);
                }
                _ => {}
            }
        }
    }
    depends
}

/// One word for the shell, whatever is in it.
pub(crate) fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(url: &str, unpack: bool) -> Upstream {
        Upstream::Archive {
            url: url.into(),
            sha256: "0".repeat(64),
            rename: None,
            strip_components: 1,
            unpack,
            unpack_directory: None,
        }
    }

    #[test]
    fn every_word_is_quoted() {
        for (text, expect) in [
            ("plain", "'plain'"),
            ("two words", "'two words'"),
            ("it's", r"'it'\''s'"),
            ("$(reboot)`x`\"", "'$(reboot)`x`\"'"),
        ] {
            assert_eq!(quote(text), expect);
        }
    }

    #[test]
    fn only_what_is_unpacked_is_in_the_script() {
        let upstreams = [
            archive("https://host/a b$(x).tar.gz", true),
            archive("https://host/data.bin", false),
            Upstream::Git {
                url: "https://host/z.git".into(),
                reference: "v1".into(),
                clone_directory: Some("deep/er".into()),
            },
        ];
        let script = script(&upstreams, &BuildPaths::default(), "/mason/build/x86_64");
        let calls: Vec<&str> = script.strip_prefix(FUNCTIONS).unwrap().lines().collect();
        assert_eq!(
            calls,
            [
                "_unpack '/mason/sourcedir/a b$(x).tar.gz' '/mason/build/x86_64/a b$(x).tar.gz' 1",
                "_copy_tree '/mason/sourcedir/z.git' '/mason/build/x86_64/deep/er'",
            ]
        );
    }

    #[test]
    fn helpers_by_extension() {
        for (name, expect) in [
            ("x.tar.xz", vec!["binary(bsdtar-static)"]),
            ("x.tgz", vec!["binary(bsdtar-static)"]),
            ("x.rpm", vec!["binary(rpm2cpio)", "name(cpio)"]),
            ("x.deb", vec!["binary(ar)"]),
            ("x.txt", vec![]),
        ] {
            let depends = depends(&[archive(&format!("https://host/{name}"), true)]);
            assert_eq!(depends.iter().map(ToString::to_string).collect::<Vec<_>>(), expect, "{name}");
        }
    }
}
