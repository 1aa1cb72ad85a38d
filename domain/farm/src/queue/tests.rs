//! Verdicts, and that counting says the same as looking at everything.

use std::collections::{BTreeSet, HashMap};

use proptest::prelude::*;

use super::*;
use crate::catalogue::tests::recipe;
use crate::catalogue::{Catalogue, RecipeEntry};
use crate::graph::HostProvides;
use crate::graph::tests::{supply, with_supply, worlds};
use crate::published::Published;
use crate::published::tests::package;

struct World {
    graph: Graph,
    queue: Queue,
}

/// A world of recipes with their needs, of what is published, and of open tasks. A task has the number of its recipe's
/// place in the alphabet, from 1.
fn world(recipes: &[(&str, &[&str])], published: &[&str], open: &[(&str, Phase)]) -> World {
    let entries = recipes.iter().map(|(source, needs)| recipe(source, needs)).collect();
    let catalogue = Catalogue::new(entries, Vec::new());
    let published = Published::new(published.iter().map(|source| package(source, source, 1, &[])));
    let graph = Graph::new(&catalogue, &supply(&published, HostProvides::Nothing));
    let open = open.iter().map(|&(source, phase)| (graph.by_source(source).unwrap(), phase));
    let open: Vec<_> = open.map(|(recipe, phase)| (recipe, task(recipe, phase))).collect();
    let queue = Queue::new(&graph, open);
    World { graph, queue }
}

fn task(recipe: RecipeId, phase: Phase) -> OpenTask {
    OpenTask { id: TaskId(u64::from(recipe.0) + 1), phase }
}

impl World {
    fn id(&self, source: &str) -> RecipeId {
        self.graph.by_source(source).unwrap()
    }

    fn set(&mut self, source: &str, phase: Option<Phase>) {
        let recipe = self.id(source);
        self.queue.set(&self.graph, recipe, phase.map(|phase| task(recipe, phase)));
    }

    fn changed(&mut self) -> Vec<&str> {
        let changed = self.queue.take_changed();
        changed.into_iter().map(|recipe| self.graph.source(recipe)).collect()
    }

    fn say(&self, source: &str) -> String {
        let recipe = self.id(source);
        match self.queue.readiness(&self.graph, recipe).unwrap() {
            Readiness::Ready => "ready".into(),
            Readiness::Waits {} => {
                let on = self.queue.waits_on(&self.graph, recipe, 100).into_iter();
                let on = on.map(|task| self.graph.source(RecipeId(u32::try_from(task.0).unwrap() - 1)));
                format!("waits on {}", on.collect::<Vec<_>>().join(", "))
            }
            Readiness::Blocked { by } => {
                format!("blocked by {}", by.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))
            }
        }
    }
}

fn check(recipes: &[(&str, &[&str])], published: &[&str], open: &[(&str, Phase)], wanted: &str) -> String {
    world(recipes, published, open).say(wanted)
}

const CHAIN: &[(&str, &[&str])] = &[("a", &[]), ("b", &["a"]), ("c", &["b"])];
use Phase::{Building, Cancelled, Failed, Leased, Publishing, Waiting};

#[test]
fn a_dependent_starts_only_when_what_it_needs_is_published() {
    let all = [("a", Waiting), ("b", Waiting), ("c", Waiting)];
    assert_eq!(check(CHAIN, &[], &all, "a"), "ready");
    assert_eq!(check(CHAIN, &[], &all, "c"), "waits on b");
    for phase in [Phase::Ready, Leased, Building, Publishing] {
        assert_eq!(check(CHAIN, &[], &[("a", phase), ("b", Waiting)], "b"), "waits on a", "{phase:?}");
    }
    assert_eq!(check(CHAIN, &["a"], &[("b", Waiting), ("c", Waiting)], "b"), "ready", "a has no open task");
}

#[test]
fn order_passes_through_what_is_published_already() {
    assert_eq!(check(CHAIN, &["a", "b"], &[("a", Building), ("c", Waiting)], "c"), "waits on a");
}

#[test]
fn a_failed_task_blocks_its_dependents_by_name_near_and_far() {
    for phase in [Failed, Cancelled] {
        let open = [("a", phase), ("b", Waiting), ("c", Waiting)];
        assert_eq!(check(CHAIN, &[], &open, "b"), "blocked by a (task 1)");
        assert_eq!(check(CHAIN, &[], &open, "c"), "blocked by a (task 1)");
        let open = [("a", phase), ("c", Waiting)];
        assert_eq!(check(CHAIN, &["b"], &open, "c"), "blocked by a (task 1)", "through a published one");
    }
    let open = [("a", Waiting), ("b", Phase::Blocked)];
    assert_eq!(check(CHAIN, &[], &open, "b"), "waits on a", "a retried one blocks no longer");
}

#[test]
fn dependents_of_a_held_task_wait_and_go_on_when_it_is_released() {
    let open = [("a", Phase::Held), ("b", Waiting), ("c", Waiting)];
    assert_eq!(check(CHAIN, &[], &open, "b"), "waits on a");
    let mut world = world(CHAIN, &[], &[("a", Failed), ("b", Waiting)]);
    world.changed();
    world.set("a", Some(Phase::Held));
    assert_eq!(world.say("b"), "waits on a", "it blocks nobody any more");
    world.changed();
    world.set("a", Some(Waiting));
    assert_eq!(world.changed(), ["a"], "a released task is judged again");
}

#[test]
fn a_task_made_after_the_failure_is_blocked_as_well() {
    let mut world = world(CHAIN, &["a", "b"], &[("a", Failed)]);
    world.set("c", Some(Waiting));
    assert_eq!(world.say("c"), "blocked by a (task 1)");
}

#[test]
fn a_retried_or_withdrawn_task_releases_its_dependents() {
    for (phase, expect) in [(Some(Waiting), "waits on b"), (None, "waits on b")] {
        let mut world = world(CHAIN, &[], &[("a", Failed), ("b", Waiting), ("c", Waiting)]);
        world.changed();
        world.set("a", phase);
        assert!(world.changed().ends_with(&["b", "c"]));
        assert_eq!(world.say("c"), expect);
    }
}

#[test]
fn what_nobody_offers_blocks_by_name_and_its_dependents_by_its_task() {
    let recipes: &[(&str, &[&str])] = &[("a", &["pkgconfig(nowhere)"]), ("b", &["a"])];
    let open = [("a", Waiting), ("b", Waiting)];
    assert_eq!(check(recipes, &[], &open, "a"), "blocked by nobody offers pkgconfig(nowhere)");
    assert_eq!(check(recipes, &[], &open, "b"), "blocked by a (task 1)");
    assert_eq!(check(recipes, &["a"], &open[1..], "b"), "ready", "nobody wants to build a");
}

const KNOT: &[(&str, &[&str])] =
    &[("a", &["b"]), ("b", &["a", "c"]), ("c", &["a"]), ("user", &["a"]), ("zlib", &["user"])];

#[test]
fn a_knot_is_built_against_its_previous_generation() {
    let open = [("a", Waiting), ("b", Waiting), ("c", Waiting)];
    let published = ["a", "b", "c"];
    assert_eq!(check(KNOT, &published, &open, "a"), "ready");
    assert_eq!(check(KNOT, &published, &open, "c"), "waits on a");
    assert_eq!(check(KNOT, &published, &open, "b"), "waits on a, c");
    let first = "blocked by b, which needs this one and was never built";
    assert_eq!(check(KNOT, &[], &open, "a"), first);
    assert_eq!(check(KNOT, &["b"], &open, "a"), "ready", "only what is deferred has to be there");
}

#[test]
fn an_outsider_waits_as_a_member_does() {
    let published = ["a", "b", "c", "user"];
    let graph = world(KNOT, &published, &[]).graph;
    let id = |source: &str| graph.by_source(source).unwrap();
    assert!(graph.is_deferred(id("a"), id("b")), "a was built against the b of before");
    assert_eq!(check(KNOT, &published, &[("b", Failed), ("user", Waiting)], "user"), "ready", "as was a");
    assert_eq!(check(KNOT, &published, &[("a", Building), ("user", Waiting)], "user"), "waits on a");
    assert_eq!(check(KNOT, &published, &[("a", Failed), ("zlib", Waiting)], "zlib"), "blocked by a (task 1)");
    assert_eq!(check(KNOT, &published, &[("a", Failed), ("b", Waiting)], "b"), "blocked by a (task 1)");
}

#[test]
fn a_change_is_told_to_those_that_it_may_matter_to() {
    let mut world = world(CHAIN, &[], &[("a", Waiting), ("b", Waiting), ("c", Waiting)]);
    assert_eq!(world.changed(), ["a", "b", "c"]);
    world.set("a", Some(Building));
    assert_eq!(world.changed(), [""; 0], "a runs, and the others wait as before");
    world.set("a", None);
    assert_eq!(world.changed(), ["b"], "c still waits for b");
    world.set("b", Some(Building));
    world.set("b", Some(Failed));
    assert_eq!(world.changed(), ["c"]);
    world.set("b", Some(Failed));
    assert_eq!(world.changed(), [""; 0]);
}

#[test]
fn a_change_of_the_graph_is_told_to_those_that_it_may_matter_to() {
    let nothing = Published::default();
    let draw = |needs_of_d: &[&str]| {
        let others = CHAIN.iter().map(|(source, needs)| recipe(source, needs));
        let entry = RecipeEntry { content: format!("{needs_of_d:?}"), ..recipe("d", needs_of_d) };
        Catalogue::new(others.chain([entry]).collect(), Vec::new())
    };
    let mut graph = Graph::new(&draw(&[]), &supply(&nothing, HostProvides::Nothing));
    let open = ["a", "b", "c", "d"].map(|source| graph.by_source(source).unwrap());
    let mut queue = Queue::new(&graph, open.map(|recipe| (recipe, task(recipe, Waiting))));
    queue.take_changed();
    for (needs, expect) in [(&["b"][..], Readiness::Waits {}), (&[], Readiness::Ready)] {
        let touched = graph.update(&draw(needs), &supply(&nothing, HostProvides::Nothing));
        queue.follow(&graph, &touched);
        assert_eq!(queue.take_changed(), [open[3]]);
        assert_eq!(queue.readiness(&graph, open[3]), Some(expect));
    }
    let others =
        Catalogue::new(CHAIN.iter().map(|(source, needs)| recipe(source, needs)).collect(), Vec::new());
    let touched = graph.update(&others, &supply(&nothing, HostProvides::Nothing));
    queue.follow(&graph, &touched);
    assert_eq!((queue.take_changed(), queue.task(open[3])), (vec![], None));
}

#[test]
fn the_roots_of_trouble_are_named_anew_when_another_fails() {
    let recipes: &[(&str, &[&str])] = &[("a", &[]), ("b", &[]), ("c", &["a", "b"]), ("d", &["c"])];
    let mut world = world(recipes, &["c"], &[("a", Failed), ("b", Waiting), ("d", Waiting)]);
    assert_eq!(world.say("d"), "blocked by a (task 1)");
    world.changed();
    world.set("b", Some(Failed));
    assert_eq!(world.changed(), ["d"]);
    assert_eq!(world.say("d"), "blocked by a (task 1), b (task 2)");
}

#[test]
fn no_more_roots_are_named_than_anybody_reads() {
    let sources: Vec<String> = (0..20).map(|number| format!("p{number:02}")).collect();
    let sources: Vec<&str> = sources.iter().map(String::as_str).collect();
    let mut recipes: Vec<(&str, &[&str])> = sources.iter().map(|&source| (source, &[][..])).collect();
    recipes.push(("user", &sources));
    let mut open: Vec<(&str, Phase)> = sources.iter().map(|&source| (source, Failed)).collect();
    open.push(("user", Waiting));
    let world = world(&recipes, &[], &open);
    let Some(Readiness::Blocked { by }) = world.queue.readiness(&world.graph, world.id("user")) else {
        panic!("twenty failed tasks block");
    };
    assert_eq!(by.len(), BLOCKERS_NAMED_MAX);
    assert_eq!(world.queue.waits_on(&world.graph, world.id("user"), 3).len(), 3);
    assert_eq!(world.queue.holds_up(&world.graph, world.id("p00")), 1);
}

#[test]
fn what_holds_up_in_the_end_waits_for_nobody_itself() {
    let recipes: &[(&str, &[&str])] = &[("a", &[]), ("b", &["a"]), ("c", &["b"]), ("d", &["c"]), ("e", &[])];
    let world = world(recipes, &["b"], &[("a", Building), ("c", Waiting), ("d", Waiting), ("e", Waiting)]);
    let held_up_by = |source| world.queue.held_up_by(&world.graph, world.id(source), 9);
    assert_eq!(held_up_by("d"), [world.queue.task(world.id("a")).unwrap().id], "c waits itself");
    assert_eq!(held_up_by("a"), []);
}

#[test]
fn rows_that_were_written_before_are_still_read() {
    let waits: Readiness = serde_json::from_str(r#"{"Waits":{"on":[3,4]}}"#).unwrap();
    assert_eq!(waits, Readiness::Waits {});
    let knot: Blocker = serde_json::from_str(r#"{"kind":"knot","source":"gcc"}"#).unwrap();
    assert_eq!(knot, Blocker::Knot { source: "gcc".into(), dependency: None });
}

/// The definition, without counting: everything below along edges that are not deferred.
fn below(graph: &Graph, recipe: RecipeId) -> BTreeSet<RecipeId> {
    let mut found = BTreeSet::new();
    let mut path = vec![recipe];
    while let Some(at) = path.pop() {
        for needed in graph.ordered_after(at).filter(|&needed| !graph.is_deferred(at, needed)) {
            if found.insert(needed) {
                path.push(needed);
            }
        }
    }
    found
}

fn expected(graph: &Graph, open: &HashMap<RecipeId, OpenTask>, recipe: RecipeId) -> Readiness {
    let is_root = |recipe: &RecipeId| {
        let phase = open[recipe].phase;
        matches!(phase, Failed | Cancelled) || (phase.is_queued() && !graph.obstacles(*recipe).is_empty())
    };
    let below: Vec<RecipeId> = below(graph, recipe).into_iter().filter(|at| open.contains_key(at)).collect();
    let mut by: Vec<Blocker> = graph.obstacles(recipe).iter().flat_map(blockers_of).collect();
    by.extend(
        below
            .iter()
            .filter(|at| is_root(at))
            .map(|at| Blocker::Task { task: open[at].id, source: graph.source(*at).to_owned() }),
    );
    by.sort();
    by.truncate(BLOCKERS_NAMED_MAX);
    match (by.is_empty(), below.is_empty()) {
        (false, _) => Readiness::Blocked { by },
        (true, false) => Readiness::Waits {},
        (true, true) => Readiness::Ready,
    }
}

fn judge(graph: &Graph, queue: &Queue) -> Vec<(String, Option<Readiness>, Vec<TaskId>, usize)> {
    let mut all: Vec<_> = graph
        .recipes()
        .map(|recipe| {
            let source = graph.source(recipe).to_owned();
            let on = queue.waits_on(graph, recipe, 100);
            (source, queue.readiness(graph, recipe), on, queue.holds_up(graph, recipe))
        })
        .collect();
    all.sort_by(|left, right| left.0.cmp(&right.0));
    all
}

const PHASES: [Option<Phase>; 9] = [
    None,
    Some(Waiting),
    Some(Phase::Blocked),
    Some(Phase::Ready),
    Some(Leased),
    Some(Building),
    Some(Publishing),
    Some(Failed),
    Some(Cancelled),
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn counting_says_the_same_as_looking_at_everything(
        worlds in worlds(),
        changes in proptest::collection::vec((0..8_u8, 0..PHASES.len()), 0..40),
    ) {
        let mut graph = Graph::default();
        let mut queue = Queue::default();
        let mut changes = changes.chunks(changes.len() / worlds.len() + 1);
        let mut told: HashMap<RecipeId, Readiness> = HashMap::new();
        for world in &worlds {
            let touched = with_supply(world, |catalogue, supply| graph.update(catalogue, supply));
            queue.follow(&graph, &touched);
            for (number, phase) in changes.next().unwrap_or_default() {
                let Some(recipe) = graph.by_source(&format!("p{number}")) else { continue };
                queue.set(&graph, recipe, PHASES[*phase].map(|phase| task(recipe, phase)));
                let open: HashMap<RecipeId, OpenTask> = queue.open().collect();
                for &recipe in open.keys() {
                    let expect = expected(&graph, &open, recipe);
                    prop_assert_eq!(queue.readiness(&graph, recipe).unwrap(), expect.clone());
                    let on = queue.waits_on(&graph, recipe, 100);
                    prop_assert_eq!(on.is_empty(), below(&graph, recipe).iter().all(|at| !open.contains_key(at)));
                }
            }
            let cold = Queue::new(&graph, queue.open());
            prop_assert_eq!(judge(&graph, &queue), judge(&graph, &cold));
            // Whoever listens to the changes alone knows every verdict.
            for recipe in queue.take_changed() {
                told.insert(recipe, queue.readiness(&graph, recipe).unwrap());
            }
            for (recipe, open) in queue.open() {
                if open.phase.is_queued() {
                    prop_assert_eq!(told.get(&recipe).cloned(), queue.readiness(&graph, recipe));
                }
            }
        }
    }
}
