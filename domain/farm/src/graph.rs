//! Who needs whom to be built.
//!
//! An edge goes from a recipe to every recipe that offers one of its build dependencies, by manifest, by package name
//! or by what its published packages offer. No edge is ever dropped. Recipes that need each other form a knot
//! (a strongly connected component); within a knot some edges cannot be waited for, and exactly those are marked as
//! deferred: along them a recipe is built against the previous generation of the other.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use package::{Dependency, DependencyKind};
use serde::{Deserialize, Serialize};

use crate::catalogue::Catalogue;
use crate::published::Published;

/// What the machine that builds has besides our own packages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HostProvides {
    /// Nothing: the build root is made of packages only.
    #[default]
    Nothing,
    /// Programs: `binary(…)` and `sysbinary(…)` that no recipe offers are left to the host.
    Binaries,
    /// Everything that no recipe offers is left to the host, which then has it or not.
    Everything,
}

impl HostProvides {
    /// Whether the host is trusted to have `dependency`.
    #[must_use]
    pub fn covers(self, dependency: &Dependency) -> bool {
        match self {
            HostProvides::Nothing => false,
            HostProvides::Binaries => {
                matches!(dependency.kind, DependencyKind::Binary | DependencyKind::SystemBinary)
            }
            HostProvides::Everything => true,
        }
    }
}

/// One recipe among the others. Recipes are named by their index in the catalogue.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Node {
    /// Recipes that must be published first, and the dependencies that say so.
    pub needs: BTreeMap<usize, BTreeSet<Dependency>>,
    /// Recipes that need this one.
    pub needed_by: BTreeSet<usize>,
    /// Those of `needs` that lie in the same knot and later in its order: built against their previous generation.
    pub deferred: BTreeSet<usize>,
    /// Dependencies that the repository offers and no recipe does.
    pub from_repository: BTreeSet<Dependency>,
    /// Dependencies that are left to the host.
    pub from_host: BTreeSet<Dependency>,
    /// Dependencies that nobody offers.
    pub unresolved: BTreeSet<Dependency>,
    /// Index of its component in [`Graph::components`].
    pub component: usize,
    /// 0 for a recipe that needs no other, else one more than the highest level it needs outside its knot.
    pub level: usize,
    /// Recipes on the longest way to one that nobody needs, itself included. The higher, the sooner it must begin.
    pub height: usize,
}

/// The build graph of a catalogue.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Graph {
    nodes: Vec<Node>,
    components: Vec<Vec<usize>>,
}

impl Graph {
    /// Draws the edges between the recipes of `catalogue`.
    #[must_use]
    pub fn new(catalogue: &Catalogue, published: &Published, host: HostProvides) -> Self {
        let recipes = catalogue.recipes();
        let mut offered_by: HashMap<Dependency, Vec<usize>> = HashMap::new();
        for (index, recipe) in recipes.iter().enumerate() {
            let mut offers = recipe.offers();
            offers.extend(published.offers_of_source(&recipe.source).cloned());
            for offer in offers {
                offered_by.entry(offer).or_default().push(index);
            }
        }
        let mut nodes = vec![Node::default(); recipes.len()];
        for ((index, recipe), node) in recipes.iter().enumerate().zip(&mut nodes) {
            for dependency in &recipe.build_depends {
                match offered_by.get(dependency) {
                    Some(providers) => {
                        // A recipe that needs itself is built with its own previous generation, or with the host's.
                        for &provider in providers.iter().filter(|&&provider| provider != index) {
                            node.needs.entry(provider).or_default().insert(dependency.clone());
                        }
                    }
                    None if published.providers(dependency).next().is_some() => {
                        node.from_repository.insert(dependency.clone());
                    }
                    None if host.covers(dependency) => {
                        node.from_host.insert(dependency.clone());
                    }
                    None => {
                        node.unresolved.insert(dependency.clone());
                    }
                }
            }
        }
        Self::from_nodes(nodes)
    }

    fn from_nodes(mut nodes: Vec<Node>) -> Self {
        for index in 0..nodes.len() {
            let needs: Vec<usize> = nodes[index].needs.keys().copied().collect();
            for needed in needs {
                nodes[needed].needed_by.insert(index);
            }
        }
        let components = components(&nodes);
        for (component, members) in components.iter().enumerate() {
            for (position, &member) in members.iter().enumerate() {
                nodes[member].component = component;
                let later: BTreeSet<usize> = members[position..].iter().copied().collect();
                nodes[member].deferred =
                    nodes[member].needs.keys().copied().filter(|needed| later.contains(needed)).collect();
            }
        }
        let mut graph = Self { nodes, components };
        graph.rank();
        graph
    }

    /// Levels from the bottom, heights from the top.
    fn rank(&mut self) {
        for component in 0..self.components.len() {
            let members = &self.components[component];
            let below = members.iter().flat_map(|&member| self.nodes[member].needs.keys());
            let outside = below.filter(|&&needed| self.nodes[needed].component != component);
            let level = outside.map(|&needed| self.nodes[needed].level + 1).max().unwrap_or(0);
            for &member in &self.components[component] {
                self.nodes[member].level = level;
            }
        }
        for component in (0..self.components.len()).rev() {
            let members = &self.components[component];
            let above = members.iter().flat_map(|&member| &self.nodes[member].needed_by);
            let outside = above.filter(|&&user| self.nodes[user].component != component);
            let height = outside.map(|&user| self.nodes[user].height).max().unwrap_or(0) + members.len();
            for &member in &self.components[component] {
                self.nodes[member].height = height;
            }
        }
    }

    /// The recipes, by their index in the catalogue.
    #[must_use]
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Components, each after everything that it needs; inside, members in the order in which they are built.
    #[must_use]
    pub fn components(&self) -> &[Vec<usize>] {
        &self.components
    }

    /// Recipes that need each other.
    pub fn knots(&self) -> impl Iterator<Item = &[usize]> {
        self.components.iter().map(Vec::as_slice).filter(|members| members.len() > 1)
    }

    /// How many edges there are.
    #[must_use]
    pub fn edge_count(&self) -> usize {
        self.nodes.iter().map(|node| node.needs.len()).sum()
    }
}

/// Tarjan's strongly connected components, without recursion: a chain of recipes may be longer than the stack.
/// A component comes after all that it needs.
fn components(nodes: &[Node]) -> Vec<Vec<usize>> {
    const UNSEEN: usize = usize::MAX;
    let needs: Vec<Vec<usize>> = nodes.iter().map(|node| node.needs.keys().copied().collect()).collect();
    let mut number = vec![UNSEEN; nodes.len()];
    let mut low = vec![UNSEEN; nodes.len()];
    let mut on_stack = vec![false; nodes.len()];
    let mut stack = Vec::new();
    let mut next_number = 0;
    let mut found = Vec::new();
    for root in 0..nodes.len() {
        if number[root] != UNSEEN {
            continue;
        }
        // Each entry is a node and how many of its needs have been followed.
        let mut path = vec![(root, 0)];
        while let Some((node, followed)) = path.pop() {
            if followed == 0 {
                number[node] = next_number;
                low[node] = next_number;
                next_number += 1;
                stack.push(node);
                on_stack[node] = true;
            } else {
                let child = needs[node][followed - 1];
                low[node] = low[node].min(low[child]);
            }
            let mut descended = false;
            for (position, &child) in needs[node].iter().enumerate().skip(followed) {
                if number[child] == UNSEEN {
                    path.push((node, position + 1));
                    path.push((child, 0));
                    descended = true;
                    break;
                }
                if on_stack[child] {
                    low[node] = low[node].min(number[child]);
                }
            }
            if descended || low[node] != number[node] {
                continue;
            }
            let mut members = Vec::new();
            while let Some(member) = stack.pop() {
                on_stack[member] = false;
                members.push(member);
                if member == node {
                    break;
                }
            }
            found.push(knot_order(&needs, members));
        }
    }
    found
}

/// The order inside a knot: always the recipe that waits for the fewest others of the knot next, so that few edges
/// are deferred. A heuristic; any order is correct.
fn knot_order(needs: &[Vec<usize>], mut members: Vec<usize>) -> Vec<usize> {
    members.sort_unstable();
    if members.len() == 1 {
        return members;
    }
    let inside: BTreeSet<usize> = members.iter().copied().collect();
    let mut users: HashMap<usize, Vec<usize>> = HashMap::new();
    let mut open: HashMap<usize, usize> = HashMap::new();
    for &member in &members {
        let inner = needs[member].iter().filter(|needed| inside.contains(needed));
        open.insert(member, inner.clone().count());
        for &needed in inner {
            users.entry(needed).or_default().push(member);
        }
    }
    let mut queue: BTreeSet<(usize, usize)> = members.iter().map(|&member| (open[&member], member)).collect();
    let mut order = Vec::with_capacity(members.len());
    while let Some((_, member)) = queue.pop_first() {
        order.push(member);
        for &user in users.get(&member).map_or(&[][..], Vec::as_slice) {
            if let Some(count) = open.get_mut(&user)
                && queue.remove(&(*count, user))
            {
                *count -= 1;
                queue.insert((*count, user));
            }
        }
    }
    order
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::catalogue::tests::recipe;
    use crate::catalogue::{ManifestEntry, RecipeEntry};
    use crate::published::tests::package;

    pub(crate) fn graph_of(recipes: &[RecipeEntry]) -> (Catalogue, Graph) {
        let catalogue = Catalogue::new(recipes.to_vec(), Vec::new());
        let graph = Graph::new(&catalogue, &Published::default(), HostProvides::Nothing);
        (catalogue, graph)
    }

    fn index(catalogue: &Catalogue, source: &str) -> usize {
        catalogue.recipes().iter().position(|recipe| recipe.source == source).unwrap()
    }

    fn needs(catalogue: &Catalogue, graph: &Graph, source: &str) -> Vec<String> {
        let node = &graph.nodes()[index(catalogue, source)];
        node.needs.keys().map(|&needed| catalogue.recipes()[needed].source.clone()).collect()
    }

    #[test]
    fn edges_by_template_name_by_manifest_and_by_what_is_published() {
        let mut zlib = recipe("zlib", &[]);
        zlib.manifest = Some(ManifestEntry {
            release: 1,
            packages: ["zlib".to_owned()].into(),
            provides: ["pkgconfig(zlib)".parse().unwrap()].into(),
            depends: BTreeSet::new(),
        });
        let recipes = [
            recipe("ncurses", &[]),
            zlib,
            recipe("xz", &[]),
            recipe("file", &["ncurses-devel", "pkgconfig(zlib)", "pkgconfig(liblzma)", "file"]),
        ];
        let catalogue = Catalogue::new(recipes.to_vec(), Vec::new());
        let published = Published::new([package("xz-devel", "xz", 1, &["pkgconfig(liblzma)"])]);
        let graph = Graph::new(&catalogue, &published, HostProvides::Nothing);
        assert_eq!(needs(&catalogue, &graph, "file"), ["ncurses", "xz", "zlib"]);
        let file = &graph.nodes()[index(&catalogue, "file")];
        assert!(file.unresolved.is_empty(), "its own name is no open question: {:?}", file.unresolved);
        assert_eq!((file.level, file.height), (1, 1));
        assert_eq!(graph.nodes()[index(&catalogue, "xz")].height, 2);
        assert_eq!(graph.edge_count(), 3);
    }

    #[test]
    fn what_no_recipe_offers_comes_from_the_repository_the_host_or_nobody() {
        let recipes = vec![recipe("nano", &["binary(gcc)", "pkgconfig(x11)", "glibc-devel"])];
        let catalogue = Catalogue::new(recipes, Vec::new());
        let published = Published::new([package("glibc-devel", "glibc", 1, &[])]);
        for (host, from_host, unresolved) in
            [(HostProvides::Nothing, 0, 2), (HostProvides::Binaries, 1, 1), (HostProvides::Everything, 2, 0)]
        {
            let graph = Graph::new(&catalogue, &published, host);
            let node = &graph.nodes()[0];
            assert_eq!(node.from_repository, [Dependency::name("glibc-devel")].into());
            assert_eq!((node.from_host.len(), node.unresolved.len()), (from_host, unresolved), "{host:?}");
        }
    }

    #[test]
    fn a_knot_is_shown_and_keeps_its_edges() {
        let recipes = [
            recipe("gcc", &["glibc"]),
            recipe("glibc", &["gcc", "python"]),
            recipe("python", &["glibc", "zlib"]),
            recipe("zlib", &[]),
            recipe("nano", &["glibc"]),
        ];
        let (catalogue, graph) = graph_of(&recipes);
        let knots: Vec<&[usize]> = graph.knots().collect();
        assert_eq!(knots.len(), 1);
        assert_eq!(knots[0].len(), 3);
        assert_eq!(graph.edge_count(), 6, "no edge is dropped");
        let levels = ["zlib", "gcc", "glibc", "python", "nano"]
            .map(|name| graph.nodes()[index(&catalogue, name)].level);
        assert_eq!(levels, [0, 1, 1, 1, 2]);
        assert_eq!(graph.nodes()[index(&catalogue, "zlib")].height, 5);
    }

    #[test]
    fn a_chain_longer_than_the_stack_is_no_problem() {
        let recipes: Vec<RecipeEntry> = (0..20_000)
            .map(|number| {
                let need = format!("p{:06}", number + 1);
                recipe(
                    &format!("p{number:06}"),
                    if number == 19_999 { &[] } else { std::slice::from_ref(&need) }
                        .iter()
                        .map(String::as_str)
                        .collect::<Vec<_>>()
                        .as_slice(),
                )
            })
            .collect();
        let (_, graph) = graph_of(&recipes);
        assert_eq!(graph.nodes()[0].level, 19_999);
        assert_eq!(graph.nodes()[19_999].height, 20_000);
    }

    proptest! {
        #[test]
        fn without_the_deferred_edges_every_graph_can_be_built(
            edges in proptest::collection::vec((0usize..12, 0usize..12), 0..60)
        ) {
            let mut nodes = vec![Node::default(); 12];
            for &(from, to) in edges.iter().filter(|(from, to)| from != to) {
                nodes[from].needs.entry(to).or_default().insert(Dependency::name(format!("p{to}")));
            }
            let count: usize = nodes.iter().map(|node| node.needs.len()).sum();
            let graph = Graph::from_nodes(nodes);
            prop_assert_eq!(graph.edge_count(), count);
            let mut built = BTreeSet::new();
            for &member in graph.components().iter().flatten() {
                let node = &graph.nodes()[member];
                for needed in node.needs.keys() {
                    prop_assert!(built.contains(needed) || node.deferred.contains(needed));
                    prop_assert!(!node.deferred.contains(needed)
                        || graph.nodes()[*needed].component == node.component);
                }
                built.insert(member);
            }
            prop_assert_eq!(built.len(), 12);
        }
    }
}
