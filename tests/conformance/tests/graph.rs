//! The build graph of all real recipes against facts that another program found out about them.
//!
//! Build edges, run edges, knots and levels agree exactly. One difference is wanted: the facts count a package as
//! offered only when a manifest lists it, and two run dependencies name packages that no manifest lists. We count a
//! package also as offered when its recipe yields it by template (`NAME-devel`, `NAME-dbginfo` …), because a recipe
//! without a manifest must be usable, and because packages for debugging are in no manifest at all. That changes no edge
//! here: one is needed by its own recipe, and the user of the other needs the same recipe anyway.

#![expect(clippy::unwrap_used, reason = "a test's helpers fail by panicking, as the tests themselves do")]

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::OnceLock;

use farm::catalogue::Catalogue;
use farm::graph::{Graph, HostProvides, Supply};
use farm::published::Published;
use package::Dependency;
use serde_json::Value;

/// The data pack: what is read of it, once for all tests.
struct Pack {
    catalogue: Catalogue,
    facts: Value,
}

impl Pack {
    fn open() -> Option<&'static Self> {
        static PACK: OnceLock<Option<Pack>> = OnceLock::new();
        PACK.get_or_init(Self::unpack).as_ref()
    }

    fn unpack() -> Option<Self> {
        let path = testkit::data()?.join("recipes-dev.tar.zst");
        let Ok(file) = fs_err::File::open(&path) else {
            testkit::skip("recipes-dev.tar.zst");
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        let mut archive = tar::Archive::new(zstd::Decoder::new(file).unwrap());
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let path = entry.path().unwrap().to_string_lossy().into_owned();
            if [".bin", "/stone.yaml", "/graph.json"].iter().any(|ending| path.ends_with(ending)) {
                entry.unpack_in(folder.path()).unwrap();
            }
        }
        let top = folder.path().join("recipes-dev");
        let facts = fs_err::read(top.join("facts/graph.json")).unwrap();
        Some(Self {
            catalogue: summit::recipes::read_folder(&top.join("recipes"), "x86_64").unwrap(),
            facts: serde_json::from_slice(&facts).unwrap(),
        })
    }

    /// Folders of the recipes by their number in the facts.
    fn folders(&self) -> Vec<String> {
        let recipes = self.facts["recipes"].as_array().unwrap();
        recipes.iter().map(|recipe| recipe["dir"].as_str().unwrap().to_owned()).collect()
    }

    fn edges(&self, kind: &str) -> BTreeSet<(String, String)> {
        let folders = self.folders();
        let folder = |number: &Value| folders[usize::try_from(number.as_u64().unwrap()).unwrap()].clone();
        let edges = self.facts["edges"][kind].as_array().unwrap();
        edges.iter().map(|edge| (folder(&edge[0]), folder(&edge[1]))).collect()
    }

    fn texts(value: &Value) -> BTreeSet<String> {
        value.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
    }
}

fn graph(catalogue: &Catalogue) -> Graph {
    let nothing = Published::default();
    Graph::new(catalogue, &Supply { own: &nothing, others: &[], host: HostProvides::Nothing })
}

fn folder(path: &str) -> String {
    path.trim_end_matches("/stone.yaml").to_owned()
}

#[test]
fn the_graph_agrees_with_the_facts() {
    let Some(pack) = Pack::open() else { return };
    let catalogue = &pack.catalogue;
    assert_eq!(catalogue.unreadable(), []);
    let folders: BTreeSet<String> = catalogue.recipes().iter().map(|entry| folder(&entry.path)).collect();
    assert_eq!(folders, pack.folders().into_iter().collect());

    let graph = graph(catalogue);
    let at = |id| folder(graph.path(id));
    let build: BTreeSet<(String, String)> =
        graph.recipes().flat_map(|id| graph.needs(id).map(move |needed| (at(id), at(needed)))).collect();
    assert_eq!(build, pack.edges("build"));
    assert_eq!(graph.edge_count(), build.len());
    let run: BTreeSet<(String, String)> =
        graph.recipes().flat_map(|id| graph.run_needs(id).map(move |needed| (at(id), at(needed)))).collect();
    assert_eq!(run, pack.edges("runtime"));
    assert_eq!(graph.run_edge_count(), run.len());

    let knots: BTreeSet<BTreeSet<String>> =
        graph.knots().map(|knot| knot.iter().map(|&id| at(id)).collect()).collect();
    let expect = pack.facts["sccs"]["build"].as_array().unwrap().iter().map(Pack::texts).collect();
    assert_eq!(knots, expect);
    let mut widths = vec![0; graph.level_count()];
    graph.recipes().for_each(|id| widths[graph.level(id)] += 1);
    let expect: Vec<u64> = serde_json::from_value(pack.facts["report"]["build"]["levels"].clone()).unwrap();
    assert_eq!(widths, expect);
}

#[test]
fn no_edge_of_the_real_graph_is_lost_in_its_order() {
    let Some(pack) = Pack::open() else { return };
    let graph = graph(&pack.catalogue);
    let place: BTreeMap<_, _> =
        graph.build_order().iter().enumerate().map(|(place, &id)| (id, place)).collect();
    assert_eq!(place.len(), graph.len());
    let mut deferred = 0;
    for id in graph.recipes() {
        for needed in graph.needs(id) {
            let in_order = place[&needed] < place[&id];
            assert_eq!(graph.is_deferred(id, needed), !in_order, "{} {}", graph.path(id), graph.path(needed));
            assert!(in_order || graph.component(id) == graph.component(needed));
            deferred += usize::from(!in_order);
        }
    }
    let inner: usize = graph
        .knots()
        .flatten()
        .map(|&id| graph.needs(id).filter(|&needed| graph.component(needed) == graph.component(id)).count())
        .sum();
    // A good order breaks few: the members in the order of their names would break about half.
    assert!(deferred * 10 < inner, "{deferred} of {inner} edges inside knots are deferred");
}

#[test]
fn what_nobody_offers_is_what_the_facts_say() {
    let Some(pack) = Pack::open() else { return };
    let catalogue = &pack.catalogue;
    let graph = graph(catalogue);
    assert_eq!(graph.recipes().find(|&id| !graph.unresolved(id).is_empty()), None);
    assert_eq!(pack.facts["unresolved_build"].as_object().unwrap().len(), 0);

    let offered: HashSet<Dependency> = catalogue.recipes().iter().flat_map(|entry| entry.offers()).collect();
    let listed: HashSet<Dependency> = catalogue
        .recipes()
        .iter()
        .filter_map(|entry| entry.manifest.as_ref())
        .flat_map(|manifest| {
            manifest.provides.iter().cloned().chain(manifest.packages.iter().map(Dependency::name))
        })
        .collect();
    let mut nobody: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut by_template: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for entry in catalogue.recipes() {
        for dependency in entry.manifest.iter().flat_map(|manifest| &manifest.depends) {
            if listed.contains(dependency) {
                continue;
            }
            let list = if offered.contains(dependency) { &mut by_template } else { &mut nobody };
            list.entry(dependency.short()).or_default().insert(folder(&entry.path));
        }
    }
    let row = |name: &str, folder: &str| (name.to_owned(), BTreeSet::from([folder.to_owned()]));
    assert_eq!(
        by_template,
        [row("glibc-dbginfo", "v/valgrind"), row("mariadb-devel", "m/mariadb")].into(),
        "what we know better, see above"
    );
    nobody.append(&mut by_template);
    let facts = pack.facts["unresolved_runtime"].as_object().unwrap();
    let facts: BTreeMap<String, BTreeSet<String>> =
        facts.iter().map(|(name, users)| (name.clone(), Pack::texts(users))).collect();
    assert_eq!(nobody, facts);
}
