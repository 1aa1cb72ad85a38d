//! Somebody on the way who means harm: he passes everything on, and now and then hands out an older pointer in the place of the
//! newest, with a signature that is good.
//!
//! Whoever has followed a newer one must not go back. Nobody is led astray before he has followed one, as nothing could help him.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use farm::sim::Random;
use fault::{Fault, Kind};
use fetch::{Body, Client, ClientSettings, Validators};

use super::error::FireError;

/// The pointer that is followed, below the address of the repository.
const POINTER: &str = "/main/stream/volatile.json";

/// Bytes of one answer; those here have some ten thousand.
const ANSWER_SIZE_BYTES_MAX: u64 = 32 << 20;

/// Lines of a request; those of Moss have ten.
const LINES_MAX: usize = 100;

/// Pointers that are kept to be handed out again.
const KEPT_MAX: usize = 200;

/// A way through him, for one reader.
#[derive(Debug, Clone)]
pub(super) struct Replayer {
    address: SocketAddr,
    inside: Arc<Inside>,
}

#[derive(Debug)]
struct Inside {
    target: String,
    client: Client,
    is_armed: AtomicBool,
    offered: AtomicU64,
    seen: Mutex<(Vec<Vec<u8>>, Random)>,
}

impl Replayer {
    /// Opens a way to `target`, an address. It ends with the process.
    pub(super) fn open(target: &str, seed: u64) -> Result<Self, FireError> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(FireError::Thread)?;
        let address = listener.local_addr().map_err(FireError::Thread)?;
        let inside = Arc::new(Inside {
            target: target.to_owned(),
            client: Client::new(ClientSettings { attempts_max: 1, ..ClientSettings::default() }),
            is_armed: AtomicBool::new(false),
            offered: AtomicU64::new(0),
            seen: Mutex::new((Vec::new(), Random::of(seed, "fire", "replayer"))),
        });
        let shared = Arc::clone(&inside);
        let thread = std::thread::Builder::new().name("replayer".to_owned());
        thread
            .spawn(move || {
                for stream in listener.incoming().flatten() {
                    // A reader that is gone needs no answer.
                    let _told = shared.answer(stream).is_ok();
                }
            })
            .map_err(FireError::Thread)?;
        Ok(Self { address, inside })
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on older pointers are handed out.
    pub(super) fn arm(&self) {
        self.inside.is_armed.store(true, Ordering::Relaxed);
    }

    /// How often an older pointer was handed out.
    pub(super) fn offered(&self) -> u64 {
        self.inside.offered.load(Ordering::Relaxed)
    }
}

impl Inside {
    fn answer(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let mut reader = BufReader::new(stream.try_clone()?);
        let mut path = String::new();
        for _ in 0..LINES_MAX {
            let mut line = String::new();
            if reader.read_line(&mut line)? <= 2 {
                break;
            }
            if path.is_empty() {
                path = line.split(' ').nth(1).unwrap_or_default().to_owned();
            }
        }
        let (status, bytes) = self.fetch(&path);
        let length = bytes.len();
        write!(stream, "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n")?;
        stream.write_all(&bytes)
    }

    fn fetch(&self, path: &str) -> (&'static str, Vec<u8>) {
        let url = format!("{}{path}", self.target);
        match self.client.get(&url, &Validators::default(), ANSWER_SIZE_BYTES_MAX) {
            Ok(Body::Bytes { bytes, .. }) if path == POINTER => ("200 OK", self.replay(bytes)),
            Ok(Body::Bytes { bytes, .. }) => ("200 OK", bytes),
            Err(error) if error.kind() == Kind::NotFound => ("404 Not Found", Vec::new()),
            Ok(Body::NotModified) | Err(_) => ("503 Service Unavailable", Vec::new()),
        }
    }

    /// The pointer, or one of those that were handed out before it.
    fn replay(&self, newest: Vec<u8>) -> Vec<u8> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let (kept, random) = &mut *seen;
        if self.is_armed.load(Ordering::Relaxed) && kept.len() > 1 && random.below(2) == 0 {
            // The last of them may be the newest still.
            let place = random.below(u64::try_from(kept.len() - 1).unwrap_or(1));
            if let Some(old) = usize::try_from(place).ok().and_then(|place| kept.get(place)) {
                self.offered.fetch_add(1, Ordering::Relaxed);
                return old.clone();
            }
        }
        if kept.last() != Some(&newest) && kept.len() < KEPT_MAX {
            kept.push(newest.clone());
        }
        newest
    }
}
