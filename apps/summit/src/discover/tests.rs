mod replay;

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use super::*;

/// A repository of recipes that tests commit to, and a mirror of it.
struct Repository {
    folder: TempDir,
}

impl Repository {
    fn new() -> Option<Self> {
        if !testkit::has_programs(&["git"]) {
            return None;
        }
        let this = Self { folder: tempfile::tempdir().unwrap() };
        this.git(&["init", "--quiet", "--initial-branch=main"]);
        Some(this)
    }

    fn git(&self, arguments: &[&str]) {
        let output = Command::new("git")
            .args(["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"])
            .args(arguments)
            .current_dir(self.folder.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    fn put(&self, path: &str, bytes: &[u8]) {
        let path = self.folder.path().join(path);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(path, bytes).unwrap();
    }

    fn commit(&self) {
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "-m", "c"]);
    }

    fn discoverer(&self, data: &Path, architecture: &str) -> Discoverer {
        let url = self.folder.path().to_str().unwrap();
        Discoverer::new(Mirror::new(&data.join("mirror"), url, "main"), architecture)
    }
}

fn recipe(name: &str, release: u64) -> Vec<u8> {
    format!("name: {name}\nversion: 1.0\nrelease: {release}\nhomepage: h\nlicense: MIT\nsummary: s\ndescription: d\n")
        .into_bytes()
}

async fn look(discoverer: &mut Discoverer) -> Catalogue {
    let commit = discoverer.mirror.fetch().await.unwrap();
    discoverer.discover(&commit).await.unwrap()
}

#[tokio::test]
async fn what_did_not_change_is_the_same_entry() {
    let Some(repository) = Repository::new() else { return };
    let data = tempfile::tempdir().unwrap();
    repository.put("n/nano/stone.yaml", &recipe("nano", 1));
    repository.put("n/nano/manifest.x86_64.bin", b"garbage");
    repository.put("z/zlib/stone.yaml", &recipe("zlib", 1));
    repository.put("b/bad/stone.yaml", b"name: bad\n");
    repository.commit();
    let mut discoverer = repository.discoverer(data.path(), "x86_64");
    let first = look(&mut discoverer).await;
    assert_eq!(first.recipes().len(), 2);
    assert_eq!(first.unreadable()[0].path, "b/bad/stone.yaml");

    repository.put("z/zlib/stone.yaml", &recipe("zlib", 2));
    // The same bytes in another place: read once, named by both.
    repository.put("b/worse/stone.yaml", b"name: bad\n");
    repository.commit();
    let second = look(&mut discoverer).await;
    assert!(Arc::ptr_eq(&first.recipes()[0], &second.recipes()[0]), "nano is not read again");
    assert_eq!(second.recipes()[1].release, 2);
    let bad: Vec<&str> = second.unreadable().iter().map(|file| file.path.as_str()).collect();
    assert_eq!(bad, ["b/bad/stone.yaml", "b/worse/stone.yaml"]);

    drop(first);
    discoverer.understood.forget();
    let known = discoverer.understood.lock();
    assert_eq!((known.recipes.len(), known.entries.len()), (3, 2), "what nobody needs is forgotten");
}

#[tokio::test]
async fn a_second_project_and_architecture_know_what_the_first_does() {
    let Some(repository) = Repository::new() else { return };
    let (data, other_data) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    repository.put("n/nano/stone.yaml", &recipe("nano", 1));
    repository.put("n/nano/manifest.aarch64.bin", b"garbage");
    repository.commit();
    let understood = Understood::default();
    let mut first = repository.discoverer(data.path(), "x86_64").sharing(understood.clone());
    let catalogue = look(&mut first).await;
    let mut same = repository.discoverer(other_data.path(), "x86_64").sharing(understood.clone());
    assert!(Arc::ptr_eq(&catalogue.recipes()[0], &look(&mut same).await.recipes()[0]));
    let mut other = repository.discoverer(data.path(), "aarch64").sharing(understood.clone());
    assert_eq!(look(&mut other).await.recipes()[0].source, "nano");
    assert!(Arc::ptr_eq(&first.held[0].0, &other.held[0].0), "only the manifest is read");
    drop((first, same, other, catalogue));
    understood.forget();
    assert!(understood.lock().recipes.is_empty());
}

#[tokio::test]
async fn a_moved_recipe_has_its_new_path() {
    let Some(repository) = Repository::new() else { return };
    let data = tempfile::tempdir().unwrap();
    repository.put("n/nano/stone.yaml", &recipe("nano", 1));
    repository.commit();
    let mut discoverer = repository.discoverer(data.path(), "x86_64");
    let before = look(&mut discoverer).await;
    repository.git(&["mv", "n", "e"]);
    repository.commit();
    let after = look(&mut discoverer).await;
    assert_eq!(after.recipes()[0].path, "e/nano/stone.yaml");
    assert_eq!(after.recipes()[0].content, before.recipes()[0].content);
}
