//! What other projects are about to publish.
//!
//! A project may build against the channel of another one. What is on its way there is waited for, as what is on its way
//! in the project's own channel is: whoever builds against yesterday's library today must build again tomorrow. What does
//! not come by itself (failed, cancelled, blocked, held) is not waited for: the other project has what it published before,
//! and its troubles are its own.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::sync::Arc;

use farm::ids::{RecipeId, TaskId};
use farm::published::Published;
use farm::task::Phase;
use package::Dependency;

use super::{ArenaBoard, Board};
use crate::config::{RepositoryConfig, VesselConfig};
use crate::world::{Arena, World, Worlds};

/// Tasks below one recipe of another project that are looked at: waiting for one of them is waiting for all.
const BELOW_MAX: usize = 16;

/// The channels of other projects that a project builds against.
#[derive(Debug, Default)]
pub(super) struct Elsewhere {
    /// What its own channel has: that wins over what the others have.
    own: Arc<Published>,
    /// The others, the one that wins first.
    places: Vec<Place>,
}

/// A channel of another project.
#[derive(Debug)]
struct Place {
    /// Who publishes to it.
    arena: Arena,
    /// What it has.
    published: Arc<Published>,
}

impl Elsewhere {
    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }
}

/// The channels of other projects that the project of `world` builds against. Two projects that build against each other
/// do not wait for each other, or both would wait for ever.
pub(super) fn of(world: &World, worlds: &Worlds, vessel: &VesselConfig) -> Elsewhere {
    let mut places: Vec<_> = world.project.repositories.iter().zip(&world.others).collect();
    places.sort_by_key(|(place, _)| Reverse(place.priority));
    let mut found = Vec::new();
    for (place, state) in places {
        let publishers = publishers(place, world, worlds, vessel);
        let one_way = publishers.filter(|other| !draws_on(other, world, worlds, vessel));
        found.extend(
            one_way
                .map(|other| Place { arena: other.arena.clone(), published: Arc::clone(&state.published) }),
        );
    }
    Elsewhere { own: Arc::clone(&world.repository.published), places: found }
}

/// The other projects that publish to `place`, for the architecture of `world`.
fn publishers<'a>(
    place: &'a RepositoryConfig,
    world: &'a World,
    worlds: &'a Worlds,
    vessel: &'a VesselConfig,
) -> impl Iterator<Item = &'a World> {
    worlds.values().map(Arc::as_ref).filter(move |other| {
        other.arena.architecture == world.arena.architecture
            && other.arena.project != world.arena.project
            && place.is_channel(vessel, &other.project.channel)
    })
}

/// Whether `world` builds against what `wanted` publishes, directly or by way of others.
fn draws_on(world: &World, wanted: &World, worlds: &Worlds, vessel: &VesselConfig) -> bool {
    let mut seen = BTreeSet::from([&world.arena]);
    let mut open = vec![world];
    while let Some(world) = open.pop() {
        for place in &world.project.repositories {
            for other in publishers(place, world, worlds, vessel) {
                if other.arena == wanted.arena {
                    return true;
                }
                if seen.insert(&other.arena) {
                    open.push(other);
                }
            }
        }
    }
    false
}

impl Board {
    /// Tasks of other projects that will publish something newer of what `recipe` is built with, at most `max`, in order.
    pub(super) fn coming_elsewhere(&self, board: &ArenaBoard, recipe: RecipeId, max: usize) -> Vec<TaskId> {
        if board.elsewhere.is_empty() || max == 0 {
            return Vec::new();
        }
        let mut found = Vec::new();
        let is_own = |dependency: &Dependency| board.elsewhere.own.providers(dependency).next().is_some();
        let dependencies = board.graph.from_repository(recipe).into_iter();
        for dependency in dependencies.filter(|dependency| !is_own(dependency)) {
            for place in &board.elsewhere.places {
                let packages = place.published.providers(&dependency);
                let sources =
                    packages.filter_map(|name| place.published.package(name)).map(|package| &package.source);
                for source in sources {
                    found.extend(self.coming(&place.arena, source));
                }
            }
        }
        found.sort_unstable();
        found.dedup();
        found.truncate(max);
        found
    }

    /// Tasks of an arena that will change what `source` gives, or what stands below it.
    fn coming(&self, arena: &Arena, source: &str) -> Vec<TaskId> {
        let place = self.arenas.get(arena).and_then(|board| Some((board, board.graph.by_source(source)?)));
        let Some((board, recipe)) = place else { return Vec::new() };
        match board.queue.task(recipe) {
            Some(task) if comes(task.phase) => vec![task.id],
            Some(_) => Vec::new(),
            None => {
                let below = board.queue.waits_on(&board.graph, recipe, BELOW_MAX);
                let comes = |id: &TaskId| self.living(*id).is_some_and(|living| comes(living.state.phase()));
                below.into_iter().filter(comes).collect()
            }
        }
    }
}

/// Whether a task in this phase goes on by itself.
fn comes(phase: Phase) -> bool {
    matches!(phase, Phase::Waiting | Phase::Ready) || phase.is_running()
}

#[cfg(test)]
mod tests {
    use farm::catalogue::{Catalogue, RecipeEntry};
    use farm::graph::{Graph, HostProvides, Supply};
    use farm::moment::Moment;
    use farm::published::PublishedPackage;
    use farm::task::{Event, State};

    use super::*;
    use crate::config::Config;
    use crate::config::tests::check;
    use crate::repository_state::RepositoryState;
    use crate::store::TaskRow;

    /// `base` publishes to `main`; `top` builds against it and publishes to `top`.
    const TWO: &str = "
        [vessel]
        address = '127.0.0.1:5002'
        public_key = 'AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA'
        public_url = 'http://127.0.0.1:5003/'
        [[project]]
        name = 'base'
        recipes = '/base'
        [[project]]
        name = 'top'
        recipes = '/top'
        channel = 'top'
        [[project.repository]]
        id = 'below'
        base_uri = 'http://127.0.0.1:5003'
        ";

    /// The other way round as well.
    const MUTUAL: &str = "
        [[project]]
        name = 'third'
        recipes = '/third'
        channel = 'main'
        [[project.repository]]
        id = 'above'
        base_uri = 'http://127.0.0.1:5003'
        channel = 'top'
        ";

    fn entry(source: &str, needs: &[&str]) -> RecipeEntry {
        RecipeEntry {
            source: source.into(),
            path: format!("{source}/stone.yaml"),
            version: "1".into(),
            release: 1,
            content: String::new(),
            build_depends: needs.iter().map(|need| need.parse().unwrap()).collect(),
            run_depends: BTreeSet::new(),
            packages: Vec::new(),
            manifest: None,
        }
    }

    fn published(sources: &[&str]) -> Arc<Published> {
        let package = |source: &&str| PublishedPackage {
            name: format!("{source}-devel"),
            source: (*source).to_owned(),
            version: "1".into(),
            release: 1,
            build_release: 1,
            provides: Box::default(),
            depends: Box::default(),
            download_size_bytes: 0,
        };
        Arc::new(Published::new(sources.iter().map(package)))
    }

    fn world(config: &Config, project: &str, recipes: Vec<RecipeEntry>, others: &[&Arc<Published>]) -> World {
        let project = config.projects.iter().find(|known| known.name == project).unwrap();
        let mut world = World::new(Arc::new(project.clone()), "x86_64");
        world.looked = Some(Moment(1));
        world.others = others
            .iter()
            .map(|published| RepositoryState { history: None, published: Arc::clone(published) })
            .collect();
        let tables: Vec<&Published> = others.iter().map(|published| published.as_ref()).collect();
        let supply =
            Supply { own: &world.repository.published, others: &tables, host: HostProvides::Nothing };
        world.graph = Arc::new(Graph::new(&Catalogue::new(recipes, Vec::new()), &supply));
        world
    }

    fn row(id: u64, project: &str, source: &str, state: State) -> TaskRow {
        TaskRow { project: project.into(), ..super::super::tests::row(id, source, state) }
    }

    /// What is said of task 2, `app` of project `top`, which needs lib-devel, while `lib` of project `base` is in this state.
    fn said(config: &str, lib: State, app: State) -> Vec<String> {
        let config = Arc::new(check(config).unwrap());
        let below = published(&["lib"]);
        let mut worlds = Worlds::new();
        for world in [
            world(&config, "base", vec![entry("lib", &[])], &[]),
            world(&config, "top", vec![entry("app", &["lib-devel"])], &[&below]),
        ] {
            worlds.insert(world.arena.clone(), Arc::new(world));
        }
        if let Some(third) = config.projects.iter().find(|project| project.name == "third") {
            let third = world(&config, &third.name, Vec::new(), &[&published(&[])]);
            worlds.insert(third.arena.clone(), Arc::new(third));
        }
        let mut board = Board::new(&[]);
        board.take_in_one(row(1, "base", "lib", lib));
        board.take_in_one(row(2, "top", "app", app));
        board.follow(&worlds, &config, &[]);
        let verdicts = board.verdicts(|arena| arena.project == "top", Moment(5));
        let mut said: Vec<String> = verdicts
            .into_iter()
            .map(|(task, event)| match event {
                Event::Judged { readiness } => format!("{task}: {readiness:?}"),
                other => panic!("{other:?}"),
            })
            .collect();
        said.extend(board.waits_on(TaskId(2), 9).iter().map(|task| format!("waits on {task}")));
        said
    }

    fn ready() -> State {
        State::Ready { since: Moment(1), tries: farm::task::Tries::default() }
    }

    #[test]
    fn what_is_on_its_way_in_a_channel_that_is_built_against_is_waited_for() {
        let published = || State::Published { attempt: farm::ids::AttemptId(1), history: "1".into() };
        let failed = || State::Failed {
            attempt: farm::ids::AttemptId(1),
            class: farm::failure::FailureClass::Build,
            message: String::new(),
            during: String::new(),
        };
        let both = TWO.to_owned() + MUTUAL;
        for (config, lib, app, expect) in [
            (TWO, State::new(), State::new(), &["waits on 1"][..]),
            (TWO, ready(), ready(), &["2: Waits", "waits on 1"]),
            (TWO, published(), State::new(), &["2: Ready"]),
            // Its own channel has what it had; the failure is the other project's.
            (TWO, failed(), State::new(), &["2: Ready"]),
            // `third` publishes to the same channel as `base`, and builds against `top`.
            (&both, ready(), State::new(), &["waits on 1"]),
        ] {
            assert_eq!(said(config, lib.clone(), app), expect, "{lib:?}");
        }
    }

    #[test]
    fn projects_that_build_against_each_other_do_not_wait_for_each_other() {
        let mutual = TWO.replace("[[project]]\n        name = 'top'", "[[project.repository]]\n        id = 'above'\n        base_uri = 'http://127.0.0.1:5003'\n        channel = 'top'\n        [[project]]\n        name = 'top'");
        assert_eq!(said(&mutual, ready(), State::new()), ["2: Ready"]);
    }

    #[test]
    fn what_one_has_itself_is_not_waited_for() {
        let config = Arc::new(check(TWO).unwrap());
        let below = published(&["lib"]);
        let mut top = world(&config, "top", vec![entry("app", &["lib-devel"])], &[&below]);
        top.repository.published = published(&["lib"]);
        let base = world(&config, "base", vec![entry("lib", &[])], &[]);
        let worlds = Worlds::from([top, base].map(|world| (world.arena.clone(), Arc::new(world))));
        let mut board = Board::new(&[]);
        board.take_in_one(row(1, "base", "lib", ready()));
        board.take_in_one(row(2, "top", "app", State::new()));
        board.follow(&worlds, &config, &[]);
        assert_eq!(board.waits_on(TaskId(2), 9), []);
    }
}
