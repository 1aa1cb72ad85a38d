//! The program: importing folders, being killed, saying what is wrong.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use repository::{Index, RootIndex};
use vessel::Sha256;

use crate::fixture::Running;
use testkit::packages::{meta, stone};

fn vessel(arguments: &[&str], data: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_vessel")).args(arguments).arg("--data").arg(data).output().unwrap()
}

fn json(output: &Output) -> serde_json::Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Names and releases in the newest history, every object read and compared; none before the first.
pub(crate) fn read_as_a_client(data: &Path) -> Option<Vec<String>> {
    let main = data.join("public/main");
    let root = RootIndex::from_json(&fs_err::read(main.join("moss-root-index.json")).ok()?).unwrap();
    let history = root.resolve(&"stream/volatile".parse().unwrap()).unwrap().history;
    let folder = main.join("history").join(history.as_str()).join("x86_64");
    let index =
        Index::read(fs_err::File::open(folder.join("stone.index")).unwrap(), &Index::limits()).unwrap();
    let names = index.packages().iter().map(|meta| {
        let bytes = fs_err::read(folder.join(meta.uri.as_ref().unwrap())).unwrap();
        assert_eq!(Sha256::of(&bytes).to_string(), *meta.hash.as_ref().unwrap());
        format!("{}@{}", meta.name, meta.release)
    });
    Some(names.collect())
}

#[test]
fn real_packages_are_imported_once() {
    let Some(stones) = testkit::data().map(|data| data.join("stones")) else { return };
    let data = tempfile::tempdir().unwrap();
    let stones = stones.to_str().unwrap();
    let first = json(&vessel(&["import", stones, "--json"], data.path()));
    assert_eq!((&first["changed"], &first["packages"]), (&true.into(), &4.into()), "{first}");
    assert_eq!(first["passed_over"], serde_json::json!(["nano-8.3-33-1-x86_64.stone"]));
    assert!(first["seconds"].is_number() && first["published"].as_str().unwrap().ends_with("/public"));
    let names = read_as_a_client(data.path()).unwrap();
    assert_eq!(names, ["italian-pizza@1", "nano@34", "nano-dbginfo@35", "pineapple@1"]);
    let second = json(&vessel(&["import", stones, "--json"], data.path()));
    assert_eq!((&second["changed"], &second["history"]), (&false.into(), &first["history"]), "{second}");
    let text = String::from_utf8(vessel(&["import", stones], data.path()).stdout).unwrap();
    assert!(text.contains("nothing changed"), "{text}");

    let shown = json(&vessel(&["channel", "show", "main", "--json"], data.path()));
    assert_eq!(shown["streams"]["volatile"], first["history"]);
    assert_eq!(shown["histories"].as_array().unwrap().len(), 1);
    let listed = json(&vessel(&["channel", "list", "--json"], data.path()));
    assert_eq!(listed["channels"][0]["packages"], 4);
}

#[test]
fn what_is_wrong_is_said_and_nothing_is_published() {
    let data = tempfile::tempdir().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let check = |arguments: &[&str], code: i32, words: &str| {
        let output = vessel(arguments, data.path());
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {text}");
        assert!(text.contains(words), "{arguments:?}: {text}");
        assert!(output.stdout.is_empty());
    };
    let path = folder.path().to_str().unwrap();
    check(&["channel", "list"], 3, "it has no vessel.db");
    check(&["import", path], 2, "there is no .stone file in it");
    check(&["import", "/nowhere"], 3, "/nowhere");
    check(&["import", path, "--channel", "../up"], 2, "../up");
    check(&["channel", "show", "none"], 3, "nothing has been published yet");
    fs_err::write(folder.path().join("a.stone"), stone(&meta("a", "a", 1), b"a")).unwrap();
    let mut damaged = stone(&meta("b", "b", 1), b"b");
    let middle = damaged.len() / 2;
    damaged[middle] ^= 0xff;
    fs_err::write(folder.path().join("b.stone"), damaged).unwrap();
    check(&["import", path], 7, "b.stone");
    assert_eq!(read_as_a_client(data.path()), None);
    fs_err::remove_file(folder.path().join("b.stone")).unwrap();
    assert!(vessel(&["import", path], data.path()).status.success());
    fs_err::write(folder.path().join("a.stone"), stone(&meta("a", "a", 0), b"a")).unwrap();
    check(&["import", path], 4, "release 1 build 1 is published");
    fs_err::write(folder.path().join("a.stone"), stone(&meta("a", "a", 1), b"other")).unwrap();
    check(&["import", path], 4, "with other bytes");
    assert_eq!(read_as_a_client(data.path()), Some(vec!["a@1".to_owned()]));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_waits_for_no_running_service() {
    let data = tempfile::tempdir().unwrap();
    let running = Running::start(data.path()).await;
    let output = vessel(&["import", "."], data.path());
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(4), "{text}");
    assert!(
        text.contains("another vessel is running") && text.contains("hint: stop the `vessel serve`"),
        "{text}"
    );
    // Looking is allowed, and the key is the one that is served with.
    assert!(vessel(&["channel", "list"], data.path()).status.success());
    assert_eq!(json(&vessel(&["key", "--json"], data.path()))["key"], running.addresses.key.to_string());
    running.stop().await;
}

#[test]
fn killed_at_any_moment_the_old_version_or_the_new_one_is_there() {
    let data = tempfile::tempdir().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let names = ["a", "b", "c", "d", "e", "f"];
    let write = |release: u64| {
        for name in names {
            let content = vec![u8::try_from(release).unwrap(); 200_000];
            let meta = meta(name, name, release);
            fs_err::write(folder.path().join(format!("{name}.stone")), stone(&meta, &content)).unwrap();
        }
    };
    let all = |release: u64| Some(names.map(|name| format!("{name}@{release}")).to_vec());
    let path = folder.path().to_str().unwrap().to_owned();
    write(1);
    let begin = Instant::now();
    assert!(vessel(&["import", &path], data.path()).status.success());
    let whole = begin.elapsed();
    // Killed after more and more of the time that a whole import takes, over and over.
    for (release, tenths) in (2..).zip(1..=12) {
        write(release);
        let mut child = Command::new(env!("CARGO_BIN_EXE_vessel"))
            .args(["import", &path, "--data"])
            .arg(data.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let until = Instant::now() + whole * tenths / 10;
        while Instant::now() < until && child.try_wait().unwrap().is_none() {
            std::thread::park_timeout(Duration::from_millis(1));
        }
        // SIGKILL; an error means that it has ended already.
        drop(child.kill());
        child.wait().unwrap();
        let found = read_as_a_client(data.path());
        assert!(found == all(release - 1) || found == all(release), "{found:?}");
        assert!(vessel(&["import", &path], data.path()).status.success());
        assert_eq!(read_as_a_client(data.path()), all(release));
    }
    let shown = json(&vessel(&["channel", "show", "--json"], data.path()));
    assert_eq!(shown["histories"].as_array().unwrap().len(), 13);
}
