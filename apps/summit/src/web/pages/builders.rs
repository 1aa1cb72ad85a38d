//! Who builds.

use axum::extract::State;
use maud::{Markup, html};

use super::figures::{duration, elapsed, size, time};
use super::{Page, page};
use crate::web::Web;
use crate::web::view::BuilderView;

pub(crate) async fn builders(State(web): State<Web>) -> Page {
    let builders = web.builder_list().await?;
    let now = web.hub.clock.now().0;
    let body = html! {
        h1 { "Builders" }
        div #builders data-live { (builder_cards(&builders, now)) }
        p.hint { "Add one with " code { "moraine builder enrol NAME" } ", while Summit runs." }
    };
    Ok(page("Builders", &web.farm_name(), body))
}

pub(super) fn builder_cards(builders: &[BuilderView], now_ms: u64) -> Markup {
    if builders.is_empty() {
        return html! { p.empty { "No builder may attach yet: add one with " code { "moraine builder enrol NAME" } "." } };
    }
    html! {
        div.cards {
            @for builder in builders {
                section.card {
                    h3 {
                        (builder.name) " "
                        @if builder.drained { span.badge.blocked { "drained" } }
                        @else if builder.rests_until_ms.is_some() { span.badge.failed { "quarantined" } }
                        @else if builder.shortage.is_some() { span.badge.blocked { "short" } }
                        @else if builder.attached { span.badge.published { "attached" } }
                        @else { span.badge.waiting { "away" } }
                    }
                    p.meta title=(builder.public_key) {
                        @if builder.architectures.is_empty() { "never attached" }
                        @else { (builder.architectures.join(", ")) " · " (builder.cores) " cores · " (size(builder.memory_bytes)) " · version " (builder.version) }
                    }
                    p {
                        (builder.running.len()) " of " (builder.slots) " places taken"
                        @if builder.memory_set_aside_bytes > 0 {
                            ", " (size(builder.memory_set_aside_bytes)) " of memory expected to be needed"
                        }
                        @for link in &builder.running { " · " a href=(format!("/tasks/{}", link.task)) { (link.source) } }
                    }
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
                                ". It gets no work for " (duration(until.saturating_sub(now_ms))) " more."
                            }
                        }
                    }
                    p.meta {
                        (builder.size) @if builder.trust == "official" { " · official" }
                        @for word in builder.features.iter().chain(&builder.labels) { " · " (word) }
                    }
                    p.actions {
                        @if builder.drained || builder.rests_until_ms.is_some() {
                            button type="button" data-post=(format!("/api/builders/{}/undrain", builder.public_key)) { "Give it work" }
                        } @else {
                            button.quiet type="button" data-post=(format!("/api/builders/{}/drain", builder.public_key)) { "Drain" }
                        }
                        span.answer role="status" {}
                    }
                    p.meta {
                        @match (builder.attached_since_ms, builder.last_seen_ms) {
                            (Some(since), _) => { "for " (elapsed(since, now_ms)) }
                            (None, Some(seen)) => { "last seen " (time(seen)) }
                            (None, None) => "",
                        }
                    }
                }
            }
        }
    }
}
