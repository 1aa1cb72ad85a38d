//! `moraine plan` and `moraine why` as people run them, against a Summit that runs: the real program on both sides.
//!
//! Nobody builds here. What is published is written by the test, as a repository would have it.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

#[path = "farm/http.rs"]
mod http;

use std::io::{BufRead, BufReader, Cursor};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use package::PackageMeta;
use repository::{Index, RootIndex};
use serde_json::{Value, json};
use testkit::wait_until;

/// Longest wait for something that happens by itself.
const PATIENCE: Duration = Duration::from_secs(60);

struct Farm {
    folder: tempfile::TempDir,
    summit: Child,
    address: String,
}

impl Drop for Farm {
    fn drop(&mut self) {
        self.summit.kill().ok();
        self.summit.wait().ok();
    }
}

impl Farm {
    /// A Summit with the projects `main`, for two architectures, and `next`, and nobody who builds. None where there is
    /// no git.
    fn start() -> Option<Self> {
        if !testkit::has_programs(&["git"]) {
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let recipes = folder.path().join("recipes");
        for (name, needs) in
            [("a", ""), ("b", "builddeps: [ a-devel ]\n"), ("c", ""), ("d", "builddeps: [ c ]\n")]
        {
            fs_err::create_dir_all(recipes.join(name)).unwrap();
            let head = format!(
                "name: {name}\nversion: \"1.0\"\nrelease: 1\nhomepage: https://example.org\nlicense: MIT\n"
            );
            let text = format!("{head}summary: s\ndescription: d\n{needs}");
            fs_err::write(recipes.join(name).join("stone.yaml"), text).unwrap();
        }
        git(&recipes, &["init", "--quiet", "--initial-branch=main", "."]);
        git(&recipes, &["add", "--all"]);
        git(&recipes, &["commit", "--quiet", "--message", "recipes"]);
        publish(&folder.path().join("public/main"), &["a", "b"]);

        let key = wire::Identity::generate().unwrap().public_key();
        let config = format!(
            "http_address = '127.0.0.1:0'\ngrpc_address = '127.0.0.1:0'\naccess.loopback_is_operator = true\n\
             [[project]]\nname = 'main'\nrecipes = '{recipes}'\narchitectures = ['x86_64', 'aarch64']\n\
             [[project]]\nname = 'next'\nrecipes = '{recipes}'\nchannel = 'next'\n\
             [vessel]\naddress = '127.0.0.1:1'\npublic_key = '{key}'\npublic_url = 'file://{public}'\n",
            recipes = recipes.display(),
            public = folder.path().join("public").display(),
        );
        fs_err::write(folder.path().join("summit.toml"), config).unwrap();
        let mut summit = moraine()
            .args(["summit", "serve", "--data"])
            .arg(folder.path().join("data"))
            .arg("--config")
            .arg(folder.path().join("summit.toml"))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // Both lines that it says, or it would find nobody listening.
        let said = BufReader::new(summit.stdout.take().unwrap()).lines().take(2);
        let said: Vec<String> = said.map(Result::unwrap).collect();
        let line = &said[0];
        let address = line.strip_prefix("dashboard: ").expect(line).trim().trim_end_matches('/').to_owned();
        let farm = Farm { folder, summit, address };
        farm.until("everything was read", |farm| farm.ask("/api/status")["looked_ms"].is_u64());
        Some(farm)
    }

    fn ask(&self, path: &str) -> Value {
        let (status, body) = http::request("GET", &format!("{}{path}", self.address), &[]).unwrap();
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str(&body).unwrap()
    }

    fn until(&self, what: &str, condition: impl Fn(&Self) -> bool) {
        wait_until(what, PATIENCE, || condition(self));
    }

    /// Runs `moraine` against this Summit.
    fn run(&self, arguments: &[&str]) -> Output {
        moraine().args(arguments).env("MORAINE_SUMMIT", &self.address).output().unwrap()
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}\n{}", said(&output));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Source, build release and phase of every task of a project on an architecture.
    fn tasks(&self, project: &str, architecture: &str) -> Vec<(String, u64, String)> {
        let list = self.ask(&format!("/api/tasks?per_page=500&project={project}"));
        let tasks =
            list["tasks"].as_array().unwrap().iter().filter(|task| task["architecture"] == architecture);
        let mut rows: Vec<_> = tasks
            .map(|task| {
                let text = |key: &str| task[key].as_str().unwrap().to_owned();
                (text("source"), task["build_release"].as_u64().unwrap(), text("phase"))
            })
            .collect();
        rows.sort();
        rows
    }

    fn until_tasks(&self, architecture: &str, expect: &[(&str, u64, &str)]) {
        let own =
            |&(source, release, phase): &(&str, u64, &str)| (source.to_owned(), release, phase.to_owned());
        let expect: Vec<_> = expect.iter().map(own).collect();
        self.until(&format!("the tasks for {architecture} are {expect:?}"), |farm| {
            farm.tasks("main", architecture) == expect
        });
    }
}

fn moraine() -> Command {
    Command::new(env!("CARGO_BIN_EXE_moraine"))
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn git(folder: &Path, arguments: &[&str]) {
    let status = Command::new("git")
        .current_dir(folder)
        .args(["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"])
        .args(arguments)
        .status()
        .unwrap();
    assert!(status.success(), "git {arguments:?}");
}

/// Writes a channel that has one package of each of these sources, for x86_64 only.
fn publish(channel: &Path, sources: &[&str]) {
    let packages = sources.iter().map(|source| PackageMeta {
        name: (*source).into(),
        version: "1.0".into(),
        release: 1,
        build_release: 1,
        architecture: "x86_64".into(),
        summary: "s".into(),
        description: "d".into(),
        source_id: (*source).into(),
        homepage: "https://example.org".into(),
        licenses: vec!["MIT".into()],
        depends: Default::default(),
        provides: Default::default(),
        conflicts: Default::default(),
        build_depends: Default::default(),
        uri: Some(format!("../../../pool/{source}.stone")),
        hash: Some("0".repeat(64)),
        download_size_bytes: Some(1 << 20),
    });
    let index = Index::new(packages).unwrap();
    let bytes = index.write(Cursor::new(Vec::new()), stone::Packing::FAST).unwrap().into_inner();
    let folder = channel.join("history/1-test/x86_64");
    fs_err::create_dir_all(&folder).unwrap();
    fs_err::write(folder.join("stone.index"), bytes).unwrap();
    let root = r#"{"formats":{"v0":{}},"streams":{"volatile":{"format":"v0","history":"1-test"}},"tags":{},"history":{"1-test":{"format":"v0"}}}"#;
    RootIndex::from_json(root.as_bytes()).unwrap();
    fs_err::write(channel.join("moss-root-index.json"), root).unwrap();
}

#[test]
fn a_summit_that_runs_is_asked_and_told() {
    let Some(farm) = Farm::start() else { return };
    let nothing_built = [("a", 1, "ready"), ("b", 1, "waiting"), ("c", 1, "ready"), ("d", 1, "waiting")];
    farm.until_tasks("x86_64", &[("c", 1, "ready"), ("d", 1, "waiting")]);
    farm.until_tasks("aarch64", &nothing_built);

    a_plan_changes_nothing(&farm);
    farm.until_tasks("x86_64", &[("c", 1, "ready"), ("d", 1, "waiting")]);
    what_cannot_be_planned_says_what_to_do(&farm);
    every_task_says_why(&farm, &["c", "d"]);
    graphs_of_folder_and_summit_agree(&farm);

    let plan = ["plan", "rebuild", "a", "--dependents", "direct", "--project", "main", "--apply", "--json"];
    assert_eq!(farm.json(&plan)["ordered"], 2);
    farm.until_tasks(
        "x86_64",
        &[("a", 2, "ready"), ("b", 2, "waiting"), ("c", 1, "ready"), ("d", 1, "waiting")],
    );
    assert_eq!(farm.tasks("main", "aarch64").len(), 4, "only the first architecture was asked for");
    every_task_says_why(&farm, &["a", "b", "c", "d"]);

    let output = farm.run(&["plan", "rebuild", "c", "--project", "main", "--arch", "aarch64", "--apply"]);
    assert!(output.status.success(), "{}", said(&output));
    assert!(said(&output).contains("Ordered: 1 rebuild."), "{}", said(&output));
}

fn a_plan_changes_nothing(farm: &Farm) {
    let plan = farm.json(&["plan", "rebuild", "a", "--dependents", "direct", "--project", "main", "--json"]);
    assert_eq!((&plan["builds"], &plan["ordered"]), (&json!(2), &Value::Null), "{plan}");
    let members: Vec<_> = plan["recipes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|member| (member["source"].as_str().unwrap(), member["build_release"].as_u64().unwrap()))
        .collect();
    assert_eq!(members, [("a", 2), ("b", 2)]);
    assert_eq!(plan["download"]["size_bytes"], 2 << 20, "Summit knows sizes: {plan}");
    // Nothing is published for the other architecture: its first build is what is planned.
    let arguments = ["plan", "rebuild", "a", "--project", "main", "--arch", "aarch64", "--json"];
    let other = farm.json(&arguments);
    assert_eq!(other["recipes"][0]["build_release"], 1, "{other}");
    assert_eq!(other["download"]["packages"], 0, "{other}");
    let text = said(&farm.run(&["plan", "rebuild", "a", "--dependents", "direct", "--project", "main"]));
    assert!(text.contains("b: needs a-devel of a") && text.contains("Nothing was changed."), "{text}");
}

fn what_cannot_be_planned_says_what_to_do(farm: &Farm) {
    for (arguments, expected) in [
        (&["plan", "rebuild", "a"][..], &["Summit has main, next", "--project"][..]),
        (&["plan", "rebuild", "a", "--project", "other"], &["cannot find project \"other\""]),
        (
            &["plan", "rebuild", "a", "--project", "main", "--arch", "riscv64"],
            &["is built for x86_64, aarch64 and not for riscv64"],
        ),
        (&["plan", "rebuild", "nobody", "--project", "main"], &["nobody"]),
        (&["why", "999"], &["no task of this number", "moraine task list"]),
        (&["why", "1", "--summit", "http://127.0.0.1:1"], &["ask Summit", "--summit"]),
    ] {
        let output = farm.run(arguments);
        assert!(!output.status.success(), "{arguments:?}\n{}", said(&output));
        assert!(output.stdout.is_empty(), "what went wrong is no result: {}", said(&output));
        for expected in expected {
            assert!(said(&output).contains(expected), "{expected:?} in\n{}", said(&output));
        }
    }
}

/// Open tasks of the first project on its first architecture.
fn every_task_says_why(farm: &Farm, sources: &[&str]) {
    let list = farm.ask("/api/tasks?per_page=500&project=main");
    let tasks = list["tasks"].as_array().unwrap().iter().filter(|task| task["architecture"] == "x86_64");
    let mut seen = Vec::new();
    for task in tasks {
        let id = task["id"].to_string();
        let why = farm.json(&["why", &id, "--json"]);
        assert_eq!((&why["task"], &why["project"]), (&task["id"], &json!("main")), "{why}");
        assert_eq!((&why["source"], &why["phase"]), (&task["source"], &task["phase"]), "{why}");
        let text = |key: &str| why[key].as_str().unwrap().to_owned();
        assert!(!text("headline").is_empty() && !text("next_step").is_empty(), "{why}");
        match task["phase"].as_str().unwrap() {
            "waiting" => {
                let on = why["because"][0]["task"].to_string();
                let source = farm.ask(&format!("/api/tasks/{on}"))["source"].clone();
                let needed = if task["source"] == "b" { "a" } else { "c" };
                assert_eq!(source, needed, "it names what it waits for: {why}");
            }
            _ => assert!(text("headline").contains(task["source"].as_str().unwrap()), "{why}"),
        }
        let shown = said(&farm.run(&["why", &id]));
        assert!(shown.contains(&text("headline")) && shown.contains("next: "), "{shown}");
        seen.push(text("source"));
    }
    seen.sort();
    assert_eq!(seen, sources);
}

fn graphs_of_folder_and_summit_agree(farm: &Farm) {
    let recipes = farm.folder.path().join("recipes");
    let here =
        farm.json(&["plan", "graph", "--recipes", recipes.to_str().unwrap(), "--arch", "x86_64", "--json"]);
    let there = farm.ask("/api/plan/graph?project=main&arch=x86_64");
    for (key, value) in here.as_object().unwrap() {
        match key.as_str() {
            "read_seconds" => {}
            "seconds" => assert!(value.is_f64() && there[key].is_f64(), "{there}"),
            _ => assert_eq!(*value, there[key], "{key}"),
        }
    }
    assert_eq!(here["build_edges"], 2);
}
