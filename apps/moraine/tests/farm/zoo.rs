//! Recipes that misbehave, through a whole farm: each ends with its own class, none harms another, nothing of them stays.
//!
//! `zoo/NAME/stone.yaml` is a recipe each; `zoo/report.txt` is what became of them, as it is, not as it should be.

use std::path::Path;

use fs_err as fs;
use serde_json::Value;
use testkit::workspace_root;

use crate::bench::{Bench, Farm, SECRET_NAME, moraine, succeed};

/// What a build may use in this farm: as little as lets the slowest machine build the good ones.
const LIMITS: &str = "\n[limits]\ntime_seconds = 25\nsilence_seconds = 12\nlog_bytes = 1000000\n\
                      output_bytes = 10000000\nmemory_bytes = 2147483648\ndisk_bytes = 62914560\n";
/// Those that live until a limit of time ends them; the others are looked at in every test run.
const SLOW: [&str; 5] = ["fork-bomb", "time-limit", "silence", "stubborn", "out-of-memory"];
/// Characters of a message that a report shows.
const SHOWN_MAX: usize = 160;
/// Those that only a control group can hold.
const NEED_GROUPS: [&str; 2] = ["fork-bomb", "out-of-memory"];

/// Names of the recipes, in order.
fn animals() -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_type().unwrap().is_dir())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn folder() -> std::path::PathBuf {
    workspace_root().join("apps/moraine/tests/farm/zoo")
}

/// Whether this machine can hold who eats memory and processes.
fn groups_limit() -> bool {
    let all = sandbox::limits_available().iter().all(|(_, available)| *available);
    if !all {
        testkit::skip("control group that limits memory and processes");
    }
    all
}

#[test]
fn a_zoo_of_recipes_harms_nobody_and_each_is_told_what_it_did() {
    let Some(bench) = Bench::new() else { return };
    let groups_before = dead_groups();
    let can_limit = groups_limit();
    let names: Vec<String> = animals()
        .into_iter()
        .filter(|name| testkit::long() || !SLOW.contains(&name.as_str()))
        .filter(|name| can_limit || !NEED_GROUPS.contains(&name.as_str()))
        .collect();

    bench.commit_nothing("an empty zoo");
    let farm = Farm::start(&bench, 2);
    tighten(&bench, &farm);
    let port = farm.dashboard.rsplit(':').next().unwrap().to_owned();
    let data = bench.path("farm");
    for name in &names {
        let text = fs::read_to_string(folder().join(name).join("stone.yaml")).unwrap();
        let text = text.replace("@DASHBOARD_PORT@", &port).replace("@FARM@", data.to_str().unwrap());
        bench.write_recipe(name, &text);
    }
    bench.commit("they come");
    farm.wake_up();
    farm.wait_idle();

    let mut report: Vec<String> = names.iter().map(|name| line(&farm, &data, name)).collect();
    report.extend(left_behind(&farm, &data, &groups_before));
    farm.stop();
    bench.assert_quiet();
    compare(&names, &report);
}

/// Has Summit start again with small limits.
fn tighten(bench: &Bench, farm: &Farm) {
    let path = bench.path("farm").join("summit.toml");
    let config = fs::read_to_string(&path).unwrap();
    // Behind all tables, a table of its own.
    fs::write(&path, format!("{config}{LIMITS}")).unwrap();
    farm.kill("summit");
    farm.wait("agents at the new Summit", || {
        let builders = farm.ask("/api/builders");
        states(&builders).iter().filter(|state| *state == "attached").count() == 2
    });
}

fn states(builders: &Value) -> Vec<String> {
    let list = builders["builders"].as_array().cloned().unwrap_or_default();
    list.iter().map(|builder| builder["state"].as_str().unwrap_or("?").to_owned()).collect()
}

/// What became of a recipe.
fn line(farm: &Farm, data: &Path, name: &str) -> String {
    let Some(task) = farm.task(name, 1) else {
        let recipes = farm.ask("/api/recipes");
        let unreadable = recipes["unreadable"].as_array().cloned().unwrap_or_default();
        let found = unreadable.iter().find(|it| it["path"] == format!("{name}/stone.yaml").as_str());
        let said = found.map_or("nobody knows it", |it| it["message"].as_str().unwrap_or("?"));
        return format!("{name}: unreadable: {}", stable(said));
    };
    let phase = task["phase"].as_str().unwrap();
    let attempts = farm.attempts(name, 1);
    let tries =
        if attempts.len() < 2 { String::new() } else { format!(" after {} attempts", attempts.len()) };
    let told = format!("{}{}", said(farm, &attempts), installed(data, name));
    let became = match task["failure"]["class"].as_str() {
        Some(class) => {
            let message = stable(task["failure"]["message"].as_str().unwrap_or("?"));
            format!("{name}: {phase}{tries}, {class}: {message}")
        }
        None => match task["detail"].as_str().filter(|_| phase != "published") {
            Some(detail) => format!("{name}: {phase}{tries}: {}", stable(detail)),
            None => format!("{name}: {phase}{tries}"),
        },
    };
    format!("{became}{told}")
}

/// What the recipe says of itself, in lines of its log that begin so.
fn said(farm: &Farm, attempts: &[Value]) -> String {
    let Some(last) = attempts.last() else { return String::new() };
    let log = farm.log(last);
    let mut lines: Vec<&str> = log.lines().filter_map(|line| line.strip_prefix("zoo: ")).collect();
    lines.dedup();
    if lines.is_empty() { String::new() } else { format!("; it said: {}", stable(&lines.join(", "))) }
}

/// What its published packages install.
fn installed(data: &Path, name: &str) -> String {
    let mut found = Vec::new();
    let mut waiting = vec![data.join("vessel")];
    while let Some(folder) = waiting.pop() {
        for entry in fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap()) {
            let file = entry.file_name().to_string_lossy().into_owned();
            if entry.file_type().unwrap().is_dir() {
                waiting.push(entry.path());
            } else if file.starts_with(&format!("{name}-1.0-1-")) && file.ends_with(".stone") {
                let text = succeed(moraine().args(["moss", "inspect", "--json"]).arg(entry.path()));
                let package: Value = serde_json::from_str(&text).unwrap();
                found.extend(package["files"].as_array().unwrap().iter().map(entry_text));
            }
        }
    }
    found.sort();
    found.dedup();
    if found.is_empty() { String::new() } else { format!("; installs {}", found.join(", ")) }
}

fn entry_text(file: &Value) -> String {
    let mode = file["mode"].as_u64().unwrap_or_default() & 0o7777;
    let path = stable(&format!("{:?}", file["path"].as_str().unwrap()));
    format!("{path} ({} {mode:o})", file["kind"].as_str().unwrap())
}

/// Without what differs from run to run: long numbers and names of temporary folders. What is short is a limit or an exit
/// status, and meant.
fn stable(message: &str) -> String {
    let words = message.split_inclusive(char::is_whitespace).map(|word| {
        let trimmed = word.trim_end();
        let end = &word[trimmed.len()..];
        if trimmed.contains("/tmp") { format!("PATH{end}") } else { word.to_owned() }
    });
    let text: String = words.collect::<String>().replace('\n', " ");
    let mut masked = String::new();
    let mut digits = String::new();
    for character in text.chars().chain([' ']) {
        if character.is_ascii_digit() {
            digits.push(character);
            continue;
        }
        masked.push_str(if digits.len() > 3 { "N" } else { &digits });
        digits.clear();
        masked.push(character);
    }
    let shown: String = masked.trim_end().chars().take(SHOWN_MAX).collect();
    if shown.len() < masked.trim_end().len() { format!("{shown}…") } else { shown }
}

/// What is still there of builds that have ended, and how the agents are.
fn left_behind(farm: &Farm, data: &Path, groups_before: &[String]) -> Vec<String> {
    let mut left = Vec::new();
    // The kernel takes back what was killed in its own time, and an agent forgets an attempt once Summit knows its end.
    for _ in 0..500 {
        left = vec![
            format!("processes left: {}", processes_of_attempts(data)),
            format!("mounts left: {}", mounts_below(data)),
            format!(
                "control groups left: {}",
                dead_groups().iter().filter(|group| !groups_before.contains(group)).count()
            ),
            format!("attempt folders left: {}", attempt_folders(data)),
            format!("build folders left: {}", build_folders(data)),
        ];
        if left.iter().all(|line| line.ends_with(": 0")) {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    left.push(format!("above-root wrote into the farm: {}", data.join("above-root").exists()));
    left.push(format!("agents: {}", states(&farm.ask("/api/builders")).join(", ")));
    left
}

/// Processes that a keeper started, and all that live in a sandbox: its mounts come from the folder of the farm.
fn processes_of_attempts(data: &Path) -> usize {
    let marker = format!("MORAINE_ATTEMPT={}", data.display());
    let name = data.parent().unwrap().file_name().unwrap().to_str().unwrap();
    let has = |entry: &fs::DirEntry, file: &str, what: &str| {
        let text = fs::read(entry.path().join(file)).unwrap_or_default();
        text.windows(what.len()).any(|window| window == what.as_bytes())
    };
    fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter(|entry| has(entry, "environ", &marker) || has(entry, "mountinfo", name))
        .count()
}

fn mounts_below(data: &Path) -> usize {
    let data = data.display().to_string();
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    mounts.lines().filter(|line| line.split(' ').nth(4).is_some_and(|at| at.starts_with(&data))).count()
}

fn attempt_folders(data: &Path) -> usize {
    let folders = ["agent-1", "agent-2"].map(|agent| data.join(agent).join("attempts"));
    folders.iter().map(|folder| fs::read_dir(folder).unwrap().count()).sum()
}

/// Folders that Boulder built in.
fn build_folders(data: &Path) -> usize {
    let entries = fs::read_dir(data.join("cache/builds")).unwrap();
    entries.filter(|entry| entry.as_ref().unwrap().file_type().unwrap().is_dir()).count()
}

/// Groups of sandboxes whose supervisor has ended.
fn dead_groups() -> Vec<String> {
    let mut found = Vec::new();
    let mut waiting = vec![(Path::new("/sys/fs/cgroup").to_path_buf(), 0)];
    while let Some((folder, depth)) = waiting.pop() {
        // Groups of others come and go.
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
            let name = entry.file_name().to_string_lossy().into_owned();
            let supervisor = name
                .strip_prefix("moraine-sandbox-")
                .and_then(|rest| rest.split('-').next().map(str::to_owned));
            match supervisor {
                Some(id) if !Path::new("/proc").join(&id).exists() => {
                    found.push(entry.path().display().to_string());
                }
                None if depth < 6 => waiting.push((entry.path(), depth + 1)),
                _ => {}
            }
        }
    }
    found
}

/// The lines of the recipes that were looked at must be those of the file; what follows them must be all there is.
fn compare(names: &[String], report: &[String]) {
    let text = fs::read_to_string(folder().join("report.txt")).unwrap_or_default();
    let (recipes, rest) = text.split_once("\n\n").unwrap_or_default();
    let known: Vec<&str> = recipes
        .lines()
        .filter(|line| names.iter().any(|name| line.split(':').next() == Some(name)))
        .chain(rest.lines())
        .collect();
    let report_text =
        format!("{}\n\n{}\n", report[..names.len()].join("\n"), report[names.len()..].join("\n"));
    assert_eq!(known, report, "the report is now\n{report_text}");
}

#[test]
fn the_report_of_the_zoo_names_every_recipe_of_it() {
    let text = fs::read_to_string(folder().join("report.txt")).unwrap();
    let (recipes, _) = text.split_once("\n\n").unwrap();
    let known: Vec<&str> = recipes.lines().filter_map(|line| line.split(':').next()).collect();
    assert_eq!(known, animals());
    let reader = fs::read_to_string(folder().join("secret-reader/stone.yaml")).unwrap();
    assert!(reader.contains(&SECRET_NAME[..15]), "it looks for the secret that the farm is started with");
}
