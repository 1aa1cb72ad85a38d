//! `summit builder`: says who may build, on the data folder itself. Works while Summit runs, which sees it within seconds.

use std::path::Path;

use access::{Action, Actor};
use clap::{Args, Subcommand, ValueEnum};
use farm::ids::BuilderId;
use farm::moment::Moment;
use farm::schedule::Trust;
use fault::Fault;
use observe::{printable, write_stdout};
use serde_json::{Value, json};
use wire::PublicKey;

use crate::clock::Clock;
use crate::config::BuilderSize;
use crate::store::{BuilderChange, BuilderRole, BuilderRow, BuilderSaid, Store, StoreError};

/// How long a token can be presented unless something else is said: time to set a machine up.
const HOURS: u64 = 24;

#[derive(Debug, Subcommand)]
pub(super) enum BuilderCommand {
    /// Let a builder attach.
    Add {
        #[command(flatten)]
        said: SaidArguments,
        /// Its public key, as `avalanche key` prints it. It may begin with a dash.
        #[arg(allow_hyphen_values = true)]
        public_key: PublicKey,
        /// What its key may do.
        #[arg(long, value_enum, default_value_t = Role::Builder)]
        role: Role,
    },
    /// Make a token with which a new machine becomes this builder, once.
    Enrol {
        #[command(flatten)]
        said: SaidArguments,
        /// Hours for which the token is good.
        #[arg(long, default_value_t = HOURS)]
        hours: u64,
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// List builders.
    List {
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Let a builder attach no more; what it builds goes elsewhere.
    Remove(BuilderArgument),
    /// Give a builder no more work; what it builds goes on.
    Drain(BuilderArgument),
    /// Give a builder work again that is drained, or quarantined after faults.
    Undrain(BuilderArgument),
    /// Say something else about a builder.
    Label {
        #[command(flatten)]
        builder: BuilderArgument,
        /// Another name.
        #[arg(long)]
        name: Option<String>,
        /// A label to add. Can be given several times.
        #[arg(long = "label", value_name = "LABEL")]
        labels: Vec<String>,
        /// A label to take away. Can be given several times.
        #[arg(long = "no-label", value_name = "LABEL")]
        no_labels: Vec<String>,
        /// A feature to add. Can be given several times.
        #[arg(long = "feature", value_name = "FEATURE")]
        features: Vec<String>,
        /// A feature to take away. Can be given several times.
        #[arg(long = "no-feature", value_name = "FEATURE")]
        no_features: Vec<String>,
        /// Whether it belongs to the distribution: official or any.
        #[arg(long)]
        trust: Option<String>,
        /// How large it is: small, medium or large.
        #[arg(long)]
        size: Option<String>,
    },
}

#[derive(Debug, Args)]
pub(super) struct BuilderArgument {
    /// Its name or public key.
    #[arg(allow_hyphen_values = true)]
    builder: String,
}

/// What is said about a new builder.
#[derive(Debug, Args)]
pub(super) struct SaidArguments {
    /// Its name, for people.
    name: String,
    /// A word for people. Can be given several times.
    #[arg(long = "label", value_name = "LABEL")]
    labels: Vec<String>,
    /// What it has beyond others: a word that a `[[project.requirement]]` asks for. Can be given several times.
    #[arg(long = "feature", value_name = "FEATURE")]
    features: Vec<String>,
    /// Whether it belongs to the distribution.
    #[arg(long, value_enum, default_value_t = TrustWord::Any)]
    trust: TrustWord,
    /// How large it is, beside the others.
    #[arg(long, value_enum, default_value_t = Size::Small)]
    size: Size,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum Role {
    Builder,
    Waker,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum TrustWord {
    Any,
    Official,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Size {
    Small,
    Medium,
    Large,
}

impl SaidArguments {
    fn said(self, role: Role) -> BuilderSaid {
        BuilderSaid {
            name: self.name,
            labels: self.labels.into_iter().collect(),
            features: self.features.into_iter().collect(),
            trust: match self.trust {
                TrustWord::Any => Trust::Any,
                TrustWord::Official => Trust::Official,
            },
            size: match self.size {
                Size::Small => BuilderSize::Small,
                Size::Medium => BuilderSize::Medium,
                Size::Large => BuilderSize::Large,
            },
            role: match role {
                Role::Builder => BuilderRole::Builder,
                Role::Waker => BuilderRole::Waker,
            },
        }
    }
}

pub(super) async fn run(data: &Path, command: BuilderCommand) -> Result<(), Box<dyn Fault>> {
    let store = crate::open_store(data).await?;
    let text = carry_out(&store, data, command).await;
    store.close().await;
    Ok(write_stdout(&text?)?)
}

/// Returns what happened.
async fn carry_out(store: &Store, data: &Path, command: BuilderCommand) -> Result<String, Box<dyn Fault>> {
    let now = Clock::system().now();
    Ok(match command {
        BuilderCommand::Add { said, public_key, role } => {
            let id = BuilderId(public_key.to_string());
            let row = store.add_builder(&id, &said.said(role), false, now).await?;
            note(store, Action::AddBuilder, &row.said.name, row.said.role.keyword(), now).await?;
            format!("builder {} may attach\n", printable(&row.said.name))
        }
        BuilderCommand::Enrol { said, hours, json } => {
            let expires = now.after(std::time::Duration::from_secs(hours.saturating_mul(3600)));
            let said = said.said(Role::Builder);
            let token = store.make_enrolment(&said, expires, now).await?;
            note(store, Action::EnrolBuilder, &said.name, "a token", now).await?;
            enrolment(data, &said.name, &token, expires, json)?
        }
        BuilderCommand::Remove(BuilderArgument { builder }) => {
            let row = store.remove_builder(&builder, now).await?;
            note(store, Action::RemoveBuilder, &row.said.name, "its key is refused", now).await?;
            format!("builder {} is removed; its key is refused\n", printable(&row.said.name))
        }
        BuilderCommand::Drain(BuilderArgument { builder }) => {
            let row = store.drain_builder(&builder, true).await?;
            note(store, Action::DrainBuilder, &row.said.name, "drained", now).await?;
            format!("builder {} gets no more work; what it builds goes on\n", printable(&row.said.name))
        }
        BuilderCommand::Undrain(BuilderArgument { builder }) => {
            let row = store.drain_builder(&builder, false).await?;
            note(store, Action::DrainBuilder, &row.said.name, "gets work again", now).await?;
            format!("builder {} gets work again\n", printable(&row.said.name))
        }
        BuilderCommand::Label { builder, name, labels, no_labels, features, no_features, trust, size } => {
            let change = BuilderChange {
                name,
                add_labels: labels,
                remove_labels: no_labels,
                add_features: features,
                remove_features: no_features,
                trust,
                size,
            };
            let row = store.change_builder(&builder.builder, &change, now).await?;
            note(store, Action::LabelBuilder, &row.said.name, "", now).await?;
            line(&row)
        }
        BuilderCommand::List { json } => {
            let builders = store.builders().await?;
            match json {
                true => {
                    format!("{}\n", json!({ "builders": builders.iter().map(object).collect::<Vec<_>>() }))
                }
                false if builders.is_empty() => {
                    "no builders; add one with `summit builder add NAME PUBLIC_KEY`\n".into()
                }
                false => builders.iter().map(line).collect(),
            }
        }
    })
}

/// Notes who did what: whoever may write here is an operator.
async fn note(
    store: &Store,
    action: Action,
    name: &str,
    detail: &str,
    now: Moment,
) -> Result<(), StoreError> {
    store.note(&Actor::DataFolder, action, &format!("builder {name}"), detail, false, now).await
}

fn enrolment(
    data: &Path,
    name: &str,
    token: &str,
    expires: Moment,
    json: bool,
) -> Result<String, Box<dyn Fault>> {
    let key = crate::identity(data)?.public_key();
    if json {
        let object = json!({ "name": name, "token": token, "expires_ms": expires.0, "summit_key": key });
        return Ok(format!("{object}\n"));
    }
    Ok(format!(
        "{token}\n\nIt is good once. Write it into a file on the new machine, and run there:\n  moraine avalanche enrol --data DIR --summit \
         HOST:PORT --summit-key {key} --token-file FILE\n  moraine avalanche run --data DIR --summit HOST:PORT --summit-key {key}\n"
    ))
}

fn object(row: &BuilderRow) -> Value {
    json!({
        "name": row.said.name,
        "public_key": row.id.0,
        "role": row.said.role,
        "labels": row.said.labels,
        "features": row.said.features,
        "trust": row.said.trust,
        "size": row.said.size,
        "from_config": row.from_config,
        "drained": row.drained,
        "faults_in_row": row.faults_in_row,
        "last_seen_ms": row.last_seen.map(|moment| moment.0),
    })
}

fn line(row: &BuilderRow) -> String {
    let said = &row.said;
    let mut line = format!("{}  {}", row.id, printable(&said.name));
    if said.role != BuilderRole::Builder {
        line.push_str(&format!("  {}", said.role.keyword()));
    }
    if said.trust == Trust::Official {
        line.push_str("  official");
    }
    if said.size != BuilderSize::Small {
        line.push_str(&format!("  {}", said.size.keyword()));
    }
    for word in said.features.iter().chain(&said.labels) {
        line.push_str(&format!("  {}", printable(word)));
    }
    if row.drained {
        line.push_str("  drained");
    }
    line.push('\n');
    line
}
