//! A repository whose copies elsewhere help when it is away, and are set aside when they lie.

use std::path::Path;
use std::sync::Mutex;

use fs_err as fs;
use moss::{Materialise, MissingPolicy, Phase, Reporter, materialise};
use repository::RepositoryConfig;

use crate::packages::{Place, direct, package};
use crate::server::Server;

/// Keeps what a person is told.
#[derive(Default)]
struct Told(Mutex<Vec<String>>);

impl Reporter for Told {
    fn begin(&self, _phase: Phase, _total: u64) {}

    fn advance(&self, _phase: Phase, _amount: u64) {}

    fn end(&self, _phase: Phase) {}

    fn warn(&self, message: &str) {
        self.0.lock().unwrap().push(message.to_owned());
    }
}

fn get(folder: &Path, repository: RepositoryConfig) -> (String, Vec<String>) {
    let (target, told) = (folder.join("target"), Told::default());
    fs::create_dir(&target).unwrap();
    materialise(&Materialise {
        target: &target,
        repositories: &[repository],
        cache_dir: &folder.join("cache"),
        wanted: &["tool".parse().unwrap()],
        missing: MissingPolicy::Refuse,
        reporter: &told,
    })
    .unwrap();
    (fs::read_to_string(target.join("usr/share/tool")).unwrap(), told.0.into_inner().unwrap())
}

#[test]
fn what_the_repository_has_not_comes_from_a_mirror_that_tells_the_truth() {
    let place = Place::with(&[package("tool", 1).file("share/tool", "tool")]);
    let folder = tempfile::tempdir().unwrap();
    let (lying, empty) = (folder.path().join("lying"), folder.path().join("empty"));
    fs::create_dir(&lying).unwrap();
    fs::create_dir(&empty).unwrap();
    for entry in fs::read_dir(place.repository()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap();
        let bytes = fs::read(&path).unwrap();
        if name == "stone.index" {
            fs::write(empty.join(name), &bytes).unwrap();
        } else {
            fs::write(lying.join(name), vec![7; bytes.len()]).unwrap();
        }
    }
    let [repository, liar, good] =
        [empty, lying, place.repository().to_path_buf()].map(|tree| Server::serve(tree, None));
    let mut config = direct("main", format!("{}/stone.index", repository.address), 0);
    config.mirrors = vec![liar.address.clone(), format!("{}/", good.address)];
    let (text, told) = get(folder.path(), config);
    assert_eq!((text.as_str(), told.len()), ("tool", 2), "{told:?}");
    assert!(told[0].contains(&repository.address) && told[0].contains("404"), "{told:?}");
    assert!(told[1].contains(&format!("{} is set aside", liar.address)), "{told:?}");
}
