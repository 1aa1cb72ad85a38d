//! `moraine why TASK`: asks Summit where a task stands, what is behind it, and what the next step is.

use fault::{Fault, Kind};
use observe::{Palette, Stream, Style, printable, write_stdout};
use serde::{Deserialize, Serialize};

use crate::summit_api::{ApiError, SummitArguments};

/// What Summit answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Why {
    /// The task.
    pub task: u64,
    /// Its project.
    pub project: String,
    /// Its architecture.
    pub architecture: String,
    /// The source that it builds.
    pub source: String,
    /// Where it stands, in a word.
    pub phase: String,
    /// Where it stands, a sentence.
    pub headline: String,
    /// What is behind that, the most important first.
    pub because: Vec<Because>,
    /// What is to be done and by whom, or when it goes on by itself.
    pub next_step: String,
}

/// Something that is behind it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Because {
    /// A sentence.
    pub text: String,
    /// The task that it is about, if that is another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<u64>,
}

/// Asks Summit about `task`, by number or name, and prints the answer.
///
/// # Errors
/// When Summit does not answer, or knows no such task.
pub(crate) fn why(task: &str, summit: &SummitArguments) -> Result<(), WhyError> {
    let why = summit.api()?.why(task).map_err(|error| match error.kind() {
        Kind::NotFound => WhyError::NoTask { task: task.to_owned() },
        _ => WhyError::Api(error),
    })?;
    let text = match summit.json {
        true => format!("{}\n", serde_json::to_string(&why).map_err(WhyError::Print)?),
        false => text(&why, Palette::of(Stream::Stdout)),
    };
    Ok(write_stdout(&text)?)
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WhyError {
    /// Summit does not give it.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// There is no such task.
    #[error("cannot explain task {task:?}: Summit has no task of this number or name")]
    NoTask {
        /// What was asked for.
        task: String,
    },
    /// It cannot be printed.
    #[error("cannot print the answer")]
    Print(#[source] serde_json::Error),
    /// Standard output cannot be written.
    #[error(transparent)]
    Output(#[from] observe::OutputError),
}

impl Fault for WhyError {
    fn kind(&self) -> Kind {
        match self {
            WhyError::Api(error) => error.kind(),
            WhyError::NoTask { .. } => Kind::NotFound,
            WhyError::Print(_) => Kind::Bug,
            WhyError::Output(error) => error.kind(),
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            WhyError::Api(error) => {
                let mut hints = error.hints();
                hints.push("say where Summit is with --summit URL or in MORAINE_SUMMIT".into());
                hints
            }
            WhyError::NoTask { .. } => vec!["`moraine task list` shows every task with its number".into()],
            WhyError::Print(_) | WhyError::Output(_) => Vec::new(),
        }
    }
}

/// For people. What recipes and builders said reaches no terminal as it is.
fn text(why: &Why, palette: Palette) -> String {
    let style = match why.phase.as_str() {
        "failed" | "blocked" | "cancelled" => Style::Error,
        "published" => Style::Good,
        _ => Style::Hint,
    };
    let mut text = format!("{}\n", palette.paint(style, &printable(&why.headline)));
    for because in &why.because {
        let about = because.task.map(|task| format!(" (task {task})")).unwrap_or_default();
        text.push_str(&format!("  {}{about}\n", printable(&because.text)));
    }
    text.push_str(&format!("next: {}\n", printable(&why.next_step)));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_for_people() {
        let why = Why {
            task: 7,
            project: "main".into(),
            architecture: "x86_64".into(),
            source: "nano".into(),
            phase: "waiting".into(),
            headline: "nano 8.4-3 waits until ncurses is published.".into(),
            because: vec![Because { text: "ncurses is \u{1b}[2Jbeing built.".into(), task: Some(3) }],
            next_step: "Nothing to do.".into(),
        };
        let text = text(&why, Palette::plain());
        assert!(!text.contains('\u{1b}'), "{text:?}");
        assert!(text.starts_with("nano 8.4-3 waits until ncurses is published.\n  ncurses is "), "{text}");
        assert!(text.ends_with("being built. (task 3)\nnext: Nothing to do.\n"), "{text}");
    }
}
