//! Commands that change the system: install, remove, sync, and activating a state.

use std::io::{self, BufRead, IsTerminal, Write};

use fault::Fault;
use observe::{Palette, Stream};
use serde_json::{Value, json};
use system::resolve::Request;
use system::{PackageSummary, StateId};

use super::{CliError, Named, Options, Sync, migrate, print, print_json, show};
use crate::change::{Change, ChangeError, System};
use crate::installation::Access;
use crate::refresh::Freshness;
use crate::reporter::Reporter;

/// Moves that one sync follows, each after the other; whoever was away for years has had a few.
const MOVES_MAX: usize = 8;

pub(super) fn install(
    options: &Options,
    named: Named,
    reporter: &dyn Reporter,
) -> Result<(), Box<dyn Fault>> {
    let description = describe("install", &named);
    let request = Request::Install(named.packages);
    change(options, &request, Freshness::Preferred, named.dry_run, &description, reporter)
}

pub(super) fn remove(options: &Options, named: Named, reporter: &dyn Reporter) -> Result<(), Box<dyn Fault>> {
    let description = describe("remove", &named);
    let request = Request::Remove(named.packages);
    change(options, &request, Freshness::Cached, named.dry_run, &description, reporter)
}

pub(super) fn sync(options: &Options, sync: &Sync, reporter: &dyn Reporter) -> Result<(), Box<dyn Fault>> {
    let freshness = if sync.update { Freshness::Required } else { Freshness::Preferred };
    change(options, &Request::Sync, freshness, sync.dry_run, "moss sync", reporter)
}

fn describe(verb: &str, named: &Named) -> String {
    let names: Vec<String> = named.packages.iter().map(package::Dependency::short).collect();
    format!("moss {verb} {}", names.join(" "))
}

fn change(
    options: &Options,
    request: &Request,
    freshness: Freshness,
    dry_run: bool,
    description: &str,
    reporter: &dyn Reporter,
) -> Result<(), Box<dyn Fault>> {
    let access = if dry_run { Access::Read } else { Access::Write };
    let system = options.system(access, reporter)?;
    let change = match system.plan(request, freshness) {
        Ok(change) => change,
        Err(error) => return Err(other_moss(options, system, request, error, dry_run, reporter)),
    };
    let change = if *request == Request::Sync && !dry_run {
        match followed(options, &system, change, freshness, reporter) {
            Ok(change) => change,
            Err(Stop::Change(error)) => {
                return Err(other_moss(options, system, request, error, dry_run, reporter));
            }
            Err(Stop::Other(error)) => return Err(error),
        }
    } else {
        change
    };
    if !options.json {
        print(&show::plan(&change, Palette::of(Stream::Stdout)))?;
    }
    let mut state = None;
    if !dry_run && !change.is_empty() {
        if !options.yes {
            ask(options.json)?;
        }
        state = system.apply(&change, description)?;
    }
    match (options.json, state) {
        (true, state) => print_json(&as_json(&change, state, dry_run)),
        (false, Some(state)) => print(&format!("State {state} is active.\n")),
        (false, None) => Ok(()),
    }
}

/// What ends a sync before it begins.
enum Stop {
    Change(ChangeError),
    Other(Box<dyn Fault>),
}

/// The plan, after repositories that moved were followed. A repository may have moved several times.
fn followed(
    options: &Options,
    system: &System<'_>,
    mut change: Change,
    freshness: Freshness,
    reporter: &dyn Reporter,
) -> Result<Change, Stop> {
    for _ in 0..MOVES_MAX {
        if change.transitions.is_empty() {
            break;
        }
        let changed = migrate::follow(options, system, &change.transitions, reporter).map_err(Stop::Other)?;
        if !changed {
            break;
        }
        change = system.plan(&Request::Sync, freshness).map_err(Stop::Change)?;
    }
    Ok(change)
}

/// Where a sync meets a repository in a format of the future, Moss updates itself, and the new one goes on in this process.
/// So this comes back only with why nothing could be done, or why nothing was to be done.
fn other_moss(
    options: &Options,
    system: System<'_>,
    request: &Request,
    error: ChangeError,
    dry_run: bool,
    reporter: &dyn Reporter,
) -> Box<dyn Fault> {
    let Some(outdated) = error.outdated().filter(|_| *request == Request::Sync).cloned() else {
        return error.into();
    };
    let upgrade = match system.plan_self_upgrade(&outdated) {
        Ok(upgrade) => upgrade,
        Err(error) => return error.into(),
    };
    reporter.warn(&format!(
        "repository {} has the format {:?}, which this moss does not know; moss is updated first, and the new one goes on",
        outdated.repository.id, outdated.format
    ));
    if let Some(change) = upgrade.change() {
        // The one object of --json is printed by the Moss that ends this.
        if !options.json
            && let Err(error) = print(&show::plan(change, Palette::of(Stream::Stdout)))
        {
            return error;
        }
        if dry_run {
            return error.into();
        }
        if !options.yes
            && let Err(error) = ask(options.json)
        {
            return error.into();
        }
    }
    system.self_upgrade(upgrade, &options.arguments).into()
}

/// Asks whether to go on.
pub(super) fn ask(json: bool) -> Result<(), CliError> {
    if json {
        return Err(CliError::CannotAsk { why: "with --json there is nobody to read the question" });
    }
    if !io::stdin().is_terminal() {
        return Err(CliError::CannotAsk { why: "standard input is not a terminal" });
    }
    let question = write!(io::stderr().lock(), "Go on? [y/N] ").and_then(|()| io::stderr().flush());
    let mut answer = String::new();
    if question.and_then(|()| io::stdin().lock().read_line(&mut answer)).is_err() {
        return Err(CliError::CannotAsk { why: "the terminal does not answer" });
    }
    match answer.trim().to_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(CliError::Declined),
    }
}

fn package_json(package: &PackageSummary) -> Value {
    json!({ "name": package.name, "version": package.version, "release": package.release.source })
}

fn as_json(change: &Change, state: Option<StateId>, dry_run: bool) -> Value {
    let resolution = &change.resolution;
    let upgraded = resolution.upgraded.iter().map(|upgrade| {
        let mut value = package_json(&upgrade.to);
        value["from"] = json!({ "version": upgrade.from.version, "release": upgrade.from.release.source });
        value
    });
    json!({
        "state": state,
        "added": resolution.added.iter().map(package_json).collect::<Vec<_>>(),
        "removed": resolution.removed.iter().map(|removal| package_json(&removal.package)).collect::<Vec<_>>(),
        "upgraded": upgraded.collect::<Vec<_>>(),
        "download_bytes": change.download_bytes,
        "notes": resolution.notes.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "dry_run": dry_run,
    })
}

pub(super) fn activate(
    options: &Options,
    id: StateId,
    reporter: &dyn Reporter,
) -> Result<(), Box<dyn Fault>> {
    let system = options.system(Access::Write, reporter)?;
    system.activate(id)?;
    if options.json {
        print_json(&json!({ "state": id }))
    } else {
        print(&format!("State {id} is active.\n"))
    }
}
