//! A running Vessel, and a builder and a hub that speak to it.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use package::PackageMeta;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use vessel::Sha256;
use vessel::serve::{Addresses, ServeError, serve};
use vessel::settings::{Settings, Written};
use wire::tonic::Status;
use wire::tonic::transport::Channel;
use wire::vessel::vessel_client::VesselClient;
use wire::vessel::{
    Artefact, ArtefactKind, CommitRequest, ExpectRequest, LandingReply, LandingRequest, OffsetRequest,
    PutChunk,
};
use wire::{Identity, PublicKey, connect};

use testkit::packages::stone;

/// Longest that a service may take to start or stop, on a machine that does much else.
const LIMIT: Duration = Duration::from_secs(60);

pub(crate) struct Running {
    pub(crate) addresses: Addresses,
    pub(crate) hub: Identity,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), ServeError>>,
}

impl Running {
    pub(crate) async fn start(data: &Path) -> Self {
        Self::start_for(data, Identity::generate().unwrap()).await
    }

    pub(crate) async fn start_for(data: &Path, hub: Identity) -> Self {
        Self::start_with(data, hub, |_| {}).await
    }

    pub(crate) async fn start_with(data: &Path, hub: Identity, change: impl FnOnce(&mut Settings)) -> Self {
        let any = "127.0.0.1:0".parse().unwrap();
        let settings = Written {
            data: Some(data.to_path_buf()),
            grpc: Some(any),
            http: Some(any),
            hub_keys: vec![hub.public_key()],
            ..Written::default()
        };
        let mut settings = settings.complete().unwrap();
        change(&mut settings);
        let (stop, stopped) = oneshot::channel::<()>();
        let (tell, told) = oneshot::channel();
        let task = tokio::spawn(async move {
            let ready = |addresses: &Addresses| drop(tell.send(addresses.clone()));
            serve(settings, ready, async { drop(stopped.await) }).await
        });
        let addresses = tokio::time::timeout(LIMIT, told).await.unwrap().unwrap();
        Self { addresses, hub, stop, task }
    }

    pub(crate) async fn stop(self) -> Identity {
        self.stop.send(()).unwrap();
        tokio::time::timeout(LIMIT, self.task).await.unwrap().unwrap().unwrap();
        self.hub
    }

    pub(crate) async fn client(&self, identity: &Identity) -> VesselClient<Channel> {
        let channel = connect(&self.addresses.grpc.to_string(), self.addresses.key, identity).await.unwrap();
        VesselClient::new(channel)
    }

    pub(crate) async fn hub_client(&self) -> VesselClient<Channel> {
        self.client(&self.hub).await
    }

    pub(crate) async fn landing(&self, attempt_id: u64) -> LandingReply {
        let request = LandingRequest { attempt_id };
        self.hub_client().await.landing(request).await.unwrap().into_inner()
    }

    /// Announces, uploads and commits; answers the history.
    pub(crate) async fn deliver(&self, builder: &Identity, delivery: &Delivery) -> Result<String, Status> {
        self.hub_client().await.expect(delivery.request(builder)).await?;
        let mut client = self.client(builder).await;
        for (_, bytes) in &delivery.files {
            put(&mut client, delivery.attempt_id, bytes, 0, 1000).await?;
        }
        Ok(client.commit(CommitRequest { attempt_id: delivery.attempt_id }).await?.into_inner().history)
    }
}

/// The program itself, to be killed.
pub(crate) struct Program {
    child: Child,
    addresses: serde_json::Value,
    log_path: std::path::PathBuf,
}

impl Program {
    /// Starts `vessel serve` and reads where it listens.
    pub(crate) fn start(data: &Path, hub: &Identity) -> Self {
        let log_path = data.with_extension("log");
        let log = fs_err::OpenOptions::new().create(true).append(true).open(&log_path).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_vessel"))
            .args(["serve", "--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0", "--json"])
            .args(["--hub-key", &hub.public_key().to_string(), "--data"])
            .arg(data)
            .stdout(Stdio::piped())
            .stderr(Stdio::from(log.into_file()))
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        Self { child, addresses: serde_json::from_str(&line).unwrap(), log_path }
    }

    pub(crate) async fn client(&self, identity: &Identity) -> VesselClient<Channel> {
        VesselClient::new(connect(&self.address(), self.key(), identity).await.unwrap())
    }

    pub(crate) fn address(&self) -> String {
        self.addresses["grpc"].as_str().unwrap().to_owned()
    }

    pub(crate) fn key(&self) -> PublicKey {
        self.addresses["key"].as_str().unwrap().parse().unwrap()
    }

    /// What it has logged.
    pub(crate) fn said(&self) -> String {
        fs_err::read_to_string(&self.log_path).unwrap()
    }

    pub(crate) fn memory_bytes(&self) -> u64 {
        let status = fs_err::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() * 1024
    }

    /// SIGKILL.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// One attempt and the files that it brings.
pub(crate) struct Delivery {
    pub(crate) attempt_id: u64,
    pub(crate) meta: PackageMeta,
    pub(crate) files: Vec<(Artefact, Vec<u8>)>,
}

impl Delivery {
    /// One package with this content, and a manifest.
    pub(crate) fn new(attempt_id: u64, meta: PackageMeta, content: &[u8]) -> Self {
        let package = stone(&meta, content);
        let manifest = format!("{{\"attempt\":{attempt_id}}}").into_bytes();
        let files = vec![
            (artefact(ArtefactKind::Package, &meta.file_name(), &package), package),
            (artefact(ArtefactKind::ManifestJson, "manifest.x86_64.jsonc", &manifest), manifest),
        ];
        Self { attempt_id, meta, files }
    }

    pub(crate) fn request(&self, builder: &Identity) -> ExpectRequest {
        ExpectRequest {
            task_id: self.attempt_id,
            attempt_id: self.attempt_id,
            channel: "main".into(),
            source: self.meta.source_id.clone(),
            version: self.meta.version.clone(),
            release: self.meta.release,
            build_release: self.meta.build_release,
            architecture: self.meta.architecture.clone(),
            builder_key: builder.public_key().to_string(),
            artefacts: self.files.iter().map(|(artefact, _)| artefact.clone()).collect(),
            ..ExpectRequest::default()
        }
    }
}

pub(crate) fn artefact(kind: ArtefactKind, name: &str, bytes: &[u8]) -> Artefact {
    Artefact {
        kind: kind.into(),
        name: name.into(),
        size_bytes: u64::try_from(bytes.len()).unwrap(),
        sha256: Sha256::of(bytes).to_string(),
    }
}

/// Chunks of `bytes` from `offset` on.
pub(crate) fn chunks(attempt_id: u64, bytes: &[u8], offset: usize, chunk_size: usize) -> Vec<PutChunk> {
    let sha256 = Sha256::of(bytes).to_string();
    let mut chunks = Vec::new();
    let mut offset = offset;
    for part in bytes[offset..].chunks(chunk_size) {
        let at = u64::try_from(offset).unwrap();
        chunks.push(PutChunk { attempt_id, sha256: sha256.clone(), offset: at, bytes: part.to_vec() });
        offset += part.len();
    }
    chunks
}

pub(crate) async fn put(
    client: &mut VesselClient<Channel>,
    attempt_id: u64,
    bytes: &[u8],
    offset: usize,
    chunk_size: usize,
) -> Result<u64, Status> {
    let chunks = chunks(attempt_id, bytes, offset, chunk_size);
    Ok(client.put(tokio_stream::iter(chunks)).await?.into_inner().size_bytes)
}

pub(crate) async fn offset(
    client: &mut VesselClient<Channel>,
    attempt_id: u64,
    bytes: &[u8],
) -> Result<u64, Status> {
    let request = OffsetRequest { attempt_id, sha256: Sha256::of(bytes).to_string() };
    Ok(client.offset(request).await?.into_inner().size_bytes)
}
