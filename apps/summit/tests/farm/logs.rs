//! Logs as their readers see them: live, folded, compressed, searched, over restarts and retries.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use wire::summit::{FailureClass, HeldState, Order};

use crate::agent::{Agent, failed};
use crate::fixture::{Farm, eventually};
use crate::recipe;

/// Longest wait for something that happens by itself.
const PATIENCE: Duration = Duration::from_secs(90);

fn log_url(order: &Order) -> String {
    format!("/tasks/{}/log/{}", order.task_id, order.attempt_id)
}

/// Whole answers, as bytes: status, head, body. A body in chunks is put together.
async fn fetch(farm: &Farm, path: &str, headers: &[&str]) -> (u16, String, Vec<u8>) {
    let mut stream = tokio::net::TcpStream::connect(farm.http()).await.unwrap();
    let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n{headers}\r\n", farm.http());
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer))
        .await
        .expect("an answer in time")
        .unwrap();
    let split = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
    let head = String::from_utf8(answer[..split].to_vec()).unwrap();
    let mut body = answer[split + 4..].to_vec();
    if head.contains("transfer-encoding: chunked") {
        body = dechunked(&body);
    }
    (head.split(' ').nth(1).unwrap().parse().unwrap(), head, body)
}

fn dechunked(mut rest: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        let end = rest.windows(2).position(|window| window == b"\r\n").unwrap();
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..end]).unwrap(), 16).unwrap();
        if size == 0 {
            return body;
        }
        body.extend_from_slice(&rest[end + 2..end + 2 + size]);
        rest = &rest[end + 4 + size..];
    }
}

/// A browser that looks at a log as it grows.
struct Viewer {
    stream: tokio::net::TcpStream,
    seen: String,
}

impl Viewer {
    async fn open(farm: &Farm, order: &Order, offset: u64, headers: &[&str]) -> Self {
        Self::at(farm, &format!("{}/stream?offset={offset}", log_url(order)), headers).await
    }

    async fn at(farm: &Farm, path: &str, headers: &[&str]) -> Self {
        let mut stream = tokio::net::TcpStream::connect(farm.http()).await.unwrap();
        let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
        // No Referer, as privacy settings have it.
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {}\r\nAccept: text/event-stream\r\n{headers}\r\n",
            farm.http()
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        Self { stream, seen: String::new() }
    }

    async fn until(&mut self, wanted: &str) -> &str {
        let mut buffer = [0; 4096];
        while !self.seen.contains(wanted) {
            let read = tokio::time::timeout(PATIENCE, self.stream.read(&mut buffer)).await;
            let count = read.unwrap_or_else(|_| panic!("{wanted:?} never came: {}", self.seen)).unwrap();
            assert!(count > 0, "{wanted:?} never came: {}", self.seen);
            self.seen.push_str(&String::from_utf8_lossy(&buffer[..count]));
        }
        &self.seen
    }
}

async fn one_order(farm: &Farm) -> (Agent, Order) {
    let mut agent = farm.attach("one", 1, &[]).await;
    let order = agent.order().await;
    agent.started(&order).await;
    (agent, order)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_u1_u6_a_log_is_seen_live_in_colour_and_resumed_by_offset() {
    let Some(farm) = Farm::start(&[("n/nano", &recipe("nano", 1, &[]))]).await else { return };
    let (mut agent, order) = one_order(&farm).await;
    let mut viewer = Viewer::open(&farm, &order, 0, &[]).await;
    viewer.until("200 OK").await;
    agent.log(&order, 0, b"==> phase build\n\x1b[1;31mred\x1b[0m <b>\n10%").await;
    let seen = viewer.until("&lt;b&gt;").await;
    assert!(seen.contains(r#""phase":"build""#), "{seen}");
    assert!(seen.contains(r#"class=\"f1 sb\">red</span> &lt;b&gt;"#), "{seen}");
    viewer.until("<span>10%</span>").await;
    let at = agent.log(&order, 38, b"\r100%\nnext\n").await;
    viewer.until("<span>next</span>").await;
    // Whoever comes back says what was seen last, and gets what is missing.
    let end_of_red = u64::try_from(b"==> phase build\n\x1b[1;31mred\x1b[0m <b>\n".len()).unwrap();
    let mut again = Viewer::open(&farm, &order, 0, &[&format!("Last-Event-ID: {end_of_red}")]).await;
    let seen = again.until("<span>next</span>").await;
    assert!(seen.contains("<span>100%</span>") && !seen.contains("red") && !seen.contains("10%<"), "{seen}");
    assert!(seen.contains(&format!("id: {at}")), "{seen}");
    agent.send(failed(&order, FailureClass::Build, "exit 1", "build")).await;
    viewer.until("event: end").await;

    let page = farm.text(&format!("/tasks/{}/attempts/{}", order.task_id, order.attempt_id)).await;
    assert!(page.contains("<details class=\"fold failed\" id=\"phase-0\" open"), "{page}");
    assert!(page.contains("id=\"L2\"") && page.contains("href=\"#L2\""), "{page}");
    assert!(!page.contains("style=\""), "the content policy allows no inline styles: {page}");
    let (code, body) = farm.request("GET", "/tasks/1/attempts/99", &[]).await;
    assert!(code == 404 && body.contains("attempt 99"), "row U6: a missing page is missing: {code}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_is_told_of_what_happened_before_its_stream_began() {
    let Some(farm) = Farm::start(&[("n/nano", &recipe("nano", 1, &[]))]).await else { return };
    let told = |page: &str| {
        let (_, rest) = page.split_once("data-told=\"").unwrap();
        rest.split_once('"').unwrap().0.to_owned()
    };
    let page = farm.text("/").await;
    farm.post("/api/queue/pause").await;
    Viewer::at(&farm, &format!("/events?told={}", told(&page)), &[]).await.until("data: all").await;

    // A page that has seen everything is told of the next thing only. Something else may happen in between, but not each time.
    for tries_left in (0..20).rev() {
        let page = farm.text("/").await;
        let mut viewer = Viewer::at(&farm, &format!("/events?told={}", told(&page)), &[]).await;
        viewer.until("200 OK").await;
        let change = if tries_left % 2 == 1 { "resume" } else { "pause" };
        farm.post(&format!("/api/queue/{change}")).await;
        if !viewer.until("data: recipes").await.contains("data: all") {
            return;
        }
        assert!(tries_left > 0, "every page is told that it is old");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_u2_a_finished_log_is_compressed_and_still_there_for_every_reader() {
    let Some(farm) = Farm::start(&[("n/nano", &recipe("nano", 1, &[]))]).await else { return };
    let (mut agent, order) = one_order(&farm).await;
    // No UTF-8, NULs, and a line that is extremely long: bytes are bytes.
    let mut log = b"\xff\xfe\0 not text\n".repeat(5000);
    log.extend(vec![b'x'; 400_000]);
    let mut offset = 0;
    for piece in log.chunks(60_000) {
        offset = agent.log(&order, offset, piece).await;
    }
    agent.send(failed(&order, FailureClass::Build, "exit 1", "build")).await;
    let url = log_url(&order);
    let is_compressed = || async {
        fetch(&farm, &url, &["Accept-Encoding: zstd"]).await.1.contains("content-encoding: zstd")
    };
    eventually("the log is compressed", is_compressed).await;

    let (code, head, body) = fetch(&farm, &url, &[]).await;
    assert!(code == 200 && body == log, "{head}");
    assert!(head.contains("accept-ranges: bytes") && head.contains("content-type: text/plain"), "{head}");
    let (_, head, body) = fetch(&farm, &url, &["Accept-Encoding: gzip, deflate, br"]).await;
    assert!(head.contains("content-encoding: gzip"), "{head}");
    let mut plain = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(body.as_slice()), &mut plain).unwrap();
    assert!(plain == log);
    let (_, _, body) = fetch(&farm, &url, &["Accept-Encoding: zstd"]).await;
    assert!(body.len() * 10 < log.len() && zstd::decode_all(body.as_slice()).unwrap() == log);
    let (code, head, body) =
        fetch(&farm, &url, &["Range: bytes=300000-300099", "Accept-Encoding: zstd"]).await;
    assert!(code == 206 && body == log[300_000..300_100], "{head}");
    assert!(head.contains(&format!("content-range: bytes 300000-300099/{}", log.len())), "{head}");
    let (code, head, _) = fetch(&farm, &url, &["Range: bytes=99999999-"]).await;
    assert!(code == 416 && head.contains(&format!("content-range: bytes */{}", log.len())), "{head}");

    let page = farm.text(&format!("/tasks/{}/attempts/{}", order.task_id, order.attempt_id)).await;
    assert!(page.len() < 2_000_000 && page.contains("download"), "the page stays small: {}", page.len());
    let rows = farm.get(&format!("{url}/rows?begin=0&end=100")).await;
    assert!(rows["html"].as_str().unwrap().contains("\u{fffd}\u{fffd} not text"), "{rows}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logs_of_earlier_attempts_survive_a_retry() {
    let Some(farm) = Farm::start(&[("n/nano", &recipe("nano", 1, &[]))]).await else { return };
    let (mut agent, first) = one_order(&farm).await;
    agent.log(&first, 0, b"first try\n").await;
    agent.send(failed(&first, FailureClass::Build, "exit 1", "build")).await;
    agent.released(first.attempt_id).await;
    let (code, _) = farm.post(&format!("/api/tasks/{}/retry", first.task_id)).await;
    assert_eq!(code, 200);
    let second = agent.order().await;
    assert_eq!((second.task_id, second.attempt_id == first.attempt_id), (first.task_id, false));
    agent.started(&second).await;
    agent.log(&second, 0, b"second try\n").await;
    assert!(farm.text(&log_url(&first)).await.contains("first try"));
    assert!(farm.text(&log_url(&second)).await.contains("second try"));
    let page = farm.text(&format!("/tasks/{}/attempts/{}", first.task_id, second.attempt_id)).await;
    assert!(page.contains("attempt 1") && page.contains("attempt 2"), "{page}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_l7_a_log_without_end_is_cut_and_its_sender_told() {
    let more = |_: &std::path::Path| "[limits]\nlog_bytes = 100000\n".to_owned();
    let Some(farm) = Farm::start_with(&[("n/nano", &recipe("nano", 1, &[]))], more).await else { return };
    let (mut agent, order) = one_order(&farm).await;
    let mut offset = 0;
    for _ in 0..4 {
        offset = agent.log(&order, offset, &b"on and on\n".repeat(4000)).await;
    }
    assert_eq!(offset, 100_000);
    let attempt = &farm.get(&format!("/api/tasks/{}", order.task_id)).await["attempts"][0];
    assert_eq!((&attempt["log_size_bytes"], &attempt["log_full"]), (&json!(100_000), &json!(true)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_u4_a_running_build_says_how_long_it_runs() {
    let Some(farm) = Farm::start(&[("n/nano", &recipe("nano", 1, &[]))]).await else { return };
    let (_agent, order) = one_order(&farm).await;
    let building = format!("/api/tasks/{}", order.task_id);
    eventually("it builds", || async { farm.get(&building).await["phase"] == "building" }).await;
    for page in ["/", "/tasks?phase=building", &format!("/tasks/{}", order.task_id)] {
        let text = farm.text(page).await;
        assert!(text.contains("class=\"elapsed\" data-since=\""), "{page}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn which_builds_print_a_warning_and_since_when_is_found() {
    let Some(farm) =
        Farm::start(&[("n/nano", &recipe("nano", 1, &[])), ("l/less", &recipe("less", 1, &[]))]).await
    else {
        return;
    };
    let mut agent = farm.attach("one", 1, &[]).await;
    for _ in 0..2 {
        let order = agent.order().await;
        agent.started(&order).await;
        agent.log(&order, 0, format!("building {}\nwarning: old\n", order.source_name).as_bytes()).await;
        agent.build_and_publish(&farm.vessel, &order).await;
    }
    farm.commit(&[("n/nano", &recipe("nano", 2, &[]))]);
    farm.post("/api/wake-up").await;
    let order = agent.order().await;
    agent.started(&order).await;
    agent.log(&order, 0, b"fine\nx.c: \x1b[35mwarn\x1b[0ming: deprecated\nwarning: old\n").await;
    agent.build_and_publish(&farm.vessel, &order).await;

    let lines = search(&farm, "q=warning:+deprecated&since=7d").await;
    assert_eq!(lines.len(), 2, "{lines:?}");
    let log = &lines[0]["log"];
    assert_eq!((&log["build"]["source"], &log["build"]["release"]), (&json!("nano"), &json!(2)));
    assert_eq!(log["hits"], json!([{ "line": 2, "text": "x.c: warning: deprecated", "matched": [5, 24] }]));
    assert_eq!(
        (&log["before"]["prints_it"], &log["before"]["recipe_changed"]),
        (&json!(false), &json!(true))
    );
    assert_ne!(log["before"]["build"]["commit"], log["build"]["commit"]);
    assert_eq!(log["build"]["builder"], "one");
    assert_eq!((&lines[1]["end"]["logs"], &lines[1]["end"]["stopped_by"]), (&json!(3), &Value::Null));
    // It is not new that it says something old.
    let lines = search(&farm, "q=warning:+old&source=nano").await;
    assert_eq!(lines[0]["log"]["before"]["prints_it"], json!(true), "{lines:?}");
    assert_eq!(search(&farm, "q=%5EWARN&regex&since=7d").await.len(), 1);
    assert_eq!(search(&farm, "q=warning&phase=failed").await.len(), 1);
    let limited = search(&farm, "q=warning&hits_max=1").await;
    assert_eq!(limited[1]["end"]["stopped_by"], "hits");
    let page = farm.text("/logs?q=deprecated").await;
    assert!(page.contains("<mark>deprecated</mark>") && page.contains("new since"), "{page}");
    for bad in ["/api/logs/search?q=", "/api/logs/search?q=(&regex", "/api/logs/search?q=x&since=soon"] {
        let (code, body) = farm.request("GET", bad, &[]).await;
        assert_eq!(code, 400, "{bad}: {body}");
    }
}

async fn search(farm: &Farm, query: &str) -> Vec<Value> {
    let (code, head, body) = fetch(farm, &format!("/api/logs/search?{query}"), &[]).await;
    assert_eq!(code, 200, "{head}");
    String::from_utf8(body).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_read_in_pieces_over_a_killed_summit_has_every_byte_once() {
    let Some(mut farm) = Farm::start_program(&[("n/nano", &recipe("nano", 1, &[]))]).await else { return };
    let (mut agent, order) = one_order(&farm).await;
    let text: Vec<u8> = (0..2000).flat_map(|line| format!("line {line}\n").into_bytes()).collect();
    let (first, second) = text.split_at(text.len() / 2);
    let mut read = Vec::new();
    agent.log(&order, 0, first).await;
    follow(&farm, &order, &mut read, |read| read.len() == first.len()).await;
    farm.kill();
    farm.start_again().await;
    let held = [Agent::held(&order, HeldState::Building, u64::try_from(text.len()).unwrap())];
    let mut agent = farm.attach("one", 1, &held).await;
    // What was acknowledged is there; the agent goes on from there, and repeats some.
    assert_eq!(agent.welcome.verdicts[0].log_offset, u64::try_from(first.len()).unwrap());
    agent
        .log(
            &order,
            u64::try_from(first.len() - 100).unwrap(),
            &[&first[first.len() - 100..], second].concat(),
        )
        .await;
    agent.send(failed(&order, FailureClass::Build, "exit 1", "build")).await;
    follow(&farm, &order, &mut read, |_| false).await;
    assert!(read == text, "every byte once, in order");
}

/// Reads as `moraine task log --follow` does until the log ends, or enough was read.
async fn follow(farm: &Farm, order: &Order, read: &mut Vec<u8>, enough: impl Fn(&[u8]) -> bool) {
    while !enough(read) {
        let (task, attempt, offset) = (order.task_id, order.attempt_id, read.len());
        let piece = farm
            .get(&format!("/api/tasks/{task}/attempts/{attempt}/log?offset={offset}&wait_seconds=10"))
            .await;
        assert_eq!(piece["offset"], offset);
        read.extend(
            base64::Engine::decode(
                &base64::engine::general_purpose::STANDARD,
                piece["bytes"].as_str().unwrap(),
            )
            .unwrap(),
        );
        if piece["ended"] == true && piece["size_bytes"] == read.len() {
            return;
        }
    }
}
