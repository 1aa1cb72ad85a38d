//! A process that holds the key and signs what it is asked to, if it makes sense; and how to ask it.
//!
//! It runs as a user of its own, so that whoever takes over the service has no key. It shows what it signs, and refuses
//! pointers of channels that are not its own, pointers whose version does not rise, pointers that are worth something for too
//! long, and lists of keys but the first one of its own key. What versions it has seen it keeps in a file of its own.
//!
//! One line of JSON asks, one answers: `{"keys":true}`, or `{"kind":"…","payload":"base64"}`.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use fault::{Fault, Kind};
use repository::signed::{
    Envelope, EnvelopeError, HistoryStatement, KeyList, Pointer, PublicKey, SignedKind,
};
use repository::{Identifier, Version};
use serde::{Deserialize, Serialize};
use store::durable;
use wire::Identity;

/// How long a question or an answer may take. A signature takes a thousandth of a second.
const PATIENCE: Duration = Duration::from_secs(10);

/// The longest question and answer: an envelope of the largest size, in which each quote takes two bytes, and room.
const LINE_BYTES_MAX: u64 = 16 << 20;

/// The longest time for which a pointer may be worth something, in days: twice what is usual, and what limits the harm of a
/// pointer that somebody who took over the service had signed.
const EXPIRY_DAYS_MAX: i64 = 31;

/// How far clocks of two processes on one machine may be apart, in seconds.
const CLOCK_SECONDS: i64 = 300;

/// Streams and tags that are remembered: more than any repository has.
const POINTERS_MAX: usize = 100_000;

/// Why a signer process did not sign, or does not run.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// The socket.
    #[error("cannot ask the signer at {path:?}", path = path.display())]
    Ask {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// An answer that is none.
    #[error("cannot understand the signer at {path:?}", path = path.display())]
    Answer {
        /// The socket.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// It says no.
    #[error("cannot sign {what}: the signer at {path:?} refuses: {why}", path = path.display())]
    Refused {
        /// "a pointer" …
        what: &'static str,
        /// The socket.
        path: PathBuf,
        /// As it says.
        why: String,
    },
    /// It cannot listen.
    #[error("cannot listen on {path:?}", path = path.display())]
    Listen {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Its memory cannot be read or written.
    #[error("cannot use {path:?}, in which the signer keeps what it has seen", path = path.display())]
    Memory {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl Fault for ProcessError {
    fn kind(&self) -> Kind {
        match self {
            ProcessError::Ask { .. } | ProcessError::Listen { .. } => Kind::Unavailable,
            ProcessError::Answer { .. } | ProcessError::Memory { .. } => Kind::Damaged,
            ProcessError::Refused { .. } => Kind::Denied,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            ProcessError::Ask { path, .. } => vec![format!(
                "start it: vessel signer --key FILE --socket {}; this process needs the right to write to the socket",
                path.display()
            )],
            ProcessError::Refused { .. } => {
                vec!["its own log says what it was asked; what is published is unchanged".into()]
            }
            ProcessError::Listen { path, .. } => {
                vec![format!("check that the folder of {} exists and may be written", path.display())]
            }
            ProcessError::Memory { path, .. } => vec![format!(
                "restore {} from a backup; without it an older version could be signed",
                path.display()
            )],
            ProcessError::Answer { .. } => {
                vec!["both programs must be of the same version: update and restart them".into()]
            }
        }
    }
}

/// What is asked.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
enum Question {
    Sign { kind: String, envelope: String },
    Keys { keys: bool },
}

/// What is answered.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Answer {
    Keys(Vec<PublicKey>),
    /// The envelope, signed.
    Signed(String),
    Refused(String),
}

/// The keys of the signer at `path`.
pub(super) fn keys(path: &Path) -> Result<Vec<PublicKey>, ProcessError> {
    match ask(path, &Question::Keys { keys: true })? {
        Answer::Keys(keys) => Ok(keys),
        Answer::Refused(why) => {
            Err(ProcessError::Refused { what: "anything", path: path.to_path_buf(), why })
        }
        Answer::Signed(_) => Err(nonsense(path)),
    }
}

/// The signatures of the signer at `path` on an envelope that has none yet.
pub(super) fn sign(path: &Path, envelope: &Envelope, kind: SignedKind) -> Result<Envelope, ProcessError> {
    let text = String::from_utf8(envelope.to_json()).map_err(|_| nonsense(path))?;
    let question = Question::Sign { kind: kind.payload_type().to_owned(), envelope: text };
    match ask(path, &question)? {
        Answer::Signed(text) => {
            let signed = Envelope::read(text.as_bytes(), kind).map_err(|_| nonsense(path))?;
            let is_same = signed.unchecked_payload() == envelope.unchecked_payload();
            if is_same { Ok(signed) } else { Err(nonsense(path)) }
        }
        Answer::Refused(why) => {
            Err(ProcessError::Refused { what: kind.what(), path: path.to_path_buf(), why })
        }
        Answer::Keys(_) => Err(nonsense(path)),
    }
}

fn nonsense(path: &Path) -> ProcessError {
    let source = serde::de::Error::custom("it answers something that was not asked");
    ProcessError::Answer { path: path.to_path_buf(), source }
}

fn ask(path: &Path, question: &Question) -> Result<Answer, ProcessError> {
    let failed = |source| ProcessError::Ask { path: path.to_path_buf(), source };
    let answer = |source| ProcessError::Answer { path: path.to_path_buf(), source };
    let mut stream = UnixStream::connect(path).map_err(failed)?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
    stream.set_write_timeout(Some(PATIENCE)).map_err(failed)?;
    let mut line = serde_json::to_string(question).map_err(answer)?;
    line.push('\n');
    stream.write_all(line.as_bytes()).map_err(failed)?;
    let line = read_line(&stream).map_err(failed)?;
    serde_json::from_str(&line).map_err(answer)
}

fn read_line(stream: &UnixStream) -> io::Result<String> {
    let mut line = String::new();
    BufReader::new(stream).take(LINE_BYTES_MAX).read_line(&mut line)?;
    if line.ends_with('\n') {
        Ok(line)
    } else {
        Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the line has no end"))
    }
}

/// Why a signer does not sign something.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("it knows no files of kind {kind:?}")]
    Kind { kind: String },
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    #[error("it cannot read it: {why}")]
    Payload { why: String },
    #[error("channel {channel} is none of its own")]
    Channel { channel: Identifier },
    #[error("version {version} of {what} does not rise: it has signed version {known}")]
    Older { what: String, version: u64, known: u64 },
    #[error("it would be worth something until {expires}, and {latest} is the latest")]
    Expiry { expires: i64, latest: i64 },
    #[error("lists of keys are signed with `vessel key`, where the key files are")]
    Keys,
    #[error("it has seen {POINTERS_MAX} pointers and remembers no more")]
    Full,
    #[error("it cannot keep what it signs: {source}")]
    Memory { source: io::Error },
}

/// The process: a key, what it may sign, and what it has seen.
#[derive(Debug)]
pub(crate) struct SignerProcess {
    key: Identity,
    /// Empty: any.
    channels: BTreeSet<Identifier>,
    memory: PathBuf,
    seen: BTreeMap<String, u64>,
}

impl SignerProcess {
    /// A signer with this key for these channels, all when none is named, that keeps what it has seen in the file `memory`.
    ///
    /// # Errors
    /// When the memory is there and cannot be read.
    pub(crate) fn open(
        key: Identity,
        channels: BTreeSet<Identifier>,
        memory: PathBuf,
    ) -> Result<Self, ProcessError> {
        let seen = match fs_err::read(&memory) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| error.into()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(BTreeMap::new()),
            Err(error) => Err(error),
        };
        let seen = seen.map_err(|source| ProcessError::Memory { path: memory.clone(), source })?;
        Ok(Self { key, channels, memory, seen })
    }

    /// Listens on the socket `path` and answers one question after the other, for ever. `tell` is given a line for everything
    /// that is signed or refused.
    ///
    /// # Errors
    /// When it cannot listen.
    pub(crate) fn serve(mut self, path: &Path, mut tell: impl FnMut(&str)) -> Result<(), ProcessError> {
        let failed = |source| ProcessError::Listen { path: path.to_path_buf(), source };
        // What a signer before this one left. Anything but a socket was named by mistake, and stays.
        if fs_err::symlink_metadata(path).is_ok_and(|it| it.file_type().is_socket()) {
            fs_err::remove_file(path).map_err(failed)?;
        }
        let listener = UnixListener::bind(path).map_err(failed)?;
        // Its own user and its group, to which the service belongs.
        fs_err::set_permissions(path, PermissionsExt::from_mode(0o660)).map_err(failed)?;
        tell(&format!("signing with key {} on {}", super::public_key(&self.key), path.display()));
        for stream in listener.incoming() {
            match stream.and_then(|stream| self.answer_one(stream, &mut tell)) {
                Ok(()) => {}
                Err(error) => tell(&format!("a question had no end: {error}")),
            }
        }
        Ok(())
    }

    fn answer_one(&mut self, mut stream: UnixStream, tell: &mut impl FnMut(&str)) -> io::Result<()> {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let line = read_line(&stream)?;
        let answer = match serde_json::from_str(&line) {
            Ok(Question::Keys { .. }) => Answer::Keys(vec![super::public_key(&self.key)]),
            Ok(Question::Sign { kind, envelope }) => {
                match self.sign(&kind, &envelope, crate::publisher::unix_seconds()) {
                    Ok((signed, told)) => {
                        tell(&format!("signed {told}"));
                        Answer::Signed(signed)
                    }
                    Err(refusal) => {
                        let kind: String = kind.chars().take(100).collect();
                        tell(&format!("refused a file of kind {kind}: {refusal}"));
                        Answer::Refused(refusal.to_string())
                    }
                }
            }
            Err(error) => Answer::Refused(format!("it cannot read the question: {error}")),
        };
        let mut text = serde_json::to_string(&answer).map_err(io::Error::from)?;
        text.push('\n');
        stream.write_all(text.as_bytes())
    }

    /// The signed envelope, and what it is in words.
    fn sign(&mut self, kind: &str, envelope: &str, now: i64) -> Result<(String, String), Refusal> {
        let known = SignedKind::ALL.into_iter().find(|known| known.payload_type() == kind);
        let kind = known.ok_or_else(|| Refusal::Kind { kind: kind.chars().take(100).collect() })?;
        let read = Envelope::read(envelope.as_bytes(), kind)?;
        let payload = read.unchecked_payload();
        let told = match kind {
            SignedKind::Pointer => self.judge_pointer(payload, now)?,
            SignedKind::History => self.judge_statement(payload)?,
            SignedKind::Keys => self.judge_keys(payload)?,
            SignedKind::Provenance | SignedKind::List => judge_other(kind, payload)?,
        };
        let mut signed = Envelope::new(kind, payload.to_vec());
        super::sign_with(&mut signed, &self.key);
        let text = String::from_utf8(signed.to_json())
            .map_err(|error| Refusal::Payload { why: error.to_string() })?;
        Ok((text, told))
    }

    fn judge_pointer(&mut self, payload: &[u8], now: i64) -> Result<String, Refusal> {
        let pointer: Pointer = read(payload)?;
        self.check_channel(&pointer.channel)?;
        if matches!(pointer.what, Version::History(_)) {
            return Err(Refusal::Payload { why: "a history has no pointer".into() });
        }
        let latest = now.saturating_add(EXPIRY_DAYS_MAX * 24 * 60 * 60 + CLOCK_SECONDS);
        if pointer.expires > latest {
            return Err(Refusal::Expiry { expires: pointer.expires, latest });
        }
        let what = format!("{}/{}", pointer.channel, pointer.what);
        let known = self.seen.get(&what).copied();
        if let Some(known) = known.filter(|known| *known >= pointer.version) {
            return Err(Refusal::Older { what, version: pointer.version, known });
        }
        if known.is_none() && self.seen.len() >= POINTERS_MAX {
            return Err(Refusal::Full);
        }
        let told = format!(
            "pointer {what} version {}: history {}, expires {}",
            pointer.version, pointer.history, pointer.expires
        );
        // Kept before it is signed: whatever happens, no version is signed twice.
        self.seen.insert(what, pointer.version);
        let bytes =
            serde_json::to_vec(&self.seen).map_err(|error| Refusal::Memory { source: error.into() })?;
        durable::replace_file(&self.memory, &bytes).map_err(|source| Refusal::Memory { source })?;
        Ok(told)
    }

    fn judge_statement(&self, payload: &[u8]) -> Result<String, Refusal> {
        let statement: HistoryStatement = read(payload)?;
        self.check_channel(&statement.channel)?;
        let packages: u64 = statement.architectures.values().map(|files| files.packages).sum();
        Ok(format!("statement of {}/history/{}: {packages} packages", statement.channel, statement.history))
    }

    /// The first list, of this key alone. Everything later needs whoever owns the key files.
    fn judge_keys(&self, payload: &[u8]) -> Result<String, Refusal> {
        let list = KeyList::read(payload).map_err(|error| Refusal::Payload { why: error.to_string() })?;
        if list != KeyList::first(super::public_key(&self.key), list.issued) {
            return Err(Refusal::Keys);
        }
        Ok("the first list of keys".to_owned())
    }

    fn check_channel(&self, channel: &Identifier) -> Result<(), Refusal> {
        match self.channels.is_empty() || self.channels.contains(channel) {
            true => Ok(()),
            false => Err(Refusal::Channel { channel: channel.clone() }),
        }
    }
}

fn read<T: for<'de> Deserialize<'de>>(payload: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(payload).map_err(|error| Refusal::Payload { why: error.to_string() })
}

fn judge_other(kind: SignedKind, payload: &[u8]) -> Result<String, Refusal> {
    let value: serde_json::Value = read(payload)?;
    let is_statement =
        value.get("_type").and_then(|it| it.as_str()) == Some("https://in-toto.io/Statement/v1");
    if kind == SignedKind::Provenance && !is_statement {
        return Err(Refusal::Payload { why: "it is no in-toto statement".into() });
    }
    let digest = repository::signed::Digest::of(payload);
    Ok(format!("{} with digest {digest}", kind.what()))
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use repository::signed::FileFacts;

    use super::super::{KeyPlace, Signer, Signing, SigningError};
    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn pointer(channel: &str, version: u64, expires: i64) -> Vec<u8> {
        let pointer = Pointer {
            channel: channel.parse().unwrap(),
            what: "stream/volatile".parse().unwrap(),
            version,
            issued: NOW,
            expires,
            keys: 1,
            history: "1-0123abcd".parse().unwrap(),
            format: "v0".into(),
            statement: FileFacts::of(b"statement"),
            moved: None,
        };
        pointer.to_payload()
    }

    fn open(folder: &Path) -> SignerProcess {
        let key = Identity::load_or_create(&folder.join("signer.key")).unwrap();
        let channels = ["main".parse().unwrap()].into();
        SignerProcess::open(key, channels, folder.join("seen.json")).unwrap()
    }

    fn try_sign(process: &mut SignerProcess, kind: SignedKind, payload: Vec<u8>) -> Result<String, String> {
        let text = String::from_utf8(Envelope::new(kind, payload).to_json()).unwrap();
        let signed = process.sign(kind.payload_type(), &text, NOW);
        signed.map(|(_, told)| told).map_err(|refusal| refusal.to_string())
    }

    #[test]
    fn it_signs_what_makes_sense_and_says_what_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let mut process = open(folder.path());
        let mut check = |kind, payload: Vec<u8>, expect: Result<&str, &str>| match (
            try_sign(&mut process, kind, payload),
            expect,
        ) {
            (Ok(told), Ok(expect)) => assert!(told.contains(expect), "{told}"),
            (Err(refusal), Err(expect)) => assert!(refusal.contains(expect), "{refusal}"),
            (found, expect) => panic!("{found:?} instead of {expect:?}"),
        };
        use SignedKind::{History, Keys, List, Pointer, Provenance};
        let soon = NOW + 14 * 86_400;
        check(
            Pointer,
            pointer("main", 1, soon),
            Ok("pointer main/stream/volatile version 1: history 1-0123abcd"),
        );
        check(Pointer, pointer("main", 1, soon), Err("version 1 of main/stream/volatile does not rise"));
        check(Pointer, pointer("main", 3, soon), Ok("version 3"));
        check(Pointer, pointer("main", 2, soon), Err("does not rise"));
        check(Pointer, pointer("other", 9, soon), Err("channel other is none of its own"));
        check(Pointer, pointer("main", 4, NOW + 60 * 86_400), Err("is the latest"));
        check(Pointer, b"{}".to_vec(), Err("cannot read it"));
        check(History, b"{}".to_vec(), Err("cannot read it"));
        check(List, b"{}".to_vec(), Ok("a list of files with digest 44136fa355b3"));
        check(Provenance, b"{}".to_vec(), Err("no in-toto statement"));
        let statement = br#"{"_type":"https://in-toto.io/Statement/v1"}"#;
        check(Provenance, statement.to_vec(), Ok("the provenance of a build"));
        let foreign = KeyList::first(PublicKey::from_bytes([7; 32]), NOW);
        check(Keys, foreign.to_payload(), Err("are signed with `vessel key`"));
        let own = super::super::public_key(&process.key);
        assert!(try_sign(&mut process, Keys, KeyList::first(own, NOW).to_payload()).is_ok());
        let text = String::from_utf8(Envelope::new(List, Vec::new()).to_json()).unwrap();
        assert!(matches!(process.sign("text/plain", &text, NOW), Err(Refusal::Kind { .. })));
    }

    #[test]
    fn it_remembers_across_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let soon = NOW + 86_400;
        try_sign(&mut open(folder.path()), SignedKind::Pointer, pointer("main", 5, soon)).unwrap();
        let again = try_sign(&mut open(folder.path()), SignedKind::Pointer, pointer("main", 5, soon));
        assert!(again.unwrap_err().contains("it has signed version 5"));
        fs_err::write(folder.path().join("seen.json"), "{").unwrap();
        let key = Identity::load(&folder.path().join("signer.key")).unwrap();
        let error = SignerProcess::open(key, BTreeSet::new(), folder.path().join("seen.json")).unwrap_err();
        assert!(matches!(error, ProcessError::Memory { .. }), "{error}");
    }

    #[test]
    fn over_its_socket() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("signer.sock");
        let signing = Signing { keys: KeyPlace::Socket(socket.clone()), expiry_days: 14 };
        let signer = Signer::open(&signing, folder.path(), true).unwrap();
        let error = signer.keys().unwrap_err();
        assert!(error.hints()[0].starts_with("start it: vessel signer"), "{error}");

        let process = open(folder.path());
        let key = super::super::public_key(&process.key);
        let told = Arc::new(Mutex::new(Vec::new()));
        let (listens, listening) = std::sync::mpsc::channel();
        let heard = Arc::clone(&told);
        // Ends with the test program.
        std::thread::spawn(move || {
            process.serve(&socket, |line| {
                heard.lock().unwrap().push(line.to_owned());
                listens.send(()).ok();
            })
        });
        listening.recv().unwrap();
        assert_eq!(signer.keys().unwrap(), [key]);
        let expires = crate::publisher::unix_seconds() + 86_400;
        let sign = |version| signer.sign(SignedKind::Pointer, pointer("main", version, expires), &[key]);
        let envelope = Envelope::read(&sign(1).unwrap(), SignedKind::Pointer).unwrap();
        assert_eq!(envelope.signed_by(&[key], &seal::verify).unwrap(), [key]);
        let error = sign(1).unwrap_err();
        assert!(error.to_string().contains("does not rise"), "{error}");
        let nobody = signer.sign(SignedKind::List, b"{}".to_vec(), &[]).unwrap_err();
        assert!(matches!(nobody, SigningError::NoKey { .. }), "{nobody}");
        let told = told.lock().unwrap().join("\n");
        assert!(told.contains("signed pointer main/stream/volatile version 1"), "{told}");
        assert!(told.contains("refused a file of kind application/vnd.moraine.pointer.v1+json"), "{told}");
    }
}
