//! Repositories that went to another address, and machines that are led there, or not.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use fs_err as fs;
use serde_json::{Value, json};

use crate::packages::{package, publish};
use crate::server::Server;

/// An old tree, a new tree, and a root.
struct Move {
    folder: tempfile::TempDir,
}

impl Move {
    fn new() -> Self {
        let it = Self { folder: tempfile::tempdir().unwrap() };
        fs::create_dir(it.root()).unwrap();
        it.publish("old", 1, &json!({}));
        it.publish("new", 2, &json!({}));
        it
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("root")
    }

    fn tree(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A tree whose newest history has this release of the tool.
    fn publish(&self, name: &str, release: u64, more: &Value) {
        let tree = self.tree(name);
        let history = tree.join(format!("main/history/{release}/x86_64"));
        publish(&history, &[package("tool", release).file("bin/tool", &format!("tool {release}"))]);
        let id = release.to_string();
        let mut index = json!({
            "formats": { "v0": {} },
            "streams": { "volatile": { "format": "v0", "history": id } },
            "tags": {},
            "history": { id: { "format": "v0" } },
        });
        for (key, value) in more.as_object().unwrap() {
            index[key] = value.clone();
        }
        fs::write(tree.join("main/moss-root-index.json"), index.to_string()).unwrap();
    }

    fn file_url(&self, name: &str) -> String {
        format!("file://{}", self.tree(name).display())
    }

    fn moss(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_moss"));
        command.arg("-D").arg(self.root()).args(arguments).stdin(Stdio::null()).output().unwrap()
    }

    #[track_caller]
    fn succeed(&self, arguments: &[&str]) -> (String, String) {
        let output = self.moss(arguments);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "{arguments:?}\n{stdout}\n{stderr}");
        (stdout, stderr)
    }

    fn installed(&self) -> String {
        fs::read_to_string(self.root().join("usr/bin/tool")).unwrap()
    }

    fn configuration(&self, path: &str) -> String {
        fs::read_to_string(self.root().join(path)).unwrap()
    }

    fn configure(&self, path: &str, text: &str) {
        let path = self.root().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
}

fn listed(root: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(root).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

const OLD_FILE: &str = "etc/moss/repo.d/main.kdl";

#[test]
fn a_sync_follows_a_repository_and_says_so() {
    let it = Move::new();
    let text = format!(
        "// Written by hand.\nmain {{\n    description \"ours\"\n    base-uri \"{}\" // as always\n    \
         version \"stream/volatile\"\n    priority 7\n}}\n",
        it.file_url("old")
    );
    it.configure(OLD_FILE, &text);
    it.succeed(&["install", "-y", "tool"]);
    it.publish("old", 1, &json!({ "moved": { "base_uri": it.file_url("new"), "channel": "main" } }));

    // Who is not asked is not led, and goes on as before; a plan changes nothing at all.
    let (_, told) = it.succeed(&["sync"]);
    assert!(told.contains("repository main says that it is at"), "{told}");
    assert!(told.contains("to follow it: moss repo migrate main"), "{told}");
    it.succeed(&["sync", "--dry-run"]);
    let (planned, _) = it.succeed(&["repo", "migrate", "--dry-run"]);
    assert!(planned.contains("would be moved"), "{planned}");
    assert_eq!((it.configuration(OLD_FILE), it.installed()), (text.clone(), "tool 1".into()));

    let (shown, told) = it.succeed(&["sync", "-y"]);
    assert!(told.contains("says that it is at"), "{told}");
    let line = format!("-     base-uri \"{}\" // as always\n", it.file_url("old"));
    assert!(shown.contains(&line), "{shown}");
    assert_eq!(it.installed(), "tool 2");
    let after = it.configuration(OLD_FILE);
    let kept: Vec<&str> =
        after.lines().filter(|line| !line.contains("channel") && !line.contains("arch")).collect();
    let moved = text.replace(&it.file_url("old"), &it.file_url("new"));
    assert_eq!(kept, moved.lines().collect::<Vec<_>>(), "nothing but the address is another");
    assert!(after.starts_with("// Written by hand.\n"), "{after}");
    assert_eq!(it.configuration("etc/moss/repo.d/main.kdl.old"), text);
    // Nothing is left to do.
    let (shown, told) = it.succeed(&["sync", "-y"]);
    assert_eq!((shown.contains("is moved"), told.contains("says that")), (false, false), "{shown}{told}");
    let answer: Value = serde_json::from_str(&it.succeed(&["repo", "migrate", "--json"]).0).unwrap();
    assert_eq!(answer, json!({ "migrated": [], "dry_run": false }));
}

#[test]
fn a_place_where_only_a_notice_is_left_leads_on() {
    let it = Move::new();
    it.succeed(&["repo", "add", "main", &it.file_url("old"), "--root-index", "version=stream/volatile"]);
    it.succeed(&["install", "-y", "tool"]);
    fs::remove_dir_all(it.tree("old")).unwrap();
    assert!(!it.moss(&["sync", "-y", "-u"]).status.success());
    fs::create_dir_all(it.tree("old/main")).unwrap();
    let moved = json!({ "base_uri": it.file_url("new"), "channel": "main" });
    fs::write(it.tree("old/main/moved.json"), moved.to_string()).unwrap();
    it.succeed(&["sync", "-y", "-u"]);
    assert_eq!(it.installed(), "tool 2");
}

#[test]
fn nobody_is_led_to_a_place_that_is_not_there_or_deserves_less_trust() {
    let it = Move::new();
    it.succeed(&["repo", "add", "main", &it.file_url("old"), "--root-index", "version=stream/volatile"]);
    it.succeed(&["install", "-y", "tool"]);
    let before = it.configuration(OLD_FILE);
    let stays = |base_uri: &str, why: &str| {
        it.publish("old", 1, &json!({ "moved": { "base_uri": base_uri, "channel": "main" } }));
        let (_, told) = it.succeed(&["sync", "-y"]);
        assert!(told.contains(why), "{base_uri}: {told}");
        assert_eq!(it.configuration(OLD_FILE), before, "{base_uri}");
    };
    stays(&it.file_url("nowhere"), "it stays as it is");
    stays("http://127.0.0.1:9/new", "nobody can tamper with on the way");
    assert_eq!(listed(&it.root().join("etc/moss/repo.d")), ["main.kdl"]);

    // What comes over plain http could come from anybody: only a person's word counts.
    let old = Server::serve(it.tree("old"), None);
    it.publish("old", 1, &json!({ "moved": { "base_uri": it.file_url("new"), "channel": "main" } }));
    it.succeed(&["repo", "remove", "main"]);
    it.succeed(&["repo", "add", "main", &old.address, "--root-index", "version=stream/volatile"]);
    let (_, told) = it.succeed(&["sync", "-y"]);
    assert!(told.contains("over plain http"), "{told}");
    assert_eq!(it.installed(), "tool 1");
    let (_, told) = it.succeed(&["repo", "migrate", "main", "-y"]);
    assert!(told.contains("over plain http"), "{told}");
    it.succeed(&["sync", "-y"]);
    assert_eq!(it.installed(), "tool 2");
}

#[test]
fn a_plain_index_becomes_a_versioned_repository_by_a_rule() {
    let it = Move::new();
    let host = Server::serve(it.folder.path().to_path_buf(), None);
    let name = host.address.trim_start_matches("http://").to_owned();
    publish(&it.tree("volatile/x86_64"), &[package("tool", 1).file("bin/tool", "tool 1")]);
    let uri = format!("{}/volatile/x86_64/stone.index", host.address);
    let text = format!("main:\n    description: old   # ours\n    uri: {uri}\n    priority: 3\n");
    it.configure("etc/moss/repo.yaml", &text);
    it.succeed(&["install", "-y", "tool"]);
    // Without a rule it stays.
    it.succeed(&["sync", "-y"]);
    assert_eq!(it.configuration("etc/moss/repo.yaml"), text);
    it.configure("usr/share/moss/moved.d/example.kdl.off", "this is not read");
    let rule = format!("\"{name}\" {{\n    base-uri \"{}/new\"\n    channel \"main\"\n}}\n", host.address);
    it.configure("etc/moss/moved.d/example.kdl", &rule);
    let (shown, _) = it.succeed(&["sync", "-y"]);
    assert!(
        shown.contains(&format!("-     uri: {uri}\n+     base-uri: \"{}/new\"\n", host.address)),
        "{shown}"
    );
    assert_eq!(it.installed(), "tool 2");
    let after = it.configuration("etc/moss/repo.yaml");
    assert!(after.starts_with("main:\n    description: old   # ours\n    base-uri: "), "{after}");
    assert!(after.ends_with("    priority: 3\n"), "{after}");
    assert_eq!(it.configuration("etc/moss/repo.yaml.old"), text);
}

#[test]
fn an_address_that_is_named_is_taken_and_checked() {
    let it = Move::new();
    let uri = format!("{}/volatile/x86_64/stone.index", it.file_url("plain"));
    publish(&it.tree("plain/volatile/x86_64"), &[package("tool", 1).file("bin/tool", "tool 1")]);
    it.configure(
        "etc/moss/system-model.kdl",
        &format!(
            "repositories {{\n    main {{\n        description \"m\"\n        uri \"{uri}\"\n    }}\n}}\npackages {{\n    tool // wanted\n}}\n"
        ),
    );
    it.succeed(&["install", "-y", "tool"]);
    let output = it.moss(&["repo", "migrate", "main", "-y", "--to", &it.file_url("new")]);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains("does not say which version it follows"), "{told}");
    let output = it.moss(&[
        "repo",
        "migrate",
        "main",
        "-y",
        "--to",
        &it.file_url("nowhere"),
        "--to-version",
        "stream/volatile",
    ]);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains("it cannot be used there"), "{told}");
    let answer = it.succeed(&[
        "repo",
        "migrate",
        "main",
        "-y",
        "--json",
        "--to",
        &it.file_url("new"),
        "--to-version",
        "stream/volatile",
    ]);
    let answer: Value = serde_json::from_str(&answer.0).unwrap();
    assert_eq!(answer["migrated"][0]["id"], "main");
    assert!(it.configuration("etc/moss/system-model.kdl").contains("    tool // wanted\n"));
    it.succeed(&["sync", "-y"]);
    assert_eq!(it.installed(), "tool 2");
}
