//! The replayer: what an agent runs in Boulder's place. `world-replay build FOLDER …` takes what `boulder build` takes.
//!
//! It makes the packages that the committed manifest lists, says what [`super::script`] says, and takes as long as the
//! model says. Before it begins it reads the repository that it was told to build against, and fails when something that
//! the recipe needs is not there in the generation that it has to be: no build may start before that is published.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use fault::{Fault, Kind};
use fetch::{Client, ClientSettings, Found};
use package::ManifestFile;
use repository::RepositorySource;
use serde::{Deserialize, Serialize};

use super::script;
use super::stones::{self, Generation};

/// The word that an agent says before its own arguments, and the name of the link to this program.
pub(crate) const PROGRAM: &str = "world-replay";
/// The file that says how fast this world is.
const PACE_FILE: &str = "pace.json";
/// The folder that says what recipes need.
const NEEDS_FOLDER: &str = "needs";
/// A log is written in so many pieces, spread over the time of the build.
const PIECES: usize = 4;
/// Where nothing says otherwise: a repository that is being restarted is back after this.
const ATTEMPTS_MAX: u32 = 12;

/// How fast a world is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Pace {
    pub(super) seed: u64,
    pub(super) scale: u64,
}

/// What must be published before a recipe is built.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Needs {
    /// Sources with the release that must be there at least.
    pub(super) sources: BTreeMap<String, u64>,
    /// Build dependencies that other members of its cycle offer, with all that offer them: one must be there.
    pub(super) of_cycle: BTreeMap<String, Vec<String>>,
}

/// Writes down how fast the world is and what each recipe needs, for replayers.
pub(super) fn prepare(folder: &Path, pace: Pace, needs: &BTreeMap<String, Needs>) -> std::io::Result<()> {
    fs_err::create_dir_all(folder.join(NEEDS_FOLDER))?;
    fs_err::write(folder.join(PACE_FILE), serde_json::to_vec(&pace)?)?;
    for (source, needs) in needs {
        fs_err::write(folder.join(NEEDS_FOLDER).join(source), serde_json::to_vec(needs)?)?;
    }
    Ok(())
}

/// Why a replayed build fails, as Boulder reports it.
#[derive(Debug, PartialEq, Eq)]
struct Failure {
    class: &'static str,
    message: String,
}

impl Failure {
    /// The recipe lacks something that the farm should have waited for.
    fn dependency(message: String) -> Failure {
        Failure { class: "dependency", message }
    }

    /// The machine or the way to the repository is at fault.
    fn host(message: impl std::fmt::Display) -> Failure {
        Failure { class: "host-fault", message: message.to_string() }
    }
}

/// What the agent asks for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Order {
    recipe: PathBuf,
    output: PathBuf,
    report: PathBuf,
    world: PathBuf,
    architecture: String,
    build_release: u64,
    repositories: Vec<String>,
}

impl Order {
    /// Reads `build FOLDER --NAME VALUE …`. What Boulder takes besides is of no interest here.
    fn read(arguments: &[OsString]) -> Option<Order> {
        let mut words = arguments.iter().skip(1);
        if words.next()?.to_str()? != "build" {
            return None;
        }
        let mut order = Order::default();
        while let Some(word) = words.next() {
            let Some(name) = word.to_str().and_then(|word| word.strip_prefix("--")) else {
                order.recipe = word.into();
                continue;
            };
            let (name, value) = match name.split_once('=') {
                Some((name, value)) => (name, OsString::from(value)),
                None => (name, words.next()?.clone()),
            };
            let text = || value.to_string_lossy().into_owned();
            match name {
                "output" => order.output = value.into(),
                "report" => order.report = value.into(),
                "world" => order.world = value.into(),
                "architecture" => order.architecture = text(),
                "build-release" => order.build_release = text().parse().ok()?,
                "repository" => order.repositories.push(text()),
                _ => {}
            }
        }
        Some(order)
    }

    /// The number of the attempt: the folder that its report is put into is named after it.
    fn attempt(&self) -> u64 {
        let folder = self.report.parent().and_then(Path::file_name);
        folder.and_then(|name| name.to_str()).and_then(|name| name.parse().ok()).unwrap_or(0)
    }
}

/// The whole program.
pub(crate) fn main(arguments: Vec<OsString>) -> ExitCode {
    let Some(order) = Order::read(&arguments) else { return ExitCode::from(2) };
    let begun = Instant::now();
    let result = replay(&order);
    let seconds = begun.elapsed().as_secs_f64();
    let report = match &result {
        Ok(()) => serde_json::json!({ "outcome": "built", "seconds": seconds, "peak_memory_bytes": 0 }),
        Err(failure) => serde_json::json!({ "outcome": "failed", "class": failure.class, "phase": "replay",
            "message": failure.message, "peak_memory_bytes": 0 }),
    };
    let partial = order.report.with_extension("part");
    let written =
        fs_err::write(&partial, report.to_string()).and_then(|()| fs_err::rename(&partial, &order.report));
    match (written, result) {
        (Ok(()), Ok(())) => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

fn replay(order: &Order) -> Result<(), Failure> {
    let catalogue =
        summit::recipes::read_folder(&order.recipe, &order.architecture).map_err(Failure::host)?;
    let [recipe] = catalogue.recipes() else {
        return Err(Failure::host(format!("{} is not the folder of one recipe", order.recipe.display())));
    };
    let pace: Pace = read_json(&order.world.join(PACE_FILE))?;
    let needs: Needs = read_json(&order.world.join(NEEDS_FOLDER).join(&recipe.source))?;
    check_needs(&needs, &published(order)?)?;

    speak(
        &script::log(&recipe.source, order.attempt()),
        script::duration(pace.seed, &recipe.source, pace.scale),
    )
    .map_err(Failure::host)?;

    let manifest = order.recipe.join(ManifestFile::bin_name(&order.architecture));
    let generation =
        Generation { version: &recipe.version, release: recipe.release, build_release: order.build_release };
    for package in stones::read_manifest(&manifest).map_err(Failure::host)? {
        stones::write(&order.output, &stones::of_generation(&package, generation)).map_err(Failure::host)?;
    }
    Ok(())
}

fn read_json<T: for<'a> Deserialize<'a>>(path: &Path) -> Result<T, Failure> {
    let bytes = fs_err::read(path).map_err(Failure::host)?;
    serde_json::from_slice(&bytes).map_err(Failure::host)
}

/// The newest release of every source in the repositories of the order.
fn published(order: &Order) -> Result<HashMap<String, u64>, Failure> {
    let client = Client::new(ClientSettings { attempts_max: ATTEMPTS_MAX, ..ClientSettings::default() });
    let mut releases = HashMap::new();
    for text in &order.repositories {
        let source = source_of(text, &order.architecture)
            .ok_or_else(|| Failure::host(format!("{text:?} is no repository")))?;
        let found = client.offer(&source, None).map_err(|error| match error.kind() {
            Kind::Unavailable => Failure::host(fault::chain(&error).join(": ")),
            // An index that a pointer names and that is not there, or is damaged, is the repository's fault.
            _ => Failure::dependency(fault::chain(&error).join(": ")),
        })?;
        let Found::Offer(offer) = found else { continue };
        for package in offer.packages {
            let newest = releases.entry(package.source_id).or_insert(package.release);
            *newest = package.release.max(*newest);
        }
    }
    Ok(releases)
}

/// `id=NAME,base-uri=URL,channel=NAME,version=VERSION,priority=N`
fn source_of(text: &str, architecture: &str) -> Option<RepositorySource> {
    let fields: HashMap<&str, &str> = text.split(',').filter_map(|pair| pair.split_once('=')).collect();
    if let Some(uri) = fields.get("uri") {
        return Some(RepositorySource::Direct { uri: (*uri).to_owned() });
    }
    Some(RepositorySource::Versioned {
        base_uri: fields.get("base-uri")?.trim_end_matches('/').to_owned(),
        channel: fields.get("channel")?.parse().ok()?,
        version: fields.get("version")?.parse().ok()?,
        arch: architecture.to_owned(),
    })
}

fn check_needs(needs: &Needs, published: &HashMap<String, u64>) -> Result<(), Failure> {
    for (source, release) in &needs.sources {
        match published.get(source) {
            Some(there) if there >= release => {}
            Some(there) => {
                let message = format!("{source} is published at release {there}, needed is {release}");
                return Err(Failure::dependency(message));
            }
            None => return Err(Failure::dependency(format!("{source} is not published at all"))),
        }
    }
    for (dependency, makers) in &needs.of_cycle {
        if !makers.iter().any(|maker| published.contains_key(maker)) {
            let makers = makers.join(", ");
            let message = format!("{dependency} is not published by any that offers it: {makers}");
            return Err(Failure::dependency(message));
        }
    }
    Ok(())
}

/// Writes `log` in pieces over `time`.
fn speak(log: &str, time: Duration) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    let pause = time / u32::try_from(PIECES).unwrap_or(1);
    let size = log.len().div_ceil(PIECES).max(1);
    for piece in log.as_bytes().chunks(size) {
        out.write_all(piece)?;
        out.flush()?;
        std::thread::sleep(pause);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<OsString> {
        text.split_whitespace().map(OsString::from).collect()
    }

    #[test]
    fn it_is_called_as_boulder_is() {
        let order = Order::read(&words(
            "world-replay build /a/5/source/n/nano --output /a/5/output --report /a/5/report.json --root host \
             --repository id=main,base-uri=http://h:1,channel=main,version=stream/volatile,priority=10 \
             --build-release 2 --jobs 2 --cache-dir /cache --architecture x86_64 --world=/w",
        ))
        .unwrap();
        assert_eq!(order.recipe, Path::new("/a/5/source/n/nano"));
        assert_eq!((order.attempt(), order.build_release, order.architecture.as_str()), (5, 2, "x86_64"));
        assert_eq!((order.world.as_path(), order.repositories.len()), (Path::new("/w"), 1));
        assert!(matches!(
            source_of(&order.repositories[0], "x86_64"),
            Some(RepositorySource::Versioned { .. })
        ));
        assert_eq!(Order::read(&words("world-replay show /x")), None);
    }

    #[test]
    fn a_build_that_began_too_early_fails() {
        let of_cycle = [("binary(cc)".to_owned(), vec!["gcc".to_owned(), "llvm".to_owned()])];
        let needs = Needs { sources: [("glibc".to_owned(), 7)].into(), of_cycle: of_cycle.into() };
        let check = |published: &[(&str, u64)], expect: Option<&str>| {
            let published = published.iter().map(|(name, release)| ((*name).to_owned(), *release)).collect();
            let found = check_needs(&needs, &published).err().map(|failure| failure.message);
            assert_eq!(found.as_deref(), expect);
        };
        check(&[("glibc", 7), ("llvm", 0)], None);
        check(&[("glibc", 8), ("gcc", 1)], None);
        check(&[("glibc", 7)], Some("binary(cc) is not published by any that offers it: gcc, llvm"));
        check(&[("glibc", 6)], Some("glibc is published at release 6, needed is 7"));
        check(&[], Some("glibc is not published at all"));
    }
}
