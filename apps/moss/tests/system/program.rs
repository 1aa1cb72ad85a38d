//! The program itself: what it prints, asks, refuses, and with which status it ends.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use fs_err as fs;
use serde_json::{Value, json};

use crate::packages::{Package, Place, package};

fn moss(place: &Place, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_moss"))
        .arg("-D")
        .arg(place.root())
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

#[track_caller]
fn answer(place: &Place, arguments: &[&str]) -> Value {
    let output = moss(place, &[arguments, &["--json"]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn place() -> Place {
    Place::with(&[
        package("editor", 1).depends("text").provides("binary(editor)").file("bin/editor", "editor"),
        package("text", 1).file("lib/libtext.so.1", "text"),
    ])
}

#[test]
fn install_list_remove_and_back_in_json() {
    let place = place();
    let planned = answer(&place, &["install", "editor", "--dry-run"]);
    assert_eq!((&planned["state"], &planned["dry_run"]), (&Value::Null, &json!(true)));
    assert!(!place.root().join("usr").exists());
    let done = answer(&place, &["install", "editor", "-y"]);
    assert_eq!(done["state"], 1);
    assert_eq!(done["added"][0], json!({ "name": "editor", "version": "1.1", "release": 1 }));
    assert_eq!(done["download_bytes"], planned["download_bytes"]);
    assert_eq!(done["added"].as_array().unwrap().len(), 2);

    let installed = answer(&place, &["list", "installed"]);
    let explicit: Vec<&Value> =
        installed["packages"].as_array().unwrap().iter().map(|package| &package["explicit"]).collect();
    assert_eq!(explicit, [true, false]);
    assert_eq!(answer(&place, &["list", "installed", "-e"])["packages"].as_array().unwrap().len(), 1);
    assert_eq!(answer(&place, &["list", "available"])["packages"][1]["repository"], "main");
    assert_eq!(answer(&place, &["search", "binary(editor)"])["packages"][0]["name"], "editor");
    assert_eq!(answer(&place, &["search", "LIBTEXT"])["packages"], json!([]));
    let info = answer(&place, &["info", "editor"]);
    assert_eq!(
        (&info["packages"][0]["depends"], &info["packages"][0]["installed"]),
        (&json!(["name(text)"]), &json!(true))
    );

    let done = answer(&place, &["remove", "editor", "-y"]);
    assert_eq!((&done["state"], done["removed"].as_array().unwrap().len()), (&json!(2), 2));
    let states = answer(&place, &["state", "list"]);
    assert_eq!((&states["active"], states["states"].as_array().unwrap().len()), (&json!(2), 2));
    assert_eq!(states["states"][0]["description"], "moss install editor");
    assert_eq!(answer(&place, &["state", "activate", "1"]), json!({ "state": 1 }));
    assert_eq!(place.read("bin/editor"), "editor");
    assert_eq!(answer(&place, &["sync", "-y"])["state"], Value::Null);
}

#[test]
fn people_see_the_plan_and_are_asked() {
    let place = place();
    let output = moss(&place, &["install", "editor"]);
    assert_eq!(output.status.code(), Some(2));
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(stdout.contains("New (2):\n  editor 1.1-1") && stdout.contains("(for editor)"), "{stdout}");
    assert!(stdout.contains("Download: "), "{stdout}");
    assert!(stderr.contains("error: cannot ask whether to go on") && stderr.contains("hint: "), "{stderr}");
    assert!(!place.root().join("usr").exists());
    let output = moss(&place, &["install", "editor", "-y"]);
    assert!(String::from_utf8_lossy(&output.stdout).ends_with("State 1 is active.\n"));
}

#[test]
fn errors_are_named_and_end_with_the_status_of_their_kind() {
    let place = place();
    let table: [(&[&str], i32, &str); 6] = [
        (&["install", "nothing", "-y"], 3, "nobody provides nothing"),
        (&["install", "library(x)", "-y"], 2, "is not a kind"),
        (&["remove", "editor", "-y"], 3, "it is not installed"),
        (&["info", "nothing"], 3, "cannot find a package named nothing"),
        (&["state", "activate", "7"], 3, "cannot activate state 7: there is none"),
        (&["repo", "remove", "nothing"], 3, "cannot find a repository named nothing"),
    ];
    for (arguments, status, expect) in table {
        let output = moss(&place, arguments);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(stderr.contains(expect), "{arguments:?}: {stderr}");
        assert_eq!(output.status.code(), Some(status), "{arguments:?}: {stderr}");
    }
}

#[test]
fn repositories_come_and_go() {
    let place = place();
    let other = place.root().with_file_name("other");
    crate::packages::publish(&other, &[package("more", 1)]);
    let uri = format!("file://{}/stone.index", other.display());
    let added = answer(&place, &["repo", "add", "other", &uri, "-p", "5", "-c", "some more"]);
    assert_eq!((&added["packages"], &added["repository"]["priority"]), (&json!(1), &json!(5)));
    let listed = answer(&place, &["repo", "list"]);
    assert_eq!(
        (&listed["repositories"][0]["id"], &listed["repositories"][0]["uri"]),
        (&json!("other"), &json!(uri))
    );
    let updated = answer(&place, &["repo", "update"]);
    assert_eq!(updated["repositories"][0], json!({ "id": "other", "packages": 1, "changed": false }));
    assert_eq!(answer(&place, &["repo", "remove", "other"]), json!({ "removed": "other" }));
    let base = format!("file://{}", other.display());
    let added = answer(&place, &["repo", "add", "later", &base, "--root-index", "version=stream/volatile"]);
    assert_eq!(
        (&added["packages"], &added["repository"]["version"]),
        (&Value::Null, &json!("stream/volatile"))
    );
}

/// A package of a program of this machine with the libraries it is linked to, laid out for a merged `/usr`.
fn from_this_machine(program: &str) -> Option<Package> {
    let output = Command::new("ldd").arg(program).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let mut package = package("from-this-machine", 1);
    let libraries = text.split_whitespace().filter(|word| word.starts_with('/'));
    for path in libraries.chain([program]) {
        let below_usr = path.trim_start_matches("/usr").trim_start_matches('/');
        let target = below_usr
            .strip_prefix("lib64/")
            .map_or_else(|| below_usr.to_owned(), |name| format!("lib/{name}"));
        package = package.file_with_mode(&target, &fs::read(path).ok()?, 0o755);
    }
    Some(package)
}

#[test]
fn a_program_of_the_root_runs_with_nothing_of_the_host_showing() {
    let Some(package) = from_this_machine("/bin/ls") else {
        testkit::skip("ldd and /bin/ls");
        return;
    };
    let place = Place::with(&[package]);
    place.install(&["from-this-machine"]);
    let output = moss(&place, &["run", "--json", "--", "ls", "/", "/etc/moss/repo.d"]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    let checks = sandbox::probe_through(Path::new(env!("CARGO_BIN_EXE_moss")), &place.root());
    let isolation = ["user, pid and mount namespaces", "network namespaces", "proc", "devices"];
    if let Some(check) = checks
        .iter()
        .find(|check| check.state == sandbox::State::Missing && isolation.contains(&check.name.as_str()))
    {
        testkit::skip(&check.name);
        return;
    }
    assert!(output.status.success(), "{stderr}");
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&answer["exit"], &answer["stderr"]), (&json!(0), &json!("")));
    let shown: Vec<&str> = answer["stdout"].as_str().unwrap().lines().collect();
    let expect =
        ["/:", "bin", "dev", "etc", "lib", "lib32", "lib64", "proc", "run", "sbin", "tmp", "usr", ""];
    assert_eq!(shown, [&expect[..], &["/etc/moss/repo.d:", "main.kdl"]].concat());
    // The status is that of the program, and its output goes where ours does.
    let output = moss(&place, &["run", "--", "ls", "/nonexistent"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("nonexistent"));
    let output = moss(&place, &["run", "--", "no-such-program"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("no-such-program"));
    assert!(!output.status.success());
}
