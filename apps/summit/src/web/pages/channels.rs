//! Where streams and tags point, how channels came there, and what changed between two versions.

use access::Action;
use axum::extract::State;
use maud::{Markup, PreEscaped, html};
use picture::{ChannelPicture, Flag, HistoryMark};

use super::figures::{in_address, time};
use super::{Entry, Page, Reader};
use crate::channels::{ChannelReport, DiffReport, HistoryReport};
use crate::web::Web;
use crate::web::api::{Asked, asked};
use crate::web::view::{ChannelView, DiffQuery};

/// Histories that are listed; the picture shows more.
const LISTED_MAX: usize = 30;

/// Packages of each kind that are listed: more than that is a new distribution.
const PACKAGES_MAX: usize = 1_000;

pub(crate) async fn channels(State(web): State<Web>, reader: Reader) -> Page {
    let view = web.channel_list().await;
    let body = html! {
        h1 { "Channels" }
        div #channels data-live {
            @if let Some(trouble) = &view.trouble {
                p.warning role="status" { "Vessel does not say which channels there are: " (trouble) }
            }
            @if view.channels.is_empty() { p.empty { "There is no channel, since no project publishes to one." } }
            @for channel in &view.channels { (one(channel, &reader)) }
        }
    };
    Ok(reader.page("Channels", Entry::Channels, "/api/channels", body))
}

fn one(view: &ChannelView, reader: &Reader) -> Markup {
    html! {
        h2 { (view.channel) @if !view.projects.is_empty() { small { " published to by " (view.projects.join(", ")) } } }
        @if let Some(trouble) = &view.trouble {
            p.warning role="status" {
                @match view.said_ms {
                    Some(said) => { "Vessel does not answer. What is shown is from " (time(said)) ". (" (trouble) ")" }
                    None => { "Vessel does not answer, and was never heard of: " (trouble) }
                }
            }
        }
        @match &view.report {
            Some(report) if report.histories.is_empty() => p.empty { "Nothing has been published yet." },
            Some(report) => { (report_of(report, reader)) }
            None => {}
        }
    }
}

fn report_of(report: &ChannelReport, reader: &Reader) -> Markup {
    // The newest come first; the picture goes the other way.
    let place = |id: &String| {
        let from_newest = report.histories.iter().position(|history| history.id == *id)?;
        Some(report.histories.len() - 1 - from_newest)
    };
    let histories: Vec<HistoryMark> =
        report.histories.iter().rev().map(|history| mark(report, history)).collect();
    let flag = |is_tag: bool, (name, history): (&String, &String)| Flag {
        name: name.clone(),
        is_tag,
        history: place(history),
        title: format!("{} {name}: history {history}", if is_tag { "tag" } else { "stream" }),
    };
    let streams = report.streams.iter().map(|pointer| flag(false, pointer));
    let flags: Vec<Flag> = streams.chain(report.tags.iter().map(|pointer| flag(true, pointer))).collect();
    html! {
        (PreEscaped(picture::channel(&ChannelPicture { histories: &histories, flags: &flags })))
        (pointers(report))
        (actions(report, reader))
        (compare(report))
        details.more {
            summary { "The newest histories" }
            div.table { table {
                thead { tr { th { "History" } th.right { "Packages" } th.wide { "Why" } th { "When" } } }
                tbody {
                    @for history in report.histories.iter().take(LISTED_MAX) {
                        tr {
                            td {
                                @match &history.previous {
                                    Some(previous) => a href=(diff_address(&report.channel, previous, &history.id)) title="what it changed" { code { (history.id) } },
                                    None => code { (history.id) },
                                }
                                @for (name, _) in report.streams.iter().filter(|(_, id)| **id == history.id) { " " span.badge.building { (name) } }
                                @for (name, _) in report.tags.iter().filter(|(_, id)| **id == history.id) { " " span.badge.waiting { (name) } }
                            }
                            td.right data-label="packages" { (history.packages) }
                            td.wide { (history.cause) @if history.given_up_at.is_some() { " (given up)" } }
                            td { (time(milliseconds(history.recorded_at))) }
                        }
                    }
                }
            } }
        }
    }
}

fn mark(report: &ChannelReport, history: &HistoryReport) -> HistoryMark {
    let given_up = if history.given_up_at.is_some() { ", given up" } else { "" };
    HistoryMark {
        packages: history.packages,
        is_given_up: history.given_up_at.is_some(),
        address: history
            .previous
            .as_ref()
            .map(|previous| diff_address(&report.channel, previous, &history.id)),
        title: format!("{}: {} packages{given_up}. {}", history.id, history.packages, history.cause),
    }
}

fn pointers(report: &ChannelReport) -> Markup {
    let newest =
        report.history.as_ref().and_then(|id| report.histories.iter().position(|history| history.id == *id));
    let behind = |id: &String| {
        let place = report.histories.iter().position(|history| history.id == *id)?;
        place.checked_sub(newest.unwrap_or(0))
    };
    html! {
        div.table { table {
            thead { tr { th { "Pointer" } th { "History" } th.right { "Where it is" } th { "" } } }
            tbody {
                @for (kind, name, id) in report.streams.iter().map(|(name, id)| ("stream", name, id)).chain(report.tags.iter().map(|(name, id)| ("tag", name, id))) {
                    tr {
                        td { (kind) " " strong { (name) } }
                        td { code { (id) } }
                        td.right {
                            @match behind(id) {
                                Some(0) => "the newest",
                                Some(1) => "1 history behind",
                                Some(count) => { (count) " histories behind" }
                                None => "older than all that are shown",
                            }
                        }
                        td {
                            @if let (Some(newest), true) = (&report.history, behind(id) != Some(0)) {
                                a href=(diff_address(&report.channel, id, newest)) { "what changed since" }
                            }
                        }
                    }
                }
            }
        } }
    }
}

/// How operators move streams.
fn actions(report: &ChannelReport, reader: &Reader) -> Markup {
    let (promote, roll_back) = (reader.may(Action::PromoteStream), reader.may(Action::RollBackStream));
    let to = |verb: &str| format!("/api/channels/{}/{verb}", in_address(&report.channel));
    let streams = format!("streams-{}", report.channel);
    html! {
        @if promote || roll_back {
            div.actions role="group" aria-label=(format!("move a stream of {}", report.channel)) {
                label { "Stream " input name="stream" list=(streams) placeholder="stable" maxlength="128" size="14"; }
                @if promote {
                    label { "to version " input name="from" list=(versions(report)) value="stream/volatile" maxlength="200"; }
                    button type="button" data-post=(to("promote")) data-send="stream from" data-sure="Really move it?" { "Promote" }
                }
                @if roll_back {
                    button.quiet type="button" data-post=(to("rollback")) data-send="stream" data-sure="Really move it back?" title="to where it was before" { "Roll back" }
                }
                span.answer role="status" {}
                datalist id=(streams) { @for name in report.streams.keys() { option value=(name) {} } }
            }
        }
    }
}

/// The id of the list of versions that a field offers.
fn versions(report: &ChannelReport) -> String {
    format!("versions-{}", report.channel)
}

/// A form for any two versions.
fn compare(report: &ChannelReport) -> Markup {
    let list = versions(report);
    let first = report.streams.keys().find(|name| *name != "volatile").map(|name| format!("stream/{name}"));
    let previous = report
        .histories
        .first()
        .and_then(|history| history.previous.as_ref())
        .map(|id| format!("history/{id}"));
    html! {
        form.queuebar method="get" action="/channels/diff" {
            input type="hidden" name="channel" value=(report.channel);
            label { "What changed from " input name="from" list=(list) value=(first.or(previous).unwrap_or_default()) required maxlength="200"; }
            label { " to " input name="to" list=(list) value="stream/volatile" required maxlength="200"; }
            button.quiet type="submit" { "Compare" }
            datalist id=(list) {
                @for name in report.streams.keys() { option value=(format!("stream/{name}")) {} }
                @for name in report.tags.keys() { option value=(format!("tag/{name}")) {} }
                @for history in report.histories.iter().take(LISTED_MAX) { option value=(format!("history/{}", history.id)) {} }
            }
        }
    }
}

fn diff_address(channel: &str, from: &str, to: &str) -> String {
    let (channel, from, to) = (in_address(channel), in_address(from), in_address(to));
    format!("/channels/diff?channel={channel}&from=history%2F{from}&to=history%2F{to}")
}

pub(crate) async fn diff(State(web): State<Web>, reader: Reader, query: Asked<DiffQuery>) -> Page {
    let query = asked(query)?;
    let report = web.channel_diff(&query).await?;
    let body = html! {
        h1 { "What changed in " (report.channel) }
        p.lead {
            "From " code { (report.from) } " to " code { (report.to) } ": "
            strong { (report.added.len()) } " added, " strong { (report.removed.len()) } " removed, "
            strong { (report.changed.len()) } " changed. "
            a href=(swapped(&report)) { "the other way round" } " · " a href="/channels" { "all channels" }
        }
        @if report.added.is_empty() && report.removed.is_empty() && report.changed.is_empty() {
            p.empty { "Both have the same packages." }
        }
        (changes(&report))
    };
    let twin = format!(
        "/api/channels/diff?channel={}&from={}&to={}",
        in_address(&query.channel),
        in_address(&query.from),
        in_address(&query.to)
    );
    Ok(reader.page(&format!("What changed in {}", report.channel), Entry::Channels, twin, body))
}

fn swapped(report: &DiffReport) -> String {
    diff_address(&report.channel, &report.to, &report.from)
}

fn changes(report: &DiffReport) -> Markup {
    let rest = |count: usize| count.saturating_sub(PACKAGES_MAX);
    html! {
        @for (sign, word, class, packages) in [("+", "Added", "published", &report.added), ("−", "Removed", "failed", &report.removed)] {
            @if !packages.is_empty() {
                h2 { (word) " " small { (packages.len()) } }
                ul.changes {
                    @for package in packages.iter().take(PACKAGES_MAX) {
                        li class=(class) { span.sign aria-hidden="true" { (sign) } " " strong { (package.name) } " " span.meta { (package.version) " " (package.architecture) } }
                    }
                }
                @if rest(packages.len()) > 0 { p.hint { "and " (rest(packages.len())) " more" } }
            }
        }
        @if !report.changed.is_empty() {
            h2 { "Changed " small { (report.changed.len()) } }
            ul.changes {
                @for package in report.changed.iter().take(PACKAGES_MAX) {
                    li.building { span.sign aria-hidden="true" { "~" } " " strong { (package.name) } " " span.meta { (package.from) " → " (package.to) " " (package.architecture) } }
                }
            }
            @if rest(report.changed.len()) > 0 { p.hint { "and " (rest(report.changed.len())) " more" } }
        }
    }
}

fn milliseconds(seconds: i64) -> u64 {
    u64::try_from(seconds).unwrap_or(0).saturating_mul(1000)
}
