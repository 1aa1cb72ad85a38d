//! Where the database is, as an operator says it.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use database::Address;

use super::{Config, ConfigError};
use crate::DATABASE_FILE;

impl Config {
    /// Where the database of the Summit with its data in `data` is.
    ///
    /// # Errors
    /// When the file with the address cannot be read or may be read by others, when the address is none.
    pub(crate) fn database_address(&self, data: &Path) -> Result<Address, crate::SummitError> {
        Ok(match self.database_text()? {
            Some(text) => Address::parse(&text, data)?,
            None => Address::File(data.join(DATABASE_FILE)),
        })
    }

    /// What was said about it.
    pub(crate) fn database_text(&self) -> Result<Option<String>, ConfigError> {
        let Some(path) = &self.database_file else { return Ok(self.database.clone()) };
        let failed = |source| ConfigError::Read { path: path.clone(), source };
        let mode = fs_err::metadata(path).map_err(failed)?.permissions().mode();
        if mode & 0o077 != 0 {
            let what =
                format!("others may read it, and it may hold a password: chmod 600 {}", path.display());
            return Err(ConfigError::Value { path: path.clone(), what });
        }
        Ok(Some(fs_err::read_to_string(path).map_err(failed)?.trim().to_owned()))
    }

    /// Takes `database_file` for what it is: relative to the folder of the file that names it.
    pub(crate) fn resolve_database_file(&mut self, folder: &Path) {
        if let Some(path) = &mut self.database_file {
            *path = folder.join(&*path);
        }
    }

    pub(super) fn database_problem(&self) -> Option<String> {
        if self.database.is_some() && self.database_file.is_some() {
            return Some("give database or database_file, not both".into());
        }
        let text = self.database.as_deref().unwrap_or("postgres://");
        if !text.contains("://") {
            return Some(
                "database must begin with postgres://; without it, a file in the data folder is used".into(),
            );
        }
        if self.database.is_none() && self.database_file.is_none() {
            return None;
        }
        let nowhere = |address: &SocketAddr| address.ip().is_unspecified();
        for (listens, announced, name, what) in [
            (&self.http_address, &self.announce_http, "announce_http", "browsers"),
            (&self.grpc_address, &self.announce_grpc, "announce_grpc", "agents"),
        ] {
            if announced.is_none() && nowhere(listens) {
                return Some(format!(
                    "with a database on a server, {name} must say where {what} reach this Summit"
                ));
            }
        }
        let http = self.announce_http.as_deref().unwrap_or("http://");
        if !["http://", "https://"].iter().any(|scheme| http.starts_with(scheme)) {
            return Some("announce_http must begin with http:// or https://".into());
        }
        None
    }
}

/// What the command line says of the database, instead of the configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DatabaseChoice {
    /// The address.
    pub address: Option<String>,
    /// A file with it.
    pub file: Option<PathBuf>,
}

impl DatabaseChoice {
    /// Puts it in the place of what `config` says.
    pub(crate) fn apply(&self, config: &mut Config) {
        if self != &Self::default() {
            config.database.clone_from(&self.address);
            config.database_file.clone_from(&self.file);
        }
    }
}
