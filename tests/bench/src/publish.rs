//! What a publication costs: one package into a small and into a large channel, many at once, a rollback; and what clients
//! download for it.
//!
//! Packages are those that the manifests of the recipe pack describe, again under other names where there are too few of them,
//! each with a few small files. The whole Vessel works, with its database, its store on this disk and its signatures.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Instant;

use package::{ManifestFile, PackageMeta};
use repository::RootIndex;
use serde::{Deserialize, Serialize};
use stone::Limits;
use testkit::packages;
use vessel::Publisher;
use vessel::operation::Operation;

use crate::refresh::{Client, Cost};

/// Packages of the two channels.
pub(crate) const SMALL: usize = 4_000;
pub(crate) const LARGE: usize = 50_000;

/// Packages that come at once.
pub(crate) const AT_ONCE: usize = 10_000;

/// Packages that a week changes in the small channel: a tenth.
pub(crate) const WEEK: usize = SMALL / 10;

/// Publications of one package of which the median counts.
pub(crate) const RUNS: usize = 7;

/// Files of a package.
const FILES: usize = 8;

/// What was measured.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Figures {
    pub(crate) small: Channel,
    pub(crate) large: Channel,
    /// Seconds for [`AT_ONCE`] packages into an empty channel.
    pub(crate) at_once: f64,
    /// Bytes of the delta of a week, of its statement and of the pointer.
    pub(crate) week: [u64; 3],
    /// What clients of the small channel are sent over HTTP: at first, when nothing changed, and after that week.
    #[serde(default)]
    pub(crate) refresh: [Cost; 3],
    /// Processes that wanted to run before.
    pub(crate) load: f64,
    /// Whether this was a release build.
    pub(crate) optimised: bool,
}

/// Of one channel. Seconds and bytes.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Channel {
    pub(crate) one: f64,
    pub(crate) indexes: f64,
    pub(crate) rollback: f64,
    pub(crate) plain_bytes: u64,
    pub(crate) compact_bytes: u64,
    pub(crate) texts_bytes: u64,
    pub(crate) files_bytes: u64,
    pub(crate) delta_bytes: u64,
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Measures with the packages of the manifests below `recipes`.
pub(crate) fn measure(recipes: &Path) -> Result<Figures, Failure> {
    let load = crate::machine::Machine::this().load;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let folder = tempfile::tempdir()?;
    let mut found = Vec::new();
    manifests(recipes, &mut found)?;
    let metas = Packages::of(found);
    let in_folder = |name: &str| folder.path().join(name);
    let at_once = runtime.block_on(at_once(&metas, &in_folder("at-once")))?;
    let (small, Costs { week, refresh }) =
        runtime.block_on(channel(&metas, &in_folder("small"), SMALL, WEEK))?;
    let (large, _) = runtime.block_on(channel(&metas, &in_folder("large"), LARGE, 0))?;
    Ok(Figures { small, large, at_once, week, refresh, load, optimised: !cfg!(debug_assertions) })
}

fn manifests(folder: &Path, found: &mut Vec<PackageMeta>) -> Result<(), Failure> {
    for entry in fs_err::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            manifests(&path, found)?;
        } else if path.file_name().is_some_and(|name| name == "manifest.x86_64.bin") {
            let manifest = ManifestFile::read(fs_err::File::open(&path)?, &Limits::default())?;
            found.extend(manifest.packages().iter().cloned());
        }
    }
    Ok(())
}

/// Packages by number.
struct Packages(Vec<PackageMeta>);

impl Packages {
    fn of(mut metas: Vec<PackageMeta>) -> Self {
        let mut seen = BTreeSet::new();
        metas.retain(|meta| seen.insert(meta.name.clone()));
        metas.sort_by(|left, right| left.name.cmp(&right.name));
        Self(metas)
    }

    /// Package number so much, so many releases later.
    fn write(&self, number: usize, later: u64, folder: &Path) -> Result<(), Failure> {
        let mut meta = self.0[number % self.0.len()].clone();
        let copy = number / self.0.len();
        if copy > 0 {
            meta.name = format!("{}-again{copy}", meta.name);
            meta.source_id = format!("{}-again{copy}", meta.source_id);
        }
        meta.release += later;
        meta.build_depends.clear();
        let bytes = stone_of(&meta);
        fs_err::create_dir_all(folder)?;
        Ok(fs_err::write(folder.join(meta.file_name()), bytes)?)
    }
}

/// A package with small files in it, each different.
fn stone_of(meta: &PackageMeta) -> Vec<u8> {
    let content = |number: usize| format!("{} {} {number}\n", meta.name, meta.release).repeat(8).into_bytes();
    let files: Vec<(String, Vec<u8>)> =
        (0..FILES).map(|number| (format!("share/{}/file-{number}", meta.name), content(number))).collect();
    let files: Vec<packages::File<'_>> =
        files.iter().map(|(target, bytes)| (target.as_str(), 0o100_644, bytes.as_slice())).collect();
    packages::stone_with(meta, &files)
}

async fn at_once(metas: &Packages, folder: &Path) -> Result<f64, Failure> {
    let (packages, data) = (folder.join("packages"), folder.join("data"));
    (0..AT_ONCE).try_for_each(|number| metas.write(number, 0, &packages))?;
    let publisher = Publisher::open(&data, &["main".to_owned()]).await?;
    let begin = Instant::now();
    publisher.import(&packages, "main").await?;
    let seconds = begin.elapsed().as_secs_f64();
    publisher.close().await;
    fs_err::remove_dir_all(folder)?;
    Ok(seconds)
}

/// What a week of changes costs clients.
#[derive(Default)]
struct Costs {
    week: [u64; 3],
    refresh: [Cost; 3],
}

/// A channel of `size` packages; the second answer is what a week of so many changes costs, if any.
async fn channel(
    metas: &Packages,
    folder: &Path,
    size: usize,
    week: usize,
) -> Result<(Channel, Costs), Failure> {
    let (packages, data) = (folder.join("packages"), folder.join("data"));
    (0..size).try_for_each(|number| metas.write(number, 0, &packages))?;
    let channels = ["main".to_owned()];
    let mut publisher = Publisher::open(&data, &channels).await?;
    publisher.import(&packages, "main").await?;
    let (mut ones, mut indexes, mut figures) = (Vec::new(), Vec::new(), Channel::default());
    for run in 0..=RUNS {
        let one = folder.join(format!("one-{run}"));
        metas.write(run * size / (RUNS + 1), 1, &one)?;
        let begin = Instant::now();
        let imported = publisher.import(&one, "main").await?;
        // The first does not count.
        if run > 0 {
            ones.push(begin.elapsed().as_secs_f64());
            indexes.push(imported.index_time.as_secs_f64());
        }
    }
    (figures.one, figures.indexes) = (median(ones), median(indexes));
    let begin = Instant::now();
    let back = Operation::Rollback { channel: "main".into(), stream: "volatile".into(), to: None };
    publisher.operate(back, "a bench").await?;
    figures.rollback = begin.elapsed().as_secs_f64();
    metas.write(1, 2, &folder.join("two"))?;
    publisher.import(&folder.join("two"), "main").await?;
    let history = newest(&data)?;
    let bytes = |path: PathBuf| Ok::<u64, Failure>(fs_err::metadata(path)?.len());
    let own = history.join("x86_64");
    figures.plain_bytes = bytes(own.join("stone.index"))?;
    figures.compact_bytes = bytes(own.join("index.compact"))?;
    figures.texts_bytes = bytes(own.join("texts.compact"))?;
    figures.files_bytes = bytes(own.join("files.compact"))?;
    figures.delta_bytes = largest(&own.join("delta"))?;
    let mut costs = Costs::default();
    if week > 0 {
        publisher.close().await;
        drop(publisher);
        let client = Client::of(&data)?;
        let before = client.refresh(&data, 2).await?;
        publisher = Publisher::open(&data, &channels).await?;
        let changed = folder.join("week");
        (0..week).try_for_each(|number| metas.write(number * size / week, 3, &changed))?;
        publisher.import(&changed, "main").await?;
        let history = newest(&data)?;
        let pointer = data.join("public/main/stream/volatile.json");
        costs.week = [
            largest(&history.join("x86_64/delta"))?,
            bytes(history.join("statement.json"))?,
            bytes(pointer)?,
        ];
        publisher.close().await;
        drop(publisher);
        let after = client.refresh(&data, 1).await?;
        let [first, unchanged, week] = *[before, after].concat() else {
            return Err("three refreshes".into());
        };
        costs.refresh = [first, unchanged, week];
    } else {
        publisher.close().await;
        drop(publisher);
    }
    fs_err::remove_dir_all(folder)?;
    Ok((figures, costs))
}

fn newest(data: &Path) -> Result<PathBuf, Failure> {
    let root = RootIndex::from_json(&fs_err::read(data.join("public/main/moss-root-index.json"))?)?;
    let history = root.resolve(&"stream/volatile".parse()?)?.history;
    Ok(data.join("public/main/history").join(history.as_str()))
}

fn largest(folder: &Path) -> Result<u64, Failure> {
    let mut largest = 0;
    for entry in fs_err::read_dir(folder)? {
        largest = largest.max(entry?.metadata()?.len());
    }
    Ok(largest)
}

fn median(mut seconds: Vec<f64>) -> f64 {
    seconds.sort_by(f64::total_cmp);
    seconds.get(seconds.len() / 2).copied().unwrap_or_default()
}
