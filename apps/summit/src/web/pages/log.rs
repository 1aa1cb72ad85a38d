//! A log: its phases to fold, its rows in their colours, lines that can be linked to.
//!
//! Without the script the page shows the end of a log, or with `?line=N` what is around a line, and links lead to the rest.
//! The script goes on from there: it follows a log that grows and fetches what is not shown.

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use farm::ids::{AttemptId, TaskId};
use maud::{Markup, html};
use serde::Deserialize;

use super::figures::size;
use super::{Entry, Page, Reader};
use crate::logs::first_error::{self, FirstError};
use crate::logs::rows::Row;
use crate::logs::terminal::Style;
use crate::logs::view::{LogView, Part, Section, WINDOW_BYTES_MAX, Window};
use crate::store::Outcome;
use crate::web::Web;
use crate::web::error::WebError;
use crate::web::live::{LogPath, find};
use crate::web::view::AttemptView;

/// Where in a log.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Place {
    line: Option<u64>,
}

/// `/tasks/ID/attempts/ATTEMPT?line=N`
pub(crate) async fn log(
    State(web): State<Web>,
    reader: Reader,
    path: LogPath,
    place: Result<Query<Place>, QueryRejection>,
) -> Page {
    let row = find(&web, path).await?;
    let place = place.map_err(|error| WebError::BadRequest { what: "the line", why: error.body_text() })?;
    let view = web.task_page(row.task).await?;
    let attempts = &view.attempts;
    let missing = || WebError::NoSuchPage { path: format!("attempt {} of task {}", row.id, row.task) };
    let attempt = attempts.iter().find(|attempt| attempt.id == row.id.0).ok_or_else(missing)?;
    let error = match place.line {
        Some(_) => None,
        None => first_error(&web, row.task, attempt).await?,
    };
    let line = place.line.or(error.as_ref().map(|error| error.line));
    let window = line.map_or(Window::End(WINDOW_BYTES_MAX), Window::Line);
    let panel = panel(&web, row.task, attempt, window).await?;
    let task = &view.task;
    let body = html! {
        h1 { a href=(format!("/tasks/{}", task.id)) { (task.source) } " " small { (task.version) "-" (task.release) } " log" }
        @if attempts.len() > 1 {
            nav.filter aria-label="attempts" {
                @for other in attempts {
                    a href=(other.log_page_url) aria-current=[(other.id == attempt.id).then_some("page")] { "attempt " (other.number) }
                }
            }
        }
        p.lead { "Attempt " (attempt.number) ", " (attempt.builder) ": " (super::task::outcome(attempt)) }
        @if let Some(error) = &error { (first_error_markup(error, attempt)) }
        (panel)
    };
    let twin = format!("/api{}/log", attempt.log_page_url);
    Ok(reader.page(&format!("{} – log {}", task.source, attempt.number), Entry::Tasks, twin, body))
}

/// Where the first error of a failed build is.
pub(super) async fn first_error(
    web: &Web,
    task: TaskId,
    attempt: &AttemptView,
) -> Result<Option<FirstError>, WebError> {
    let Some(Outcome::Failed { during, .. }) = &attempt.outcome else { return Ok(None) };
    let failed_in = Some(during.clone()).filter(|during| !during.is_empty());
    let found = web.hub.logs.with_outline(task, AttemptId(attempt.id), move |reader, outline| {
        first_error::first_error(reader, outline, failed_in.as_deref())
    });
    Ok(found.await?)
}

pub(super) fn first_error_markup(error: &FirstError, attempt: &AttemptView) -> Markup {
    let line = error.line;
    html! {
        div.callout.failed {
            p { strong { "First error" } ", " a href=(format!("{}?line={line}#L{line}", attempt.log_page_url)) { "line " (line) } }
            pre { (error.text) }
        }
    }
}

/// The log itself.
pub(super) async fn panel(
    web: &Web,
    task: TaskId,
    attempt: &AttemptView,
    window: Window,
) -> Result<Markup, WebError> {
    let ended = attempt.ended_ms.is_some();
    let failed_in = match &attempt.outcome {
        Some(Outcome::Failed { during, .. }) => Some(during.clone()),
        _ => None,
    };
    let view = web.hub.logs.with_outline(task, AttemptId(attempt.id), move |reader, outline| {
        LogView::new(reader, outline, window, ended, failed_in.as_deref())
    });
    let view = view.await?;
    let wanted = match window {
        Window::Line(line) => Some(line),
        Window::End(_) => None,
    };
    Ok(markup(&view, attempt, wanted))
}

fn markup(view: &LogView, attempt: &AttemptView, wanted: Option<u64>) -> Markup {
    let follows = attempt.ended_ms.is_none() && view.at_end;
    let failed_in = match &attempt.outcome {
        Some(Outcome::Failed { during, .. }) => Some(during.as_str()),
        _ => None,
    };
    html! {
        form.logbar method="get" action="/logs" role="search" {
            input type="hidden" name="attempt" value=(attempt.id);
            input type="search" name="q" placeholder="find in this log" aria-label="find in this log";
            button.quiet type="submit" { "Find" }
            span.meta { span #log-lines { (view.lines) } (plural(view.lines)) ", " span #log-size { (size(view.size_bytes)) } @if attempt.log_full { ", cut at its limit" } }
            a href=(attempt.log_url) download { "as it was written" }
        }
        div.log.(digits(view.lines)) #log tabindex="0" role="log" aria-label="log" data-attempt=(attempt.id) data-base=(attempt.log_url)
            data-page=(attempt.log_page_url) data-offset=(view.end) data-follow=[follows.then_some("1")] data-line=[wanted] {
            @for (number, section) in view.sections.iter().enumerate() {
                (section_markup(section, number, attempt, section.name.is_some() && section.name.as_deref() == failed_in, wanted))
            }
            div.tail #tail { @if let Some(row) = &view.tail { (row_markup(row)) } }
        }
        p.hint.keys hidden { kbd { "n" } " " kbd { "p" } " next and previous phase · " kbd { "f" } " fold or open all · " kbd { "e" } " end, and follow" }
        p.empty #log-state { @if view.size_bytes == 0 { "The builder has not said anything yet." } }
    }
}

fn plural(lines: u64) -> &'static str {
    if lines == 1 { " line" } else { " lines" }
}

/// How wide the numbers of lines are, as a class. A log that grows may get wider by a digit.
fn digits(lines: u64) -> &'static str {
    match lines {
        0..=9_999 => "n4",
        10_000..=999_999 => "n6",
        _ => "n8",
    }
}

fn section_markup(
    section: &Section,
    number: usize,
    attempt: &AttemptView,
    failed: bool,
    wanted: Option<u64>,
) -> Markup {
    let body = html! {
        @match &section.part {
            None => (more("", section.begin, section.end, section.first_line, attempt, false, Some(section.lines))),
            Some(part) => {
                @let first = part.rows.first().map_or(section.first_line, |row| row.line);
                @if part.begin > section.begin {
                    (more("↑ ", section.begin, part.begin, first.saturating_sub(1).max(1), attempt, true, None))
                }
                (part_markup(part, wanted))
                @let last = part.rows.last().map_or(section.first_line, |row| row.line);
                // What is left of a log that grows is an unfinished row.
                @if part.end < section.end && (attempt.ended_ms.is_some() || section.end - part.end > WINDOW_BYTES_MAX / 4) {
                    (more("↓ ", part.end, section.end, last + 1, attempt, false, None))
                }
            }
        }
    };
    html! {
        @match &section.name {
            None => div.fold data-line=(section.first_line) data-begin=(section.begin) { (body) },
            Some(name) => details.fold .failed[failed] #(format!("phase-{number}")) open[section.open]
                data-line=(section.first_line) data-begin=(section.begin) {
                summary { span.name { (name) } " " small { span.lines { (section.lines) } (plural(section.lines)) ", " span.bytes { (size(section.end - section.begin)) } } }
                (body)
            },
        }
    }
}

/// A way to what is not shown: a link, which the script follows in place.
fn more(
    arrow: &str,
    begin: u64,
    end: u64,
    line: u64,
    attempt: &AttemptView,
    back: bool,
    lines: Option<u64>,
) -> Markup {
    html! {
        p.more {
            a href=(format!("{}?line={line}#L{line}", attempt.log_page_url)) data-begin=(begin) data-end=(end) data-back=[back.then_some("1")] {
                (arrow) @match lines {
                    Some(lines) => { "show " (lines) (plural(lines)) },
                    None => { (size(end.saturating_sub(begin))) " more" },
                }
            }
        }
    }
}

fn part_markup(part: &Part, wanted: Option<u64>) -> Markup {
    html! {
        div.piece data-begin=(part.begin) data-end=(part.end) {
            @for row in &part.rows { (marked_row(row, Some(row.line) == wanted)) }
        }
    }
}

/// Rows one below the other.
pub(crate) fn rows_markup(rows: &[Row]) -> Markup {
    html! { @for row in rows { (row_markup(row)) } }
}

/// One row: its number, its text.
pub(crate) fn row_markup(row: &Row) -> Markup {
    marked_row(row, false)
}

fn marked_row(row: &Row, is_wanted: bool) -> Markup {
    let id = (!row.continues).then(|| format!("L{}", row.line));
    html! {
        div.r .c[row.continues] .m[row.phase.is_some()] .wanted[is_wanted] id=[&id] {
            a href=[id.as_ref().map(|id| format!("#{id}"))] tabindex="-1" { @if !row.continues { (row.line) } }
            span {
                @for span in &row.spans {
                    @match classes(span.style) {
                        classes if classes.is_empty() => (span.text),
                        classes => span class=(classes) { (span.text) },
                    }
                }
            }
        }
    }
}

/// The classes that stand for a style.
fn classes(style: Style) -> String {
    let (foreground, background) = match style.inverse {
        false => (
            style.foreground.map(|number| format!("f{number}")),
            style.background.map(|number| format!("b{number}")),
        ),
        true => (
            Some(style.background.map_or_else(|| "fg".to_owned(), |number| format!("f{number}"))),
            Some(style.foreground.map_or_else(|| "bg".to_owned(), |number| format!("b{number}"))),
        ),
    };
    let flags = [
        (style.bold, "sb"),
        (style.dim, "sd"),
        (style.italic, "si"),
        (style.underlined, "su"),
        (style.struck, "ss"),
    ];
    let flags = flags.into_iter().filter(|(is_set, _)| *is_set).map(|(_, name)| name.to_owned());
    foreground.into_iter().chain(background).chain(flags).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::rows::Rows;

    fn shown(line: &[u8]) -> String {
        rows_markup(&Rows::new(3, b"").take(line, true).0).into_string()
    }

    #[test]
    fn text_is_escaped_and_colours_are_classes() {
        assert_eq!(
            shown(b"<b>\x1b[1;31m&red\x1b[0m\n"),
            "<div class=\"r\" id=\"L3\"><a href=\"#L3\" tabindex=\"-1\">3</a><span>&lt;b&gt;<span class=\"f1 sb\">&amp;red</span></span></div>"
        );
        assert!(shown(b"\x1b[7mx").contains("class=\"fg bg\""));
        assert!(shown(b"\x1b[7;32mx").contains("class=\"fg b2\""));
        assert!(shown(b"==> phase build\n").contains("class=\"r m\""));
    }

    #[test]
    fn hostile_text_stays_text() {
        let hostile = b"\"><script>alert(1)</script>\x1b]8;;javascript:alert(1)\x07click\x1b]8;;\x07\x1b[31\"onload=x m<img src=x onerror=y>\n";
        let html = shown(hostile);
        assert!(
            !html.contains("<script") && !html.contains("<img") && !html.contains("javascript:"),
            "{html}"
        );
        assert!(!html.contains("style="), "{html}");
    }
}
