//! A signed tree as Vessel publishes it, read by Moss and by `moraine verify`; and what both say when something in it is wrong.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use fs_err as fs;
use package::PackageMeta;
use repository::signed::{Envelope, Pointer, SignedKind};
use serde_json::Value;
use stone::{Digest, Entry, EntryFile, FileType, Packing, Slice, Writer};
use wire::Identity;

const POINTER: &str = "main/stream/volatile.json";

struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    /// A channel with two histories and a tag at the first of them.
    fn published() -> Self {
        let place = Self { folder: tempfile::tempdir().unwrap() };
        place.import(&[package("alpha", 1), package("beta", 1)]);
        place.vessel(&["channel", "tag", "main", "first"]);
        place.import(&[package("alpha", 2)]);
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn public(&self) -> PathBuf {
        self.path("data/public")
    }

    fn moraine(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_moraine")).args(arguments).output().unwrap()
    }

    #[track_caller]
    fn succeed(&self, arguments: &[&str]) -> String {
        let output = self.moraine(arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}\n{said}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// What is said to standard error by something that must fail.
    #[track_caller]
    fn refused(&self, arguments: &[&str]) -> String {
        let output = self.moraine(arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{arguments:?}\n{}", String::from_utf8_lossy(&output.stdout));
        assert!(!said.contains("panicked"), "{said}");
        said
    }

    fn vessel(&self, arguments: &[&str]) -> String {
        let data = self.path("data");
        self.succeed(&[&["vessel"], arguments, &["--data", data.to_str().unwrap()]].concat())
    }

    fn import(&self, packages: &[PackageMeta]) {
        let stones = self.path("stones");
        fs::create_dir_all(&stones).unwrap();
        for meta in packages {
            fs::write(stones.join(meta.file_name()), stone(meta)).unwrap();
        }
        self.vessel(&["import", stones.to_str().unwrap()]);
        fs::remove_dir_all(&stones).unwrap();
    }

    fn verify(&self, more: &[&str]) -> Vec<String> {
        let place = self.public();
        let all = [&["verify", place.to_str().unwrap()], more].concat();
        all.into_iter().map(str::to_owned).collect()
    }

    /// The root key of the first list, which clients pin.
    fn key(&self) -> String {
        let text = fs::read(self.public().join("main/keys/1.json")).unwrap();
        let envelope: Value = serde_json::from_slice(&text).unwrap();
        let payload = STANDARD.decode(envelope["payload"].as_str().unwrap()).unwrap();
        let list: Value = serde_json::from_slice(&payload).unwrap();
        list["keys"][0]["key"].as_str().unwrap().to_owned()
    }

    /// A root that has pinned a key.
    fn root(&self, name: &str, key: &str) -> String {
        let root = self.path(name);
        fs::create_dir(&root).unwrap();
        let root = root.to_str().unwrap().to_owned();
        let base = format!("file://{}", self.public().display());
        let version = "version=stream/volatile";
        self.succeed(&[
            "moss",
            "-D",
            &root,
            "repo",
            "add",
            "main",
            &base,
            "--root-index",
            version,
            "--key",
            key,
        ]);
        root
    }

    /// The pointer, changed and signed again with the key of the Vessel.
    fn sign_again(&self, change: impl FnOnce(&mut Pointer)) {
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
}

fn package(name: &str, release: u64) -> PackageMeta {
    PackageMeta {
        name: name.into(),
        version: format!("1.{release}"),
        release,
        build_release: 1,
        architecture: "x86_64".into(),
        summary: format!("The package {name}"),
        description: "For tests".into(),
        source_id: name.into(),
        homepage: "https://example.org".into(),
        licenses: vec!["MPL-2.0".into()],
        depends: [].into(),
        provides: [].into(),
        conflicts: [].into(),
        build_depends: [].into(),
        uri: None,
        hash: None,
        download_size_bytes: None,
    }
}

fn stone(meta: &PackageMeta) -> Vec<u8> {
    let content = format!("{} {}", meta.name, meta.release).into_bytes();
    let digest = Digest::of(&content);
    let size_bytes = u64::try_from(content.len()).unwrap();
    let mut writer = Writer::with_packing(Cursor::new(Vec::new()), FileType::Binary, Packing::FAST).unwrap();
    writer.meta(&meta.to_records()).unwrap();
    let target = format!("bin/{}", meta.name);
    let file = EntryFile::Regular(digest);
    writer.layout(&[Entry { uid: 0, gid: 0, mode: 0o100_755, target, file }]).unwrap();
    writer.index(&[Slice { start: 0, end: size_bytes, digest }]).unwrap();
    writer.content(size_bytes, content.as_slice()).unwrap();
    writer.finish().unwrap().into_inner()
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

fn as_refs(arguments: &[String]) -> Vec<&str> {
    arguments.iter().map(String::as_str).collect()
}

#[test]
fn moss_installs_follows_and_searches_under_a_pinned_key() {
    let place = Place { folder: tempfile::tempdir().unwrap() };
    // So many that a delta is shorter than the whole.
    let others = (0..80).map(|number| package(&format!("other-{number}"), 1));
    place.import(&[package("alpha", 1), package("beta", 1)].into_iter().chain(others).collect::<Vec<_>>());
    let root = place.root("root", &place.key());
    place.succeed(&["moss", "-D", &root, "install", "-y", "alpha"]);
    let info: Value =
        serde_json::from_str(&place.succeed(&["moss", "-D", &root, "info", "alpha", "--json"])).unwrap();
    assert_eq!(info["packages"][0]["summary"], "The package alpha", "the package says it, not the index");
    // Texts and lists of files come when somebody asks.
    let found = place.succeed(&["moss", "-D", &root, "search", "package beta"]);
    assert!(found.contains("beta") && found.contains("The package beta"), "{found}");
    let found = place.succeed(&["moss", "-D", &root, "search", "--files", "/usr/bin/bet"]);
    assert!(found.contains("/usr/bin/beta"), "{found}");

    // From the index at hand a delta leads to the new one: the whole one is not even there.
    place.import(&[package("alpha", 2)]);
    place.vessel(&["key", "rotate"]);
    place.import(&[package("beta", 2)]);
    let mut published = Vec::new();
    files(&place.public(), &mut published);
    let whole: Vec<&PathBuf> = published.iter().filter(|path| path.ends_with("index.compact")).collect();
    assert!(whole.len() >= 3, "{published:?}");
    whole.iter().for_each(|path| fs::rename(path, path.with_extension("away")).unwrap());
    place.succeed(&["moss", "-D", &root, "sync", "-y", "-u"]);
    assert_eq!(fs::read_to_string(Path::new(&root).join("usr/bin/alpha")).unwrap(), "alpha 2");
    whole.iter().for_each(|path| fs::rename(path.with_extension("away"), path).unwrap());
    // Whoever pins the first key after the rotation is led along the lists of keys.
    let late = place.root("late", &place.key());
    place.succeed(&["moss", "-D", &late, "install", "-y", "beta"]);
    let told: Value =
        serde_json::from_str(&place.succeed(&as_refs(&place.verify(&["--json", "--key", &place.key()]))))
            .unwrap();
    assert_eq!((&told["channels"][0]["signed"], told["keys_given"].as_u64()), (&Value::Bool(true), Some(1)));
    assert!(told["channels"][0]["deltas"].as_u64() >= Some(2), "{told}");
}

#[test]
fn every_refusal_has_its_own_words() {
    let place = Place::published();
    let key = place.key();
    let pinned = place.verify(&["--key", &key]);
    place.succeed(&as_refs(&pinned));
    let root = place.root("root", &key);
    place.succeed(&["moss", "-D", &root, "install", "-y", "alpha"]);
    let update = ["moss", "-D", &root, "repo", "update"];
    let both = |words: &str| {
        for (who, told) in [("verify", place.refused(&as_refs(&pinned))), ("moss", place.refused(&update))] {
            assert!(told.contains(words), "{who}: {told}");
        }
    };
    let file = place.public().join(POINTER);
    let good = fs::read(&file).unwrap();

    place.sign_again(|pointer| (pointer.version, pointer.expires) = (100, pointer.issued - 3 * 86_400));
    both("it expired 3 days ago");
    // An older pointer is followed by nobody who has seen a newer one; who has not cannot know.
    place.sign_again(|pointer| (pointer.version, pointer.expires) = (90, pointer.expires + 30 * 86_400));
    place.succeed(&update);
    place.sign_again(|pointer| pointer.version = 80);
    let told = place.refused(&update);
    assert!(told.contains("it has version 80, and version 90 was seen before"), "{told}");
    // A sync goes on with what it has, which is newer, and says so.
    let output = place.moraine(&["moss", "-D", &root, "sync", "-y"]);
    assert!(output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("version 80"), "{output:?}");

    // The pointer of a tag in the place of that of the stream.
    fs::copy(place.public().join("main/tag/first.json"), &file).unwrap();
    both("it is that of tag/first");
    fs::write(&file, &good).unwrap();

    // Somebody else's key.
    let other = Identity::generate().unwrap().public_key().to_string();
    let told = place.refused(&as_refs(&place.verify(&["--key", &other])));
    assert!(told.contains("none of the pinned keys"), "{told}");
    let stranger = place.path("stranger");
    fs::create_dir(&stranger).unwrap();
    let base = format!("file://{}", place.public().display());
    let stranger = stranger.to_str().unwrap();
    place.succeed(&[
        "moss",
        "-D",
        stranger,
        "repo",
        "add",
        "main",
        &base,
        "--root-index",
        "version=stream/volatile",
        "--key",
        &other,
    ]);
    let told = place.refused(&["moss", "-D", stranger, "repo", "update"]);
    assert!(told.contains("none of the pinned keys"), "{told}");

    // Two indexes in each other's places.
    let mut published = Vec::new();
    files(&place.public(), &mut published);
    let indexes: Vec<&PathBuf> = published.iter().filter(|path| path.ends_with("index.compact")).collect();
    let [one, two] = indexes.as_slice() else { panic!("{indexes:?}") };
    let (first, second) = (fs::read(one).unwrap(), fs::read(two).unwrap());
    fs::write(one, &second).unwrap();
    fs::write(two, &first).unwrap();
    let told = place.refused(&as_refs(&pinned));
    assert!(told.contains("index.compact") && told.contains("promises"), "{told}");
    let fresh = place.path("fresh");
    fs::create_dir(&fresh).unwrap();
    let fresh = fresh.to_str().unwrap();
    place.succeed(&[
        "moss",
        "-D",
        fresh,
        "repo",
        "add",
        "main",
        &base,
        "--root-index",
        "version=stream/volatile",
        "--key",
        &key,
    ]);
    let told = place.refused(&["moss", "-D", fresh, "repo", "update"]);
    assert!(told.contains("index.compact") && told.contains("are promised"), "{told}");
    fs::write(one, &first).unwrap();
    fs::write(two, &second).unwrap();
    place.succeed(&as_refs(&pinned));

    // No signatures at all.
    fs::remove_file(place.public().join("main/keys.json")).unwrap();
    let told = place.refused(&as_refs(&pinned));
    assert!(told.contains("the channel is not signed"), "{told}");
    // Who knows the keys already needs no list of them; who does not is told.
    place.succeed(&["moss", "-D", fresh, "repo", "update"]);
    let new = place.root("new", &key);
    let told = place.refused(&["moss", "-D", &new, "repo", "update"]);
    assert!(told.contains("is not signed"), "{told}");
}

#[test]
fn a_changed_byte_anywhere_is_found() {
    let place = Place::published();
    let pinned = place.verify(&["--key", &place.key()]);
    place.succeed(&as_refs(&pinned));
    let mut published = Vec::new();
    files(&place.public(), &mut published);
    assert!(published.len() >= 20, "{published:?}");
    for path in &published {
        let good = fs::read(path).unwrap();
        let places = [0, good.len() / 3, good.len() / 2, good.len() - 1];
        for at in places {
            let mut bad = good.clone();
            bad[at] ^= 0x01;
            fs::write(path, &bad).unwrap();
            let output = place.moraine(&as_refs(&pinned));
            let told = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(!output.status.success(), "byte {at} of {} was not found", path.display());
            assert!(told.contains("main/") && !told.contains("panicked"), "{told}");
        }
        fs::write(path, &good).unwrap();
    }
    place.succeed(&as_refs(&pinned));
}
