//! Webhooks in and out over real HTTP, and what Summit says of itself.

use std::sync::{Arc, Mutex};

use ring::hmac;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::fixture::{Farm, eventually};
use crate::recipe;

const SECRET: &str = "a shared secret";

/// Answers of a receiver that keeps the connection: it never says anything, or says yes and that ten bytes follow.
const SILENT: &str = "silent";
const SAYS_YES_AND_NO_MORE: &str = "200 Fine";

/// The configuration of a hook that is told everything.
fn hook_config(name: &str, receiver: &Receiver, folder: &std::path::Path) -> String {
    format!(
        "[[webhook]]\nname = \"{name}\"\nurl = \"http://{}/\"\nevents = [\"*\"]\nsecret_file = \"{}\"\n",
        receiver.address,
        secret(folder).display()
    )
}

/// The number of an event, and what was told of it.
fn number_and_body(text: &str) -> (u64, String) {
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let id = header(head, "webhook-id");
    (id.strip_prefix("moraine_").unwrap().parse().unwrap(), body.to_owned())
}

/// A receiver that answers as it is told, and keeps what it was sent.
struct Receiver {
    address: String,
    heard: Arc<Mutex<Vec<String>>>,
}

impl Receiver {
    async fn start(answers: &[&'static str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let mut answers = answers.to_vec();
        let receiver = Self { address, heard: Arc::clone(&heard) };
        tokio::spawn(async move {
            let mut held = Vec::new();
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let Some(text) = read(&mut stream).await else { continue };
                let answer = {
                    heard.lock().unwrap().push(text);
                    if answers.is_empty() { "204 No Content" } else { answers.remove(0) }
                };
                let length = if answer == SAYS_YES_AND_NO_MORE { 10 } else { 0 };
                let text =
                    format!("HTTP/1.1 {answer}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n");
                if answer != SILENT {
                    drop(stream.write_all(text.as_bytes()).await);
                }
                if [SILENT, SAYS_YES_AND_NO_MORE].contains(&answer) {
                    held.push(stream);
                }
            }
        });
        receiver
    }

    fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }
}

/// A request; nothing where whoever asks is gone in the middle of it.
async fn read(stream: &mut tokio::net::TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    loop {
        let mut piece = [0; 4096];
        let count = stream.read(&mut piece).await.ok()?;
        bytes.extend_from_slice(&piece[..count]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = header(head, "content-length").parse().unwrap_or(0);
            if body.len() >= length {
                return Some(text);
            }
        }
        if count == 0 {
            return None;
        }
    }
}

fn header(head: &str, name: &str) -> String {
    let wanted = |line: &&str| line.to_ascii_lowercase().starts_with(&format!("{name}:"));
    let line = head.lines().find(wanted).unwrap_or_default();
    line.split_once(':').map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
}

/// A file that only its owner may read.
fn secret(folder: &std::path::Path) -> std::path::PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let path = folder.join("hook.secret");
    fs_err::write(&path, SECRET).unwrap();
    fs_err::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    path
}

/// Signs as the specification says, without any of Summit's code.
fn signed(head: &str, body: &str) -> String {
    let text = format!("{}.{}.{body}", header(head, "webhook-id"), header(head, "webhook-timestamp"));
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes()), text.as_bytes());
    let digits: Vec<u8> = tag.as_ref().to_vec();
    format!("v1,{}", base64(&digits))
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    bytes
        .chunks(3)
        .map(|chunk| {
            let number =
                (0..3).fold(0_u32, |number, at| number << 8 | u32::from(*chunk.get(at).unwrap_or(&0)));
            (0..4)
                .map(|at| match at > chunk.len() {
                    true => '=',
                    false => char::from(LETTERS[(number >> (18 - 6 * at)) as usize & 63]),
                })
                .collect::<String>()
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_webhook_is_signed_ordered_and_told_again_until_the_receiver_says_yes() {
    let receiver = Receiver::start(&["500 Oh", "302 Found\r\nLocation: http://127.0.0.1:9/"]).await;
    let url = format!("http://{}/farm", receiver.address);
    let more = |folder: &std::path::Path| {
        let file = secret(folder);
        format!(
            "[[webhook]]\nname = \"chat\"\nurl = \"{url}\"\nevents = [\"task.ready\", \"task.cancelled\"]\nsecret_file = \"{}\"\n",
            file.display()
        )
    };
    let Some(mut farm) = Farm::start_with(&[("n/nano", &recipe("nano", 1, &[]))], more).await else { return };
    eventually("there is a task", async || farm.get("/api/tasks").await["total"] == 1).await;
    let tasks = farm.get("/api/tasks").await;
    eventually("the hook has begun", async || {
        !farm.get("/api/webhooks").await["webhooks"].as_array().unwrap().is_empty()
    })
    .await;
    let id = tasks["tasks"][0]["id"].clone();
    assert_eq!(farm.post(&format!("/api/tasks/{id}/cancel")).await.0, 200);
    eventually("it was tried", async || !receiver.heard().is_empty()).await;
    eventually("the refusal is noted", async || {
        hook(&farm).await["last_answer"].as_str().unwrap().contains("500")
    })
    .await;
    let noted = hook(&farm).await;
    assert_eq!((&noted["tries"], noted["next_try_ms"].is_u64()), (&1.into(), true), "{noted}");
    eventually("it is told again and a redirect is refused", async || {
        hook(&farm).await["last_answer"].as_str().unwrap().contains("redirects are not followed")
    })
    .await;
    // Its place survives: another Summit on the same data goes on with the same event.
    farm.restart().await;
    eventually("the receiver said yes to both events", async || {
        let heard = receiver.heard().iter().any(|text| text.contains("task.cancelled"));
        heard && hook(&farm).await["tries"] == 0
    })
    .await;
    let heard = receiver.heard();
    let cancelled: Vec<(&str, &str)> = heard
        .iter()
        .map(|text| text.split_once("\r\n\r\n").unwrap())
        .filter(|(_, body)| body.contains("task.cancelled"))
        .collect();
    assert!(!cancelled.is_empty(), "{heard:?}");
    let mut ids = Vec::new();
    for text in &heard {
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert_eq!(header(head, "webhook-signature"), signed(head, body), "{text}");
        let number: u64 = header(head, "webhook-id").strip_prefix("moraine_").unwrap().parse().unwrap();
        ids.push(number);
    }
    assert!(ids.is_sorted(), "in their order: {ids:?}");
    let body: Value = serde_json::from_str(cancelled.last().unwrap().1).unwrap();
    assert_eq!((&body["data"]["source"], &body["data"]["task"]), (&"nano".into(), &id), "{body}");
}

/// What a hook is known to have done.
async fn row(farm: &Farm, name: &str) -> Value {
    let hooks = farm.get("/api/webhooks").await["webhooks"].as_array().unwrap().clone();
    hooks.into_iter().find(|hook| hook["name"] == name).unwrap_or(Value::Null)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_hangs_holds_up_nobody_and_a_yes_without_an_end_is_a_yes() {
    let (silent, slow, quick) = tokio::join!(
        Receiver::start(&[SILENT]),
        Receiver::start(&[SAYS_YES_AND_NO_MORE; 20]),
        Receiver::start(&[])
    );
    let more = |folder: &std::path::Path| {
        let hooks = [("silent", &silent), ("slow", &slow), ("quick", &quick)];
        hooks.map(|(name, receiver)| hook_config(name, receiver, folder)).concat()
    };
    let Some(farm) = Farm::start_with(&[("n/nano", &recipe("nano", 1, &[]))], more).await else { return };
    eventually("all hooks have begun", async || !row(&farm, "silent").await.is_null()).await;
    eventually("there is a task", async || farm.get("/api/tasks").await["total"] == 1).await;
    let id = farm.get("/api/tasks").await["tasks"][0]["id"].clone();
    assert_eq!(farm.post(&format!("/api/tasks/{id}/cancel")).await.0, 200);
    let is_told = |receiver: &Receiver| receiver.heard().iter().any(|text| text.contains("task.cancelled"));
    eventually("the others are told all of it", async || is_told(&slow) && is_told(&quick)).await;
    for receiver in [&slow, &quick] {
        let numbers: Vec<u64> = receiver.heard().iter().map(|text| number_and_body(text).0).collect();
        assert!(numbers.is_sorted_by(|one, next| one < next), "each once, in their order: {numbers:?}");
    }
    assert_eq!(row(&farm, "slow").await["tries"], 0);
    eventually("the one that hangs is given up for now", async || {
        row(&farm, "silent").await["last_answer"].as_str().is_some_and(|answer| answer.contains("silent"))
    })
    .await;
    eventually("and is told later", async || is_told(&silent)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_summit_that_is_killed_while_it_tells_tells_the_same_again_and_then_the_rest() {
    let receiver = Receiver::start(&[SILENT]).await;
    let Some(mut farm) = Farm::prepare(&[("n/nano", &recipe("nano", 1, &[]))]).await else { return };
    farm.more = hook_config("chat", &receiver, farm.folder());
    farm.start_again().await;
    eventually("the hook has begun", async || !row(&farm, "chat").await.is_null()).await;
    eventually("there is a task", async || farm.get("/api/tasks").await["total"] == 1).await;
    let id = farm.get("/api/tasks").await["tasks"][0]["id"].clone();
    assert_eq!(farm.post(&format!("/api/tasks/{id}/cancel")).await.0, 200);
    eventually("the first is told", async || !receiver.heard().is_empty()).await;
    farm.kill();
    farm.start_again().await;
    eventually("everything is told", async || {
        receiver.heard().iter().any(|text| text.contains("task.cancelled")) && receiver.heard().len() > 1
    })
    .await;
    let told: Vec<(u64, String)> = receiver.heard().iter().map(|text| number_and_body(text)).collect();
    assert_eq!(told[0], told[1], "the one in hand comes again, with its number");
    let numbers: Vec<u64> = told[1..].iter().map(|(number, _)| *number).collect();
    assert!(numbers.is_sorted_by(|one, next| one < next), "and the others once: {numbers:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forge_does_not_wait_for_a_look_that_takes_long() {
    // A server of recipes that takes connections and says nothing.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let keeping = tokio::spawn(async move {
        let mut held = Vec::new();
        loop {
            held.push(listener.accept().await.unwrap());
        }
    });
    let more = |folder: &std::path::Path| {
        format!(
            "[[project]]\nname = \"slow\"\nrecipes = \"http://{address}/recipes.git\"\n\
             wake_up_secret_file = \"{}\"\n",
            secret(folder).display()
        )
    };
    let Some(farm) = Farm::start_with(&[("n/nano", &recipe("nano", 1, &[]))], more).await else { return };
    let push =
        ["X-Gitlab-Event: Push Hook", "X-Gitlab-Token: a shared secret", "Content-Type: application/json"];
    let body = r#"{"ref":"refs/heads/main"}"#;
    let (head, said) = split(farm.whole("POST", "/hooks/forge/slow", &push, body).await);
    assert!(head.starts_with("HTTP/1.1 202"), "{head} {said}");
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((&said["look"], &said["at"]), (&Value::Null, &"/api/projects".into()), "{said}");
    keeping.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forge_wakes_summit_up_when_it_proves_that_it_knows_the_secret() {
    let Some(mut farm) = Farm::start(&[("n/nano", &recipe("nano", 1, &[]))]).await else { return };
    let body = include_str!("../forge/gitlab.json");
    let kind = "Content-Type: application/json";
    let push = ["X-Gitlab-Event: Push Hook", "X-Gitlab-Token: a shared secret", kind];
    let (head, _) = split(farm.whole("POST", "/hooks/forge/test", &push, body).await);
    assert!(head.starts_with("HTTP/1.1 404"), "no secret, no hook: {head}");
    eventually("everything was read", async || farm.get("/api/status").await["looked_ms"].is_u64()).await;
    let file = secret(farm.folder());
    farm.configure_project(&format!("wake_up_secret_file = \"{}\"\n", file.display()));
    farm.restart().await;
    // Or the first look would see the commit, and not the one that is asked for.
    eventually("everything was read", async || farm.get("/api/status").await["looked_ms"].is_u64()).await;
    farm.commit(&[("l/less", &recipe("less", 1, &[]))]);
    let (head, said) = split(farm.whole("POST", "/hooks/forge/test", &push, body).await);
    let said: Value = serde_json::from_str(&said).unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{head} {said}");
    assert_eq!(
        (&said["look"]["moved"], &said["said"]),
        (&true.into(), &"looked: 1 new tasks".into()),
        "{said}"
    );
    for (headers, body, expect) in [
        (["X-Gitlab-Event: Push Hook", "X-Gitlab-Token: wrong", kind], body, "401"),
        (["X-GitHub-Event: push", "X-Hub-Signature-256: sha256=00", kind], body, "401"),
        (["X-Nothing: push", "X-Y: z", kind], body, "401"),
        (["X-Gitlab-Event: Push Hook", push[1], kind], r#"{"ref":"refs/heads/other"}"#, "200"),
        (["X-Gitlab-Event: Push Hook", push[1], kind], "{}", "400"),
    ] {
        let (head, said) = split(farm.whole("POST", "/hooks/forge/test", &headers, body).await);
        assert!(head.starts_with(&format!("HTTP/1.1 {expect}")), "{headers:?}: {head} {said}");
        assert!(expect != "200" || said.contains("nothing to do here"), "{said}");
    }
    let trail = farm.get("/api/audit").await;
    assert_eq!(
        (&trail["entries"][0]["actor_kind"], &trail["entries"][0]["actor"]),
        (&"forge".into(), &"test".into()),
        "{trail}"
    );
}

/// The first webhook.
async fn hook(farm: &Farm) -> Value {
    farm.get("/api/webhooks").await["webhooks"][0].clone()
}

fn split(answer: String) -> (String, String) {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_and_figures_say_how_summit_is() {
    let Some(farm) = Farm::start(&[("n/nano", &recipe("nano", 1, &[]))]).await else { return };
    eventually("everything was read", async || farm.get("/api/status").await["looked_ms"].is_u64()).await;
    let health = farm.get("/health").await;
    assert_eq!(health["role"], "leader", "{health}");
    let check = |name: &str| {
        let checks = health["checks"].as_array().unwrap().clone();
        checks.into_iter().find(|check| check["name"] == name).unwrap()
    };
    for name in ["database", "disk", "vessel", "configuration", "project test"] {
        assert!(check(name)["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{health}");
    }
    assert_eq!(check("database")["well"], true, "{health}");
    let looked = "summit_look_duration_seconds_count{project=\"test\"}";
    eventually("a look was timed", async || farm.whole("GET", "/metrics", &[], "").await.contains(looked))
        .await;
    let figures = farm.whole("GET", "/metrics", &[], "").await;
    for line in [
        "summit_leading 1",
        "summit_tasks{project=\"test\",phase=\"ready\"}",
        "summit_loop_pass_age_seconds{part=\"dispatcher\"}",
        "summit_http_requests_total{route=\"status\",status=\"200\"}",
        "summit_look_duration_seconds_count{project=\"test\"}",
    ] {
        assert!(figures.contains(line), "{line} is not in {figures}");
    }
}
