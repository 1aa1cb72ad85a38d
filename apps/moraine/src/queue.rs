//! `moraine queue`: what is being built, what comes next and what is in the way; and the pause of all of it.

use std::thread;
use std::time::Duration;

use clap::{Args, Subcommand};
use fault::{Fault, Kind};
use observe::{Palette, Stream, Style, is_terminal, printable, width_columns, write_stdout};
use serde::Deserialize;
use serde_json::json;

use crate::summit_api::{SummitApi, SummitArguments};
use crate::table::{Cell, duration, table};
use crate::task::{COLUMNS, TaskLine, print_json, read};

/// Where the queue is told.
const PATH: &str = "/api/queue/now";

/// How often a watched queue is looked at.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

#[derive(Debug, Args)]
pub(crate) struct QueueArguments {
    #[command(subcommand)]
    command: Option<QueueCommand>,
    /// Go on showing it until interrupted.
    #[arg(long)]
    watch: bool,
    #[command(flatten)]
    summit: SummitArguments,
}

#[derive(Debug, Subcommand)]
enum QueueCommand {
    /// Show what is being built, what comes next, and what is in the way.
    Show {
        /// Go on showing it until interrupted.
        #[arg(long)]
        watch: bool,
    },
    /// Start nothing more. What is being built goes on, and is published.
    Pause {
        /// Why, for others to read.
        #[arg(long, value_name = "TEXT", default_value = "")]
        why: String,
    },
    /// Start builds again.
    Resume,
}

#[derive(Debug, Deserialize)]
struct Queue {
    paused: Option<Paused>,
    running: Vec<TaskLine>,
    next: Vec<TaskLine>,
    next_total: u64,
    held: Vec<TaskLine>,
    blocked: u64,
    failed: u64,
    now_ms: u64,
}

#[derive(Debug, Deserialize)]
struct Paused {
    by: String,
    why: String,
    since: u64,
}

/// Runs a command about the queue.
///
/// # Errors
/// When Summit does not answer, or refuses.
pub(crate) fn queue(arguments: &QueueArguments) -> Result<(), Box<dyn Fault>> {
    let api = arguments.summit.api()?;
    match &arguments.command {
        Some(QueueCommand::Pause { why }) => {
            let answer = api.change("/api/queue/pause", &json!({ "why": why }))?;
            match arguments.summit.json {
                true => print_json(&answer),
                false => Ok(write_stdout(
                    "the queue is paused: nothing is started until `moraine queue resume`\n",
                )?),
            }
        }
        Some(QueueCommand::Resume) => {
            let answer = api.change("/api/queue/resume", &json!({}))?;
            match arguments.summit.json {
                true => print_json(&answer),
                false => Ok(write_stdout("the queue goes on\n")?),
            }
        }
        Some(QueueCommand::Show { watch }) => show(&api, *watch || arguments.watch, arguments.summit.json),
        None => show(&api, arguments.watch, arguments.summit.json),
    }
}

fn show(api: &SummitApi, watch: bool, json: bool) -> Result<(), Box<dyn Fault>> {
    let palette = Palette::of(Stream::Stdout);
    let redraws = watch && !json && is_terminal(Stream::Stdout);
    let mut last = String::new();
    loop {
        let text = match api.look(PATH) {
            Ok(answer) if json => format!("{answer}\n"),
            Ok(answer) => queue_text(&read(&answer, PATH)?, palette, width_columns(Stream::Stdout)),
            // It comes back: a watch outlives an upgrade.
            Err(error) if watch && error.kind() == Kind::Unavailable => "Summit does not answer\n".to_owned(),
            Err(error) => return Err(error.into()),
        };
        if redraws {
            write_stdout(&format!("\u{1b}[H\u{1b}[J{text}"))?;
        } else if text != last {
            write_stdout(&text)?;
        }
        if !watch {
            return Ok(());
        }
        last = text;
        thread::sleep(LOOK_AGAIN);
    }
}

fn queue_text(queue: &Queue, palette: Palette, width: usize) -> String {
    let mut text = String::new();
    if let Some(paused) = &queue.paused {
        let since = duration(queue.now_ms.saturating_sub(paused.since));
        let why = if paused.why.is_empty() { String::new() } else { format!(": {}", paused.why) };
        let sentence = format!("paused by {} {since} ago{why}; nothing is started", paused.by);
        text.push_str(&format!("{}\n", palette.paint(Style::Warning, &printable(&sentence))));
    }
    let rows =
        |tasks: &[TaskLine]| -> Vec<Vec<Cell>> { tasks.iter().map(|task| task.row(queue.now_ms)).collect() };
    let mut part = |title: String, tasks: &[TaskLine]| {
        text.push_str(&format!("{}\n", palette.paint(Style::Strong, &title)));
        text.push_str(&table(&COLUMNS, &rows(tasks), palette, width));
    };
    part(format!("running: {}", queue.running.len()), &queue.running);
    part(format!("next: {}", queue.next_total), &queue.next);
    if !queue.held.is_empty() {
        part(format!("held: {}", queue.held.len()), &queue.held);
    }
    if queue.blocked + queue.failed > 0 {
        text.push_str(&format!(
            "{} failed, {} blocked: `moraine task list --phase failed`\n",
            queue.failed, queue.blocked
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_paused_queue_says_so_first() {
        let queue = json!({
            "paused": { "by": "ada", "why": "new disk", "since": 1000 }, "running": [], "next": [], "next_total": 0,
            "held": [], "blocked": 2, "failed": 1, "now_ms": 61_000,
        });
        let text = queue_text(&read(&queue, PATH).unwrap(), Palette::plain(), 80);
        assert_eq!(
            text,
            "paused by ada 1 min 00 s ago: new disk; nothing is started\nrunning: 0\nnext: 0\n1 failed, 2 blocked: `moraine task list \
             --phase failed`\n"
        );
    }
}
