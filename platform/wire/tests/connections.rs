//! Real connections over loopback: who gets in, who is told what.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fault::{Fault, Kind};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tonic::service::Routes;
use tonic::{Request, Response, Status, Streaming};
use wire::vessel::vessel_client::VesselClient;
use wire::vessel::vessel_server::{Vessel, VesselServer};
use wire::vessel::{
    ChangesReply, ChangesRequest, ChannelReply, ChannelRequest, CommitReply, CommitRequest, ExpectReply,
    ExpectRequest, LandingReply, LandingRequest, OffsetReply, OffsetRequest, OperateReply, OperateRequest,
    PutChunk, PutReply, WithdrawReply, WithdrawRequest,
};
use wire::{Identity, PublicKey, WireError, connect, connect_within, peer_key, serve_open};

/// What everybody may call.
const OPEN_METHOD: &str = "/moraine.vessel.v1.Vessel/Landing";

/// Answers with the key of whoever asks.
struct Mirror;

#[tonic::async_trait]
impl Vessel for Mirror {
    async fn operate(&self, _: Request<OperateRequest>) -> Result<Response<OperateReply>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn channel(&self, request: Request<ChannelRequest>) -> Result<Response<ChannelReply>, Status> {
        let key = peer_key(&request)?;
        Ok(Response::new(ChannelReply {
            history: String::new(),
            index_path: key.to_string(),
            public_base_url: String::new(),
        }))
    }

    async fn put(&self, request: Request<Streaming<PutChunk>>) -> Result<Response<PutReply>, Status> {
        let mut chunks = request.into_inner();
        let mut size_bytes = 0;
        while let Some(chunk) = chunks.message().await? {
            size_bytes += chunk.bytes.len() as u64;
        }
        Ok(Response::new(PutReply { size_bytes }))
    }

    async fn expect(&self, _: Request<ExpectRequest>) -> Result<Response<ExpectReply>, Status> {
        Err(Status::unimplemented("not here"))
    }
    async fn withdraw(&self, _: Request<WithdrawRequest>) -> Result<Response<WithdrawReply>, Status> {
        Err(Status::unimplemented("not here"))
    }
    async fn landing(&self, _: Request<LandingRequest>) -> Result<Response<LandingReply>, Status> {
        Err(Status::unimplemented("not here"))
    }
    async fn offset(&self, _: Request<OffsetRequest>) -> Result<Response<OffsetReply>, Status> {
        Err(Status::unimplemented("not here"))
    }
    async fn commit(&self, _: Request<CommitRequest>) -> Result<Response<CommitReply>, Status> {
        Err(Status::unimplemented("not here"))
    }
    async fn changes(&self, _: Request<ChangesRequest>) -> Result<Response<ChangesReply>, Status> {
        Err(Status::unimplemented("not here"))
    }
}

struct TestServer {
    address: String,
    key: PublicKey,
    known: Arc<Mutex<HashSet<PublicKey>>>,
    stop: Option<oneshot::Sender<()>>,
    task: tokio::task::JoinHandle<Result<(), WireError>>,
}

impl TestServer {
    async fn start() -> Self {
        let identity = Identity::generate().unwrap();
        let listener = TcpListener::bind(testkit::steady_address()).await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let known = Arc::new(Mutex::new(HashSet::new()));
        let list = Arc::clone(&known);
        let (stop, stopped) = oneshot::channel();
        let key = identity.public_key();
        let task = tokio::spawn(async move {
            let allowed = move |key: &PublicKey| list.lock().unwrap().contains(key);
            let routes = Routes::new(VesselServer::new(Mirror));
            serve_open(listener, &identity, allowed, &[OPEN_METHOD], routes, async {
                stopped.await.ok();
            })
            .await
        });
        Self { address, key, known, stop: Some(stop), task }
    }

    fn admit(&self, identity: &Identity) {
        self.known.lock().unwrap().insert(identity.public_key());
    }
}

#[tokio::test]
async fn both_sides_know_the_key_of_the_other() {
    let server = TestServer::start().await;
    let identity = Identity::generate().unwrap();
    server.admit(&identity);
    let channel = connect(&server.address, server.key, &identity).await.unwrap();
    let reply = VesselClient::new(channel).channel(ChannelRequest::default()).await.unwrap();
    assert_eq!(reply.into_inner().index_path, identity.public_key().to_string());
}

#[tokio::test]
async fn a_server_with_another_key_is_not_trusted() {
    let server = TestServer::start().await;
    let identity = Identity::generate().unwrap();
    server.admit(&identity);
    let pinned = Identity::generate().unwrap().public_key();
    let error = connect(&server.address, pinned, &identity).await.unwrap_err();
    assert!(matches!(&error, WireError::OtherKey { found, .. } if *found == server.key), "{error:?}");
    assert_eq!(error.kind(), Kind::Denied);
    assert!(error.hints()[0].contains(&server.key.to_string()));
}

#[tokio::test]
async fn an_unknown_peer_is_told_its_key_and_reaches_no_handler() {
    let server = TestServer::start().await;
    let identity = Identity::generate().unwrap();
    let channel = connect(&server.address, server.key, &identity).await.unwrap();
    let status = VesselClient::new(channel).channel(ChannelRequest::default()).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::PermissionDenied);
    assert!(status.message().contains(&identity.public_key().to_string()), "{status}");
}

#[tokio::test]
async fn an_unknown_peer_may_call_what_is_open_and_nothing_else() {
    let server = TestServer::start().await;
    let identity = Identity::generate().unwrap();
    let mut client = VesselClient::new(connect(&server.address, server.key, &identity).await.unwrap());
    let status = client.landing(LandingRequest::default()).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::Unimplemented, "it reached the handler: {status}");
    let status = client.withdraw(WithdrawRequest::default()).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::PermissionDenied);
}

#[tokio::test]
async fn a_key_taken_off_the_list_is_refused_on_its_open_connection() {
    let server = TestServer::start().await;
    let identity = Identity::generate().unwrap();
    server.admit(&identity);
    let mut client = VesselClient::new(connect(&server.address, server.key, &identity).await.unwrap());
    client.channel(ChannelRequest::default()).await.unwrap();
    server.known.lock().unwrap().clear();
    let status = client.channel(ChannelRequest::default()).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::PermissionDenied);
}

#[tokio::test]
async fn nothing_listening_and_bad_addresses_are_told_apart() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let identity = Identity::generate().unwrap();
    let error = connect(&address, identity.public_key(), &identity).await.unwrap_err();
    assert!(matches!(error, WireError::Connect { .. }), "{error:?}");
    assert!(error.hints()[0].contains("nothing listens"));
    for address in ["", "host", "host:port", "host:1/path", "a b:1"] {
        let error = connect(address, identity.public_key(), &identity).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Input, "{address:?}: {error:?}");
    }
}

#[tokio::test]
async fn a_silent_server_ends_in_a_timeout_and_a_silent_client_delays_nobody() {
    let server = TestServer::start().await;
    let identity = Identity::generate().unwrap();
    server.admit(&identity);
    let _silent_client = tokio::net::TcpStream::connect(&server.address).await.unwrap();
    connect(&server.address, server.key, &identity).await.unwrap();

    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let error = connect_within(&address, server.key, &identity, Duration::from_millis(50)).await.unwrap_err();
    assert!(matches!(error, WireError::Timeout { .. }), "{error:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_address_of_a_stopped_server_is_free_at_once() {
    for _ in 0..100 {
        let mut server = TestServer::start().await;
        // It takes connections, and none is open when it is stopped: then nothing holds up its end.
        tokio::net::TcpStream::connect(&server.address).await.unwrap();
        server.stop.take().unwrap().send(()).unwrap();
        server.task.await.unwrap().unwrap();
        TcpListener::bind(&server.address).await.unwrap();
    }
}

#[tokio::test]
async fn a_stopped_server_ends_although_a_stream_is_open() {
    let mut server = TestServer::start().await;
    let identity = Identity::generate().unwrap();
    server.admit(&identity);
    let mut client = VesselClient::new(connect(&server.address, server.key, &identity).await.unwrap());
    let (chunks, stream) = tokio::sync::mpsc::channel(1);
    chunks.send(PutChunk::default()).await.unwrap();
    let call =
        tokio::spawn(async move { client.put(tokio_stream::wrappers::ReceiverStream::new(stream)).await });
    server.stop.take().unwrap().send(()).unwrap();
    let limit = wire::limits::SHUTDOWN_GRACE + Duration::from_secs(60);
    tokio::time::timeout(limit, server.task).await.unwrap().unwrap().unwrap();
    drop(chunks);
    tokio::time::timeout(limit, call).await.unwrap().unwrap().ok();
}
