//! Writes packages and an index into a directory, and opens systems that use it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Cursor;
use std::path::{Path, PathBuf};

use fs_err as fs;
use moss::{Access, Change, ChangeError, Freshness, Silent, System, add_repository};
use package::PackageMeta;
use repository::{Index, RepositoryConfig, RepositoryFields};
use stone::{Digest, Entry, EntryFile, FileType, Packing, Slice, Writer};
use system::StateId;
use system::resolve::Request;

/// A package to be written.
#[derive(Debug, Clone)]
pub(crate) struct Package {
    meta: PackageMeta,
    entries: Vec<Entry>,
    contents: BTreeMap<Digest, Vec<u8>>,
}

pub(crate) fn package(name: &str, release: u64) -> Package {
    Package {
        meta: PackageMeta {
            name: name.into(),
            version: format!("1.{release}"),
            release,
            build_release: 1,
            architecture: "x86_64".into(),
            summary: format!("{name} for tests"),
            description: String::new(),
            source_id: name.into(),
            homepage: "https://example.org".into(),
            licenses: vec!["MPL-2.0".into()],
            depends: BTreeSet::new(),
            provides: BTreeSet::new(),
            conflicts: BTreeSet::new(),
            build_depends: BTreeSet::new(),
            uri: None,
            hash: None,
            download_size_bytes: None,
        },
        entries: Vec::new(),
        contents: BTreeMap::new(),
    }
}

impl Package {
    pub(crate) fn depends(mut self, text: &str) -> Self {
        self.meta.depends.insert(text.parse().unwrap());
        self
    }

    pub(crate) fn provides(mut self, text: &str) -> Self {
        self.meta.provides.insert(text.parse().unwrap());
        self
    }

    fn entry(mut self, path: &str, mode: u32, file: EntryFile) -> Self {
        self.entries.push(Entry { uid: 0, gid: 0, mode, target: path.into(), file });
        self
    }

    pub(crate) fn file(self, path: &str, content: &str) -> Self {
        self.file_with_mode(path, content.as_bytes(), 0o644)
    }

    pub(crate) fn file_with_mode(mut self, path: &str, content: &[u8], mode: u32) -> Self {
        let digest = Digest::of(content);
        self.contents.insert(digest, content.to_vec());
        self.entry(path, 0o100_000 | mode, EntryFile::Regular(digest))
    }

    pub(crate) fn link(self, path: &str, target: &str) -> Self {
        self.entry(path, 0o120_777, EntryFile::Symlink(target.into()))
    }

    /// The file of the package and its metadata, complete with address, digest and size.
    fn write(&self, directory: &Path) -> PackageMeta {
        let mut meta = self.meta.clone();
        let name = format!("{}.stone", meta.file_name().trim_end_matches(".stone"));
        let mut writer =
            Writer::with_packing(Cursor::new(Vec::new()), FileType::Binary, Packing::FAST).unwrap();
        writer.meta(&meta.to_records()).unwrap();
        writer.layout(&self.entries).unwrap();
        let (mut slices, mut content) = (Vec::new(), Vec::new());
        for (digest, bytes) in &self.contents {
            let start = u64::try_from(content.len()).unwrap();
            content.extend_from_slice(bytes);
            slices.push(Slice { start, end: u64::try_from(content.len()).unwrap(), digest: *digest });
        }
        if !slices.is_empty() {
            writer.index(&slices).unwrap();
            writer.content(content.len().try_into().unwrap(), content.as_slice()).unwrap();
        }
        let bytes = writer.finish().unwrap().into_inner();
        meta.hash = Some(fetch::Digest::of(&bytes).to_string());
        meta.download_size_bytes = Some(bytes.len().try_into().unwrap());
        meta.uri = Some(name.clone());
        fs::write(directory.join(name), bytes).unwrap();
        meta
    }
}

/// Writes the packages and a `stone.index` that lists them.
pub(crate) fn publish(directory: &Path, packages: &[Package]) -> Vec<PackageMeta> {
    fs::create_dir_all(directory).unwrap();
    let metas: Vec<PackageMeta> = packages.iter().map(|package| package.write(directory)).collect();
    write_index(directory, &metas);
    metas
}

pub(crate) fn write_index(directory: &Path, metas: &[PackageMeta]) {
    let index = Index::new(metas.iter().cloned()).unwrap();
    let bytes = index.write(Cursor::new(Vec::new()), Packing::FAST).unwrap().into_inner();
    fs::write(directory.join("stone.index"), bytes).unwrap();
}

pub(crate) fn direct(name: &str, uri: String, priority: u64) -> RepositoryConfig {
    let fields = RepositoryFields {
        description: Some("test".into()),
        uri: Some(uri),
        priority: Some(priority),
        ..RepositoryFields::default()
    };
    RepositoryConfig::from_fields(name, &fields).unwrap()
}

/// A root beside a repository; both go when this does.
pub(crate) struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    /// An empty root that knows a repository with these packages.
    pub(crate) fn with(packages: &[Package]) -> Self {
        let place = Self { folder: tempfile::tempdir().unwrap() };
        fs::create_dir(place.root()).unwrap();
        place.publish(packages);
        let uri = format!("file://{}/stone.index", place.repository().display());
        add_repository(&place.root(), &direct("main", uri, 0)).unwrap();
        place
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.folder.path().join("root")
    }

    pub(crate) fn repository(&self) -> PathBuf {
        self.folder.path().join("repository")
    }

    pub(crate) fn publish(&self, packages: &[Package]) -> Vec<PackageMeta> {
        publish(&self.repository(), packages)
    }

    pub(crate) fn system(&self) -> System<'static> {
        System::open(&self.root(), Access::Write, &Silent).unwrap()
    }

    pub(crate) fn change(&self, request: &Request) -> Result<(Change, Option<StateId>), ChangeError> {
        let system = self.system();
        let change = system.plan(request, Freshness::Required)?;
        let state = system.apply(&change, "test")?;
        Ok((change, state))
    }

    pub(crate) fn install(&self, names: &[&str]) -> Option<StateId> {
        self.change(&install(names)).unwrap().1
    }

    /// What `/usr` is made of, `.stateID` and what moss writes left out.
    pub(crate) fn files(&self) -> Vec<String> {
        let mut files = Vec::new();
        list(&self.root().join("usr"), "", &mut files);
        files.retain(|file| !matches!(file.as_str(), ".stateID" | "lib/os-release" | "lib/system-model.kdl"));
        files.sort();
        files
    }

    pub(crate) fn read(&self, path: &str) -> String {
        fs::read_to_string(self.root().join(path)).unwrap()
    }

    pub(crate) fn active(&self) -> Option<StateId> {
        self.system().installation().active_state().unwrap()
    }
}

pub(crate) fn install(names: &[&str]) -> Request {
    Request::Install(names.iter().map(|name| name.parse().unwrap()).collect())
}

fn list(directory: &Path, prefix: &str, files: &mut Vec<String>) {
    for entry in fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        let path = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.file_type().unwrap().is_dir() {
            list(&entry.path(), &format!("{path}/"), files);
        } else {
            files.push(path);
        }
    }
}
