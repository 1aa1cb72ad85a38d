//! `moraine task …`: asks Summit about tasks, and says what is to become of them. A task is meant by its number or by a name:
//! `nano`, `nano@x86_64`, `project/nano`. What is printed after a change is what is so then.

mod log;

use clap::{Args, Subcommand, ValueEnum};
use fault::Fault;
use observe::{Palette, Stream, Style, printable, width_columns, write_stdout};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::summit_api::{ApiError, SummitArguments, path_segment};
use crate::table::{Cell, duration, progress, style_of, table};
use log::LogArguments;

/// What is to be known or done.
#[derive(Debug, Subcommand)]
pub(crate) enum TaskCommand {
    /// List tasks, those that changed last first.
    List(ListArguments),
    /// Show one task: where it stands and why, and its attempts.
    Show(TaskArguments),
    /// Try a task again that failed or was cancelled.
    Retry(TaskArguments),
    /// Cancel a task. A build that runs is killed with all its processes.
    Cancel(WhyArguments),
    /// Keep a queued task from starting. What needs it waits.
    Hold(WhyArguments),
    /// Let a held task start.
    Release(TaskArguments),
    /// Say how urgent a task is, whatever the configuration says.
    Priority(PriorityArguments),
    /// Print the log of a build, follow it, or search the logs of many.
    Log(LogArguments),
}

#[derive(Debug, Args)]
pub(crate) struct ListArguments {
    /// Only tasks in this state, for example failed.
    #[arg(long, value_name = "STATE")]
    phase: Option<String>,
    /// Only tasks of this project.
    #[arg(long, value_name = "NAME")]
    project: Option<String>,
    /// Which page, from 1.
    #[arg(long, default_value_t = 1)]
    page: u64,
    /// Tasks of a page.
    #[arg(long, default_value_t = 50)]
    per_page: u64,
    #[command(flatten)]
    summit: SummitArguments,
}

#[derive(Debug, Args)]
pub(crate) struct TaskArguments {
    /// The task: its number, or its name, such as nano, nano@x86_64 or project/nano.
    task: String,
    #[command(flatten)]
    summit: SummitArguments,
}

#[derive(Debug, Args)]
pub(crate) struct WhyArguments {
    /// The task: its number, or its name, such as nano, nano@x86_64 or project/nano.
    task: String,
    /// Why, for others to read.
    #[arg(long, value_name = "TEXT", default_value = "")]
    why: String,
    #[command(flatten)]
    summit: SummitArguments,
}

#[derive(Debug, Args)]
pub(crate) struct PriorityArguments {
    /// The task: its number, or its name, such as nano, nano@x86_64 or project/nano.
    task: String,
    /// How urgent it is.
    #[arg(value_enum)]
    priority: Urgency,
    #[command(flatten)]
    summit: SummitArguments,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Urgency {
    /// A security update: before everything else.
    Urgent,
    /// Somebody waits for it.
    High,
    /// Everyday work.
    Normal,
    /// When nothing else is to be done.
    Low,
    /// As the configuration says.
    Default,
}

/// A task, as lists and its own page tell it.
#[derive(Debug, Deserialize)]
pub(crate) struct TaskLine {
    /// Its number.
    pub id: u64,
    /// The project.
    pub project: String,
    /// What is built.
    pub source: String,
    /// In which version.
    pub version: String,
    /// In which release.
    pub release: u64,
    /// For which architecture.
    pub architecture: String,
    /// Where it stands, in a word.
    pub phase: String,
    /// What it is doing, or why it is not.
    pub detail: String,
    /// Who builds it.
    pub builder: Option<String>,
    /// Since when it builds or publishes.
    pub running_since_ms: Option<u64>,
    /// When its build will be done, by experience.
    pub expected_end_ms: Option<u64>,
    /// What an operator said about its priority.
    pub priority: Option<String>,
}

#[derive(Debug, Deserialize)]
struct TaskList {
    tasks: Vec<TaskLine>,
    total: u64,
    now_ms: u64,
}

#[derive(Debug, Deserialize)]
struct TaskPage {
    #[serde(flatten)]
    task: TaskLine,
    why: Explanation,
    attempts: Vec<AttemptLine>,
    now_ms: u64,
}

#[derive(Debug, Deserialize)]
struct Explanation {
    headline: String,
    because: Vec<Because>,
    next_step: String,
}

#[derive(Debug, Deserialize)]
struct Because {
    text: String,
}

#[derive(Debug, Deserialize)]
struct AttemptLine {
    number: u64,
    builder: String,
    assigned_ms: u64,
    started_ms: Option<u64>,
    ended_ms: Option<u64>,
    outcome: Option<Value>,
}

impl TaskLine {
    /// As people call it.
    fn title(&self) -> String {
        format!("{} {}-{} (task {})", self.source, self.version, self.release, self.id)
    }

    /// As a row of a table.
    pub(crate) fn row(&self, now_ms: u64) -> Vec<Cell> {
        let what = match self.running_since_ms {
            Some(since) => {
                let builder = self.builder.as_deref().unwrap_or_default();
                format!("{builder}, {}", progress(since, self.expected_end_ms, now_ms))
            }
            None => self.detail.clone(),
        };
        let state = match &self.priority {
            Some(priority) => format!("{} ({priority})", self.phase),
            None => self.phase.clone(),
        };
        vec![
            Cell::new(self.id.to_string()),
            Cell::new(format!("{} {}-{}", self.source, self.version, self.release)),
            Cell::new(format!("{}@{}", self.project, self.architecture)),
            Cell::styled(state, style_of(&self.phase)),
            Cell::new(what),
        ]
    }
}

/// The titles of [`TaskLine::row`].
pub(crate) const COLUMNS: [&str; 5] = ["TASK", "RECIPE", "FOR", "STATE", "WHAT"];

/// Runs a command about tasks.
///
/// # Errors
/// When Summit does not answer, or refuses.
pub(crate) fn task(command: &TaskCommand) -> Result<(), Box<dyn Fault>> {
    match command {
        TaskCommand::List(arguments) => list(arguments),
        TaskCommand::Show(TaskArguments { task, summit }) => show(task, summit),
        TaskCommand::Retry(TaskArguments { task, summit }) => change(task, "retry", &json!({}), summit),
        TaskCommand::Cancel(WhyArguments { task, why, summit }) => {
            change(task, "cancel", &json!({ "why": why }), summit)
        }
        TaskCommand::Hold(WhyArguments { task, why, summit }) => {
            change(task, "hold", &json!({ "why": why }), summit)
        }
        TaskCommand::Release(TaskArguments { task, summit }) => change(task, "release", &json!({}), summit),
        TaskCommand::Priority(PriorityArguments { task, priority, summit }) => {
            let priority = match priority {
                Urgency::Urgent => Some("urgent"),
                Urgency::High => Some("high"),
                Urgency::Normal => Some("normal"),
                Urgency::Low => Some("low"),
                Urgency::Default => None,
            };
            change(task, "priority", &json!({ "priority": priority }), summit)
        }
        TaskCommand::Log(arguments) => Ok(log::log(arguments)?),
    }
}

/// What Summit said, as what it must be.
pub(crate) fn read<T: serde::de::DeserializeOwned>(value: &Value, path: &str) -> Result<T, ApiError> {
    T::deserialize(value).map_err(|source| ApiError::Answer { url: path.to_owned(), source })
}

/// Prints one JSON value.
pub(crate) fn print_json(value: &Value) -> Result<(), Box<dyn Fault>> {
    Ok(write_stdout(&format!("{value}\n"))?)
}

fn list(arguments: &ListArguments) -> Result<(), Box<dyn Fault>> {
    let mut path = format!("/api/tasks?page={}&per_page={}", arguments.page, arguments.per_page);
    for (name, value) in [("phase", &arguments.phase), ("project", &arguments.project)] {
        if let Some(value) = value {
            path.push_str(&format!("&{name}={}", path_segment(value)));
        }
    }
    let answer = arguments.summit.api()?.look(&path)?;
    if arguments.summit.json {
        return print_json(&answer);
    }
    let list: TaskList = read(&answer, &path)?;
    if list.tasks.is_empty() {
        return Ok(write_stdout("no tasks\n")?);
    }
    let rows: Vec<Vec<Cell>> = list.tasks.iter().map(|task| task.row(list.now_ms)).collect();
    let mut text = table(&COLUMNS, &rows, Palette::of(Stream::Stdout), width_columns(Stream::Stdout));
    if list.total > u64::try_from(rows.len()).unwrap_or(u64::MAX) {
        let (shown, next) = (rows.len(), arguments.page + 1);
        text.push_str(&format!("{shown} of {}; --page {next} shows more\n", list.total));
    }
    Ok(write_stdout(&text)?)
}

fn show(task: &str, summit: &SummitArguments) -> Result<(), Box<dyn Fault>> {
    let path = format!("/api/tasks/{}", path_segment(task));
    let answer = summit.api()?.look(&path)?;
    if summit.json {
        return print_json(&answer);
    }
    let page: TaskPage = read(&answer, &path)?;
    Ok(write_stdout(&page_text(&page, Palette::of(Stream::Stdout), width_columns(Stream::Stdout)))?)
}

fn page_text(page: &TaskPage, palette: Palette, width: usize) -> String {
    let task = &page.task;
    let style = style_of(&task.phase).unwrap_or(Style::Strong);
    let mut text = format!("{} {}\n", printable(&task.title()), palette.paint(style, &task.phase));
    if let Some(since) = task.running_since_ms {
        text.push_str(&format!("  {}\n", progress(since, task.expected_end_ms, page.now_ms)));
    }
    text.push_str(&format!("{}\n", printable(&page.why.headline)));
    for because in &page.why.because {
        text.push_str(&format!("  {}\n", printable(&because.text)));
    }
    text.push_str(&format!("next: {}\n", printable(&page.why.next_step)));
    let attempt = |attempt: &AttemptLine| {
        let begin = attempt.started_ms.unwrap_or(attempt.assigned_ms);
        let lasted = duration(attempt.ended_ms.unwrap_or(page.now_ms).saturating_sub(begin));
        vec![
            Cell::new(attempt.number.to_string()),
            Cell::new(&attempt.builder),
            Cell::new(lasted),
            Cell::new(outcome(attempt.outcome.as_ref())),
        ]
    };
    let rows: Vec<Vec<Cell>> = page.attempts.iter().map(attempt).collect();
    text.push_str(&table(&["ATTEMPT", "BUILDER", "TIME", "END"], &rows, palette, width));
    text
}

/// How an attempt ended, in a line.
pub(crate) fn outcome(outcome: Option<&Value>) -> String {
    let Some(outcome) = outcome.filter(|outcome| !outcome.is_null()) else { return "runs".into() };
    let field = |name: &str| outcome.get(name).and_then(Value::as_str).unwrap_or_default();
    match field("outcome") {
        "published" => format!("published in history {}", field("history")),
        "failed" if field("during").is_empty() => format!("{}: {}", field("class"), field("message")),
        "failed" => format!("{} in {}: {}", field("class"), field("during"), field("message")),
        _ => format!("stopped: {}", field("why")),
    }
}

fn change(task: &str, what: &str, body: &Value, summit: &SummitArguments) -> Result<(), Box<dyn Fault>> {
    let path = format!("/api/tasks/{}/{what}", path_segment(task));
    let answer = summit.api()?.change(&path, body)?;
    if summit.json {
        return print_json(&answer);
    }
    let page: TaskPage = read(&answer, &path)?;
    let palette = Palette::of(Stream::Stdout);
    let phase = palette.paint(style_of(&page.task.phase).unwrap_or(Style::Strong), &page.task.phase);
    let mut text = format!("{} is {phase}", printable(&page.task.title()));
    if let Some(priority) = &page.task.priority {
        text.push_str(&format!(", with priority {}", printable(priority)));
    }
    text.push_str(&format!("\nnext: {}\n", printable(&page.why.next_step)));
    Ok(write_stdout(&text)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_is_shown_with_what_is_behind_it_and_its_attempts() {
        let page = json!({
            "id": 12, "project": "main", "source": "nano", "version": "7.2", "release": 1, "architecture": "x86_64",
            "phase": "building", "detail": "is built by ada", "builder": "ada", "running_since_ms": 1000,
            "expected_end_ms": 101_000, "priority": "high", "now_ms": 26_000,
            "why": { "headline": "ada has been building nano for 25 s.", "because": [{ "text": "Why: \u{1b}[2J" }],
                     "next_step": "Nothing to do." },
            "attempts": [
                { "number": 1, "builder": "bob", "assigned_ms": 0, "ended_ms": 900,
                  "outcome": { "outcome": "failed", "class": "host-fault", "message": "no room", "during": "" } },
                { "number": 2, "builder": "ada", "assigned_ms": 1000, "started_ms": 1000, "outcome": null },
            ],
        });
        let page: TaskPage = read(&page, "").unwrap();
        let text = page_text(&page, Palette::plain(), 100);
        assert_eq!(
            text,
            "nano 7.2-1 (task 12) building\n  25 %, 1 min 15 s left\nada has been building nano for 25 s.\n  \
             Why: \\u{1b}[2J\nnext: Nothing to do.\nATTEMPT  BUILDER  TIME  END\n1        bob      0 s   host-fault: no room\n\
             2        ada      25 s  runs\n"
        );
        let row = table(&COLUMNS, &[page.task.row(26_000)], Palette::plain(), 100);
        assert!(row.contains("building (high)  ada, 25 %, 1 min 15 s left"), "{row}");
    }
}
