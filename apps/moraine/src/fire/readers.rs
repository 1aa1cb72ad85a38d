//! Readers: each walks from a pointer to an index to packages, over and over, and compares every byte.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Cursor;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use farm::sim::Random;
use fault::{Fault, Kind};
use fetch::{Body, Client, ClientSettings, Digest, Validators};
use package::PackageMeta;
use repository::{Identifier, Index, RootIndex, Version, package_url};
use vessel::admission::{Package, Snapshot, history_id};

use super::caches::Caches;
use super::error::FireError;
use super::report::{Record, Trouble};
use super::stones::PARTS;
use super::watcher::Watcher;
use super::{FireArguments, Times};

/// Bytes of one answer; those here have some ten thousand.
const ANSWER_SIZE_BYTES_MAX: u64 = 32 << 20;

/// Packages that are looked at in one walk: enough to meet what was removed, few enough for many walks.
const PACKAGES_MAX: u64 = 8;

/// Pause before a server that was away is asked again.
const AWAY_PAUSE: Duration = Duration::from_millis(50);

/// Longest pause of a reader between two requests: like people's machines, they do not all come at once.
const THINK_MS_MAX: u64 = 60;

/// Stack of a reader; there are hundreds.
const STACK_BYTES: usize = 512 << 10;

/// Starts the readers.
pub(super) fn start(
    caches: &Caches,
    arguments: &FireArguments,
    times: Times,
    watcher: &Watcher,
    record: &Arc<Record>,
    over: &Arc<AtomicBool>,
) -> Result<Vec<JoinHandle<()>>, FireError> {
    let ways = caches.ways();
    let mut threads = Vec::new();
    for number in 0..arguments.clients {
        let reader = Reader {
            client: client(),
            ways: ways.clone(),
            random: Random::of(arguments.seed, "fire", &format!("reader {number}")),
            times,
            watcher: Some(watcher.clone()),
            record: Arc::clone(record),
            over: Arc::clone(over),
        };
        let thread = std::thread::Builder::new().name(format!("reader {number}")).stack_size(STACK_BYTES);
        threads.push(thread.spawn(move || reader.run()).map_err(FireError::Thread)?);
    }
    Ok(threads)
}

/// Walks once through everything that the pointer names, to the last package, with nobody in between.
pub(super) fn walk_everything(url: &str, times: Times, record: &Arc<Record>) -> Result<(), FireError> {
    let reader = Reader {
        client: client(),
        ways: vec![("the end".to_owned(), url.to_owned())],
        random: Random::new(0),
        times: Times { download_seconds: u32::MAX, ..times },
        watcher: None,
        record: Arc::clone(record),
        over: Arc::default(),
    };
    let base = url.to_owned();
    let mut walk = Walk { way: "the end", base: &base, begin: Instant::now() };
    let Ok((root, _)) = reader.pointer(&mut walk) else {
        return Err(FireError::Refused { action: "read the last pointer".into(), why: "see above".into() });
    };
    for version in versions(&root) {
        // What is wrong is in the record.
        if let Ok((url, packages)) = reader.index(&walk, &root, &version) {
            for package in &packages {
                drop(reader.package(&walk, &url, package));
            }
        }
    }
    Ok(())
}

/// Every stream, tag and history of a pointer.
fn versions(root: &RootIndex) -> Vec<Version> {
    let streams = root.streams.keys().cloned().map(Version::Stream);
    let tags = root.tags.keys().cloned().map(Version::Tag);
    streams.chain(tags).chain(root.history.keys().cloned().map(Version::History)).collect()
}

fn client() -> Client {
    Client::new(ClientSettings {
        connect_timeout: Duration::from_secs(5),
        read_timeout: Duration::from_secs(5),
        attempts_max: 1,
        ..ClientSettings::default()
    })
}

/// Why a walk goes no further: somebody was away for too long, or what must not happen is in the record.
struct Ended;

struct Walk<'a> {
    way: &'a str,
    base: &'a str,
    /// When the pointer was had.
    begin: Instant,
}

struct Reader {
    client: Client,
    /// Name and address.
    ways: Vec<(String, String)>,
    random: Random,
    times: Times,
    watcher: Option<Watcher>,
    record: Arc<Record>,
    over: Arc<AtomicBool>,
}

impl Reader {
    fn run(mut self) {
        while !self.over.load(Ordering::Relaxed) {
            let turn = self.random.below(u64::try_from(self.ways.len()).unwrap_or(1));
            let Some((way, base)) = usize::try_from(turn).ok().and_then(|turn| self.ways.get(turn)).cloned()
            else {
                return;
            };
            if self.walk(&way, &base).is_ok() {
                self.record.walked();
            }
            self.think();
        }
    }

    fn think(&mut self) {
        std::thread::sleep(Duration::from_millis(self.random.below(THINK_MS_MAX)));
    }

    fn walk(&mut self, way: &str, base: &str) -> Result<(), Ended> {
        let mut walk = Walk { way, base, begin: Instant::now() };
        let (root, age) = self.pointer(&mut walk)?;
        if let Some(age) = age {
            if age > Duration::from_secs(self.times.pointer_seconds.into()) {
                self.record.was_too_old();
                return Err(Ended);
            }
            self.record.pointer_was(age);
        }
        let Some(version) = self.choose(&root) else { return Err(Ended) };
        self.think();
        let (url, mut packages) = self.index(&walk, &root, &version)?;
        for _ in 0..PACKAGES_MAX {
            if packages.is_empty() {
                break;
            }
            let place = self.random.below(u64::try_from(packages.len()).unwrap_or(1));
            let package = packages.swap_remove(usize::try_from(place).unwrap_or(0));
            self.think();
            self.package(&walk, &url, &package)?;
        }
        Ok(())
    }

    fn choose(&mut self, root: &RootIndex) -> Option<Version> {
        if self.random.below(3) == 0 {
            let all = versions(root);
            let place = self.random.below(u64::try_from(all.len()).ok()?);
            return all.into_iter().nth(usize::try_from(place).ok()?);
        }
        "stream/volatile".parse().ok()
    }

    /// The pointer, and how long ago it was current.
    fn pointer(&self, walk: &mut Walk<'_>) -> Result<(RootIndex, Option<Duration>), Ended> {
        let url = format!("{}/main/moss-root-index.json", walk.base);
        let bytes = self.get(walk, &url)?;
        walk.begin = Instant::now();
        let root = RootIndex::from_json(&bytes).map_err(|error| self.damaged(walk, &url, &error))?;
        Ok((root, self.watcher.as_ref().and_then(|watcher| watcher.age(&bytes))))
    }

    /// The index of a version, and its address.
    fn index(
        &self,
        walk: &Walk<'_>,
        root: &RootIndex,
        version: &Version,
    ) -> Result<(String, Vec<PackageMeta>), Ended> {
        let pointer = format!("{}/main/moss-root-index.json", walk.base);
        let resolved = root.resolve(version).map_err(|error| self.damaged(walk, &pointer, &error))?;
        let history = &resolved.history;
        let url = format!("{}/main/history/{history}/x86_64/stone.index", walk.base);
        let bytes = self.get(walk, &url)?;
        let index = Index::read(Cursor::new(bytes), &Index::limits())
            .map_err(|error| self.damaged(walk, &url, &error))?;
        let packages = index.into_packages();
        if let Some(why) = mixed(history, &packages, &self.record.landings_of(history.as_str())) {
            self.record.trouble(Trouble::Mixed, format!("{} by way of {}: {why}", url, walk.way));
            return Err(Ended);
        }
        self.record.saw(history.as_str());
        Ok((url, packages))
    }

    fn package(&self, walk: &Walk<'_>, index_url: &str, package: &PackageMeta) -> Result<(), Ended> {
        let uri = package.uri.as_deref().unwrap_or_default();
        let url = package_url(index_url, uri).map_err(|error| self.damaged(walk, index_url, &error))?;
        let bytes = self.get(walk, &url)?;
        let found = Digest::of(&bytes).to_string();
        if package.hash.as_deref() != Some(found.as_str()) {
            let text = format!("{url} by way of {}: {} bytes with digest {found}", walk.way, bytes.len());
            self.record.trouble(Trouble::Mismatch, text);
            return Err(Ended);
        }
        Ok(())
    }

    /// What is at an address. A server that is away is asked again as long as a download may take.
    fn get(&self, walk: &Walk<'_>, url: &str) -> Result<Vec<u8>, Ended> {
        let limit = Duration::from_secs(self.times.download_seconds.into());
        loop {
            let asked = self.client.get(url, &Validators::default(), ANSWER_SIZE_BYTES_MAX);
            if walk.begin.elapsed() > limit {
                self.record.abandoned();
                return Err(Ended);
            }
            match asked {
                Ok(Body::Bytes { bytes, .. }) => {
                    self.record.requested(bytes.len());
                    return Ok(bytes);
                }
                Err(error) if error.kind() == Kind::NotFound => {
                    let after = walk.begin.elapsed().as_secs_f64();
                    let text =
                        format!("{url} by way of {} is not there, {after:.1} s after its pointer", walk.way);
                    self.record.trouble(Trouble::NotFound, text);
                    return Err(Ended);
                }
                Ok(Body::NotModified) | Err(_) => {
                    self.record.was_unavailable();
                    if self.over.load(Ordering::Relaxed) {
                        return Err(Ended);
                    }
                    std::thread::sleep(AWAY_PAUSE);
                }
            }
        }
    }

    fn damaged(&self, walk: &Walk<'_>, url: &str, error: &dyn std::error::Error) -> Ended {
        let text = format!("{url} by way of {}: {}", walk.way, fault::chain(error).join(": "));
        self.record.trouble(Trouble::Mismatch, text);
        Ended
    }
}

/// Why these packages are not what the history holds; none when they are.
fn mixed(history: &Identifier, packages: &[PackageMeta], landings: &[(String, u64)]) -> Option<String> {
    let mut sources: BTreeMap<&str, (BTreeSet<u64>, u64)> = BTreeMap::new();
    for package in packages {
        let (releases, parts) = sources.entry(&package.source_id).or_default();
        releases.insert(package.release);
        *parts += 1;
    }
    for (source, (releases, parts)) in &sources {
        if releases.len() != 1 || (*parts != PARTS && *parts != 1) {
            return Some(format!("{parts} packages of {source} with releases {releases:?}"));
        }
    }
    for (source, release) in landings {
        let found = sources.get(source.as_str()).map(|(releases, _)| releases);
        if !found.is_some_and(|releases| releases.contains(release)) {
            return Some(format!("it came about by release {release} of {source}, and has {found:?}"));
        }
    }
    let snapshot: Snapshot = packages.iter().filter_map(as_landed).collect();
    let number = history.as_str().split_once('-').and_then(|(number, _)| number.parse().ok())?;
    let expected = history_id(number, snapshot.content_digest());
    (expected != history.as_str()).then(|| format!("what it holds has the id {expected}"))
}

fn as_landed(package: &PackageMeta) -> Option<Package> {
    let sha256 = package.hash.as_deref()?.parse().ok()?;
    let size_bytes = package.download_size_bytes?;
    let meta = PackageMeta { uri: None, hash: None, download_size_bytes: None, ..package.clone() };
    Some(Package { meta, sha256, size_bytes })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fire::stones;

    fn listed(source: &str, release: u64) -> Vec<PackageMeta> {
        let packages = stones::packages(source, release).unwrap();
        let listed = packages.into_iter().map(|(meta, bytes)| PackageMeta {
            hash: Some(Digest::of(&bytes).to_string()),
            download_size_bytes: Some(u64::try_from(bytes.len()).unwrap()),
            ..meta
        });
        listed.collect()
    }

    #[test]
    fn what_is_not_the_version_it_says_is_noticed() {
        let whole: Vec<PackageMeta> = [listed("a", 1), listed("b", 2)].concat();
        let snapshot: Snapshot = whole.iter().filter_map(as_landed).collect();
        let id: Identifier = history_id(3, snapshot.content_digest()).parse().unwrap();
        let landed = [("b".to_owned(), 2)];
        assert_eq!(mixed(&id, &whole, &landed), None);
        assert!(mixed(&id, &whole, &[("b".to_owned(), 3)]).unwrap().contains("release 3 of b"));
        assert!(mixed(&id, &whole[..5], &[]).unwrap().contains("2 packages of b"));
        assert!(mixed(&id, &whole[..3], &[]).unwrap().contains("has the id"));
        let torn = [listed("a", 1), listed("b", 2)[..2].to_vec(), listed("b", 3)[2..].to_vec()].concat();
        assert!(mixed(&id, &torn, &[]).unwrap().contains("releases {2, 3}"));
    }
}
