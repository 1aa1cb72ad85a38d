//! One file: durable, for its owner only.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use sqlx::AnyPool;
use sqlx::any::AnyPoolOptions;

/// Connections that read at once: for as many pages and streams as are being served.
const READERS_MAX: u32 = 8;

/// Settings of the connection that writes. A connection waits ten seconds for the write lock of another program: our longest
/// transaction takes milliseconds, ten seconds cover a disk that stalls.
const WRITER: &str = "PRAGMA busy_timeout = 10000; PRAGMA foreign_keys = ON; PRAGMA journal_mode = WAL;
    PRAGMA synchronous = FULL";

/// Settings of connections that read. What several of them would keep of the file twice and three times lies in the system's
/// own memory of it already: half a megabyte each is enough for the upper parts of its trees.
const READER: &str = "PRAGMA busy_timeout = 10000; PRAGMA foreign_keys = ON; PRAGMA synchronous = FULL;
    PRAGMA query_only = ON; PRAGMA cache_size = -512";

/// Makes the file and its folder; SQLite gives the files beside it the same mode.
pub(crate) fn make(path: &Path) -> io::Result<()> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs_err::create_dir_all(folder)?;
    }
    let mut options = fs_err::OpenOptions::new();
    options.options_mut().create(true).append(true).mode(0o600);
    let file = options.open(path)?;
    let mut permissions = file.metadata()?.permissions();
    if permissions.mode() & 0o077 != 0 {
        permissions.set_mode(0o600);
        file.set_permissions(permissions)?;
    }
    Ok(())
}

/// The connection that writes: there is one, so that writers of this program take turns in order.
pub(crate) async fn writers(path: &Path) -> sqlx::Result<AnyPool> {
    crate::pool::open(&url(path), WRITER, AnyPoolOptions::new().max_connections(1)).await
}

/// The connections that read.
pub(crate) async fn readers(path: &Path) -> sqlx::Result<AnyPool> {
    crate::pool::open(&url(path), READER, AnyPoolOptions::new().max_connections(READERS_MAX)).await
}

/// Every byte that is not plain is escaped, slashes too: so nobody takes `..` out of the path.
fn url(path: &Path) -> String {
    let mut url = "sqlite:".to_owned();
    for byte in path.as_os_str().as_bytes() {
        if byte.is_ascii_alphanumeric() {
            url.push(char::from(*byte));
        } else {
            url.push_str(&format!("%{byte:02X}"));
        }
    }
    url
}
