//! A Summit whose every word a test says.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex as StdMutex;

use tokio::net::TcpListener;
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use wire::summit::summit_server::{Summit as Service, SummitServer};
use wire::summit::{
    EnrolReply, EnrolRequest, FromAgent, Hello, LogAcknowledged, Order, ToAgent, Verdict, WakeUpReply,
    WakeUpRequest, Welcome, from_agent, to_agent,
};
use wire::tonic::service::Routes;
use wire::tonic::{self, Request, Response, Status, Streaming};
use wire::{Identity, PublicKey, WireError};

use crate::PATIENCE;

pub(crate) struct Summit {
    pub(crate) address: String,
    identity: Identity,
    agent: PublicKey,
    running: Option<Running>,
    /// What has come of each log; as a database it survives a restart.
    logs: Arc<StdMutex<BTreeMap<u64, Vec<u8>>>>,
    stands_by: Arc<std::sync::atomic::AtomicBool>,
}

struct Running {
    sessions: mpsc::Receiver<Session>,
    stop: oneshot::Sender<()>,
    task: tokio::task::JoinHandle<Result<(), WireError>>,
}

/// One attached agent.
pub(crate) struct Session {
    pub(crate) hello: Hello,
    outgoing: mpsc::Sender<Result<ToAgent, Status>>,
    incoming: Mutex<Streaming<FromAgent>>,
    logs: Arc<StdMutex<BTreeMap<u64, Vec<u8>>>>,
}

impl Summit {
    pub(crate) async fn start(agent: PublicKey) -> Summit {
        let mut summit = Summit {
            address: String::new(),
            identity: Identity::generate().unwrap(),
            agent,
            running: None,
            logs: Arc::default(),
            stands_by: Arc::default(),
        };
        summit.listen(&testkit::steady_address().to_string()).await;
        summit
    }

    /// Another process of the same Summit, with a key and an address of its own and the same logs; it does not lead.
    pub(crate) async fn standby(&self) -> Summit {
        let mut summit = Summit {
            address: String::new(),
            identity: Identity::generate().unwrap(),
            agent: self.agent,
            running: None,
            logs: Arc::clone(&self.logs),
            stands_by: Arc::default(),
        };
        summit.stand_by(true);
        summit.listen(&testkit::steady_address().to_string()).await;
        summit
    }

    /// Refuses agents, or does so no more.
    pub(crate) fn stand_by(&self, stands_by: bool) {
        self.stands_by.store(stands_by, std::sync::atomic::Ordering::SeqCst);
    }

    pub(crate) fn key(&self) -> PublicKey {
        self.identity.public_key()
    }

    /// Stops serving, and breaks all connections.
    pub(crate) async fn stop(&mut self) {
        let running = self.running.take().unwrap();
        running.stop.send(()).unwrap();
        running.task.await.unwrap().unwrap();
    }

    /// Serves again where it did before.
    pub(crate) async fn restart(&mut self) {
        let address = self.address.clone();
        self.listen(&address).await;
    }

    pub(crate) fn log(&self, attempt_id: u64) -> String {
        let logs = self.logs.lock().unwrap();
        String::from_utf8(logs.get(&attempt_id).cloned().unwrap_or_default()).unwrap()
    }

    /// Forgets the end of a log, as if it had not been on disk yet.
    pub(crate) fn lose_log_from(&self, attempt_id: u64, size: usize) {
        self.logs.lock().unwrap().get_mut(&attempt_id).unwrap().truncate(size);
    }

    /// The next agent that attaches, welcomed: everything it holds it keeps.
    pub(crate) async fn welcome(&mut self) -> Session {
        let session = self.attached().await;
        let verdicts = session.hello.held.iter().map(|held| Verdict {
            attempt_id: held.attempt_id,
            keep: true,
            log_offset: self.log(held.attempt_id).len().try_into().unwrap(),
        });
        session.welcome(verdicts.collect()).await;
        session
    }

    /// The next agent that attaches, not welcomed yet.
    pub(crate) async fn attached(&mut self) -> Session {
        let sessions = &mut self.running.as_mut().unwrap().sessions;
        tokio::time::timeout(PATIENCE, sessions.recv()).await.expect("no agent attaches").unwrap()
    }

    async fn listen(&mut self, address: &str) {
        let listener = TcpListener::bind(address).await.unwrap();
        self.address = listener.local_addr().unwrap().to_string();
        let (sender, sessions) = mpsc::channel(8);
        let (stop, stopped) = oneshot::channel();
        let (identity, agent) = (self.identity.clone(), self.agent);
        let service = Attaching {
            sessions: sender,
            logs: Arc::clone(&self.logs),
            stands_by: Arc::clone(&self.stands_by),
        };
        let task = tokio::spawn(async move {
            let routes = Routes::new(SummitServer::new(service));
            let allowed = move |key: &PublicKey| *key == agent;
            let stopped = async { drop(stopped.await) };
            wire::serve(listener, &identity, allowed, routes, stopped).await
        });
        self.running = Some(Running { sessions, stop, task });
    }
}

impl Session {
    pub(crate) async fn welcome(&self, verdicts: Vec<Verdict>) {
        let welcome = Welcome { lease_seconds: 60, heartbeat_seconds: 1, verdicts };
        self.send(to_agent::Message::Welcome(welcome)).await;
    }

    /// The next message that is a heartbeat.
    pub(crate) async fn heartbeat(&self) -> wire::summit::Heartbeat {
        loop {
            match self.raw().await {
                from_agent::Message::Heartbeat(heartbeat) => return heartbeat,
                from_agent::Message::Log(chunk) => {
                    let offset = self.store(&chunk);
                    self.acknowledge(chunk.attempt_id, offset).await;
                }
                other => panic!("not a heartbeat: {other:?}"),
            }
        }
    }

    pub(crate) async fn send(&self, message: to_agent::Message) {
        self.outgoing.send(Ok(ToAgent { message: Some(message) })).await.unwrap();
    }

    /// Orders and sees that it is taken.
    pub(crate) async fn order(&self, order: Order) {
        let attempt_id = order.attempt_id;
        self.send(to_agent::Message::Order(order)).await;
        match self.next().await {
            from_agent::Message::Started(started) => assert_eq!(started.attempt_id, attempt_id),
            other => panic!("not started: {other:?}"),
        }
    }

    /// The next message that is neither a heartbeat nor log; log is stored and acknowledged.
    pub(crate) async fn next(&self) -> from_agent::Message {
        loop {
            match self.raw().await {
                from_agent::Message::Heartbeat(_) => {}
                from_agent::Message::Log(chunk) => {
                    let offset = self.store(&chunk);
                    self.acknowledge(chunk.attempt_id, offset).await;
                }
                other => return other,
            }
        }
    }

    pub(crate) async fn acknowledge(&self, attempt_id: u64, offset: u64) {
        let word = LogAcknowledged { attempt_id, offset, full: false };
        self.send(to_agent::Message::LogAcknowledged(word)).await;
    }

    /// Stores a piece. One that was sent again must say the same again, and none may leave a gap.
    pub(crate) fn store(&self, chunk: &wire::summit::LogChunk) -> u64 {
        assert_eq!(chunk.lease_token, chunk.attempt_id + 1000);
        assert!(!chunk.bytes.is_empty());
        let mut logs = self.logs.lock().unwrap();
        let log = logs.entry(chunk.attempt_id).or_default();
        let offset = usize::try_from(chunk.offset).unwrap();
        assert!(offset <= log.len(), "bytes {} to {offset} of the log are lost", log.len());
        let (known, new) = chunk.bytes.split_at(chunk.bytes.len().min(log.len() - offset));
        assert_eq!(known, &log[offset..offset + known.len()], "the log says something else the second time");
        log.extend_from_slice(new);
        log.len().try_into().unwrap()
    }

    pub(crate) async fn raw(&self) -> from_agent::Message {
        let mut incoming = self.incoming.lock().await;
        let message =
            tokio::time::timeout(PATIENCE, incoming.message()).await.expect("the agent says nothing");
        message.unwrap().expect("the agent hung up").message.unwrap()
    }

    /// Goes on storing log until `done`.
    pub(crate) async fn store_until(&self, what: &str, mut done: impl FnMut() -> bool) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while !done() {
            assert!(tokio::time::Instant::now() < deadline, "waited too long until {what}");
            match self.raw().await {
                from_agent::Message::Heartbeat(_) | from_agent::Message::Started(_) => {}
                from_agent::Message::Log(chunk) => {
                    let offset = self.store(&chunk);
                    self.acknowledge(chunk.attempt_id, offset).await;
                }
                other => panic!("until {what}: {other:?}"),
            }
        }
    }
}

struct Attaching {
    sessions: mpsc::Sender<Session>,
    logs: Arc<StdMutex<BTreeMap<u64, Vec<u8>>>>,
    stands_by: Arc<std::sync::atomic::AtomicBool>,
}

#[tonic::async_trait]
impl Service for Attaching {
    type AttachStream = ReceiverStream<Result<ToAgent, Status>>;

    async fn attach(
        &self,
        request: Request<Streaming<FromAgent>>,
    ) -> Result<Response<Self::AttachStream>, Status> {
        if self.stands_by.load(std::sync::atomic::Ordering::SeqCst) {
            return Err(Status::unavailable("this Summit stands by; another one leads"));
        }
        let mut incoming = request.into_inner();
        let Some(FromAgent { message: Some(from_agent::Message::Hello(hello)) }) = incoming.message().await?
        else {
            return Err(Status::invalid_argument("no Hello"));
        };
        let (outgoing, queued) = mpsc::channel(64);
        let logs = Arc::clone(&self.logs);
        let session = Session { hello, outgoing, incoming: Mutex::new(incoming), logs };
        self.sessions.send(session).await.map_err(|_| Status::unavailable("stopping"))?;
        Ok(Response::new(ReceiverStream::new(queued)))
    }

    async fn enrol(&self, _: Request<EnrolRequest>) -> Result<Response<EnrolReply>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn wake_up(&self, _: Request<WakeUpRequest>) -> Result<Response<WakeUpReply>, Status> {
        Err(Status::unimplemented("not here"))
    }
}
