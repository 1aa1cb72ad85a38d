//! Who builds.

use access::Action;
use axum::extract::State;
use maud::{Markup, html};

use super::figures::{duration, elapsed, in_address, size, time};
use super::{Entry, Page, Reader};
use crate::web::Web;
use crate::web::view::BuilderView;

pub(crate) async fn builders(State(web): State<Web>, reader: Reader) -> Page {
    let builders = web.builder_list().await?;
    let now = web.hub.clock.now().0;
    let may_drain = reader.may(Action::DrainBuilder);
    let places: u32 = builders.iter().filter(|builder| builder.attached).map(|builder| builder.slots).sum();
    let taken: usize = builders.iter().map(|builder| builder.running.len()).sum();
    let body = html! {
        h1 { "Builders" }
        div #builders data-live {
            @if !builders.is_empty() {
                p.meta { (builders.iter().filter(|builder| builder.attached).count()) " of " (builders.len()) " attached · " (taken) " of " (places) " places taken" }
            }
            (cards(&builders, now, may_drain))
        }
        p.hint { "Add one with " code { "moraine builder enrol NAME" } ", while Summit runs." }
    };
    Ok(reader.page("Builders", Entry::Builders, "/api/builders", body))
}

/// Where the page of a builder is.
pub(super) fn address(builder: &BuilderView) -> String {
    format!("/builders/{}", in_address(&builder.name))
}

fn cards(builders: &[BuilderView], now_ms: u64, may_drain: bool) -> Markup {
    if builders.is_empty() {
        return html! { p.empty { "No builder may attach yet: add one with " code { "moraine builder enrol NAME" } "." } };
    }
    html! {
        div.cards {
            @for builder in builders {
                section.card {
                    h3 { a href=(address(builder)) { (builder.name) } (badge(builder)) }
                    p.meta {
                        @if builder.architectures.is_empty() { "never attached" }
                        @else { (builder.architectures.join(", ")) " · " (builder.cores) " cores · " (size(builder.memory_bytes)) }
                    }
                    @if builder.slots > 0 {
                        div.building { progress max=(builder.slots) value=(builder.running.len()) aria-label="places taken" {} }
                        p.meta {
                            (builder.running.len()) " of " (builder.slots) " places taken"
                            @if builder.memory_set_aside_bytes > 0 { ", " (size(builder.memory_set_aside_bytes)) " of memory expected to be needed" }
                        }
                    }
                    @if !builder.running.is_empty() {
                        p { @for (number, link) in builder.running.iter().enumerate() {
                            @if number > 0 { " · " } a href=(format!("/tasks/{}", link.task)) { (link.source) }
                        } }
                    }
                    (about(builder))
                    p.meta {
                        (builder.size) @if builder.trust == "official" { " · official" }
                        @for word in builder.features.iter().chain(&builder.labels) { " · " (word) }
                        @match (builder.attached_since_ms, builder.last_seen_ms) {
                            (Some(since), _) => { " · for " (elapsed(since, now_ms)) }
                            (None, Some(seen)) => { " · last seen " (time(seen)) }
                            (None, None) => "",
                        }
                    }
                    @if may_drain { (actions(builder)) }
                }
            }
        }
    }
}

fn badge(builder: &BuilderView) -> Markup {
    let state = match builder.shortage {
        Some(_) if builder.state == "attached" => "short",
        _ => builder.state,
    };
    html! { span class=(format!("badge {state}")) { (state) } }
}

/// What is out of the ordinary.
pub(super) fn about(builder: &BuilderView) -> Markup {
    html! {
        @if let Some(shortage) = builder.shortage {
            p { "gets nothing new: it " (shortage) " (memory " (builder.pressure.memory_percent) " %, disk " (builder.pressure.io_percent) " % of the last ten seconds)" }
        }
        @if builder.attached && builder.memory_free_bytes > 0 {
            p.meta {
                "free: " (size(builder.memory_free_bytes)) " of memory, " (size(builder.disk_free_bytes)) " on disk · load " (builder.load_percent) " %"
                @if !builder.features_found.is_empty() { " · " (builder.features_found.join(", ")) }
            }
        }
        @if let Some(fault) = &builder.fault {
            p {
                (builder.faults_in_row) @if builder.faults_in_row == 1 { " fault" } @else { " faults in a row" } ", the last: " (fault)
                @if let Some(until) = builder.rests_until_ms {
                    ". It gets no work for " (duration(until.saturating_sub(builder.now_ms))) " more."
                }
            }
        }
    }
}

/// What an operator can do with it.
pub(super) fn actions(builder: &BuilderView) -> Markup {
    let key = in_address(&builder.public_key);
    html! {
        p.actions {
            @if builder.drained || builder.rests_until_ms.is_some() {
                button type="button" data-post=(format!("/api/builders/{key}/undrain")) { "Give it work" }
            } @else {
                button.quiet type="button" data-post=(format!("/api/builders/{key}/drain")) { "Drain" }
            }
            span.answer role="status" {}
        }
    }
}
