//! A board that follows says what a new one says.

use farm::catalogue::{Catalogue, RecipeEntry};
use farm::graph::{HostProvides, Supply};
use farm::missing::Reason;
use farm::published::Published;

use super::*;
use crate::config::tests::{SMALLEST, check};
use crate::world::Redrawn;

fn catalogue(recipes: &[(&str, &[&str])]) -> Catalogue {
    let entry = |&(source, needs): &(&str, &[&str])| RecipeEntry {
        source: source.into(),
        path: format!("{source}/stone.yaml"),
        version: "1".into(),
        release: 1,
        content: needs.concat(),
        build_depends: needs.iter().map(|need| need.parse().unwrap()).collect(),
        run_depends: BTreeSet::new(),
        packages: Vec::new(),
        manifest: None,
    };
    Catalogue::new(recipes.iter().map(entry).collect(), Vec::new())
}

pub(super) fn row(id: u64, source: &str, state: State) -> TaskRow {
    TaskRow {
        id: TaskId(id),
        project: "demo".into(),
        channel: "main".into(),
        source: source.into(),
        version: "1".into(),
        release: 1,
        build_release: 1,
        architecture: "x86_64".into(),
        recipe_path: format!("{source}/stone.yaml"),
        content: String::new(),
        commit: String::new(),
        commit_time_seconds: 0,
        reason: Reason::New,
        wave: None,
        round: 0,
        priority: None,
        state,
        generation: 0,
        created: Moment(0),
        updated: Moment(0),
    }
}

struct Scene {
    config: Arc<Config>,
    draft: Graph,
    world: World,
}

impl Scene {
    fn new() -> Self {
        let config = Arc::new(check(SMALLEST).unwrap());
        let world = World::new(Arc::new(config.projects[0].clone()), "x86_64");
        Self { config, draft: Graph::default(), world: World { looked: Some(Moment(1)), ..world } }
    }

    fn draw(&mut self, recipes: &[(&str, &[&str])]) {
        let own = Published::default();
        let supply = Supply { own: &own, others: &[], host: HostProvides::Nothing };
        let touched = self.draft.update(&catalogue(recipes), &supply);
        let of = Arc::downgrade(&self.world.graph);
        self.world.redrawn = Some(Arc::new(Redrawn { of, touched }));
        self.world.graph = Arc::new(self.draft.clone());
    }

    fn worlds(&self) -> Worlds {
        Worlds::from([(self.world.arena.clone(), Arc::new(self.world.clone()))])
    }

    fn shown_to(&self, board: &mut Board) {
        board.follow(&self.worlds(), &self.config, &[]);
    }
}

/// Takes in rows as if they were all that is new in the store.
fn take_in(board: &mut Board, rows: &[TaskRow]) {
    for row in rows {
        board.take_in_one(row.clone());
    }
}

fn verdicts(board: &mut Board) -> Vec<(TaskId, Event)> {
    let mut verdicts = board.verdicts(|_| true, Moment(5));
    verdicts.sort_by_key(|(task, _)| *task);
    verdicts
}

#[test]
fn a_board_that_follows_a_graph_says_what_a_new_one_says() {
    let waiting = || row(0, "", State::new()).state;
    let mut all =
        [row(1, "a", waiting()), row(2, "b", waiting()), row(3, "c", waiting()), row(4, "d", waiting())];
    let steps: [&[(&str, &[&str])]; 5] = [
        &[("a", &[]), ("b", &["a"])],
        // A task may be there before its recipe is.
        &[("a", &[]), ("b", &["a"]), ("c", &["b"])],
        &[("a", &["c"]), ("b", &[]), ("c", &["b"])],
        &[("b", &[]), ("c", &["nobody"])],
        &[("b", &[]), ("c", &[]), ("d", &["c"])],
    ];
    let mut scene = Scene::new();
    let mut following = Board::new(&[]);
    take_in(&mut following, &all);
    scene.shown_to(&mut following);
    for recipes in steps {
        let before = scene.world.graph.clone();
        scene.draw(recipes);
        assert!(scene.world.redrawn.as_ref().unwrap().is_of(&before));
        scene.shown_to(&mut following);
        let mut fresh = Board::new(&[]);
        take_in(&mut fresh, &all);
        scene.shown_to(&mut fresh);
        for id in 1..=4 {
            assert_eq!(following.waits_on(TaskId(id), 9), fresh.waits_on(TaskId(id), 9), "{recipes:?}");
            assert_eq!(following.holds_up(TaskId(id)), fresh.holds_up(TaskId(id)), "{recipes:?}");
        }
        // What was said before and is written down is not said again, by neither.
        let said = verdicts(&mut following);
        assert_eq!(said, verdicts(&mut fresh), "{recipes:?}");
        for (task, event) in said {
            let row = all.iter_mut().find(|row| row.id == task).unwrap();
            row.state = farm::task::step(&row.state, &event, Moment(5)).unwrap().next;
        }
        take_in(&mut following, &all);
    }
}

#[test]
fn a_graph_that_was_missed_in_between_is_followed_as_well() {
    let waiting = State::new;
    let mut scene = Scene::new();
    let mut board = Board::new(&[]);
    take_in(&mut board, &[row(1, "a", waiting()), row(2, "b", waiting())]);
    scene.draw(&[("a", &[]), ("b", &[])]);
    scene.shown_to(&mut board);
    scene.draw(&[("a", &[]), ("b", &["a"])]);
    scene.draw(&[("a", &[]), ("b", &["a"]), ("c", &[])]);
    scene.shown_to(&mut board);
    assert_eq!(board.waits_on(TaskId(2), 9), [TaskId(1)]);
}

#[test]
fn a_task_that_changes_is_judged_with_those_that_it_matters_to_and_no_others() {
    let mut scene = Scene::new();
    scene.draw(&[("a", &[]), ("b", &["a"]), ("c", &[]), ("d", &["c"])]);
    let mut board = Board::new(&[]);
    let queued = [row(1, "a", State::new()), row(2, "b", State::new()), row(3, "c", State::new())];
    take_in(&mut board, &queued);
    scene.shown_to(&mut board);
    let ready: Vec<u64> = verdicts(&mut board).iter().map(|(task, _)| task.0).collect();
    assert_eq!(ready, [1, 3]);
    let published = State::Published { attempt: farm::ids::AttemptId(1), history: "1".into() };
    take_in(&mut board, &[row(1, "a", published)]);
    scene.shown_to(&mut board);
    let ready: Vec<u64> = verdicts(&mut board).iter().map(|(task, _)| task.0).collect();
    assert_eq!(ready, [2], "what was said of the others is not said again");
}
