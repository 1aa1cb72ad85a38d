//! What a refresh of a signed repository costs a client: requests, and bytes of all answers with their heads, as they come from
//! Vessel's own server to the real client through a way that counts them.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use moss::{Access, Freshness, Silent, System, add_repository};
use repository::{RepositoryConfig, RepositoryFields};
use serde::{Deserialize, Serialize};
use vessel::serve::{Addresses, serve};
use vessel::settings::Written;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// How a request of a client begins.
const REQUEST: &[u8] = b"GET /";

/// What one refresh cost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Cost {
    pub(crate) requests: u64,
    pub(crate) bytes: u64,
}

/// A way to a server that may come and go, with one address.
struct Way {
    address: SocketAddr,
    inside: Arc<Inside>,
}

#[derive(Default)]
struct Inside {
    target: Mutex<Option<SocketAddr>>,
    requests: AtomicU64,
    bytes: AtomicU64,
}

impl Way {
    fn open() -> Result<Self, Failure> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let (address, inside) = (listener.local_addr()?, Arc::<Inside>::default());
        let shared = Arc::clone(&inside);
        // It ends with the process.
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let inside = Arc::clone(&shared);
                std::thread::spawn(move || inside.pass(client));
            }
        });
        Ok(Self { address, inside })
    }

    /// What went through since it was asked last.
    fn cost(&self) -> Cost {
        let take = |counter: &AtomicU64| counter.swap(0, Ordering::Relaxed);
        Cost { requests: take(&self.inside.requests), bytes: take(&self.inside.bytes) }
    }
}

impl Inside {
    /// Passes a connection on in both directions. Either side may be gone at any time; then so is the other.
    fn pass(&self, client: TcpStream) -> Option<()> {
        let target = (*self.target.lock().unwrap_or_else(PoisonError::into_inner))?;
        let server = TcpStream::connect(target).ok()?;
        let (up_from, up_to) = (client.try_clone().ok()?, server.try_clone().ok()?);
        std::thread::scope(|scope| {
            // A head of a client comes in one piece, and it sends nothing else.
            scope.spawn(|| {
                copy(up_from, up_to, |bytes| {
                    if bytes.starts_with(REQUEST) {
                        self.requests.fetch_add(1, Ordering::Relaxed);
                    }
                });
            });
            copy(server, client, |bytes| {
                let count = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
                self.bytes.fetch_add(count, Ordering::Relaxed);
            });
        });
        Some(())
    }
}

fn copy(mut from: TcpStream, mut to: TcpStream, seen: impl Fn(&[u8])) {
    let mut buffer = [0; 64 << 10];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        let bytes = buffer.get(..count).unwrap_or_default();
        seen(bytes);
        if to.write_all(bytes).is_err() {
            break;
        }
    }
    // The other direction ends as well; one that is closed already is as good.
    let _closed = from.shutdown(Shutdown::Both).is_ok() && to.shutdown(Shutdown::Both).is_ok();
}

/// A client that follows what lies in a data folder of Vessel.
pub(crate) struct Client {
    root: tempfile::TempDir,
    way: Way,
}

impl Client {
    /// One that has pinned the key of the Vessel and knows nothing else.
    pub(crate) fn of(data: &Path) -> Result<Self, Failure> {
        let (root, way) = (tempfile::tempdir()?, Way::open()?);
        let key = wire::Identity::load(&data.join("signing/publish.key"))?.public_key().to_string();
        let fields = RepositoryFields {
            description: Some("a bench".into()),
            base_uri: Some(format!("http://{}", way.address)),
            version: Some("stream/volatile".into()),
            priority: Some(0),
            keys: vec![key],
            ..RepositoryFields::default()
        };
        add_repository(root.path(), &RepositoryConfig::from_fields("main", &fields)?)?;
        Ok(Self { root, way })
    }

    /// What so many refreshes cost, one after the other, while Vessel serves the data folder.
    pub(crate) async fn refresh(&self, data: &Path, times: usize) -> Result<Vec<Cost>, Failure> {
        let any = "127.0.0.1:0".parse()?;
        let hub = wire::Identity::generate()?.public_key();
        let written = Written {
            data: Some(data.to_path_buf()),
            grpc: Some(any),
            http: Some(any),
            hub_key: Some(hub),
            ..Written::default()
        };
        let settings = written.complete()?;
        let (tell, told) = tokio::sync::oneshot::channel();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let vessel = tokio::spawn(async move {
            // Whoever waits for it is there.
            let ready = |addresses: &Addresses| {
                let _told = tell.send(addresses.http).is_ok();
            };
            serve(settings, ready, async { drop(stopped.await) }).await
        });
        *self.way.inside.target.lock().unwrap_or_else(PoisonError::into_inner) = Some(told.await?);
        let mut costs = Vec::new();
        for _ in 0..times {
            let root = self.root.path().to_path_buf();
            let offers = move || {
                let system =
                    System::open(&root, Access::Write, &Silent).map_err(|error| error.to_string())?;
                system.offers(Freshness::Required).map(drop).map_err(|error| fault::chain(&error).join(": "))
            };
            tokio::task::spawn_blocking(offers).await??;
            costs.push(self.way.cost());
        }
        // It is there as long as it is needed.
        let _asked = stop.send(()).is_ok();
        vessel.await??;
        Ok(costs)
    }
}
