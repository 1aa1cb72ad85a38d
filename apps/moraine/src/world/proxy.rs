//! A way between two programs that can be cut and held up: every connection goes through here, byte by byte.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Bytes passed on at a time.
const CHUNK_BYTES: usize = 32 << 10;
/// How often a way that is held up is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A way from an address of its own to another.
#[derive(Debug, Clone)]
pub(super) struct Proxy {
    pub(super) name: String,
    pub(super) address: SocketAddr,
    inside: Arc<Inside>,
}

#[derive(Debug)]
struct Inside {
    target: SocketAddr,
    next: AtomicU64,
    connections: Mutex<BTreeMap<u64, (TcpStream, TcpStream)>>,
    held_until: Mutex<Option<Instant>>,
}

impl Proxy {
    /// Opens a way to `target`, which need not be there yet, at a free port of the same host.
    ///
    /// # Errors
    /// When no port is free.
    pub(super) fn open(name: &str, target: SocketAddr) -> std::io::Result<Proxy> {
        let listener = TcpListener::bind((target.ip(), 0))?;
        let address = listener.local_addr()?;
        let inside = Arc::new(Inside {
            target,
            next: AtomicU64::new(0),
            connections: Mutex::default(),
            held_until: Mutex::default(),
        });
        let shared = Arc::clone(&inside);
        // It ends with the process.
        std::thread::Builder::new().name(format!("way {name}")).spawn(move || accept(&listener, &shared))?;
        Ok(Proxy { name: name.to_owned(), address, inside })
    }

    /// How many connections there are.
    pub(super) fn connections(&self) -> usize {
        self.inside.connections().len()
    }

    /// Cuts the connection of this rank among those that there are; whether there was one.
    pub(super) fn cut(&self, rank: usize) -> bool {
        let connections = self.inside.connections();
        let Some((one, other)) = connections.values().nth(rank) else { return false };
        shut(one);
        shut(other);
        true
    }

    /// Lets no byte pass for a while: nobody is told.
    pub(super) fn hold(&self, time: Duration) {
        *self.inside.held() = Some(Instant::now() + time);
    }
}

impl Inside {
    fn connections(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, (TcpStream, TcpStream)>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn held(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        self.held_until.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_while_held(&self) {
        while self.held().is_some_and(|until| Instant::now() < until) {
            std::thread::sleep(LOOK_EVERY);
        }
    }
}

fn accept(listener: &TcpListener, inside: &Arc<Inside>) {
    for client in listener.incoming() {
        let Ok(client) = client else { continue };
        inside.wait_while_held();
        // Whoever came is sent away when nobody is there.
        drop(connect(client, inside));
    }
}

fn connect(client: TcpStream, inside: &Arc<Inside>) -> std::io::Result<()> {
    let server = TcpStream::connect(inside.target)?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let number = inside.next.fetch_add(1, Ordering::Relaxed);
    inside.connections().insert(number, (client.try_clone()?, server.try_clone()?));
    let ways = [(client.try_clone()?, server.try_clone()?), (server, client)];
    for (from, to) in ways {
        let inside = Arc::clone(inside);
        std::thread::Builder::new().name("way".to_owned()).spawn(move || {
            pass(&from, &to, &inside);
            shut(&from);
            shut(&to);
            inside.connections().remove(&number);
        })?;
    }
    Ok(())
}

/// Passes bytes on until either end is gone.
fn pass(mut from: &TcpStream, mut to: &TcpStream, inside: &Inside) {
    let mut chunk = vec![0; CHUNK_BYTES];
    while let Ok(count @ 1..) = from.read(&mut chunk) {
        inside.wait_while_held();
        if to.write_all(chunk.get(..count).unwrap_or_default()).is_err() {
            return;
        }
    }
}

fn shut(stream: &TcpStream) {
    // It may be gone already.
    drop(stream.shutdown(Shutdown::Both));
}

#[cfg(test)]
mod tests {
    use testkit::wait_until;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(20);

    #[test]
    fn bytes_pass_until_the_way_is_cut() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let proxy = Proxy::open("test", listener.local_addr().unwrap()).unwrap();
        let mut client = TcpStream::connect(proxy.address).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        client.write_all(b"hello").unwrap();
        let mut heard = [0; 5];
        server.read_exact(&mut heard).unwrap();
        assert_eq!(&heard, b"hello");
        proxy.hold(Duration::from_millis(50));
        let begun = Instant::now();
        server.write_all(b"there").unwrap();
        client.read_exact(&mut heard).unwrap();
        assert!(begun.elapsed() >= Duration::from_millis(30), "{:?}", begun.elapsed());
        assert!(!proxy.cut(1) && proxy.cut(0));
        assert_eq!(client.read(&mut heard).unwrap_or(0), 0);
        wait_until("the connection to be forgotten", LIMIT, || proxy.connections() == 0);
    }
}
