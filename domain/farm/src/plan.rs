//! Which tasks a commit makes, and which it ends.

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
    /// Path of its recipe.
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
/// A recipe has one living task. The same content at the same release makes no second one, in whatever state the
/// first is: a failed one waits for a person, or for a commit that changes the recipe.
#[must_use]
pub fn plan(catalogue: &Catalogue, missing: &[Missing], tasks: &[KnownTask]) -> Vec<Change> {
    let mut tasks_of: HashMap<&str, Vec<&KnownTask>> = HashMap::new();
    for task in tasks {
        tasks_of.entry(&task.recipe_path).or_default().push(task);
    }
    let mut changes = Vec::new();
    let mut wanted: HashSet<TaskId> = HashSet::new();
    for found in missing {
        let Some(entry) = catalogue.recipes().get(found.recipe) else { continue };
        let of_recipe = tasks_of.get(entry.path.as_str()).map_or(&[][..], Vec::as_slice);
        let same = of_recipe.iter().find(|task| {
            (&task.content, task.release, task.build_release)
                == (&entry.content, entry.release, found.build_release)
                && !matches!(task.phase, Phase::Superseded | Phase::Published)
        });
        if let Some(task) = same {
            wanted.insert(task.id);
            continue;
        }
        let supersedes =
            of_recipe.iter().filter(|task| is_replaced(task.phase)).map(|task| task.id).collect();
        changes.push(Change::Create {
            recipe: found.recipe,
            reason: found.reason.clone(),
            build_release: found.build_release,
            supersedes,
        });
    }
    let unreadable: HashSet<&str> = catalogue.unreadable().iter().map(|file| file.path.as_str()).collect();
    let readable: HashMap<&str, usize> =
        catalogue.recipes().iter().enumerate().map(|(index, entry)| (entry.path.as_str(), index)).collect();
    let needed: HashSet<usize> = missing.iter().map(|found| found.recipe).collect();
    for task in tasks {
        // A failed task that nobody asks for any more must not block its dependents for ever.
        let idle = task.phase.is_queued() || matches!(task.phase, Phase::Failed | Phase::Cancelled);
        // A recipe that cannot be read now may be corrected in a minute: its tasks stay.
        if !idle || wanted.contains(&task.id) || unreadable.contains(task.recipe_path.as_str()) {
            continue;
        }
        match readable.get(task.recipe_path.as_str()) {
            None => changes.push(Change::Withdraw { task: task.id, why: "the recipe was removed".into() }),
            Some(recipe) if !needed.contains(recipe) => {
                changes.push(Change::Withdraw { task: task.id, why: "the repository has it already".into() });
            }
            // Superseded by the task created above.
            Some(_) => {}
        }
    }
    changes
}

/// What is being published cannot be taken back; it lands, and the new task follows.
fn is_replaced(phase: Phase) -> bool {
    match phase {
        Phase::Waiting | Phase::Blocked | Phase::Ready | Phase::Leased | Phase::Building => true,
        Phase::Failed | Phase::Cancelled => true,
        Phase::Publishing | Phase::Published | Phase::Superseded => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::Unreadable;
    use crate::catalogue::tests::recipe;

    fn known(id: u64, source: &str, content: &str, phase: Phase) -> KnownTask {
        let entry = recipe(source, &[]);
        KnownTask {
            id: TaskId(id),
            recipe_path: entry.path,
            content: content.into(),
            release: 1,
            build_release: 1,
            phase,
        }
    }

    fn missing_first() -> Vec<Missing> {
        vec![Missing { recipe: 0, reason: Reason::New, build_release: 1 }]
    }

    fn created(changes: &[Change]) -> Option<Vec<u64>> {
        changes.iter().find_map(|change| match change {
            Change::Create { supersedes, .. } => Some(supersedes.iter().map(|task| task.0).collect()),
            Change::Withdraw { .. } => None,
        })
    }

    #[test]
    fn one_living_task_for_a_recipe() {
        let catalogue = Catalogue::new(vec![recipe("zlib", &[])], Vec::new());
        let same = "tree-of-zlib";
        for (content, phase, expect) in [
            (same, Phase::Waiting, None),
            (same, Phase::Building, None),
            (same, Phase::Failed, None),
            (same, Phase::Cancelled, None),
            // Published, and yet missing: somebody removed it from the repository.
            (same, Phase::Published, Some(vec![])),
            (same, Phase::Superseded, Some(vec![])),
            ("other", Phase::Waiting, Some(vec![7])),
            ("other", Phase::Building, Some(vec![7])),
            ("other", Phase::Failed, Some(vec![7])),
            ("other", Phase::Publishing, Some(vec![])),
        ] {
            let tasks = [known(7, "zlib", content, phase)];
            let changes = plan(&catalogue, &missing_first(), &tasks);
            assert_eq!(created(&changes), expect, "{content} {phase:?}");
            assert!(!changes.iter().any(|change| matches!(change, Change::Withdraw { .. })));
        }
    }

    #[test]
    fn tasks_of_removed_and_of_satisfied_recipes_are_withdrawn_unless_they_run() {
        for (phase, withdrawn) in [
            (Phase::Waiting, true),
            (Phase::Blocked, true),
            (Phase::Ready, true),
            (Phase::Building, false),
            (Phase::Publishing, false),
            (Phase::Failed, true),
            (Phase::Cancelled, true),
            (Phase::Published, false),
            (Phase::Superseded, false),
        ] {
            let tasks = [known(7, "gone", "x", phase)];
            let changes = plan(&Catalogue::default(), &[], &tasks);
            assert_eq!(!changes.is_empty(), withdrawn, "{phase:?}");
            let catalogue = Catalogue::new(vec![recipe("gone", &[])], Vec::new());
            assert_eq!(!plan(&catalogue, &[], &tasks).is_empty(), withdrawn, "{phase:?}");
        }
    }

    #[test]
    fn tasks_of_an_unreadable_recipe_stay() {
        let path = recipe("zlib", &[]).path;
        let broken = Unreadable { path, line: 3, column: 1, message: "broken".into() };
        let catalogue = Catalogue::new(Vec::new(), vec![broken]);
        assert_eq!(plan(&catalogue, &[], &[known(7, "zlib", "x", Phase::Waiting)]), []);
    }
}
