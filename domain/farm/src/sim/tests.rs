//! What must hold of every simulation.

use std::collections::{BTreeSet, HashMap};

use proptest::prelude::*;

use super::*;
use crate::catalogue::RecipeEntry;
use crate::catalogue::tests::recipe;

const FLEET: &str = "a=16:1.0:64G,b=8:0.8:32G,c=8:0.6:16G,d=4:0.5:16G";
const POLICIES: [Policy; 3] = [Policy::CriticalPath, Policy::FirstInFirstOut, Policy::AerynOs];

/// A world to simulate in.
struct World {
    graph: Graph,
    fleet: Fleet,
    model: Model,
    faults: Faults,
    past_builds: u32,
}

impl World {
    fn new(recipes: Vec<RecipeEntry>, beginning: Beginning) -> Self {
        let catalogue = Catalogue::new(recipes, Vec::new());
        Self {
            graph: graph(&catalogue, beginning, HostProvides::Everything),
            fleet: FLEET.parse().unwrap(),
            model: Model::new(7, HashMap::new()),
            faults: Faults::default(),
            past_builds: 2,
        }
    }

    /// Recipes `p00`, `p01` …, and who needs whom.
    fn of_edges(count: usize, edges: &[(usize, usize)], beginning: Beginning) -> Self {
        let name = |number: usize| format!("p{number:02}");
        let recipes = (0..count).map(|number| {
            let needs: Vec<String> =
                edges.iter().filter(|(user, _)| *user == number).map(|(_, needed)| name(*needed)).collect();
            recipe(&name(number), &needs.iter().map(String::as_str).collect::<Vec<_>>())
        });
        Self::new(recipes.collect(), beginning)
    }

    fn run(&self, policy: Policy) -> Outcome {
        simulate(&Setup {
            graph: &self.graph,
            architecture: "x86_64",
            fleet: &self.fleet,
            model: &self.model,
            faults: &self.faults,
            policy,
            past_builds: self.past_builds,
        })
    }

    fn name(&self, recipe: RecipeId) -> &str {
        self.graph.source(recipe)
    }

    /// Everything that must hold whatever went wrong.
    fn check(&self, outcome: &Outcome, width: Width) {
        let mut landed: HashMap<RecipeId, u64> = HashMap::new();
        for run in outcome.runs.iter().filter(|run| run.outcome == BuildEnd::Published) {
            let twice = landed.insert(run.recipe, run.end.0 + PUBLISHING_MS);
            assert!(twice.is_none(), "{} was built twice", self.name(run.recipe));
        }
        assert_eq!(landed.len(), outcome.published);
        assert_eq!(outcome.published + outcome.unbuilt.len(), self.graph.recipes().count());
        for run in &outcome.runs {
            for needed in self.graph.ordered_after(run.recipe) {
                if !self.graph.is_deferred(run.recipe, needed) {
                    let there = landed.get(&needed).copied();
                    assert!(
                        there.is_some_and(|there| there <= run.start.0),
                        "{} began at {} before {} landed at {there:?}",
                        self.name(run.recipe),
                        run.start.0,
                        self.name(needed)
                    );
                }
            }
        }
        let mut lanes: Vec<(usize, usize, u64, u64)> =
            outcome.runs.iter().map(|run| (run.machine, run.lane, run.start.0, run.end.0)).collect();
        lanes.sort_unstable();
        for pair in lanes.windows(2) {
            let ((machine, lane, _, end), (next_machine, next_lane, start, _)) = (pair[0], pair[1]);
            assert!((machine, lane) != (next_machine, next_lane) || end <= start, "two builds in one place");
        }
        for (machine, lane, ..) in lanes {
            let places = self.fleet.machines()[machine].places(width);
            assert!(lane < places as usize, "builder {machine} has {places} places");
        }
        assert!(outcome.bound.makespan_ms() <= outcome.makespan_ms, "{outcome:?}");
        assert!((0.0..=1.0 + 1e-9).contains(&outcome.utilisation));
    }
}

fn width(policy: Policy) -> Width {
    if policy == Policy::AerynOs { Width::WholeMachine } else { Width::Places }
}

fn edges() -> impl Strategy<Value = Vec<(usize, usize)>> {
    proptest::collection::vec((0_usize..24, 0_usize..24), 0..70)
        .prop_map(|edges| edges.into_iter().filter(|(user, needed)| user != needed).collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn without_faults_everything_is_built_once_and_in_order(edges in edges(), seed in 0_u64..1000) {
        let mut world = World::of_edges(24, &edges, Beginning::PreviousGeneration);
        world.model = Model::new(seed, HashMap::new());
        for policy in POLICIES {
            let outcome = world.run(policy);
            world.check(&outcome, width(policy));
            prop_assert_eq!(outcome.published, 24, "{:?}", outcome.unbuilt);
            prop_assert_eq!(outcome.runs.iter().filter(|run| !run.is_second).count(), 24);
            prop_assert_eq!(&outcome, &world.run(policy), "the same seed, the same result");
        }
    }

    #[test]
    fn faults_lose_nothing(edges in edges(), seed in 0_u64..1000) {
        let mut world = World::of_edges(24, &edges, Beginning::PreviousGeneration);
        world.model = Model::new(seed, HashMap::new());
        world.faults = "crash=12h,repair=5m,straggle=0.1:3,host=0.2".parse().unwrap();
        for policy in POLICIES {
            let outcome = world.run(policy);
            world.check(&outcome, width(policy));
            prop_assert_eq!(outcome.published, 24, "{:?}", outcome.unbuilt);
            prop_assert_eq!(&outcome, &world.run(policy), "the same seed, the same faults");
        }
    }

    #[test]
    fn a_recipe_that_cannot_be_built_stops_only_what_needs_it(edges in edges(), seed in 0_u64..1000) {
        let mut world = World::of_edges(24, &edges, Beginning::PreviousGeneration);
        world.model = Model::new(seed, HashMap::new());
        world.faults = "break=0.1".parse().unwrap();
        let outcome = world.run(Policy::CriticalPath);
        world.check(&outcome, Width::Places);
        let broke = |run: &&BuildRun| run.outcome == BuildEnd::Broke;
        let broken: BTreeSet<RecipeId> = outcome.runs.iter().filter(broke).map(|run| run.recipe).collect();
        let unbuilt: BTreeSet<RecipeId> = outcome.unbuilt.iter().map(|left| left.recipe).collect();
        prop_assert!(broken.is_subset(&unbuilt));
        prop_assert!(broken.is_empty() == unbuilt.is_empty());
        for left in &outcome.unbuilt {
            let above_trouble = world.graph.ordered_after(left.recipe).any(|needed| unbuilt.contains(&needed))
                || world.graph.component_members(world.graph.component(left.recipe)).iter().any(|member| unbuilt.contains(member));
            prop_assert!(broken.contains(&left.recipe) || above_trouble, "{left:?}");
        }
    }
}

#[test]
fn another_seed_is_another_world_and_the_policy_changes_no_cost() {
    let edges = [(1, 0), (2, 0), (3, 1)];
    let mut world = World::of_edges(6, &edges, Beginning::PreviousGeneration);
    let first = world.run(Policy::CriticalPath);
    assert_eq!(first.bound.work_ms, world.run(Policy::FirstInFirstOut).bound.work_ms);
    world.model = Model::new(8, HashMap::new());
    assert_ne!(first.makespan_ms, world.run(Policy::CriticalPath).makespan_ms);
}

#[test]
fn the_lower_bound_is_the_larger_of_way_and_work() {
    let measured = |seconds: f64| Measured { seconds, peak_memory_bytes: Some(1) };
    let costs = HashMap::from([
        ("p00".to_owned(), measured(100.0)),
        ("p01".to_owned(), measured(60.0)),
        ("p02".to_owned(), measured(10.0)),
        ("p03".to_owned(), measured(50.0)),
    ]);
    // Two places of speed 2 and one of speed 1: 5 reference seconds in each second.
    for (edges, way_ms, path) in [
        (&[][..], 50_000, vec!["p00"]),
        (&[(1, 0)], 80_000, vec!["p00", "p01"]),
        (&[(1, 0), (2, 1), (3, 2)], 110_000, vec!["p00", "p01", "p02", "p03"]),
        (&[(1, 0), (3, 0), (2, 3)], 80_000, vec!["p00", "p03", "p02"]),
    ] {
        let mut world = World::of_edges(4, edges, Beginning::PreviousGeneration);
        world.fleet = "fast=8:2:8G,slow=4:1:8G".parse().unwrap();
        world.model = Model::new(1, costs.clone());
        let outcome = world.run(Policy::CriticalPath);
        let near = |value: u64, expect: u64| value <= expect && value + 1 >= expect;
        assert!(near(outcome.bound.work_ms, 44_000), "{}", outcome.bound.work_ms);
        assert!(
            near(outcome.bound.critical_path_ms, way_ms),
            "{edges:?}: {}",
            outcome.bound.critical_path_ms
        );
        let names: Vec<&str> = outcome.bound.critical_path.iter().map(|&recipe| world.name(recipe)).collect();
        assert_eq!(names.len(), path.len(), "{names:?}");
        assert_eq!(outcome.bound.makespan_ms(), outcome.bound.critical_path_ms.max(outcome.bound.work_ms));
        world.check(&outcome, Width::Places);
    }
}

#[test]
fn from_nothing_a_knot_stays_and_says_why() {
    let edges = [(0, 1), (1, 0), (2, 1), (3, 4)];
    let world = World::of_edges(5, &edges, Beginning::Nothing);
    let outcome = world.run(Policy::CriticalPath);
    world.check(&outcome, Width::Places);
    assert_eq!(outcome.published, 2, "{:?}", outcome.unbuilt);
    let left: Vec<&str> = outcome.unbuilt.iter().map(|left| world.name(left.recipe)).collect();
    assert_eq!(left, ["p00", "p01", "p02"]);
    assert!(outcome.unbuilt.iter().all(|left| left.why.contains("p0")), "{:?}", outcome.unbuilt);
    let again = World::of_edges(5, &edges, Beginning::PreviousGeneration).run(Policy::CriticalPath);
    assert_eq!(again.published, 5);
}

#[test]
fn what_no_builder_has_room_for_is_named() {
    let mut world = World::of_edges(2, &[], Beginning::PreviousGeneration);
    world.fleet = "small=4:1:1G".parse().unwrap();
    let large = Measured { seconds: 10.0, peak_memory_bytes: Some(2 << 30) };
    let little = Measured { seconds: 10.0, peak_memory_bytes: Some(1 << 20) };
    world.model = Model::new(1, HashMap::from([("p00".into(), large), ("p01".into(), little)]));
    let outcome = world.run(Policy::CriticalPath);
    assert_eq!(outcome.published, 1);
    assert!(outcome.unbuilt[0].why.contains("memory"), "{:?}", outcome.unbuilt);
}

#[test]
fn crashes_that_leave_no_time_for_a_build_come_to_an_end() {
    let mut world = World::of_edges(2, &[(1, 0)], Beginning::PreviousGeneration);
    let long = Measured { seconds: 36_000.0, peak_memory_bytes: None };
    world.model = Model::new(1, HashMap::from([("p00".into(), long)]));
    world.faults = "crash=10m,repair=10s".parse().unwrap();
    let outcome = world.run(Policy::CriticalPath);
    assert_eq!(outcome.published, 0);
    assert!(outcome.unbuilt[0].why.contains("gave it up after"), "{:?}", outcome.unbuilt);
    assert_eq!(outcome.unbuilt.len(), 2);
}

#[test]
fn nothing_to_do_takes_no_time() {
    let outcome = World::of_edges(0, &[], Beginning::PreviousGeneration).run(Policy::CriticalPath);
    assert_eq!((outcome.makespan_ms, outcome.published), (0, 0));
    assert!((outcome.ratio() - 1.0).abs() < 1e-9);
}

#[test]
fn the_picture_shows_every_build_and_escapes_names() {
    let mut world =
        World::new(vec![recipe("plain", &[]), recipe("<b>\"&'", &["plain"])], Beginning::PreviousGeneration);
    world.fleet = "x&<y=8:1:8G".parse().unwrap();
    let outcome = world.run(Policy::CriticalPath);
    let svg = gantt(&outcome, &world.graph, "a < b & \"c\"\u{7}");
    assert_eq!(svg.matches("<rect class=\"bar").count(), 2);
    assert_eq!(svg.matches("<rect class=\"lane").count(), 2);
    assert!(svg.contains("&lt;b&gt;&quot;&amp;&#39; on x&amp;&lt;y"), "{svg}");
    assert!(svg.contains("a &lt; b &amp; &quot;c&quot;"));
    assert!(!svg.contains("<b>") && !svg.contains('\u{7}'));
    assert!(svg.contains("prefers-color-scheme: dark") && svg.contains("@media print"));
    for tag in ["svg", "text", "title", "style"] {
        let opened = svg.matches(&format!("<{tag} ")).count() + svg.matches(&format!("<{tag}>")).count();
        assert_eq!(opened, svg.matches(&format!("</{tag}>")).count(), "{tag}");
    }
}

#[test]
fn times_are_told_in_two_units() {
    for (milliseconds, expect) in [
        (0, "0 s"),
        (1499, "1 s"),
        (59_000, "59 s"),
        (60_000, "1 min"),
        (61_000, "1 min 1 s"),
        (3_600_000, "1 h"),
        (5_400_000, "1 h 30 min"),
        (86_400_000, "1 d"),
        (100_800_000, "1 d 4 h"),
    ] {
        assert_eq!(clock(milliseconds), expect);
    }
}
