//! The build order as a map: where each recipe stands in the picture, how it stands, and who its neighbours are.
//!
//! The map of a queue has every recipe with a task that is not done, and those that were published since the oldest of the
//! tasks that still move was made. So nothing leaves its place while a rebuild goes on, see [`super::places`].

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use farm::ids::{RecipeId, TaskId};
use farm::moment::Moment;
use farm::plan::KnownTask;
use farm::task::Phase;
use picture::{Cell, Layers, Sign};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::board::Ways;
use crate::web::Web;
use crate::web::error::WebError;
use crate::world::{Arena, World};

/// Which map, and what of it.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct MapQuery {
    /// The project; the first one unless given.
    pub(crate) project: Option<String>,
    /// The architecture; the first one of the project unless given.
    pub(crate) arch: Option<String>,
    /// Which recipes: those of the `queue` unless given, or `all`.
    #[serde(default)]
    pub(crate) show: MapScope,
    /// For pages: the whole `picture` unless given, a `list` instead of it, or only the `summary`.
    #[serde(default)]
    pub(crate) view: MapPage,
    /// Marks recipes whose name has this in it; the recipe itself for neighbours.
    pub(crate) find: Option<String>,
}

/// Which recipes are on the map.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum MapScope {
    #[default]
    Queue,
    All,
}

/// What of the page is asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum MapPage {
    #[default]
    Picture,
    List,
    Summary,
}

/// Everything that the picture shows.
pub(crate) struct QueueMap {
    pub(crate) arena: Arena,
    pub(crate) scope: MapScope,
    pub(crate) world: Arc<World>,
    /// Recipes in the order in which `layers` and `cells` have them.
    pub(crate) order: Vec<RecipeId>,
    pub(crate) layers: Arc<Layers>,
    pub(crate) cells: Vec<Cell>,
    pub(crate) tasks: Vec<Option<TaskId>>,
    /// Indices of the recipes on the critical path.
    pub(crate) critical: Vec<usize>,
    /// How long the critical path takes on the reference machine.
    pub(crate) critical_ms: u64,
    /// Who is built against the previous generation of whom.
    pub(crate) deferred: Vec<(usize, usize)>,
}

/// `/api/queue/map`
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct MapView {
    project: String,
    architecture: String,
    show: MapScope,
    /// Names these places: other places have another name.
    layout: String,
    width: usize,
    height: usize,
    cell_height: usize,
    /// From left to right, and in a column from top to bottom.
    recipes: Vec<MapRecipe>,
    /// Sources on the critical path, from the one that is built first.
    critical_path: Vec<String>,
    critical_path_ms: u64,
    /// Groups of recipes that need each other.
    knots: Vec<Vec<String>>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct MapRecipe {
    source: String,
    /// How it stands, in a word.
    state: &'static str,
    task: Option<TaskId>,
    x: usize,
    y: usize,
    width: usize,
    level: usize,
}

/// `/api/queue/signs`: how everything on the map stands, as short as can be.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct SignsView {
    /// The name of the places, as in `/api/queue/map`.
    layout: String,
    /// A letter for each recipe, in the order of the map: `w`aiting, `r`eady, `h`eld, `b`uilding, `u`p to be published,
    /// `p`ublished, bl`o`cked, `f`ailed, `c`ancelled, `n`othing.
    signs: String,
    /// Places in that order of the recipes on the critical path.
    critical_path: Vec<usize>,
}

/// `/api/queue/neighbours`
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct NeighboursView {
    source: String,
    state: &'static str,
    task: Option<TaskId>,
    /// How long its build is expected to take, on the reference machine.
    expected_ms: Option<u64>,
    /// The longest way of open tasks that begins with it.
    way_ms: u64,
    /// How many recipes need each other with it, itself counted; 0 when none does.
    knot: usize,
    needs: Vec<Neighbour>,
    needed_by: Vec<Neighbour>,
}

/// A recipe at the other end of an edge.
#[derive(Debug, Serialize, JsonSchema)]
struct Neighbour {
    source: String,
    state: &'static str,
    /// Whether the one that needs is built against the previous generation of the other.
    deferred: bool,
    /// The dependencies that make the edge; at most five.
    because: Vec<String>,
}

/// Dependencies that are named as the reason of an edge.
const REASONS_MAX: usize = 5;

impl Web {
    pub(crate) async fn queue_map(&self, query: &MapQuery) -> Result<QueueMap, WebError> {
        let named =
            |name: &'_ Option<String>| name.clone().filter(|name| !matches!(name.as_str(), "" | "all"));
        let arena = self.arena(named(&query.project).as_deref(), named(&query.arch).as_deref())?;
        let world = self.world(&arena)?;
        let newest = self.newest_tasks(&arena).await?;
        let since = self.hub.store.moving_since(&arena.project, &arena.architecture).await?;
        let (critical, critical_ms) = self.hub.with_board(|board| board.critical_path(&arena));
        let graph = &world.graph;
        let is_shown = |recipe: RecipeId| {
            query.show == MapScope::All || is_in_queue(newest.get(graph.source(recipe)), since)
        };
        let (order, layers) = self.drawings.of(&arena, query.show, &world, is_shown);
        let has_place = |index: usize| layers.places.get(index).is_some_and(Option::is_some);
        let index: HashMap<RecipeId, usize> =
            order.iter().enumerate().map(|(index, &recipe)| (recipe, index)).collect();
        let critical = critical.iter().filter_map(|source| index.get(&graph.by_source(source)?).copied());
        let critical = critical.filter(|&index| has_place(index)).collect();
        let mut deferred = Vec::new();
        for (user, &recipe) in order.iter().enumerate().filter(|(user, _)| has_place(*user)) {
            let ends = graph.deferred(recipe).filter_map(|needed| index.get(&needed).copied());
            deferred.extend(ends.map(|needed| (user, needed)));
        }
        let (mut cells, mut tasks) = (Vec::with_capacity(order.len()), Vec::with_capacity(order.len()));
        for &recipe in &order {
            let source = graph.source(recipe);
            let task = newest.get(source).map(|(task, _)| task);
            let is_published = world.repository.published.source(source).is_some();
            cells.push(Cell {
                name: source.to_owned(),
                sign: sign(task.map(|task| task.phase), is_published),
                // Relative to the page, which is at the top: the picture has a thousand of them.
                address: task.map(|task| format!("tasks/{}", task.id)),
            });
            tasks.push(task.map(|task| task.id));
        }
        let scope = query.show;
        Ok(QueueMap { arena, scope, world, order, layers, cells, tasks, critical, critical_ms, deferred })
    }

    /// Who a recipe needs, and who needs it.
    pub(crate) async fn neighbours(&self, query: &MapQuery) -> Result<NeighboursView, WebError> {
        let asked = MapQuery {
            project: query.project.clone(),
            arch: query.arch.clone(),
            show: MapScope::All,
            ..MapQuery::default()
        };
        let map = self.queue_map(&asked).await?;
        let graph = &map.world.graph;
        let source = query.find.as_deref().unwrap_or_default();
        let recipe = graph.by_source(source).ok_or_else(|| WebError::no_recipe(source))?;
        let states: HashMap<&str, (&'static str, Option<TaskId>)> = map
            .cells
            .iter()
            .zip(&map.tasks)
            .map(|(cell, task)| (cell.name.as_str(), (cell.sign.word(), *task)))
            .collect();
        let state_of = |source: &str| states.get(source).copied().unwrap_or((Sign::None.word(), None));
        let edge = |other: RecipeId, user: RecipeId, needed: RecipeId| Neighbour {
            source: graph.source(other).to_owned(),
            state: state_of(graph.source(other)).0,
            deferred: graph.is_deferred(user, needed),
            because: graph
                .because(user, needed)
                .iter()
                .take(REASONS_MAX)
                .map(package::Dependency::short)
                .collect(),
        };
        let ways: Ways = self.hub.with_board(|board| board.ways(&map.arena, source));
        let (state, task) = state_of(source);
        Ok(NeighboursView {
            source: source.to_owned(),
            state,
            task,
            expected_ms: ways.expected_ms,
            way_ms: ways.length_ms,
            knot: graph.knot_of(recipe).map_or(0, |knot| graph.component_members(knot).len()),
            needs: graph.ordered_after(recipe).map(|other| edge(other, recipe, other)).collect(),
            needed_by: graph.ordered_before(recipe).map(|other| edge(other, other, recipe)).collect(),
        })
    }
}

impl QueueMap {
    /// How many recipes of each sign are on the map.
    pub(crate) fn counts(&self) -> HashMap<Sign, usize> {
        let mut counts = HashMap::new();
        for (cell, _) in self.cells.iter().zip(&self.layers.places).filter(|(_, place)| place.is_some()) {
            *counts.entry(cell.sign).or_default() += 1;
        }
        counts
    }

    /// Indices of the recipes whose name has `text` in it.
    pub(crate) fn find(&self, text: &str) -> Vec<usize> {
        let text = text.trim().to_lowercase();
        if text.is_empty() {
            return Vec::new();
        }
        let of_map = self.cells.iter().enumerate().filter(|(index, _)| self.layers.places[*index].is_some());
        of_map.filter(|(_, cell)| cell.name.to_lowercase().contains(&text)).map(|(index, _)| index).collect()
    }

    /// A name of the places: the same for the same places of the same recipes.
    pub(crate) fn layout(&self) -> String {
        let mut hasher = DefaultHasher::new();
        for (cell, place) in self.cells.iter().zip(&self.layers.places) {
            if let Some(place) = place {
                (&cell.name, place.x, place.y).hash(&mut hasher);
            }
        }
        format!("{:016x}", hasher.finish())
    }

    pub(crate) fn signs(&self) -> SignsView {
        let reading = picture::reading_order(&self.layers);
        let number: HashMap<usize, usize> =
            reading.iter().enumerate().map(|(number, &index)| (index, number)).collect();
        SignsView {
            layout: self.layout(),
            signs: picture::letters(&self.layers, &self.cells),
            critical_path: self.critical.iter().filter_map(|index| number.get(index).copied()).collect(),
        }
    }

    pub(crate) fn view(&self) -> MapView {
        let recipe = |index: usize| {
            let (cell, place) = (self.cells.get(index)?, self.layers.places.get(index).copied()??);
            Some(MapRecipe {
                source: cell.name.clone(),
                state: cell.sign.word(),
                task: self.tasks.get(index).copied().flatten(),
                x: place.x,
                y: place.y,
                width: place.width,
                level: place.level,
            })
        };
        let graph = &self.world.graph;
        let name = |&member: &RecipeId| graph.source(member).to_owned();
        MapView {
            project: self.arena.project.clone(),
            architecture: self.arena.architecture.clone(),
            show: self.scope,
            layout: self.layout(),
            width: self.layers.width,
            height: self.layers.height,
            cell_height: self.layers.scale.cell_height,
            recipes: picture::reading_order(&self.layers).into_iter().filter_map(recipe).collect(),
            critical_path: self.critical.iter().map(|&index| self.cells[index].name.clone()).collect(),
            critical_path_ms: self.critical_ms,
            knots: self.knots().map(|members| members.iter().map(name).collect()).collect(),
        }
    }

    /// Knots with a member on the map.
    pub(crate) fn knots(&self) -> impl Iterator<Item = &[RecipeId]> {
        let index: HashMap<RecipeId, usize> =
            self.order.iter().enumerate().map(|(index, &recipe)| (recipe, index)).collect();
        self.world.graph.knots().filter(move |members| {
            let mut places = members.iter().filter_map(|member| index.get(member));
            places.any(|&place| self.layers.places[place].is_some())
        })
    }
}

/// Whether the newest task of a recipe belongs on the map of the queue.
fn is_in_queue(task: Option<&(KnownTask, Moment)>, moving_since: Option<Moment>) -> bool {
    match task {
        None => false,
        Some((task, _)) if task.phase != Phase::Published => true,
        Some((_, updated)) => moving_since.is_some_and(|since| since <= *updated),
    }
}

fn sign(phase: Option<Phase>, is_published: bool) -> Sign {
    match phase {
        None | Some(Phase::Superseded) if is_published => Sign::Published,
        None | Some(Phase::Superseded) => Sign::None,
        Some(Phase::Waiting) => Sign::Waiting,
        Some(Phase::Blocked) => Sign::Blocked,
        Some(Phase::Ready) => Sign::Ready,
        Some(Phase::Held) => Sign::Held,
        Some(Phase::Leased | Phase::Building) => Sign::Building,
        Some(Phase::Publishing) => Sign::Publishing,
        Some(Phase::Published) => Sign::Published,
        Some(Phase::Failed) => Sign::Failed,
        Some(Phase::Cancelled) => Sign::Cancelled,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_published_stays_on_the_map_while_the_rebuild_goes_on() {
        let task = |phase| KnownTask {
            id: TaskId(1),
            source: "nano".into(),
            recipe_path: String::new(),
            content: String::new(),
            release: 1,
            build_release: 1,
            phase,
        };
        let check = |phase, updated, since: Option<u64>| {
            is_in_queue(Some(&(task(phase), Moment(updated))), since.map(Moment))
        };
        assert!(!is_in_queue(None, Some(Moment(0))), "nobody wants it built");
        assert!(check(Phase::Failed, 1, None) && check(Phase::Waiting, 1, Some(5)));
        assert!(check(Phase::Published, 7, Some(5)), "it was part of the rebuild that goes on");
        assert!(!check(Phase::Published, 3, Some(5)), "it was published before that began");
        assert!(!check(Phase::Published, 3, None), "nothing moves");
    }

    #[test]
    fn every_phase_has_a_sign() {
        for phase in Phase::ALL {
            let expect = match phase {
                Phase::Leased => "building",
                Phase::Superseded => "none",
                phase => phase.keyword(),
            };
            assert_eq!(sign(Some(phase), false).word(), expect);
        }
        assert_eq!((sign(None, true), sign(None, false)), (Sign::Published, Sign::None));
    }
}
