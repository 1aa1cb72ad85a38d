//! Which bucket, where, by whose leave, and with how much patience.

use std::path::PathBuf;
use std::time::Duration;

use fault::{Fault, Kind};

use super::Credentials;
use crate::path;

/// A bucket, and how it is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketSettings {
    /// `https://HOST` or `http://HOST:PORT` of the service; buckets are components of paths below it.
    pub endpoint: String,
    /// Its name.
    pub bucket: String,
    /// What requests are signed for; services that know none take `us-east-1`.
    pub region: String,
    /// Everything is put below this path, if there is one.
    pub prefix: Option<String>,
    /// Who asks.
    pub credentials: Credentials,
    /// Certificates of authorities, as PEM, that are believed beside those of the system.
    pub ca_file: Option<PathBuf>,
    /// Folder in which unfinished uploads of large objects are noted, to go on with them after a crash.
    pub journal: Option<PathBuf>,
    /// How long and how often is tried.
    pub patience: Patience,
}

/// How long and how often a request is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// Time for a connection.
    pub connect: Duration,
    /// Time for one request with its answer.
    pub request: Duration,
    /// How often it is done again when the service has trouble.
    pub tries: usize,
    /// Time after which it is not done again.
    pub all_tries: Duration,
}

impl Default for Patience {
    /// A request moves 8 MiB at most, which takes a minute on a line of a megabit. A service that is started again is back
    /// within half a minute.
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            request: Duration::from_secs(90),
            tries: 5,
            all_tries: Duration::from_secs(30),
        }
    }
}

/// Why settings name no bucket.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot use {value:?} as the {what} of a store")]
pub struct SettingsError {
    /// "endpoint" …
    pub what: &'static str,
    /// As it was given.
    pub value: String,
}

impl Fault for SettingsError {
    fn kind(&self) -> Kind {
        Kind::Input
    }

    fn hints(&self) -> Vec<String> {
        vec![match self.what {
            "endpoint" => {
                "for example https://s3.example.org or http://127.0.0.1:8333, without a path".into()
            }
            "bucket" => "3 to 63 of a-z, 0-9, dot and dash".into(),
            "region" => "for example eu-central-1; us-east-1 where the service has none".into(),
            _ => "for example packages/stable: neither begin nor end with a slash".into(),
        }]
    }
}

impl BucketSettings {
    /// Refuses what cannot be used.
    ///
    /// # Errors
    /// When it cannot.
    pub fn checked(self) -> Result<Self, SettingsError> {
        let wrong = |what, value: &str| Err(SettingsError { what, value: value.chars().take(200).collect() });
        let host = self.endpoint.strip_prefix("https://").or_else(|| self.endpoint.strip_prefix("http://"));
        let is_host = |host: &str| {
            !host.is_empty()
                && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte))
        };
        if !host.is_some_and(is_host) {
            return wrong("endpoint", &self.endpoint);
        }
        let is_bucket_byte =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-".contains(&byte);
        if !(3..=63).contains(&self.bucket.len()) || !self.bucket.bytes().all(is_bucket_byte) {
            return wrong("bucket", &self.bucket);
        }
        if self.region.is_empty()
            || !self.region.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        {
            return wrong("region", &self.region);
        }
        match &self.prefix {
            Some(prefix) if path::check(prefix).is_err() || prefix.len() > PREFIX_SIZE_BYTES_MAX => {
                wrong("prefix", prefix)
            }
            _ => Ok(self),
        }
    }

    /// For people: the address of the bucket, which many services also give out to readers.
    #[must_use]
    pub fn place(&self) -> String {
        let Self { endpoint, bucket, prefix, .. } = self;
        match prefix {
            Some(prefix) => format!("{endpoint}/{bucket}/{prefix}"),
            None => format!("{endpoint}/{bucket}"),
        }
    }
}

/// Bytes of a prefix: what S3 keys have beyond the longest path.
const PREFIX_SIZE_BYTES_MAX: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> BucketSettings {
        BucketSettings {
            endpoint: "http://127.0.0.1:8333".into(),
            bucket: "packages".into(),
            region: "us-east-1".into(),
            prefix: None,
            credentials: Credentials {
                access_key_id: "id".into(),
                secret_access_key: "secret".into(),
                session_token: None,
            },
            ca_file: None,
            journal: None,
            patience: Patience::default(),
        }
    }

    #[test]
    fn what_is_no_bucket_is_refused_by_name() {
        settings().checked().unwrap();
        let check = |change: &dyn Fn(&mut BucketSettings), expect: &str| {
            let mut settings = settings();
            change(&mut settings);
            assert_eq!(settings.checked().unwrap_err().what, expect);
        };
        for endpoint in ["", "s3.example.org", "ftp://a", "http://", "http://a/b", "http://u@a", "http://a?b"]
        {
            check(&|settings| settings.endpoint = endpoint.into(), "endpoint");
        }
        for bucket in ["", "ab", "Packages", "a/b", "a_b", &"a".repeat(64)] {
            check(&|settings| settings.bucket = bucket.into(), "bucket");
        }
        check(&|settings| settings.region = "eu central".into(), "region");
        for prefix in ["", "/a", "a/", "a/../b", ".a"] {
            check(&|settings| settings.prefix = Some(prefix.into()), "prefix");
        }
    }
}
