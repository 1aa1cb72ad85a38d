//! Commits from git repositories.
//!
//! Each address has a bare mirror of its own, named by a digest of the whole address, so two hosts with the same path
//! never share one. A commit is fetched by its id where the server allows that, else with all branches and tags, and
//! exported as plain files through an index of its own: any number of exports run side by side and leave nothing in
//! the mirror.
//!
//! The ordinary `git` does the work. It may not ask for passwords, run hooks, or use any transport but the ones named
//! here, whatever an address or a reference says. Submodules are not followed.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use fault::{Fault, Kind};
use fs_err as fs;

use crate::address::redacted;
use crate::bare;
use crate::command::{self, CommandError};
use crate::digest::Digest;

/// The transports git may use. `ext::` and other helpers run commands that the address names.
const PROTOCOLS: &str = "https:http:ssh:git:file";
/// A full clone of a large source tree over a slow line.
const FETCH_TIME_LIMIT: Duration = Duration::from_secs(60 * 60);
/// Work on this machine's own disk.
const LOCAL_TIME_LIMIT: Duration = Duration::from_secs(10 * 60);
/// Longest address or reference, as for HTTP.
const NAME_BYTES_MAX: usize = 8192;

/// The full id of a commit: 40 (SHA-1) or 64 (SHA-256) lower-case hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CommitId(String);

impl CommitId {
    /// Reads a full commit id.
    #[must_use]
    pub fn parse(text: &str) -> Option<CommitId> {
        let is_id = matches!(text.len(), 40 | 64) && text.bytes().all(|digit| digit.is_ascii_hexdigit());
        is_id.then(|| CommitId(text.to_ascii_lowercase()))
    }

    /// The digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CommitId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// A git repository did not give what was asked.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    /// The address is not one that is fetched.
    #[error("cannot use the git address {url:?}: {why}")]
    Address {
        /// The address, without credentials.
        url: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The reference cannot be one.
    #[error("cannot use {reference:?} as a git reference")]
    Reference {
        /// What was asked for.
        reference: String,
    },
    /// The repository cannot be fetched.
    #[error("cannot fetch {what} from {url}")]
    Fetch {
        /// The commit or reference.
        what: String,
        /// The address, without credentials.
        url: String,
        /// What git said.
        #[source]
        source: CommandError,
    },
    /// The repository has no such commit or reference.
    #[error("cannot find {what} in {url}: no branch or tag leads to it")]
    Unknown {
        /// The commit or reference.
        what: String,
        /// The address, without credentials.
        url: String,
    },
    /// Something on this machine's own disk failed.
    #[error("cannot {action} in the mirror of {url}")]
    Local {
        /// What was to be done.
        action: &'static str,
        /// The address, without credentials.
        url: String,
        /// What git said.
        #[source]
        source: CommandError,
    },
    /// The folder of mirrors, or the folder to export to, cannot be used.
    #[error("cannot use the folder {path}")]
    Folder {
        /// Which folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The folder to export to holds something.
    #[error("cannot export to {path}: it is not empty")]
    NotEmpty {
        /// Which folder.
        path: PathBuf,
    },
}

impl Fault for GitError {
    fn kind(&self) -> Kind {
        match self {
            GitError::Address { .. } | GitError::Reference { .. } => Kind::Input,
            GitError::Unknown { .. } => Kind::NotFound,
            GitError::NotEmpty { .. } => Kind::Conflict,
            GitError::Fetch { source, .. } | GitError::Local { source, .. } => source.kind(),
            GitError::Folder { .. } => Kind::Unavailable,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            GitError::Address { .. } => {
                vec!["write it as https://, ssh://, git:// or file:///path".to_owned()]
            }
            GitError::Unknown { .. } => vec!["check that it was pushed".to_owned()],
            GitError::Fetch { source, .. } | GitError::Local { source, .. } => source.hints(),
            _ => Vec::new(),
        }
    }
}

/// A folder of mirrors, shared by any number of threads and processes.
#[derive(Debug, Clone)]
pub struct GitMirrors {
    root: PathBuf,
    fetch_time_limit: Duration,
}

impl GitMirrors {
    /// The mirrors below `root`, which is made when something is fetched.
    #[must_use]
    pub fn new(root: &Path) -> GitMirrors {
        GitMirrors { root: root.to_path_buf(), fetch_time_limit: FETCH_TIME_LIMIT }
    }

    /// The same with another limit for each fetch.
    #[must_use]
    pub fn with_fetch_time_limit(mut self, fetch_time_limit: Duration) -> GitMirrors {
        self.fetch_time_limit = fetch_time_limit;
        self
    }

    /// The mirror of `url`, made empty if there is none.
    ///
    /// # Errors
    /// When the address is not one that is fetched, or the mirror cannot be made.
    pub fn mirror(&self, url: &str) -> Result<GitMirror, GitError> {
        check_git_address(url).map_err(|why| GitError::Address { url: redacted(url), why })?;
        fs::create_dir_all(&self.root)
            .map_err(|source| GitError::Folder { path: self.root.clone(), source })?;
        let mirror = GitMirror {
            url: url.to_owned(),
            path: self.root.join(mirror_name(url)),
            fetch_time_limit: self.fetch_time_limit,
        };
        let _lock = mirror.lock()?;
        let failed = |source| GitError::Folder { path: mirror.path.clone(), source };
        if let Some(draft) = bare::prepare(&mirror.path).map_err(failed)? {
            let mut init = git();
            init.args(["init", "--quiet", "--bare", "--template=", "--"]).arg(&draft);
            mirror.local("make it", init)?;
            bare::put_in_place(&draft, &mirror.path).map_err(failed)?;
        }
        Ok(mirror)
    }
}

/// The bare mirror of one address.
#[derive(Debug, Clone)]
pub struct GitMirror {
    url: String,
    path: PathBuf,
    fetch_time_limit: Duration,
}

impl GitMirror {
    /// The folder of the mirror, a bare repository.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes sure that `commit` and all it consists of is in the mirror.
    ///
    /// # Errors
    /// When the repository cannot be reached or has no such commit.
    pub fn fetch_commit(&self, commit: &CommitId) -> Result<(), GitError> {
        // Whether the commit's tree is there as well: an interrupted fetch leaves no half, but a foreign hand may.
        let tree = format!("{commit}^{{tree}}");
        if self.has(&tree)? {
            return Ok(());
        }
        let _lock = self.lock()?;
        if self.has(&tree)? {
            return Ok(());
        }
        // Keeping a reference keeps the commit from being swept out.
        let one = format!("+{commit}:refs/moraine/{commit}");
        if let Err(error) = self.fetch(&[&one], commit.as_str()) {
            tracing::debug!(%error, "the server gives no single commits, fetching all branches and tags");
            self.fetch_all(commit.as_str())?;
        }
        if self.has(&tree)? {
            Ok(())
        } else {
            Err(GitError::Unknown { what: commit.to_string(), url: redacted(&self.url) })
        }
    }

    /// Fetches and gives the commit that a branch, a tag, or a commit id that may be cut short means now. A tag wins
    /// over a branch of the same name.
    ///
    /// # Errors
    /// When the repository cannot be reached or has no such reference.
    pub fn resolve(&self, reference: &str) -> Result<CommitId, GitError> {
        if let Some(commit) = CommitId::parse(reference) {
            self.fetch_commit(&commit)?;
            return Ok(commit);
        }
        if !is_reference(reference) {
            return Err(GitError::Reference { reference: reference.chars().take(200).collect() });
        }
        let _lock = self.lock()?;
        self.fetch_all(reference)?;
        let mut candidates = vec![format!("refs/tags/{reference}"), format!("refs/heads/{reference}")];
        // Seven digits are what git itself cuts ids to.
        if reference.len() >= 7 && reference.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            candidates.push(reference.to_owned());
        }
        for candidate in candidates {
            let mut rev_parse = self.git();
            rev_parse.args(["rev-parse", "--verify", "--quiet", "--end-of-options"]);
            rev_parse.arg(format!("{candidate}^{{commit}}"));
            match command::run(rev_parse, LOCAL_TIME_LIMIT) {
                Ok(answer) => {
                    if let Some(commit) = CommitId::parse(answer.trim()) {
                        return Ok(commit);
                    }
                }
                Err(CommandError::Failed { .. }) => {}
                Err(source) => return Err(self.local_error("look a reference up", source)),
            }
        }
        Err(GitError::Unknown { what: reference.to_owned(), url: redacted(&self.url) })
    }

    /// Seconds since 1970 at which a commit that is in the mirror was committed.
    ///
    /// # Errors
    /// When the mirror cannot be read.
    pub fn commit_time_seconds(&self, commit: &CommitId) -> Result<i64, GitError> {
        let mut show = self.git();
        show.args(["log", "-1", "--format=%ct", "--end-of-options", commit.as_str()]);
        let answer = self.local("read the time of a commit", show)?;
        answer.trim().parse().map_err(|_| GitError::Unknown {
            what: format!("the time of {commit}"),
            url: redacted(&self.url),
        })
    }

    /// Writes the files of a commit that is in the mirror to `folder`, which must be empty or missing.
    ///
    /// # Errors
    /// When the folder holds something, or cannot be written.
    pub fn export(&self, commit: &CommitId, folder: &Path) -> Result<(), GitError> {
        self.export_folder(commit, "", folder)
    }

    /// Writes what a commit that is in the mirror has below the folder `part`, and nothing else, to `folder`/`part`;
    /// `folder` must be empty or missing. An empty `part` is the whole commit.
    ///
    /// A repository of thousands of recipes is much larger than the one that is built.
    ///
    /// # Errors
    /// When the folder holds something, or cannot be written; when the commit has no such folder.
    pub fn export_folder(&self, commit: &CommitId, part: &str, folder: &Path) -> Result<(), GitError> {
        let folder_error = |source| GitError::Folder { path: folder.to_path_buf(), source };
        fs::create_dir_all(folder).map_err(folder_error)?;
        if fs::read_dir(folder).map_err(folder_error)?.next().is_some() {
            return Err(GitError::NotEmpty { path: folder.to_path_buf() });
        }
        let folder = fs::canonicalize(folder).map_err(folder_error)?;
        let scratch =
            tempfile::tempdir().map_err(|source| GitError::Folder { path: std::env::temp_dir(), source })?;
        let with_index = || {
            let mut command = self.git();
            command.env("GIT_INDEX_FILE", scratch.path().join("index")).arg("--work-tree").arg(&folder);
            command.current_dir(&folder);
            command
        };
        let mut read_tree = with_index();
        match part {
            "" => read_tree.args(["read-tree", commit.as_str()]),
            part => read_tree.args(["read-tree", &format!("--prefix={part}/"), &format!("{commit}:{part}")]),
        };
        if let Err(error) = self.local("read a commit", read_tree) {
            return Err(match part.is_empty() || self.has(&format!("{commit}:{part}"))? {
                true => error,
                false => {
                    let what = format!("the folder {part} in {commit}");
                    GitError::Unknown { what, url: redacted(&self.url) }
                }
            });
        }
        let mut checkout = with_index();
        checkout.args(["checkout-index", "--all", "--force"]);
        self.local("export a commit", checkout)?;
        Ok(())
    }

    /// Whether the object is there that this means.
    fn has(&self, object: &str) -> Result<bool, GitError> {
        let mut cat_file = self.git();
        cat_file.args(["cat-file", "-e", object]);
        match command::run(cat_file, LOCAL_TIME_LIMIT) {
            Ok(_) => Ok(true),
            Err(CommandError::Failed { .. }) => Ok(false),
            Err(source) => Err(self.local_error("look a commit up", source)),
        }
    }

    fn fetch_all(&self, what: &str) -> Result<(), GitError> {
        self.fetch(&["+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"], what)
    }

    fn fetch(&self, refspecs: &[&str], what: &str) -> Result<(), GitError> {
        let mut fetch = self.git();
        fetch.args(["fetch", "--quiet", "--no-tags", "--prune", "--no-recurse-submodules", "--no-auto-gc"]);
        fetch.args(["--no-write-fetch-head", "--"]).arg(&self.url).args(refspecs);
        command::run(fetch, self.fetch_time_limit).map(drop).map_err(|source| GitError::Fetch {
            what: what.to_owned(),
            url: redacted(&self.url),
            source: without_credentials(source, &self.url),
        })
    }

    fn git(&self) -> Command {
        let mut command = git();
        command.arg("--git-dir").arg(&self.path);
        command
    }

    fn local(&self, action: &'static str, command: Command) -> Result<String, GitError> {
        command::run(command, LOCAL_TIME_LIMIT).map_err(|source| self.local_error(action, source))
    }

    fn local_error(&self, action: &'static str, source: CommandError) -> GitError {
        GitError::Local { action, url: redacted(&self.url), source }
    }

    /// One writer per mirror.
    fn lock(&self) -> Result<fs::File, GitError> {
        let path = self.path.with_extension("lock");
        let locked = fs::File::create(&path).and_then(|file| file.file().lock().map(|()| file));
        locked.map_err(|source| GitError::Folder { path, source })
    }
}

/// `git` as it is run here: no questions, no hooks, no other transports, no background work, bytes as committed.
fn git() -> Command {
    let mut command = Command::new("git");
    for name in [
        "GIT_DIR",
        "GIT_WORK_TREE",
        "GIT_INDEX_FILE",
        "GIT_OBJECT_DIRECTORY",
        "GIT_ALTERNATE_OBJECT_DIRECTORIES",
        "GIT_COMMON_DIR",
        "GIT_NAMESPACE",
        "GIT_CEILING_DIRECTORIES",
    ] {
        // Set when we run below a git hook, and then of the wrong repository.
        command.env_remove(name);
    }
    command.env("GIT_TERMINAL_PROMPT", "0").env("GIT_ASKPASS", "true").env("GIT_ALLOW_PROTOCOL", PROTOCOLS);
    if std::env::var_os("GIT_SSH_COMMAND").is_none() {
        command.env("GIT_SSH_COMMAND", "ssh -oBatchMode=yes");
    }
    for setting in [
        "core.hooksPath=/dev/null",
        "core.autocrlf=false",
        "core.fsmonitor=false",
        "core.symlinks=true",
        "gc.auto=0",
        "maintenance.auto=false",
        // Below 1 kB/s for a minute is given up, as in the HTTP client.
        "http.lowSpeedLimit=1000",
        "http.lowSpeedTime=60",
    ] {
        command.args(["-c", setting]);
    }
    command
}

/// Whether a git address may be fetched from.
///
/// # Errors
/// Says why not.
pub fn check_git_address(url: &str) -> Result<(), &'static str> {
    if url.is_empty() || url.len() > NAME_BYTES_MAX {
        return Err("it is empty or too long");
    }
    if url.starts_with('-') {
        return Err("it begins like an option");
    }
    if url.chars().any(|character| character.is_control() || character.is_whitespace()) {
        return Err("it holds a blank or a control character");
    }
    if url.starts_with('/') {
        return Ok(());
    }
    match url.split_once("://") {
        Some(("file", path)) if !path.starts_with('/') => Err("file: needs an absolute path"),
        // A host that begins with a dash becomes an option of ssh.
        Some(("https" | "http" | "ssh" | "git" | "file", rest)) => {
            let host = rest.split('/').next().unwrap_or_default();
            let host = host.rsplit('@').next().unwrap_or_default();
            if rest.starts_with('-') || host.starts_with('-') {
                Err("its host begins like an option")
            } else {
                Ok(())
            }
        }
        _ => Err("only https:, http:, ssh:, git:, file: and absolute paths are fetched"),
    }
}

/// The rules of git-check-ref-format that matter on a command line and in a refspec.
fn is_reference(reference: &str) -> bool {
    let forbidden = |character: char| {
        character.is_control() || character.is_whitespace() || "~^:?*[\\".contains(character)
    };
    !reference.is_empty()
        && reference.len() <= NAME_BYTES_MAX
        && !reference.starts_with(['-', '+', '/', '.'])
        && !reference.ends_with(['/', '.'])
        && !reference.contains("..")
        && !reference.contains("@{")
        && !reference.contains("//")
        && !reference.chars().any(forbidden)
}

/// A name that a person recognises and that no two addresses share.
fn mirror_name(url: &str) -> String {
    let last = url.trim_end_matches('/').rsplit(['/', ':']).next().unwrap_or_default();
    let readable: String = last
        .trim_end_matches(".git")
        .chars()
        .filter(|letter| letter.is_ascii_alphanumeric() || "-_".contains(*letter))
        .take(40)
        .collect();
    format!("{readable}-{}.git", Digest::of(url.as_bytes()))
}

/// Git repeats the address in its messages.
fn without_credentials(error: CommandError, url: &str) -> CommandError {
    let shown = redacted(url);
    match error {
        CommandError::Failed { program, status, message } => {
            CommandError::Failed { program, status, message: message.replace(url, &shown) }
        }
        CommandError::TimeLimit { program, time_limit, message } => {
            CommandError::TimeLimit { program, time_limit, message: message.replace(url, &shown) }
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_could_run_something_are_refused() {
        fn check(url: &str, expect: bool) {
            assert_eq!(check_git_address(url).is_ok(), expect, "{url}");
        }
        check("https://host/x.git", true);
        check("ssh://git@host/x.git", true);
        check("file:///srv/x", true);
        check("/srv/x", true);
        check("ext::sh -c true", false);
        check("ext::sh", false);
        check("--upload-pack=touch", false);
        check("ssh://-oProxyCommand=x/y", false);
        check("ssh://user@-oProxyCommand=x/y", false);
        check("relative/path", false);
        check("file://relative", false);
        check("https://host/a\nb", false);
        check("", false);
    }

    #[test]
    fn references_that_mean_something_else_are_refused() {
        fn check(reference: &str, expect: bool) {
            assert_eq!(is_reference(reference), expect, "{reference}");
        }
        check("main", true);
        check("v1.0/rc-1", true);
        check("--all", false);
        check("+main", false);
        check("main:evil", false);
        check("a..b", false);
        check("HEAD@{1}", false);
        check("a b", false);
        check("", false);
    }

    #[test]
    fn two_hosts_never_share_a_mirror() {
        let (one, other) = (mirror_name("https://a/x/y.git"), mirror_name("https://b/x/y.git"));
        assert_ne!(one, other);
        assert!(one.starts_with("y-") && !one.contains('/'));
        assert!(!mirror_name("https://a/..").contains(".."));
    }

    #[test]
    fn only_full_ids_are_commits() {
        assert!(CommitId::parse(&"a1".repeat(20)).is_some());
        assert!(CommitId::parse(&"a1".repeat(32)).is_some());
        assert!(CommitId::parse("a1b2c3d").is_none());
        assert!(CommitId::parse(&"--".repeat(20)).is_none());
    }
}
