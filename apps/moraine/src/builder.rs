//! `moraine builder`: who builds, how they are, and what the operator says about them.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use fault::Fault;
use observe::{Palette, Stream, Style, printable, width_columns, write_stdout};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::summit_api::{SummitApi, SummitArguments, path_segment};
use crate::table::{Cell, duration, table};
use crate::task::{outcome, print_json, read};

#[derive(Debug, Args)]
pub(crate) struct BuilderArguments {
    #[command(subcommand)]
    command: BuilderCommand,
    #[command(flatten)]
    summit: SummitArguments,
}

#[derive(Debug, Subcommand)]
enum BuilderCommand {
    /// List builders.
    List,
    /// Show one builder, and what became of its last attempts.
    Show(BuilderName),
    /// Let a machine build whose key is known.
    Add {
        /// Its name.
        name: String,
        /// Its public key, as `avalanche key` prints it. It may begin with a dash.
        #[arg(allow_hyphen_values = true)]
        public_key: String,
        /// What its key may do: builder, or waker, which only wakes Summit up.
        #[arg(long, default_value = "builder")]
        role: String,
        #[command(flatten)]
        said: Said,
    },
    /// Make a token with which a new machine becomes this builder, once.
    Enrol {
        /// Its name.
        name: String,
        /// Hours for which the token is good.
        #[arg(long, default_value_t = 24)]
        hours: u64,
        /// Write the token into this new file, readable by nobody else, instead of printing it.
        #[arg(long, value_name = "FILE")]
        output: Option<PathBuf>,
        #[command(flatten)]
        said: Said,
    },
    /// Say something else about a builder.
    Label {
        #[command(flatten)]
        builder: BuilderName,
        /// Another name.
        #[arg(long)]
        name: Option<String>,
        #[command(flatten)]
        said: Said,
        /// A label to take away. Can be given several times.
        #[arg(long = "no-label", value_name = "LABEL")]
        no_labels: Vec<String>,
        /// A feature to take away. Can be given several times.
        #[arg(long = "no-feature", value_name = "FEATURE")]
        no_features: Vec<String>,
    },
    /// Give a builder no more work; what it builds goes on.
    Drain(BuilderName),
    /// Give a builder work again that is drained, or quarantined after faults.
    Undrain(BuilderName),
    /// Shut a builder out: its connection is cut, what it builds goes elsewhere, its key is refused.
    Remove(BuilderName),
}

#[derive(Debug, Args)]
struct BuilderName {
    /// Its name or public key.
    #[arg(allow_hyphen_values = true)]
    builder: String,
}

/// What the operator says about a builder.
#[derive(Debug, Args)]
struct Said {
    /// A word for people. Can be given several times.
    #[arg(long = "label", value_name = "LABEL")]
    labels: Vec<String>,
    /// What it has beyond others: a word that a `[[project.requirement]]` asks for. Can be given several times.
    #[arg(long = "feature", value_name = "FEATURE")]
    features: Vec<String>,
    /// Whether it belongs to the distribution: official or any.
    #[arg(long)]
    trust: Option<String>,
    /// How large it is, beside the others: small, medium or large.
    #[arg(long)]
    size: Option<String>,
}

#[derive(Debug, Deserialize)]
struct BuilderList {
    builders: Vec<Builder>,
}

#[derive(Debug, Deserialize)]
struct Builder {
    name: String,
    public_key: String,
    state: String,
    labels: Vec<String>,
    features: Vec<String>,
    trust: String,
    size: String,
    from_config: bool,
    fault: Option<String>,
    faults_in_row: u32,
    rests_until_ms: Option<u64>,
    architectures: Vec<String>,
    slots: u32,
    cores: u32,
    memory_bytes: u64,
    version: String,
    running: Vec<Link>,
    speed: f64,
    now_ms: u64,
}

#[derive(Debug, Deserialize)]
struct Link {
    source: String,
}

#[derive(Debug, Deserialize)]
struct BuilderPage {
    #[serde(flatten)]
    builder: Builder,
    attempts: Vec<Tried>,
}

#[derive(Debug, Deserialize)]
struct Tried {
    task: u64,
    title: String,
    assigned_ms: u64,
    ended_ms: Option<u64>,
    outcome: Option<Value>,
}

#[derive(Debug, Deserialize)]
struct Enrolment {
    token: String,
    summit_key: String,
    grpc_address: String,
}

/// Why a token is not kept.
#[derive(Debug, thiserror::Error)]
#[error("cannot write the token to {path}", path = path.display())]
struct TokenFileError {
    path: PathBuf,
    source: std::io::Error,
}

impl Fault for TokenFileError {
    fn kind(&self) -> fault::Kind {
        match self.source.kind() {
            std::io::ErrorKind::AlreadyExists => fault::Kind::Conflict,
            _ => fault::Kind::Unavailable,
        }
    }

    fn hints(&self) -> Vec<String> {
        vec!["name a new file with --output".into()]
    }
}

/// Runs a command about builders.
///
/// # Errors
/// When Summit does not answer, or refuses.
pub(crate) fn builder(arguments: &BuilderArguments) -> Result<(), Box<dyn Fault>> {
    let (api, json) = (arguments.summit.api()?, arguments.summit.json);
    match &arguments.command {
        BuilderCommand::List => list(&api, json),
        BuilderCommand::Show(builder) => show(&api, &builder.builder, json),
        BuilderCommand::Add { name, public_key, role, said } => {
            let mut body = json!({ "name": name, "public_key": public_key, "role": role });
            say(&mut body, said);
            print(&api.change("/api/builders", &body)?, "may attach", json)
        }
        BuilderCommand::Enrol { name, hours, output, said } => {
            let mut body = json!({ "name": name, "hours": hours });
            say(&mut body, said);
            enrol(&api, &body, output.as_ref(), json)
        }
        BuilderCommand::Label { builder, name, said, no_labels, no_features } => {
            let body = json!({
                "name": name, "add_labels": said.labels, "remove_labels": no_labels, "add_features": said.features,
                "remove_features": no_features, "trust": said.trust, "size": said.size,
            });
            let answer = api.change(&path(builder, "/label"), &body)?;
            match json {
                true => print_json(&answer),
                false => Ok(write_stdout(&facts(&read(&answer, "")?, Palette::of(Stream::Stdout)))?),
            }
        }
        BuilderCommand::Drain(builder) => {
            let answer = api.change(&path(builder, "/drain"), &json!({}))?;
            print(&answer, "gets no more work; what it builds goes on", json)
        }
        BuilderCommand::Undrain(builder) => {
            print(&api.change(&path(builder, "/undrain"), &json!({}))?, "gets work again", json)
        }
        BuilderCommand::Remove(builder) => {
            let answer = api.change(&path(builder, "/remove"), &json!({}))?;
            print(
                &answer,
                "is removed; its connection is cut, its key refused, and what it built goes elsewhere",
                json,
            )
        }
    }
}

fn path(builder: &BuilderName, end: &str) -> String {
    format!("/api/builders/{}{end}", path_segment(&builder.builder))
}

fn say(body: &mut Value, said: &Said) {
    body["labels"] = json!(said.labels);
    body["features"] = json!(said.features);
    for (name, value) in [("trust", &said.trust), ("size", &said.size)] {
        if let Some(value) = value {
            body[name] = json!(value);
        }
    }
}

fn print(answer: &Value, sentence: &str, json: bool) -> Result<(), Box<dyn Fault>> {
    if json {
        return print_json(answer);
    }
    let name = answer.get("name").and_then(Value::as_str).unwrap_or_default();
    Ok(write_stdout(&format!("builder {} {sentence}\n", printable(name)))?)
}

fn enrol(api: &SummitApi, body: &Value, output: Option<&PathBuf>, json: bool) -> Result<(), Box<dyn Fault>> {
    let answer = api.change("/api/builders/enrol", body)?;
    let enrolment: Enrolment = read(&answer, "/api/builders/enrol")?;
    if let Some(path) = output {
        use fs_err::os::unix::fs::OpenOptionsExt;
        let mut options = fs_err::OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        let written = options.open(path).and_then(|mut file| {
            std::io::Write::write_all(&mut file, format!("{}\n", enrolment.token).as_bytes())
        });
        written.map_err(|source| TokenFileError { path: path.clone(), source })?;
    }
    if json {
        return print_json(&answer);
    }
    let (key, address) = (&enrolment.summit_key, &enrolment.grpc_address);
    let token = match output {
        Some(path) => format!("the token is in {}", path.display()),
        None => enrolment.token.clone(),
    };
    Ok(write_stdout(&format!(
        "{token}\n\nIt is good once. Bring it to the new machine in a file, and run there:\n  moraine avalanche enrol --data DIR --summit \
         {address} --summit-key {key} --token-file FILE\n  moraine avalanche run --data DIR --summit {address} --summit-key {key}\n"
    ))?)
}

fn list(api: &SummitApi, json: bool) -> Result<(), Box<dyn Fault>> {
    let answer = api.look("/api/builders")?;
    if json {
        return print_json(&answer);
    }
    let list: BuilderList = read(&answer, "/api/builders")?;
    if list.builders.is_empty() {
        return Ok(write_stdout("no builders; `moraine builder enrol NAME` makes a token for one\n")?);
    }
    let rows: Vec<Vec<Cell>> = list.builders.iter().map(row).collect();
    let head = ["BUILDER", "STATE", "PLACES", "CORES", "SPEED", "IS", "BUILDS"];
    Ok(write_stdout(&table(&head, &rows, Palette::of(Stream::Stdout), width_columns(Stream::Stdout)))?)
}

fn row(builder: &Builder) -> Vec<Cell> {
    let sources: Vec<&str> = builder.running.iter().map(|link| link.source.as_str()).collect();
    let what = match (&builder.fault, builder.rests_until_ms) {
        (Some(fault), Some(until)) => {
            format!("for {} more after {fault}", duration(until.saturating_sub(builder.now_ms)))
        }
        _ => sources.join(", "),
    };
    vec![
        Cell::new(&builder.name),
        Cell::styled(&builder.state, style(&builder.state)),
        Cell::new(format!("{}/{}", builder.running.len(), builder.slots)),
        Cell::new(builder.cores.to_string()),
        Cell::new(format!("{:.2}", builder.speed)),
        Cell::new(is(builder)),
        Cell::new(what),
    ]
}

fn style(state: &str) -> Option<Style> {
    match state {
        "quarantined" => Some(Style::Error),
        "drained" => Some(Style::Warning),
        "attached" => Some(Style::Good),
        _ => Some(Style::Dim),
    }
}

/// What the operator says about it, in a few words.
fn is(builder: &Builder) -> String {
    let mut words: Vec<&str> = vec![&builder.size];
    if builder.trust == "official" {
        words.push(&builder.trust);
    }
    words.extend(builder.features.iter().chain(&builder.labels).map(String::as_str));
    words.join(" ")
}

fn show(api: &SummitApi, builder: &str, json: bool) -> Result<(), Box<dyn Fault>> {
    let path = format!("/api/builders/{}", path_segment(builder));
    let answer = api.look(&path)?;
    if json {
        return print_json(&answer);
    }
    let page: BuilderPage = read(&answer, &path)?;
    let palette = Palette::of(Stream::Stdout);
    let mut text = facts(&page.builder, palette);
    let now = page.builder.now_ms;
    let row = |tried: &Tried| {
        vec![
            Cell::new(tried.task.to_string()),
            Cell::new(&tried.title),
            Cell::new(duration(tried.ended_ms.unwrap_or(now).saturating_sub(tried.assigned_ms))),
            Cell::new(outcome(tried.outcome.as_ref())),
        ]
    };
    let rows: Vec<Vec<Cell>> = page.attempts.iter().map(row).collect();
    text.push_str(&table(&["TASK", "RECIPE", "TIME", "END"], &rows, palette, width_columns(Stream::Stdout)));
    Ok(write_stdout(&text)?)
}

fn facts(builder: &Builder, palette: Palette) -> String {
    let state = palette.paint(style(&builder.state).unwrap_or(Style::Strong), &builder.state);
    let mut text =
        format!("{} {state}\n  key {}\n", printable(&builder.name), printable(&builder.public_key));
    text.push_str(&format!("  {}\n", printable(&is(builder))));
    if builder.architectures.is_empty() {
        text.push_str("  never attached\n");
    } else {
        text.push_str(&format!(
            "  {}, {} cores, {} MiB of memory, {} places, speed {:.2}, version {}\n",
            printable(&builder.architectures.join(" ")),
            builder.cores,
            builder.memory_bytes >> 20,
            builder.slots,
            builder.speed,
            printable(&builder.version)
        ));
    }
    if builder.from_config {
        text.push_str("  the configuration names it\n");
    }
    if let Some(fault) = &builder.fault {
        text.push_str(&format!(
            "  {} faults in a row, the last: {}\n",
            builder.faults_in_row,
            printable(fault)
        ));
    }
    if let Some(until) = builder.rests_until_ms {
        text.push_str(&format!(
            "  quarantined for {} more; `moraine builder undrain {}` ends that\n",
            duration(until.saturating_sub(builder.now_ms)),
            printable(&builder.name)
        ));
    }
    text
}
