//! Debian's source archive as a mirror of upstream releases.
//!
//! Many `.orig.tar.*` files of Debian are the upstream's release, byte for byte. The archive's `Sources` lists name
//! the SHA-256 of each, so the digest a recipe states finds package, version and file exactly; nothing is guessed from
//! names. Lists and files come through the ordinary client, `apt-get`, which checks the archive's signatures. It runs
//! on a configuration, lists and caches of our own: nothing of the host's `/etc/apt` or `/var/lib/apt` is written.

use std::ffi::OsStr;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use fault::{Fault, Kind};
use fs_err as fs;

use crate::address::is_file_name;
use crate::command::{self, CommandError};
use crate::digest::Digest;

/// The suites that are searched, the one that changes least first. Old suites and the security archive are left out:
/// their sources move away.
const SUITES: [&str; 4] = ["bookworm", "trixie", "forky", "sid"];
/// The archive when the host configures none.
const ARCHIVE_DEFAULT: &str = "http://deb.debian.org/debian";
/// Where Debian and its derivatives keep the archive's public keys.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// The lists change four times a day; what recipes name is older than that.
const REFRESH_EVERY: Duration = Duration::from_secs(24 * 60 * 60);
/// After a failed refresh, how long others do not try again: a batch of builds would wait for each.
const REFRESH_AGAIN_AFTER: Duration = Duration::from_secs(5 * 60);
/// Four lists are 45 MB; over a slow line of 200 kB/s that takes four minutes.
const REFRESH_TIME_LIMIT: Duration = Duration::from_secs(10 * 60);
/// The largest upstream tarballs are a few hundred megabytes.
const DOWNLOAD_TIME_LIMIT: Duration = Duration::from_secs(30 * 60);
/// Longest line of a list that is looked at; the longest real ones, lists of architectures, are below 30 kB.
const LINE_BYTES_MAX: u64 = 256 * 1024;
/// Most places of one digest; a source is in each suite once, and a few times under another name.
const TARBALLS_MAX: usize = 8;

/// The archive did not give a source.
#[derive(Debug, thiserror::Error)]
pub enum DebianError {
    /// This machine has no apt.
    #[error("cannot ask Debian's source archive: this machine has no apt-get")]
    NoApt,
    /// This machine does not know the archive's keys.
    #[error("cannot ask Debian's source archive: {KEYRING} is missing")]
    NoKeyring,
    /// The lists cannot be had.
    #[error("cannot get the lists of Debian's source archive")]
    Lists(#[source] CommandError),
    /// The lists could not be had a short time ago, and have not been asked for again.
    #[error("cannot get the lists of Debian's source archive: it failed less than five minutes ago")]
    ListsFailedBefore,
    /// No list names the digest.
    #[error("Debian's source archive has no file of that digest")]
    Unknown,
    /// The lists name the digest, but the file cannot be had.
    #[error("cannot get {package}={version} from Debian's source archive")]
    Download {
        /// Name of the Debian source package.
        package: String,
        /// Its version.
        version: String,
        /// What apt-get said.
        #[source]
        source: CommandError,
    },
    /// The archive gave another file than its list says.
    #[error("{package}={version} from Debian's source archive holds no file of the wanted digest")]
    WrongFile {
        /// Name of the Debian source package.
        package: String,
        /// Its version.
        version: String,
    },
    /// The private folder cannot be used.
    #[error("cannot keep what Debian's source archive sends")]
    Folder(#[source] io::Error),
}

impl Fault for DebianError {
    fn kind(&self) -> Kind {
        match self {
            DebianError::NoApt | DebianError::NoKeyring | DebianError::Unknown => Kind::NotFound,
            DebianError::WrongFile { .. } => Kind::Damaged,
            DebianError::Lists(_)
            | DebianError::ListsFailedBefore
            | DebianError::Download { .. }
            | DebianError::Folder(_) => Kind::Unavailable,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            DebianError::NoKeyring => vec!["install it: `apt-get install debian-archive-keyring`".to_owned()],
            _ => Vec::new(),
        }
    }
}

/// One tarball in the archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DebianTarball {
    /// Name of the Debian source package.
    pub package: String,
    /// Its version.
    pub version: String,
    /// Name of the file in the archive.
    pub file_name: String,
}

/// Debian's source archive, asked through `apt-get`.
#[derive(Debug, Clone)]
pub struct DebianSources {
    folder: PathBuf,
    archive: Option<String>,
}

impl DebianSources {
    /// The archive, with lists and configuration kept below `folder`. `archive` is the address of a Debian mirror;
    /// without one it is the host's own, or deb.debian.org.
    #[must_use]
    pub fn new(folder: &Path, archive: Option<String>) -> DebianSources {
        // apt resolves relative paths against places of its own.
        let folder = std::path::absolute(folder).unwrap_or_else(|_| folder.to_path_buf());
        DebianSources { folder, archive }
    }

    /// Whether this machine can ask it.
    ///
    /// # Errors
    /// With what is missing.
    pub fn offered() -> Result<(), DebianError> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        if !std::env::split_paths(&path).any(|folder| folder.join("apt-get").is_file()) {
            return Err(DebianError::NoApt);
        }
        if !Path::new(KEYRING).is_file() {
            return Err(DebianError::NoKeyring);
        }
        Ok(())
    }

    /// Gets the file whose digest is `sha256` into `destination` and gives its path there.
    ///
    /// # Errors
    /// When no list names the digest, or the file cannot be had.
    pub fn fetch(&self, sha256: Digest, destination: &Path) -> Result<PathBuf, DebianError> {
        DebianSources::offered()?;
        let lock = self.prepare().map_err(DebianError::Folder)?;
        self.refresh()?;
        let tarballs = self.find(sha256)?;
        drop(lock);
        let mut last_error = DebianError::Unknown;
        for tarball in tarballs {
            match self.download(&tarball, sha256, destination) {
                Ok(path) => return Ok(path),
                Err(error) => {
                    tracing::info!(%error, "trying the next place in the archive");
                    last_error = error;
                }
            }
        }
        Err(last_error)
    }

    /// Where the lists that are here name `sha256`.
    ///
    /// # Errors
    /// When the lists cannot be read.
    pub fn find(&self, sha256: Digest) -> Result<Vec<DebianTarball>, DebianError> {
        let mut lists: Vec<PathBuf> = Vec::new();
        for entry in fs::read_dir(self.folder.join("lists")).map_err(DebianError::Folder)? {
            let entry = entry.map_err(DebianError::Folder)?;
            if entry.file_name().to_string_lossy().ends_with("_Sources") {
                lists.push(entry.path());
            }
        }
        lists.sort_by_key(|path| (suite_rank(path), path.clone()));
        let mut found: Vec<DebianTarball> = Vec::new();
        for list in lists {
            let reader =
                BufReader::with_capacity(1 << 20, fs::File::open(&list).map_err(DebianError::Folder)?);
            for tarball in search(reader, sha256).map_err(DebianError::Folder)? {
                if found.len() < TARBALLS_MAX && !found.contains(&tarball) {
                    found.push(tarball);
                }
            }
        }
        Ok(found)
    }

    /// Lays out the private folder and takes its lock.
    fn prepare(&self) -> io::Result<fs::File> {
        for name in ["lists/partial", "cache/archives/partial", "state", "parts"] {
            fs::create_dir_all(self.folder.join(name))?;
        }
        let lock = fs::File::create(self.folder.join("lock"))?;
        lock.file().lock()?;
        write_if_changed(&self.folder.join("status"), "")?;
        let archive =
            self.archive.clone().or_else(host_archive).unwrap_or_else(|| ARCHIVE_DEFAULT.to_owned());
        let changed = write_if_changed(&self.folder.join("sources.list"), &sources_list(&archive))?;
        write_if_changed(&self.folder.join("apt.conf"), &self.configuration())?;
        if changed {
            crate::part::remove_if_there(&self.folder.join("refreshed"))?;
            crate::part::remove_if_there(&self.folder.join("failed"))?;
        }
        Ok(lock)
    }

    fn refresh(&self) -> Result<(), DebianError> {
        let refreshed = self.folder.join("refreshed");
        let failed = self.folder.join("failed");
        let age = age_of(&refreshed);
        if age.is_some_and(|age| age < REFRESH_EVERY) {
            return Ok(());
        }
        let failed_lately = age_of(&failed).is_some_and(|age| age < REFRESH_AGAIN_AFTER);
        let result = if failed_lately {
            Err(DebianError::ListsFailedBefore)
        } else {
            let mut command = self.apt_get();
            command.arg("update").args(["-o", "APT::Update::Error-Mode=any"]);
            command::run(command, REFRESH_TIME_LIMIT).map_err(DebianError::Lists)
        };
        match result {
            Ok(_) => {
                fs::write(&refreshed, "").map_err(DebianError::Folder)?;
                crate::part::remove_if_there(&failed).map_err(DebianError::Folder)
            }
            Err(error) => {
                if !failed_lately {
                    fs::write(&failed, "").map_err(DebianError::Folder)?;
                }
                // Old lists still name old files.
                if age.is_some() {
                    tracing::warn!(%error, "going on with old lists");
                    return Ok(());
                }
                Err(error)
            }
        }
    }

    fn download(
        &self,
        tarball: &DebianTarball,
        sha256: Digest,
        destination: &Path,
    ) -> Result<PathBuf, DebianError> {
        let DebianTarball { package, version, file_name } = tarball;
        let mut command = self.apt_get();
        command
            .args(["source", "--download-only", "--tar-only", "--"])
            .arg(format!("{package}={version}"))
            .current_dir(destination);
        command::run(command, DOWNLOAD_TIME_LIMIT).map_err(|source| DebianError::Download {
            package: package.clone(),
            version: version.clone(),
            source,
        })?;
        let path = destination.join(file_name);
        match Digest::of_file(&path) {
            Ok((digest, _)) if digest == sha256 => Ok(path),
            _ => Err(DebianError::WrongFile { package: package.clone(), version: version.clone() }),
        }
    }

    fn apt_get(&self) -> Command {
        let mut command = Command::new("apt-get");
        command.env("APT_CONFIG", self.folder.join("apt.conf")).arg("-q");
        command
    }

    /// What keeps apt to our folder. It is read before anything else and points the host's own parts away; how the
    /// host reaches the network (proxies, certificates, time-outs) is copied over.
    fn configuration(&self) -> String {
        let folder = quoted(self.folder.as_os_str());
        let mut text = String::new();
        for (key, value) in [
            ("Dir::Etc::Main", "/dev/null".to_owned()),
            ("Dir::Etc::Parts", format!("{folder}/parts")),
            ("Dir::Etc::SourceList", format!("{folder}/sources.list")),
            ("Dir::Etc::SourceParts", format!("{folder}/parts")),
            ("Dir::Etc::Preferences", "/dev/null".to_owned()),
            ("Dir::Etc::PreferencesParts", format!("{folder}/parts")),
            ("Dir::State", format!("{folder}/state")),
            ("Dir::State::Lists", format!("{folder}/lists")),
            ("Dir::State::Status", format!("{folder}/status")),
            ("Dir::Cache", format!("{folder}/cache")),
            // Several commands may run at once; nothing of them is worth keeping.
            ("Dir::Cache::pkgcache", String::new()),
            ("Dir::Cache::srcpkgcache", String::new()),
            // Plain text is what the search reads.
            ("Acquire::GzipIndexes", "false".to_owned()),
            ("Acquire::Languages", "none".to_owned()),
            ("Acquire::Retries", "2".to_owned()),
        ] {
            text.push_str(&format!("{key} \"{value}\";\n"));
        }
        if rustix::process::geteuid().is_root() {
            // The user apt would drop to cannot write into our folder.
            text.push_str("APT::Sandbox::User \"root\";\n");
        }
        let mut dump = Command::new("apt-config");
        dump.arg("dump");
        match command::run(dump, Duration::from_secs(30)) {
            Ok(settings) => text.push_str(&network_settings(&settings)),
            Err(error) => tracing::debug!(%error, "the host's apt settings are not used"),
        }
        text
    }
}

/// The tarballs with that digest in one `Sources` list. A list is stanzas of `Field: value` lines parted by blank lines;
/// `Checksums-Sha256:` is followed by lines of digest, size and name, each after a blank.
fn search(mut list: impl BufRead, sha256: Digest) -> io::Result<Vec<DebianTarball>> {
    let wanted = sha256.to_string();
    let mut found = Vec::new();
    let mut stanza = Stanza::default();
    let mut line = Vec::new();
    loop {
        line.clear();
        let count = (&mut list).take(LINE_BYTES_MAX).read_until(b'\n', &mut line)?;
        let text = line.trim_ascii_end();
        if count == 0 || text.is_empty() {
            found.extend(std::mem::take(&mut stanza).tarball());
            if count == 0 {
                return Ok(found);
            }
        } else if text.starts_with(b" ") {
            if text.get(1..).is_some_and(|rest| rest.starts_with(wanted.as_bytes())) {
                let name = text.rsplit(|byte| *byte == b' ').next().unwrap_or_default();
                stanza.file_name = Some(String::from_utf8_lossy(name).into_owned());
            }
        } else if let Some(value) = text.strip_prefix(b"Package: ") {
            stanza.package = Some(String::from_utf8_lossy(value).into_owned());
        } else if let Some(value) = text.strip_prefix(b"Version: ") {
            stanza.version = Some(String::from_utf8_lossy(value).into_owned());
        }
    }
}

#[derive(Default)]
struct Stanza {
    package: Option<String>,
    version: Option<String>,
    file_name: Option<String>,
}

impl Stanza {
    /// A tarball whose names are what Debian's policy allows; they go to a command line and into a path.
    fn tarball(self) -> Option<DebianTarball> {
        let (package, version, file_name) = (self.package?, self.version?, self.file_name?);
        let plain = |text: &str, more: &str| {
            text.starts_with(|first: char| first.is_ascii_alphanumeric())
                && text.chars().all(|letter| letter.is_ascii_alphanumeric() || more.contains(letter))
        };
        (plain(&package, "+-.") && plain(&version, "+-.~:") && is_file_name(&file_name))
            .then_some(DebianTarball { package, version, file_name })
    }
}

fn sources_list(archive: &str) -> String {
    SUITES.iter().map(|suite| format!("deb-src [signed-by={KEYRING}] {archive} {suite} main\n")).collect()
}

/// The Debian mirror that the host's own apt uses.
fn host_archive() -> Option<String> {
    let mut texts = Vec::new();
    let parts =
        fs::read_dir("/etc/apt/sources.list.d").into_iter().flatten().flatten().map(|entry| entry.path());
    for path in std::iter::once(PathBuf::from("/etc/apt/sources.list")).chain(parts) {
        // Unreadable or missing: then it is not that file which names the mirror.
        if let Ok(text) = fs::read_to_string(&path) {
            texts.push(text);
        }
    }
    archive_in(&texts)
}

/// The first address of a Debian archive in texts of either form that apt reads.
fn archive_in(texts: &[String]) -> Option<String> {
    let words = texts.iter().flat_map(|text| text.lines()).filter(|line| !line.trim_start().starts_with('#'));
    words
        .flat_map(str::split_whitespace)
        .map(|word| word.trim_end_matches('/'))
        .find(|word| {
            let web = word.starts_with("http://") || word.starts_with("https://");
            web && word.ends_with("/debian") && !word.contains("security") && !word.contains('@')
        })
        .map(str::to_owned)
}

/// The lines of `apt-config dump` about reaching the network.
fn network_settings(dump: &str) -> String {
    let ours = ["Acquire::GzipIndexes", "Acquire::Languages", "Acquire::Retries", "Acquire::IndexTargets"];
    let mut text = String::new();
    for line in dump.lines() {
        let is_setting = line.starts_with("Acquire::") && line.ends_with("\";") && !line.ends_with(" \"\";");
        if is_setting && !ours.iter().any(|prefix| line.starts_with(prefix)) {
            text.push_str(line);
            text.push('\n');
        }
    }
    text
}

fn suite_rank(list: &Path) -> usize {
    let name = list.file_name().map(OsStr::to_string_lossy).unwrap_or_default();
    SUITES.iter().position(|suite| name.contains(&format!("_{suite}_"))).unwrap_or(SUITES.len())
}

/// A path as it may stand between the quotes of apt's configuration, which knows no escapes.
fn quoted(path: &OsStr) -> String {
    path.to_string_lossy().replace(['"', '\n'], "_")
}

fn write_if_changed(path: &Path, text: &str) -> io::Result<bool> {
    if fs::read(path).is_ok_and(|held| held == text.as_bytes()) {
        return Ok(false);
    }
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(text.as_bytes())?;
    file.persist(path)?;
    Ok(true)
}

fn age_of(path: &Path) -> Option<Duration> {
    let written = fs::metadata(path).and_then(|metadata| metadata.modified()).ok()?;
    // A clock that went back makes it new.
    Some(SystemTime::now().duration_since(written).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELLO: &str = "31e066137a962676e89f69d1b65382de95a7ef7d914b8cb956f41ea72e0f516b";

    fn stanza(package: &str, version: &str, file_name: &str) -> String {
        format!(
            "Package: {package}\nBinary: x\nVersion: {version}\nFiles:\n af0c 1721 a.dsc\nChecksums-Sha256:\n \
             {} 1721 a.dsc\n {HELLO} 725946 {file_name}\nDirectory: pool\n\n",
            "0".repeat(64)
        )
    }

    #[test]
    fn a_digest_finds_package_version_and_file() {
        fn check(list: &str, expect: &[(&str, &str, &str)]) {
            let found = search(list.as_bytes(), Digest::parse(HELLO).unwrap()).unwrap();
            let got: Vec<_> = found
                .iter()
                .map(|found| (found.package.as_str(), found.version.as_str(), found.file_name.as_str()))
                .collect();
            assert_eq!(got, expect);
        }
        let hello = stanza("hello", "2.10-3", "hello_2.10.orig.tar.gz");
        check(&hello, &[("hello", "2.10-3", "hello_2.10.orig.tar.gz")]);
        check(hello.trim_end(), &[("hello", "2.10-3", "hello_2.10.orig.tar.gz")]);
        let epoch = stanza("hello-old", "1:2.10~rc1-3+b1", "h.tar.gz");
        check(
            &format!("{}{hello}{epoch}", stanza("x", "1", "y").replace(HELLO, &"1".repeat(64))),
            &[("hello", "2.10-3", "hello_2.10.orig.tar.gz"), ("hello-old", "1:2.10~rc1-3+b1", "h.tar.gz")],
        );
        check("", &[]);
        check(&"x".repeat(1_000_000), &[]);
    }

    #[test]
    fn names_that_could_be_options_or_paths_are_left_out() {
        for (package, version, file_name) in [
            ("-oDir=/", "1", "a"),
            ("a b", "1", "a"),
            ("a", "1;rm", "a"),
            ("a", "-1", "a"),
            ("a", "1", "../a"),
            ("a", "1", ".."),
        ] {
            let list = stanza(package, version, file_name);
            let found = search(list.as_bytes(), Digest::parse(HELLO).unwrap()).unwrap();
            assert_eq!(found, [], "{package} {version} {file_name}");
        }
    }

    #[test]
    fn the_hosts_mirror_is_found_in_either_form() {
        fn check(text: &str, expect: Option<&str>) {
            assert_eq!(archive_in(&[text.to_owned()]).as_deref(), expect);
        }
        check("Types: deb\nURIs: http://mirror/debian/\nSuites: x\n", Some("http://mirror/debian"));
        check(
            "# deb http://old/debian x main\ndeb [a=b] https://new/debian x main\n",
            Some("https://new/debian"),
        );
        check("URIs: http://deb.debian.org/debian-security\n", None);
        check("deb http://archive.ubuntu.com/ubuntu noble main\n", None);
        check("deb http://user:secret@mirror/debian x main\n", None);
    }

    #[test]
    fn only_settings_about_the_network_are_copied() {
        let dump = "APT::Update::Post-Invoke:: \"rm x\";\nAcquire \"\";\nAcquire::http::Proxy \"http://p:1\";\n\
                    Acquire::GzipIndexes \"true\";\nAcquire::Check-Date \"false\";\nDir::Etc \"etc/apt\";\n";
        assert_eq!(
            network_settings(dump),
            "Acquire::http::Proxy \"http://p:1\";\nAcquire::Check-Date \"false\";\n"
        );
    }

    #[test]
    fn the_calmest_suite_comes_first() {
        let rank = |suite| {
            suite_rank(Path::new(&format!("/l/deb.debian.org_debian_dists_{suite}_main_source_Sources")))
        };
        assert!(
            rank("bookworm") < rank("trixie") && rank("trixie") < rank("sid") && rank("sid") < rank("other")
        );
    }
}
