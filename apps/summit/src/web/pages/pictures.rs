//! How long builds of a recipe took, as a page and as a part of other pages.

use axum::extract::State;
use maud::{Markup, PreEscaped, html};

use super::figures::{duration, in_address, time};
use super::{Entry, Page, Reader, package};
use crate::web::Web;
use crate::web::api::{Asked, asked};
use crate::web::view::{DurationsQuery, DurationsView};

pub(crate) async fn durations(State(web): State<Web>, reader: Reader, query: Asked<DurationsQuery>) -> Page {
    let query = asked(query)?;
    let view = web.durations(&query).await?;
    let body = html! {
        h1 { span { "How long " a href=(package::address(&view.source)) { (view.source) } " takes" } }
        div #durations data-live {
            (durations_svg(&view))
            @if !view.attempts.is_empty() {
                div.table { table {
                    thead { tr { th { "Attempt" } th { "Builder" } th.right { "Took" } th.right { "Expected" } th { "Became" } } }
                    tbody {
                        @for attempt in view.attempts.iter().rev() {
                            tr {
                                td { a href=(format!("/tasks/{}", attempt.task)) { (attempt.version) "-" (attempt.release) } " " (time(attempt.start_ms)) }
                                td { (attempt.builder) }
                                td.right data-label="took" { (duration(attempt.length_ms(view.now_ms))) }
                                td.right data-label="expected" { @if let Some(expected) = attempt.expected_ms { (duration(expected)) } @else { "not known" } }
                                td { (attempt.ending) }
                            }
                        }
                    }
                } }
            }
        }
    };
    let mut twin = format!("/api/durations?source={}", in_address(&query.source));
    for (key, value) in [("project", &query.project), ("arch", &query.arch)] {
        if let Some(value) = value {
            twin.push_str(&format!("&{key}={}", in_address(value)));
        }
    }
    Ok(reader.page(&format!("How long {} takes", view.source), Entry::Tasks, twin, body))
}

/// A point for each attempt, the middle of those that went well, and what is expected of the next.
pub(crate) fn durations_svg(view: &DurationsView) -> Markup {
    let points = view.points();
    html! {
        @if points.is_empty() {
            p.empty { "It was never built here." }
        } @else {
            figure.durations {
                (PreEscaped(picture::durations(&picture::Durations {
                    points: &points,
                    expected_ms: view.expected_band_ms(),
                })))
                figcaption.meta {
                    (points.len()) @if points.len() == 1 { " attempt" } @else { " attempts" } ", the newest on the right; ✕ came to nothing."
                    @if let Some(median) = view.median_ms { " Half of those that were published took less than " (picture::clock(median)) "." }
                    @if let Some(expected) = view.expected_ms { " The next is expected to take " (picture::clock(expected)) " on the reference machine." }
                }
            }
        }
    }
}
