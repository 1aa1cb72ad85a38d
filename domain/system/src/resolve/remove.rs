//! What goes when something goes.

use std::collections::{HashMap, HashSet};

use package::Dependency;

use super::answer::{Origin, Removal, RemovalReason, Resolution, ResolveError, Selected};
use super::universe::{Place, Universe};

/// Drops what is named, then everything that cannot be without it, then everything that nothing explicit needs.
pub(super) fn remove(universe: &Universe<'_>, named: &[Dependency]) -> Result<Resolution, ResolveError> {
    let installed = universe.installed_by_name();
    let places: HashSet<Place> = installed.iter().map(|(place, _)| *place).collect();
    let mut gone: HashMap<Place, RemovalReason> = HashMap::new();
    for dependency in named {
        let providers = universe.providers(dependency).filter(|place| places.contains(place));
        let mut found = false;
        for place in providers {
            found = true;
            gone.insert(place, RemovalReason::Asked);
        }
        if !found {
            return Err(ResolveError::NotInstalled { dependency: dependency.clone() });
        }
    }
    drop_dependents(universe, &installed, &mut gone);
    drop_orphans(universe, &installed, &mut gone);

    let mut resolution = Resolution::default();
    for (place, explicit) in installed {
        let package = universe.candidate(place).summary();
        match gone.remove(&place) {
            Some(reason) => resolution.removed.push(Removal { package, reason }),
            None => resolution.selection.push(Selected { package, explicit, origin: Origin::Installed }),
        }
    }
    Ok(resolution)
}

fn drop_dependents(
    universe: &Universe<'_>,
    installed: &[(Place, bool)],
    gone: &mut HashMap<Place, RemovalReason>,
) {
    let places: HashSet<Place> = installed.iter().map(|(place, _)| *place).collect();
    // Each round drops at least one package or ends, so there are at most as many rounds as packages.
    loop {
        let mut dropped = Vec::new();
        for (place, _) in installed {
            if gone.contains_key(place) {
                continue;
            }
            // A need that nothing installed ever met does not make its package a dependent of what goes.
            let lost = universe.candidate(*place).depends.iter().find(|dependency| {
                let mut providers =
                    universe.providers(dependency).filter(|provider| places.contains(provider)).peekable();
                providers.peek().is_some() && providers.all(|provider| gone.contains_key(&provider))
            });
            if let Some(dependency) = lost {
                dropped.push((*place, RemovalReason::Needs(dependency.clone())));
            }
        }
        if dropped.is_empty() {
            return;
        }
        gone.extend(dropped);
    }
}

fn drop_orphans(
    universe: &Universe<'_>,
    installed: &[(Place, bool)],
    gone: &mut HashMap<Place, RemovalReason>,
) {
    let places: HashSet<Place> = installed.iter().map(|(place, _)| *place).collect();
    let mut needed: HashSet<Place> = installed
        .iter()
        .filter(|(place, explicit)| *explicit && !gone.contains_key(place))
        .map(|(place, _)| *place)
        .collect();
    let mut open: Vec<Place> = needed.iter().copied().collect();
    while let Some(place) = open.pop() {
        for dependency in &universe.candidate(place).depends {
            // Every installed provider counts as needed: with two of them nobody can say which one is meant.
            for provider in universe.providers(dependency) {
                if places.contains(&provider) && !gone.contains_key(&provider) && needed.insert(provider) {
                    open.push(provider);
                }
            }
        }
    }
    for (place, _) in installed {
        if !needed.contains(place) {
            gone.entry(*place).or_insert(RemovalReason::Orphaned);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{candidate, installed};
    use super::super::{Missing, Request, resolve};
    use super::*;

    fn check(packages: &[super::super::Installed], named: &str, removed: &[(&str, &str)]) {
        let universe = Universe::new(packages, &[]);
        let request = Request::Remove(vec![named.parse().unwrap()]);
        let resolution = resolve(&universe, &request, &Missing::Refuse).unwrap();
        let found: Vec<(String, String)> = resolution
            .removed
            .iter()
            .map(|removal| (removal.package.name.clone(), removal.reason.to_string()))
            .collect();
        let expected: Vec<(String, String)> =
            removed.iter().map(|(name, why)| ((*name).into(), (*why).into())).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn dependents_and_orphans_go_and_nothing_else() {
        let packages = [
            installed(candidate("editor", 1).depends("soname(libtext.so.1)"), true),
            installed(candidate("text", 1).provides("soname(libtext.so.1)").depends("base"), false),
            installed(candidate("base", 1), false),
            installed(candidate("shell", 1).depends("base"), true),
            installed(candidate("plugin", 1).depends("editor"), true),
            installed(candidate("leftover", 1), false),
        ];
        check(
            &packages,
            "text",
            &[
                ("editor", "needs soname(libtext.so.1)"),
                ("leftover", "no longer needed"),
                ("plugin", "needs editor"),
                ("text", "asked for by you"),
            ],
        );
        check(&packages, "shell", &[("leftover", "no longer needed"), ("shell", "asked for by you")]);
        check(&packages, "plugin", &[("leftover", "no longer needed"), ("plugin", "asked for by you")]);
    }

    #[test]
    fn a_second_provider_saves_the_dependent() {
        let packages = [
            installed(candidate("user", 1).depends("binary(awk)"), true),
            installed(candidate("gawk", 1).provides("binary(awk)"), true),
            installed(candidate("mawk", 1).provides("binary(awk)"), false),
        ];
        check(&packages, "gawk", &[("gawk", "asked for by you")]);
        check(
            &packages,
            "binary(awk)",
            &[("gawk", "asked for by you"), ("mawk", "asked for by you"), ("user", "needs binary(awk)")],
        );
    }

    #[test]
    fn what_is_not_there_cannot_go() {
        let packages = [installed(candidate("a", 1), true)];
        let universe = Universe::new(&packages, &[]);
        let request = Request::Remove(vec![Dependency::name("b")]);
        let error = resolve(&universe, &request, &Missing::Refuse).unwrap_err();
        assert_eq!(error.to_string(), "cannot remove b: it is not installed");
    }
}
