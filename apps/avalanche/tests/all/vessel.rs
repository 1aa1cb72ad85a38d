//! A Vessel that stores what it is sent, and breaks off when a test wants it to.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use tokio::net::TcpListener;
use wire::summit::{Upload, to_agent};
use wire::tonic::service::Routes;
use wire::tonic::{self, Request, Response, Status, Streaming};
use wire::vessel::vessel_server::{Vessel as Service, VesselServer};
use wire::vessel::{
    ChangesReply, ChangesRequest, ChannelReply, ChannelRequest, CommitReply, CommitRequest, ExpectReply,
    ExpectRequest, LandingReply, LandingRequest, OffsetReply, OffsetRequest, OperateReply, OperateRequest,
    PutChunk, PutReply, WithdrawReply, WithdrawRequest,
};
use wire::{Identity, PublicKey};

/// How it behaves and what it has.
#[derive(Default)]
pub(crate) struct Shelf {
    /// Bytes by digest.
    pub(crate) held: BTreeMap<String, Vec<u8>>,
    /// Each put: its digest and the offset it began at.
    pub(crate) puts: Vec<(String, u64)>,
    pub(crate) commits: u32,
    /// Puts that go on just now, and the most that did.
    pub(crate) putting: usize,
    pub(crate) putting_most: usize,
    /// No put goes on before so many have come.
    pub(crate) puts_awaited: usize,
    /// The next put breaks off after so many bytes.
    pub(crate) break_after: Option<usize>,
    /// So many of the next commits fail.
    pub(crate) commit_outages: u32,
    /// Every commit is refused.
    pub(crate) refuses: bool,
}

pub(crate) struct Vessel {
    address: String,
    key: PublicKey,
    pub(crate) shelf: Arc<Mutex<Shelf>>,
}

impl Vessel {
    pub(crate) async fn start(agent: PublicKey) -> Vessel {
        let identity = Identity::generate().unwrap();
        let key = identity.public_key();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let shelf = Arc::new(Mutex::new(Shelf::default()));
        let service = Storing { shelf: Arc::clone(&shelf) };
        tokio::spawn(async move {
            let routes = Routes::new(VesselServer::new(service));
            let allowed = move |key: &PublicKey| *key == agent;
            wire::serve(listener, &identity, allowed, routes, std::future::pending()).await
        });
        Vessel { address, key, shelf }
    }

    pub(crate) fn upload(&self, attempt_id: u64) -> to_agent::Message {
        to_agent::Message::Upload(Upload {
            attempt_id,
            vessel_address: self.address.clone(),
            vessel_key: self.key.to_string(),
        })
    }
}

struct Storing {
    shelf: Arc<Mutex<Shelf>>,
}

#[tonic::async_trait]
impl Service for Storing {
    async fn offset(&self, request: Request<OffsetRequest>) -> Result<Response<OffsetReply>, Status> {
        let shelf = self.shelf.lock().unwrap();
        let size = shelf.held.get(&request.into_inner().sha256).map_or(0, Vec::len);
        Ok(Response::new(OffsetReply { size_bytes: size.try_into().unwrap() }))
    }

    async fn put(&self, request: Request<Streaming<PutChunk>>) -> Result<Response<PutReply>, Status> {
        let mut chunks = request.into_inner();
        {
            let mut shelf = self.shelf.lock().unwrap();
            shelf.putting += 1;
            shelf.putting_most = shelf.putting_most.max(shelf.putting);
        }
        let enough = || {
            let shelf = self.shelf.lock().unwrap();
            shelf.putting_most >= shelf.puts_awaited
        };
        crate::until("enough files come at the same time", enough).await;
        let mut size_bytes = 0;
        let mut first = true;
        while let Some(chunk) = chunks.message().await? {
            let mut shelf = self.shelf.lock().unwrap();
            if std::mem::take(&mut first) {
                shelf.puts.push((chunk.sha256.clone(), chunk.offset));
            }
            let break_after = shelf.break_after;
            let held = shelf.held.entry(chunk.sha256).or_default();
            assert_eq!(u64::try_from(held.len()).unwrap(), chunk.offset, "chunks must follow each other");
            held.extend_from_slice(&chunk.bytes);
            if let Some(limit) = break_after
                && held.len() >= limit
            {
                held.truncate(limit);
                shelf.break_after = None;
                return Err(Status::unavailable("the line broke"));
            }
            size_bytes = held.len().try_into().unwrap();
        }
        self.shelf.lock().unwrap().putting -= 1;
        Ok(Response::new(PutReply { size_bytes }))
    }

    async fn commit(&self, _: Request<CommitRequest>) -> Result<Response<CommitReply>, Status> {
        let mut shelf = self.shelf.lock().unwrap();
        shelf.commits += 1;
        if shelf.refuses {
            return Err(Status::failed_precondition("this is not what Summit ordered"));
        }
        if shelf.commit_outages > 0 {
            shelf.commit_outages -= 1;
            return Err(Status::unavailable("the disk is full"));
        }
        Ok(Response::new(CommitReply { history: "17-3fa94c21".to_owned(), held: String::new() }))
    }

    async fn expect(&self, _: Request<ExpectRequest>) -> Result<Response<ExpectReply>, Status> {
        Err(Status::unimplemented("not here"))
    }
    async fn operate(&self, _: Request<OperateRequest>) -> Result<Response<OperateReply>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn changes(&self, _: Request<ChangesRequest>) -> Result<Response<ChangesReply>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn withdraw(&self, _: Request<WithdrawRequest>) -> Result<Response<WithdrawReply>, Status> {
        Err(Status::unimplemented("not here"))
    }
    async fn landing(&self, _: Request<LandingRequest>) -> Result<Response<LandingReply>, Status> {
        Err(Status::unimplemented("not here"))
    }
    async fn channel(&self, _: Request<ChannelRequest>) -> Result<Response<ChannelReply>, Status> {
        Err(Status::unimplemented("not here"))
    }
}
