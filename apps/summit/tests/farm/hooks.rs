//! Webhooks in and out over real HTTP, and what Summit says of itself.

use std::sync::{Arc, Mutex};

use ring::hmac;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::fixture::{Farm, eventually};
use crate::recipe;

const SECRET: &str = "a shared secret";

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
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let text = read(&mut stream).await;
                let answer = {
                    heard.lock().unwrap().push(text);
                    if answers.is_empty() { "204 No Content" } else { answers.remove(0) }
                };
                let text = format!("HTTP/1.1 {answer}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
                drop(stream.write_all(text.as_bytes()).await);
            }
        });
        receiver
    }

    fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }
}

async fn read(stream: &mut tokio::net::TcpStream) -> String {
    let mut bytes = Vec::new();
    loop {
        let mut piece = [0; 4096];
        let count = stream.read(&mut piece).await.unwrap();
        bytes.extend_from_slice(&piece[..count]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = header(head, "content-length").parse().unwrap_or(0);
            if body.len() >= length {
                return text;
            }
        }
        assert!(count > 0, "{text}");
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
