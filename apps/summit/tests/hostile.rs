//! A hostile agent against the real program: it holds a key that the operator added, speaks the protocol, and means ill.
//!
//! While it does its worst, an honest agent and a reader of the dashboard go on, and are served within a second. Whatever
//! the hostile one says is refused by name, is logged with the name of the builder, changes nothing for others, and takes no
//! more than a bounded amount of memory.

#![expect(unreachable_pub, reason = "the parts of a test program are private to it")]
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]
#![expect(clippy::print_stderr, reason = "a test says what it measured")]

#[path = "farm/agent.rs"]
#[expect(dead_code, reason = "shared with the tests of the farm")]
mod agent;
#[path = "farm/fixture.rs"]
#[expect(dead_code, reason = "shared with the tests of the farm")]
mod fixture;
#[path = "farm/vessel.rs"]
#[expect(dead_code, reason = "shared with the tests of the farm")]
mod vessel;

use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use wire::Identity;
use wire::summit::summit_client::SummitClient;
use wire::summit::{
    Artefact, ArtefactKind, Built, Finished, FromAgent, Heartbeat, Held, HeldState, Hello, LogChunk, Order,
    Published, Refused, Started, ToAgent, finished, from_agent,
};
use wire::tonic::transport::Channel;
use wire::tonic::{Code, Status, Streaming};

use agent::Agent;
use fixture::{Farm, eventually};

/// Nobody waits longer for an answer than this, whatever a hostile agent does.
const SERVED_WITHIN: Duration = Duration::from_secs(5);
/// What a machine that does much else at the same time may add, once in a hundred times.
const SERVED_ALWAYS_WITHIN: Duration = Duration::from_secs(20);
/// Memory that Summit may take beyond what it took before, in bytes: the bounds of connections and messages together, which
/// stand in `wire::limits`.
const MORE_MEMORY_BYTES_MAX: u64 = 96 << 20;
/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(60);

fn recipe(name: &str) -> String {
    format!(
        "name: {name}\nversion: \"1.0\"\nrelease: 1\nhomepage: https://example.org\nlicense: MIT\nsummary: s\ndescription: d\n"
    )
}

/// A Summit, an honest agent that builds, and what is watched meanwhile.
struct Scene {
    farm: Farm,
    order: Order,
    stop: oneshot::Sender<()>,
    watching: tokio::task::JoinHandle<(Agent, u64, Vec<Duration>)>,
    memory_before_bytes: u64,
    _alone: tokio::sync::MutexGuard<'static, ()>,
}

/// What is measured is measured alone.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

impl Scene {
    async fn start(more: &str) -> Option<Scene> {
        let alone = ALONE.lock().await;
        let mut farm = Farm::prepare(&[("h/honest", &recipe("honest")), ("p/prey", &recipe("prey"))]).await?;
        farm.more = more.to_owned();
        farm.start_again().await;
        let mut honest = farm.attach("one", 1, &[]).await;
        let order = honest.order().await;
        honest.started(&order).await;
        let (stop, stopped) = oneshot::channel();
        let watching = tokio::spawn(watch(honest, order.clone(), farm.http.clone(), stopped));
        let memory_before_bytes = memory_bytes(&farm);
        Some(Scene { farm, order, stop, watching, memory_before_bytes, _alone: alone })
    }

    fn hostile(&self) -> &Identity {
        &self.farm.builders[1]
    }

    async fn channel(&self, identity: &Identity) -> Channel {
        wire::connect(&self.farm.grpc, self.farm.key, identity).await.unwrap()
    }

    /// Everybody was served in time, nothing was lost, and memory is bounded.
    async fn end(self, what: &str) {
        let now_bytes = memory_bytes(&self.farm);
        self.stop.send(()).unwrap();
        let (mut honest, offset, mut waits) = self.watching.await.unwrap();
        waits.sort();
        let (most, worst) = (waits[waits.len() * 99 / 100], *waits.last().unwrap());
        eprintln!(
            "{what}: {} answers, the middle one after {:?}, the last of 99 in 100 after {:?}, the slowest after {worst:?}; {} MiB more",
            waits.len(),
            waits[waits.len() / 2],
            most,
            now_bytes.saturating_sub(self.memory_before_bytes) >> 20
        );
        assert!(most < SERVED_WITHIN, "{what}: honest agents and readers waited {most:?}");
        assert!(worst < SERVED_ALWAYS_WITHIN, "{what}: an honest agent or reader waited {worst:?}");
        let more_bytes = now_bytes.saturating_sub(self.memory_before_bytes);
        assert!(more_bytes < MORE_MEMORY_BYTES_MAX, "{what}: {more_bytes} bytes more");
        assert_eq!(
            honest.log(&self.order, offset, b"end\n").await,
            offset + 4,
            "the log of the honest one is whole"
        );
        honest.build_and_publish(&self.farm.vessel, &self.order).await;
        let task = self.farm.get(&format!("/api/tasks/{}", self.order.task_id)).await;
        assert_eq!(
            (&task["phase"], task["attempts"].as_array().unwrap().len()),
            (&"published".into(), 1),
            "{task}"
        );
    }
}

fn memory_bytes(farm: &Farm) -> u64 {
    let pid = farm.program.as_ref().unwrap().id();
    let status = fs_err::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() * 1024
}

/// Sends log and reads the dashboard, one after the other, and says how long each answer took.
async fn watch(
    mut honest: Agent,
    order: Order,
    http: String,
    mut stopped: oneshot::Receiver<()>,
) -> (Agent, u64, Vec<Duration>) {
    let mut waits = Vec::new();
    let mut offset = 0;
    while stopped.try_recv().is_err() {
        let begin = Instant::now();
        let line = format!("line {offset}\n");
        let acknowledged = honest.log(&order, offset, line.as_bytes()).await;
        waits.push(begin.elapsed());
        assert_eq!(acknowledged, offset + u64::try_from(line.len()).unwrap());
        offset = acknowledged;
        let begin = Instant::now();
        let answer = read_dashboard(&http).await;
        waits.push(begin.elapsed());
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    (honest, offset, waits)
}

async fn read_dashboard(http: &str) -> String {
    use tokio::io::AsyncReadExt;
    let mut stream = TcpStream::connect(http).await.unwrap();
    let request = format!("GET /api/status HTTP/1.1\r\nHost: {http}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

fn said(farm: &Farm) -> String {
    fs_err::read_to_string(farm.folder().join("summit.log")).unwrap()
}

async fn is_logged(farm: &Farm, words: &str) {
    let is_there = || said(farm).lines().any(|line| line.contains(words) && line.contains("two"));
    eventually(&format!("the log says {words:?} with the name of the builder"), async || is_there()).await;
}

/// A conversation of the hostile agent that begins with these messages; how it ends, or the conversation.
async fn converse(
    channel: Channel,
    messages: Vec<from_agent::Message>,
) -> Result<(mpsc::Sender<FromAgent>, Streaming<ToAgent>), Status> {
    let (sender, receiver) = mpsc::channel(messages.len().max(16));
    for message in messages {
        sender.send(FromAgent { message: Some(message) }).await.unwrap();
    }
    let mut client = SummitClient::new(channel);
    let stream =
        tokio::time::timeout(PATIENCE, client.attach(ReceiverStream::new(receiver))).await.unwrap()?;
    Ok((sender, stream.into_inner()))
}

/// The status that a conversation ends with.
async fn end_of(channel: Channel, messages: Vec<from_agent::Message>) -> Status {
    let (_sender, mut stream) = match converse(channel, messages).await {
        Ok(conversation) => conversation,
        Err(status) => return status,
    };
    let reading = async {
        loop {
            match stream.message().await {
                Ok(Some(_)) => {}
                Ok(None) => return Status::ok("it ended without a word"),
                Err(status) => return status,
            }
        }
    };
    tokio::time::timeout(PATIENCE, reading).await.expect("the conversation is ended")
}

fn hello(held: Vec<Held>) -> from_agent::Message {
    from_agent::Message::Hello(Hello {
        name: "hostile".into(),
        architectures: vec!["x86_64".into()],
        slots: 1,
        cores: 1,
        held,
        ..Hello::default()
    })
}

fn claims(count: u64) -> Vec<Held> {
    (1..=count)
        .map(|number| Held {
            attempt_id: number,
            lease_token: number,
            state: HeldState::Building.into(),
            log_size_bytes: 1,
        })
        .collect()
}

/// Every report there is, on one attempt.
fn reports(attempt_id: u64, lease_token: u64, offset: u64) -> Vec<from_agent::Message> {
    let artefact = Artefact {
        kind: ArtefactKind::Package.into(),
        name: "../../evil.stone".into(),
        size_bytes: 1,
        sha256: "0".repeat(64),
    };
    let outcome = Some(finished::Outcome::Built(Built { artefacts: vec![artefact], peak_memory_bytes: 1 }));
    vec![
        from_agent::Message::Started(Started { attempt_id, lease_token }),
        from_agent::Message::Log(LogChunk { attempt_id, lease_token, offset, bytes: b"forged\n".to_vec() }),
        from_agent::Message::Finished(Finished { attempt_id, lease_token, outcome }),
        from_agent::Message::Finished(Finished { attempt_id, lease_token, outcome: None }),
        from_agent::Message::Published(Published { attempt_id, lease_token, history: "../1".into() }),
        from_agent::Message::Refused(Refused {
            attempt_id,
            lease_token,
            reason: "x".repeat(100_000),
            busy: false,
        }),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_builder_does_not_hold_it_cannot_touch() {
    let Some(scene) = Scene::start("").await else { return };
    let Scene { farm, order, .. } = &scene;
    let mut hostile = farm.attach("two", 1, &[]).await;
    let prey = hostile.order().await;
    let forged = [
        // The right lease under the wrong key, the wrong lease, and numbers from the end of the world.
        (order.attempt_id, order.lease_token),
        (order.attempt_id, order.lease_token + 1),
        (prey.attempt_id, prey.lease_token + 1),
        (u64::MAX, u64::MAX),
        (0, 0),
    ];
    for (attempt_id, lease_token) in forged {
        for offset in [0, u64::MAX] {
            for report in reports(attempt_id, lease_token, offset) {
                hostile.send(report).await;
                hostile.released(attempt_id).await;
            }
        }
    }
    is_logged(farm, "a report on an attempt that is not held is refused").await;
    let log = farm.text(&format!("/tasks/{}/log/{}", order.task_id, order.attempt_id)).await;
    assert!(!log.contains("forged"), "{log}");
    let task = farm.get(&format!("/api/tasks/{}", order.task_id)).await;
    assert_eq!(task["phase"], "building", "{task}");

    // What it does hold: a log that begins at the end of all numbers, and names that lead elsewhere.
    hostile.started(&prey).await;
    assert_eq!(hostile.log(&prey, 0, b"prey\n").await, 5);
    assert_eq!(hostile.log(&prey, u64::MAX, b"forged\n").await, 5);
    assert_eq!(hostile.log(&prey, u64::MAX - 3, b"forged\n").await, 5);
    for report in reports(prey.attempt_id, prey.lease_token, 5).into_iter().skip(2).take(1) {
        hostile.send(report).await;
    }
    hostile.released(prey.attempt_id).await;
    let task = farm.get(&format!("/api/tasks/{}", prey.task_id)).await;
    let outcome = &task["attempts"][0]["outcome"];
    assert_eq!(outcome["class"], "host-fault", "the machine is to blame, and the recipe is not: {task}");
    assert!(
        outcome["message"].as_str().unwrap().contains("cannot be called so: \"../../evil.stone\""),
        "{task}"
    );
    // The lease of a build that has ended opens nothing.
    for report in reports(prey.attempt_id, prey.lease_token, 5) {
        hostile.send(report).await;
        hostile.released(prey.attempt_id).await;
    }
    scene.end("forged reports").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endless_log_ends_at_its_limit() {
    let Some(scene) = Scene::start("[limits]\nlog_bytes = 1000000\n").await else { return };
    let Scene { farm, .. } = &scene;
    let mut hostile = farm.attach("two", 1, &[]).await;
    let prey = hostile.order().await;
    hostile.started(&prey).await;
    let piece = vec![b'x'; wire::limits::CHUNK_SIZE_BYTES];
    let mut offset = 0;
    for _ in 0..64 {
        offset = hostile.log(&prey, offset, &piece).await;
    }
    assert!(offset <= 1_000_000 + u64::try_from(piece.len()).unwrap(), "{offset} bytes were taken");
    let log = farm.text(&format!("/tasks/{}/log/{}", prey.task_id, prey.attempt_id)).await;
    assert!(log.len() <= 1_300_000, "{} bytes are served", log.len());
    scene.end("an endless log").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_that_no_agent_would_send_end_the_conversation() {
    let Some(scene) = Scene::start("").await else { return };
    async fn check(scene: &Scene, messages: Vec<from_agent::Message>, code: Code, words: &str) {
        let status = end_of(scene.channel(scene.hostile()).await, messages).await;
        assert_eq!(status.code(), code, "{status}");
        assert!(status.message().contains(words), "{status}");
        is_logged(&scene.farm, words).await;
    }
    let no_hello = vec![from_agent::Message::Heartbeat(Heartbeat::default())];
    check(&scene, no_hello, Code::InvalidArgument, "the first message must be a Hello").await;
    check(&scene, vec![hello(Vec::new()); 2], Code::InvalidArgument, "a second Hello").await;
    check(&scene, vec![hello(claims(1001))], Code::InvalidArgument, "at most 1000 are believed").await;
    let many = |count| {
        let heartbeat = Heartbeat { held: claims(count), ..Heartbeat::default() };
        vec![hello(Vec::new()), from_agent::Message::Heartbeat(heartbeat)]
    };
    check(&scene, many(60_000), Code::InvalidArgument, "60000 attempts at once").await;
    check(&scene, many(100_000), Code::OutOfRange, "decoded message length too large").await;
    let large = |size| {
        vec![
            from_agent::Message::Hello(Hello { name: "x".repeat(size), ..Hello::default() }),
            hello(Vec::new()),
        ]
    };
    let most = wire::limits::AGENT_MESSAGE_SIZE_BYTES_MAX;
    check(&scene, large(most - 100), Code::InvalidArgument, "a second Hello").await;
    check(&scene, large(most + 1), Code::OutOfRange, "decoded message length too large").await;

    // Bytes that are another message altogether.
    let chunk =
        wire::vessel::PutChunk { attempt_id: 7, sha256: "x".repeat(64), offset: 1, bytes: vec![1; 9] };
    let mut raw = wire::tonic::client::Grpc::new(scene.channel(scene.hostile()).await);
    raw.ready().await.unwrap();
    let codec = tonic_prost::ProstCodec::<wire::vessel::PutChunk, ToAgent>::default();
    let path = wire::tonic::codegen::http::uri::PathAndQuery::from_static("/moraine.summit.v1.Summit/Attach");
    let sent = wire::tonic::Request::new(tokio_stream::iter([chunk.clone(), chunk]));
    let status = match raw.streaming(sent, path, codec).await {
        Err(status) => status,
        Ok(stream) => stream.into_inner().message().await.unwrap_err(),
    };
    assert_eq!(status.code(), Code::Internal, "{status}");
    scene.end("messages that no agent would send").await;
}

/// Says Hello again and again, and heartbeats as large as they may be without a pause.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floods_cost_the_flooder_only() {
    let Some(scene) = Scene::start("").await else { return };
    let (_sender, mut stream) =
        converse(scene.channel(scene.hostile()).await, vec![hello(claims(1000))]).await.unwrap();
    let begin = Instant::now();
    let flood = async {
        let held = Heartbeat { held: claims(1000), ..Heartbeat::default() };
        loop {
            let message = FromAgent { message: Some(from_agent::Message::Heartbeat(held.clone())) };
            if _sender.send(message).await.is_err() {
                return;
            }
        }
    };
    // It reads what it is told, as slowly as it can.
    let reading = async { while let Ok(Some(_)) = stream.message().await {} };
    tokio::select! {
        () = flood => {}
        () = reading => {}
        () = tokio::time::sleep(Duration::from_secs(5)) => {}
    }
    assert!(begin.elapsed() < PATIENCE);

    let mut refused = None;
    for _ in 0..100 {
        match converse(scene.channel(scene.hostile()).await, vec![hello(Vec::new())]).await {
            Ok(_) => {}
            Err(status) => {
                refused = Some(status);
                break;
            }
        }
    }
    let status = refused.expect("who comes again and again is sent away");
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains("attached more than 30 times"), "{status}");
    scene.end("floods").await;
}

/// Ten thousand connections: of keys that nobody knows, of one that is known, and of nobody who says anything at all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_connections_leave_room_for_an_honest_one() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let most = getrlimit(Resource::Nofile).maximum;
    if most.is_some_and(|most| most < 16_000) {
        testkit::skip("16000 open files");
        return;
    }
    setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most }).unwrap();
    let Some(scene) = Scene::start("").await else { return };
    let address = scene.farm.grpc.clone();
    let mut silent = Vec::new();
    for number in 0..8000 {
        let mut stream = TcpStream::connect(&address).await.unwrap();
        if number % 2 == 0 {
            // The begin of a handshake that goes on never.
            stream.write_all(&[0x16, 0x03, 0x01, 0x02]).await.unwrap();
        }
        silent.push(stream);
    }
    let (key, hostile) = (scene.farm.key, scene.hostile().clone());
    let mut dialled = JoinSet::new();
    let mut open = Vec::new();
    for number in 0..2000 {
        let (address, hostile) = (address.clone(), hostile.clone());
        dialled.spawn(async move {
            let identity = if number % 2 == 0 { hostile } else { Identity::generate().unwrap() };
            wire::connect(&address, key, &identity).await
        });
        if dialled.len() >= 32 {
            open.extend(dialled.join_next().await.unwrap().unwrap());
        }
    }
    while let Some(connection) = dialled.join_next().await {
        open.extend(connection.unwrap());
    }
    // In the middle of it a builder may come back, and one that nobody knows is told so.
    let begin = Instant::now();
    let stranger = Identity::generate().unwrap();
    let told = eventually_told(&scene, &stranger).await;
    assert!(told.message().contains(&stranger.public_key().to_string()), "{told}");
    eprintln!("a stranger was told its key after {:?}; {} connections stand", begin.elapsed(), open.len());
    assert!(said(&scene.farm).contains("gave way to a newer one"), "{}", said(&scene.farm));
    scene.end("ten thousand connections").await;
    drop((silent, open));
}

async fn eventually_told(scene: &Scene, stranger: &Identity) -> Status {
    let limit = Instant::now() + PATIENCE;
    loop {
        if let Ok(channel) = wire::connect(&scene.farm.grpc, scene.farm.key, stranger).await {
            let status = end_of(channel, vec![hello(Vec::new())]).await;
            if status.code() == Code::PermissionDenied {
                return status;
            }
        }
        assert!(Instant::now() < limit, "a stranger is never told anything");
    }
}

/// An agent whose process is stopped: its machine answers, and it does not. Its messages pile up nowhere, and it is noticed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_stops_reading_is_noticed() {
    let Some(scene) = Scene::start("").await else { return };
    let (address, key, identity) = (scene.farm.grpc.clone(), scene.farm.key, scene.hostile().clone());
    let (attached, is_attached) = oneshot::channel();
    let (end, ended) = std::sync::mpsc::channel::<()>();
    let frozen = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let conversation = runtime.block_on(async {
            let channel = wire::connect(&address, key, &identity).await.unwrap();
            let (sender, mut stream) = converse(channel, vec![hello(Vec::new())]).await.unwrap();
            stream.message().await.unwrap().expect("welcomed");
            (sender, stream)
        });
        attached.send(()).unwrap();
        // Nothing in this thread runs until the test is done.
        ended.recv().ok();
        drop(conversation);
    });
    is_attached.await.unwrap();
    let is_there = async || {
        let builders = scene.farm.get("/api/builders").await;
        let builders =
            builders.as_array().cloned().or_else(|| builders["builders"].as_array().cloned()).unwrap();
        builders.iter().any(|builder| builder["name"] == "two" && builder["attached"] == true)
    };
    assert!(is_there().await);
    let begin = Instant::now();
    while is_there().await {
        assert!(begin.elapsed() < PATIENCE, "it is never noticed");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    eprintln!("noticed after {:?}", begin.elapsed());
    end.send(()).unwrap();
    frozen.join().unwrap();
    scene.end("an agent that stops reading").await;
}
