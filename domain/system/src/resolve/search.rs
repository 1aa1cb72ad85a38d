//! The search behind install and sync: greedy passes, and one changed choice for each that got stuck.

use std::collections::{HashMap, HashSet, VecDeque};

use package::{Dependency, DependencyKind};

use super::Missing;
use super::answer::{
    ChainLink, Note, Obstacle, Origin, Removal, RemovalReason, Resolution, ResolveError, Selected, Stuck,
    Unresolved, Upgrade,
};
use super::universe::{Place, Universe};

/// How many passes one request may take. A pass over 2,000 installed packages takes about a millisecond, and the
/// knots seen in practice (a library and its users that must move together) need one pass for each package that moves.
const PASSES_MAX: usize = 256;

/// How many changed choices may depend on each other; it bounds the depth of the recursion.
const DEPTH_MAX: usize = 128;

pub(super) fn install(
    universe: &Universe<'_>,
    wanted: &[Dependency],
    missing: &Missing,
) -> Result<Resolution, ResolveError> {
    let mut goals: VecDeque<Goal<'_>> = wanted.iter().map(Goal::Asked).collect();
    goals.extend(universe.installed_by_name().into_iter().map(|(place, _)| Goal::Keep(place)));
    let search = Search { universe, missing, goals, style: Style::Install };
    let mut resolution = search.run()?;
    resolution.notes.clear();
    Ok(resolution)
}

pub(super) fn sync(universe: &Universe<'_>, missing: &Missing) -> Result<Resolution, ResolveError> {
    let installed = universe.installed_by_name();
    let goals = installed
        .into_iter()
        .filter(|(_, explicit)| *explicit)
        .map(|(place, _)| Goal::Renew(place))
        .collect();
    Search { universe, missing, goals, style: Style::Sync }.run()
}

pub(super) fn upgrade(
    universe: &Universe<'_>,
    name: &str,
    missing: &Missing,
) -> Result<Resolution, ResolveError> {
    let installed = universe.installed_by_name();
    let (renewed, kept): (Vec<Place>, Vec<Place>) = installed
        .into_iter()
        .map(|(place, _)| place)
        .partition(|place| universe.candidate(*place).name.as_str() == name);
    let goals = renewed.into_iter().map(Goal::Renew).chain(kept.into_iter().map(Goal::Keep)).collect();
    let mut resolution = Search { universe, missing, goals, style: Style::Install }.run()?;
    // Of packages that nobody asked about there is nothing to say.
    resolution.notes.retain(|note| note.package().name == name);
    Ok(resolution)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    /// What is installed is preferred.
    Install,
    /// What the repositories offer is preferred.
    Sync,
}

/// A need that a pass has to meet.
#[derive(Debug, Clone, Copy)]
enum Goal<'a> {
    /// The request names it.
    Asked(&'a Dependency),
    /// The package at this place needs it.
    Needed(&'a Dependency, Place),
    /// This installed package stays, or a newer one of its name comes.
    Keep(Place),
    /// The newest package of this installed one's name.
    Renew(Place),
}

/// Choices that are settled before a pass begins.
#[derive(Debug, Clone, Default)]
struct Settled {
    /// The only package a name may have.
    pinned: HashMap<String, Place>,
    /// Packages that may not be taken, with the reason.
    banned: HashMap<Place, String>,
}

enum Repair {
    Pin(Place),
    Ban(Place),
}

/// A pass that got stuck.
struct Impasse {
    stuck: Stuck,
    repairs: Vec<Repair>,
}

struct Search<'u, 'a> {
    universe: &'u Universe<'a>,
    missing: &'u Missing,
    goals: VecDeque<Goal<'u>>,
    style: Style,
}

impl<'u, 'a> Search<'u, 'a> {
    fn run(self) -> Result<Resolution, ResolveError> {
        let mut passes = 0;
        match self.attempt(&Settled::default(), &mut passes, 0) {
            Ok((pass, settled)) => Ok(pass.into_resolution(&self, &settled)),
            Err(stuck) if passes >= PASSES_MAX => {
                Err(ResolveError::TooHard { passes, stuck: Box::new(stuck) })
            }
            Err(stuck) => Err(ResolveError::Unsatisfiable(Box::new(stuck))),
        }
    }

    fn attempt(
        &self,
        settled: &Settled,
        passes: &mut usize,
        depth: usize,
    ) -> Result<(Pass<'u, 'a>, Settled), Stuck> {
        *passes += 1;
        let mut pass = Pass::new(self.universe);
        let Err(impasse) = pass.run(self, settled) else {
            return Ok((pass, settled.clone()));
        };
        for repair in impasse.repairs {
            if *passes >= PASSES_MAX || depth >= DEPTH_MAX {
                break;
            }
            let mut changed = settled.clone();
            match repair {
                Repair::Pin(place) => {
                    changed.pinned.insert(self.universe.candidate(place).name.clone(), place);
                }
                Repair::Ban(place) => {
                    changed.banned.insert(place, impasse.stuck.to_string());
                }
            }
            if let Ok(found) = self.attempt(&changed, passes, depth + 1) {
                return Ok(found);
            }
        }
        Err(impasse.stuck)
    }

    /// What could meet the need, preferred first.
    fn options(&self, goal: Goal<'_>) -> Vec<Place> {
        match goal {
            Goal::Asked(dependency) | Goal::Needed(dependency, _) => {
                let mut options: Vec<Place> = self.universe.providers(dependency).collect();
                // Sorting is stable: within each class the ranking of the universe holds.
                options.sort_by_key(|place| self.preference(*place));
                options
            }
            Goal::Keep(installed) => {
                let mut options = vec![installed];
                options.extend(self.others_of_this_name(installed));
                options
            }
            Goal::Renew(installed) => {
                // Where the best offer is not newer in release it is the same package, a rebuild of it, or an obstacle.
                let mut options: Vec<Place> = self.available_of_this_name(installed).collect();
                if !options.contains(&installed) {
                    options.push(installed);
                }
                options
            }
        }
    }

    fn preference(&self, place: Place) -> u8 {
        let installed = self.universe.is_installed(place);
        let name_installed =
            self.universe.installed.contains_key(self.universe.candidate(place).name.as_str());
        match self.style {
            Style::Install => u8::from(!installed),
            // An update stays with the provider that is there, and takes a renamed one before it keeps the old.
            Style::Sync => match (self.universe.entries[place].available, name_installed) {
                (true, true) => 0,
                (true, false) => 1,
                (false, _) => 2,
            },
        }
    }

    fn others_of_this_name(&self, installed: Place) -> impl Iterator<Item = Place> + '_ {
        self.available_of_this_name(installed).filter(move |place| *place != installed)
    }

    fn available_of_this_name(&self, installed: Place) -> impl Iterator<Item = Place> + '_ {
        let name = &self.universe.candidate(installed).name;
        self.universe.named(name).iter().copied().filter(|place| self.universe.entries[*place].available)
    }
}

struct Pass<'u, 'a> {
    universe: &'u Universe<'a>,
    chosen: HashMap<&'a str, Place>,
    origins: HashMap<Place, Origin>,
    parents: HashMap<Place, (Place, &'u Dependency)>,
    provided: HashMap<&'a Dependency, Place>,
    refused: HashMap<&'a Dependency, Place>,
    asked: HashSet<Place>,
    unresolved: Vec<Unresolved>,
}

impl<'u, 'a: 'u> Pass<'u, 'a> {
    fn new(universe: &'u Universe<'a>) -> Self {
        Self {
            universe,
            chosen: HashMap::new(),
            origins: HashMap::new(),
            parents: HashMap::new(),
            provided: HashMap::new(),
            refused: HashMap::new(),
            asked: HashSet::new(),
            unresolved: Vec::new(),
        }
    }

    fn run(&mut self, search: &Search<'u, 'a>, settled: &Settled) -> Result<(), Impasse> {
        let mut goals = search.goals.clone();
        let mut needs: VecDeque<Goal<'u>> = VecDeque::new();
        loop {
            // What is only kept comes last, so that it moves aside for what was asked for and not the other way round.
            let keeping = matches!(goals.front(), None | Some(Goal::Keep(_)));
            let next =
                if keeping { needs.pop_front().or_else(|| goals.pop_front()) } else { goals.pop_front() };
            let Some(goal) = next else { return Ok(()) };
            if let Some(place) = self.met_by(goal) {
                if let Goal::Asked(_) = goal {
                    self.asked.insert(place);
                }
                continue;
            }
            let options = search.options(goal);
            if options.is_empty()
                && let Goal::Asked(dependency) | Goal::Needed(dependency, _) = goal
                && search.missing.allows(dependency)
            {
                self.leave_open(dependency, goal);
                continue;
            }
            let mut obstacles = Vec::new();
            let free = options.iter().copied().find(|place| match self.obstacle(*place, settled) {
                None => true,
                Some(obstacle) => {
                    obstacles.push((*place, obstacle));
                    false
                }
            });
            match free {
                Some(place) => {
                    self.choose(place, goal);
                    let candidate = self.universe.candidate(place);
                    needs.extend(candidate.depends.iter().map(|dependency| Goal::Needed(dependency, place)));
                }
                None => return Err(self.impasse(goal, obstacles, settled)),
            }
        }
    }

    /// The chosen package that meets the need already.
    fn met_by(&self, goal: Goal<'_>) -> Option<Place> {
        match goal {
            Goal::Asked(dependency) | Goal::Needed(dependency, _) => {
                let by_name = (dependency.kind == DependencyKind::Name)
                    .then(|| self.chosen.get(dependency.name.as_str()))
                    .flatten();
                by_name.or_else(|| self.provided.get(dependency)).copied()
            }
            Goal::Keep(place) | Goal::Renew(place) => {
                self.chosen.get(self.universe.candidate(place).name.as_str()).copied()
            }
        }
    }

    fn leave_open(&mut self, dependency: &Dependency, goal: Goal<'_>) {
        let needed_by = match goal {
            Goal::Needed(_, by) => Some(self.universe.candidate(by).name.clone()),
            Goal::Asked(_) | Goal::Keep(_) | Goal::Renew(_) => None,
        };
        self.unresolved.push(Unresolved { dependency: dependency.clone(), needed_by });
    }

    fn obstacle(&self, place: Place, settled: &Settled) -> Option<Blocked> {
        let candidate = self.universe.candidate(place);
        if settled.banned.contains_key(&place) {
            return Some(Blocked::Settled);
        }
        if settled.pinned.get(&candidate.name).is_some_and(|pinned| *pinned != place) {
            return Some(Blocked::Settled);
        }
        if let Some(taken) = self.chosen.get(candidate.name.as_str()) {
            return Some(Blocked::NameTaken(*taken));
        }
        if let Some(installed) = self.universe.newer_installed(place) {
            return Some(Blocked::Older(installed));
        }
        self.conflict(place).map(|(other, over)| Blocked::Conflict(other, over.clone()))
    }

    /// A chosen package that this one excludes, or that excludes it.
    fn conflict(&self, place: Place) -> Option<(Place, &Dependency)> {
        let candidate = self.universe.candidate(place);
        for conflict in &candidate.conflicts {
            let named = (conflict.kind == DependencyKind::Name)
                .then(|| self.chosen.get(conflict.name.as_str()))
                .flatten();
            if let Some(other) = named.or_else(|| self.provided.get(conflict)) {
                return Some((*other, conflict));
            }
        }
        let own_name = Dependency::name(candidate.name.as_str());
        let (over, other) = candidate
            .provides
            .iter()
            .find_map(|provider| self.refused.get_key_value(provider))
            .or_else(|| self.refused.get_key_value(&own_name))?;
        Some((*other, over))
    }

    fn choose(&mut self, place: Place, goal: Goal<'u>) {
        let candidate = self.universe.candidate(place);
        self.chosen.insert(&candidate.name, place);
        for provider in &candidate.provides {
            self.provided.entry(provider).or_insert(place);
        }
        for conflict in &candidate.conflicts {
            self.refused.entry(conflict).or_insert(place);
        }
        let origin = match goal {
            Goal::Asked(_) => {
                self.asked.insert(place);
                Origin::Asked
            }
            Goal::Needed(dependency, by) => {
                self.parents.insert(place, (by, dependency));
                Origin::NeededBy {
                    name: self.universe.candidate(by).name.clone(),
                    dependency: dependency.clone(),
                }
            }
            Goal::Keep(_) | Goal::Renew(_) => Origin::Installed,
        };
        self.origins.insert(place, origin);
    }

    fn impasse(&self, goal: Goal<'_>, blocked: Vec<(Place, Blocked)>, settled: &Settled) -> Impasse {
        let mut repairs = Vec::new();
        let mut obstacles = Vec::new();
        for (place, reason) in blocked {
            let provider = self.universe.candidate(place).summary();
            let summary = |other: Place| self.universe.candidate(other).summary();
            obstacles.push(match reason {
                Blocked::Settled => Obstacle::Tried { provider },
                Blocked::NameTaken(taken) => {
                    if !settled.pinned.contains_key(&provider.name)
                        && self.universe.newer_installed(place).is_none()
                    {
                        repairs.push(Repair::Pin(place));
                    }
                    Obstacle::NameTaken { provider, taken_by: summary(taken) }
                }
                Blocked::Older(installed) => Obstacle::Older { provider, installed: summary(installed) },
                Blocked::Conflict(other, over) => {
                    repairs.push(Repair::Ban(other));
                    Obstacle::Conflict { provider, other: summary(other), over }
                }
            });
        }
        let (dependency, by) = match goal {
            Goal::Asked(dependency) => (dependency.clone(), None),
            Goal::Needed(dependency, by) => (dependency.clone(), Some(by)),
            Goal::Keep(place) | Goal::Renew(place) => {
                (Dependency::name(self.universe.candidate(place).name.as_str()), None)
            }
        };
        if let Some(by) = by {
            repairs.push(Repair::Ban(by));
        }
        let chain = self.chain(by, &dependency);
        let from_installed = match chain.first() {
            Some(link) => {
                self.chosen.get(link.package.name.as_str()).is_some_and(|place| !self.asked.contains(place))
            }
            None => matches!(goal, Goal::Keep(_) | Goal::Renew(_)),
        };
        Impasse { stuck: Stuck { chain, dependency, obstacles, from_installed }, repairs }
    }

    /// From what was asked for down to the package with the need.
    fn chain(&self, by: Option<Place>, dependency: &Dependency) -> Vec<ChainLink> {
        let mut chain = Vec::new();
        let mut step = by.map(|by| (by, dependency));
        // A parent is always chosen before its child, so the way up has no loop.
        while let Some((place, needs)) = step {
            chain.push(ChainLink { package: self.universe.candidate(place).summary(), needs: needs.clone() });
            step = self.parents.get(&place).copied();
        }
        chain.reverse();
        chain
    }

    fn into_resolution(mut self, search: &Search<'_, '_>, settled: &Settled) -> Resolution {
        let mut resolution =
            Resolution { unresolved: std::mem::take(&mut self.unresolved), ..Resolution::default() };
        resolution.unresolved.sort();
        resolution.unresolved.dedup();

        let mut chosen: Vec<Place> = self.chosen.values().copied().collect();
        chosen.sort_unstable_by_key(|place| self.universe.candidate(*place).name.as_str());
        for place in chosen {
            let package = self.universe.candidate(place).summary();
            let installed = self.universe.installed.get(package.name.as_str()).copied();
            let asked = self.asked.contains(&place);
            match installed {
                None => resolution.added.push(package.clone()),
                Some((old, _)) if old != place => {
                    resolution
                        .upgraded
                        .push(Upgrade { from: self.universe.candidate(old).summary(), to: package.clone() });
                }
                Some(_) => {}
            }
            let was_explicit = installed.is_some_and(|(_, explicit)| explicit);
            if asked && installed.is_some() && !was_explicit {
                resolution.made_explicit.push(package.name.clone());
            }
            if installed.is_some_and(|(old, _)| old == place) {
                resolution.notes.extend(self.why_it_stays(place, search, settled));
            }
            let origin = self.origins.remove(&place).unwrap_or(Origin::Installed);
            resolution.selection.push(Selected { package, explicit: asked || was_explicit, origin });
        }
        for (place, _) in self.universe.installed_by_name() {
            let candidate = self.universe.candidate(place);
            if !self.chosen.contains_key(candidate.name.as_str()) {
                resolution
                    .removed
                    .push(Removal { package: candidate.summary(), reason: RemovalReason::Orphaned });
            }
        }
        resolution
    }

    /// What to say about an installed package that a sync does not replace.
    fn why_it_stays(&self, place: Place, search: &Search<'_, '_>, settled: &Settled) -> Option<Note> {
        let installed = self.universe.candidate(place);
        let Some(best) = search.available_of_this_name(place).next() else {
            return Some(Note::Unavailable(installed.summary()));
        };
        let available = self.universe.candidate(best);
        if best == place {
            None
        } else if available.release < installed.release {
            Some(Note::NewerThanAvailable { installed: installed.summary(), available: available.summary() })
        } else {
            let reason = settled
                .banned
                .get(&best)
                .cloned()
                .unwrap_or_else(|| "another package needs what only the installed one provides".into());
            Some(Note::HeldBack { installed: installed.summary(), available: available.summary(), reason })
        }
    }
}

/// Why a pass cannot take a package now.
enum Blocked {
    Settled,
    NameTaken(Place),
    Older(Place),
    Conflict(Place, Dependency),
}
