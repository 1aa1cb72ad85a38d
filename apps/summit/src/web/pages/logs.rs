//! The search over logs: which builds print a text, and what changed since the build before.

use std::fmt::Display;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use farm::task::Phase;
use maud::{Markup, html};

use super::figures::{in_address, size, time};
use super::{Entry, Page, Reader};
use crate::web::Web;
use crate::web::error::WebError;
use crate::web::search::{self, BeforeView, BuildView, HitView, LogHits, SearchEnd, SearchLine, SearchQuery};

/// `/logs?q=TEXT`
pub(crate) async fn logs(
    State(web): State<Web>,
    reader: Reader,
    query: Result<Query<SearchQuery>, QueryRejection>,
) -> Page {
    let query = query.map_err(|error| WebError::BadRequest { what: "the search", why: error.body_text() })?.0;
    let (mut found, mut end) = (Vec::new(), None);
    if !query.q.is_empty() {
        let mut lines = search::begin(&web, &query)?;
        while let Some(line) = lines.recv().await {
            match line? {
                SearchLine::Log(log) => found.push(log),
                SearchLine::End(last) => end = Some(last),
            }
        }
    }
    let usage = web.hub.logs.usage();
    let body = html! {
        h1 { "Logs" }
        (form(&query))
        @match &end {
            None => p.hint { "Searches what builds wrote, the newest first. " (usage.logs) " logs are kept; they take " (size(usage.stored_bytes)) "." },
            Some(end) => (summary(end, found.len())),
        }
        @for log in &found { (log_markup(log, &query)) }
        @if end.is_some() && found.is_empty() { p.empty { "No log has it." } }
    };
    let twin = match query.q.is_empty() {
        true => "/api/logs".to_owned(),
        false => format!("/api/logs/search?{}", asked_for(&query)),
    };
    Ok(reader.page("Logs", Entry::Logs, twin, body))
}

/// The search as it stands behind `?`.
fn asked_for(query: &SearchQuery) -> String {
    let number = |number: Option<u64>| number.map(|number| number.to_string());
    let fields = [
        ("q", Some(query.q.clone())),
        ("regex", query.regex.clone()),
        ("source", query.source.clone()),
        ("project", query.project.clone()),
        ("phase", query.phase.clone()),
        ("since", query.since.clone()),
        ("task", number(query.task)),
        ("attempt", number(query.attempt)),
    ];
    let asked =
        fields.into_iter().filter_map(|(name, value)| Some((name, value.filter(|value| !value.is_empty())?)));
    asked.map(|(name, value)| format!("{name}={}", in_address(&value))).collect::<Vec<_>>().join("&")
}

fn form(query: &SearchQuery) -> Markup {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    html! {
        form.searchbar method="get" action="/logs" role="search" {
            label.wide { "Text" input type="search" name="q" value=(query.q) required maxlength="1000" autofocus; }
            label { "Recipe" input name="source" value=(text(&query.source)) size="14"; }
            label { "State" select name="phase" {
                option value="" { "any" }
                @for phase in Phase::ALL {
                    option value=(phase.keyword()) selected[query.phase.as_deref() == Some(phase.keyword())] { (phase) }
                }
            } }
            label { "Since" select name="since" {
                @let since = query.since.as_deref().unwrap_or("7d");
                @for (value, name) in [("24h", "a day"), ("7d", "a week"), ("4w", "four weeks"), ("0", "ever")] {
                    option value=(value) selected[since == value] { (name) }
                }
            } }
            label.line { input type="checkbox" name="regex" value="1" checked[query.regex.is_some()]; "regular expression" }
            @if let Some(task) = query.task { input type="hidden" name="task" value=(task); }
            @if let Some(attempt) = query.attempt { input type="hidden" name="attempt" value=(attempt); }
            button type="submit" { "Find" }
        }
        @if query.task.is_some() || query.attempt.is_some() { p.hint { "In one log only. " a href="/logs" { "Search all" } } }
    }
}

fn summary(end: &SearchEnd, builds: usize) -> Markup {
    html! {
        p.lead role="status" {
            (counted(end.hits, "line")) " in " (counted(builds, "build")) "; " (counted(end.logs, "log")) ", " (size(end.searched_bytes)) ", were searched in "
            (format!("{:.1} s", end.seconds)) "."
            @match end.stopped_by.as_deref() {
                Some("time") => " There was no time for older ones: name a recipe or a shorter time.",
                Some(_) => " Older ones were not searched: these are as many as are shown.",
                None => "",
            }
        }
    }
}

/// `1 line`, `2 lines`.
fn counted<N: Display + PartialEq + From<u8>>(number: N, what: &str) -> String {
    let ending = if number == N::from(1) { "" } else { "s" };
    format!("{number} {what}{ending}")
}

fn log_markup(log: &LogHits, query: &SearchQuery) -> Markup {
    let build = &log.build;
    let regex = if query.regex.is_some() { "&regex=1" } else { "" };
    let all = format!("/logs?attempt={}&q={}{regex}", build.attempt, in_address(&query.q));
    html! {
        section {
            h2 { a href=(build.page_url) { (build.source) " " (build.version) "-" (build.release) } " " small { (build.outcome) ", " (build.builder) ", " (time(build.assigned_ms)) } }
            p.meta { (changed(build, log.before.as_ref())) }
            ol.hits {
                @for hit in &log.hits {
                    li { a href=(format!("{}?line={}#L{}", build.page_url, hit.line, hit.line)) { (hit.line) } (text(hit)) }
                }
                @if log.more { li { span.rest { a href=(all) { "and more" } } } }
            }
        }
    }
}

fn text(hit: &HitView) -> Markup {
    let (begin, end) = hit.matched;
    let part = |range: std::ops::Range<usize>| hit.text.get(range).unwrap_or_default();
    html! { span { (part(0..begin)) mark { (part(begin..end)) } (part(end..hit.text.len())) } }
}

/// What is known of why it prints that.
fn changed(build: &BuildView, before: Option<&BeforeView>) -> Markup {
    let short = |commit: &str| commit.get(..10).unwrap_or(commit).to_owned();
    html! {
        "commit " code title=(build.commit) { (short(&build.commit)) } " · "
        @match before {
            None => "no earlier build is known",
            Some(before) => {
                @let other = &before.build;
                @match before.prints_it {
                    Some(true) => "printed before too, by ",
                    Some(false) => strong { "new since " },
                    None => "not known of ",
                }
                a href=(other.page_url) { (other.version) "-" (other.release) }
                " at " code title=(other.commit) { (short(&other.commit)) } ", "
                @if before.recipe_changed { "the recipe changed" } @else { "the recipe is the same" }
                @if other.builder != build.builder { ", another builder (" (other.builder) ")" }
            },
        }
    }
}
