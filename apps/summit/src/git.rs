//! Reads recipes out of a git branch, without a working copy.
//!
//! A bare mirror holds just the branch that is watched. The ordinary `git` does the work; it may ask nothing, run no
//! hook, and take no longer than a limit. What it prints is bounded.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use fault::{Fault, Kind};
use fetch::bare;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{ChildStdout, Command};
use tokio::time::timeout;

/// A fetch of a large recipe repository over a slow line. A hung server is given up and asked again.
const FETCH_TIME_LIMIT: Duration = Duration::from_secs(300);

/// Work on our own disk.
const LOCAL_TIME_LIMIT: Duration = Duration::from_secs(120);

/// Listing of a tree: some 150 bytes for each of 300,000 files, a hundred times the recipe repository of AerynOS.
const LISTING_SIZE_BYTES_MAX: u64 = 48 << 20;

/// Text of an error that is kept.
const ERROR_SIZE_BYTES_MAX: u64 = 8 << 10;

/// Name of the watched branch in the mirror, whatever it is called there.
const WATCHED: &str = "refs/heads/watched";

/// A bare repository that follows one branch.
#[derive(Debug, Clone)]
pub(crate) struct Mirror {
    path: PathBuf,
    url: String,
    branch: String,
}

/// A commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Commit {
    /// 40 or 64 hexadecimal digits.
    pub id: String,
    /// When it was written, in seconds since 1970.
    pub time_seconds: u64,
}

/// A file of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TreeFile {
    /// Its path.
    pub path: String,
    /// The object that is its content.
    pub object: String,
    /// Its size.
    pub size_bytes: u64,
    /// What names the content of its folder.
    pub folder: String,
}

/// Why the recipes cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    /// `git` cannot be run.
    #[error("cannot run git")]
    Run {
        /// Why.
        source: io::Error,
    },
    /// The folder of the mirror cannot be used.
    #[error("cannot use the mirror {path:?}", path = path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// `git` took too long.
    #[error("cannot {action} of {url}: git took longer than {} seconds", limit.as_secs())]
    Timeout {
        /// What was to be done.
        action: &'static str,
        /// The repository.
        url: String,
        /// How long it was waited.
        limit: Duration,
    },
    /// `git` refused.
    #[error("cannot {action} of {url}: {message}")]
    Failed {
        /// What was to be done.
        action: &'static str,
        /// The repository.
        url: String,
        /// What git said.
        message: String,
    },
    /// `git` printed what it never prints, or too much.
    #[error("cannot {action} of {url}: {why}")]
    Answer {
        /// What was to be done.
        action: &'static str,
        /// The repository.
        url: String,
        /// What is wrong with it.
        why: String,
    },
}

impl Fault for GitError {
    fn kind(&self) -> Kind {
        match self {
            GitError::Answer { .. } => Kind::Damaged,
            GitError::Run { .. }
            | GitError::Folder { .. }
            | GitError::Timeout { .. }
            | GitError::Failed { .. } => Kind::Unavailable,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            GitError::Run { source } if source.kind() == io::ErrorKind::NotFound => {
                vec!["install git, for example: apt-get install git".into()]
            }
            GitError::Failed { url, .. } => vec![format!("try it by hand: git ls-remote {url}")],
            _ => Vec::new(),
        }
    }
}

impl Mirror {
    /// The mirror at `path` of `branch` of the repository at `url`.
    #[must_use]
    pub(crate) fn new(path: &Path, url: &str, branch: &str) -> Self {
        Self { path: path.to_path_buf(), url: url.to_owned(), branch: branch.to_owned() }
    }

    /// Fetches what is new, and says where the branch is.
    ///
    /// # Errors
    /// When the repository cannot be reached or has no such branch.
    pub(crate) async fn fetch(&self) -> Result<Commit, GitError> {
        const ACTION: &str = "fetch the branch";
        let failed = |source| GitError::Folder { path: self.path.clone(), source };
        if let Some(draft) = bare::prepare(&self.path).map_err(failed)? {
            let mut init = Command::new("git");
            init.args(["init", "--quiet", "--bare", "--template="]).arg(&draft);
            self.run(init, "make the mirror", LOCAL_TIME_LIMIT).await?;
            bare::put_in_place(&draft, &self.path).map_err(failed)?;
        }
        let mut fetch = self.git();
        fetch.args([
            "fetch",
            "--quiet",
            "--no-tags",
            "--force",
            "--no-auto-gc",
            "--no-write-fetch-head",
            "--",
        ]);
        fetch.arg(&self.url).arg(format!("+refs/heads/{}:{WATCHED}", self.branch));
        self.run(fetch, ACTION, FETCH_TIME_LIMIT).await?;
        self.head().await
    }

    /// Where the branch was when it was fetched last.
    ///
    /// # Errors
    /// When it never was.
    pub(crate) async fn head(&self) -> Result<Commit, GitError> {
        const ACTION: &str = "find the commit";
        let mut log = self.git();
        log.args(["log", "-1", "--format=%H %at", WATCHED, "--"]);
        let answer = self.run(log, ACTION, LOCAL_TIME_LIMIT).await?;
        let answer = String::from_utf8_lossy(&answer);
        let parsed = answer.trim().split_once(' ').and_then(|(id, time)| {
            let is_id = matches!(id.len(), 40 | 64) && id.bytes().all(|digit| digit.is_ascii_hexdigit());
            is_id.then_some(Commit { id: id.to_owned(), time_seconds: time.parse().unwrap_or(0) })
        });
        parsed.ok_or_else(|| self.answer(ACTION, format!("{:?} is no commit", answer.trim())))
    }

    /// Every file of `commit` whose name `wanted` wants.
    ///
    /// # Errors
    /// When the mirror is damaged or has too many files.
    pub(crate) async fn files(
        &self,
        commit: &Commit,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<Vec<TreeFile>, GitError> {
        let mut list = self.git();
        list.args(["ls-tree", "-r", "-t", "-z", "--long", "--full-tree", &commit.id]);
        let listing = self.run(list, "list the files", LOCAL_TIME_LIMIT).await?;
        Ok(files_of(&listing, wanted))
    }

    /// Reads the objects, in their order. Each is as large as the listing said.
    ///
    /// # Errors
    /// When the mirror is damaged.
    pub(crate) async fn read(&self, files: &[&TreeFile]) -> Result<Vec<Vec<u8>>, GitError> {
        const ACTION: &str = "read the recipes";
        let mut batch = self.git();
        batch.args(["cat-file", "--batch"]).kill_on_drop(true);
        batch.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = batch.spawn().map_err(|source| GitError::Run { source })?;
        let (Some(mut input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(self.answer(ACTION, "git has no input or output"));
        };
        let names: String = files.iter().map(|file| format!("{}\n", file.object)).collect();
        // Asking and reading side by side: with one after the other both would wait for ever on a full pipe.
        let ask = async move {
            input.write_all(names.as_bytes()).await?;
            input.shutdown().await
        };
        let mut output = BufReader::new(output);
        let answer = async {
            let mut contents = Vec::with_capacity(files.len());
            for file in files {
                contents.push(read_object(&mut output, file).await?);
            }
            Ok::<_, io::Error>(contents)
        };
        let both = async { tokio::try_join!(ask, answer).map(|((), contents)| contents) };
        match timeout(LOCAL_TIME_LIMIT, both).await {
            Ok(Ok(contents)) => Ok(contents),
            Ok(Err(error)) => Err(self.answer(ACTION, error.to_string())),
            Err(_elapsed) => Err(self.too_long(ACTION, LOCAL_TIME_LIMIT)),
        }
    }

    fn git(&self) -> Command {
        let mut command = Command::new("git");
        command.arg("--git-dir").arg(&self.path);
        command
    }

    async fn run(
        &self,
        mut command: Command,
        action: &'static str,
        limit: Duration,
    ) -> Result<Vec<u8>, GitError> {
        for variable in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY"] {
            // Set when we run below a git hook, and then of another repository.
            command.env_remove(variable);
        }
        command.env("GIT_TERMINAL_PROMPT", "0").env("GIT_ASKPASS", "true");
        command.env("GIT_ALLOW_PROTOCOL", "https:http:ssh:git:file");
        if std::env::var_os("GIT_SSH_COMMAND").is_none() {
            command.env("GIT_SSH_COMMAND", "ssh -oBatchMode=yes");
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().map_err(|source| GitError::Run { source })?;
        let (Some(output), Some(errors)) = (child.stdout.take(), child.stderr.take()) else {
            return Err(self.answer(action, "git has no output"));
        };
        let all = async {
            let (output, errors) = tokio::try_join!(
                bounded(output, LISTING_SIZE_BYTES_MAX),
                bounded(errors, ERROR_SIZE_BYTES_MAX)
            )?;
            Ok::<_, io::Error>((output, errors, child.wait().await?))
        };
        let (output, errors, status) = match timeout(limit, all).await {
            Ok(result) => result.map_err(|source| GitError::Run { source })?,
            Err(_elapsed) => return Err(self.too_long(action, limit)),
        };
        if !status.success() {
            let message = String::from_utf8_lossy(&errors.bytes).trim().replace('\n', "; ");
            let message = if message.is_empty() { status.to_string() } else { message };
            return Err(GitError::Failed { action, url: redacted(&self.url), message });
        }
        if output.cut {
            return Err(self.answer(action, format!("git printed more than {LISTING_SIZE_BYTES_MAX} bytes")));
        }
        Ok(output.bytes)
    }

    fn answer(&self, action: &'static str, why: impl Into<String>) -> GitError {
        GitError::Answer { action, url: redacted(&self.url), why: why.into() }
    }

    fn too_long(&self, action: &'static str, limit: Duration) -> GitError {
        GitError::Timeout { action, url: redacted(&self.url), limit }
    }
}

/// The address without a name and a password.
fn redacted(url: &str) -> String {
    match url.split_once("://") {
        Some((scheme, rest)) => match rest.split_once('@') {
            Some((user, host)) if !user.contains('/') => format!("{scheme}://{host}"),
            _ => url.to_owned(),
        },
        None => url.to_owned(),
    }
}

struct Bounded {
    bytes: Vec<u8>,
    cut: bool,
}

/// Reads everything and keeps the first `limit` bytes, so that the writer never waits.
async fn bounded(mut source: impl tokio::io::AsyncRead + Unpin, limit: u64) -> io::Result<Bounded> {
    let mut bytes = Vec::new();
    (&mut source).take(limit).read_to_end(&mut bytes).await?;
    let rest = tokio::io::copy(&mut source, &mut tokio::io::sink()).await?;
    Ok(Bounded { bytes, cut: rest > 0 })
}

/// One answer of `cat-file --batch`: a line `OBJECT blob SIZE`, the bytes, a line end.
async fn read_object(output: &mut BufReader<ChildStdout>, file: &TreeFile) -> io::Result<Vec<u8>> {
    let mut line = String::new();
    output.take(256).read_line(&mut line).await?;
    if line.trim_end() != format!("{} blob {}", file.object, file.size_bytes) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("{}: unexpected {:?}", file.path, line.trim()),
        ));
    }
    let size = usize::try_from(file.size_bytes).map_err(io::Error::other)?;
    let mut bytes = vec![0; size + 1];
    output.read_exact(&mut bytes).await?;
    bytes.pop();
    Ok(bytes)
}

/// Understands `MODE TYPE OBJECT SIZE<tab>PATH<nul>`. Symlinks and submodules are no files of ours; paths that are not
/// UTF-8 belong to no recipe.
fn files_of(listing: &[u8], wanted: impl Fn(&str) -> bool) -> Vec<TreeFile> {
    let mut folders = std::collections::HashMap::new();
    let mut files = Vec::new();
    for entry in listing.split(|&byte| byte == 0) {
        let Some((head, path)) = std::str::from_utf8(entry).ok().and_then(|entry| entry.split_once('\t'))
        else {
            continue;
        };
        let fields: Vec<&str> = head.split_ascii_whitespace().collect();
        let [mode, kind, object, size] = fields[..] else { continue };
        match kind {
            "tree" => {
                folders.insert(path, object);
            }
            "blob" if mode.starts_with("100") && wanted(path) => {
                let Ok(size_bytes) = size.parse() else { continue };
                let folder =
                    path.rsplit_once('/').and_then(|(folder, _)| folders.get(folder)).unwrap_or(&object);
                files.push(TreeFile {
                    path: path.to_owned(),
                    object: object.to_owned(),
                    size_bytes,
                    folder: (*folder).to_owned(),
                });
            }
            _ => {}
        }
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listings_are_understood_and_oddities_left_out() {
        let listing = b"040000 tree t1      -\tn\x00040000 tree t2      -\tn/nano\x00100644 blob b1     120\tn/nano/stone.yaml\0\
            120000 blob b2      10\tn/link/stone.yaml\x00160000 commit c1      -\tsub/stone.yaml\0\
            100755 blob b3       7\tstone.yaml\x00100644 blob b4       7\tREADME.md\0garbage\x00100644 blob b5 x\tz/stone.yaml\0\
            100644 blob b6       7\t\xff/stone.yaml\0";
        let files = files_of(listing, |path| path.ends_with("stone.yaml"));
        let found: Vec<_> =
            files.iter().map(|file| (file.path.as_str(), file.size_bytes, file.folder.as_str())).collect();
        assert_eq!(found, [("n/nano/stone.yaml", 120, "t2"), ("stone.yaml", 7, "b3")]);
    }

    #[test]
    fn passwords_are_not_shown() {
        for (url, expect) in [
            ("https://me:secret@host/x.git", "https://host/x.git"),
            ("https://host/a@b.git", "https://host/a@b.git"),
            ("/srv/x.git", "/srv/x.git"),
        ] {
            assert_eq!(redacted(url), expect);
        }
    }
}
