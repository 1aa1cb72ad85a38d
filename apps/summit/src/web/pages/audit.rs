//! Who did what.

use axum::extract::State;
use maud::html;

use super::figures::time;
use super::{Entry, Page, Reader};
use crate::web::Web;
use crate::web::api::{Asked, AuditQuery, asked};

/// Rows of a page.
const ROWS: u64 = 100;

pub(crate) async fn audit(State(web): State<Web>, reader: Reader, query: Asked<AuditQuery>) -> Page {
    let query = asked(query)?;
    let trail = web.hub.store.audit(query.before, ROWS).await?;
    let body = html! {
        h1 { "Who did what" }
        @if trail.entries.is_empty() {
            p.empty { "Nobody has changed anything yet." }
        } @else {
            div.table { table {
                thead { tr { th { "Who" } th { "Did" } th { "To" } th.wide { "What became of it" } th.right { "When" } } }
                tbody {
                    @for entry in &trail.entries {
                        tr class=(if entry.refused { "failure" } else { "" }) {
                            td { (entry.actor_kind.replace('_', " ")) @if !entry.actor.is_empty() { " " code { (entry.actor) } } }
                            td { (entry.action.replace('_', " ")) @if entry.refused { " (refused)" } }
                            td { (entry.subject) }
                            td.wide { (entry.detail) }
                            td.right { (time(entry.at_ms)) }
                        }
                    }
                }
            } }
        }
        @if let Some(older) = trail.older {
            nav.paging aria-label="pages" { a href=(format!("/audit?before={older}")) rel="next" { "older →" } }
        }
    };
    let before = query.before.map(|before| format!("&before={before}")).unwrap_or_default();
    Ok(reader.page("Who did what", Entry::Elsewhere, format!("/api/audit?count={ROWS}{before}"), body))
}
