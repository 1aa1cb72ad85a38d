//! What people do to tasks, the queue and builders while everything runs.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use wire::Identity;
use wire::summit::summit_client::SummitClient;
use wire::summit::{EnrolRequest, FailureClass, HeldState, WakeUpRequest, to_agent};

use crate::agent::{Agent, built, failed};
use crate::fixture::{Farm, eventually};
use crate::recipe;

impl Farm {
    /// A change that must be made; what is so afterwards.
    async fn change(&self, path: &str, body: &Value) -> Value {
        let (code, answer) = self.post_json(path, body).await;
        assert_eq!(code, 200, "{path}: {answer}");
        answer
    }

    /// A change that must be refused; what is said about it.
    async fn refused(&self, path: &str, body: &Value, expect: u16) -> String {
        let (code, answer) = self.post_json(path, body).await;
        assert_eq!(code, expect, "{path}: {answer}");
        answer["error"].to_string()
    }

    async fn phase(&self, task: &str) -> String {
        self.get(&format!("/api/tasks/{task}")).await["phase"].as_str().unwrap().to_owned()
    }

    async fn until_phase(&self, task: &str, phase: &str) {
        let path = format!("/api/tasks/{task}");
        // A name means nothing until the recipes were read.
        eventually(&format!("{task} is {phase}"), || async {
            let (code, body) = self.request("GET", &path, &[]).await;
            code == 200 && serde_json::from_str::<Value>(&body).unwrap()["phase"] == phase
        })
        .await;
    }

    async fn builder(&self, name: &str) -> Value {
        self.get(&format!("/api/builders/{name}")).await
    }

    async fn enrol(&self, token: &str, identity: &Identity) -> Result<String, String> {
        let channel = wire::connect(&self.grpc, self.key, identity).await.unwrap();
        let request = EnrolRequest { token: token.into() };
        let reply = SummitClient::new(channel).enrol(request).await;
        reply.map(|reply| reply.into_inner().name).map_err(|status| status.message().to_owned())
    }

    async fn audit(&self, action: &str) -> Vec<Value> {
        let page = self.get("/api/audit").await;
        let entries = page["entries"].as_array().unwrap();
        entries.iter().filter(|entry| entry["action"] == action).cloned().collect()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_q20_a_pause_is_seen_everywhere_survives_a_restart_and_starts_nothing() {
    let Some(mut farm) = Farm::start_program(&[("a/a", &recipe("a", 1, &[]))]).await else { return };
    farm.until_phase("a", "ready").await;
    let paused = farm.change("/api/queue/pause", &json!({ "why": "new disk" })).await;
    assert_eq!(paused["paused"]["why"], "new disk");
    farm.kill();
    farm.start_again().await;
    let mut agent = farm.attach("one", 1, &[]).await;
    let status = farm.until_status(|status| status["builders_attached"] == 1).await;
    assert_eq!(status["paused"]["why"], "new disk");
    for page in ["/", "/tasks", "/builders", "/queue", "/logs", "/tasks/1"] {
        let text = farm.text(page).await;
        assert!(text.contains("Nothing is started") && text.contains("new disk"), "{page}");
    }
    farm.until_phase("a", "ready").await;
    let why = farm.get("/api/tasks/a/why").await;
    assert!(why["next_step"].as_str().unwrap().contains("`moraine queue resume`"), "{why}");
    let again = farm.refused("/api/queue/pause", &json!({}), 409).await;
    assert!(again.contains("paused it already"), "{again}");
    assert!(farm.get("/api/tasks/a").await["attempts"].as_array().unwrap().is_empty());
    farm.change("/api/queue/resume", &json!({})).await;
    agent.order().await;
    assert_eq!(farm.get("/api/status").await["paused"], Value::Null);
    farm.refused("/api/queue/resume", &json!({}), 409).await;
    assert_eq!(farm.audit("pause_queue").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_held_task_does_not_start_and_what_needs_it_waits_until_it_is_released() {
    let recipes =
        [("a/a", recipe("a", 1, &[])), ("b/b", recipe("b", 1, &["a"])), ("c/c", recipe("c", 1, &[]))];
    let recipes: Vec<(&str, &str)> = recipes.iter().map(|(path, text)| (*path, text.as_str())).collect();
    let Some(farm) = Farm::start(&recipes).await else { return };
    farm.until_phase("a", "ready").await;
    let held = farm.change("/api/tasks/test%2Fa@x86_64/hold", &json!({ "why": "not before Monday" })).await;
    assert_eq!((&held["phase"], held["why"]["headline"].is_string()), (&json!("held"), true));
    let mut agent = farm.attach("one", 2, &[]).await;
    let order = agent.order().await;
    assert_eq!(order.source_name, "c", "the only one that may start");
    agent.started(&order).await;
    farm.until_phase("c", "building").await;
    assert_eq!(farm.phase("b").await, "waiting", "what needs it is not blocked");
    let why = farm.get("/api/tasks/b/why").await;
    assert!(why["next_step"].as_str().unwrap().contains("`moraine task release"), "{why}");
    for (task, verb, hint) in [
        ("a", "hold", ""),
        ("a", "retry", "moraine task release"),
        ("b", "release", "only held tasks"),
        ("c", "hold", "moraine task cancel"),
    ] {
        let refusal = farm.refused(&format!("/api/tasks/{task}/{verb}"), &json!({}), 409).await;
        assert!(refusal.contains(hint), "{verb} {task}: {refusal}");
    }
    // A new commit makes a new task, for which the same holds.
    farm.commit(&[("a/a", &recipe("a", 2, &[]))]);
    assert_eq!(farm.post("/api/wake-up").await.0, 200);
    let newer = farm.get("/api/tasks/a").await;
    assert_eq!((&newer["release"], &newer["phase"]), (&json!(2), &json!("held")));
    let old = farm.refused("/api/tasks/1/retry", &json!({}), 409).await;
    assert!(old.contains("took its place") && old.contains("moraine task show"), "{old}");
    farm.change("/api/tasks/a/release", &json!({})).await;
    let order = agent.order().await;
    assert_eq!((order.source_name.as_str(), order.build_release), ("a", 1));
    let names: Vec<Value> = farm.audit("hold_task").await;
    assert_eq!(names.len(), 1, "one row for what a person did: {names:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_repository_holds_back_is_shown_and_neither_lost_nor_built_again() {
    let Some(farm) = Farm::start(&[("a/a", &recipe("a", 1, &[]))]).await else { return };
    farm.vessel.hold("a", "nothing in the channel provides name(x) needed by a (x86_64)");
    let mut agent = farm.attach("one", 1, &[]).await;
    let order = agent.order().await;
    agent.started(&order).await;
    agent.send(built(&order)).await;
    let upload = agent.upload(order.attempt_id).await;
    assert_eq!(agent.commit(&upload).await, "", "it is in no history yet");
    // The repository has all of it; the builder may forget it.
    agent.released(order.attempt_id).await;
    let announced = farm.vessel.announced();
    assert_eq!(announced[0].recipe_commit.len(), 40, "{announced:?}");
    assert_eq!((announced[0].recipe_path.as_str(), announced[0].may_land_unmet), ("a/a/stone.yaml", false));
    assert!(!announced[0].recipe_repository.is_empty() && !announced[0].builder_name.is_empty());
    let is_held = || async {
        let why = farm.get("/api/tasks/a/why").await;
        why["headline"].as_str().unwrap().contains("held back") && why.to_string().contains("name(x)")
    };
    eventually("it says what it waits for", is_held).await;
    // Leases run out, and nobody misses what the repository keeps.
    for _ in 0..5 {
        farm.clock.advance(Duration::from_secs(60));
        eventually("it waits on", is_held).await;
    }
    assert_eq!(farm.phase("a").await, "publishing");
    farm.vessel.let_go();
    farm.until_phase("a", "published").await;
    assert_eq!(farm.get("/api/tasks/a").await["attempts"].as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_operator_says_is_urgent_goes_before_what_the_configuration_wants() {
    let recipes = [("a/a", recipe("a", 1, &[])), ("b/b", recipe("b", 1, &[])), ("c/c", recipe("c", 1, &[]))];
    let recipes: Vec<(&str, &str)> = recipes.iter().map(|(path, text)| (*path, text.as_str())).collect();
    let wishes = "[[project.requirement]]\nsources = [\"a\"]\npriority = \"high\"\n";
    let Some(mut farm) = Farm::start(&recipes).await else { return };
    farm.configure_project(wishes);
    farm.until_phase("c", "ready").await;
    let set = farm.change("/api/tasks/c/priority", &json!({ "priority": "urgent" })).await;
    assert_eq!(set["priority"], "urgent");
    farm.change("/api/tasks/b/priority", &json!({ "priority": "low" })).await;
    farm.refused("/api/tasks/b/priority", &json!({ "priority": "soon" }), 400).await;
    let next = farm.get("/api/queue/now").await;
    let next: Vec<&Value> = next["next"].as_array().unwrap().iter().map(|task| &task["source"]).collect();
    assert_eq!(next, ["c", "a", "b"]);
    let mut agent = farm.attach("one", 3, &[]).await;
    let mut orders = Vec::new();
    for _ in 0..3 {
        orders.push(agent.order().await);
    }
    orders.sort_by_key(|order| order.attempt_id);
    assert_eq!(orders.iter().map(|order| order.source_name.as_str()).collect::<Vec<_>>(), ["c", "a", "b"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_s5_a_machine_becomes_what_its_token_was_made_for_and_nothing_else() {
    let Some(farm) = Farm::start(&[("a/a", &recipe("a", 1, &[]))]).await else { return };
    let body = json!({ "name": "ada", "features": ["kvm"], "trust": "official", "size": "large" });
    let enrolment = farm.change("/api/builders/enrol", &body).await;
    let token = enrolment["token"].as_str().unwrap();
    assert_eq!(enrolment["grpc_address"], farm.grpc);
    let identity = Identity::generate().unwrap();
    let error = Agent::attach(&farm.grpc, farm.key, &identity, "x", 1, &[]).await.err().unwrap();
    assert!(error.contains("not known"), "{error}");
    assert!(farm.enrol("moraine_enrol_wrong", &identity).await.unwrap_err().contains("not known"));
    assert_eq!(farm.enrol(token, &identity).await.unwrap(), "ada");
    // At once, and as the operator said, whatever the machine says about itself.
    let mut agent = Agent::attach(&farm.grpc, farm.key, &identity, "i-am-vessel", 1, &[]).await.unwrap();
    agent.order().await;
    let builder = farm.builder("ada").await;
    let words = [&builder["role"], &builder["trust"], &builder["size"], &builder["features"][0]];
    assert_eq!(words, ["builder", "official", "large", "kvm"]);
    let eve = Identity::generate().unwrap();
    let refusal = farm.enrol(token, &eve).await.unwrap_err();
    assert!(refusal.contains("used already"), "{refusal}");
    let refused: Vec<Value> =
        farm.audit("enrol_builder").await.into_iter().filter(|entry| entry["refused"] == true).collect();
    assert_eq!(refused.len(), 1, "somebody who has a used token is worth knowing of");
    let channel = wire::connect(&farm.grpc, farm.key, &identity).await.unwrap();
    let status = SummitClient::new(channel).wake_up(WakeUpRequest {}).await.unwrap_err();
    assert!(status.message().contains("may not wake Summit up"), "{status}");
    let own =
        farm.refused("/api/builders", &json!({ "name": "v", "public_key": farm.vessel.key }), 403).await;
    assert!(own.contains("Vessel's own"), "{own}");
    let again = json!({ "name": "ada", "public_key": eve.public_key() });
    assert!(farm.refused("/api/builders", &again, 409).await.contains("has that name"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_s8_a_removed_builder_is_cut_off_at_once_and_its_build_goes_elsewhere() {
    let Some(farm) = Farm::start(&[("a/a", &recipe("a", 1, &[]))]).await else { return };
    let identity = Identity::generate().unwrap();
    let add = json!({ "name": "ada", "public_key": identity.public_key() });
    farm.change("/api/builders", &add).await;
    let mut agent = Agent::attach(&farm.grpc, farm.key, &identity, "ada", 1, &[]).await.unwrap();
    let order = agent.order().await;
    agent.started(&order).await;
    farm.until_phase("a", "building").await;
    let began = Instant::now();
    farm.change("/api/builders/ada/remove", &json!({})).await;
    agent.disconnected().await;
    let cut_after = began.elapsed();
    assert!(cut_after < Duration::from_secs(20), "not only at the next sweep: {cut_after:?}");
    assert_eq!(farm.phase("a").await, "ready", "nobody waits for the lease to run out");
    let error = Agent::attach(&farm.grpc, farm.key, &identity, "ada", 1, &[]).await.err().unwrap();
    assert!(error.contains("not known"), "{error}");
    farm.clock.advance(Duration::from_secs(3));
    let mut other = farm.attach("one", 1, &[]).await;
    let again = other.order().await;
    assert_eq!(again.task_id, order.task_id);
    let page = farm.get("/api/tasks/a").await;
    assert_eq!(page["attempts"][0]["builder"], "ada", "its name is remembered");
    assert_eq!(page["attempts"][0]["outcome"]["message"], "the builder was removed");
    let configured = farm.refused("/api/builders/one/remove", &json!({}), 409).await;
    assert!(configured.contains("configuration"), "{configured}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_s8_a_builder_that_leaves_the_configuration_loses_its_connection() {
    let Some(mut farm) = Farm::start(&[("a/a", &recipe("a", 1, &[]))]).await else { return };
    let identity = Identity::generate().unwrap();
    farm.configure(&format!("[[builder]]\nname = \"ada\"\npublic_key = \"{}\"\n", identity.public_key()));
    let (grpc, key) = (farm.grpc.clone(), farm.key);
    let attach = || Agent::attach(&grpc, key, &identity, "ada", 1, &[]);
    eventually("it may attach", || async { attach().await.is_ok() }).await;
    let mut agent = attach().await.unwrap();
    farm.configure("");
    agent.disconnected().await;
    assert!(attach().await.err().unwrap().contains("not known"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_faults_in_a_row_quarantine_a_builder_until_it_rested_or_is_lifted_by_hand() {
    let Some(farm) = Farm::start(&[("a/a", &recipe("a", 1, &[]))]).await else { return };
    let mut agent = farm.attach("one", 1, &[]).await;
    for faults in 1..=2 {
        let order = agent.order().await;
        agent.started(&order).await;
        agent.send(failed(&order, FailureClass::HostFault, "no space left on device", "")).await;
        agent.released(order.attempt_id).await;
        eventually("it is noted", || async { farm.builder("one").await["faults_in_row"] == faults }).await;
        farm.clock.advance(Duration::from_secs(10));
    }
    eventually("it is quarantined", || async { farm.builder("one").await["state"] == "quarantined" }).await;
    let builder = farm.builder("one").await;
    assert_eq!(
        (&builder["faults_in_row"], &builder["fault"]),
        (&json!(2), &json!("no space left on device"))
    );
    let why = farm.get("/api/tasks/a/why").await;
    let next_step = why["next_step"].as_str().unwrap();
    assert!(next_step.contains("`moraine builder undrain one`"), "{next_step}");
    assert!(farm.text("/builders").await.contains("quarantined"));
    let lifted = farm.change("/api/builders/one/undrain", &json!({})).await;
    assert_eq!((&lifted["state"], &lifted["faults_in_row"]), (&json!("attached"), &json!(0)));
    let order = agent.order().await;
    // The third fault in all is the first again.
    agent.started(&order).await;
    agent.send(failed(&order, FailureClass::HostFault, "cold", "")).await;
    agent.released(order.attempt_id).await;
    eventually("it is noted", || async { farm.builder("one").await["faults_in_row"] == 1 }).await;
    assert_eq!(farm.builder("one").await["state"], "attached");
    assert_eq!(farm.builder("one").await["attempts"].as_array().unwrap().len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drained_builder_ends_what_it_has_and_gets_nothing_more() {
    let recipes = [("a/a", recipe("a", 1, &[])), ("b/b", recipe("b", 1, &["a"]))];
    let recipes: Vec<(&str, &str)> = recipes.iter().map(|(path, text)| (*path, text.as_str())).collect();
    let Some(farm) = Farm::start(&recipes).await else { return };
    let mut agent = farm.attach("one", 1, &[]).await;
    let order = agent.order().await;
    agent.started(&order).await;
    let drained = farm.change("/api/builders/one/drain", &json!({})).await;
    assert_eq!(drained["state"], "drained");
    agent.build_and_publish(&farm.vessel, &order).await;
    farm.until_phase("b", "ready").await;
    let why = farm.get("/api/tasks/b/why").await;
    assert!(why["next_step"].as_str().unwrap().contains("`moraine builder undrain one`"), "{why}");
    farm.change("/api/builders/one/undrain", &json!({})).await;
    assert_eq!(agent.order().await.source_name, "b");
    let label = json!({ "add_labels": ["rack-3"] });
    assert_eq!(farm.change("/api/builders/one/label", &label).await["labels"], json!(["rack-3"]));
    farm.refused("/api/builders/one/label", &json!({ "size": "large" }), 409).await;
    farm.refused("/api/builders/nobody/drain", &json!({}), 404).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_s6_a_builder_can_neither_fail_nor_finish_nor_write_the_log_of_what_it_does_not_hold() {
    let Some(farm) = Farm::start(&[("a/a", &recipe("a", 1, &[]))]).await else { return };
    let mut one = farm.attach("one", 1, &[]).await;
    let order = one.order().await;
    one.started(&order).await;
    assert_eq!(one.log(&order, 0, b"mine\n").await, 5);
    let mut two = farm.attach("two", 1, &[]).await;
    for report in [
        failed(&order, FailureClass::Build, "stolen", "build"),
        failed(&order, FailureClass::HostFault, "stolen", ""),
        built(&order),
    ] {
        two.send(report).await;
        two.released(order.attempt_id).await;
    }
    let chunk = wire::summit::LogChunk {
        attempt_id: order.attempt_id,
        lease_token: order.lease_token,
        offset: 0,
        bytes: b"theirs\n".to_vec(),
    };
    two.send(wire::summit::from_agent::Message::Log(chunk)).await;
    two.released(order.attempt_id).await;
    two.heartbeat(&[Agent::held(&order, HeldState::Building, 0)]).await;
    two.released(order.attempt_id).await;
    let page = farm.get("/api/tasks/a").await;
    assert_eq!((&page["phase"], &page["builder"]), (&json!("building"), &json!("one")));
    assert_eq!(farm.builder("two").await["faults_in_row"], 0);
    let log = farm.text(&format!("/tasks/{}/log/{}", order.task_id, order.attempt_id)).await;
    assert!(log.contains("mine") && !log.contains("theirs"), "{log}");
}

/// Rows Q9 to Q11: an order that is never answered, a machine that says nothing more, a connection that is replaced.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_q9_q10_q11_a_builder_that_takes_an_order_and_is_silent_holds_nothing_up() {
    let Some(farm) = Farm::start(&[("a/a", &recipe("a", 1, &[]))]).await else { return };
    let mut silent = farm.attach("one", 1, &[]).await;
    let order = silent.order().await;
    // The same agent again, while the first connection is still open.
    let mut again = farm.attach("one", 1, &[]).await;
    silent.disconnected().await;
    assert_eq!(again.order().await.attempt_id, order.attempt_id, "a new connection is told again");
    drop(silent);
    assert_eq!(farm.builder("one").await["state"], "attached", "the late end of the old one removes nothing");
    // The grace after a start, and the lease.
    farm.clock.advance(Duration::from_secs(130));
    let mut other = farm.attach("two", 1, &[]).await;
    eventually("the silent attempt is lost", || async {
        let page = farm.get("/api/tasks/a").await;
        page["attempts"][0]["outcome"]["class"] == "lost"
    })
    .await;
    farm.clock.advance(Duration::from_secs(3));
    let next = other.order().await;
    assert!(next.attempt_id > order.attempt_id && next.lease_token > order.lease_token);
    again.send(built(&order)).await;
    again.released(order.attempt_id).await;
    assert_eq!(farm.get("/api/tasks/a").await["builder"], "two");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancelling_tells_the_builder_at_once_and_says_who_and_why() {
    let Some(farm) = Farm::start(&[("a/a", &recipe("a", 1, &[]))]).await else { return };
    let mut agent = farm.attach("one", 1, &[]).await;
    let order = agent.order().await;
    agent.started(&order).await;
    farm.until_phase("a", "building").await;
    let cancelled = farm.change("/api/tasks/a/cancel", &json!({ "why": "not this week" })).await;
    assert_eq!(cancelled["phase"], "cancelled");
    agent.next(|message| matches!(message, to_agent::Message::Cancel(_))).await;
    let detail = cancelled["detail"].as_str().unwrap();
    assert!(detail.starts_with("cancelled by ") && detail.ends_with(": not this week"), "{detail}");
    let refusal = farm.refused("/api/tasks/a/cancel", &json!({}), 409).await;
    assert!(refusal.contains("moraine task retry"), "{refusal}");
    farm.change("/api/tasks/a/retry", &json!({})).await;
    assert_eq!(agent.order().await.task_id, order.task_id);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_summit_on_the_same_folder_is_refused_by_name() {
    let Some(mut farm) = Farm::start_program(&[("n/nano", &recipe("nano", 1, &[]))]).await else { return };
    let first = farm.program.as_ref().unwrap().id();
    let mut command = farm.command();
    let second = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let told = String::from_utf8_lossy(&second.stderr).into_owned();
    assert_eq!(second.status.code(), Some(4), "{told}");
    assert!(
        told.contains("another Summit runs on it") && told.contains(&format!("process {first}")),
        "{told}"
    );
    assert_eq!(farm.get("/health").await["role"], "leader", "the first one goes on");
    // Killed, it leaves nothing that would have to be cleared up.
    farm.kill();
    farm.start_again().await;
    assert_eq!(farm.get("/health").await["role"], "leader");
}
