//! Two Summits on one database: one leads, the other takes over, and nothing is lost or done twice.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::Postgres;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use wire::summit::{Held, HeldState};
use wire::{Identity, PublicKey};

use crate::agent::Agent;
use crate::fixture::{commit_in, eventually};
use crate::recipe;
use crate::vessel::FakeVessel;

/// The server gives the lock of one that is silent away after five seconds, and others ask for it every second.
const TAKE_OVER_LIMIT: Duration = Duration::from_secs(60);

/// One Summit as a program.
struct Program {
    child: Child,
    http: String,
    grpc: String,
}

impl Program {
    fn signal(&self, name: &str) {
        let status = Command::new("kill").arg(name).arg(self.child.id().to_string()).status().unwrap();
        assert!(status.success());
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Status line with headers, and body. Nothing when it does not answer.
    async fn request(&self, method: &str, path: &str) -> Option<(String, String)> {
        let mut stream = tokio::net::TcpStream::connect(&self.http).await.ok()?;
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Length: 0\r\nX-Moraine: 1\r\n\r\n",
            self.http
        );
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = Vec::new();
        let reading = stream.read_to_end(&mut answer);
        tokio::time::timeout(Duration::from_secs(3), reading).await.ok()?.ok()?;
        let answer = String::from_utf8(answer).ok()?;
        answer.split_once("\r\n\r\n").map(|(head, body)| (head.to_owned(), body.to_owned()))
    }

    async fn get(&self, path: &str) -> Value {
        let (head, body) = self.request("GET", path).await.expect("it answers");
        assert!(head.starts_with("HTTP/1.1 200"), "{path}: {head}\n{body}");
        serde_json::from_str(&body).unwrap()
    }

    async fn leads(&self) -> bool {
        self.request("GET", "/api/status").await.is_some_and(|(head, _)| head.starts_with("HTTP/1.1 200"))
    }

    async fn stands_by(&self) -> bool {
        let health = self.request("GET", "/health").await;
        health.is_some_and(|(_, body)| body.contains(r#""role":"standby""#))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// A database, a repository, recipes, and Summits with one key.
struct Place {
    folder: TempDir,
    database: String,
    vessel: FakeVessel,
    key: PublicKey,
    builder: Identity,
    /// Further lines of every configuration.
    more: String,
}

impl Place {
    async fn new(postgres: &Postgres) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let public = folder.path().join("public");
        fs_err::create_dir_all(&public).unwrap();
        let vessel = FakeVessel::start(&public).await;
        let key = summit::identity(&folder.path().join("a")).unwrap().public_key();
        // Agents and Vessel know one key, whoever leads.
        fs_err::create_dir_all(folder.path().join("b")).unwrap();
        fs_err::copy(folder.path().join("a/identity.key"), folder.path().join("b/identity.key")).unwrap();
        vessel.trust(key);
        commit_in(
            &folder.path().join("recipes"),
            &[("z/zlib", &recipe("zlib", 1, &[])), ("n/nano", &recipe("nano", 1, &[]))],
        );
        Self {
            database: postgres.database(),
            vessel,
            key,
            builder: Identity::generate().unwrap(),
            folder,
            more: String::new(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    async fn start(&self, name: &str) -> Program {
        let config = self.path(&format!("{name}.toml"));
        let text = format!(
            "http_address = \"127.0.0.1:0\"\ngrpc_address = \"127.0.0.1:0\"\npoll_seconds = 3600\nlease_seconds = 60\n\
             {}[[project]]\nname = \"test\"\nrecipes = \"{}\"\n\
             [vessel]\naddress = \"{}\"\npublic_key = \"{}\"\npublic_url = \"file://{}\"\n\
             [[builder]]\nname = \"one\"\npublic_key = \"{}\"\n",
            self.more,
            self.path("recipes").display(),
            self.vessel.address,
            self.vessel.key,
            self.path("public").display(),
            self.builder.public_key(),
        );
        fs_err::write(&config, text).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_summit"))
            .args(["serve", "--database", &self.database, "--data"])
            .arg(self.path(name))
            .arg("--config")
            .arg(config)
            .stdout(Stdio::piped())
            .stderr(fs_err::File::create(self.path(&format!("{name}.log"))).unwrap().into_parts().0)
            .spawn()
            .unwrap();
        let output = child.stdout.take().unwrap();
        let lines = tokio::task::spawn_blocking(move || {
            BufReader::new(output).lines().take(2).map(Result::unwrap).collect::<Vec<_>>()
        });
        let lines = lines.await.unwrap();
        let http = lines[0].strip_prefix("dashboard: http://").unwrap().trim_end_matches('/').to_owned();
        let grpc = lines[1].split(' ').nth(1).unwrap().to_owned();
        Program { child, http, grpc }
    }

    async fn attach(&self, program: &Program, held: &[Held]) -> Result<Agent, String> {
        Agent::attach(&program.grpc, self.key, &self.builder, "one", 2, held).await
    }

    /// A leader and a standby.
    async fn pair(&self) -> (Program, Program) {
        let leader = self.start("a").await;
        eventually("the first one leads", || leader.leads()).await;
        let standby = self.start("b").await;
        eventually("the second one stands by", || standby.stands_by()).await;
        (leader, standby)
    }
}

async fn takes_over(standby: &Program) {
    let begin = Instant::now();
    while !standby.leads().await {
        assert!(begin.elapsed() < TAKE_OVER_LIMIT, "nobody leads");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// What an agent sends again after a break: from where Summit says that it goes on.
async fn send_log(agent: &mut Agent, order: &wire::summit::Order, log: &[u8], from: u64) {
    let mut offset = from;
    while let Some(rest) = log.get(usize::try_from(offset).unwrap()..).filter(|rest| !rest.is_empty()) {
        offset = agent.log(order, offset, rest).await;
    }
}

fn log_file(data: &Path, order: &wire::summit::Order) -> Vec<u8> {
    let path =
        summit::logs_folder(data).join(order.task_id.to_string()).join(format!("{}.log", order.attempt_id));
    fs_err::read(path).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_takes_over_from_a_killed_leader_in_the_middle_of_builds() {
    let Some(postgres) = Postgres::shared() else { return };
    let place = Place::new(postgres).await;
    let (mut leader, standby) = place.pair().await;

    let (head, _) = standby.request("GET", "/tasks?phase=ready").await.unwrap();
    assert!(head.starts_with("HTTP/1.1 307"), "{head}");
    assert!(head.contains(&format!("location: http://{}/tasks?phase=ready", leader.http)), "{head}");
    let (head, body) = standby.request("POST", "/api/wake-up").await.unwrap();
    assert!(head.starts_with("HTTP/1.1 503") && body.contains(&leader.http), "{head}\n{body}");
    let refused = place.attach(&standby, &[]).await.err().unwrap();
    assert!(refused.contains(&leader.grpc), "{refused}");

    let mut agent = place.attach(&leader, &[]).await.unwrap();
    let orders = [agent.order().await, agent.order().await];
    let log: Vec<u8> = (0..3000).flat_map(|line| format!("line {line}\n").into_bytes()).collect();
    for order in &orders {
        agent.started(order).await;
        assert_eq!(agent.log(order, 0, &log[..20_000]).await, 20_000);
    }
    leader.kill();
    takes_over(&standby).await;

    let held = orders.each_ref().map(|order| Agent::held(order, HeldState::Building, log.len() as u64));
    let mut agent = place.attach(&standby, &held).await.unwrap();
    for order in &orders {
        // The agent knows that 20,000 bytes arrived somewhere; they are asked for once more.
        send_log(&mut agent, order, &log, 20_000).await;
        agent.build_and_publish(&place.vessel, order).await;
        assert_eq!(log_file(&place.path("b"), order), log);
    }
    let tasks = standby.get("/api/tasks").await;
    for task in tasks["tasks"].as_array().unwrap() {
        assert_eq!(task["phase"], "published", "{task}");
        let task = standby.get(&format!("/api/tasks/{}", task["id"])).await;
        assert_eq!(task["attempts"].as_array().unwrap().len(), 1, "built once: {task}");
    }
    assert_eq!(tasks["tasks"].as_array().unwrap().len(), 2);
    // The one that was killed comes back as a standby of the other.
    let back = place.start("a").await;
    eventually("it stands by", || back.stands_by()).await;
    assert_eq!(back.get("/health").await["leader"]["grpc"], json!(standby.grpc));
    assert_eq!(back.get("/health").await["leader"]["epoch"], json!(2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_was_stopped_comes_back_shut_out() {
    let Some(postgres) = Postgres::shared() else { return };
    let place = Place::new(postgres).await;
    let (leader, standby) = place.pair().await;
    let mut agent = place.attach(&leader, &[]).await.unwrap();
    let order = agent.order().await;
    agent.started(&order).await;
    agent.log(&order, 0, b"begun\n").await;
    leader.signal("-STOP");
    takes_over(&standby).await;
    let before = standby.get(&format!("/api/tasks/{}", order.task_id)).await;
    // While it is stopped, its agent reports the end of the build; it reads that as the first thing when it goes on.
    agent.send(crate::agent::built(&order)).await;
    leader.signal("-CONT");
    eventually("it stands by", || leader.stands_by()).await;
    let after = standby.get(&format!("/api/tasks/{}", order.task_id)).await;
    assert_eq!(before["task"], after["task"], "what it was told was not written");
    assert_eq!(before["events"], after["events"]);
    // The agent finds the one that leads, and its report counts there.
    let held = [Agent::held(&order, HeldState::Building, 6)];
    let mut agent = place.attach(&standby, &held).await.unwrap();
    agent.build_and_publish(&place.vessel, &order).await;
    let task = standby.get(&format!("/api/tasks/{}", order.task_id)).await;
    assert_eq!(task["attempts"].as_array().unwrap().len(), 1, "{task}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_restarts_in_the_middle_stops_nothing_for_good() {
    let Some(postgres) = Postgres::start() else { return };
    let place = Place::new(&postgres).await;
    let summit = place.start("a").await;
    eventually("it leads", || summit.leads()).await;
    let mut agent = place.attach(&summit, &[]).await.unwrap();
    let order = agent.order().await;
    agent.started(&order).await;
    agent.log(&order, 0, b"begun\n").await;
    postgres.stop();
    eventually("it says so", async || {
        let health = summit.request("GET", "/health").await;
        health.is_some_and(|(head, body)| head.starts_with("HTTP/1.1 503") && body.contains("cannot"))
    })
    .await;
    postgres.start_again();
    takes_over(&summit).await;
    let held = [Agent::held(&order, HeldState::Building, 6)];
    let mut agent = place.attach(&summit, &held).await.unwrap();
    assert_eq!(agent.log(&order, 6, b"more\n").await, 11, "the log is where it was");
    agent.build_and_publish(&place.vessel, &order).await;
    let task = summit.get(&format!("/api/tasks/{}", order.task_id)).await;
    assert_eq!(task["attempts"].as_array().unwrap().len(), 1, "{task}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_folder_of_logs_serves_whoever_leads() {
    let Some(postgres) = Postgres::shared() else { return };
    let mut place = Place::new(postgres).await;
    place.more = format!("log_folder = \"{}\"\n", place.path("logs").display());
    let (mut leader, standby) = place.pair().await;
    let mut agent = place.attach(&leader, &[]).await.unwrap();
    let [ended, running] = [agent.order().await, agent.order().await];
    let log: Vec<u8> = (0..3000).flat_map(|line| format!("line {line}\n").into_bytes()).collect();
    for order in [&ended, &running] {
        agent.started(order).await;
        assert_eq!(agent.log(order, 0, &log[..20_000]).await, 20_000);
    }
    send_log(&mut agent, &ended, &log, 20_000).await;
    agent.build_and_publish(&place.vessel, &ended).await;
    leader.kill();
    takes_over(&standby).await;

    let path = format!("/tasks/{}/log/{}", ended.task_id, ended.attempt_id);
    let (head, body) = standby.request("GET", &path).await.unwrap();
    assert!(head.starts_with("HTTP/1.1 200") && body.as_bytes() == log, "{head}");
    let held = [Agent::held(&running, HeldState::Building, log.len() as u64)];
    let mut agent = place.attach(&standby, &held).await.unwrap();
    assert_eq!(agent.log(&running, 20_000, &log[20_000..20_100]).await, 20_100, "it goes on where it was");
    send_log(&mut agent, &running, &log, 20_100).await;
    agent.build_and_publish(&place.vessel, &running).await;
    let (_, body) = standby
        .request("GET", &format!("/tasks/{}/log/{}", running.task_id, running.attempt_id))
        .await
        .unwrap();
    assert_eq!(body.as_bytes(), log);
    assert_eq!(check(&standby, "logs").await["well"], true);

    // One that keeps its logs elsewhere says so when it leads.
    place.more = String::new();
    drop(standby);
    let elsewhere = place.start("a").await;
    takes_over(&elsewhere).await;
    let logs = check(&elsewhere, "logs").await;
    assert_eq!(logs["well"], false);
    assert!(logs["detail"].as_str().unwrap().contains("log_folder"), "{logs}");
}

async fn check(summit: &Program, name: &str) -> Value {
    let health = summit.get("/health").await;
    let checks = health["checks"].as_array().unwrap();
    checks.iter().find(|check| check["name"] == name).unwrap_or(&Value::Null).clone()
}
