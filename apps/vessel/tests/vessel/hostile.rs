//! A hostile builder against the real program, while an honest one delivers.
//!
//! Who may do what is in `protocol`; here it is about how much: connections, calls that go on for ever, bytes that were not
//! announced. An honest builder is served within a second, memory is bounded, and what is refused is logged with the key.

use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use wire::Identity;
use wire::tonic::Code;
use wire::vessel::{ChannelRequest, CommitRequest, OffsetRequest, PutChunk};

use crate::fixture::{Delivery, Program, chunks, put};
use testkit::packages::meta;

/// Nobody waits longer for an answer than this, whatever a hostile builder does.
const SERVED_WITHIN: Duration = Duration::from_secs(5);
/// Memory that Vessel may take beyond what it took before, in bytes: the bounds of connections and messages together, which
/// stand in `wire::limits`.
const MORE_MEMORY_BYTES_MAX: u64 = 128 << 20;

/// Asks for an answer in the way of an honest builder, on a connection of its own, and says how long that took.
async fn ask(program: &Program, honest: &Identity) -> Duration {
    let begin = Instant::now();
    let mut client = program.client(honest).await;
    client.channel(ChannelRequest { channel: "main".into() }).await.unwrap();
    begin.elapsed()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hostile_builder_takes_neither_places_nor_memory_from_an_honest_one() {
    let data = tempfile::tempdir().unwrap();
    let [hub, honest, hostile] = std::array::from_fn(|_| Identity::generate().unwrap());
    let program = Program::start(data.path(), &hub);
    let ours = Delivery::new(1, meta("nano", "nano", 1), &[7; 100_000]);
    let theirs = Delivery::new(2, meta("less", "less", 1), &[8; 100_000]);
    let mut hub_client = program.client(&hub).await;
    hub_client.expect(ours.request(&honest)).await.unwrap();
    hub_client.expect(theirs.request(&hostile)).await.unwrap();
    let before_bytes = program.memory_bytes();
    let mut slowest = ask(&program, &honest).await;

    // Silence, and the begin of handshakes.
    let mut silent = Vec::new();
    for number in 0..1000 {
        let mut stream = TcpStream::connect(program.address()).await.unwrap();
        if number % 2 == 0 {
            stream.write_all(&[0x16, 0x03, 0x01]).await.unwrap();
        }
        silent.push(stream);
    }
    slowest = slowest.max(ask(&program, &honest).await);

    // As many calls as it can have, none of which ends, each with the largest message that is taken.
    let mut endless = Vec::new();
    let package = &theirs.files[0].1;
    for _ in 0..40 {
        let mut client = program.client(&hostile).await;
        let (sender, receiver) = mpsc::channel(4);
        let mut chunk = chunks(2, package, 0, 10).remove(0);
        sender.send(chunk.clone()).await.unwrap();
        chunk.bytes = vec![0; 1 << 20];
        sender.try_send(chunk).unwrap();
        endless.push((tokio::spawn(async move { client.put(ReceiverStream::new(receiver)).await }), sender));
        slowest = slowest.max(ask(&program, &honest).await);
    }

    // What was not ordered, a thousand times; and numbers from the end of the world.
    let mut client = program.client(&hostile).await;
    for number in 0..1000_u64 {
        let attempt_id = [1, 3, u64::MAX][usize::try_from(number % 3).unwrap()];
        let chunk = PutChunk { attempt_id, sha256: "../../x".into(), offset: u64::MAX, bytes: vec![1; 100] };
        let refused = client.put(tokio_stream::iter([chunk])).await.unwrap_err();
        assert!(matches!(refused.code(), Code::PermissionDenied | Code::NotFound), "{refused}");
        client.offset(OffsetRequest { attempt_id, sha256: "x".repeat(10_000) }).await.unwrap_err();
        client.commit(CommitRequest { attempt_id }).await.unwrap_err();
        if number % 100 == 0 {
            slowest = slowest.max(ask(&program, &honest).await);
        }
    }
    let mut from_the_end = chunks(2, package, 0, 10);
    from_the_end[0].offset = u64::MAX;
    let refused = client.put(tokio_stream::iter(from_the_end)).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");

    // Keys that cost nothing.
    let mut strangers = JoinSet::new();
    for _ in 0..300 {
        let (address, key) = (program.address(), program.key());
        strangers.spawn(async move { wire::connect(&address, key, &Identity::generate().unwrap()).await });
        if strangers.len() >= 16 {
            drop(strangers.join_next().await);
        }
    }
    slowest = slowest.max(ask(&program, &honest).await);
    while strangers.join_next().await.is_some() {}

    let more_bytes = program.memory_bytes().saturating_sub(before_bytes);
    eprintln!("the slowest answer took {slowest:?}; {} MiB more", more_bytes >> 20);
    assert!(slowest < SERVED_WITHIN, "{slowest:?}");
    assert!(more_bytes < MORE_MEMORY_BYTES_MAX, "{more_bytes} bytes more");
    let said = program.said();
    let key = hostile.public_key().to_string();
    assert!(said.lines().any(|line| line.contains("a call is refused") && line.contains(&key)), "{said}");
    assert!(said.len() < 1 << 20, "the log stays readable: {} bytes", said.len());

    let mut client = program.client(&honest).await;
    for (_, bytes) in &ours.files {
        put(&mut client, 1, bytes, 0, 10_000).await.unwrap();
    }
    client.commit(CommitRequest { attempt_id: 1 }).await.unwrap();
    for (call, _) in &endless {
        call.abort();
    }
    program.kill();
}
