//! A data folder of Vessel that was published into, and programs that read what it published.

use std::io::{BufRead, BufReader, Cursor};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use fs_err as fs;
use package::{ManifestFile, PackageMeta};
use repository::signed::{Envelope, Pointer, SignedKind};
use serde_json::{Value, json};
use vessel::Sha256;
use wire::vessel::vessel_client::VesselClient;
use wire::vessel::{Artefact, ArtefactKind, CommitRequest, ExpectRequest, PutChunk};
use wire::{Identity, connect};

use crate::POINTER;

pub(crate) struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    /// A channel with two histories and a tag at the first of them.
    pub(crate) fn published() -> Self {
        let place = Self::new();
        place.import(&[package("alpha", 1), package("beta", 1)]);
        place.vessel(&["channel", "tag", "main", "first"]);
        place.import(&[package("alpha", 2)]);
        place
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.path("data")
    }

    pub(crate) fn public(&self) -> PathBuf {
        self.path("data/public")
    }

    pub(crate) fn base_uri(&self) -> String {
        format!("file://{}", self.public().display())
    }

    pub(crate) fn moraine(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_moraine")).args(arguments).output().unwrap()
    }

    #[track_caller]
    pub(crate) fn succeed(&self, arguments: &[&str]) -> String {
        let output = self.moraine(arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}\n{said}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// What is said to standard error by something that must fail.
    #[track_caller]
    pub(crate) fn refused(&self, arguments: &[&str]) -> String {
        let output = self.moraine(arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{arguments:?}\n{}", String::from_utf8_lossy(&output.stdout));
        assert!(!said.contains("panicked"), "{said}");
        said
    }

    pub(crate) fn vessel(&self, arguments: &[&str]) -> String {
        let data = self.data();
        self.succeed(&[&["vessel"], arguments, &["--data", data.to_str().unwrap()]].concat())
    }

    pub(crate) fn import(&self, packages: &[PackageMeta]) {
        let stones = self.path("stones");
        fs::create_dir_all(&stones).unwrap();
        for meta in packages {
            fs::write(stones.join(meta.file_name()), stone(meta)).unwrap();
        }
        self.vessel(&["import", stones.to_str().unwrap()]);
        fs::remove_dir_all(&stones).unwrap();
    }

    /// Lets a builder deliver a package with its manifests and its record, as one build.
    pub(crate) fn build(&self, attempt_id: u64, meta: &PackageMeta) {
        let (hub, builder) = (Identity::generate().unwrap(), Identity::generate().unwrap());
        let (vessel, addresses) = self.serve(&hub);
        let delivery = deliver(&addresses, &hub, &builder, attempt_id, meta);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(delivery);
        drop(vessel);
    }

    /// A Vessel that runs, and where it listens.
    pub(crate) fn serve(&self, hub: &Identity) -> (Server, Value) {
        let mut child = Command::new(env!("CARGO_BIN_EXE_moraine"))
            .args(["vessel", "serve", "--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0", "--json"])
            .args(["--hub-key", &hub.public_key().to_string(), "--data"])
            .arg(self.data())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        (Server(child), serde_json::from_str(&line).unwrap())
    }

    /// The arguments with which the tree is verified.
    pub(crate) fn verify(&self, more: &[&str]) -> Vec<String> {
        let place = self.public();
        let all = [&["verify", place.to_str().unwrap()], more].concat();
        all.into_iter().map(str::to_owned).collect()
    }

    /// The root key of the first list, which clients pin.
    pub(crate) fn key(&self) -> String {
        let text = fs::read(self.public().join("main/keys/1.json")).unwrap();
        let envelope: Value = serde_json::from_slice(&text).unwrap();
        let payload = STANDARD.decode(envelope["payload"].as_str().unwrap()).unwrap();
        let list: Value = serde_json::from_slice(&payload).unwrap();
        list["keys"][0]["key"].as_str().unwrap().to_owned()
    }

    /// A root that has pinned a key.
    pub(crate) fn root(&self, name: &str, key: &str) -> String {
        let root = self.path(name);
        fs::create_dir(&root).unwrap();
        let root = root.to_str().unwrap().to_owned();
        let add = ["moss", "-D", &root, "repo", "add", "main", &self.base_uri()];
        self.succeed(&[&add[..], &["--root-index", "version=stream/volatile", "--key", key]].concat());
        root
    }

    /// The pointer, changed and signed again with the key of the Vessel.
    pub(crate) fn sign_again(&self, change: impl FnOnce(&mut Pointer)) {
        let file = self.public().join(POINTER);
        let envelope = Envelope::read(&fs::read(&file).unwrap(), SignedKind::Pointer).unwrap();
        let mut pointer: Pointer = serde_json::from_slice(envelope.unchecked_payload()).unwrap();
        change(&mut pointer);
        let mut envelope = Envelope::new(SignedKind::Pointer, pointer.to_payload());
        let identity = Identity::load(&self.path("data/signing/publish.key")).unwrap();
        let key = self.key().parse().unwrap();
        envelope.add_signature(&key, identity.sign(&envelope.message()));
        fs::write(&file, envelope.to_json()).unwrap();
    }

    /// Every published file, by its path below the tree.
    pub(crate) fn files(&self) -> Vec<String> {
        let mut found = Vec::new();
        files(&self.public(), &mut found);
        let below = |path: &PathBuf| path.strip_prefix(self.public()).unwrap().to_str().unwrap().to_owned();
        found.iter().map(below).collect()
    }
}

/// A server that ends with its test.
pub(crate) struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

pub(crate) fn package(name: &str, release: u64) -> PackageMeta {
    PackageMeta {
        version: format!("1.{release}"),
        summary: format!("The package {name}"),
        ..testkit::packages::meta(name, name, release)
    }
}

fn stone(meta: &PackageMeta) -> Vec<u8> {
    let content = format!("{} {}", meta.name, meta.release).into_bytes();
    testkit::packages::stone_with(meta, &[(&format!("bin/{}", meta.name), 0o100_755, &content)])
}

async fn deliver(addresses: &Value, hub: &Identity, builder: &Identity, attempt_id: u64, meta: &PackageMeta) {
    let package = stone(meta);
    let manifest = ManifestFile::of_build([meta.clone()]).unwrap();
    let manifest = manifest.write(Cursor::new(Vec::new())).unwrap().into_inner();
    let record = json!({
        "name": meta.source_id, "version": meta.version, "release": meta.release,
        "build_release": meta.build_release, "architecture": meta.architecture,
        "artefacts": [{ "name": meta.file_name(), "sha256": Sha256::of(&package).to_string() }],
    });
    let files = [
        (ArtefactKind::Package, meta.file_name(), package),
        (ArtefactKind::ManifestBinary, ManifestFile::bin_name("x86_64"), manifest),
        (ArtefactKind::ManifestJson, ManifestFile::jsonc_name("x86_64"), b"{}\n".to_vec()),
        (ArtefactKind::Record, "build-record.json".to_owned(), record.to_string().into_bytes()),
    ];
    let artefact = |(kind, name, bytes): &(ArtefactKind, String, Vec<u8>)| Artefact {
        kind: (*kind).into(),
        name: name.clone(),
        size_bytes: u64::try_from(bytes.len()).unwrap(),
        sha256: Sha256::of(bytes).to_string(),
    };
    let order = ExpectRequest {
        task_id: attempt_id,
        attempt_id,
        channel: "main".into(),
        source: meta.source_id.clone(),
        version: meta.version.clone(),
        release: meta.release,
        build_release: meta.build_release,
        architecture: meta.architecture.clone(),
        builder_key: builder.public_key().to_string(),
        artefacts: files.iter().map(artefact).collect(),
        ..ExpectRequest::default()
    };
    let (address, key) =
        (addresses["grpc"].as_str().unwrap(), addresses["key"].as_str().unwrap().parse().unwrap());
    let client = async |own| VesselClient::new(connect(address, key, own).await.unwrap());
    client(hub).await.expect(order).await.unwrap();
    let mut builder = client(builder).await;
    for (_, _, bytes) in files {
        let sha256 = Sha256::of(&bytes).to_string();
        let chunk = PutChunk { attempt_id, sha256, offset: 0, bytes };
        builder.put(tokio_stream::iter([chunk])).await.unwrap();
    }
    builder.commit(CommitRequest { attempt_id }).await.unwrap();
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else {
            found.push(path);
        }
    }
    found.sort();
}
