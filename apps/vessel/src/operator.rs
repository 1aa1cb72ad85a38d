//! The way of an operator's word: to a Vessel that runs, or to the folder of one that does not.
//!
//! Beside a running Vessel the folder is enough: it says where that one listens, and holds the key that it trusts. Whoever
//! may read that key could as well change the folder itself. Elsewhere an operator has a key of his own.

use std::path::{Path, PathBuf};

use fault::{Fault, Kind};
use repository::retention::Retention;
use wire::vessel::OperateRequest;
use wire::vessel::vessel_client::VesselClient;
use wire::{Identity, PublicKey, connect, from_status};

use crate::delivery::Delivery;
use crate::folder::{DataFolder, Running};
use crate::ledger::Ledger;
use crate::operation::{Operation, Outcome};
use crate::publisher::{Publisher, look};
use crate::signing::Signing;
use crate::tree::StoneIndex;

/// Which Vessel is meant.
#[derive(Debug)]
pub(crate) enum Reach {
    /// The one whose data this is, running or not.
    Folder { data: PathBuf, manner: Manner },
    /// The one that listens here, called with this private key.
    Address { address: String, key: PublicKey, identity: PathBuf },
}

/// How a Vessel works that does not run and is told to do something.
#[derive(Debug, Clone, Default)]
pub(crate) struct Manner {
    pub(crate) retention: Retention,
    pub(crate) delivery: Delivery,
    pub(crate) signing: Signing,
    pub(crate) stone_index: StoneIndex,
}

/// Why an operator's word does not come through.
#[derive(Debug, thiserror::Error)]
enum ReachError {
    #[error("cannot find a Vessel in {data:?}: it has no vessel.db", data = data.display())]
    NoData { data: PathBuf },
    #[error("cannot understand the answer of Vessel")]
    Answer { source: serde_json::Error },
}

impl Fault for ReachError {
    fn kind(&self) -> Kind {
        match self {
            ReachError::NoData { .. } => Kind::NotFound,
            ReachError::Answer { .. } => Kind::Input,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            ReachError::NoData { .. } => {
                vec![
                    "name the folder that `vessel serve --data` has, or make one with `vessel import`".into(),
                ]
            }
            ReachError::Answer { .. } => vec!["use a program of the same version as the Vessel".into()],
        }
    }
}

/// Has an operation done, and answers what became of it.
pub(crate) async fn operate(reach: &Reach, operation: Operation) -> Result<Outcome, Box<dyn Fault>> {
    match reach {
        Reach::Folder { data, manner } => at_folder(data, manner.clone(), operation).await,
        Reach::Address { address, key, identity } => {
            call(address, *key, &Identity::load(identity)?, &operation).await
        }
    }
}

async fn at_folder(data: &Path, manner: Manner, operation: Operation) -> Result<Outcome, Box<dyn Fault>> {
    let database = DataFolder::database_of(data);
    if !database.is_file() {
        return Err(ReachError::NoData { data: data.to_path_buf() }.into());
    }
    // Only for looking no lock is needed.
    let ledger = Ledger::open(&database).await?;
    let seen = look(&ledger, &operation).await;
    ledger.close().await;
    if let Some(outcome) = seen? {
        return Ok(outcome);
    }
    let running = fs_err::read(DataFolder::running_of(data)).ok();
    if let Some(Running { grpc }) = running.and_then(|text| serde_json::from_slice(&text).ok()) {
        let identity = Identity::load(&DataFolder::identity_of(data))?;
        // The one that wrote this may have been killed: then nobody, or somebody else, is there.
        if let Ok(channel) = connect(&grpc.to_string(), identity.public_key(), &identity).await {
            return ask(VesselClient::new(channel), &operation).await;
        }
    }
    let new = match &operation {
        Operation::Promote { to_channel, .. } => vec![to_channel.clone()],
        Operation::ReleaseAdd { channel, .. } => vec![channel.clone()],
        _ => Vec::new(),
    };
    let Manner { retention, delivery, signing, stone_index } = manner;
    let publisher = Publisher::open_with(data, &new, None, signing, &delivery).await?;
    let publisher = publisher.keeping(retention).with_stone_index(stone_index);
    let outcome = publisher.operate(operation, "the owner of the folder").await;
    publisher.close().await;
    Ok(outcome?)
}

async fn call(
    address: &str,
    key: PublicKey,
    identity: &Identity,
    operation: &Operation,
) -> Result<Outcome, Box<dyn Fault>> {
    ask(VesselClient::new(connect(address, key, identity).await?), operation).await
}

async fn ask(
    mut client: VesselClient<wire::tonic::transport::Channel>,
    operation: &Operation,
) -> Result<Outcome, Box<dyn Fault>> {
    let client_limit = wire::limits::MESSAGE_SIZE_BYTES_MAX;
    client = client.max_decoding_message_size(client_limit);
    let operation = serde_json::to_string(operation).map_err(|source| ReachError::Answer { source })?;
    let answer = client.operate(OperateRequest { operation }).await;
    let outcome = answer.map_err(|status| from_status(&status))?.into_inner().outcome;
    Ok(serde_json::from_str(&outcome).map_err(|source| ReachError::Answer { source })?)
}
