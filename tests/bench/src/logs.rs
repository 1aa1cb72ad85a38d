//! How long a line of a build's log takes to whoever looks at it.
//!
//! A real Summit with its database, its disk and its sockets; eight builders that speak the protocol over TLS as Avalanche
//! does, each writing a build's log and sending what has gathered whenever the last piece was acknowledged; viewers that
//! read the live stream of the page over connections of their own. The time of a line begins when the build has written it
//! and ends when the bytes of the browser's connection hold it, so it includes the wait for earlier pieces, the disk, and
//! what makes rows of it. All of it runs on this machine at once, the viewers too.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use summit::{Clock, ConfigFiles};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use wire::Identity;
use wire::summit::summit_client::SummitClient;
use wire::summit::{FromAgent, Hello, LogChunk, Order, Started, ToAgent, from_agent, to_agent};
use wire::tonic::Streaming;

use crate::timing;

/// Builds that write at once.
pub(crate) const BUILDS: usize = 8;

/// Viewers in the second run.
pub(crate) const VIEWERS: usize = 100;

/// Time between two lines of a build: compilers of a large build say some hundred a second.
pub(crate) const LINE_EVERY: Duration = Duration::from_millis(10);

/// Bytes of a line.
pub(crate) const LINE_BYTES: usize = 100;

/// How long is measured, after a second that does not count.
const MEASURED: Duration = Duration::from_secs(10);
const SETTLED: Duration = Duration::from_secs(1);

/// What stands around the time in a line.
const MARK: &[u8] = b"@T";
const DIGITS: usize = 20;

/// What was measured.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Figures {
    pub(crate) one: Latency,
    pub(crate) many: Latency,
    /// Bytes a second that the disk keeps when builds write as fast as they may, in MiB.
    pub(crate) mib_per_second: f64,
    /// Processes that wanted to run before.
    pub(crate) load: f64,
}

/// How long lines took.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Latency {
    pub(crate) lines: usize,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) worst_ms: f64,
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Measures, with a Summit of its own.
pub(crate) fn measure() -> Result<Figures, Failure> {
    let load = crate::machine::Machine::this().load;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let mut figures = runtime.block_on(async {
        let folder = tempfile::tempdir()?;
        Ok::<_, Failure>(Figures {
            one: latency(&folder.path().join("one"), 1).await?,
            many: latency(&folder.path().join("many"), VIEWERS).await?,
            mib_per_second: throughput(&folder.path().join("fast")).await?,
            load,
        })
    })?;
    figures.load = load;
    Ok(figures)
}

/// A running Summit, and the builds that it has ordered.
struct Farm {
    http: String,
    builders: Vec<Builder>,
    running: summit::Running,
}

/// One builder and its build.
struct Builder {
    order: Order,
    sender: mpsc::Sender<FromAgent>,
    stream: Streaming<ToAgent>,
}

impl Farm {
    async fn start(folder: &Path) -> Result<Self, Failure> {
        let recipes = folder.join("recipes");
        for number in 0..BUILDS {
            let of = recipes.join(format!("p{number}"));
            fs_err::create_dir_all(&of)?;
            let text = format!(
                "name: p{number}\nversion: \"1\"\nrelease: 1\nhomepage: https://example.org\nlicense: MIT\nsummary: s\ndescription: d\n"
            );
            fs_err::write(of.join("stone.yaml"), text)?;
        }
        for arguments in [
            &["init", "--quiet", "--initial-branch=main", "."][..],
            &["add", "--all"],
            &[
                "-c",
                "user.name=b",
                "-c",
                "user.email=b@example.org",
                "-c",
                "commit.gpgsign=false",
                "commit",
                "--quiet",
                "-m",
                "b",
            ],
        ] {
            if !Command::new("git").current_dir(&recipes).args(arguments).status()?.success() {
                return Err("git does not make a repository".into());
            }
        }
        let identities: Vec<Identity> =
            (0..BUILDS).map(|_| Identity::generate()).collect::<Result<_, _>>()?;
        let builders: String = identities
            .iter()
            .enumerate()
            .map(|(number, identity)| {
                format!("[[builder]]\nname = \"b{number}\"\npublic_key = \"{}\"\n", identity.public_key())
            })
            .collect();
        let config = folder.join("summit.toml");
        // Nothing is published, so nobody listens where Vessel would be.
        let text = format!(
            "http_address = \"127.0.0.1:0\"\ngrpc_address = \"127.0.0.1:0\"\npoll_seconds = 3600\n[[project]]\nname = \"bench\"\n\
             recipes = \"{}\"\n[vessel]\naddress = \"127.0.0.1:1\"\npublic_key = \"{}\"\npublic_url = \"file://{}\"\n{builders}",
            recipes.display(),
            Identity::generate()?.public_key(),
            folder.join("public").display(),
        );
        fs_err::write(&config, text)?;
        fs_err::create_dir_all(folder.join("public"))?;
        let files = ConfigFiles::new(&config, None);
        let running = summit::start_from(files, &folder.join("data"), Clock::system()).await?;
        let mut builders = Vec::new();
        for (number, identity) in identities.iter().enumerate() {
            builders.push(Builder::attach(&running, identity, number).await?);
        }
        Ok(Self { http: running.http_address().to_string(), builders, running })
    }
}

impl Builder {
    async fn attach(running: &summit::Running, identity: &Identity, number: usize) -> Result<Self, Failure> {
        let channel =
            wire::connect(&running.grpc_address().to_string(), running.public_key(), identity).await?;
        let (sender, receiver) = mpsc::channel(16);
        let hello = Hello {
            name: format!("b{number}"),
            architectures: vec!["x86_64".into()],
            slots: 1,
            cores: 4,
            memory_bytes: 64 << 30,
            ..Hello::default()
        };
        sender.send(FromAgent { message: Some(from_agent::Message::Hello(hello)) }).await?;
        let mut stream = SummitClient::new(channel).attach(ReceiverStream::new(receiver)).await?.into_inner();
        let order = loop {
            match next(&mut stream).await? {
                to_agent::Message::Order(order) => break order,
                _ => continue,
            }
        };
        let started = Started { attempt_id: order.attempt_id, lease_token: order.lease_token };
        sender.send(FromAgent { message: Some(from_agent::Message::Started(started)) }).await?;
        Ok(Self { order, sender, stream })
    }

    async fn send(&mut self, offset: u64, bytes: Vec<u8>) -> Result<(), Failure> {
        let (attempt_id, lease_token) = (self.order.attempt_id, self.order.lease_token);
        let chunk = LogChunk { attempt_id, lease_token, offset, bytes };
        Ok(self.sender.send(FromAgent { message: Some(from_agent::Message::Log(chunk)) }).await?)
    }

    async fn acknowledged(&mut self) -> Result<u64, Failure> {
        loop {
            if let to_agent::Message::LogAcknowledged(acknowledged) = next(&mut self.stream).await? {
                return Ok(acknowledged.offset);
            }
        }
    }

    /// Writes a line now and then until `until`.
    async fn write(mut self, epoch: Instant, until: Instant) -> Result<(), Failure> {
        let mut ticks = tokio::time::interval(LINE_EVERY);
        let (mut written, mut sent, mut kept) = (Vec::new(), 0_u64, 0_u64);
        while Instant::now() < until {
            tokio::select! {
                _ = ticks.tick() => {
                    let mut line = format!("@T{:020}@ ", epoch.elapsed().as_nanos());
                    line.push_str(&"x".repeat(LINE_BYTES.saturating_sub(line.len() + 1)));
                    line.push('\n');
                    written.extend_from_slice(line.as_bytes());
                }
                acknowledged = self.acknowledged() => kept = acknowledged?,
            }
            if kept == sent && !written.is_empty() {
                let bytes = std::mem::take(&mut written);
                let count = u64::try_from(bytes.len())?;
                self.send(sent, bytes).await?;
                sent += count;
            }
        }
        // The stream stays open until everybody has seen the end.
        tokio::time::sleep(SETTLED).await;
        Ok(())
    }

    /// Writes as fast as pieces are acknowledged. Returns how much was.
    async fn pour(mut self, until: Instant) -> Result<u64, Failure> {
        let piece = b"a line of a log that is like any other line of a log\n".repeat(1200);
        let mut offset = 0;
        while Instant::now() < until {
            self.send(offset, piece.clone()).await?;
            offset = self.acknowledged().await?;
        }
        Ok(offset)
    }
}

async fn next(stream: &mut Streaming<ToAgent>) -> Result<to_agent::Message, Failure> {
    let message = stream.message().await?.ok_or("Summit ended the connection")?;
    message.message.ok_or_else(|| "an empty message".into())
}

async fn latency(folder: &Path, viewers: usize) -> Result<Latency, Failure> {
    let farm = Farm::start(folder).await?;
    let epoch = Instant::now();
    let begin = epoch + SETTLED;
    let until = begin + MEASURED;
    let orders: Vec<Order> = farm.builders.iter().map(|builder| builder.order.clone()).collect();
    let mut watching = JoinSet::new();
    for order in orders.iter().cycle().take(viewers) {
        watching.spawn(watch(farm.http.clone(), order.clone(), epoch, begin, until));
    }
    let mut writing = JoinSet::new();
    for builder in farm.builders {
        writing.spawn(builder.write(epoch, until));
    }
    let mut times = Vec::new();
    while let Some(seen) = watching.join_next().await {
        times.extend(seen??);
    }
    while let Some(wrote) = writing.join_next().await {
        wrote??;
    }
    farm.running.stop().await;
    let lines = times.len();
    Ok(Latency {
        lines,
        p50_ms: timing::at(&mut times, 50),
        p99_ms: timing::at(&mut times, 99),
        worst_ms: timing::at(&mut times, 100),
    })
}

/// One browser. Returns how long each line took that was written in the time that counts.
async fn watch(
    http: String,
    order: Order,
    epoch: Instant,
    begin: Instant,
    until: Instant,
) -> Result<Vec<Duration>, Failure> {
    let mut stream = TcpStream::connect(&http).await?;
    let path = format!("/tasks/{}/log/{}/stream?offset=0", order.task_id, order.attempt_id);
    let request = format!("GET {path} HTTP/1.1\r\nHost: {http}\r\nAccept: text/event-stream\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut times = Vec::new();
    let mut held = Vec::new();
    let mut buffer = vec![0; 64 << 10];
    let deadline = tokio::time::Instant::from_std(until);
    loop {
        let count = match tokio::time::timeout_at(deadline, stream.read(&mut buffer)).await {
            Ok(count) => count?,
            Err(_over) => return Ok(times),
        };
        if count == 0 {
            return Err("Summit ended the live view".into());
        }
        let now = epoch.elapsed();
        held.extend_from_slice(buffer.get(..count).unwrap_or_default());
        let mut searched = 0;
        while let Some(at) = find(&held, searched) {
            let digits = held.get(at + MARK.len()..at + MARK.len() + DIGITS).unwrap_or_default();
            let nanoseconds: u64 = std::str::from_utf8(digits)?.parse()?;
            let written = Duration::from_nanos(nanoseconds);
            if epoch + written >= begin {
                times.push(now.saturating_sub(written));
            }
            searched = at + MARK.len() + DIGITS;
        }
        // A time that is not whole yet is looked at with what comes next.
        let keep = held.len().saturating_sub(MARK.len() + DIGITS - 1).max(searched);
        held.drain(..keep);
    }
}

/// Where the next whole time begins.
fn find(bytes: &[u8], from: usize) -> Option<usize> {
    let place = bytes.get(from..)?.windows(MARK.len()).position(|window| window == MARK)?;
    (from + place + MARK.len() + DIGITS <= bytes.len()).then_some(from + place)
}

async fn throughput(folder: &Path) -> Result<f64, Failure> {
    let farm = Farm::start(folder).await?;
    let begin = Instant::now();
    let mut pouring = JoinSet::new();
    let until = begin + MEASURED / 2;
    for builder in farm.builders {
        pouring.spawn(builder.pour(until));
    }
    let mut bytes = 0;
    while let Some(kept) = pouring.join_next().await {
        bytes += kept??;
    }
    let seconds = begin.elapsed().as_secs_f64();
    farm.running.stop().await;
    let mib = u32::try_from(bytes >> 20)?;
    Ok(f64::from(mib) / seconds)
}
