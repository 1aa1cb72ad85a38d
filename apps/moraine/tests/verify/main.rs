//! A signed tree as Vessel publishes it, read by Moss and by `moraine verify`; and what both say when something in it is wrong.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod place;
mod refresh;

use std::path::{Path, PathBuf};

use fs_err as fs;
use serde_json::Value;
use wire::Identity;

use place::{Place, package};

const POINTER: &str = "main/stream/volatile.json";

/// The compact indexes of all histories.
fn indexes(place: &Place) -> Vec<PathBuf> {
    let found = place.files().into_iter().filter(|path| path.ends_with("/index.compact"));
    found.map(|path| place.public().join(path)).collect()
}

fn as_refs(arguments: &[String]) -> Vec<&str> {
    arguments.iter().map(String::as_str).collect()
}

#[test]
fn moss_installs_follows_and_searches_under_a_pinned_key() {
    let place = Place::new();
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
    let whole = indexes(&place);
    assert!(whole.len() >= 3, "{whole:?}");
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
    let memory = place.path("seen.json");
    let remembering = place.verify(&["--key", &key, "--remember", memory.to_str().unwrap()]);
    place.succeed(&as_refs(&remembering));
    place.sign_again(|pointer| pointer.version = 80);
    for told in [place.refused(&update), place.refused(&as_refs(&remembering))] {
        assert!(told.contains("it has version 80, and version 90 was seen before"), "{told}");
    }
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
    let stranger = place.root("stranger", &other);
    let told = place.refused(&["moss", "-D", &stranger, "repo", "update"]);
    assert!(told.contains("none of the pinned keys"), "{told}");

    // Two indexes in each other's places.
    let found = indexes(&place);
    let [one, two] = found.as_slice() else { panic!("{found:?}") };
    let (first, second) = (fs::read(one).unwrap(), fs::read(two).unwrap());
    fs::write(one, &second).unwrap();
    fs::write(two, &first).unwrap();
    let told = place.refused(&as_refs(&pinned));
    assert!(told.contains("index.compact") && told.contains("promises"), "{told}");
    let fresh = place.root("fresh", &key);
    let told = place.refused(&["moss", "-D", &fresh, "repo", "update"]);
    assert!(told.contains("index.compact") && told.contains("are promised"), "{told}");
    fs::write(one, &first).unwrap();
    fs::write(two, &second).unwrap();
    place.succeed(&as_refs(&pinned));

    // A changed byte of what is fetched, and of a package.
    let fetching = |name: &str, file: &Path| {
        let good = fs::read(file).unwrap();
        let mut bad = good.clone();
        bad[good.len() / 2] ^= 0x10;
        fs::write(file, &bad).unwrap();
        let own = place.root(name, &key);
        let told = place.refused(&["moss", "-D", &own, "install", "-y", "alpha"]);
        fs::write(file, &good).unwrap();
        told
    };
    let newest = &indexes(&place)[1];
    let told = fetching("changed-index", newest);
    assert!(told.contains("index.compact") && told.contains("are promised"), "{told}");
    let statement = newest.ancestors().nth(2).unwrap().join("statement.json");
    let told = fetching("changed-statement", &statement);
    assert!(told.contains("statement.json") && told.contains("are promised"), "{told}");
    let told = fetching("changed-pointer", &file);
    assert!(told.contains("pointer"), "{told}");
    let told =
        fetching("changed-package", &place.public().join("main/pool/v0/a/alpha/alpha-1.2-2-1-x86_64.stone"));
    assert!(told.contains("alpha-1.2-2-1-x86_64.stone"), "{told}");

    // No signatures at all.
    fs::remove_file(place.public().join("main/keys.json")).unwrap();
    let told = place.refused(&as_refs(&pinned));
    assert!(told.contains("the channel is not signed"), "{told}");
    // Who knows the keys already needs no list of them; who does not is told.
    place.succeed(&["moss", "-D", &fresh, "repo", "update"]);
    let new = place.root("new", &key);
    let told = place.refused(&["moss", "-D", &new, "repo", "update"]);
    assert!(told.contains("is not signed"), "{told}");
}

/// Everything that can be published: builds and a release as well, and a history that was given up and is not removed yet.
fn with_everything() -> Place {
    let place = Place::published();
    place.build(1, &package("gamma", 1));
    let image = place.path("image.iso");
    fs::write(&image, b"an image").unwrap();
    place.vessel(&["release", "add", "main", "2026.1", image.to_str().unwrap()]);
    let config = place.path("vessel.toml");
    fs::write(&config, "[retention]\nkeep_days = 0\nkeep_newest = 0\n").unwrap();
    place.vessel(&["channel", "prune", "main", "--config", config.to_str().unwrap()]);
    place
}

#[test]
fn a_changed_byte_anywhere_is_found_and_named() {
    let place = with_everything();
    let pinned = place.verify(&["--key", &place.key()]);
    let told = place.succeed(&as_refs(&pinned));
    assert!(told.contains("1 builds, 1 releases with 1 files"), "{told}");
    let published = place.files();
    for part in ["build/g/gamma/1.1-1-1-x86_64/", "release/2026.1/", "history/", "pool/", "keys/", "tag/"] {
        assert!(
            published.iter().any(|path| path.starts_with(&format!("main/{part}"))),
            "{part} {published:?}"
        );
    }
    let root_index = fs::read_to_string(place.public().join("main/moss-root-index.json")).unwrap();
    let is_given_up = |path: &&String| {
        let history = path.strip_prefix("main/history/").and_then(|rest| rest.split('/').next());
        history.is_some_and(|history| !root_index.contains(history))
    };
    assert!(published.iter().any(|path| is_given_up(&path)), "{published:?}\n{root_index}");
    let mut random = farm::sim::Random::of(1, "verify", "bytes");
    for name in &published {
        let path = place.public().join(name);
        let good = fs::read(&path).unwrap();
        let length = u64::try_from(good.len()).unwrap();
        let somewhere = |random: &mut farm::sim::Random| usize::try_from(random.below(length)).unwrap();
        let places = [0, good.len() - 1, somewhere(&mut random), somewhere(&mut random)];
        for at in places {
            let mut bad = good.clone();
            bad[at] ^= 1 << random.below(8);
            fs::write(&path, &bad).unwrap();
            let told = place.refused(&as_refs(&pinned));
            assert!(told.contains(name.as_str()), "byte {at} of {name}: {told}");
        }
        fs::write(&path, &good).unwrap();
    }
    place.succeed(&as_refs(&pinned));
}

#[test]
fn an_address_is_as_good_as_a_folder() {
    let place = with_everything();
    let (_vessel, addresses) = place.serve(&Identity::generate().unwrap());
    let url = format!("http://{}", addresses["http"].as_str().unwrap());
    let key = place.key();
    let by_address = ["verify", &url, "--key", &key, "--release", "2026.1"];
    let told = place.succeed(&by_address);
    assert!(told.contains("1 builds, 1 releases with 1 files"), "{told}");
    let told = place.refused(&[&by_address[..], &["--release", "2026.2"]].concat());
    assert!(told.contains("main/release/2026.2"), "{told}");
    for name in ["build/g/gamma/1.1-1-1-x86_64/build-record.json", "release/2026.1/image.iso"] {
        let path = place.public().join("main").join(name);
        let good = fs::read(&path).unwrap();
        let mut bad = good.clone();
        bad[2] ^= 4;
        fs::write(&path, &bad).unwrap();
        let told = place.refused(&by_address);
        assert!(told.contains(name) && told.contains("promises"), "{told}");
        fs::write(&path, &good).unwrap();
    }
}

#[test]
fn what_nobody_vouches_for_is_not_taken_for_published() {
    let place = with_everything();
    let pinned = place.verify(&["--key", &place.key()]);
    place.succeed(&as_refs(&pinned));
    let build = place.public().join("main/build/g/gamma/1.1-1-1-x86_64");
    let release = place.public().join("main/release/2026.1");
    for (folder, list) in [(&build, "provenance.intoto.json"), (&release, "release.signed.json")] {
        fs::write(folder.join("more.txt"), "more").unwrap();
        let told = place.refused(&as_refs(&pinned));
        assert!(told.contains("more.txt") && told.contains("does not name it"), "{told}");
        fs::remove_file(folder.join("more.txt")).unwrap();
        fs::rename(folder.join(list), place.path("away")).unwrap();
        let told = place.refused(&as_refs(&pinned));
        assert!(told.contains("nobody vouches for what is there"), "{told}");
        fs::rename(place.path("away"), folder.join(list)).unwrap();
    }
    // That of another build or release is signed as well.
    place.build(2, &package("delta", 1));
    let other = place.public().join("main/build/d/delta/1.1-1-1-x86_64");
    for name in ["provenance.json", "provenance.intoto.json"] {
        fs::copy(other.join(name), build.join(name)).unwrap();
    }
    let told = place.refused(&as_refs(&pinned));
    assert!(told.contains("it is about build/d/delta/1.1-1-1-x86_64"), "{told}");
}

#[test]
fn a_key_that_was_revoked_is_worth_nothing_and_its_repository_goes_on() {
    let place = with_everything();
    let first = place.key();
    let root = place.root("root", &first);
    place.succeed(&["moss", "-D", &root, "install", "-y", "alpha"]);
    place.vessel(&["key", "rotate"]);
    place.vessel(&["key", "revoke", &first]);
    // Whoever followed the rotation goes on; nothing new was published, so all that is there was signed with the old key.
    place.succeed(&["moss", "-D", &root, "sync", "-y", "-u"]);
    let shown: Value = serde_json::from_str(&place.vessel(&["key", "show", "--json"])).unwrap();
    let second = shown["at_hand"].as_array().unwrap().iter().map(|key| key.as_str().unwrap());
    let second = second.into_iter().find(|key| **key != first).unwrap().to_owned();
    let late = place.root("late", &second);
    place.succeed(&["moss", "-D", &late, "install", "-y", "alpha"]);
    let told = place.succeed(&as_refs(&place.verify(&["--key", &second])));
    assert!(told.contains("signed by a key that was revoked"), "{told}");
    let told = place.refused(&as_refs(&place.verify(&["--key", &first])));
    assert!(told.contains("its owner has revoked that key"), "{told}");
}
