//! How long builds of a recipe took, as a page and as a part of other pages.

use axum::extract::State;
use maud::{Markup, PreEscaped, html};

use super::figures::{duration, time};
use super::{Page, page};
use crate::web::Web;
use crate::web::api::{Asked, asked};
use crate::web::view::{DurationsQuery, DurationsView};

pub(crate) async fn durations(State(web): State<Web>, query: Asked<DurationsQuery>) -> Page {
    let query = asked(query)?;
    let view = web.durations(&query).await?;
    let body = html! {
        h1 { "How long " (view.source) " takes" }
        div #durations data-live {
            (durations_svg(&view))
            @if !view.attempts.is_empty() {
                table {
                    thead { tr { th { "Attempt" } th { "Builder" } th.right { "Took" } th.right { "Expected" } th { "Became" } } }
                    tbody {
                        @for attempt in view.attempts.iter().rev() {
                            tr {
                                td { a href=(format!("/tasks/{}", attempt.task)) { (attempt.version) "-" (attempt.release) } " " (time(attempt.start_ms)) }
                                td { (attempt.builder) }
                                td.right { (duration(attempt.length_ms(view.now_ms))) }
                                td.right { @if let Some(expected) = attempt.expected_ms { (duration(expected)) } @else { "not known" } }
                                td { (attempt.ending) }
                            }
                        }
                    }
                }
            }
        }
    };
    Ok(page(&format!("How long {} takes", view.source), &web.farm_name(), body))
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
