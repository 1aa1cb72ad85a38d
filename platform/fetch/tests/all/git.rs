use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use fault::{Fault, Kind};
use fetch::{CommitId, GitError, GitMirrors};

/// A repository with two commits on `main` and a tag on the first.
struct Repository {
    folder: tempfile::TempDir,
    first: CommitId,
    second: CommitId,
}

impl Repository {
    fn new() -> Option<Repository> {
        if Command::new("git").arg("--version").output().is_err() {
            testkit::skip("git");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        git(folder.path(), &["init", "--quiet", "-b", "main", "."]);
        fs_err::write(folder.path().join("a"), "one\r\n").unwrap();
        fs_err::write(folder.path().join(".gitattributes"), "hidden export-ignore\na text=auto\n").unwrap();
        fs_err::write(folder.path().join("hidden"), "kept").unwrap();
        std::os::unix::fs::symlink("a", folder.path().join("link")).unwrap();
        let first = commit(folder.path(), "first");
        git(folder.path(), &["tag", "v1"]);
        fs_err::create_dir(folder.path().join("sub")).unwrap();
        fs_err::write(folder.path().join("sub/b"), "two").unwrap();
        let second = commit(folder.path(), "second");
        Some(Repository { folder, first, second })
    }

    fn url(&self) -> String {
        format!("file://{}", self.folder.path().display())
    }
}

fn git(folder: &Path, arguments: &[&str]) -> String {
    let output = Command::new("git")
        .args(["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgSign=false"])
        .args(arguments)
        .current_dir(folder)
        .env("GIT_COMMITTER_DATE", "1700000000 +0000")
        .output()
        .unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn commit(folder: &Path, message: &str) -> CommitId {
    git(folder, &["add", "-A"]);
    git(folder, &["commit", "--quiet", "-m", message]);
    CommitId::parse(&git(folder, &["rev-parse", "HEAD"])).unwrap()
}

fn files(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs_err::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_commit_is_fetched_and_exported_exactly() {
    let Some(repository) = Repository::new() else { return };
    let root = tempfile::tempdir().unwrap();
    let mirror = GitMirrors::new(&root.path().join("git")).mirror(&repository.url()).unwrap();
    mirror.fetch_commit(&repository.first).unwrap();
    let out: PathBuf = root.path().join("out");
    mirror.export(&repository.first, &out).unwrap();
    assert_eq!(
        files(&out),
        [".gitattributes", "a", "hidden", "link"],
        "export-ignore is for releases, not for us"
    );
    assert_eq!(fs_err::read_link(out.join("link")).unwrap(), Path::new("a"));
    assert_eq!(mirror.commit_time_seconds(&repository.first).unwrap(), 1_700_000_000);

    let again = mirror.export(&repository.first, &out).unwrap_err();
    assert!(matches!(again, GitError::NotEmpty { .. }), "{again:?}");

    mirror.fetch_commit(&repository.second).unwrap();
    let other = root.path().join("other");
    mirror.export(&repository.second, &other).unwrap();
    assert_eq!(fs_err::read_to_string(other.join("sub/b")).unwrap(), "two");
}

#[test]
fn one_folder_of_a_commit_is_exported_alone() {
    let Some(repository) = Repository::new() else { return };
    let root = tempfile::tempdir().unwrap();
    let mirror = GitMirrors::new(&root.path().join("git")).mirror(&repository.url()).unwrap();
    mirror.fetch_commit(&repository.second).unwrap();
    let out = root.path().join("out");
    mirror.export_folder(&repository.second, "sub", &out).unwrap();
    assert_eq!((files(&out), files(&out.join("sub"))), (vec!["sub".to_owned()], vec!["b".to_owned()]));
    for missing in ["gone", "a", "../out"] {
        let other = root.path().join("other");
        let error = mirror.export_folder(&repository.second, missing, &other).unwrap_err();
        assert_eq!(matches!(error, GitError::Unknown { .. }), missing != "a", "{error:?}");
        assert!(files(&other).is_empty(), "{missing}");
    }
}

#[test]
fn a_held_commit_needs_no_upstream() {
    let Some(repository) = Repository::new() else { return };
    let root = tempfile::tempdir().unwrap();
    let mirror = GitMirrors::new(root.path()).mirror(&repository.url()).unwrap();
    mirror.fetch_commit(&repository.second).unwrap();
    fs_err::rename(repository.folder.path(), root.path().join("gone")).unwrap();
    mirror.fetch_commit(&repository.second).unwrap();
    mirror.fetch_commit(&repository.first).unwrap();
    fs_err::rename(root.path().join("gone"), repository.folder.path()).unwrap();
}

#[test]
fn references_are_resolved_to_what_they_are_now() {
    let Some(repository) = Repository::new() else { return };
    let root = tempfile::tempdir().unwrap();
    let mirror = GitMirrors::new(root.path()).mirror(&repository.url()).unwrap();
    assert_eq!(mirror.resolve("main").unwrap(), repository.second);
    assert_eq!(mirror.resolve("v1").unwrap(), repository.first);
    assert_eq!(mirror.resolve(&repository.first.as_str()[..8]).unwrap(), repository.first);
    fs_err::write(repository.folder.path().join("c"), "three").unwrap();
    let third = commit(repository.folder.path(), "third");
    assert_eq!(mirror.resolve("main").unwrap(), third);
    // A branch that was rewritten, and a folder where a branch was.
    git(repository.folder.path(), &["reset", "--quiet", "--hard", repository.first.as_str()]);
    assert_eq!(mirror.resolve("main").unwrap(), repository.first);
    git(repository.folder.path(), &["branch", "-m", "main", "main2/next"]);
    assert_eq!(mirror.resolve("main2/next").unwrap(), repository.first);
    let error = mirror.resolve("main").unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound, "{error}");
    assert!(matches!(mirror.resolve("--all").unwrap_err(), GitError::Reference { .. }));
}

#[test]
fn a_commit_that_is_not_there_is_named() {
    let Some(repository) = Repository::new() else { return };
    let root = tempfile::tempdir().unwrap();
    let mirror = GitMirrors::new(root.path()).mirror(&repository.url()).unwrap();
    let missing = CommitId::parse(&"ab".repeat(20)).unwrap();
    let error = mirror.fetch_commit(&missing).unwrap_err();
    assert!(matches!(error, GitError::Unknown { .. }), "{error:?}");
    assert!(error.to_string().contains(missing.as_str()), "{error}");
}

#[test]
fn a_repository_that_is_not_there_is_named() {
    let Some(_) = Repository::new() else { return };
    let root = tempfile::tempdir().unwrap();
    let mirror = GitMirrors::new(root.path()).mirror("file:///nowhere/x.git").unwrap();
    let error = mirror.resolve("main").unwrap_err();
    assert!(matches!(error, GitError::Fetch { .. }), "{error:?}");
    let refused = GitMirrors::new(root.path()).mirror("ext::sh -c 'touch /tmp/x'").unwrap_err();
    assert_eq!(refused.kind(), Kind::Input);
}

#[test]
fn a_server_that_never_answers_is_given_up() {
    let Some(_) = Repository::new() else { return };
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("git://{}/x", listener.local_addr().unwrap());
    let root = tempfile::tempdir().unwrap();
    let mirrors = GitMirrors::new(root.path()).with_fetch_time_limit(Duration::from_millis(300));
    let error = mirrors.mirror(&url).unwrap().resolve("main").unwrap_err();
    assert!(fault::chain(&error).join(" ").contains("took longer"), "{error:?}");
}

#[test]
fn exports_run_side_by_side() {
    let Some(repository) = Repository::new() else { return };
    let root = tempfile::tempdir().unwrap();
    std::thread::scope(|scope| {
        for index in 0..4 {
            let (repository, root) = (&repository, root.path());
            scope.spawn(move || {
                let mirror = GitMirrors::new(root).mirror(&repository.url()).unwrap();
                let commit = if index % 2 == 0 { &repository.first } else { &repository.second };
                mirror.fetch_commit(commit).unwrap();
                let out = root.join(format!("out{index}"));
                mirror.export(commit, &out).unwrap();
                assert_eq!(out.join("sub").exists(), index % 2 == 1);
            });
        }
    });
}
