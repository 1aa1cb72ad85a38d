//! A Vessel that keeps expectations in memory and writes a published tree that any client reads.

use std::collections::HashMap;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use package::PackageMeta;
use repository::{Index, RootIndex};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use wire::tonic::service::Routes;
use wire::tonic::{self, Request, Response, Status, Streaming};
use wire::vessel::vessel_server::{Vessel, VesselServer};
use wire::vessel::{
    ChangesReply, ChangesRequest, ChannelReply, ChannelRequest, CommitReply, CommitRequest, ExpectReply,
    ExpectRequest, LandingReply, LandingRequest, LandingState, OffsetReply, OffsetRequest, OperateReply,
    OperateRequest, PutChunk, PutReply, WithdrawReply, WithdrawRequest,
};
use wire::{Identity, PublicKey, peer_key};

/// What a build of this source with this build release yields, apart from its releases.
pub type Yields = fn(&str, u64) -> String;

#[derive(Default)]
struct State {
    expected: HashMap<u64, ExpectRequest>,
    /// History and output.
    landed: HashMap<u64, (String, String)>,
    yields: Option<Yields>,
    /// Source → its packages, where it has others than one of its own name.
    packages: HashMap<String, Vec<PackageMeta>>,
    published: Vec<PackageMeta>,
    histories: u64,
    /// The source that each history brought, the oldest first.
    brought: Vec<(String, String)>,
    /// How often somebody was told what changed.
    told_changes: u64,
    refuse_next: Option<String>,
    /// Source → what it waits for.
    held: HashMap<String, String>,
    /// Attempts that are here completely and wait.
    waiting: HashMap<u64, String>,
}

impl State {
    /// What `list`, `show` and `diff` are told of a channel that landed builds one by one; its stream `stable` stays
    /// five behind.
    fn answer(&self, operation: &Value) -> Option<Value> {
        let ids: Vec<&String> = self.brought.iter().map(|(history, _)| history).collect();
        let stable = ids.len().checked_sub(6).and_then(|place| ids.get(place));
        let place = |version: &Value| {
            let version = version.as_str()?;
            let version = version.strip_prefix("history/").unwrap_or(version);
            match version {
                "stream/volatile" => ids.len().checked_sub(1),
                _ => ids.iter().position(|id| *id == version),
            }
        };
        match operation["operation"].as_str()? {
            "list" => Some(json!({ "channels": [{ "channel": "main" }] })),
            "show" => {
                let history = |place: usize| {
                    let (id, source) = &self.brought[place];
                    let previous = place.checked_sub(1).map(|before| ids[before]);
                    json!({ "id": id, "previous": previous, "packages": place + 1, "recorded_at": 1_700_000_000 + place,
                            "cause": format!("build of {source}"), "given_up_at": null })
                };
                let mut streams = json!({});
                if let Some(newest) = ids.last() {
                    streams["volatile"] = json!(newest);
                }
                if let Some(stable) = stable {
                    streams["stable"] = json!(stable);
                }
                let histories: Vec<Value> = (0..ids.len()).rev().map(history).collect();
                let tags = ids.first().map_or(json!({}), |first| json!({ "first": first }));
                Some(json!({ "channel": operation["channel"], "history": ids.last(), "packages": ids.len(),
                             "streams": streams, "tags": tags, "histories": histories }))
            }
            "diff" => {
                let (from, to) = (place(&operation["from"])?, place(&operation["to"])?);
                let package = |(_, source): &(String, String)| json!({ "name": source, "architecture": "x86_64", "version": "1.0-1-1" });
                let between = |from: usize, to: usize| -> Vec<Value> {
                    self.brought.get(from + 1..to + 1).unwrap_or_default().iter().map(package).collect()
                };
                Some(json!({ "channel": operation["channel"], "from": ids[from], "to": ids[to],
                             "added": between(from, to), "removed": between(to, from), "changed": [] }))
            }
            _ => None,
        }
    }
}

#[derive(Clone)]
pub struct FakeVessel {
    pub address: String,
    pub key: PublicKey,
    public: PathBuf,
    hub: Arc<Mutex<Option<PublicKey>>>,
    state: Arc<Mutex<State>>,
}

impl FakeVessel {
    pub async fn start(public: &Path) -> Self {
        let identity = Identity::generate().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let vessel = Self {
            address: listener.local_addr().unwrap().to_string(),
            key: identity.public_key(),
            public: public.to_path_buf(),
            hub: Arc::default(),
            state: Arc::default(),
        };
        let routes = Routes::new(VesselServer::new(vessel.clone()));
        tokio::spawn(async move {
            wire::serve(listener, &identity, |_| true, routes, std::future::pending()).await
        });
        vessel
    }

    pub fn trust(&self, hub: PublicKey) {
        *self.hub.lock().unwrap() = Some(hub);
    }

    pub fn yields(&self, yields: Yields) {
        self.state.lock().unwrap().yields = Some(yields);
    }

    /// Builds of these sources bring these packages; the source of each is in it.
    pub fn packages(&self, packages: impl IntoIterator<Item = PackageMeta>) {
        let mut state = self.state.lock().unwrap();
        for package in packages {
            state.packages.entry(package.source_id.clone()).or_default().push(package);
        }
    }

    pub fn refuse_next(&self, reason: &str) {
        self.state.lock().unwrap().refuse_next = Some(reason.into());
    }

    /// Holds what is built of a source back, until it is let go.
    pub fn hold(&self, source: &str, reason: &str) {
        self.state.lock().unwrap().held.insert(source.into(), reason.into());
    }

    /// Publishes what waits.
    pub fn let_go(&self) {
        let mut state = self.state.lock().unwrap();
        state.held.clear();
        let waiting: Vec<u64> = state.waiting.drain().map(|(id, _)| id).collect();
        for id in waiting {
            self.publish(&mut state, id);
        }
    }

    /// What was said of the attempts that were announced.
    pub fn announced(&self) -> Vec<ExpectRequest> {
        self.state.lock().unwrap().expected.values().cloned().collect()
    }

    fn publish(&self, state: &mut State, id: u64) -> String {
        let expected = state.expected[&id].clone();
        state.histories += 1;
        let history = format!("{}-test", state.histories);
        state.published.retain(|package| package.source_id != expected.source);
        let brought: Vec<PackageMeta> = match state.packages.get(&expected.source) {
            Some(packages) => packages.iter().map(|package| renamed(meta(&expected), package)).collect(),
            None => vec![meta(&expected)],
        };
        state.published.extend(brought);
        write_tree(&self.public, &history, &state.published);
        state.brought.push((history.clone(), expected.source.clone()));
        let output = match state.yields {
            Some(yields) => yields(&expected.source, expected.build_release),
            None => String::new(),
        };
        state.landed.insert(id, (history.clone(), output));
        history
    }

    fn only_hub<T>(&self, request: &Request<T>) -> Result<(), Status> {
        let key = peer_key(request)?;
        match *self.hub.lock().unwrap() == Some(key) {
            true => Ok(()),
            false => Err(Status::permission_denied("only the hub may do this")),
        }
    }
}

/// Publishes `packages` as a history of channel main below `public`.
pub fn write_tree(public: &Path, history: &str, packages: &[PackageMeta]) {
    let folder = public.join("main/history").join(history).join("x86_64");
    fs_err::create_dir_all(&folder).unwrap();
    let index = Index::new(packages.to_vec()).unwrap();
    let bytes = index.write(Cursor::new(Vec::new()), stone::Packing::FAST).unwrap().into_inner();
    fs_err::write(folder.join("stone.index"), bytes).unwrap();
    let root = format!(
        r#"{{"formats":{{"v0":{{}}}},"streams":{{"volatile":{{"format":"v0","history":"{history}"}}}},"tags":{{}},"history":{{"{history}":{{"format":"v0"}}}}}}"#
    );
    RootIndex::from_json(root.as_bytes()).unwrap();
    let path = public.join("main/moss-root-index.json");
    fs_err::write(path.with_extension("new"), root).unwrap();
    fs_err::rename(path.with_extension("new"), path).unwrap();
}

/// What is built as one of the packages of its source.
fn renamed(built: PackageMeta, package: &PackageMeta) -> PackageMeta {
    let PackageMeta { name, depends, provides, .. } = package.clone();
    PackageMeta { uri: Some(format!("../../../pool/{name}.stone")), name, depends, provides, ..built }
}

/// The package of an order, which has the name of its source.
pub fn meta(expected: &ExpectRequest) -> PackageMeta {
    PackageMeta {
        name: expected.source.clone(),
        version: expected.version.clone(),
        release: expected.release,
        build_release: expected.build_release,
        architecture: expected.architecture.clone(),
        summary: "s".into(),
        description: "d".into(),
        source_id: expected.source.clone(),
        homepage: "https://example.org".into(),
        licenses: vec!["MIT".into()],
        depends: Default::default(),
        provides: Default::default(),
        conflicts: Default::default(),
        build_depends: Default::default(),
        uri: Some(format!("../../../pool/{}.stone", expected.source)),
        hash: Some("0".repeat(64)),
        download_size_bytes: Some(3),
    }
}

#[tonic::async_trait]
impl Vessel for FakeVessel {
    async fn expect(&self, request: Request<ExpectRequest>) -> Result<Response<ExpectReply>, Status> {
        self.only_hub(&request)?;
        let request = request.into_inner();
        let mut state = self.state.lock().unwrap();
        if let Some(reason) = state.refuse_next.take() {
            return Err(Status::failed_precondition(reason));
        }
        assert!(!request.artefacts.is_empty() && !request.builder_key.is_empty());
        state.expected.insert(request.attempt_id, request);
        Ok(Response::new(ExpectReply {}))
    }

    async fn withdraw(&self, request: Request<WithdrawRequest>) -> Result<Response<WithdrawReply>, Status> {
        self.only_hub(&request)?;
        self.state.lock().unwrap().expected.remove(&request.into_inner().attempt_id);
        Ok(Response::new(WithdrawReply {}))
    }

    async fn landing(&self, request: Request<LandingRequest>) -> Result<Response<LandingReply>, Status> {
        self.only_hub(&request)?;
        let id = request.into_inner().attempt_id;
        let state = self.state.lock().unwrap();
        if let Some(reason) = state.waiting.get(&id).cloned() {
            let state = LandingState::Held.into();
            return Ok(Response::new(LandingReply { state, reason, ..LandingReply::default() }));
        }
        let (found, (history, output)) = match (state.landed.get(&id), state.expected.get(&id)) {
            (Some(landed), _) => (LandingState::Landed, landed.clone()),
            (None, Some(_)) => (LandingState::Expected, Default::default()),
            (None, None) => (LandingState::Unknown, Default::default()),
        };
        Ok(Response::new(LandingReply { state: found.into(), history, reason: String::new(), output }))
    }

    async fn commit(&self, request: Request<CommitRequest>) -> Result<Response<CommitReply>, Status> {
        let key = peer_key(&request)?;
        let id = request.into_inner().attempt_id;
        let mut state = self.state.lock().unwrap();
        let Some(expected) = state.expected.get(&id).cloned() else {
            return Err(Status::not_found("nobody expects this"));
        };
        if expected.builder_key != key.to_string() {
            return Err(Status::permission_denied("another builder is expected"));
        }
        if let Some(reason) = state.held.get(&expected.source).cloned() {
            state.waiting.insert(id, reason.clone());
            return Ok(Response::new(CommitReply { history: String::new(), held: reason }));
        }
        let history = self.publish(&mut state, id);
        Ok(Response::new(CommitReply { history, held: String::new() }))
    }

    async fn offset(&self, _: Request<OffsetRequest>) -> Result<Response<OffsetReply>, Status> {
        Err(Status::unimplemented("not here"))
    }
    async fn put(&self, _: Request<Streaming<PutChunk>>) -> Result<Response<PutReply>, Status> {
        Err(Status::unimplemented("not here"))
    }
    async fn channel(&self, _: Request<ChannelRequest>) -> Result<Response<ChannelReply>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn operate(&self, request: Request<OperateRequest>) -> Result<Response<OperateReply>, Status> {
        self.only_hub(&request)?;
        let operation: Value = serde_json::from_str(&request.into_inner().operation).unwrap();
        let outcome = self.state.lock().unwrap().answer(&operation);
        let outcome = outcome.ok_or_else(|| Status::not_found("there is no such version"))?;
        Ok(Response::new(OperateReply { outcome: outcome.to_string() }))
    }

    async fn changes(&self, request: Request<ChangesRequest>) -> Result<Response<ChangesReply>, Status> {
        self.only_hub(&request)?;
        let since = request.into_inner().since;
        let mut state = self.state.lock().unwrap();
        let history = state.brought.last().map(|(history, _)| history.clone()).unwrap_or_default();
        let Some(known) = state.brought.iter().position(|(history, _)| *history == since) else {
            return Ok(Response::new(ChangesReply { history, whole: true, ..ChangesReply::default() }));
        };
        let sources: Vec<&String> = state.brought[known + 1..].iter().map(|(_, source)| source).collect();
        let packages = state.published.iter().filter(|package| sources.contains(&&package.source_id));
        let index = Index::new(packages.cloned()).unwrap();
        let arrived = index.write(Cursor::new(Vec::new()), stone::Packing::FAST).unwrap().into_inner();
        state.told_changes += 1;
        Ok(Response::new(ChangesReply { history, whole: false, arrived, gone: Vec::new() }))
    }
}
