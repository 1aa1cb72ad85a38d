//! Which tasks a commit makes, and which it ends.
//!
//! Tasks are those of one project for one architecture, and belong to recipes by source name: neither another project with
//! the same paths nor a folder that was renamed changes anything. What is being published is never touched; what is being
//! built is stopped when nobody asks for it any more.

use std::collections::{HashMap, HashSet};

use crate::catalogue::Catalogue;
use crate::ids::TaskId;
use crate::missing::{Missing, Reason};
use crate::task::Phase;

/// What is known of a task that may still matter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownTask {
    /// Its number.
    pub id: TaskId,
    /// Source name of its recipe.
    pub source: String,
    /// Path of its recipe when it was made.
    pub recipe_path: String,
    /// Content of its recipe, as [`crate::catalogue::RecipeEntry::content`].
    pub content: String,
    /// Its release.
    pub release: u64,
    /// Its build release.
    pub build_release: u64,
    /// Where it stands.
    pub phase: Phase,
}

/// One change to the tasks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A task is made. The named ones are superseded by it.
    Create {
        /// Index of the recipe in the catalogue.
        recipe: usize,
        /// Why it is needed.
        reason: Reason,
        /// Its build release.
        build_release: u64,
        /// Tasks of the same recipe that it replaces.
        supersedes: Vec<TaskId>,
    },
    /// The recipe does not ask for this task any more.
    Withdraw {
        /// The task.
        task: TaskId,
        /// Why, for people.
        why: String,
    },
}

/// Compares what is missing with the tasks that exist.
///
/// A recipe has one living task. The same content at the same release and build release makes no second one, in whatever
/// state the first is: a failed one waits for a person, for a commit that changes the recipe, or for the wish of a rebuild.
#[must_use]
pub fn plan(catalogue: &Catalogue, missing: &[Missing], tasks: &[KnownTask]) -> Vec<Change> {
    let mut tasks_of: HashMap<&str, Vec<&KnownTask>> = HashMap::new();
    for task in tasks {
        tasks_of.entry(&task.source).or_default().push(task);
    }
    let mut changes = Vec::new();
    // Those that are asked for, and those that were superseded just now.
    let mut settled: HashSet<TaskId> = HashSet::new();
    for found in missing {
        let Some(entry) = catalogue.recipes().get(found.recipe) else { continue };
        let of_source = tasks_of.get(entry.source.as_str()).map_or(&[][..], Vec::as_slice);
        let same = of_source.iter().find(|task| {
            (&task.content, task.release, task.build_release)
                == (&entry.content, entry.release, found.build_release)
                && !matches!(task.phase, Phase::Superseded | Phase::Published)
        });
        // Older ones next to it are withdrawn below: nobody asks for them.
        if let Some(task) = same {
            settled.insert(task.id);
            continue;
        }
        let supersedes: Vec<TaskId> =
            of_source.iter().filter(|task| is_replaced(task.phase)).map(|task| task.id).collect();
        settled.extend(&supersedes);
        changes.push(Change::Create {
            recipe: found.recipe,
            reason: found.reason.clone(),
            build_release: found.build_release,
            supersedes,
        });
    }
    let unreadable: HashSet<&str> = catalogue.unreadable().iter().map(|file| file.path.as_str()).collect();
    let sources: HashSet<&str> = catalogue.recipes().iter().map(|entry| entry.source.as_str()).collect();
    // A failed task that nobody asks for any more must not block its dependents for ever.
    for task in tasks.iter().filter(|task| is_replaced(task.phase) && !settled.contains(&task.id)) {
        let why = if sources.contains(task.source.as_str()) {
            "the recipe does not ask for it any more"
        } else if unreadable.contains(task.recipe_path.as_str()) {
            // It may be corrected in a minute.
            continue;
        } else {
            "the recipe was removed"
        };
        changes.push(Change::Withdraw { task: task.id, why: why.into() });
    }
    changes
}

/// What is being published cannot be taken back; it lands, and the new task follows.
fn is_replaced(phase: Phase) -> bool {
    match phase {
        Phase::Waiting | Phase::Blocked | Phase::Ready | Phase::Held | Phase::Leased | Phase::Building => {
            true
        }
        Phase::Failed | Phase::Cancelled => true,
        Phase::Publishing | Phase::Published | Phase::Superseded => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::tests::recipe;
    use crate::catalogue::{RecipeEntry, Unreadable};
    use crate::graph::tests::graph_of;
    use crate::missing::{Wanted, Wish, missing};
    use crate::published::Published;
    use crate::published::tests::package;
    use crate::queue::{OpenTask, Queue, Readiness};

    fn known(id: u64, source: &str, content: &str, phase: Phase) -> KnownTask {
        let entry = recipe(source, &[]);
        KnownTask {
            id: TaskId(id),
            source: entry.source,
            recipe_path: entry.path,
            content: content.into(),
            release: 1,
            build_release: 1,
            phase,
        }
    }

    /// What a commit with these recipes changes over what is published (as source and release).
    fn changes(recipes: &[RecipeEntry], published: &[(&str, u64)], tasks: &[KnownTask]) -> Vec<Change> {
        let catalogue = Catalogue::new(recipes.to_vec(), Vec::new());
        let published =
            Published::new(published.iter().map(|(source, release)| package(source, source, *release, &[])));
        plan(&catalogue, &missing(&catalogue, &published, &HashMap::new()), tasks)
    }

    fn created(changes: &[Change]) -> Option<Vec<u64>> {
        changes.iter().find_map(|change| match change {
            Change::Create { supersedes, .. } => Some(supersedes.iter().map(|task| task.0).collect()),
            Change::Withdraw { .. } => None,
        })
    }

    fn withdrawn(changes: &[Change]) -> Vec<u64> {
        let withdrawn = changes.iter().filter_map(|change| match change {
            Change::Withdraw { task, .. } => Some(task.0),
            Change::Create { .. } => None,
        });
        withdrawn.collect()
    }

    /// The content that [`recipe`] gives to zlib.
    const SAME: &str = "tree-of-zlib";

    #[test]
    fn one_living_task_for_a_recipe() {
        for (content, phase, expect) in [
            (SAME, Phase::Waiting, None),
            (SAME, Phase::Building, None),
            (SAME, Phase::Failed, None),
            (SAME, Phase::Cancelled, None),
            // Published, and yet missing: somebody removed it from the repository.
            (SAME, Phase::Published, Some(vec![])),
            (SAME, Phase::Superseded, Some(vec![])),
            ("other", Phase::Waiting, Some(vec![7])),
            ("other", Phase::Leased, Some(vec![7])),
            ("other", Phase::Building, Some(vec![7])),
            ("other", Phase::Failed, Some(vec![7])),
            ("other", Phase::Publishing, Some(vec![])),
        ] {
            let changes = changes(&[recipe("zlib", &[])], &[], &[known(7, "zlib", content, phase)]);
            assert_eq!(created(&changes), expect, "{content} {phase:?}");
            assert_eq!(withdrawn(&changes), [0; 0], "{content} {phase:?}");
        }
    }

    // A build that was superseded while it ran once left its repository without any new task for ever.
    #[test]
    fn a_recipe_that_changes_while_it_is_built_or_published_gets_its_next_task() {
        let newer = RecipeEntry { release: 2, content: "newer".into(), ..recipe("zlib", &[]) };
        for (phase, supersedes) in [(Phase::Building, vec![7]), (Phase::Publishing, vec![])] {
            let recipes = [newer.clone(), recipe("xz", &[])];
            let changes = changes(&recipes, &[], &[known(7, "zlib", SAME, phase)]);
            let made = changes.iter().filter(|change| matches!(change, Change::Create { .. })).count();
            assert_eq!((made, withdrawn(&changes)), (2, vec![]), "{phase:?}: zlib and xz");
            assert!(changes.iter().any(|change| matches!(change, Change::Create { supersedes: found, .. }
                if found.iter().map(|task| task.0).eq(supersedes.clone()))));
        }
    }

    #[test]
    fn a_removed_recipe_ends_its_task_also_while_it_is_built_but_not_while_it_is_published() {
        for (phase, expect) in [
            (Phase::Waiting, true),
            (Phase::Blocked, true),
            (Phase::Ready, true),
            (Phase::Held, true),
            (Phase::Leased, true),
            (Phase::Building, true),
            (Phase::Publishing, false),
            (Phase::Failed, true),
            (Phase::Cancelled, true),
            (Phase::Published, false),
            (Phase::Superseded, false),
        ] {
            let tasks = [known(7, "zlib", SAME, phase)];
            assert_eq!(!withdrawn(&changes(&[], &[], &tasks)).is_empty(), expect, "removed {phase:?}");
            let reverted = changes(&[recipe("zlib", &[])], &[("zlib", 1)], &tasks);
            assert_eq!(!withdrawn(&reverted).is_empty(), expect, "taken back {phase:?}");
            assert_eq!(created(&reverted), None);
        }
    }

    #[test]
    fn a_renamed_folder_keeps_its_running_build() {
        let renamed = RecipeEntry { path: "libs/zlib/stone.yaml".into(), ..recipe("zlib", &[]) };
        for phase in [Phase::Waiting, Phase::Building, Phase::Failed] {
            assert_eq!(
                changes(std::slice::from_ref(&renamed), &[], &[known(7, "zlib", SAME, phase)]),
                [],
                "{phase:?}"
            );
        }
    }

    #[test]
    fn a_recipe_with_a_new_name_ends_the_task_of_the_old_name() {
        let renamed = RecipeEntry { source: "zlib-ng".into(), ..recipe("zlib", &[]) };
        let changes = changes(&[renamed], &[], &[known(7, "zlib", SAME, Phase::Building)]);
        assert_eq!((created(&changes), withdrawn(&changes)), (Some(vec![]), vec![7]));
    }

    // Tasks of all projects were once compared with the recipes of one, and what had the same path was ended.
    #[test]
    fn projects_with_the_same_paths_leave_each_others_tasks_alone() {
        let first = changes(&[recipe("zlib", &[])], &[], &[]);
        assert_eq!(created(&first), Some(vec![]));
        let of_second = [known(7, "zlib", "other branch", Phase::Building)];
        let branch = RecipeEntry { content: "other branch".into(), ..recipe("zlib", &[]) };
        assert_eq!(
            changes(&[branch], &[], &of_second),
            [],
            "each is planned with its own recipes and its own tasks"
        );
        let same_path =
            KnownTask { recipe_path: recipe("zlib", &[]).path, ..known(8, "xz", "x", Phase::Waiting) };
        let changes = changes(&[recipe("zlib", &[])], &[], &[same_path]);
        assert_eq!(created(&changes), Some(vec![]), "a path alone supersedes nothing");
    }

    // A failed release that was taken back once blocked its dependents for ever.
    #[test]
    fn taking_back_a_failed_recipe_releases_its_dependents() {
        let recipes = [recipe("nano", &["zlib"]), recipe("zlib", &[])];
        let failed = KnownTask { release: 2, ..known(7, "zlib", "broken", Phase::Failed) };
        let changes =
            changes(&recipes, &[("zlib", 1)], &[failed, known(8, "nano", "tree-of-nano", Phase::Blocked)]);
        assert_eq!(withdrawn(&changes), [7]);

        let graph = graph_of(&recipes);
        let [nano, zlib] = ["nano", "zlib"].map(|source| graph.by_source(source).unwrap());
        let open = [(nano, TaskId(8), Phase::Blocked), (zlib, TaskId(7), Phase::Failed)];
        let mut queue = Queue::new(&graph, open.map(|(recipe, id, phase)| (recipe, OpenTask { id, phase })));
        assert!(matches!(queue.readiness(&graph, nano), Some(Readiness::Blocked { .. })));
        queue.set(&graph, zlib, None);
        assert_eq!(queue.readiness(&graph, nano), Some(Readiness::Ready));
    }

    // Blockers were once inherited by the next release, also where it had dropped the dependency.
    #[test]
    fn a_recipe_that_drops_a_failed_dependency_is_not_blocked_by_it() {
        let graph = graph_of(&[recipe("nano", &[]), recipe("zlib", &[])]);
        let [nano, zlib] = ["nano", "zlib"].map(|source| graph.by_source(source).unwrap());
        let open = [(nano, TaskId(9), Phase::Waiting), (zlib, TaskId(7), Phase::Failed)];
        let queue = Queue::new(&graph, open.map(|(recipe, id, phase)| (recipe, OpenTask { id, phase })));
        assert_eq!(queue.readiness(&graph, nano), Some(Readiness::Ready));
    }

    // One release could once be a task only once: after a failure nothing but a retry by hand was left.
    #[test]
    fn a_failed_release_is_built_again_when_its_recipe_changes_or_a_rebuild_is_asked_for() {
        let failed = known(7, "zlib", SAME, Phase::Failed);
        let corrected = RecipeEntry { content: "corrected".into(), ..recipe("zlib", &[]) };
        assert_eq!(created(&changes(&[corrected], &[], std::slice::from_ref(&failed))), Some(vec![7]));

        let catalogue = Catalogue::new(vec![recipe("zlib", &[])], Vec::new());
        let published = Published::new([package("zlib", "zlib", 1, &[])]);
        let failed = KnownTask { build_release: 2, ..failed };
        for (build_release, expect) in [(2, None), (3, Some(vec![7]))] {
            let wanted = Wanted { release: 1, build_release, why: Wish::Rebuild { why: "again".into() } };
            let wanted = HashMap::from([("zlib".to_owned(), wanted)]);
            let missing = missing(&catalogue, &published, &wanted);
            let changes = plan(&catalogue, &missing, std::slice::from_ref(&failed));
            assert_eq!((created(&changes), withdrawn(&changes)), (expect, vec![]), "{build_release}");
        }
    }

    // A build release could once never cause or replace anything.
    #[test]
    fn a_rebuild_replaces_what_is_published_with_the_next_build_release() {
        let catalogue = Catalogue::new(vec![recipe("zlib", &[])], Vec::new());
        let published = Published::new([package("zlib", "zlib", 1, &[])]);
        let why = Wish::Round { round: 2, because: vec!["gcc".into()] };
        let wanted = HashMap::from([("zlib".to_owned(), Wanted { release: 1, build_release: 2, why })]);
        let changes = plan(&catalogue, &missing(&catalogue, &published, &wanted), &[]);
        let reason = Reason::Round { round: 2, because: vec!["gcc".into()] };
        assert_eq!(changes, [Change::Create { recipe: 0, reason, build_release: 2, supersedes: Vec::new() }]);
    }

    #[test]
    fn a_wish_that_was_taken_back_ends_its_task() {
        let recipes = [recipe("zlib", &[])];
        let rebuild = KnownTask { build_release: 2, ..known(7, "zlib", SAME, Phase::Building) };
        assert_eq!(withdrawn(&changes(&recipes, &[("zlib", 1)], &[rebuild])), [7]);
    }

    // A retry could once bring an old release back next to its successor.
    #[test]
    fn a_superseded_task_never_comes_back() {
        let old = known(6, "zlib", "old", Phase::Superseded);
        let new = known(7, "zlib", SAME, Phase::Building);
        assert_eq!(changes(&[recipe("zlib", &[])], &[], &[old.clone(), new.clone()]), []);
        // Also where the recipe returns to what it was, there is a new task.
        let back = RecipeEntry { content: "old".into(), ..recipe("zlib", &[]) };
        assert_eq!(created(&changes(&[back], &[], &[old, new])), Some(vec![7]));
    }

    #[test]
    fn an_older_task_next_to_the_one_that_is_asked_for_ends() {
        let tasks = [known(6, "zlib", "old", Phase::Failed), known(7, "zlib", SAME, Phase::Waiting)];
        assert_eq!(withdrawn(&changes(&[recipe("zlib", &[])], &[], &tasks)), [6]);
    }

    #[test]
    fn tasks_of_an_unreadable_recipe_stay() {
        let path = recipe("zlib", &[]).path;
        let broken = Unreadable { path, line: 3, column: 1, message: "broken".into() };
        let catalogue = Catalogue::new(Vec::new(), vec![broken]);
        for phase in [Phase::Waiting, Phase::Building, Phase::Failed] {
            assert_eq!(plan(&catalogue, &[], &[known(7, "zlib", "x", phase)]), [], "{phase:?}");
        }
    }
}
