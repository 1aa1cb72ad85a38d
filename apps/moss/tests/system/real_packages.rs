//! Packages made by AerynOS's own tools.

use std::path::Path;

use fs_err as fs;
use moss::{Materialise, MaterialiseError, Materialised, MissingPolicy, Silent};
use package::{Dependency, DependencyKind, PackageMeta};

use crate::packages::{direct, write_index};

/// Makes a repository of the real packages, the newest of each name.
fn repository(data: &Path, directory: &Path) {
    let mut metas: Vec<PackageMeta> = Vec::new();
    for entry in fs::read_dir(data.join("stones")).unwrap() {
        let path = entry.unwrap().path();
        let bytes = fs::read(&path).unwrap();
        let stone = stone::read_records(std::io::Cursor::new(&bytes), &stone::Limits::default()).unwrap();
        let mut meta = PackageMeta::from_records(&stone.metas[0]).unwrap();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        fs::write(directory.join(&name), &bytes).unwrap();
        meta.hash = Some(fetch::Digest::of(&bytes).to_string());
        meta.download_size_bytes = Some(bytes.len().try_into().unwrap());
        meta.uri = Some(name);
        metas.push(meta);
    }
    let newest: Vec<PackageMeta> = repository::newest(&metas).into_values().cloned().collect();
    write_index(directory, &newest);
}

fn fill(folder: &Path, wanted: &[&str], missing: MissingPolicy) -> Result<Materialised, MaterialiseError> {
    let target = folder.join(wanted.join("-"));
    fs::create_dir(&target).unwrap();
    moss::materialise(&Materialise {
        target: &target,
        repositories: &[direct("main", format!("file://{}/stone.index", folder.display()), 0)],
        cache_dir: &folder.join("cache"),
        wanted: &wanted.iter().map(|text| text.parse().unwrap()).collect::<Vec<Dependency>>(),
        missing,
        reporter: &Silent,
    })
}

#[test]
fn nano_is_installed_with_its_libraries_missing() {
    let Some(data) = testkit::data() else { return };
    let folder = tempfile::tempdir().unwrap();
    repository(&data, folder.path());
    let error = fill(folder.path(), &["nano"], MissingPolicy::Refuse).unwrap_err().to_string();
    assert!(error.contains("which nobody provides; nano was asked for by you"), "{error}");

    let kinds = vec![DependencyKind::Soname, DependencyKind::Interpreter];
    let made = fill(folder.path(), &["binary(nano)"], MissingPolicy::Allow(kinds)).unwrap();
    assert_eq!(made.packages.len(), 1);
    let open: Vec<String> = made.unresolved.iter().map(ToString::to_string).collect();
    assert!(open.contains(&"soname(libmagic.so.1(x86_64))".to_owned()), "{open:?}");
    let usr = folder.path().join("binary(nano)/usr");
    assert_eq!(&fs::read(usr.join("bin/nano")).unwrap()[..4], b"\x7fELF");
    assert_eq!(fs::read_link(usr.join("bin/rnano")).unwrap(), Path::new("nano"));
    let mode =
        std::os::unix::fs::PermissionsExt::mode(&fs::metadata(usr.join("bin/nano")).unwrap().permissions());
    assert_eq!(mode & 0o7777, 0o755);
}

#[test]
fn what_conflicts_is_not_put_together() {
    let Some(data) = testkit::data() else { return };
    let folder = tempfile::tempdir().unwrap();
    repository(&data, folder.path());
    let error =
        fill(folder.path(), &["italian-pizza", "pineapple"], MissingPolicy::Refuse).unwrap_err().to_string();
    assert!(error.contains("conflicts with"), "{error}");
    let made = fill(folder.path(), &["pineapple"], MissingPolicy::Refuse).unwrap();
    assert_eq!(made.packages[0].name, "pineapple");
}
