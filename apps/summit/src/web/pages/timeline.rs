//! Who built what and when.

use axum::extract::State;
use maud::{Markup, PreEscaped, html};
use picture::Ending;

use super::figures::time;
use super::{Entry, Page, Reader};
use crate::web::Web;
use crate::web::api::{Asked, asked};
use crate::web::view::{HOURS, TimelineQuery, TimelineView};

/// Stretches that can be chosen, in hours.
const RANGES: [(u64, &str); 5] =
    [(1, "an hour"), (6, "6 hours"), (24, "a day"), (168, "a week"), (720, "30 days")];

pub(crate) async fn timeline(State(web): State<Web>, reader: Reader, query: Asked<TimelineQuery>) -> Page {
    let query = asked(query)?;
    let is_now = query.until_ms.is_none();
    let view = web.timeline(&query).await?;
    let body = html! {
        h1 { "Timeline" }
        nav.filter aria-label="how long" {
            @for (hours, word) in RANGES {
                a href=(format!("/timeline?hours={hours}")) aria-current=[(hours == view.hours && is_now).then_some("page")] { (word) }
            }
            span.gap {}
            a href=(address(view.hours, view.from_ms)) { "← earlier" }
            @if !is_now {
                @let later = view.until_ms + view.hours * 3_600_000;
                @if later < view.now_ms { a href=(address(view.hours, later)) { "later →" } }
                a href=(format!("/timeline?hours={}", view.hours)) { "now" }
            }
        }
        div #timeline data-live[is_now] { (picture_of(&view)) }
    };
    let mut twin = format!("/api/timeline?hours={}", view.hours);
    if !is_now {
        twin.push_str(&format!("&until_ms={}", view.until_ms));
    }
    Ok(reader.page("Timeline", Entry::Timeline, twin, body))
}

fn address(hours: u64, until_ms: u64) -> String {
    match hours {
        HOURS => format!("/timeline?until_ms={until_ms}"),
        _ => format!("/timeline?hours={hours}&until_ms={until_ms}"),
    }
}

fn picture_of(view: &TimelineView) -> Markup {
    let (builders, bars) = view.drawn();
    let count = |ending: Ending| bars.iter().filter(|bar| bar.ending == ending).count();
    let kinds = [
        (Ending::Running, "being built"),
        (Ending::Published, "published"),
        (Ending::Failed, "failed"),
        (Ending::Lost, "lost by the farm, and tried again"),
        (Ending::Stopped, "stopped"),
    ];
    html! {
        p.meta { "From " (time(view.from_ms)) " to " (time(view.until_ms)) "." }
        @if view.builders.is_empty() {
            p.empty { "No builder may attach yet, so nothing was built." }
        } @else {
            ul.legend aria-label="what became of attempts" {
                @for (ending, meaning) in kinds {
                    @if count(ending) > 0 {
                        li class=(ending.word()) {
                            span.sign aria-hidden="true" { (ending.glyph()) }
                            strong { (count(ending)) } " " (meaning)
                        }
                    }
                }
            }
            @if bars.is_empty() { p.empty { "Nothing was built in this time." } }
            (PreEscaped(picture::timeline(&picture::Timeline {
                from_ms: view.from_ms,
                to_ms: view.until_ms,
                builders: &builders,
                bars: &bars,
            })))
            @if view.left_out > 0 { p.hint { "The " (view.left_out) " shortest attempts are not drawn." } }
        }
    }
}
