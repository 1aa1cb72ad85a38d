//! All real recipes: from files to an order, and what one change costs.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use farm::catalogue::{Catalogue, RecipeEntry};
use farm::critical_path;
use farm::graph::{Graph, HostProvides, Supply};
use farm::ids::{RecipeId, TaskId};
use farm::moment::Moment;
use farm::published::Published;
use farm::queue::{OpenTask, Queue, Readiness};
use farm::schedule::{Candidate, Needs, Policy, Priority, Scheduler};
use farm::task::Phase;
use package::Dependency;

use crate::{BenchError, timing};

/// What was measured with the real recipes.
#[derive(Debug)]
pub(crate) struct Figures {
    pub(crate) recipes: usize,
    pub(crate) edges: usize,
    pub(crate) run_edges: usize,
    pub(crate) knots: Vec<usize>,
    pub(crate) deferred: usize,
    pub(crate) levels: usize,
    pub(crate) dropped: usize,
    pub(crate) catalogue_ms: f64,
    pub(crate) graph_ms: f64,
    pub(crate) queue_ms: f64,
    pub(crate) paths_ms: f64,
    pub(crate) offers_ms: f64,
    pub(crate) order_ms: f64,
    pub(crate) changes: usize,
    pub(crate) change_p50_ms: f64,
    pub(crate) change_p99_ms: f64,
    pub(crate) done_p50_ms: f64,
    pub(crate) done_worst_ms: f64,
}

/// Runs of what takes milliseconds.
pub(crate) const RUNS: usize = 21;

/// Measures.
pub(crate) fn measure(recipes: &Path) -> Result<Figures, BenchError> {
    let catalogue = summit::recipes::read_folder(recipes, "x86_64")?;
    let catalogue_ms = timing::median_ms(RUNS, || summit::recipes::read_folder(recipes, "x86_64"));
    // Nothing published: every recipe is queued. What is not in the pack comes from elsewhere.
    let own = Published::default();
    let supply = Supply { own: &own, others: &[], host: HostProvides::Everything };
    let graph_ms = timing::median_ms(RUNS, || Graph::new(&catalogue, &supply));
    let graph = Graph::new(&catalogue, &supply);
    let queue_ms = timing::median_ms(RUNS, || Queue::new(&graph, all_open(&graph)));
    let queue = Queue::new(&graph, all_open(&graph));
    let paths_ms = timing::median_ms(RUNS, || critical_path::lengths(&graph, &queue, |_| None));
    let paths = critical_path::lengths(&graph, &queue, |_| None);
    let offers_ms = timing::median_ms(RUNS, || offered(&graph, &queue, &paths));
    let order_ms = timing::median_ms(RUNS, || {
        let graph = Graph::new(&catalogue, &supply);
        let queue = Queue::new(&graph, all_open(&graph));
        let paths = critical_path::lengths(&graph, &queue, |_| None);
        let scheduler = offered(&graph, &queue, &paths);
        (graph, queue, scheduler)
    });
    let mut changes = changes(&catalogue, &supply, &graph, &queue);
    let mut done = done(&graph);
    let deferred = graph.recipes().map(|recipe| graph.deferred(recipe).count()).sum();
    Ok(Figures {
        recipes: catalogue.recipes().len(),
        edges: graph.edge_count(),
        run_edges: graph.run_edge_count(),
        knots: graph.knots().map(|members| members.len()).collect(),
        deferred,
        levels: graph.level_count(),
        dropped: edges_by_definition(&catalogue).saturating_sub(graph.edge_count()),
        catalogue_ms,
        graph_ms,
        queue_ms,
        paths_ms,
        offers_ms,
        order_ms,
        changes: changes.len(),
        change_p50_ms: timing::at(&mut changes, 50),
        change_p99_ms: timing::at(&mut changes, 99),
        done_p50_ms: timing::at(&mut done, 50),
        done_worst_ms: timing::at(&mut done, 100),
    })
}

fn task_of(recipe: RecipeId, phase: Phase) -> OpenTask {
    OpenTask { id: TaskId(u64::from(recipe.0) + 1), phase }
}

fn all_open(graph: &Graph) -> impl Iterator<Item = (RecipeId, OpenTask)> {
    graph.recipes().map(|recipe| (recipe, task_of(recipe, Phase::Waiting)))
}

/// A scheduler that knows everything that is ready, in order.
fn offered(graph: &Graph, queue: &Queue, paths: &[u64]) -> Scheduler {
    let mut scheduler = Scheduler::new(Policy::CriticalPath);
    let needs = Arc::new(Needs { architecture: "x86_64".into(), ..Needs::default() });
    for recipe in graph.recipes() {
        if queue.readiness(graph, recipe) == Some(Readiness::Ready) {
            scheduler.offer(Candidate {
                task: TaskId(u64::from(recipe.0) + 1),
                needs: Arc::clone(&needs),
                priority: Priority::Normal,
                path_ms: paths.get(recipe.index()).copied().unwrap_or(0),
                expected_ms: None,
                since: Moment(0),
                not_before: Moment(0),
                avoid: None,
            });
        }
    }
    scheduler
}

/// A commit that changes one recipe, for every fourth recipe: it gets a new release and needs one thing more. The time
/// covers the graph and the queue, until it is known whose verdict changed.
fn changes(catalogue: &Catalogue, supply: &Supply<'_>, graph: &Graph, queue: &Queue) -> Vec<Duration> {
    let mut times = Vec::new();
    let more: Dependency = Dependency::name("zlib-ng-devel");
    for index in (0..catalogue.recipes().len()).step_by(4) {
        let mut recipes = catalogue.recipes().to_vec();
        if let Some(place) = recipes.get_mut(index) {
            let mut changed = RecipeEntry::clone(place);
            changed.content.push_str("-changed");
            changed.release += 1;
            changed.build_depends.insert(more.clone());
            *place = Arc::new(changed);
        }
        let next = Catalogue::sharing(recipes, catalogue.unreadable().to_vec());
        let (mut graph, mut queue) = (graph.clone(), queue.clone());
        queue.take_changed();
        let begin = Instant::now();
        let touched = graph.update(&next, supply);
        queue.follow(&graph, &touched);
        std::hint::black_box(queue.take_changed());
        times.push(begin.elapsed());
    }
    times
}

/// One finished task, for every recipe in the order in which they are built: until it is known who may start now.
fn done(graph: &Graph) -> Vec<Duration> {
    let mut queue = Queue::new(graph, all_open(graph));
    queue.take_changed();
    let order: Vec<RecipeId> = graph.build_order().to_vec();
    let mut times = Vec::with_capacity(order.len());
    for recipe in order {
        let begin = Instant::now();
        queue.set(graph, recipe, None);
        for changed in queue.take_changed() {
            std::hint::black_box(queue.readiness(graph, changed));
        }
        times.push(begin.elapsed());
    }
    times
}

/// How many edges there must be, counted without the graph: pairs of a recipe and another one that offers one of its
/// build dependencies.
fn edges_by_definition(catalogue: &Catalogue) -> usize {
    let mut offered_by: HashMap<Dependency, Vec<usize>> = HashMap::new();
    for (index, entry) in catalogue.recipes().iter().enumerate() {
        for offer in entry.offers() {
            offered_by.entry(offer).or_default().push(index);
        }
    }
    let mut pairs = HashSet::new();
    for (user, entry) in catalogue.recipes().iter().enumerate() {
        let providers = entry.build_depends.iter().filter_map(|needed| offered_by.get(needed)).flatten();
        pairs.extend(providers.filter(|&&provider| provider != user).map(|&provider| (user, provider)));
    }
    pairs.len()
}
