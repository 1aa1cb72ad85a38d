use std::collections::HashMap;

use super::*;
use crate::catalogue::ManifestEntry;
use crate::catalogue::tests::recipe;
use crate::graph::{HostProvides, Supply};
use crate::published::tests::package;

/// A recipe at a release, with what its packages offer and need, and what its build needs.
fn entry(source: &str, release: u64, provides: &[&str], depends: &[&str], needs: &[&str]) -> RecipeEntry {
    let read = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
    let manifest = ManifestEntry {
        release,
        packages: [source.to_owned()].into(),
        provides: read(provides),
        depends: read(depends),
    };
    RecipeEntry { release, manifest: Some(manifest), ..recipe(source, needs) }
}

/// zlib ← png ← gtk ← app, and png ← lib; tool only runs zlib's program; lib is linked against zlib, which it gets by way
/// of png.
fn distribution() -> Vec<RecipeEntry> {
    vec![
        entry("app", 1, &[], &["soname(libgtk.so.4(x86_64))"], &["pkgconfig(gtk4)"]),
        entry(
            "gtk",
            1,
            &["soname(libgtk.so.4(x86_64))", "pkgconfig(gtk4)"],
            &[],
            &["pkgconfig(png)", "binary(app-data)"],
        ),
        entry("lib", 1, &[], &["soname(libz.so.1(x86_64))"], &["png"]),
        entry("png", 1, &["pkgconfig(png)"], &["soname(libz.so.1(x86_64))"], &["pkgconfig(zlib)"]),
        entry("tool", 1, &[], &["binary(minigzip)"], &[]),
        entry("zlib", 1, &["soname(libz.so.1(x86_64))", "pkgconfig(zlib)", "binary(minigzip)"], &[], &[]),
    ]
}

/// What asks for a plan, with everything that a test may want to change.
struct World {
    now: Vec<RecipeEntry>,
    published: Published,
    times: HashMap<&'static str, u64>,
    fleet: Vec<FleetMember>,
}

impl World {
    fn new(entries: Vec<RecipeEntry>) -> Self {
        let published = promised(&Catalogue::new(entries.clone(), Vec::new()));
        let fleet = vec![FleetMember { name: "a".into(), speed: 1.0, places: 1 }];
        Self { now: entries, published, times: HashMap::new(), fleet }
    }

    fn set(&mut self, entry: RecipeEntry) {
        self.now.retain(|other| other.source != entry.source);
        self.now.push(entry);
    }

    fn plan(&self, request: &RebuildRequest) -> Result<RebuildPlan, RebuildError> {
        let catalogue = Catalogue::new(self.now.clone(), Vec::new());
        let supply = Supply { own: &self.published, others: &[], host: HostProvides::Everything };
        let graph = Graph::new(&catalogue, &supply);
        let expected = |source: &str| self.times.get(source).map(|&hours| Duration::from_secs(hours * 3600));
        rebuild_plan(
            request,
            &Situation {
                catalogue: &catalogue,
                graph: &graph,
                published: &self.published,
                expected: &expected,
                fleet: &self.fleet,
                rounds_max: 3,
            },
        )
    }
}

fn request(name: &str, dependents: Option<Dependents>) -> RebuildRequest {
    RebuildRequest { names: vec![name.into()], dependents, ..RebuildRequest::default() }
}

fn stages(plan: &RebuildPlan) -> Vec<Vec<&str>> {
    plan.stages.iter().map(|stage| stage.recipes.iter().map(String::as_str).collect()).collect()
}

fn why<'p>(plan: &'p RebuildPlan, source: &str) -> &'p [Why] {
    &plan.recipes.iter().find(|member| member.source == source).unwrap().why
}

#[test]
fn who_is_built_again_and_in_which_stages() {
    let world = World::new(distribution());
    for (dependents, expect) in [
        (None, vec![vec!["zlib"]]),
        (Some(Dependents::Direct), vec![vec!["zlib"], vec!["png"], vec!["lib"]]),
        (Some(Dependents::Transitive), vec![vec!["zlib"], vec!["png"], vec!["gtk", "lib"], vec!["app"]]),
        // What its manifest promises is what is published: nothing goes away.
        (Some(Dependents::Abi), vec![vec!["zlib"]]),
    ] {
        let plan = world.plan(&request("zlib", dependents)).unwrap();
        let mut stages = stages(&plan);
        stages.iter_mut().for_each(|stage| stage.sort_unstable());
        assert_eq!(stages, expect, "{dependents:?}");
        assert_eq!(plan.builds, plan.recipes.len());
    }
    let all = world.plan(&RebuildRequest { all: true, ..RebuildRequest::default() }).unwrap();
    assert_eq!((all.builds, all.recipes[0].why.as_slice()), (6, &[Why::All][..]));
}

#[test]
fn each_member_says_by_which_way_it_came() {
    let world = World::new(distribution());
    let plan = world.plan(&request("zlib", Some(Dependents::Transitive))).unwrap();
    assert_eq!(why(&plan, "zlib"), [Why::Named]);
    let chain = |names: &[&str], because: &[&str]| Why::Needs {
        chain: names.iter().map(ToString::to_string).collect(),
        because: because.iter().map(|text| text.parse().unwrap()).collect(),
    };
    let both = ["pkgconfig(zlib)", "soname(libz.so.1(x86_64))"];
    assert_eq!(why(&plan, "png"), [chain(&["zlib", "png"], &both)]);
    assert_eq!(why(&plan, "gtk"), [chain(&["zlib", "png", "gtk"], &["pkgconfig(png)"])]);
    assert_eq!(
        why(&plan, "lib"),
        [chain(&["zlib", "lib"], &["soname(libz.so.1(x86_64))"])],
        "linked, not asked for"
    );
}

#[test]
fn a_stage_waits_also_for_what_lies_behind_others() {
    let world = World::new(distribution());
    let names = ["app", "zlib"].map(String::from).to_vec();
    let plan = world.plan(&RebuildRequest { names, ..RebuildRequest::default() }).unwrap();
    assert_eq!(stages(&plan), [["zlib"], ["app"]], "gtk and png lie between and are not built");
}

#[test]
fn what_goes_away_is_taken_from_the_next_manifest() {
    let mut world = World::new(distribution());
    world.set(entry(
        "zlib",
        2,
        &["soname(libz.so.2(x86_64))", "pkgconfig(zlib)", "binary(minigzip)"],
        &[],
        &[],
    ));
    let plan = world.plan(&request("zlib", Some(Dependents::Abi))).unwrap();
    let mut names: Vec<&str> = plan.recipes.iter().map(|member| member.source.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["lib", "png", "zlib"], "gtk needs no name that goes away");
    let soname = |text: &str| -> Vec<Dependency> { vec![text.parse().unwrap()] };
    let gone = soname("soname(libz.so.1(x86_64))");
    assert_eq!(why(&plan, "png"), [Why::Uses { of: "zlib".into(), gone: gone.clone(), certain: true }]);
    let instead = soname("soname(libz.so.2(x86_64))");
    assert_eq!(
        plan.changes,
        [SourceChange {
            source: "zlib".into(),
            certain: true,
            gone: vec![GoneProvider { provider: gone[0].clone(), instead: instead.clone() }],
            new: instead,
        }]
    );
    let zlib = plan.recipes.iter().find(|member| member.source == "zlib").unwrap();
    assert_eq!((zlib.release, zlib.build_release), (2, 1), "the new release is the rebuild");
    let png = plan.recipes.iter().find(|member| member.source == "png").unwrap();
    assert_eq!((png.release, png.build_release), (1, 2));
}

#[test]
fn without_a_manifest_everything_may_go_away_and_the_plan_says_so() {
    let mut world = World::new(distribution());
    world.set(RecipeEntry { release: 2, manifest: None, ..recipe("zlib", &[]) });
    let plan = world.plan(&request("zlib", Some(Dependents::Abi))).unwrap();
    assert!(!plan.changes[0].certain && plan.changes[0].gone.len() == 2, "a program is no interface");
    let Why::Uses { gone, certain: false, .. } = &why(&plan, "png")[0] else { panic!("{plan:?}") };
    assert_eq!(gone.len(), 2);
    assert!(
        plan.notes.iter().any(|note| note.contains("no manifest of zlib for release 2")),
        "{:?}",
        plan.notes
    );
}

#[test]
fn a_name_that_moves_to_another_source_does_not_go_away() {
    let mut world = World::new(distribution());
    world.set(entry("zlib", 2, &["pkgconfig(zlib)", "binary(minigzip)"], &[], &[]));
    world.set(entry("zlib-compat", 1, &["soname(libz.so.1(x86_64))"], &[], &[]));
    let plan = world.plan(&request("zlib", Some(Dependents::Abi))).unwrap();
    assert_eq!((plan.builds, plan.changes[0].gone.as_slice()), (1, &[][..]));
}

#[test]
fn what_is_broken_already_is_found() {
    let mut world = World::new(distribution());
    // zlib 2 landed, and nobody was built against it yet.
    world.set(entry("zlib", 2, &["soname(libz.so.2(x86_64))", "pkgconfig(zlib)"], &[], &[]));
    let old = world.published.clone();
    let mut packages: Vec<PublishedPackage> = ["app", "gtk", "lib", "png", "tool"]
        .iter()
        .flat_map(|source| old.packages_of_source(source).cloned().collect::<Vec<_>>())
        .collect();
    packages.push(package("zlib", "zlib", 2, &["soname(libz.so.2(x86_64))", "pkgconfig(zlib)"]));
    world.published = Published::new(packages);
    let plan = world.plan(&request("zlib", Some(Dependents::Abi))).unwrap();
    let mut names: Vec<&str> = plan.recipes.iter().map(|member| member.source.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["lib", "png", "zlib"]);
    let needs = vec!["soname(libz.so.1(x86_64))".parse().unwrap()];
    assert_eq!(why(&plan, "lib"), [Why::Broken { of: "zlib".into(), needs }]);
}

#[test]
fn what_cannot_be_built_again_is_left_out_by_name() {
    let mut world = World::new(distribution());
    world.published = Published::new([package("zlib", "zlib", 7, &[])]);
    let plan = world.plan(&request("zlib", None)).unwrap();
    assert_eq!(plan.builds, 0);
    assert!(plan.left_out[0].source == "zlib" && plan.left_out[0].why.contains("release 7"), "{plan:?}");
}

#[test]
fn recipes_of_a_knot_are_one_stage_in_rounds() {
    let mut world = World::new(vec![
        entry("glib", 1, &["pkgconfig(glib)"], &[], &["binary(gir)"]),
        entry("gir", 1, &["binary(gir)"], &[], &["pkgconfig(glib)"]),
        entry("app", 1, &[], &[], &["pkgconfig(glib)"]),
    ]);
    world.times = [("glib", 1), ("gir", 2), ("app", 4)].into();
    let plan = world.plan(&request("glib", Some(Dependents::Transitive))).unwrap();
    assert_eq!(plan.stages.len(), 2);
    assert_eq!((plan.stages[0].knots.len(), plan.stages[0].recipes.len()), (1, 2));
    assert_eq!((plan.forecast.hours, plan.forecast.hours_at_most), (Some(7.0), Some(13.0)));
}

#[test]
fn forecasts() {
    // The fast builder takes the longest way; what has no way after it fills the slow one.
    let times = [("zlib", 1), ("png", 2), ("lib", 5), ("gtk", 2), ("app", 2)];
    for (fleet, hours) in [
        (vec![], None),
        (vec![("a", 1.0, 0)], None),
        (vec![("a", 1.0, 1)], Some(12.0)),
        (vec![("a", 2.0, 1)], Some(6.0)),
        (vec![("a", 1.0, 2)], Some(8.0)),
        (vec![("a", 0.5, 1), ("b", 1.0, 1)], Some(11.0)),
    ] {
        let mut world = World::new(distribution());
        world.times = times.into();
        world.fleet = fleet
            .iter()
            .map(|&(name, speed, places)| FleetMember { name: name.to_owned(), speed, places })
            .collect();
        let plan = world.plan(&request("zlib", Some(Dependents::Transitive))).unwrap();
        assert_eq!(plan.forecast.hours, hours, "{fleet:?}");
        assert_eq!((plan.forecast.work_hours, plan.forecast.assumed), (12.0, 0));
    }
}

#[test]
fn unknown_times_are_taken_for_the_usual_one_and_said() {
    let mut world = World::new(distribution());
    let plan = world.plan(&request("zlib", None)).unwrap();
    assert_eq!((plan.forecast.assumed, plan.forecast.assumed_seconds), (1, UNKNOWN_SECONDS));
    world.times = [("lib", 1)].into();
    let plan = world.plan(&request("zlib", Some(Dependents::Direct))).unwrap();
    assert_eq!((plan.forecast.assumed, plan.forecast.assumed_seconds), (2, 3600.0));
    assert!(plan.notes.iter().any(|note| note.contains("the time of 2 of the builds")), "{:?}", plan.notes);
}

#[test]
fn downloads_are_those_of_the_published_packages() {
    let mut world = World::new(distribution());
    world.published = Published::new([
        package("zlib", "zlib", 1, &["pkgconfig(zlib)"]),
        package("zlib-devel", "zlib", 1, &[]),
        package("png", "png", 1, &[]),
        PublishedPackage { download_size_bytes: 0, ..package("png-devel", "png", 1, &[]) },
        package("other", "other", 1, &[]),
    ]);
    let plan = world.plan(&request("zlib", Some(Dependents::Direct))).unwrap();
    let expect = Download { size_bytes: 3000, packages: 4, packages_of_unknown_size: 1 };
    assert_eq!(plan.download, expect);
}

#[test]
fn names_of_packages_stand_for_their_source_and_unknown_ones_are_errors() {
    let mut world = World::new(distribution());
    world.published = Published::new([package("zlib-devel", "zlib", 1, &[])]);
    assert_eq!(world.plan(&request("zlib-devel", None)).unwrap().names, ["zlib"]);
    for (name, expect) in
        [("zli", vec!["zlib"]), ("gkt", vec!["gtk", "app"]), ("libzlib", vec!["zlib"]), ("", vec![])]
    {
        let RebuildError::Unknown { similar, .. } = world.plan(&request(name, None)).unwrap_err() else {
            panic!("{name} is not unknown")
        };
        assert_eq!(similar.first(), expect.first().map(ToString::to_string).as_ref(), "{name}");
    }
    assert_eq!(world.plan(&RebuildRequest::default()).unwrap_err(), RebuildError::Nothing);
}

#[test]
fn requests_and_plans_are_json() {
    let text = r#"{"names":["zlib"],"dependents":"direct","all":false,"apply":false}"#;
    let read: RebuildRequest = serde_json::from_str(text).unwrap();
    assert_eq!(read, request("zlib", Some(Dependents::Direct)));
    assert!(serde_json::from_str::<RebuildRequest>(r#"{"name":"zlib"}"#).is_err(), "slips are named");
    let plan = World::new(distribution()).plan(&read).unwrap();
    let text = serde_json::to_string(&plan).unwrap();
    assert_eq!(serde_json::from_str::<RebuildPlan>(&text).unwrap(), plan);
}
