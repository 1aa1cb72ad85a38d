//! Where the published tree is kept: a folder, by default below the data folder, or a bucket of an S3-compatible service.
//!
//! The data folder remembers what it was served with last (`DATA/store.json`, no secrets), so that `vessel import` and
//! `vessel channel` find the same place without being told.

use std::path::{Path, PathBuf};

use fault::{Fault, Kind};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use store::{BucketSettings, Credentials, CredentialsError, Patience, Store, StoreError, durable};

use crate::folder::DataFolder;

/// Bytes of the remembered place: a few paths.
const REMEMBERED_SIZE_BYTES_MAX: u64 = 64 << 10;

/// The region that services take which have none.
const DEFAULT_REGION: &str = "us-east-1";

/// Where the published tree is kept, as written: `store = "/dir"` or `[store]` with a bucket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Place {
    /// A folder on this machine.
    Folder(PathBuf),
    /// A bucket.
    Bucket(WrittenBucket),
}

/// A bucket, as written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WrittenBucket {
    /// `https://HOST` or `http://HOST:PORT` of the service.
    pub endpoint: String,
    /// Its name.
    pub bucket: String,
    /// What requests are signed for.
    pub region: Option<String>,
    /// Everything is put below this path.
    pub prefix: Option<String>,
    /// File with `access_key_id = …` and `secret_access_key = …`, which nobody else may read.
    pub credentials_file: PathBuf,
    /// Certificates of authorities, as PEM, that are believed beside those of the system.
    pub ca_file: Option<PathBuf>,
}

impl<'de> Deserialize<'de> for Place {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Both;
        impl<'de> Visitor<'de> for Both {
            type Value = Place;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("a folder, or a table with endpoint, bucket and credentials_file")
            }

            fn visit_str<E>(self, folder: &str) -> Result<Place, E> {
                Ok(Place::Folder(folder.into()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Place, A::Error> {
                WrittenBucket::deserialize(MapAccessDeserializer::new(map)).map(Place::Bucket)
            }
        }
        deserializer.deserialize_any(Both)
    }
}

/// Why the place of the published tree cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The credentials.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// What the data folder remembers cannot be read or written.
    #[error("cannot use {path:?}, which says where the published tree is", path = path.display())]
    Remembered {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

impl Fault for PlaceError {
    fn kind(&self) -> Kind {
        match self {
            PlaceError::Store(error) => error.kind(),
            PlaceError::Credentials(error) => error.kind(),
            PlaceError::Remembered { .. } => Kind::Unavailable,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            PlaceError::Store(error) => error.hints(),
            PlaceError::Credentials(error) => error.hints(),
            PlaceError::Remembered { path, .. } => vec![format!(
                "check that {} may be read and written; where it is damaged, remove it and start `vessel serve` with --config once",
                path.display()
            )],
        }
    }
}

impl Place {
    /// What the data folder was served with last; its own folder if nothing else was said.
    pub(crate) fn remembered(folder: &DataFolder) -> Result<Self, PlaceError> {
        let path = folder.place();
        let failed = |source| PlaceError::Remembered { path: path.clone(), source };
        let mut text = Vec::new();
        match fs_err::File::open(&path) {
            Ok(file) => {
                let mut file = std::io::Read::take(file, REMEMBERED_SIZE_BYTES_MAX);
                std::io::Read::read_to_end(&mut file, &mut text).map_err(failed)?;
                serde_json::from_slice(&text).map_err(|error| failed(error.into()))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Place::Folder(folder.public())),
            Err(error) => Err(failed(error)),
        }
    }

    /// Keeps in mind that the data folder is served with this place.
    pub(crate) fn remember(&self, folder: &DataFolder) -> Result<(), PlaceError> {
        let path = folder.place();
        let failed = |source| PlaceError::Remembered { path: path.clone(), source };
        if Place::remembered(folder).is_ok_and(|place| place == *self) {
            return Ok(());
        }
        let text = serde_json::to_vec(self).map_err(|error| failed(error.into()))?;
        durable::replace_file(&path, &text).map_err(failed)
    }

    /// Opens the store. Blocks for as long as a service takes to answer.
    pub(crate) fn open(&self, folder: &DataFolder) -> Result<Store, PlaceError> {
        match self {
            Place::Folder(path) => Ok(Store::folder(path)?),
            Place::Bucket(bucket) => Ok(Store::bucket(bucket.settings(folder.uploads())?)?),
        }
    }
}

impl WrittenBucket {
    fn settings(&self, journal: PathBuf) -> Result<BucketSettings, PlaceError> {
        Ok(BucketSettings {
            endpoint: self.endpoint.trim_end_matches('/').to_owned(),
            bucket: self.bucket.clone(),
            region: self.region.clone().unwrap_or_else(|| DEFAULT_REGION.to_owned()),
            prefix: self.prefix.clone(),
            credentials: Credentials::read(&self.credentials_file)?,
            ca_file: self.ca_file.clone(),
            journal: Some(journal),
            patience: Patience::default(),
        })
    }
}

/// Relative paths in settings are meant from where the program was started, and are remembered without that.
pub(crate) fn absolute(place: Place) -> Place {
    let from_here = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    match place {
        Place::Folder(path) => Place::Folder(from_here(&path)),
        Place::Bucket(bucket) => Place::Bucket(WrittenBucket {
            credentials_file: from_here(&bucket.credentials_file),
            ca_file: bucket.ca_file.as_deref().map(from_here),
            ..bucket
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    struct File {
        store: Place,
    }

    #[test]
    fn a_folder_or_a_bucket() {
        let read = |text: &str| toml::from_str::<File>(text).map(|file| file.store);
        assert_eq!(read("store = \"/srv/public\"").unwrap(), Place::Folder("/srv/public".into()));
        let text = "[store]\nendpoint = \"http://127.0.0.1:8333\"\nbucket = \"packages\"\ncredentials_file = \"/c\"\n";
        let Place::Bucket(bucket) = read(text).unwrap() else { panic!("no bucket") };
        assert_eq!((&*bucket.bucket, bucket.region, bucket.prefix), ("packages", None, None));
        // What is wrong is told with its line.
        for (wrong, expect) in [
            (format!("{text}colour = \"red\"\n"), "colour"),
            (text.replace("bucket = \"packages\"\n", ""), "bucket"),
            ("store = 3".to_owned(), "a folder, or a table"),
        ] {
            let message = read(&wrong).unwrap_err().to_string();
            assert!(message.contains(expect) && message.contains("line"), "{message}");
        }
    }

    #[test]
    fn the_data_folder_remembers_its_place() {
        let data = tempfile::tempdir().unwrap();
        let folder = DataFolder::open(data.path()).unwrap();
        assert_eq!(Place::remembered(&folder).unwrap(), Place::Folder(folder.public()));
        let bucket = WrittenBucket {
            endpoint: "https://s3.example.org".into(),
            bucket: "packages".into(),
            region: None,
            prefix: Some("a/b".into()),
            credentials_file: "/c".into(),
            ca_file: None,
        };
        for place in [Place::Bucket(bucket), Place::Folder("/srv/public".into())] {
            place.remember(&folder).unwrap();
            assert_eq!(Place::remembered(&folder).unwrap(), place);
        }
        fs_err::write(folder.place(), "{").unwrap();
        let error = Place::remembered(&folder).unwrap_err();
        assert!(error.hints()[0].contains("store.json"), "{:?}", error.hints());
    }
}
