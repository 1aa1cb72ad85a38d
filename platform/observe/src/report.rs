//! The one error report.

use std::error::Error;
use std::io::{self, Write};
use std::process::ExitCode;

use fault::Fault;

use crate::OutputError;
use crate::terminal::{Palette, Stream, Style, printable};

/// Runs the body of a program and turns its end into an exit status, reporting an error on standard error.
pub fn run<F>(program: F) -> ExitCode
where
    F: FnOnce() -> Result<(), Box<dyn Fault>>,
{
    match program() {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) if reader_is_gone(fault.as_ref()) => ExitCode::SUCCESS,
        Err(fault) => report(fault.as_ref()),
    }
}

/// Reports `fault` on standard error and gives the exit status of its kind.
pub fn report(fault: &dyn Fault) -> ExitCode {
    let text = render(fault, Palette::of(Stream::Stderr));
    // There is nobody left to tell when standard error is closed; the exit status still says it.
    if io::stderr().lock().write_all(text.as_bytes()).is_err() {
        tracing::debug!("standard error is closed");
    }
    ExitCode::from(fault.kind().meaning().exit_code)
}

/// The report as text: one `error:` line, a `caused by:` line for each source, a `hint:` line for each hint.
///
/// Control characters are shown by their escapes, since messages quote foreign text.
#[must_use]
pub fn render(fault: &dyn Fault, palette: Palette) -> String {
    let mut text = String::new();
    let mut previous = None;
    for message in fault::chain(fault) {
        // A source that says what was just said (a transparent wrapper) would only be noise.
        if previous.as_ref() == Some(&message) {
            continue;
        }
        let (label, style) = match previous {
            None => ("error:", Style::Error),
            Some(_) => ("caused by:", Style::Dim),
        };
        push_entry(&mut text, palette, label, style, &message);
        previous = Some(message);
    }
    for hint in fault.hints() {
        push_entry(&mut text, palette, "hint:", Style::Hint, &hint);
    }
    text
}

fn push_entry(text: &mut String, palette: Palette, label: &str, style: Style, message: &str) {
    let message = printable(message);
    let mut lines = message.lines();
    text.push_str(&palette.paint(style, label));
    text.push(' ');
    text.push_str(lines.next().unwrap_or_default());
    text.push('\n');
    for line in lines {
        text.push_str("  ");
        text.push_str(line);
        text.push('\n');
    }
}

fn reader_is_gone(fault: &dyn Fault) -> bool {
    let mut current: Option<&(dyn Error + 'static)> = Some(fault);
    while let Some(error) = current {
        if error.downcast_ref::<OutputError>().is_some_and(OutputError::reader_is_gone) {
            return true;
        }
        current = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use fault::Kind;

    #[derive(Debug, thiserror::Error)]
    enum Sample {
        #[error("cannot open the box {0}")]
        Open(String, #[source] Inner),
        #[error("{0}")]
        Same(#[source] Inner),
        #[error("cannot print")]
        Print(#[source] OutputError),
    }

    #[derive(Debug, thiserror::Error)]
    #[error("the key is missing\nlooked in two pockets")]
    struct Inner;

    impl Fault for Sample {
        fn kind(&self) -> Kind {
            Kind::NotFound
        }
        fn hints(&self) -> Vec<String> {
            vec!["make one: `key new`".to_owned()]
        }
    }

    #[test]
    fn a_report_names_the_error_its_causes_and_the_remedy() {
        assert_eq!(
            render(&Sample::Open("b\u{1b}[2J".to_owned(), Inner), Palette::plain()),
            "error: cannot open the box b\\u{1b}[2J\n\
             caused by: the key is missing\n  looked in two pockets\n\
             hint: make one: `key new`\n"
        );
    }

    #[test]
    fn a_wrapper_that_only_repeats_is_said_once() {
        let text = render(&Sample::Same(Inner), Palette::plain());
        assert_eq!(text.matches("the key is missing").count(), 1);
    }

    #[test]
    fn colours_are_only_escapes_around_the_labels() {
        let text = render(&Sample::Open("b".to_owned(), Inner), Palette::coloured());
        assert!(text.starts_with("\u{1b}["));
        assert!(text.contains("cannot open the box b\n"));
    }

    #[test]
    fn the_status_is_that_of_the_kind() {
        let status = run(|| Err(Sample::Same(Inner).into()));
        assert_eq!(format!("{status:?}"), format!("{:?}", ExitCode::from(3)));
        assert_eq!(format!("{:?}", run(|| Ok(()))), format!("{:?}", ExitCode::SUCCESS));
    }

    #[test]
    fn a_closed_pipe_is_a_quiet_end_however_deep() {
        let gone = OutputError::new(io::ErrorKind::BrokenPipe.into());
        let status = run(|| Err(Sample::Print(gone).into()));
        assert_eq!(format!("{status:?}"), format!("{:?}", ExitCode::SUCCESS));
    }
}
