//! What caller, supervisor and process 1 say to each other: one JSON value per line over sockets.
//!
//! Lines have a bound, so that a peer that went mad can be refused instead of remembered.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::SetupFailure;
use crate::ids::IdMap;
use crate::plan::Purpose;
use crate::spec::Spec;

/// Longest description as JSON: the contents of its files are the only large part, and those are configuration.
pub(crate) const REQUEST_BYTES_MAX: usize = 8 << 20;

/// Longest answer: an error names at most a path or two of 4,096 bytes.
pub(crate) const ANSWER_BYTES_MAX: usize = 64 << 10;

/// What the caller asks of the supervisor; nothing follows it. Closing the socket ends the sandbox.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Request {
    pub(crate) task: Task,
    pub(crate) spec: Spec,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Task {
    /// Run the command.
    Run,
    /// Set everything up, then end with status 0.
    Try,
    /// Remove trees of the host with the ids of a sandbox.
    Remove(Vec<PathBuf>),
}

impl Task {
    pub(crate) fn purpose(&self) -> Purpose {
        match self {
            Task::Run => Purpose::Run,
            Task::Try => Purpose::Try,
            Task::Remove(_) => Purpose::Remove,
        }
    }
}

/// What the supervisor answers: `Started` then `Ended`, or `Failed` alone.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Answer {
    Started { id_map: IdMap, notices: Vec<String> },
    Failed(SetupFailure),
    Ended { ending: Ending, memory_ran_out: bool, peak_memory_bytes: u64 },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Ending {
    Exited(i32),
    Signaled(i32),
    TimedOut,
    Killed,
}

/// What process 1 tells the supervisor.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Inside {
    /// The user namespace exists and waits for its maps.
    WantsIds,
    /// All steps are done; waits for the word to start the command.
    Ready,
    /// The command runs.
    Started,
    /// Something could not be done, and it goes on without.
    Notice(String),
    /// A step failed.
    Failed(SetupFailure),
    /// The command ended.
    Ended(Ending),
}

/// The supervisor's word to process 1 to go on.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum GoOn {
    /// The maps are written; whether `setgroups` is allowed inside.
    WithIds { setgroups: bool },
    /// Start the command.
    Start,
}

/// Writes one message.
pub(crate) fn send(mut socket: &UnixStream, message: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    socket.write_all(&line)
}

/// Reads messages, line by line.
#[derive(Debug)]
pub(crate) struct Reader {
    buffer: Vec<u8>,
    line_bytes_max: usize,
}

impl Reader {
    pub(crate) fn new(line_bytes_max: usize) -> Reader {
        Reader { buffer: Vec::new(), line_bytes_max }
    }

    /// The next message, waiting for it; `None` when the other side has closed.
    pub(crate) fn receive<T: DeserializeOwned>(&mut self, socket: &UnixStream) -> io::Result<Option<T>> {
        loop {
            if let Some(message) = self.take()? {
                return Ok(Some(message));
            }
            if !self.fill(socket)? {
                return Ok(None);
            }
        }
    }

    /// Reads once from the socket; `false` when the other side has closed.
    pub(crate) fn fill(&mut self, mut socket: &UnixStream) -> io::Result<bool> {
        let mut chunk = [0; 8192];
        let count = loop {
            match socket.read(&mut chunk) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // The other side left with something of ours unread, which the kernel reports once.
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => break 0,
                other => break other?,
            }
        };
        self.buffer.extend_from_slice(chunk.get(..count).unwrap_or_default());
        if self.buffer.len() > self.line_bytes_max && !self.buffer.contains(&b'\n') {
            return Err(io::Error::other(format!("a message is longer than {} bytes", self.line_bytes_max)));
        }
        Ok(count > 0)
    }

    /// The next message among what has been read.
    pub(crate) fn take<T: DeserializeOwned>(&mut self) -> io::Result<Option<T>> {
        let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') else {
            return Ok(None);
        };
        let line: Vec<u8> = self.buffer.drain(..=end).collect();
        Ok(Some(serde_json::from_slice(&line)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_arrive_in_order_and_then_the_end() {
        let (near, far) = UnixStream::pair().unwrap();
        send(&near, &Inside::WantsIds).unwrap();
        send(&near, &Inside::Ended(Ending::Exited(3))).unwrap();
        drop(near);
        let mut reader = Reader::new(ANSWER_BYTES_MAX);
        assert!(matches!(reader.receive(&far).unwrap(), Some(Inside::WantsIds)));
        assert!(matches!(reader.receive(&far).unwrap(), Some(Inside::Ended(Ending::Exited(3)))));
        assert!(reader.receive::<Inside>(&far).unwrap().is_none());
    }

    #[test]
    fn a_mad_peer_is_refused() {
        let check = |bytes: Vec<u8>| {
            let (mut near, far) = UnixStream::pair().unwrap();
            let writer = std::thread::spawn(move || near.write_all(&bytes).is_ok());
            let answer = Reader::new(1000).receive::<Inside>(&far);
            drop(far);
            writer.join().unwrap();
            answer.is_err()
        };
        assert!(check(vec![b'x'; 100_000]), "endless line");
        assert!(check(b"{\"Ended\":\n".to_vec()), "half a value");
        assert!(check(b"\xff\xfe\n".to_vec()), "no text");
        assert!(check(b"{\"Reboot\":1}\n".to_vec()), "unknown message");
    }
}
