//! The graph of an arena, which follows recipes and repositories.
//!
//! Most of what lands offers what its manifest said, and changes nothing that anybody can see in the graph. So there is a
//! draft that follows every change, and what others are shown is replaced only when they could tell the difference.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use farm::catalogue::Catalogue;
use farm::graph::{Graph, Supply};
use farm::published::Published;

use crate::config::RepositoryConfig;
use crate::repository_state::RepositoryState;
use crate::world::{Redrawn, World};

/// Draws the graph of one arena, and draws it again as things change.
#[derive(Debug, Default)]
pub(super) struct Drawing {
    draft: Graph,
    /// What others were shown last, made of the draft as it was then.
    shown: Option<Arc<Graph>>,
}

impl Drawing {
    /// The world with what was read; its graph is looked at only when something is another than before.
    pub(super) fn follow(
        &mut self,
        before: World,
        catalogue: Arc<Catalogue>,
        repository: RepositoryState,
        others: Vec<RepositoryState>,
    ) -> World {
        let same_place =
            |one: &RepositoryState, other: &RepositoryState| Arc::ptr_eq(&one.published, &other.published);
        let is_same = before.looked.is_some()
            && Arc::ptr_eq(&before.catalogue, &catalogue)
            && same_place(&before.repository, &repository)
            && before.others.len() == others.len()
            && before.others.iter().zip(&others).all(|(one, other)| same_place(one, other));
        if is_same {
            return World { repository, ..before };
        }
        let sources: HashSet<&str> = catalogue.recipes().iter().map(|entry| entry.source.as_str()).collect();
        let mut places: Vec<(&RepositoryConfig, Arc<Published>)> = before
            .project
            .repositories
            .iter()
            .zip(&others)
            .map(|(place, other)| match place.bootstrap {
                true => (place, Arc::new(of_sources(&other.published, &sources))),
                false => (place, Arc::clone(&other.published)),
            })
            .collect();
        // What is only for beginnings comes last, whatever its priority.
        places.sort_by_key(|(place, _)| (place.bootstrap, std::cmp::Reverse(place.priority)));
        let further: Vec<&Published> = places.iter().map(|(_, published)| &**published).collect();
        let supply =
            Supply { own: &repository.published, others: &further, host: before.project.host_provides };
        let began = Instant::now();
        let touched = self.draft.update(&catalogue, &supply);
        let graph_seconds = began.elapsed().as_secs_f64();
        let known = self.shown.take().filter(|shown| Arc::ptr_eq(shown, &before.graph));
        let (graph, redrawn) = match known {
            Some(known) if touched.is_empty() => (known, before.redrawn),
            known => {
                let redrawn = known.map(|known| Arc::new(Redrawn { of: Arc::downgrade(&known), touched }));
                (Arc::new(self.draft.clone()), redrawn)
            }
        };
        self.shown = Some(Arc::clone(&graph));
        World { catalogue, repository, others, graph, redrawn, graph_seconds, ..before }
    }
}

/// What a repository has of these sources. A first generation serves for what we build ourselves, and for nothing else.
fn of_sources(published: &Published, sources: &HashSet<&str>) -> Published {
    let kept = published.sources().filter(|source| sources.contains(source));
    Published::new(kept.flat_map(|source| published.packages_of_source(source)).cloned())
}

#[cfg(test)]
mod tests {
    use farm::catalogue::RecipeEntry;
    use farm::moment::Moment;
    use farm::published::PublishedPackage;

    use super::*;
    use crate::config::tests::{SMALLEST, check};

    fn catalogue(recipes: &[(&str, &[&str])]) -> Arc<Catalogue> {
        let entry = |&(source, needs): &(&str, &[&str])| RecipeEntry {
            source: source.into(),
            path: format!("{source}/stone.yaml"),
            version: "1".into(),
            release: 1,
            content: needs.concat(),
            build_depends: needs.iter().map(|need| need.parse().unwrap()).collect(),
            run_depends: Default::default(),
            packages: Vec::new(),
            manifest: None,
        };
        Arc::new(Catalogue::new(recipes.iter().map(entry).collect(), Vec::new()))
    }

    fn repository(sources: &[(&str, u64)]) -> RepositoryState {
        let package = |&(source, build_release): &(&str, u64)| PublishedPackage {
            name: source.into(),
            source: source.into(),
            version: "1".into(),
            release: 1,
            build_release,
            provides: Default::default(),
            depends: Default::default(),
            download_size_bytes: 0,
        };
        let published = Arc::new(Published::new(sources.iter().map(package)));
        RepositoryState { published, ..RepositoryState::default() }
    }

    #[test]
    fn others_are_shown_another_graph_only_when_they_could_tell_the_difference() {
        let project = Arc::new(check(SMALLEST).unwrap().projects.remove(0));
        let mut drawing = Drawing::default();
        let recipes = catalogue(&[("a", &[]), ("b", &["a"])]);
        let looked = |world: World| World { looked: Some(Moment(1)), ..world };
        let mut follow = |before: &World, recipes: &Arc<Catalogue>, repository| {
            looked(drawing.follow(before.clone(), Arc::clone(recipes), repository, Vec::new()))
        };
        let first = follow(&World::new(project, "x86_64"), &recipes, repository(&[("a", 1), ("b", 1)]));
        assert!(first.redrawn.is_none(), "there is nothing that it follows");

        let same = follow(&first, &recipes, repository(&[("a", 2), ("b", 1)]));
        assert!(Arc::ptr_eq(&same.graph, &first.graph), "the next build offers what the one before did");
        assert_eq!(same.repository.published.len(), 2);

        let more = catalogue(&[("a", &[]), ("b", &["a"]), ("c", &["b"])]);
        let other = follow(&same, &more, same.repository.clone());
        assert!(!Arc::ptr_eq(&other.graph, &first.graph));
        assert_eq!((other.graph.len(), first.graph.len()), (3, 2), "what others hold does not change");
        let redrawn = other.redrawn.clone().unwrap();
        assert!(redrawn.is_of(&first.graph) && !redrawn.is_of(&other.graph));
        let c = other.graph.by_source("c").unwrap();
        assert!(redrawn.touched.recipes.contains(&c) && redrawn.touched.structure);

        // Somebody made the world anew meanwhile.
        let fresh = World { graph: Arc::default(), ..other.clone() };
        let again = follow(&fresh, &recipes, repository(&[]));
        assert!(again.redrawn.is_none());
        assert_eq!(again.graph.len(), 2);
    }
}
