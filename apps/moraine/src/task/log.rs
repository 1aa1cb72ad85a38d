//! `moraine task log`: the log of a build, as it was written or as it is being written, and a search over many.
//!
//! A log is asked for piece by piece from the offset that was reached, so a Summit that goes and comes back costs neither a
//! byte nor a second copy of one. What goes to a terminal is what a terminal may show: text and colours, nothing else that a
//! build wrote. What goes to a file or a pipe is every byte as it is.

use std::io::{self, Write};
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use fault::{Fault, Kind};
use observe::{OutputError, Palette, Stream, Style, is_terminal, printable, write_stdout};
use summit::logs::rows::{Row, Rows};
use summit::logs::terminal;

use crate::summit_api::{
    ApiError, LogFound, LogPiece, LogSearch, LogSearchLine, SummitApi, SummitArguments, TaskAttempt,
};

/// How long Summit waits for something new before it answers that there is nothing.
const WAIT_SECONDS: u64 = 15;

/// Pauses between attempts to reach a Summit that does not answer.
const PAUSE_FIRST: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// How long a Summit may be away while a log is read: longer than an upgrade takes.
const PATIENCE: Duration = Duration::from_secs(600);

/// How often a task is looked at that was not handed out yet.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Bytes of an unfinished line that are kept for a terminal.
const LINE_BYTES_MAX: usize = 64 << 10;

/// What is to be printed.
#[derive(Debug, Args)]
pub(crate) struct LogArguments {
    /// The task: its number, or its name, such as nano, nano@x86_64 or project/nano. Without it, --search looks at all
    /// builds.
    #[arg(required_unless_present = "search")]
    task: Option<String>,
    /// Go on while the build does.
    #[arg(short, long, conflicts_with = "search")]
    follow: bool,
    /// Which try at the task, from 1; the last one unless given.
    #[arg(long, value_name = "N", conflicts_with = "search")]
    attempt: Option<u64>,
    /// Print the lines that match a regular expression, and since when they are printed.
    #[arg(long, value_name = "RE")]
    search: Option<String>,
    /// Search only builds of this recipe.
    #[arg(long, value_name = "NAME", requires = "search")]
    source: Option<String>,
    /// Search only builds whose task is in this state, for example failed.
    #[arg(long, value_name = "STATE", requires = "search")]
    phase: Option<String>,
    /// Search builds of so long ago and later, for example 12h, 7d or 4w.
    #[arg(long, value_name = "TIME", requires = "search")]
    since: Option<String>,
    /// With --json: one object a line, pieces of the log with their offsets, or what was found.
    #[command(flatten)]
    summit: SummitArguments,
}

/// Why a log is not printed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LogError {
    /// Summit does not give it.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// There is none.
    #[error("cannot print a log of task {task}: {why}")]
    None {
        /// The task.
        task: u64,
        /// Why.
        why: String,
    },
    /// What Summit sent is no log.
    #[error("cannot understand the log that Summit sends")]
    Base64(#[from] base64::DecodeError),
    /// It cannot be printed.
    #[error("cannot print the answer")]
    Print(#[source] serde_json::Error),
    /// Standard output cannot be written.
    #[error(transparent)]
    Output(#[from] OutputError),
}

impl Fault for LogError {
    fn kind(&self) -> Kind {
        match self {
            LogError::Api(error) => error.kind(),
            LogError::None { .. } => Kind::NotFound,
            LogError::Base64(_) | LogError::Print(_) => Kind::Bug,
            LogError::Output(error) => error.kind(),
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            LogError::Api(error) => error.hints(),
            LogError::None { task, .. } => vec![
                format!("`moraine why {task}` says where the task stands"),
                format!("`moraine task log --follow {task}` waits for the build"),
            ],
            LogError::Base64(_) | LogError::Print(_) | LogError::Output(_) => Vec::new(),
        }
    }
}

/// Prints what is asked for.
///
/// # Errors
/// When Summit does not answer, or there is no such log.
pub(crate) fn log(arguments: &LogArguments) -> Result<(), LogError> {
    let api = arguments.summit.api()?;
    if let Some(pattern) = &arguments.search {
        return search(&api, pattern, arguments);
    }
    let Some(task) = &arguments.task else { return Ok(()) };
    // A name means the newest task of that name; the log is that of this one, even when a newer one comes meanwhile.
    let mut back_off = BackOff::default();
    let task = loop {
        match api.task_number(task) {
            Err(error) if arguments.follow && back_off.may_wait_for(&error) => back_off.wait(&error, 0),
            number => break number?,
        }
    };
    let attempt = choose(&api, task, arguments)?;
    let mut printer = Printer::new(arguments.summit.json);
    let mut offset = 0;
    let mut back_off = BackOff::default();
    loop {
        let wait_seconds = if arguments.follow { WAIT_SECONDS } else { 0 };
        let piece = match api.log_piece(task, attempt.id, offset, wait_seconds) {
            Ok(piece) => piece,
            Err(error) if back_off.may_wait_for(&error) => {
                back_off.wait(&error, offset);
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        back_off = BackOff::default();
        // Whatever is asked, no byte is printed twice and none is left out.
        if piece.offset != offset {
            let why = format!("Summit answers from byte {} where byte {offset} is next", piece.offset);
            return Err(LogError::None { task, why });
        }
        printer.print(&piece)?;
        offset = piece.next_offset;
        let at_end = offset >= piece.size_bytes;
        if at_end && (piece.ended || !arguments.follow) {
            return printer.finish();
        }
    }
}

/// The attempt that is asked for.
fn choose(api: &SummitApi, task: u64, arguments: &LogArguments) -> Result<TaskAttempt, LogError> {
    let mut told = false;
    let mut back_off = BackOff::default();
    loop {
        let attempts = match api.task_attempts(task) {
            Err(error) if arguments.follow && back_off.may_wait_for(&error) => {
                back_off.wait(&error, 0);
                continue;
            }
            attempts => attempts?,
        };
        back_off = BackOff::default();
        let wanted = match arguments.attempt {
            Some(number) => attempts.iter().find(|attempt| attempt.number == number),
            None => attempts.last(),
        };
        if let Some(wanted) = wanted {
            return Ok(wanted.clone());
        }
        if let Some(number) = arguments.attempt
            && !attempts.is_empty()
        {
            let there = if attempts.len() == 1 { "is" } else { "are" };
            let why = format!("there is no attempt {number}; there {there} {}", attempts.len());
            return Err(LogError::None { task, why });
        }
        if !arguments.follow {
            return Err(LogError::None { task, why: "no builder has begun it".into() });
        }
        if !told {
            tell(&format!("task {task} was not handed out yet; waiting for its log"));
            told = true;
        }
        thread::sleep(LOOK_AGAIN);
    }
}

/// Waits for a Summit that is away.
#[derive(Default)]
struct BackOff {
    since: Option<Instant>,
    failures: u32,
}

impl BackOff {
    fn may_wait_for(&self, error: &ApiError) -> bool {
        error.kind() == Kind::Unavailable && self.since.is_none_or(|since| since.elapsed() < PATIENCE)
    }

    fn wait(&mut self, error: &ApiError, offset: u64) {
        if self.since.is_none() {
            self.since = Some(Instant::now());
            tell(&format!("{}; going on at byte {offset} when it is back", fault::chain(error).join(": ")));
        }
        thread::sleep(PAUSE_FIRST.saturating_mul(1 << self.failures.min(10)).min(PAUSE_MAX));
        self.failures += 1;
    }
}

/// A word on standard error; with it closed nobody listens.
fn tell(text: &str) {
    drop(writeln!(io::stderr(), "{}", printable(text)));
}

/// Where a log goes.
enum Printer {
    Json,
    Bytes,
    Terminal { rows: Rows, rest: Vec<u8>, open: bool, palette: Palette },
}

impl Printer {
    fn new(json: bool) -> Self {
        match (json, is_terminal(Stream::Stdout)) {
            (true, _) => Printer::Json,
            (false, false) => Printer::Bytes,
            (false, true) => Printer::terminal(Palette::of(Stream::Stdout)),
        }
    }

    fn terminal(palette: Palette) -> Self {
        Printer::Terminal { rows: Rows::new(1, b""), rest: Vec::new(), open: false, palette }
    }

    fn print(&mut self, piece: &LogPiece) -> Result<(), LogError> {
        if let Printer::Json = self {
            let line = serde_json::to_string(piece).map_err(LogError::Print)?;
            return Ok(write_stdout(&format!("{line}\n"))?);
        }
        let bytes = STANDARD.decode(&piece.bytes)?;
        match self {
            Printer::Bytes => Ok(write_bytes(&bytes)?),
            _ => Ok(write_stdout(&self.shown(&bytes, false))?),
        }
    }

    fn finish(mut self) -> Result<(), LogError> {
        Ok(write_stdout(&self.shown(b"", true))?)
    }

    /// What a terminal is shown of the next bytes: whole lines, until the end.
    fn shown(&mut self, bytes: &[u8], at_end: bool) -> String {
        let Printer::Terminal { rows, rest, open, palette } = self else { return String::new() };
        rest.extend_from_slice(bytes);
        let (made, taken) = rows.take(rest, at_end || rest.len() > LINE_BYTES_MAX);
        rest.drain(..usize::try_from(taken).unwrap_or(usize::MAX).min(rest.len()));
        let mut text = String::new();
        for row in &made {
            text.push_str(&line(row, palette.has_colours()));
            *open = !row.ends;
            if row.ends {
                text.push('\n');
            }
        }
        if at_end && std::mem::take(open) {
            text.push('\n');
        }
        text
    }
}

fn write_bytes(bytes: &[u8]) -> Result<(), OutputError> {
    let mut out = io::stdout().lock();
    out.write_all(bytes).and_then(|()| out.flush()).map_err(OutputError::new)
}

/// A row with its colours, made anew: nothing else of what the build wrote reaches the terminal.
fn line(row: &Row, has_colours: bool) -> String {
    let mut text = String::new();
    for span in &row.spans {
        let codes = codes(span.style);
        match has_colours && !codes.is_empty() {
            true => text.push_str(&format!("\u{1b}[{codes}m{}\u{1b}[0m", span.text)),
            false => text.push_str(&span.text),
        }
    }
    text
}

/// The numbers of a style (ECMA-48, 8.3.117, and the palette of xterm).
fn codes(style: terminal::Style) -> String {
    let flags = [
        (style.bold, "1"),
        (style.dim, "2"),
        (style.italic, "3"),
        (style.underlined, "4"),
        (style.inverse, "7"),
        (style.struck, "9"),
    ];
    let flags = flags.into_iter().filter(|(is_set, _)| *is_set).map(|(_, code)| code.to_owned());
    let foreground = style.foreground.map(|number| format!("38;5;{number}"));
    let background = style.background.map(|number| format!("48;5;{number}"));
    flags.chain(foreground).chain(background).collect::<Vec<_>>().join(";")
}

fn search(api: &SummitApi, pattern: &str, arguments: &LogArguments) -> Result<(), LogError> {
    let task = arguments.task.as_ref().map(|task| api.task_number(task)).transpose()?;
    let wanted = LogSearch {
        pattern,
        task,
        source: arguments.source.as_deref(),
        phase: arguments.phase.as_deref(),
        since: arguments.since.as_deref(),
    };
    let palette = Palette::of(Stream::Stdout);
    let mut builds = 0;
    for answer in api.search_logs(&wanted)? {
        if arguments.summit.json {
            write_stdout(&format!("{}\n", serde_json::to_string(&answer).map_err(LogError::Print)?))?;
            continue;
        }
        match answer {
            LogSearchLine::Log(found) => {
                builds += 1;
                write_stdout(&found_text(&found, palette))?;
            }
            LogSearchLine::End(end) => {
                let stopped = match end.stopped_by.as_deref() {
                    None => String::new(),
                    Some(by) => format!(
                        "; older ones were not searched for want of {by}: narrow it with --source or --since"
                    ),
                };
                tell(&format!("{} lines in {builds} builds; {} logs searched{stopped}", end.hits, end.logs));
            }
            LogSearchLine::Error(error) => return Err(ApiError::said(&error.message).into()),
        }
    }
    Ok(())
}

/// What is known of one build that prints it.
fn found_text(found: &LogFound, palette: Palette) -> String {
    let build = &found.build;
    let short = |commit: &str| commit.get(..10).unwrap_or(commit).to_owned();
    let changed = match &found.before {
        None => "no earlier build is known".to_owned(),
        Some(before) => {
            let prints = match before.prints_it {
                Some(true) => "printed before too, by",
                Some(false) => "new since",
                None => "not known of",
            };
            let recipe = if before.recipe_changed { "the recipe changed" } else { "the recipe is the same" };
            let other = &before.build;
            format!(
                "{prints} {}-{} (task {}) at {}, {recipe}",
                other.version,
                other.release,
                other.task,
                short(&other.commit)
            )
        }
    };
    let title = format!("{} {}-{}", build.source, build.version, build.release);
    let mut text = format!(
        "{} (task {}, {}, {}) at {}: {}\n",
        palette.paint(Style::Good, &printable(&title)),
        build.task,
        printable(&build.builder),
        printable(&build.outcome),
        printable(&short(&build.commit)),
        printable(&changed),
    );
    for hit in &found.hits {
        text.push_str(&format!("{:>7}: {}\n", hit.line, printable(&hit.text)));
    }
    if found.more {
        text.push_str(&format!("         and more: moraine task log --search RE {}\n", build.task));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_is_shown_lines_in_colours_and_nothing_else_of_what_was_written() {
        let show = |pieces: &[&[u8]], palette| {
            let mut printer = Printer::terminal(palette);
            let mut text: String = pieces.iter().map(|piece| printer.shown(piece, false)).collect();
            text.push_str(&printer.shown(b"", true));
            text
        };
        let pieces: [&[u8]; 4] =
            [b"one\n\x1b[3", b"1mred\x1b[0m\x1b]0;title\x07\n", b"\x1b[2J10%\r", b"99%\nlast\x1b["];
        assert_eq!(show(&pieces, Palette::plain()), "one\nred\n99%\nlast\n");
        assert_eq!(show(&pieces, Palette::coloured()), "one\n\u{1b}[38;5;1mred\u{1b}[0m\n99%\nlast\n");
        let long = "x".repeat(200_000);
        assert_eq!(show(&[long.as_bytes(), b"\n"], Palette::plain()), format!("{long}\n"));
    }

    #[test]
    fn a_piece_is_understood() {
        let piece: LogPiece = serde_json::from_value(serde_json::json!({
            "task": 1, "attempt": 2, "offset": 7, "next_offset": 9, "size_bytes": 9, "ended": false, "bytes": "/wA=",
        }))
        .unwrap();
        assert_eq!((piece.offset, piece.next_offset, piece.ended), (7, 9, false));
        assert_eq!(STANDARD.decode(&piece.bytes).unwrap(), b"\xff\0");
    }
}
