//! Moving repositories to other addresses: by one command, and on the way of a sync.

use fault::{Fault, Kind};
use repository::transition::{HostRule, Mistrust, judge, versioned};
use repository::{RepositoryConfig, RepositoryFields, RepositorySource};
use serde_json::{Value, json};

use super::change::ask;
use super::{CliError, Options, print, print_json};
use crate::change::{ChangeError, System};
use crate::installation::Access;
use crate::refresh::{RefreshError, Transition};
use crate::reporter::Reporter;
use crate::repositories::{Migration, RepositoriesError, host_rules, load_repositories, plan_migration};

/// Where to, on the command line.
#[derive(Debug, clap::Args)]
pub(super) struct MigrateArguments {
    /// The repository; all that say that they moved, when none is named.
    name: Option<String>,
    /// Its new address, above its channels, instead of what it says itself.
    #[arg(long, value_name = "URL", requires = "name")]
    to: Option<String>,
    /// The channel there.
    #[arg(long, requires = "to")]
    to_channel: Option<String>,
    /// The version there: stream/NAME, tag/NAME or history/ID.
    #[arg(long, requires = "to")]
    to_version: Option<String>,
    /// Show what would change, and change nothing.
    #[arg(long)]
    dry_run: bool,
}

/// Why a repository was not moved.
#[derive(Debug, thiserror::Error)]
pub(super) enum MigrateError {
    /// What is at the new address cannot be used.
    #[error("cannot move repository {id} to {to}: it cannot be used there")]
    Unusable {
        /// The repository.
        id: String,
        /// The new address.
        to: String,
        /// Why not.
        #[source]
        source: Box<ChangeError>,
    },
    /// Nobody says which version to follow there.
    #[error("cannot move repository {id} to {to}: its address does not say which version it follows")]
    NoVersion {
        /// The repository.
        id: String,
        /// The new address.
        to: String,
    },
}

impl Fault for MigrateError {
    fn kind(&self) -> Kind {
        match self {
            MigrateError::Unusable { source, .. } => source.kind(),
            MigrateError::NoVersion { .. } => Kind::Input,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            MigrateError::Unusable { source, .. } => {
                let mut hints = source.hints();
                hints.push("nothing was changed".into());
                hints
            }
            MigrateError::NoVersion { .. } => vec!["name it: --to-version stream/volatile".into()],
        }
    }
}

pub(super) fn run(
    options: &Options,
    arguments: &MigrateArguments,
    reporter: &dyn Reporter,
) -> Result<(), Box<dyn Fault>> {
    let access = if arguments.dry_run { Access::Read } else { Access::Write };
    let system = options.system(access, reporter)?;
    let root = system.installation().root().to_path_buf();
    let mut configs = load_repositories(&root)?;
    if let Some(id) = arguments.name.as_deref().map(repository::sanitize_id) {
        configs.retain(|config| config.id == id);
        if configs.is_empty() {
            return Err(RepositoriesError::Unknown { id }.into());
        }
    }
    let (mut migrated, mut text) = (Vec::new(), String::new());
    for config in &configs {
        let (to, mistrust) = match &arguments.to {
            Some(to) => {
                let to = named(config, to, arguments, &host_rules(&root)?)?;
                // Whoever names an address takes responsibility for it; only a step down is told.
                let mistrust = judge(&config.source, &to, repository::transition::Learned::Configured).err();
                (to, mistrust)
            }
            None => match system.transition(config)? {
                Some(Transition { to, learned, .. }) => {
                    let mistrust = judge(&config.source, &to, learned).err();
                    (to, mistrust)
                }
                None => continue,
            },
        };
        let migration = prepare(&system, config, &to)?;
        if let Some(mistrust) = mistrust {
            reporter.warn(&format!("{}: {mistrust}", config.id));
        }
        if !options.json {
            print(&shown(&migration, config))?;
        }
        let mut kept = None;
        if !arguments.dry_run {
            if !options.yes {
                ask(options.json)?;
            }
            kept = migration.apply()?;
        }
        migrated.push(as_json(config, &migration, kept.as_deref()));
        text.push_str(&told(config, &migration, kept.as_deref(), arguments.dry_run));
    }
    if options.json {
        return print_json(&json!({ "migrated": migrated, "dry_run": arguments.dry_run }));
    }
    print(if text.is_empty() { "Every repository stays where it is.\n" } else { &text })
}

fn named(
    config: &RepositoryConfig,
    to: &str,
    arguments: &MigrateArguments,
    rules: &[HostRule],
) -> Result<RepositorySource, Box<dyn Fault>> {
    let old = match &config.source {
        RepositorySource::Versioned { .. } => Some(config.source.clone()),
        RepositorySource::Direct { uri } => {
            // The shape of the address says it, also where no rule speaks of the host.
            let host = uri.split('/').nth(2).unwrap_or_default().to_owned();
            let channel = "main".parse().map_err(|error: repository::IdentifierError| error)?;
            let own = HostRule { host, base_uri: None, channel };
            versioned(uri, rules).or_else(|| versioned(uri, &[own]))
        }
    };
    let (channel, version, arch) = match old {
        Some(RepositorySource::Versioned { channel, version, arch, .. }) => {
            (Some(channel.to_string()), Some(version.to_string()), Some(arch))
        }
        _ => (None, None, None),
    };
    let version = arguments.to_version.clone().or(version);
    let version =
        version.ok_or_else(|| MigrateError::NoVersion { id: config.id.clone(), to: to.to_owned() })?;
    let fields = RepositoryFields {
        uri: None,
        base_uri: Some(to.to_owned()),
        channel: arguments.to_channel.clone().or(channel),
        version: Some(version),
        arch,
        ..config.to_fields()
    };
    Ok(RepositoryConfig::from_fields(&config.id, &fields)?.source)
}

/// Plans the change, after a look at the new place: it must be there, and signed by a pinned key where one is pinned.
fn prepare(
    system: &System<'_>,
    config: &RepositoryConfig,
    to: &RepositorySource,
) -> Result<Migration, Box<dyn Fault>> {
    let migration = plan_migration(system.installation().root(), &config.id, to)?;
    match system.refresh(&migration.config) {
        // A format of the future is a matter of Moss, not of the address.
        Ok(_) | Err(ChangeError::Refresh(RefreshError::Outdated { .. })) => Ok(migration),
        Err(source) => {
            Err(MigrateError::Unusable { id: config.id.clone(), to: place(to), source: Box::new(source) }
                .into())
        }
    }
}

/// Follows repositories that moved, on the way of a sync. Answers whether anything is configured differently now.
pub(super) fn follow(
    options: &Options,
    system: &System<'_>,
    transitions: &[Transition],
    reporter: &dyn Reporter,
) -> Result<bool, Box<dyn Fault>> {
    let mut changed = false;
    for Transition { repository, to, learned } in transitions {
        let said = format!("repository {} says that it is at {} from now on", repository.id, place(to));
        let by_hand = format!("to follow it: moss repo migrate {}", repository.id);
        match judge(&repository.source, to, *learned) {
            Ok(()) => {}
            Err(mistrust @ (Mistrust::Hearsay | Mistrust::LessSecure { .. })) => {
                reporter.warn(&format!("{said}; it is not followed, because {mistrust}; {by_hand}"));
                continue;
            }
        }
        let migration = match prepare(system, repository, to) {
            Ok(migration) => migration,
            Err(error) => {
                let why = fault::chain(error.as_ref()).join(": ");
                reporter.warn(&format!("{said}; it stays as it is: {why}"));
                continue;
            }
        };
        reporter.warn(&said);
        if !options.json {
            print(&shown(&migration, repository))?;
        }
        if !options.yes {
            match ask(options.json) {
                Ok(()) => {}
                Err(CliError::Declined | CliError::CannotAsk { .. }) => {
                    reporter.warn(&format!("it is not followed; {by_hand}"));
                    continue;
                }
                Err(error) => return Err(error.into()),
            }
        }
        let kept = migration.apply()?;
        changed = true;
        if !options.json {
            print(&told(repository, &migration, kept.as_deref(), false))?;
        }
    }
    Ok(changed)
}

fn place(source: &RepositorySource) -> String {
    match source {
        RepositorySource::Direct { uri } => uri.clone(),
        RepositorySource::Versioned { base_uri, channel, version, .. } => {
            format!("{base_uri}, channel {channel}, {version}")
        }
    }
}

fn shown(migration: &Migration, config: &RepositoryConfig) -> String {
    let path = migration.path.display();
    format!(
        "Repository {}: {} → {}\n{path}:\n{}",
        config.id,
        place(&config.source),
        place(&migration.config.source),
        migration.diff()
    )
}

fn told(
    config: &RepositoryConfig,
    migration: &Migration,
    kept: Option<&std::path::Path>,
    dry_run: bool,
) -> String {
    if dry_run {
        return format!("Repository {} would be moved.\n", config.id);
    }
    let kept = match kept {
        Some(kept) => format!("; the file as it was is {}", kept.display()),
        None => format!("; the file of the distribution stays, {} counts", migration.path.display()),
    };
    format!("Repository {} is moved{kept}.\n", config.id)
}

fn as_json(config: &RepositoryConfig, migration: &Migration, kept: Option<&std::path::Path>) -> Value {
    json!({
        "id": config.id,
        "from": place(&config.source),
        "to": place(&migration.config.source),
        "file": migration.path.display().to_string(),
        "kept": kept.map(|kept| kept.display().to_string()),
    })
}
