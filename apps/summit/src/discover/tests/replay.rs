//! The real history of AerynOS's recipes, step by step, and pushes larger than any in it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use farm::ids::TaskId;
use farm::missing::missing;
use farm::plan::{Change, KnownTask, plan};
use farm::published::{Published, PublishedPackage};
use farm::task::Phase;
use serde_json::Value;

use super::*;

/// A large push must be planned within this: people wait for it. It takes about a second in an unoptimised build.
const PUSH_TIME_LIMIT: Duration = Duration::from_secs(20);

/// Steps that are walked where there is no time for all: with a removal and a forgotten release among them.
const STEPS_WITHOUT_TIME: usize = 120;

/// What one step builds: path, source, version and release.
type Builds = BTreeSet<(String, String, String, u64)>;

/// A repository to which everything is published at once.
#[derive(Default)]
struct Channel {
    packages: BTreeMap<String, PublishedPackage>,
}

impl Channel {
    fn publish(&mut self, entry: &RecipeEntry, build_release: u64) {
        for name in entry.promised_packages() {
            let package = PublishedPackage {
                name: name.to_owned(),
                source: entry.source.clone(),
                version: entry.version.clone(),
                release: entry.release,
                build_release,
                provides: Box::default(),
                depends: Box::default(),
                download_size_bytes: 1,
            };
            self.packages.insert(name.to_owned(), package);
        }
    }

    fn published(&self) -> Published {
        Published::new(self.packages.values().cloned())
    }
}

/// Decides about `catalogue`, with the tasks that are there, and lets every build land at once.
fn step(
    catalogue: &Catalogue,
    channel: &mut Channel,
    published: &mut Published,
    tasks: &[KnownTask],
) -> (Builds, Vec<TaskId>) {
    let missing = missing(catalogue, published, &HashMap::new());
    let mut builds = Builds::new();
    let mut withdrawn = Vec::new();
    for change in plan(catalogue, &missing, tasks) {
        match change {
            Change::Create { recipe, build_release, .. } => {
                let entry = &catalogue.recipes()[recipe];
                let folder = entry.path.trim_end_matches("/stone.yaml").to_owned();
                builds.insert((folder, entry.source.clone(), entry.version.clone(), entry.release));
                channel.publish(entry, build_release);
            }
            Change::Withdraw { task, .. } => withdrawn.push(task),
        }
    }
    if !builds.is_empty() {
        *published = channel.published();
    }
    (builds, withdrawn)
}

/// A task that nobody carries out, for each recipe.
fn tasks(catalogue: &Catalogue) -> Vec<KnownTask> {
    let task = |(number, entry): (u64, &Arc<RecipeEntry>)| KnownTask {
        id: TaskId(number),
        source: entry.source.clone(),
        recipe_path: entry.path.clone(),
        content: entry.content.clone(),
        release: entry.release,
        build_release: 1,
        phase: Phase::Waiting,
    };
    (0..).zip(catalogue.recipes()).map(task).collect()
}

fn expected(line: &Value) -> Builds {
    let text = |build: &Value, key: &str| build[key].as_str().unwrap().to_owned();
    let builds = line["builds"].as_array().into_iter().flatten();
    builds
        .map(|build| {
            let release = build["release"].as_u64().unwrap();
            (text(build, "dir"), text(build, "name"), text(build, "version"), release)
        })
        .collect()
}

/// The history: a mirror of the bundle, and what is expected of each step.
struct History {
    folder: TempDir,
    steps: Vec<Value>,
}

impl History {
    fn open() -> Option<Self> {
        let data = testkit::data()?;
        if !testkit::has_programs(&["git"]) {
            return None;
        }
        let Ok(lines) = fs_err::read_to_string(data.join("history-dev.expected.jsonl")) else {
            testkit::skip("history-dev.expected.jsonl");
            return None;
        };
        let this = Self {
            folder: tempfile::tempdir().unwrap(),
            steps: lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect(),
        };
        this.git(&[
            "clone",
            "--quiet",
            "--mirror",
            data.join("history-dev.bundle").to_str().unwrap(),
            "mirror",
        ]);
        Some(this)
    }

    fn git(&self, arguments: &[&str]) -> String {
        let output = Command::new("git").args(arguments).current_dir(self.folder.path()).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn discoverer(&self) -> Discoverer {
        Discoverer::new(Mirror::new(&self.folder.path().join("mirror"), "", "main"), "x86_64")
    }

    /// A commit on top of `main` in which `change` was made to the text of each recipe.
    fn commit_to_all(&self, change: impl Fn(&str, String) -> String) -> Commit {
        if !self.folder.path().join("work").exists() {
            self.git(&["clone", "--quiet", "--branch=main", "mirror", "work"]);
        }
        let work = self.folder.path().join("work");
        let listing = self.git(&["-C", "work", "ls-files", "*/stone.yaml"]);
        for path in listing.lines() {
            let text = fs_err::read_to_string(work.join(path)).unwrap();
            fs_err::write(work.join(path), change(path, text)).unwrap();
        }
        let identity = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"];
        self.git(&[&["-C", "work"], &identity[..], &["commit", "--quiet", "--all", "-m", "c"]].concat());
        self.git(&["-C", "work", "push", "--quiet", "origin", "main"]);
        commit(self.git(&["-C", "work", "rev-parse", "HEAD"]).trim())
    }
}

fn commit(id: &str) -> Commit {
    Commit { id: id.to_owned(), time_seconds: 0 }
}

#[tokio::test]
async fn each_step_of_the_real_history_builds_what_it_must() {
    let Some(history) = History::open() else { return };
    let listed = history.git(&["-C", "mirror", "rev-list", "--first-parent", "--reverse", "base..main"]);
    let commits: Vec<&str> = history.steps.iter().map(|step| step["commit"].as_str().unwrap()).collect();
    assert_eq!(listed.lines().collect::<Vec<_>>(), commits[1..], "every commit is a step");

    let mut discoverer = history.discoverer();
    let (mut channel, mut published) = (Channel::default(), Published::default());
    let mut before = Catalogue::default();
    let mut removals = 0;
    let steps = if testkit::long() { history.steps.len() } else { STEPS_WITHOUT_TIME };
    for line in history.steps.iter().take(steps) {
        let number = &line["step"];
        let catalogue = discoverer.discover(&commit(line["commit"].as_str().unwrap())).await.unwrap();
        assert_eq!(catalogue.unreadable(), [], "step {number}");
        if let Some(recipes) = line["recipes"].as_u64() {
            // The beginning: everything is there, and nothing of it is to be built.
            assert_eq!(catalogue.recipes().len() as u64, recipes);
            catalogue.recipes().iter().for_each(|entry| channel.publish(entry, 1));
            published = channel.published();
        }
        let removed: BTreeSet<&str> =
            line["removed"].as_array().into_iter().flatten().map(|folder| folder.as_str().unwrap()).collect();
        // Tasks of recipes that are gone are withdrawn, whatever else the step does.
        let present: HashSet<&str> = catalogue.recipes().iter().map(|entry| entry.source.as_str()).collect();
        let gone = before.recipes().iter().filter(|entry| !present.contains(entry.source.as_str()));
        let gone = tasks(&Catalogue::sharing(gone.cloned().collect(), Vec::new()));
        let folders: BTreeSet<&str> =
            gone.iter().map(|task| task.recipe_path.trim_end_matches("/stone.yaml")).collect();
        assert_eq!(folders, removed, "step {number}");
        removals += removed.len();
        let (builds, withdrawn) = step(&catalogue, &mut channel, &mut published, &gone);
        assert_eq!(builds, expected(line), "step {number}");
        assert_eq!(withdrawn.len(), gone.len(), "step {number}");
        before = catalogue;
    }
    assert!(removals > 0, "the history has removals");
}

#[tokio::test]
async fn a_push_of_everything_is_planned_at_once_and_one_without_releases_builds_nothing() {
    let Some(history) = History::open() else { return };
    let mut discoverer = history.discoverer();
    let first = discoverer.discover(&commit("main")).await.unwrap();
    let mut channel = Channel::default();
    first.recipes().iter().for_each(|entry| channel.publish(entry, 1));
    let mut published = channel.published();

    // Every file is touched, no release is.
    let touched = history.commit_to_all(|_, text| format!("# touched\n{text}"));
    let catalogue = discoverer.discover(&touched).await.unwrap();
    assert!(catalogue.recipes().len() > 1300 && catalogue.unreadable().is_empty());
    assert!(catalogue.recipes().iter().zip(first.recipes()).all(|(new, old)| new.content != old.content));
    assert_eq!(step(&catalogue, &mut channel, &mut published, &[]), (Builds::new(), Vec::new()));

    // Every release is raised, and one recipe is spoiled in the middle of it.
    let bumped = history.commit_to_all(|path, text| match path {
        "n/nano/stone.yaml" => "name: nano\n  release\n".to_owned(),
        _ => {
            let line = |line: &str| match line.strip_prefix("release") {
                Some(rest) => {
                    let digits = rest.trim_start_matches([' ', ':']).trim();
                    format!("release: {}", digits.parse::<u64>().unwrap() + 1)
                }
                None => line.to_owned(),
            };
            text.lines().map(|text| line(text) + "\n").collect()
        }
    });
    let began = Instant::now();
    let catalogue = discoverer.discover(&bumped).await.unwrap();
    let (builds, withdrawn) = step(&catalogue, &mut channel, &mut published, &tasks(&first));
    assert!(began.elapsed() < PUSH_TIME_LIMIT, "{:?}", began.elapsed());
    assert_eq!(builds.len(), first.recipes().len() - 1, "one unreadable recipe stops no other");
    assert_eq!(catalogue.unreadable()[0].path, "n/nano/stone.yaml");
    assert_eq!(withdrawn, [], "the tasks are replaced; that of the spoiled recipe waits for its correction");
}
