//! Which of the sets that could land do, and which wait for what they need to run.
//!
//! Pure. All sets are put on top of the channel at once; those whose needs nobody offers then are taken out again, and with
//! them what only they offered, until every set that is left finds what it needs. So sets that need each other land
//! together, and a set that waits lands by itself with the one that brings what it waits for.
//!
//! Held back is a set for its own needs only. One that leaves others without what they need lands, with a remark: those
//! others are built again against it, which they cannot before it is there. And a need that the package before had, and that
//! nobody met then either, holds nothing back.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use package::{Dependency, DependencyKind};
use serde::{Deserialize, Serialize};

use crate::admission::{Landing, Package, PackageKey, Scope, Snapshot, land};
use crate::closure::{Thing, Unmet, offers, thing};
use crate::expectation::Expectation;

/// What becomes of a set whose needs nobody meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClosurePolicy {
    /// It lands with a remark, until everything in the channel found what it needs once; from then on it is held back. A new
    /// distribution begins with packages that need what comes after them.
    #[default]
    Auto,
    /// It is held back.
    Hold,
    /// It lands with a remark.
    Warn,
    /// It lands.
    Allow,
}

/// What becomes of sets whose needs nobody meets, channel by channel.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Closure {
    /// In channels of which nothing is said.
    pub default: ClosurePolicy,
    /// By channel.
    pub channels: BTreeMap<String, ClosurePolicy>,
}

impl Closure {
    /// In this channel.
    #[must_use]
    pub fn of(&self, channel: &str) -> ClosurePolicy {
        self.channels.get(channel).copied().unwrap_or(self.default)
    }

    /// Takes `POLICY`, for all channels, or `CHANNEL=POLICY`. False when it is neither.
    pub fn take(&mut self, text: &str) -> bool {
        let (channel, word) = match text.split_once('=') {
            Some((channel, word)) => (Some(channel), word),
            None => (None, text),
        };
        let Some(policy) = ClosurePolicy::of_word(word) else { return false };
        match channel {
            Some(channel) => drop(self.channels.insert(channel.to_owned(), policy)),
            None => self.default = policy,
        }
        true
    }
}

impl ClosurePolicy {
    fn of_word(word: &str) -> Option<Self> {
        match word {
            "auto" => Some(ClosurePolicy::Auto),
            "hold" => Some(ClosurePolicy::Hold),
            "warn" => Some(ClosurePolicy::Warn),
            "allow" => Some(ClosurePolicy::Allow),
            _ => None,
        }
    }
}

/// A set that could land.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Candidate<'a> {
    pub(crate) order: &'a Expectation,
    pub(crate) packages: &'a [Package],
    /// Whether it lands whatever it needs.
    pub(crate) may_land_unmet: bool,
}

/// What becomes of the candidates, by their place among them. Those in neither list changed nothing, or are refused on top
/// of the others; each of these is told in its own turn.
#[derive(Debug, Default)]
pub(crate) struct Gathered {
    /// All that land, one on top of the other; none when no one does.
    pub(crate) landing: Option<Landing>,
    pub(crate) landed: Vec<usize>,
    pub(crate) held: BTreeMap<usize, Vec<Unmet>>,
}

/// Decides which of the candidates land.
pub(crate) fn gather(current: &Snapshot, candidates: &[Candidate<'_>]) -> Gathered {
    let mut held: BTreeMap<usize, Vec<Unmet>> = BTreeMap::new();
    loop {
        let mut landing: Option<Landing> = None;
        let mut landed = Vec::new();
        for (place, candidate) in candidates.iter().enumerate().filter(|(place, _)| !held.contains_key(place))
        {
            let base = landing.as_ref().map_or(current, |landing| &landing.snapshot);
            let Ok(next) = land(base, candidate.packages, Scope::Order(candidate.order)) else { continue };
            if !next.is_unchanged() {
                landing = Some(match landing {
                    Some(before) => before.and(next),
                    None => next,
                });
                landed.push(place);
            }
        }
        let after = landing.as_ref().map_or(current, |landing| &landing.snapshot);
        let strict: Vec<usize> = landed
            .iter()
            .copied()
            .filter(|place| candidates.get(*place).is_some_and(|it| !it.may_land_unmet))
            .collect();
        let lacking = lacking(current, after, candidates, &strict);
        if lacking.is_empty() {
            return Gathered { landing, landed, held };
        }
        held.extend(lacking);
    }
}

/// What each of these candidates needs that nobody offers afterwards; those that lack nothing are left out.
fn lacking(
    before: &Snapshot,
    after: &Snapshot,
    candidates: &[Candidate<'_>],
    places: &[usize],
) -> BTreeMap<usize, Vec<Unmet>> {
    let mut needs: HashMap<Thing<'_>, Vec<(usize, &Package)>> = HashMap::new();
    for place in places {
        let packages = candidates.get(*place).map_or(&[][..], |candidate| candidate.packages);
        for package in packages {
            for need in &package.meta.depends {
                needs.entry(thing(need)).or_default().push((*place, package));
            }
        }
    }
    remove_offered(&mut needs, after);
    if needs.is_empty() {
        return BTreeMap::new();
    }
    // What was lacking before, and is needed by the same packages, is no fault of who lands now.
    let mut wounds: HashMap<Thing<'_>, ()> = needs.keys().map(|need| (*need, ())).collect();
    remove_offered(&mut wounds, before);
    let is_old = |need: &Thing<'_>, package: &Package| {
        let had = |old: &Package| old.meta.depends.iter().any(|old| thing(old) == *need);
        wounds.contains_key(need) && before.get(&package.key()).is_some_and(had)
    };
    let mut lacking: BTreeMap<usize, BTreeMap<Dependency, BTreeSet<String>>> = BTreeMap::new();
    for (need, by) in needs {
        for (place, package) in by.into_iter().filter(|(_, package)| !is_old(&need, package)) {
            let PackageKey { name, architecture } = package.key();
            let (kind, needed) = need;
            let need = Dependency { kind, name: needed.to_owned() };
            let by = lacking.entry(place).or_default().entry(need).or_default();
            by.insert(format!("{name} ({architecture})"));
        }
    }
    let unmet = |(need, by)| Unmet { need, by };
    lacking.into_iter().map(|(place, unmets)| (place, unmets.into_iter().map(unmet).collect())).collect()
}

fn remove_offered<'a, T>(needs: &mut HashMap<Thing<'a>, T>, snapshot: &'a Snapshot) {
    for package in snapshot.packages() {
        if needs.is_empty() {
            return;
        }
        for offer in offers(&package.meta) {
            needs.remove(&offer);
        }
    }
}

/// Whether everything in a channel finds what it needs there, and something needs what another source offers: a channel of
/// a few packages that need nothing is no distribution yet.
pub(crate) fn is_closed(snapshot: &Snapshot) -> bool {
    let mut offered: HashMap<(DependencyKind, &str), &str> = HashMap::new();
    for package in snapshot.packages() {
        for offer in offers(&package.meta) {
            offered.insert(offer, &package.meta.source_id);
        }
    }
    let mut crosses = false;
    for package in snapshot.packages() {
        for need in &package.meta.depends {
            match offered.get(&thing(need)) {
                None => return false,
                Some(source) => crosses |= **source != package.meta.source_id,
            }
        }
    }
    crosses
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::closure::remark;
    use crate::expectation::tests::order as nano_order;
    use store::Sha256;
    use testkit::packages::meta_with;

    /// `name@release: need need > offer offer`
    fn package(text: &str) -> Package {
        let (head, rest) = text.split_once(':').unwrap();
        let (name, release) = head.split_once('@').unwrap();
        let (needs, offered) = rest.split_once('>').unwrap_or((rest, ""));
        let (needs, offered): (Vec<_>, Vec<_>) =
            (needs.split_whitespace().collect(), offered.split_whitespace().collect());
        let meta = meta_with(name, release.parse().unwrap(), &needs, &offered);
        Package { meta, sha256: Sha256::of(text.as_bytes()), size_bytes: 1 }
    }

    fn order(package: &Package) -> Expectation {
        Expectation {
            source: package.meta.source_id.clone(),
            version: "1".into(),
            release: package.meta.release,
            ..nano_order()
        }
    }

    /// Each candidate is a set of one package; a `!` before it lets it land whatever it needs. Answers the names of those
    /// that land, and what the others wait for.
    fn check(current: &[&str], candidates: &[&str], expect: &str) {
        let current: Snapshot = current.iter().map(|text| package(text)).collect();
        let packages: Vec<Package> =
            candidates.iter().map(|text| package(text.trim_start_matches('!'))).collect();
        let orders: Vec<Expectation> = packages.iter().map(order).collect();
        let given: Vec<Candidate<'_>> = orders
            .iter()
            .zip(&packages)
            .zip(candidates)
            .map(|((order, package), text)| Candidate {
                order,
                packages: std::slice::from_ref(package),
                may_land_unmet: text.starts_with('!'),
            })
            .collect();
        let gathered = gather(&current, &given);
        let name = |place: &usize| packages[*place].meta.name.clone();
        let landed: Vec<String> = gathered.landed.iter().map(name).collect();
        let held: Vec<String> = gathered
            .held
            .iter()
            .map(|(place, unmet)| format!("{}: {}", name(place), remark(unmet)))
            .collect();
        let found = format!("{} | {}", landed.join(" "), held.join("; "));
        assert_eq!(found.trim(), expect, "{candidates:?}");
        assert_eq!(gathered.landing.is_none(), gathered.landed.is_empty());
        for place in &gathered.landed {
            let snapshot = &gathered.landing.as_ref().unwrap().snapshot;
            assert!(snapshot.get(&packages[*place].key()).is_some());
        }
    }

    #[test]
    fn a_set_lands_with_what_it_needs_and_waits_without() {
        check(&[], &["a@1:"], "a |");
        check(&["b@1:"], &["a@1: b"], "a |");
        check(&[], &["a@1: b"], "| a: nothing in the channel provides name(b) needed by a (x86_64)");
        check(&[], &["a@1: b", "b@1:"], "a b |");
        check(&[], &["!a@1: b"], "a |");
        // Whoever needs one that waits, waits.
        check(
            &[],
            &["a@1: b", "b@1: c"],
            "| a: nothing in the channel provides name(b) needed by a (x86_64); b: nothing in the channel provides name(c) needed by b (x86_64)",
        );
        check(&[], &["a@1: b", "b@1: c", "c@1:"], "a b c |");
        check(
            &[],
            &["a@1: b", "d@1:"],
            "d | a: nothing in the channel provides name(b) needed by a (x86_64)",
        );
    }

    #[test]
    fn sets_that_need_each_other_land_together() {
        check(&[], &["a@1: b", "b@1: a"], "a b |");
        check(&[], &["a@1: b", "b@1: c", "c@1: a"], "a b c |");
        check(
            &[],
            &["a@1: b", "b@1: a x"],
            "| a: nothing in the channel provides name(b) needed by a (x86_64); b: nothing in the channel provides name(x) needed by b (x86_64)",
        );
    }

    #[test]
    fn a_library_lands_before_those_that_have_to_be_built_again() {
        let app = "app@1: soname(l.so.1(x86_64))";
        let library = "l@1: > soname(l.so.1(x86_64))";
        check(&[app, library], &["l@2: > soname(l.so.2(x86_64))"], "l |");
        check(
            &[app, library],
            &["l@2: > soname(l.so.2(x86_64))", "app@2: soname(l.so.2(x86_64))"],
            "l app |",
        );
        check(
            &[app, library],
            &["app@2: soname(l.so.2(x86_64))"],
            "| app: nothing in the channel provides soname(l.so.2(x86_64)) needed by app (x86_64)",
        );
    }

    #[test]
    fn old_wounds_hold_nothing_back() {
        check(&["a@1: gone"], &["a@2: gone"], "a |");
        check(
            &["a@1: gone"],
            &["a@2: gone more"],
            "| a: nothing in the channel provides name(more) needed by a (x86_64)",
        );
        check(
            &["a@1: gone"],
            &["b@1: gone"],
            "| b: nothing in the channel provides name(gone) needed by b (x86_64)",
        );
    }

    #[test]
    fn what_is_refused_holds_nobody_up() {
        check(&["a@5:"], &["a@1:", "b@1:"], "b |");
        check(&["a@1:"], &["a@1:", "b@1:"], "b |");
        check(&[], &["a@2:", "a@1:"], "a |");
    }

    #[test]
    fn a_policy_is_of_all_channels_or_of_one() {
        let mut closure = Closure::default();
        assert_eq!(closure.of("main"), ClosurePolicy::Auto);
        for (text, is_one) in
            [("warn", true), ("main=hold", true), ("try=allow", true), ("hald", false), ("main=", false)]
        {
            assert_eq!(closure.take(text), is_one, "{text}");
        }
        assert_eq!(closure.of("other"), ClosurePolicy::Warn);
        assert_eq!(closure.of("main"), ClosurePolicy::Hold);
        assert_eq!(closure.of("try"), ClosurePolicy::Allow);
        assert!(closure.take("auto"));
        assert_eq!(closure.of("other"), ClosurePolicy::Auto);
    }

    #[test]
    fn a_channel_is_closed_when_everything_finds_what_it_needs_of_others() {
        let closed = |texts: &[&str]| is_closed(&texts.iter().map(|text| package(text)).collect());
        assert!(!closed(&[]));
        assert!(!closed(&["filesystem@1:"]));
        assert!(!closed(&["glibc@1: glibc"]));
        assert!(!closed(&["a@1: b"]));
        assert!(closed(&["a@1: b", "b@1:"]));
        assert!(!closed(&["a@1: b", "b@1: c"]));
    }

    /// Whatever lands finds what it needs, and nothing that could land with all others that land is held back.
    #[test]
    fn random_sets_land_as_far_as_they_can() {
        let mut state = 1_u64;
        let mut random = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        for _ in 0..300 {
            let texts: Vec<String> = (0..8)
                .map(|number| {
                    let needs: Vec<String> = (0..random(3)).map(|_| format!("p{}", random(10))).collect();
                    format!("p{number}@1: {}", needs.join(" "))
                })
                .collect();
            let packages: Vec<Package> = texts.iter().map(|text| package(text)).collect();
            let orders: Vec<Expectation> = packages.iter().map(order).collect();
            let given: Vec<Candidate<'_>> = orders
                .iter()
                .zip(&packages)
                .map(|(order, package)| Candidate {
                    order,
                    packages: std::slice::from_ref(package),
                    may_land_unmet: false,
                })
                .collect();
            let gathered = gather(&Snapshot::default(), &given);
            // By counting down from all, each time without those that lack something.
            let mut left: BTreeSet<usize> = (0..packages.len()).collect();
            loop {
                let names: BTreeSet<&str> =
                    left.iter().map(|place| packages[*place].meta.name.as_str()).collect();
                let meets = |place: &usize| {
                    packages[*place].meta.depends.iter().all(|need| names.contains(need.name.as_str()))
                };
                let kept: BTreeSet<usize> = left.iter().copied().filter(meets).collect();
                if kept == left {
                    break;
                }
                left = kept;
            }
            assert_eq!(gathered.landed, left.into_iter().collect::<Vec<_>>(), "{texts:?}");
        }
    }
}
