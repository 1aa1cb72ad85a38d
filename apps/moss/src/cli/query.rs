//! Commands that only look: lists, search, and everything about one package.

use std::collections::BTreeMap;

use fault::Fault;
use observe::printable;
use package::{Dependency, PackageMeta};
use serde_json::{Value, json};

use super::{CliError, Options, print, print_json, show};
use crate::change::InstalledPackage;
use crate::installation::Access;
use crate::refresh::{Freshness, Offer};
use crate::reporter::Reporter;

/// A package with where it is.
struct Known<'a> {
    meta: &'a PackageMeta,
    /// Whether somebody asked for it; none when it is not installed.
    explicit: Option<bool>,
    repository: Option<&'a str>,
}

impl Known<'_> {
    fn as_json(&self) -> Value {
        json!({
            "name": self.meta.name,
            "version": self.meta.version,
            "release": self.meta.release,
            "build_release": self.meta.build_release,
            "summary": self.meta.summary,
            "explicit": self.explicit,
            "installed": self.explicit.is_some(),
            "repository": self.repository,
        })
    }

    fn as_line(&self) -> String {
        let version = format!("{}-{}", self.meta.version, self.meta.release);
        let mark = if self.explicit.is_some() { "*" } else { " " };
        format!("{mark} {:<24} {version:<16} {}\n", self.meta.name, printable(&self.meta.summary))
    }
}

fn print_packages(options: &Options, packages: &[Known<'_>]) -> Result<(), Box<dyn Fault>> {
    if options.json {
        return print_json(&json!({ "packages": packages.iter().map(Known::as_json).collect::<Vec<_>>() }));
    }
    print(&packages.iter().map(Known::as_line).collect::<String>())
}

pub(super) fn list_installed(
    options: &Options,
    explicit: bool,
    reporter: &dyn Reporter,
) -> Result<(), Box<dyn Fault>> {
    let system = options.system(Access::Read, reporter)?;
    let installed = system.installed()?;
    let shown = installed.iter().filter(|package| package.explicit || !explicit);
    let packages: Vec<Known<'_>> = shown
        .map(|package| Known { meta: &package.meta, explicit: Some(package.explicit), repository: None })
        .collect();
    print_packages(options, &packages)
}

/// What the repositories offer, each name once, at its preferred repository, with what is installed marked.
fn available<'a>(offers: &'a [Offer], installed: &'a [InstalledPackage]) -> Vec<Known<'a>> {
    let explicit: BTreeMap<&str, bool> =
        installed.iter().map(|package| (package.meta.name.as_str(), package.explicit)).collect();
    let mut best: BTreeMap<&str, (u64, &Offer, &PackageMeta)> = BTreeMap::new();
    for offer in offers {
        for meta in &offer.packages {
            let place = best.entry(&meta.name).or_insert((offer.repository.priority, offer, meta));
            let better = (offer.repository.priority, meta.release, meta.build_release)
                > (place.0, place.2.release, place.2.build_release);
            if better {
                *place = (offer.repository.priority, offer, meta);
            }
        }
    }
    best.into_values()
        .map(|(_, offer, meta)| Known {
            meta,
            explicit: explicit.get(meta.name.as_str()).copied(),
            repository: Some(&offer.repository.id),
        })
        .collect()
}

pub(super) fn list_available(options: &Options, reporter: &dyn Reporter) -> Result<(), Box<dyn Fault>> {
    let system = options.system(Access::Read, reporter)?;
    let (mut offers, installed) = (system.offers(Freshness::Cached)?, system.installed()?);
    system.add_texts(&mut offers)?;
    print_packages(options, &available(&offers, &installed))
}

pub(super) fn search(options: &Options, word: &str, reporter: &dyn Reporter) -> Result<(), Box<dyn Fault>> {
    let system = options.system(Access::Read, reporter)?;
    let (mut offers, installed) = (system.offers(Freshness::Cached)?, system.installed()?);
    system.add_texts(&mut offers)?;
    let provider: Option<Dependency> = word.parse().ok();
    let lower = word.to_lowercase();
    let fits = |meta: &PackageMeta| {
        meta.name.to_lowercase().contains(&lower)
            || meta.summary.to_lowercase().contains(&lower)
            || provider.as_ref().is_some_and(|provider| meta.provides.contains(provider))
    };
    let mut packages = available(&offers, &installed);
    let offered: Vec<&str> = packages.iter().map(|known| known.meta.name.as_str()).collect();
    // What no repository has any more is still found where it is installed.
    let only_installed = installed.iter().filter(|package| !offered.contains(&package.meta.name.as_str()));
    packages.extend(only_installed.map(|package| Known {
        meta: &package.meta,
        explicit: Some(package.explicit),
        repository: None,
    }));
    packages.retain(|known| fits(known.meta));
    packages.sort_by(|left, right| left.meta.name.cmp(&right.meta.name));
    print_packages(options, &packages)
}

/// Packages that have a file whose path contains a text, installed or not.
pub(super) fn search_files(
    options: &Options,
    text: &str,
    reporter: &dyn Reporter,
) -> Result<(), Box<dyn Fault>> {
    let system = options.system(Access::Read, reporter)?;
    let (offers, installed) = (system.offers(Freshness::Cached)?, system.installed()?);
    let text = text.strip_prefix("/usr/").unwrap_or(text);
    let mut found: BTreeMap<(String, String), (bool, Option<String>)> = BTreeMap::new();
    for package in &installed {
        for path in system.files_of(&package.id)?.into_iter().filter(|path| path.contains(text)) {
            found.insert((path, package.meta.name.clone()), (true, None));
        }
    }
    for offer in &offers {
        let Some(lists) = system.file_lists(&offer.repository)? else {
            reporter.warn(&format!(
                "repository {} does not tell the files of its packages; only what is installed is searched",
                offer.repository.id
            ));
            continue;
        };
        let names: BTreeMap<&str, &str> = offer
            .packages
            .iter()
            .filter_map(|meta| Some((meta.hash.as_deref()?, meta.name.as_str())))
            .collect();
        for (digest, paths) in lists {
            let Some(name) = names.get(digest.as_str()) else { continue };
            for path in paths.into_iter().filter(|path| path.contains(text)) {
                let entry = found.entry((path, (*name).to_owned())).or_default();
                entry.1 = Some(offer.repository.id.clone());
            }
        }
    }
    if options.json {
        let files = found.iter().map(|((path, name), (installed, repository))| {
            json!({ "path": format!("/usr/{path}"), "package": name, "installed": installed, "repository": repository })
        });
        return print_json(&json!({ "files": files.collect::<Vec<_>>() }));
    }
    let line = |((path, name), (installed, _)): (&(String, String), &(bool, Option<String>))| {
        let mark = if *installed { "*" } else { " " };
        format!("{mark} {name:<24} /usr/{}\n", printable(path))
    };
    print(&found.iter().map(line).collect::<String>())
}

pub(super) fn info(
    options: &Options,
    names: &[String],
    reporter: &dyn Reporter,
) -> Result<(), Box<dyn Fault>> {
    let system = options.system(Access::Read, reporter)?;
    let (mut offers, installed) = (system.offers(Freshness::Cached)?, system.installed()?);
    system.add_texts(&mut offers)?;
    let offered = available(&offers, &installed);
    let (mut objects, mut text) = (Vec::new(), String::new());
    for name in names {
        let present = installed.iter().find(|package| package.meta.name == *name);
        let offer = offered.iter().find(|known| known.meta.name == *name);
        let repository = offer.and_then(|known| known.repository);
        let meta = match (present, offer) {
            (Some(present), _) => &present.meta,
            (None, Some(offer)) => offer.meta,
            (None, None) => return Err(CliError::NoPackage { name: name.clone() }.into()),
        };
        let mut object = serde_json::to_value(meta).unwrap_or_else(|_| json!({ "name": meta.name }));
        object["installed"] = json!(present.is_some());
        object["repository"] = json!(repository);
        objects.push(object);
        text.push_str(&describe(meta, present, repository));
    }
    if options.json { print_json(&json!({ "packages": objects })) } else { print(&text) }
}

fn describe(meta: &PackageMeta, installed: Option<&InstalledPackage>, repository: Option<&str>) -> String {
    let mut text = String::new();
    let mut line = |label: &str, value: &str| {
        if !value.is_empty() {
            // Further lines begin below the first.
            let value = value.trim().replace('\n', "\n              ");
            text.push_str(&format!("{label:<13} {}\n", printable(&value)));
        }
    };
    let list = |dependencies: &mut dyn Iterator<Item = &Dependency>| {
        dependencies.map(Dependency::short).collect::<Vec<_>>().join("\n")
    };
    line("Name", &meta.name);
    line("Version", &format!("{}-{}-{}", meta.version, meta.release, meta.build_release));
    line("Summary", &meta.summary);
    line("Description", &meta.description);
    line("Homepage", &meta.homepage);
    line("Licences", &meta.licenses.join(", "));
    line("Source", &meta.source_id);
    line("Depends", &list(&mut meta.depends.iter()));
    line("Provides", &list(&mut meta.provides.iter()));
    line("Conflicts", &list(&mut meta.conflicts.iter()));
    line("Repository", repository.unwrap_or_default());
    if let Some(count) = meta.download_size_bytes {
        line("Download", &show::bytes(count));
    }
    match installed {
        Some(package) => {
            let why = if package.explicit { "asked for" } else { "needed by another" };
            line("Installed", &format!("{}, {why}", show::bytes(package.installed_bytes)));
        }
        None => line("Installed", "no"),
    }
    text.push('\n');
    text
}

pub(super) fn list_states(options: &Options, reporter: &dyn Reporter) -> Result<(), Box<dyn Fault>> {
    let system = options.system(Access::Read, reporter)?;
    let (states, active) = system.states()?;
    if options.json {
        let objects = states.iter().map(|state| {
            json!({
                "id": state.id,
                "created": state.created_unix_seconds,
                "summary": state.summary,
                "description": state.description,
                "packages": state.members.len(),
            })
        });
        return print_json(&json!({ "active": active, "states": objects.collect::<Vec<_>>() }));
    }
    let mut text = String::new();
    for state in &states {
        let mark = if Some(state.id) == active { "*" } else { " " };
        let created = jiff::Timestamp::from_second(state.created_unix_seconds)
            .map(|created| created.strftime("%Y-%m-%d %H:%M:%S UTC").to_string())
            .unwrap_or_default();
        let (id, packages) = (state.id.to_string(), state.members.len());
        text.push_str(&format!(
            "{mark} {id:>4}  {created}  {packages:>5} packages  {}\n",
            printable(&state.description)
        ));
    }
    print(&text)
}
