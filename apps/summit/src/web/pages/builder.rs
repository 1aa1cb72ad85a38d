//! One builder: what it is, what it does, what it did.

use access::Action;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use maud::{Markup, html};

use super::figures::{duration, in_address, size, time};
use super::{Entry, Page, Reader};
use crate::store::Outcome;
use crate::web::Web;
use crate::web::api::builders::TriedView;
use crate::web::error::WebError;

pub(crate) async fn builder(
    State(web): State<Web>,
    reader: Reader,
    name: Result<Path<String>, PathRejection>,
) -> Page {
    let Path(name) =
        name.map_err(|error| WebError::BadRequest { what: "the builder", why: error.body_text() })?;
    let view = web.builder_page(&name).await?;
    let builder = &view.builder;
    let may_drain = reader.may(Action::DrainBuilder);
    let body = html! {
        div #builder data-live {
            h1 { (builder.name) span class=(format!("badge {}", builder.state)) { (builder.state) } }
            @if may_drain { (super::builders::actions(builder)) }
            (super::builders::about(builder))
            dl.facts {
                div { dt { "Machine" } dd { @if builder.architectures.is_empty() { "never attached" } @else { (builder.architectures.join(", ")) ", " (builder.cores) " cores, " (size(builder.memory_bytes)) } } }
                div { dt { "Places" } dd { (builder.running.len()) " of " (builder.slots) " taken" } }
                div { dt { "Speed" } dd title="1 is the reference machine" { (format!("{:.2}", builder.speed)) " of the reference" } }
                div { dt { "Agent" } dd { @if builder.version.is_empty() { "not known" } @else { "version " (builder.version) } } }
                div { dt { "Free" } dd { @if builder.memory_free_bytes > 0 { (size(builder.memory_free_bytes)) " of memory, " (size(builder.disk_free_bytes)) " on disk, load " (builder.load_percent) " %" } @else { "not known" } } }
                div { dt { "Trust and size" } dd { (builder.trust) ", " (builder.size) @for word in builder.features.iter().chain(&builder.labels) { ", " (word) } } }
                div.whole-row { dt { "Public key" } dd { code { (builder.public_key) } } }
            }
        }
        div #now data-live {
            h2 { "Now" }
            @if builder.running.is_empty() { p.empty { "It builds nothing." } }
            @else { ul.chips { @for link in &builder.running { li { a href=(format!("/tasks/{}", link.task)) { (link.source) } } } } }
        }
        div #attempts data-live {
            h2 { "Last builds" }
            @if view.attempts.is_empty() { p.empty { "It has not built anything yet." } } @else { (attempts(&view.attempts)) }
        }
    };
    let twin = format!("/api/builders/{}", in_address(&builder.name));
    Ok(reader.page(&builder.name, Entry::Builders, twin, body))
}

fn attempts(attempts: &[TriedView]) -> Markup {
    html! {
        div.table { table {
            thead { tr { th { "What" } th.wide { "End" } th.right { "Time" } th.right { "When" } } }
            tbody {
                @for tried in attempts {
                    tr {
                        td.name { a href=(format!("/tasks/{}/attempts/{}", tried.task, tried.attempt)) { (tried.title) } }
                        td.wide { @match &tried.outcome {
                            None => "goes on",
                            Some(Outcome::Published { history }) => { "published in history " code { (history) } },
                            Some(Outcome::Failed { class, message, .. }) => { strong { (class) } ": " (message) },
                            Some(Outcome::Stopped { why }) => (why),
                        } }
                        td.right { @if let Some(ended) = tried.ended_ms { (duration(ended.saturating_sub(tried.assigned_ms))) } }
                        td.right { (time(tried.assigned_ms)) }
                    }
                }
            }
        } }
    }
}
