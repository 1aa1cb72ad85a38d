//! What the graph says, and that following changes says the same as drawing afresh.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::catalogue::tests::recipe;
use crate::catalogue::{Catalogue, ManifestEntry, RecipeEntry, Unreadable};
use crate::published::PublishedPackage;
use crate::published::tests::package;

pub(crate) fn supply(own: &Published, host: HostProvides) -> Supply<'_> {
    Supply { own, others: &[], host }
}

pub(crate) fn graph_of(recipes: &[RecipeEntry]) -> Graph {
    let catalogue = Catalogue::new(recipes.to_vec(), Vec::new());
    Graph::new(&catalogue, &supply(&Published::default(), HostProvides::Nothing))
}

fn id(graph: &Graph, source: &str) -> RecipeId {
    graph.by_source(source).unwrap()
}

fn sources(graph: &Graph, recipes: impl IntoIterator<Item = RecipeId>) -> Vec<String> {
    let mut names: Vec<String> = recipes.into_iter().map(|id| graph.source(id).to_owned()).collect();
    names.sort();
    names
}

fn needs(graph: &Graph, source: &str) -> Vec<String> {
    sources(graph, graph.needs(id(graph, source)))
}

fn manifest(release: u64, provides: &[&str], depends: &[&str]) -> Option<ManifestEntry> {
    Some(ManifestEntry {
        release,
        packages: std::collections::BTreeSet::new(),
        provides: provides.iter().map(|text| text.parse().unwrap()).collect(),
        depends: depends.iter().map(|text| text.parse().unwrap()).collect(),
    })
}

#[test]
fn edges_by_template_name_by_manifest_and_by_what_is_published() {
    let zlib = RecipeEntry { manifest: manifest(1, &["pkgconfig(zlib)"], &[]), ..recipe("zlib", &[]) };
    let recipes = [
        recipe("ncurses", &[]),
        zlib,
        recipe("xz", &[]),
        recipe("file", &["ncurses-devel", "pkgconfig(zlib)", "pkgconfig(liblzma)"]),
    ];
    let catalogue = Catalogue::new(recipes.to_vec(), Vec::new());
    let published = Published::new([package("xz-devel", "xz", 1, &["pkgconfig(liblzma)"])]);
    let graph = Graph::new(&catalogue, &supply(&published, HostProvides::Nothing));
    assert_eq!(needs(&graph, "file"), ["ncurses", "xz", "zlib"]);
    assert_eq!(graph.unresolved(id(&graph, "file")), []);
    assert_eq!(graph.edge_count(), 3);
    assert_eq!((graph.level(id(&graph, "file")), graph.level_count()), (1, 2));
    assert_eq!(sources(&graph, graph.needed_by(id(&graph, "xz"))), ["file"]);
    let because = graph.because(id(&graph, "file"), id(&graph, "zlib"));
    assert_eq!(because, ["pkgconfig(zlib)".parse().unwrap()]);
    let file = id(&graph, "file");
    assert_eq!(graph.recipe("f/file/stone.yaml"), Some(file));
    assert_eq!((graph.source(file), graph.path(file)), ("file", "f/file/stone.yaml"));
}

#[test]
fn what_no_recipe_offers_comes_from_a_repository_the_host_or_nobody() {
    let recipes = vec![recipe("nano", &["binary(gcc)", "pkgconfig(x11)", "glibc-devel", "pkgconfig(icu)"])];
    let catalogue = Catalogue::new(recipes, Vec::new());
    let own = Published::new([package("glibc-devel", "glibc", 1, &[])]);
    let other = Published::new([package("icu-devel", "icu", 1, &["pkgconfig(icu)"])]);
    for (host, from_host, unresolved) in [
        (HostProvides::Nothing, &[][..], &["binary(gcc)", "pkgconfig(x11)"][..]),
        (HostProvides::Binaries, &["binary(gcc)"], &["pkgconfig(x11)"]),
        (HostProvides::Everything, &["binary(gcc)", "pkgconfig(x11)"], &[]),
    ] {
        let graph = Graph::new(&catalogue, &Supply { own: &own, others: &[&other], host });
        let nano = id(&graph, "nano");
        let parse =
            |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<Dependency>>();
        assert_eq!(graph.from_repository(nano), parse(&["glibc-devel", "pkgconfig(icu)"]));
        assert_eq!(
            (graph.from_host(nano), graph.unresolved(nano)),
            (parse(from_host), parse(unresolved)),
            "{host:?}"
        );
        let obstacles = parse(unresolved).into_iter().map(|dependency| Obstacle::Unresolved { dependency });
        assert_eq!(graph.obstacles(nano), obstacles.collect::<Vec<_>>(), "{host:?}");
    }
}

fn toolchain() -> Vec<RecipeEntry> {
    vec![
        recipe("gcc", &["glibc"]),
        recipe("glibc", &["gcc", "python"]),
        recipe("python", &["glibc", "zlib"]),
        recipe("zlib", &[]),
        recipe("nano", &["glibc"]),
    ]
}

#[test]
fn a_knot_is_shown_and_keeps_its_edges() {
    let graph = graph_of(&toolchain());
    let knots: Vec<Vec<String>> = graph.knots().map(|knot| sources(&graph, knot.iter().copied())).collect();
    assert_eq!(knots, [["gcc", "glibc", "python"]]);
    assert_eq!(graph.edge_count(), 6, "no edge is dropped");
    let levels = ["zlib", "gcc", "glibc", "python", "nano"].map(|source| graph.level(id(&graph, source)));
    assert_eq!(levels, [0, 1, 1, 1, 2]);
    assert_eq!(graph.heights()[id(&graph, "zlib").index()], 5);
    assert_eq!(graph.recipes().map(|recipe| graph.deferred(recipe).count()).sum::<usize>(), 2);
}

#[test]
fn a_knot_is_broken_where_there_is_a_previous_generation() {
    let recipes = [recipe("a", &["b"]), recipe("b", &["a"])];
    let catalogue = Catalogue::new(recipes.to_vec(), Vec::new());
    for (published, user, deferred) in [("b", "a", "b"), ("a", "b", "a")] {
        let own = Published::new([package(published, published, 1, &[])]);
        let graph = Graph::new(&catalogue, &supply(&own, HostProvides::Nothing));
        assert!(graph.is_deferred(id(&graph, user), id(&graph, deferred)), "{published} is published");
        assert!(!graph.is_deferred(id(&graph, deferred), id(&graph, user)));
        assert!(graph.recipes().all(|recipe| graph.obstacles(recipe).is_empty()));
    }
}

#[test]
fn a_knot_without_a_previous_generation_says_exactly_what_it_needs() {
    let recipes = [recipe("a", &["b"]), recipe("b", &["a"])];
    let catalogue = Catalogue::new(recipes.to_vec(), Vec::new());
    let nothing = Published::default();
    let obstacles = |supply: &Supply<'_>| {
        let graph = Graph::new(&catalogue, supply);
        graph.recipes().map(|recipe| graph.obstacles(recipe).to_vec()).collect::<Vec<_>>()
    };
    let knot = Obstacle::Knot { needs: vec![("b".into(), Dependency::name("b"))] };
    assert_eq!(obstacles(&supply(&nothing, HostProvides::Nothing)), [vec![knot], vec![]]);
    assert_eq!(obstacles(&supply(&nothing, HostProvides::Everything)), [vec![], vec![]]);
    let bootstrap = Published::new([package("b", "b", 1, &[])]);
    let others = Supply { own: &nothing, others: &[&bootstrap], host: HostProvides::Nothing };
    assert_eq!(obstacles(&others), [vec![], vec![]], "another repository has it to begin with");
}

#[test]
fn a_recipe_that_needs_itself_needs_a_previous_generation() {
    let catalogue = Catalogue::new(vec![recipe("go", &["go"])], Vec::new());
    let mut graph = Graph::new(&catalogue, &supply(&Published::default(), HostProvides::Nothing));
    let go = id(&graph, "go");
    let knot = Obstacle::Knot { needs: vec![("go".into(), Dependency::name("go"))] };
    assert_eq!((graph.obstacles(go), graph.unresolved(go)), (&[knot][..], vec![]));
    let own = Published::new([package("go", "go", 1, &[])]);
    graph.update(&catalogue, &supply(&own, HostProvides::Nothing));
    assert_eq!(graph.obstacles(go), []);
}

#[test]
fn a_recipe_that_cannot_be_read_is_an_obstacle_to_those_that_name_it() {
    let broken =
        Unreadable { path: "n/ncurses/stone.yaml".into(), line: 1, column: 1, message: "broken".into() };
    for (need, expect) in
        [("ncurses-devel", true), ("ncurses", true), ("ncursesw", false), ("binary(ncurses)", false)]
    {
        let recipes = vec![recipe("less", &[need])];
        let catalogue = Catalogue::new(recipes.clone(), vec![broken.clone()]);
        let own = Published::default();
        let mut graph = Graph::new(&catalogue, &supply(&own, HostProvides::Everything));
        let less = id(&graph, "less");
        let obstacle = Obstacle::Unreadable { path: broken.path.clone() };
        assert_eq!(graph.obstacles(less).contains(&obstacle), expect, "{need}");
        graph.update(&Catalogue::new(recipes, Vec::new()), &supply(&own, HostProvides::Everything));
        assert_eq!(graph.obstacles(less), [], "{need}: the recipe was corrected");
    }
}

#[test]
fn run_edges_are_apart_and_order_only_first_generations() {
    let app =
        RecipeEntry { manifest: manifest(1, &[], &["soname(libfoo.so.1(x86_64))"]), ..recipe("app", &[]) };
    let foo =
        RecipeEntry { manifest: manifest(1, &["soname(libfoo.so.1(x86_64))"], &[]), ..recipe("foo", &[]) };
    let catalogue = Catalogue::new(vec![app, foo, recipe("user", &["app"])], Vec::new());
    let other = package("zlib", "zlib", 1, &[]);
    let foo = package("foo", "foo", 1, &["soname(libfoo.so.1(x86_64))"]);
    for (published, first) in [
        (vec![], false),
        (vec![other.clone()], true),
        // Published, but not with this library: the recipe's next release has it.
        (vec![package("foo", "foo", 0, &[])], true),
        // Published in this release without the library: waiting would not bring it.
        (vec![package("foo", "foo", 1, &[])], false),
        (vec![foo], false),
    ] {
        let own = Published::new(published);
        let graph = Graph::new(&catalogue, &supply(&own, HostProvides::Nothing));
        let (app, foo) = (id(&graph, "app"), id(&graph, "foo"));
        assert_eq!(sources(&graph, graph.run_needs(app)), ["foo"]);
        assert_eq!((graph.edge_count(), graph.run_edge_count()), (1, 1));
        assert_eq!(graph.first_generations(app).eq([foo]), first);
        assert_eq!(graph.first_generation_count(), usize::from(first));
        assert_eq!(graph.ordered_after(app).eq([foo]), first);
        assert_eq!(graph.needs(app).count(), 0);
        assert_eq!(graph.level(id(&graph, "user")), if first { 2 } else { 1 });
    }
}

#[test]
fn a_published_package_that_nobody_can_install_is_an_obstacle_to_those_that_need_it() {
    let gone: Dependency = "soname(libgone.so.1(x86_64))".parse().unwrap();
    let recipes = |releases: u64| {
        let lib = RecipeEntry {
            release: releases,
            manifest: manifest(releases, &["pkgconfig(lib)"], &["soname(libgone.so.1(x86_64))"]),
            ..recipe("lib", &[])
        };
        vec![lib, recipe("app", &["pkgconfig(lib)"]), recipe("tool", &["lib"])]
    };
    let broken = PublishedPackage {
        depends: [gone.clone()].into(),
        ..package("lib-devel", "lib", 1, &["pkgconfig(lib)"])
    };
    let own = Published::new([broken, package("lib", "lib", 1, &[])]);
    let everything = supply(&own, HostProvides::Nothing);
    let mut graph = Graph::new(&Catalogue::new(recipes(1), Vec::new()), &everything);
    let obstacle = Obstacle::Uninstallable {
        dependency: "pkgconfig(lib)".parse().unwrap(),
        package: "lib-devel".into(),
        needs: gone.clone(),
    };
    let app = id(&graph, "app");
    assert_eq!(graph.obstacles(app), [obstacle]);
    assert_eq!(
        graph.obstacles(id(&graph, "tool")),
        [],
        "another package of the same source can be installed"
    );
    assert_eq!(graph.obstacles(id(&graph, "lib")), [], "it can be built again");

    graph.update(&Catalogue::new(recipes(2), Vec::new()), &everything);
    assert_eq!(graph.obstacles(app), [], "the next release may mend it");
    graph.update(&Catalogue::new(recipes(1), Vec::new()), &everything);
    assert_eq!(graph.obstacles(app).len(), 1);
    let mut with_gone = recipes(1);
    with_gone.push(RecipeEntry {
        manifest: manifest(1, &["soname(libgone.so.1(x86_64))"], &[]),
        ..recipe("gone", &[])
    });
    graph.update(&Catalogue::new(with_gone, Vec::new()), &everything);
    assert_eq!(graph.obstacles(app), [], "a recipe makes what is lacking");
    let other = Published::new([package("libs", "libs", 1, &["soname(libgone.so.1(x86_64))"])]);
    graph.update(&Catalogue::new(recipes(1), Vec::new()), &Supply { others: &[&other], ..everything });
    assert_eq!(graph.obstacles(app), [], "another repository has what is lacking");
}

#[test]
fn a_chain_longer_than_the_stack_is_no_problem() {
    let recipes: Vec<RecipeEntry> = (0..20_000)
        .map(|number| {
            let need = format!("p{:06}", number + 1);
            let needs = [need.as_str()];
            recipe(&format!("p{number:06}"), if number == 19_999 { &[] } else { &needs })
        })
        .collect();
    let graph = graph_of(&recipes);
    assert_eq!(graph.level(id(&graph, "p000000")), 19_999);
    assert_eq!(graph.heights()[id(&graph, "p019999").index()], 20_000);
}

#[test]
fn a_recipe_keeps_its_number_when_its_folder_is_renamed() {
    let own = Published::default();
    let catalogue = |entry: RecipeEntry| Catalogue::new(vec![recipe("a", &[]), entry], Vec::new());
    let entry = recipe("zlib", &["a"]);
    let mut graph = Graph::new(&catalogue(entry.clone()), &supply(&own, HostProvides::Nothing));
    let before = id(&graph, "zlib");
    let moved = RecipeEntry { path: "0/zlib/stone.yaml".into(), ..entry };
    let touched = graph.update(&catalogue(moved), &supply(&own, HostProvides::Nothing));
    assert_eq!(touched, Touched { recipes: vec![before], structure: false });
    assert_eq!(id(&graph, "zlib"), before);
    assert_eq!((graph.recipe("0/zlib/stone.yaml"), graph.recipe("z/zlib/stone.yaml")), (Some(before), None));
}

#[test]
fn only_what_changed_is_touched() {
    let own = Published::default();
    let mut recipes = toolchain();
    let mut graph = graph_of(&recipes);
    let everything = supply(&own, HostProvides::Nothing);
    let same = graph.update(&Catalogue::new(recipes.clone(), Vec::new()), &everything);
    assert!(same.is_empty(), "{same:?}");
    recipes[4] = RecipeEntry { content: "other".into(), ..recipe("nano", &["glibc", "zlib"]) };
    let touched = graph.update(&Catalogue::new(recipes, Vec::new()), &everything);
    assert_eq!(touched, Touched { recipes: vec![id(&graph, "nano")], structure: true });
}

/// What [`Touched`] tells of a recipe, by names: numbers of recipes and components are the graph's own affair.
fn describe_touched(graph: &Graph, recipe: RecipeId) -> String {
    let knot = graph.component_members(graph.component(recipe)).iter();
    let knot: Vec<&str> = knot.map(|&member| graph.source(member)).collect();
    let mut because: Vec<String> = graph
        .ordered_after(recipe)
        .map(|needed| format!("{} {:?}", graph.source(needed), graph.because(recipe, needed)))
        .collect();
    because.sort();
    format!(
        "{} because {because:?} first {:?} knot {knot:?} deferred {:?} {:?} unresolved {:?} repository {:?} host {:?}",
        graph.path(recipe),
        sources(graph, graph.first_generations(recipe)),
        sources(graph, graph.deferred(recipe)),
        graph.obstacles(recipe),
        graph.unresolved(recipe),
        graph.from_repository(recipe),
        graph.from_host(recipe),
    )
}

/// What else a graph says of a recipe.
fn describe_rest(graph: &Graph, recipe: RecipeId) -> String {
    format!(
        "{:?} {:?} {:?} {}",
        sources(graph, graph.needs(recipe)),
        sources(graph, graph.needed_by(recipe)),
        sources(graph, graph.run_needs(recipe)),
        graph.level(recipe),
    )
}

fn describe(graph: &Graph) -> BTreeMap<String, (String, String)> {
    let say = |recipe| (describe_touched(graph, recipe), describe_rest(graph, recipe));
    graph.recipes().map(|recipe| (graph.source(recipe).to_owned(), say(recipe))).collect()
}

/// A recipe, what it needs and offers, and what is published of it: numbers below eight name recipes and libraries.
#[derive(Debug, Clone)]
pub(crate) struct Said {
    pub(crate) source: u8,
    pub(crate) folder: bool,
    pub(crate) release: u64,
    pub(crate) needs: Vec<u8>,
    pub(crate) runs: Vec<u8>,
    pub(crate) offers: Vec<u8>,
    pub(crate) has_manifest: bool,
    pub(crate) is_readable: bool,
}

fn said() -> impl Strategy<Value = Said> {
    let few = || proptest::collection::vec(0..10_u8, 0..4);
    (0..8_u8, any::<bool>(), 1..3_u64, few(), few(), few(), any::<bool>(), 0..8_u8).prop_map(
        |(source, folder, release, needs, runs, offers, has_manifest, readable)| Said {
            source,
            folder,
            release,
            needs,
            runs,
            offers,
            has_manifest,
            is_readable: readable > 0,
        },
    )
}

/// Even numbers name packages, odd ones libraries.
fn dependency(number: u8) -> Dependency {
    match number % 2 {
        0 => Dependency::name(format!("p{number}")),
        _ => Dependency::new(DependencyKind::Soname, format!("lib{number}")),
    }
}

pub(crate) fn catalogue_of(all: &[Said]) -> Catalogue {
    let mut entries = Vec::new();
    let mut unreadable = Vec::new();
    for said in all {
        let source = format!("p{}", said.source);
        let path = format!("{}/{source}/stone.yaml", if said.folder { "a" } else { "b" });
        if !said.is_readable {
            unreadable.push(Unreadable { path, line: 1, column: 1, message: "broken".into() });
            continue;
        }
        let set = |numbers: &[u8]| numbers.iter().map(|&number| dependency(number)).collect();
        let manifest = ManifestEntry {
            release: said.release,
            provides: set(&said.offers),
            depends: set(&said.runs),
            ..ManifestEntry::default()
        };
        entries.push(RecipeEntry {
            path,
            content: format!("{said:?}"),
            release: said.release,
            build_depends: set(&said.needs),
            manifest: said.has_manifest.then_some(manifest),
            ..recipe(&source, &[])
        });
    }
    Catalogue::new(entries, unreadable)
}

fn published_of(all: &[Said]) -> Published {
    Published::new(all.iter().map(|said| {
        let name = format!("p{}", said.source);
        PublishedPackage {
            release: said.release,
            provides: said.offers.iter().map(|&number| dependency(number)).collect(),
            depends: said.runs.iter().map(|&number| dependency(number)).collect(),
            ..package(&name, &name, 1, &[])
        }
    }))
}

type World = (Vec<Said>, Vec<Said>, Vec<Said>, u8);

fn world() -> impl Strategy<Value = World> {
    let some = |most| proptest::collection::vec(said(), 0..most);
    (some(10), some(6), some(3), 0..3_u8)
}

pub(crate) fn with_supply<T>(world: &World, then: impl FnOnce(&Catalogue, &Supply<'_>) -> T) -> T {
    let host =
        [HostProvides::Nothing, HostProvides::Binaries, HostProvides::Everything][usize::from(world.3)];
    let (own, other) = (published_of(&world.1), published_of(&world.2));
    then(&catalogue_of(&world.0), &Supply { own: &own, others: &[&other], host })
}

/// Worlds that differ from each other in a few things.
pub(crate) fn worlds() -> impl Strategy<Value = Vec<World>> {
    let change = (0..4_u8, any::<prop::sample::Index>(), said(), 0..3_u8);
    (world(), proptest::collection::vec(change, 1..8)).prop_map(|(first, changes)| {
        let mut all = vec![first];
        for (kind, at, said, host) in changes {
            let mut next = all.last().unwrap().clone();
            let list =
                [&mut next.0, &mut next.1, &mut next.2][usize::from(kind.saturating_sub(1))].as_mut_slice();
            match (list.is_empty(), kind) {
                (false, _) => list[at.index(list.len())] = said,
                (true, 2) => next.1.push(said),
                (true, 3) => next.3 = host,
                (true, _) => next.0.push(said),
            }
            all.push(next);
        }
        all
    })
}

/// The same catalogue with the entries of another one where they are equal.
fn sharing(catalogue: &Catalogue, other: &Catalogue) -> Catalogue {
    let of_other = |entry: &Arc<RecipeEntry>| other.recipes().iter().find(|known| *known == entry).cloned();
    let entries = catalogue.recipes().iter().map(|entry| of_other(entry).unwrap_or_else(|| entry.clone()));
    Catalogue::sharing(entries.collect(), catalogue.unreadable().to_vec())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn following_changes_says_the_same_as_drawing_afresh(worlds in worlds(), shares in any::<bool>()) {
        let mut graph = Graph::default();
        let mut last = Catalogue::default();
        for world in &worlds {
            with_supply(world, |catalogue, supply| {
                let before = describe(&graph);
                let next = if shares { sharing(catalogue, &last) } else { catalogue.clone() };
                let touched = graph.update(&next, supply);
                last = next;
                let after = describe(&graph);
                prop_assert_eq!(&after, &describe(&Graph::new(catalogue, supply)));
                for (source, (said, _)) in &after {
                    let is_same = before.get(source).is_some_and(|(before, _)| before == said);
                    let is_told = touched.recipes.contains(&id(&graph, source));
                    prop_assert!(is_same || is_told, "{:?} {}", before.get(source), said);
                }
                Ok(())
            })?;
        }
    }

    #[test]
    fn along_the_build_order_only_deferred_edges_point_forward(worlds in worlds()) {
        for world in &worlds {
            let graph = with_supply(world, Graph::new);
            let mut built = std::collections::BTreeSet::new();
            for &recipe in graph.build_order() {
                for needed in graph.ordered_after(recipe) {
                    prop_assert!(built.contains(&needed) != graph.is_deferred(recipe, needed));
                    prop_assert!(!graph.is_deferred(recipe, needed) || graph.component(recipe) == graph.component(needed));
                    prop_assert!(graph.component(recipe) == graph.component(needed) || graph.level(needed) < graph.level(recipe));
                }
                built.insert(recipe);
            }
            prop_assert_eq!(built.len(), graph.recipes().count());
        }
    }
}

#[test]
fn a_summary_counts_everything_and_loses_nothing() {
    let recipes = vec![
        recipe("app", &["gir-devel", "binary(nothing)"]),
        recipe("gir", &["glib", "gir"]),
        recipe("glib", &["gir", "zlib"]),
        recipe("zlib", &[]),
    ];
    let unreadable = Unreadable { path: "x/stone.yaml".into(), line: 3, column: 4, message: "odd".into() };
    let catalogue = Catalogue::new(recipes, vec![unreadable]);
    let graph = Graph::new(&catalogue, &supply(&Published::default(), HostProvides::Nothing));
    let summary = graph.summary(&catalogue, 0.001);
    assert_eq!((summary.recipes, summary.build_edges, summary.run_edges, summary.dropped), (4, 4, 0, 0));
    let unresolved = UnresolvedNeed { recipe: "app".into(), dependency: "binary(nothing)".parse().unwrap() };
    assert_eq!(summary.unresolved, [unresolved]);
    let [knot] = summary.components.as_slice() else { panic!("{:?}", summary.components) };
    // The first one of the knot is built against what was published of the other.
    assert_eq!(summary.deferred, [DeferredNeed { recipe: knot[0].clone(), needs: knot[1].clone() }]);
    assert_eq!((summary.levels, summary.widths.as_slice()), (3, &[1, 2, 1][..]));
    assert_eq!((summary.unreadable[0].path.as_str(), summary.unreadable[0].line), ("x/stone.yaml", 3));
    // A graph of other recipes has lost what these need.
    assert_eq!(graph_of(&[recipe("app", &[])]).summary(&catalogue, 0.0).dropped, 6);
}
