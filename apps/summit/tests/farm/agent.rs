//! An agent that does what the test says.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use wire::summit::summit_client::SummitClient;
use wire::summit::{
    Artefact, ArtefactKind, Built, Failed, FailureClass, Finished, FromAgent, Heartbeat, Held, HeldState,
    Hello, LogChunk, Order, Published, Started, ToAgent, Upload, Welcome, finished, from_agent, to_agent,
};
use wire::tonic::Streaming;
use wire::vessel::CommitRequest;
use wire::vessel::vessel_client::VesselClient;
use wire::{Identity, PublicKey};

use crate::vessel::FakeVessel;

/// Longest wait for a message; ten times what a loaded machine needs.
const PATIENCE: Duration = Duration::from_secs(90);

pub struct Agent {
    pub welcome: Welcome,
    identity: Identity,
    sender: mpsc::Sender<FromAgent>,
    stream: Streaming<ToAgent>,
    /// Messages that came before the one that was waited for.
    early: Vec<to_agent::Message>,
}

impl Agent {
    pub async fn attach(
        address: &str,
        key: PublicKey,
        identity: &Identity,
        name: &str,
        slots: u32,
        held: &[Held],
    ) -> Result<Self, String> {
        let channel = wire::connect(address, key, identity).await.map_err(|error| error.to_string())?;
        let (sender, receiver) = mpsc::channel(16);
        let hello = Hello {
            name: name.into(),
            architectures: vec!["x86_64".into()],
            slots,
            cores: 4,
            memory_bytes: 8 << 30,
            version: "test".into(),
            held: held.to_vec(),
            ..Hello::default()
        };
        sender.send(FromAgent { message: Some(from_agent::Message::Hello(hello)) }).await.unwrap();
        let stream = SummitClient::new(channel).attach(ReceiverStream::new(receiver)).await;
        let mut stream = stream.map_err(|status| status.message().to_owned())?.into_inner();
        let first = stream.message().await.map_err(|status| status.message().to_owned())?;
        let Some(ToAgent { message: Some(to_agent::Message::Welcome(welcome)) }) = first else {
            return Err(format!("not welcomed: {first:?}"));
        };
        Ok(Self { welcome, identity: identity.clone(), sender, stream, early: Vec::new() })
    }

    pub fn held(order: &Order, state: HeldState, log_size_bytes: u64) -> Held {
        Held {
            attempt_id: order.attempt_id,
            lease_token: order.lease_token,
            state: state.into(),
            log_size_bytes,
        }
    }

    pub async fn send(&self, message: from_agent::Message) {
        self.sender.send(FromAgent { message: Some(message) }).await.unwrap();
    }

    /// The next message that is wanted; others are kept for later.
    pub async fn next(&mut self, wanted: impl Fn(&to_agent::Message) -> bool) -> to_agent::Message {
        if let Some(place) = self.early.iter().position(&wanted) {
            return self.early.remove(place);
        }
        loop {
            let message = tokio::time::timeout(PATIENCE, self.stream.message()).await;
            let message = message.expect("a message comes in time").unwrap().expect("the stream goes on");
            let message = message.message.unwrap();
            if wanted(&message) {
                return message;
            }
            self.early.push(message);
        }
    }

    pub async fn order(&mut self) -> Order {
        match self.next(|message| matches!(message, to_agent::Message::Order(_))).await {
            to_agent::Message::Order(order) => order,
            other => panic!("{other:?}"),
        }
    }

    pub async fn upload(&mut self, attempt_id: u64) -> Upload {
        let wanted = |message: &to_agent::Message| matches!(message, to_agent::Message::Upload(upload) if upload.attempt_id == attempt_id);
        match self.next(wanted).await {
            to_agent::Message::Upload(upload) => upload,
            other => panic!("{other:?}"),
        }
    }

    pub async fn released(&mut self, attempt_id: u64) {
        self.next(|message| {
            matches!(message, to_agent::Message::Release(release) if release.attempt_id == attempt_id)
        })
        .await;
    }

    pub async fn disconnected(&mut self) {
        let end = async { while let Ok(Some(_)) = self.stream.message().await {} };
        tokio::time::timeout(PATIENCE, end).await.expect("the connection ends in time");
    }

    /// Says that it is there, and what it holds.
    pub async fn heartbeat(&self, held: &[Held]) {
        let heartbeat = Heartbeat { held: held.to_vec(), ..Heartbeat::default() };
        self.send(from_agent::Message::Heartbeat(heartbeat)).await;
    }

    pub async fn started(&self, order: &Order) {
        let started = Started { attempt_id: order.attempt_id, lease_token: order.lease_token };
        self.send(from_agent::Message::Started(started)).await;
    }

    /// Sends a piece of the log and returns the offset that Summit answers.
    pub async fn log(&mut self, order: &Order, offset: u64, bytes: &[u8]) -> u64 {
        let chunk = LogChunk {
            attempt_id: order.attempt_id,
            lease_token: order.lease_token,
            offset,
            bytes: bytes.to_vec(),
        };
        self.send(from_agent::Message::Log(chunk)).await;
        match self.next(|message| matches!(message, to_agent::Message::LogAcknowledged(_))).await {
            to_agent::Message::LogAcknowledged(acknowledged) => acknowledged.offset,
            other => panic!("{other:?}"),
        }
    }

    /// Commits at Vessel as the named builder.
    pub async fn commit(&self, upload: &Upload) -> String {
        let key = upload.vessel_key.parse().unwrap();
        let channel = wire::connect(&upload.vessel_address, key, &self.identity).await.unwrap();
        let reply =
            VesselClient::new(channel).commit(CommitRequest { attempt_id: upload.attempt_id }).await.unwrap();
        reply.into_inner().history
    }

    pub async fn build_and_publish(&mut self, _vessel: &FakeVessel, order: &Order) {
        self.send(built(order)).await;
        let upload = self.upload(order.attempt_id).await;
        let history = self.commit(&upload).await;
        let published = Published { attempt_id: order.attempt_id, lease_token: order.lease_token, history };
        self.send(from_agent::Message::Published(published)).await;
        self.released(order.attempt_id).await;
    }
}

pub fn built(order: &Order) -> from_agent::Message {
    let artefact = Artefact {
        kind: ArtefactKind::Package.into(),
        name: format!("{}-1.0-1-1-x86_64.stone", order.source_name),
        size_bytes: 3,
        sha256: "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad".into(),
    };
    from_agent::Message::Finished(Finished {
        attempt_id: order.attempt_id,
        lease_token: order.lease_token,
        outcome: Some(finished::Outcome::Built(Built {
            artefacts: vec![artefact],
            peak_memory_bytes: 1 << 30,
        })),
    })
}

pub fn failed(order: &Order, class: FailureClass, message: &str, phase: &str) -> from_agent::Message {
    let failed = Failed {
        class: class.into(),
        message: message.into(),
        phase: phase.into(),
        peak_memory_bytes: 1 << 20,
    };
    from_agent::Message::Finished(Finished {
        attempt_id: order.attempt_id,
        lease_token: order.lease_token,
        outcome: Some(finished::Outcome::Failed(failed)),
    })
}
