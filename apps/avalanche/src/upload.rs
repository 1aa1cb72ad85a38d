//! Bringing what was built to Vessel.
//!
//! Every artefact goes by its digest, from the offset that Vessel names, so a broken upload goes on where it stopped.
//! Several go at the same time, so that many small ones do not wait for each other's round trips.
//! Files are hashed again before they are sent: what arrives is what was announced, or nothing.

use std::future::Future;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use fault::{Fault, Kind};
use fetch::Digest;
use fs_err as fs;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use wire::tonic::transport::Channel;
use wire::tonic::{Response, Status};
use wire::vessel::vessel_client::VesselClient;
use wire::vessel::{CommitRequest, OffsetRequest, PutChunk};
use wire::{Identity, PublicKey, PublicKeyError, RemoteError, WireError};

use crate::connection::{backoff, random};
use crate::ledger::UploadTarget;
use crate::order::AttemptId;
use crate::outcome::{Artefact, Failure, FailureClass};
use crate::vessel_links::VesselLinks;

/// Refusals in a row that look final before the attempt is given up: Vessel may hear of the attempt, or of our key,
/// a moment after us.
const REFUSALS_MAX: u32 = 6;
/// Files sent at the same time: enough to fill a line with long round trips, and below the streams that Vessel takes on one
/// connection.
const FILES_AT_ONCE: usize = 4;
/// Chunks read ahead of the network.
const CHUNKS_AHEAD: usize = 4;
/// Longest wait for an answer that needs no transfer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// Slowest line that is waited for, the speed of a bad mobile connection.
const BYTES_PER_SECOND_MIN: u64 = 16 * 1024;
/// Longest wait for the publication itself, which writes indexes and waits for its turn.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(15 * 60);

#[derive(Debug, thiserror::Error)]
enum UploadError {
    #[error("cannot upload: Summit names no key of Vessel that can be used")]
    Key(#[source] PublicKeyError),
    #[error("cannot reach Vessel")]
    Connect(#[source] WireError),
    #[error("cannot {action} at Vessel")]
    Refused {
        action: String,
        #[source]
        source: RemoteError,
    },
    #[error("cannot {action} at Vessel: no answer within {} seconds", limit.as_secs())]
    Silent { action: String, limit: Duration },
    #[error("cannot read {name}, which was built")]
    Read {
        name: String,
        #[source]
        source: std::io::Error,
    },
    #[error("cannot upload {name}: it is not what was built any more, its digest is {got}")]
    Changed { name: String, got: Digest },
    #[error("cannot upload {name}: Vessel says that it has {held_bytes} of {size_bytes} bytes")]
    Offset { name: String, held_bytes: u64, size_bytes: u64 },
}

impl Fault for UploadError {
    fn kind(&self) -> Kind {
        match self {
            UploadError::Key(error) => error.kind(),
            UploadError::Connect(_) | UploadError::Silent { .. } => Kind::Unavailable,
            UploadError::Refused { source, .. } => source.kind(),
            UploadError::Read { .. } | UploadError::Changed { .. } | UploadError::Offset { .. } => {
                Kind::Damaged
            }
        }
    }
}

/// What to do about an upload that did not work.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    Again,
    GiveUp(FailureClass),
}

/// An outage is waited out, however long. A file that is damaged here is built again elsewhere. A refusal is believed
/// when it is repeated.
fn next(error: &UploadError, refusals: u32) -> Next {
    match error {
        UploadError::Read { .. } | UploadError::Changed { .. } => Next::GiveUp(FailureClass::HostFault),
        _ if error.kind().meaning().retry => Next::Again,
        _ if refusals < REFUSALS_MAX => Next::Again,
        _ => Next::GiveUp(FailureClass::StoreFault),
    }
}

/// One attempt's output on its way.
#[derive(Debug, Clone)]
pub(crate) struct Upload {
    pub(crate) id: AttemptId,
    pub(crate) identity: Identity,
    pub(crate) target: UploadTarget,
    pub(crate) folder: PathBuf,
    pub(crate) artefacts: Arc<[Artefact]>,
    pub(crate) links: VesselLinks,
}

impl Upload {
    /// Uploads and publishes, again and again until it works; gives the history that has it.
    pub(crate) async fn run(&self) -> Result<String, Failure> {
        let (mut failures, mut refusals) = (0, 0);
        loop {
            let error = match self.try_once().await {
                Ok(history) => return Ok(history),
                Err(error) => error,
            };
            let message = fault::chain(&error).join(": ");
            failures += 1;
            refusals = if error.kind().meaning().retry { 0 } else { refusals + 1 };
            match next(&error, refusals) {
                Next::GiveUp(class) => return Err(Failure::new(class, "upload", &message)),
                Next::Again => {
                    let pause = backoff(failures, random());
                    tracing::warn!(attempt.id = %self.id, error = message, ?pause, "the upload is tried again");
                    tokio::time::sleep(pause).await;
                }
            }
        }
    }

    async fn try_once(&self) -> Result<String, UploadError> {
        if let Some(waited) = self.links.take(&self.target) {
            match self.over(waited).await {
                // It may have broken while it waited, which says nothing of Vessel.
                Err(error) if error.kind() == Kind::Unavailable => {
                    tracing::debug!(attempt.id = %self.id, %error, "a connection that waited is given up");
                }
                result => return result,
            }
        }
        let key: PublicKey = self.target.vessel_key.parse().map_err(UploadError::Key)?;
        let connecting = wire::connect(&self.target.vessel_address, key, &self.identity);
        self.over(connecting.await.map_err(UploadError::Connect)?).await
    }

    /// Uploads and publishes over a connection, which waits for the next upload when that has worked.
    async fn over(&self, channel: Channel) -> Result<String, UploadError> {
        let mut client = VesselClient::new(channel.clone());
        // Dropping it stops all of them.
        let mut puts = JoinSet::new();
        let mut waiting = self.artefacts.iter();
        loop {
            while puts.len() < FILES_AT_ONCE
                && let Some(artefact) = waiting.next()
            {
                let (one, client, artefact) = (self.clone(), client.clone(), artefact.clone());
                puts.spawn(async move { one.put(client, &artefact).await });
            }
            match puts.join_next().await {
                None => break,
                Some(Ok(put)) => put?,
                Some(Err(panic)) => {
                    let source = std::io::Error::other(panic);
                    return Err(UploadError::Read { name: "a file".to_owned(), source });
                }
            }
        }
        let request = CommitRequest { attempt_id: self.id.0 };
        let reply = answer(COMMIT_TIMEOUT, "publish", client.commit(request)).await?;
        self.links.keep(&self.target, channel);
        Ok(reply.history)
    }

    async fn put(&self, mut client: VesselClient<Channel>, artefact: &Artefact) -> Result<(), UploadError> {
        let Artefact { name, size_bytes, sha256, .. } = artefact;
        let request = OffsetRequest { attempt_id: self.id.0, sha256: sha256.clone() };
        let offset =
            answer(ANSWER_TIMEOUT, &format!("ask about {name}"), client.offset(request)).await?.size_bytes;
        let wrong_offset =
            |held_bytes| UploadError::Offset { name: name.clone(), held_bytes, size_bytes: *size_bytes };
        if offset > *size_bytes {
            return Err(wrong_offset(offset));
        }
        if offset == *size_bytes {
            return Ok(());
        }
        let path = self.folder.join(name);
        let checked =
            tokio::task::spawn_blocking(move || Digest::of_file(&path).map(|(digest, _)| digest)).await;
        match checked.unwrap_or_else(|panic| Err(std::io::Error::other(panic))) {
            Ok(got) if got.to_string() == *sha256 => {}
            Ok(got) => return Err(UploadError::Changed { name: name.clone(), got }),
            Err(source) => return Err(UploadError::Read { name: name.clone(), source }),
        }

        let (sender, receiver) = mpsc::channel(CHUNKS_AHEAD);
        let (path, id, digest) = (self.folder.join(name), self.id, sha256.clone());
        let reading = tokio::task::spawn_blocking(move || read_chunks(&path, id, &digest, offset, &sender));
        let limit = ANSWER_TIMEOUT + Duration::from_secs((size_bytes - offset) / BYTES_PER_SECOND_MIN);
        let put = answer(limit, &format!("put {name}"), client.put(ReceiverStream::new(receiver))).await;
        let read = reading.await.unwrap_or_else(|panic| Err(std::io::Error::other(panic)));
        read.map_err(|source| UploadError::Read { name: name.clone(), source })?;
        match put?.size_bytes {
            held if held == *size_bytes => Ok(()),
            held => Err(wrong_offset(held)),
        }
    }
}

/// Sends the file from `offset` on. A receiver that has gone is not an error: its own end says why.
fn read_chunks(
    path: &Path,
    id: AttemptId,
    sha256: &str,
    mut offset: u64,
    sender: &mpsc::Sender<PutChunk>,
) -> std::io::Result<()> {
    let mut file = fs::File::open(path)?;
    file.seek(SeekFrom::Start(offset))?;
    loop {
        let mut bytes = vec![0; wire::limits::CHUNK_SIZE_BYTES];
        let count = file.read(&mut bytes)?;
        if count == 0 {
            return Ok(());
        }
        bytes.truncate(count);
        let chunk = PutChunk { attempt_id: id.0, sha256: sha256.to_owned(), offset, bytes };
        offset = offset.saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
        if sender.blocking_send(chunk).is_err() {
            return Ok(());
        }
    }
}

async fn answer<T>(
    limit: Duration,
    action: &str,
    call: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<T, UploadError> {
    match tokio::time::timeout(limit, call).await {
        Ok(Ok(response)) => Ok(response.into_inner()),
        Ok(Err(status)) => {
            Err(UploadError::Refused { action: action.to_owned(), source: wire::from_status(&status) })
        }
        Err(_) => Err(UploadError::Silent { action: action.to_owned(), limit }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outages_are_waited_out_and_refusals_believed_when_repeated() {
        fn check(error: &UploadError, refusals: u32, expect: Next) {
            assert_eq!(next(error, refusals), expect, "{error:?} {refusals}");
        }
        let refused = |status: Status| UploadError::Refused {
            action: "put".to_owned(),
            source: wire::from_status(&status),
        };
        let outage = refused(Status::unavailable("down"));
        check(&outage, 1000, Next::Again);
        let silent = UploadError::Silent { action: String::new(), limit: ANSWER_TIMEOUT };
        check(&silent, 1000, Next::Again);
        let denied = refused(Status::permission_denied("no"));
        check(&denied, 1, Next::Again);
        check(&denied, REFUSALS_MAX, Next::GiveUp(FailureClass::StoreFault));
        let changed = UploadError::Changed { name: "x".to_owned(), got: Digest::of(b"") };
        check(&changed, 0, Next::GiveUp(FailureClass::HostFault));
    }
}
