//! A Vessel as it is, with packages in it that were delivered to it.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use package::PackageMeta;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use vessel::Sha256;
use vessel::serve::{Addresses, ServeError, serve};
use vessel::settings::Written;
use wire::tonic::transport::Channel;
use wire::vessel::vessel_client::VesselClient;
use wire::vessel::{Artefact, ArtefactKind, CommitRequest, ExpectRequest, PutChunk};
use wire::{Identity, connect};

use crate::fixture::Farm;
use crate::vessel::meta;

/// Longest that it may take to start or stop.
const PATIENCE: Duration = Duration::from_secs(60);

/// A farm that is not started yet, on a Vessel with two histories.
pub struct Stage {
    pub farm: Farm,
    pub vessel: RealVessel,
    pub first: String,
    pub second: String,
}

impl Stage {
    /// None, after saying so, where there is no git.
    pub async fn prepare() -> Option<Self> {
        let mut farm = Farm::prepare(&[("n/nano", "name: [")]).await?;
        let hub = summit::identity(&farm.data()).unwrap();
        let vessel = RealVessel::start(&farm.folder().join("vessel"), hub, testkit::steady_address()).await;
        let first = vessel.publish(1, "nano").await;
        let second = vessel.publish(2, "zlib").await;
        let Addresses { grpc, key, public_url, .. } = &vessel.addresses;
        farm.publish_to(&grpc.to_string(), *key, public_url);
        Some(Self { farm, vessel, first, second })
    }
}

pub struct RealVessel {
    pub addresses: Addresses,
    hub: Identity,
    builder: Identity,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), ServeError>>,
}

impl RealVessel {
    /// One that listens to `hub`, at an address that stays the same over a restart.
    pub async fn start(data: &Path, hub: Identity, grpc: SocketAddr) -> Self {
        let settings = Written {
            data: Some(data.to_path_buf()),
            grpc: Some(grpc),
            http: Some("127.0.0.1:0".parse().unwrap()),
            hub_keys: vec![hub.public_key()],
            ..Written::default()
        };
        let settings = settings.complete().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let (tell, told) = oneshot::channel();
        let task = tokio::spawn(async move {
            let ready = |addresses: &Addresses| drop(tell.send(addresses.clone()));
            serve(settings, ready, async { drop(stopped.await) }).await
        });
        let addresses = tokio::time::timeout(PATIENCE, told).await.unwrap().unwrap();
        Self { addresses, hub, builder: Identity::generate().unwrap(), stop, task }
    }

    pub async fn stop(self) {
        self.stop.send(()).unwrap();
        tokio::time::timeout(PATIENCE, self.task).await.unwrap().unwrap().unwrap();
    }

    /// Publishes a package of this source, as an attempt of this number, and answers the history.
    pub async fn publish(&self, attempt_id: u64, source: &str) -> String {
        let request = ExpectRequest {
            task_id: attempt_id,
            attempt_id,
            channel: "main".into(),
            source: source.into(),
            version: "1.0".into(),
            release: 1,
            build_release: 1,
            architecture: "x86_64".into(),
            builder_key: self.builder.public_key().to_string(),
            ..ExpectRequest::default()
        };
        let meta = PackageMeta { uri: None, hash: None, download_size_bytes: None, ..meta(&request) };
        let bytes = testkit::packages::stone(&meta, meta.name.as_bytes());
        let sha256 = Sha256::of(&bytes).to_string();
        let artefact = Artefact {
            kind: ArtefactKind::Package.into(),
            name: meta.file_name(),
            size_bytes: u64::try_from(bytes.len()).unwrap(),
            sha256: sha256.clone(),
        };
        let request = ExpectRequest { artefacts: vec![artefact], ..request };
        self.client(&self.hub).await.expect(request).await.unwrap();
        let mut builder = self.client(&self.builder).await;
        let chunk = PutChunk { attempt_id, sha256, offset: 0, bytes };
        builder.put(tokio_stream::iter([chunk])).await.unwrap();
        builder.commit(CommitRequest { attempt_id }).await.unwrap().into_inner().history
    }

    async fn client(&self, identity: &Identity) -> VesselClient<Channel> {
        let channel = connect(&self.addresses.grpc.to_string(), self.addresses.key, identity).await.unwrap();
        VesselClient::new(channel)
    }
}
