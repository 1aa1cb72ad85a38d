//! Several projects side by side, and what happens when the configuration changes.

use serde_json::{Value, json};
use wire::summit::{FailureClass, to_agent};

use crate::agent::failed;
use crate::fixture::{Farm, commit_in, eventually};
use crate::recipe;

/// Project, architecture, source and phase of every task.
async fn tasks(farm: &Farm) -> Vec<(String, String, String, String)> {
    let list = farm.get("/api/tasks?per_page=500").await;
    let text = |task: &Value, key: &str| task[key].as_str().unwrap().to_owned();
    let mut rows: Vec<_> = list["tasks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|task| {
            (text(task, "project"), text(task, "architecture"), text(task, "source"), text(task, "phase"))
        })
        .collect();
    rows.sort();
    rows
}

fn rows(expect: &[(&str, &str, &str, &str)]) -> Vec<(String, String, String, String)> {
    let own = |text: &str| text.to_owned();
    expect.iter().map(|&(a, b, c, d)| (own(a), own(b), own(c), own(d))).collect()
}

async fn until_tasks(farm: &Farm, expect: &[(&str, &str, &str, &str)]) {
    let expect = rows(expect);
    eventually(&format!("the tasks are {expect:?}"), || async { tasks(farm).await == expect }).await;
}

fn project(name: &str, recipes: &str, more: &str) -> String {
    format!("[[project]]\nname = \"{name}\"\nrecipes = \"{recipes}\"\n{more}\n")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_q3_q4_projects_and_architectures_with_the_same_paths_leave_each_other_alone() {
    let a = recipe("a", 1, &[]);
    let farm = Farm::start_with(&[("a/a", &a)], |folder| {
        let other = folder.join("other");
        commit_in(&other, &[("a/a", &recipe("a", 1, &[]))]);
        project(
            "next",
            &other.display().to_string(),
            "channel = 'next'\narchitectures = ['x86_64', 'aarch64']",
        )
    })
    .await;
    let Some(farm) = farm else { return };
    until_tasks(
        &farm,
        &[
            ("next", "aarch64", "a", "ready"),
            ("next", "x86_64", "a", "ready"),
            ("test", "x86_64", "a", "ready"),
        ],
    )
    .await;
    // A newer release in one project replaces its own tasks, on every architecture, and no other.
    commit_in(&farm.folder().join("other"), &[("a/a", &recipe("a", 2, &[]))]);
    let (code, report) = farm.post("/api/wake-up").await;
    assert_eq!(
        (code, &report["projects"][0]["moved"], &report["projects"][1]["moved"]),
        (200, &json!(false), &json!(true))
    );
    assert_eq!(report["new_tasks"].as_array().unwrap().len(), 2);
    until_tasks(
        &farm,
        &[
            ("next", "aarch64", "a", "ready"),
            ("next", "aarch64", "a", "superseded"),
            ("next", "x86_64", "a", "ready"),
            ("next", "x86_64", "a", "superseded"),
            ("test", "x86_64", "a", "ready"),
        ],
    )
    .await;
    // A recipe that one project removes is still there in the other.
    farm.remove("a/a");
    farm.post("/api/wake-up").await;
    let open = farm.get("/api/tasks?phase=ready&project=test").await;
    assert_eq!(open["total"], 0);
    assert_eq!(farm.get("/api/tasks?phase=ready&project=next").await["total"], 2);
    let page = farm.text("/tasks?project=next").await;
    assert!(page.contains("project=next") && !page.contains(">test</a>"), "{page}");
    assert_eq!(farm.get("/api/queue?project=next&arch=aarch64").await["nodes"][0]["source"], "a");
    assert_eq!(farm.request("GET", "/api/queue?project=nobody", &[]).await.0, 404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_l1_a_hung_or_broken_repository_stops_no_other_project() {
    // Takes connections and never says anything.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/recipes.git", silent.local_addr().unwrap());
    let farm = Farm::start_with(&[("a/a", &recipe("a", 1, &[]))], |_| {
        project("broken", "/nowhere/recipes.git", "channel = 'x'")
            + &project("hung", &address, "channel = 'y'")
    })
    .await;
    let Some(farm) = farm else { return };
    let mut agent = farm.attach("one", 1, &[]).await;
    let order = agent.order().await;
    agent.started(&order).await;
    agent.build_and_publish(&farm.vessel, &order).await;
    let status = farm.until_status(|status| status["published_packages"] == 1).await;
    assert_eq!(status["idle"], false, "two projects were never read");
    let trouble = status["trouble"].as_str().unwrap();
    assert!(trouble.contains("project broken: cannot read the recipes"), "{trouble}");
    let projects = farm.get("/api/projects").await;
    assert_eq!(projects["projects"][2]["architectures"][0]["looked_ms"], Value::Null);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_architecture_that_cannot_be_read_stops_no_other() {
    let farm = Farm::start_with(&[("a/a", &recipe("a", 1, &[]))], |folder| {
        let index = folder.join("broken.index");
        fs_err::write(&index, b"this is no index").unwrap();
        // Only one project builds against it, and only that one is in trouble.
        let place = format!("[[project.repository]]\nid = 'bad'\nindex_uri = 'file://{}'", index.display());
        project("bad", &folder.join("recipes").display().to_string(), &format!("channel = 'x'\n{place}"))
    })
    .await;
    let Some(farm) = farm else { return };
    until_tasks(&farm, &[("test", "x86_64", "a", "ready")]).await;
    let status = farm.until_status(|status| status["trouble"].is_string()).await;
    assert!(status["trouble"].as_str().unwrap().contains("project bad: cannot compare"), "{status}");
    // The channel of one architecture is damaged: the other architecture goes on.
    let mut agent = farm.attach("one", 1, &[]).await;
    let order = agent.order().await;
    agent.started(&order).await;
    agent.build_and_publish(&farm.vessel, &order).await;
    farm.until_status(|status| status["published_packages"] == 1).await;
    let indexes: Vec<_> = walk(&farm.folder().join("public"), "stone.index");
    for index in indexes {
        let other = index.to_string_lossy().replace("x86_64", "aarch64");
        fs_err::create_dir_all(std::path::Path::new(&other).parent().unwrap()).unwrap();
        fs_err::write(other, b"garbage").unwrap();
    }
    let mut farm = farm;
    farm.configure(
        "[[project]]\nname = 'two'\nrecipes = 'RECIPES'\narchitectures = ['aarch64', 'x86_64']\n"
            .replace("RECIPES", &farm.folder().join("recipes").display().to_string())
            .as_str(),
    );
    farm.commit(&[("b/b", &recipe("b", 1, &[]))]);
    let arches = |status: &Value| status["projects"][1]["architectures"].clone();
    let status = farm
        .until_status(|status| {
            arches(status)[0]["trouble"].is_string() && arches(status)[1]["looked_ms"].is_u64()
        })
        .await;
    assert_eq!(arches(&status)[1]["trouble"], Value::Null, "{status}");
}

fn walk(folder: &std::path::Path, name: &str) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in fs_err::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(walk(&path, name));
        } else if path.file_name().is_some_and(|file| file == name) {
            found.push(path);
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_of_two_projects_in_one_channel_belongs_to_the_first() {
    let farm = Farm::start_with(&[("a/a", &recipe("a", 1, &[])), ("b/b", &recipe("b", 1, &[]))], |folder| {
        let other = folder.join("other");
        commit_in(&other, &[("deep/a", &recipe("a", 7, &[])), ("c/c", &recipe("c", 1, &["a"]))]);
        project("extra", &other.display().to_string(), "")
    })
    .await;
    let Some(farm) = farm else { return };
    // Whichever is read first: in the end the first project has it.
    eventually("the second recipe is left out", || async {
        let open: Vec<_> = tasks(&farm)
            .await
            .into_iter()
            .filter(|(_, _, _, phase)| phase != "superseded")
            .map(|row| (row.0, row.2))
            .collect();
        let expect =
            [("extra", "c"), ("test", "a"), ("test", "b")].map(|(a, b)| (a.to_owned(), b.to_owned()));
        open == expect
    })
    .await;
    eventually("the second recipe is named", || async {
        farm.get("/api/recipes?project=extra").await["unreadable"][0].is_object()
    })
    .await;
    let recipes = farm.get("/api/recipes?project=extra").await;
    let ignored = &recipes["unreadable"][0];
    assert_eq!((&ignored["path"], &ignored["project"]), (&json!("deep/a/stone.yaml"), &json!("extra")));
    assert!(ignored["message"].as_str().unwrap().contains("project test publishes \"a\""), "{ignored}");
    // When the first project gives it up, the second one has it.
    farm.remove("a/a");
    farm.post("/api/wake-up").await;
    eventually("the other recipe is used", || async {
        farm.get("/api/recipes?project=extra").await["unreadable"] == json!([])
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn projects_come_and_go_while_summit_runs() {
    let Some(mut farm) = Farm::start(&[("a/a", &recipe("a", 1, &[]))]).await else { return };
    until_tasks(&farm, &[("test", "x86_64", "a", "ready")]).await;
    let other = farm.folder().join("other");
    commit_in(&other, &[("b/b", &recipe("b", 1, &[])), ("c/c", &recipe("c", 1, &["b"]))]);
    let next = project(
        "next",
        &other.display().to_string(),
        "channel = 'next'\n[[project.repository]]\nid = 'second'\nindex_uri = 'file:///nowhere/a'\npriority = 5\n\
         [[project.repository]]\nid = 'first'\nbase_uri = 'file:///nowhere'\npriority = 7\n\
         [[project.repository]]\nid = 'begin'\nbase_uri = 'file:///nowhere'\nbootstrap = true",
    );
    farm.configure(&next);
    until_tasks(
        &farm,
        &[
            ("next", "x86_64", "b", "ready"),
            ("next", "x86_64", "c", "waiting"),
            ("test", "x86_64", "a", "ready"),
        ],
    )
    .await;

    // A version that cannot be used changes nothing, and says why.
    farm.configure("[[project]]\nname = 'oops'\nbrunch = 'x'\n");
    let status = farm.until_status(|status| status["trouble"].is_string()).await;
    let trouble = status["trouble"].as_str().unwrap();
    assert!(trouble.contains("unknown field `brunch`") && trouble.contains("line"), "{trouble}");
    assert_eq!(status["projects"].as_array().unwrap().len(), 2);
    assert!(farm.text("/").await.contains("unknown field"));
    farm.configure(&next);
    farm.until_status(|status| status["trouble"] == Value::Null).await;

    // Two builds run when their project goes: they are stopped, and what waits is withdrawn.
    let mut agent = farm.attach("one", 2, &[]).await;
    let mut orders = [agent.order().await, agent.order().await];
    orders.sort_by_key(|order| order.source_name.clone());
    let [a, b] = orders;
    assert_eq!((a.source_name.as_str(), b.source_name.as_str()), ("a", "b"));
    assert_eq!(b.git_url, other.display().to_string());
    let places: Vec<&str> = b.repositories.iter().map(|place| place.id.as_str()).collect();
    assert_eq!(places, ["first", "second"], "by priority; what is only for beginnings is left out");
    agent.started(&a).await;
    agent.started(&b).await;
    farm.configure("");
    let cancelled = agent.next(|message| matches!(message, to_agent::Message::Cancel(_))).await;
    let to_agent::Message::Cancel(cancel) = cancelled else { panic!("{cancelled:?}") };
    assert_eq!(cancel.attempt_id, b.attempt_id);
    agent.send(failed(&b, FailureClass::Cancelled, "stopped", "build")).await;
    agent.released(b.attempt_id).await;
    until_tasks(
        &farm,
        &[
            ("next", "x86_64", "b", "superseded"),
            ("next", "x86_64", "c", "superseded"),
            ("test", "x86_64", "a", "building"),
        ],
    )
    .await;
    agent.build_and_publish(&farm.vessel, &a).await;
    farm.until_status(|status| status["idle"] == true && status["published_packages"] == 1).await;
    let mirrors = farm.folder().join("data/recipes");
    eventually("its recipes are not kept", || async { !mirrors.join("next.git").exists() }).await;
    assert!(mirrors.join("test.git").is_dir());
    // It may come back under the same name.
    farm.configure(&next);
    eventually("it is read again", || async { mirrors.join("next.git").is_dir() }).await;
    let again = agent.order().await;
    assert_eq!((again.source_name.as_str(), again.git_url), ("b", other.display().to_string()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_that_need_a_restart_are_named() {
    let Some(mut farm) = Farm::start(&[("a/a", &recipe("a", 1, &[]))]).await else { return };
    farm.configure("[limits]\nlog_bytes = 7\ntime_seconds = 60\n");
    let status = farm.until_status(|status| status["waiting_for_restart"] != json!([])).await;
    assert_eq!(status["waiting_for_restart"], json!(["limits.log_bytes"]));
    assert!(farm.text("/").await.contains("limits.log_bytes"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rebuild_is_planned_then_ordered_and_needs_no_edit() {
    let recipes =
        [("a/a", recipe("a", 1, &[])), ("b/b", recipe("b", 1, &["a"])), ("c/c", recipe("c", 1, &[]))];
    let recipes: Vec<(&str, &str)> = recipes.iter().map(|(path, text)| (*path, text.as_str())).collect();
    let Some(farm) = Farm::start(&recipes).await else { return };
    let mut agent = farm.attach("one", 1, &[]).await;
    for _ in 0..3 {
        let order = agent.order().await;
        agent.started(&order).await;
        agent.build_and_publish(&farm.vessel, &order).await;
    }
    farm.until_status(|status| status["idle"] == true).await;
    let path = "/api/projects/test/rebuild";
    let body = json!({ "names": ["a"], "dependents": "direct" });
    assert_eq!(farm.request("POST", path, &[]).await.0, 401, "changes come from this machine only");
    let (code, plan) = farm.post_json(path, &body).await;
    assert_eq!((code, &plan["builds"], &plan["ordered"]), (200, &json!(2), &Value::Null), "{plan}");
    assert_eq!(farm.get("/api/tasks").await["total"], 3, "a plan changes nothing");
    let (code, refusal) = farm.post_json(path, &json!({ "names": ["nobody"] })).await;
    assert_eq!(code, 404, "{refusal}");
    assert_eq!(farm.post_json("/api/projects/other/rebuild", &body).await.0, 404);

    let (_, plan) =
        farm.post_json(path, &json!({ "names": ["a"], "dependents": "direct", "apply": true })).await;
    assert_eq!(plan["ordered"], 2, "{plan}");
    let first = agent.order().await;
    assert_eq!((first.source_name.as_str(), first.build_release), ("a", 2));
    let task = farm.get(&format!("/api/tasks/{}", first.task_id)).await;
    assert_eq!(task["reason"], "rebuild: a");
    for (order, source) in [(Some(first), "a"), (None, "b")] {
        let order = match order {
            Some(order) => order,
            None => agent.order().await,
        };
        assert_eq!((order.source_name.as_str(), order.build_release), (source, 2));
        agent.started(&order).await;
        agent.build_and_publish(&farm.vessel, &order).await;
    }
    farm.until_status(|status| status["idle"] == true).await;
    let wanted = || async { farm.store().await.wanted("test", "x86_64").await.unwrap().len() };
    eventually("what came true is wanted no more", || async { wanted().await == 0 }).await;
    let graph = farm.get("/api/plan/graph").await;
    assert_eq!(
        (&graph["recipes"], &graph["build_edges"], &graph["levels"]),
        (&json!(3), &json!(1), &json!(2))
    );
    assert_eq!((&graph["dropped"], &graph["widths"]), (&json!(0), &json!([2, 1])));
    assert!(graph["seconds"].is_f64() && graph["run_edges"].is_u64(), "{graph}");
    for list in ["unresolved", "components", "deferred", "unreadable"] {
        assert_eq!(graph[list], json!([]), "{list}");
    }
}
