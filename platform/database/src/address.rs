//! Where a database is.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use sqlx::any::AnyConnectOptions;

use crate::DatabaseError;

/// What an address of a server begins with.
const SCHEMES: [&str; 2] = ["postgres://", "postgresql://"];

/// Where a database is: a file of SQLite, or a server of PostgreSQL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A file.
    File(PathBuf),
    /// A server, as `postgres://user:password@host:port/name?sslmode=verify-full`.
    Server(ServerAddress),
}

/// The address of a database on a server. It may hold a password, which neither `Debug` nor `Display` shows.
#[derive(Clone, PartialEq, Eq)]
pub struct ServerAddress {
    url: String,
    shown: String,
}

impl ServerAddress {
    /// The address with its password.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }
}

impl fmt::Debug for ServerAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "ServerAddress({})", self.shown)
    }
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.shown)
    }
}

impl FromStr for ServerAddress {
    type Err = DatabaseError;

    fn from_str(text: &str) -> Result<Self, DatabaseError> {
        let refused = |why: String| DatabaseError::Address { why };
        if !SCHEMES.iter().any(|scheme| text.starts_with(scheme)) {
            return Err(refused("it does not begin with postgres://".into()));
        }
        let options: AnyConnectOptions = text.parse().map_err(|error: sqlx::Error| match error {
            // The reason only: the text may hold a password.
            sqlx::Error::Configuration(source) => refused(source.to_string()),
            error => refused(error.to_string()),
        })?;
        let url = &options.database_url;
        let mut host = url.host_str().unwrap_or_default().to_owned();
        if let Some((_, socket)) = url.query_pairs().find(|(name, _)| name == "host") {
            host = socket.into_owned();
        }
        let user = match url.username() {
            "" => String::new(),
            user => format!("{user}@"),
        };
        let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
        let shown = format!("{}://{user}{host}{port}{}", url.scheme(), url.path());
        Ok(Self { url: text.to_owned(), shown })
    }
}

impl Address {
    /// The address that `text` is: a server when it begins as one, otherwise a file below `folder`.
    ///
    /// # Errors
    /// When it is no address.
    pub fn parse(text: &str, folder: &Path) -> Result<Self, DatabaseError> {
        // Another scheme is a mistake, not the name of a file.
        if text.contains("://") {
            return Ok(Address::Server(text.parse()?));
        }
        Ok(Address::File(folder.join(text)))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::File(path) => path.display().fmt(formatter),
            Address::Server(server) => server.fmt(formatter),
        }
    }
}

impl From<&Path> for Address {
    fn from(path: &Path) -> Self {
        Address::File(path.to_path_buf())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_shown() {
        for (text, expect) in [
            ("postgres://moraine:secret@db.example:5433/farm", "postgres://moraine@db.example:5433/farm"),
            ("postgresql://db.example/farm?password=secret", "postgresql://db.example/farm"),
            ("postgres:///farm?host=/run/postgresql&password=secret", "postgres:///run/postgresql/farm"),
        ] {
            let address = Address::parse(text, Path::new("/data")).unwrap();
            assert_eq!(address.to_string(), expect);
            assert!(!format!("{address:?}").contains("secret"), "{address:?}");
        }
        for text in ["mysql://u:secret@h/d", "postgres://u:secret@h:port/d"] {
            let error = Address::parse(text, Path::new("/data")).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("secret"), "{error:?}");
        }
        let file = Address::parse("other.db", Path::new("/data")).unwrap();
        assert_eq!(file, Address::File("/data/other.db".into()));
    }
}
