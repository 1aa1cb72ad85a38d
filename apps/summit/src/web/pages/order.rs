//! In which order things are built: a picture of all of it, or a list.

use axum::extract::State;
use maud::{Markup, PreEscaped, html};
use picture::{QueuePicture, Sign};

use super::figures::in_address;
use super::{Entry, Page, Reader};
use crate::web::Web;
use crate::web::api::{Asked, asked};
use crate::web::view::{MapPage, MapQuery, MapScope, QueueMap};

/// Recipes that are named as found or as steps of the critical path; the picture shows all.
const NAMED_MAX: usize = 60;

pub(crate) async fn queue(State(web): State<Web>, reader: Reader, query: Asked<MapQuery>) -> Page {
    let query = asked(query)?;
    let map = web.queue_map(&query).await?;
    let shows_list = query.view == MapPage::List;
    let is_empty = map.layers.places.iter().all(Option::is_none);
    let body = html! {
        h1 { "Build order" }
        (arenas(&web, &map, shows_list))
        div data-live-from=(address(&map, shows_list, "summary")) {
            div #queue-summary data-live { (summary(&map)) }
        }
        @if query.view != MapPage::Summary {
            @if is_empty {
                p.empty {
                    @match (map.world.looked, map.scope) {
                        (None, _) => "The recipes were not read yet.",
                        (_, MapScope::Queue) => "Nothing waits, is built, or failed.",
                        (_, MapScope::All) => "There are no recipes.",
                    }
                }
            } @else if shows_list {
                (list(&map))
            } @else {
                (search(&map, query.find.as_deref().unwrap_or_default()))
                @let found = map.find(query.find.as_deref().unwrap_or_default());
                (PreEscaped(picture::queue(&QueuePicture {
                    layers: &map.layers,
                    cells: &map.cells,
                    critical: &map.critical,
                    deferred: &map.deferred,
                    found: &found,
                })))
                (knots(&map))
                (critical_path(&map))
                script src="/queue.js" defer {}
            }
        }
    };
    let twin = address(&map, false, "").replacen("/queue", "/api/queue/map", 1);
    Ok(reader.page("Build order", Entry::Order, twin, body))
}

/// The address of this page with another view, or with everything.
fn address(map: &QueueMap, shows_all: bool, view: &str) -> String {
    let show = if map.scope == MapScope::All || shows_all { "&show=all" } else { "" };
    let view = if view.is_empty() { String::new() } else { format!("&view={view}") };
    let (project, architecture) = (in_address(&map.arena.project), in_address(&map.arena.architecture));
    format!("/queue?project={project}&arch={architecture}{show}{view}")
}

fn arenas(web: &Web, map: &QueueMap, shows_list: bool) -> Markup {
    let config = web.hub.config();
    let arenas: Vec<(&str, &str)> = config
        .projects
        .iter()
        .flat_map(|project| project.architectures.iter().map(|one| (project.name.as_str(), one.as_str())))
        .collect();
    let is_shown = |arena: (&str, &str)| arena == (&map.arena.project, &map.arena.architecture);
    let here = |is_here: bool| is_here.then_some("page");
    let view = if shows_list { "list" } else { "" };
    let queue_address = address(map, false, view).replace("&show=all", "");
    html! {
        nav.filter aria-label="what is shown" {
            @if arenas.len() > 1 {
                @for &(name, architecture) in &arenas {
                    a href=(format!("/queue?project={}&arch={}", in_address(name), in_address(architecture))) aria-current=[here(is_shown((name, architecture)))] {
                        (name) " " (architecture)
                    }
                }
                span.gap {}
            }
            a href=(queue_address) aria-current=[here(map.scope == MapScope::Queue)] { "Queue" }
            a href=(address(map, true, view)) aria-current=[here(map.scope == MapScope::All)] { "All recipes" }
            span.gap {}
            a href=(address(map, false, "")) aria-current=[here(!shows_list)] { "Picture" }
            a href=(address(map, false, "list")) aria-current=[here(shows_list)] { "List" }
        }
    }
}

/// How far it is, in a bar and in words; the words are also what the colours and signs of the picture mean.
fn summary(map: &QueueMap) -> Markup {
    let counts = map.counts();
    let total: usize = counts.values().sum();
    let shown: Vec<(Sign, usize)> = [
        Sign::Published,
        Sign::Publishing,
        Sign::Building,
        Sign::Ready,
        Sign::Waiting,
        Sign::Held,
        Sign::Blocked,
        Sign::Failed,
        Sign::Cancelled,
        Sign::None,
    ]
    .into_iter()
    .filter_map(|sign| Some((sign, *counts.get(&sign)?)))
    .collect();
    html! {
        @if total > 0 {
            (PreEscaped(picture::shares(&shown)))
            ul.legend aria-label="how many stand how" {
                @for (sign, count) in &shown {
                    li class=(sign.word()) {
                        span.sign aria-hidden="true" { (sign.glyph()) }
                        strong { (count) } " " (meaning(*sign))
                    }
                }
                @if !map.critical.is_empty() {
                    li.critical {
                        span.sign aria-hidden="true" {}
                        strong { (map.critical.len()) } " on the critical path, at least " strong { (picture::clock(map.critical_ms)) } " to go"
                    }
                }
            }
        }
    }
}

fn meaning(sign: Sign) -> &'static str {
    match sign {
        Sign::None => "not wanted",
        Sign::Ready => "ready to start",
        Sign::Building => "being built",
        Sign::Publishing => "being published",
        other => other.word(),
    }
}

fn search(map: &QueueMap, text: &str) -> Markup {
    let found = map.find(text);
    html! {
        form.queuebar method="get" action="/queue" role="search" {
            input type="hidden" name="project" value=(map.arena.project);
            input type="hidden" name="arch" value=(map.arena.architecture);
            @if map.scope == MapScope::All { input type="hidden" name="show" value="all"; }
            label for="q-find" { "Find" }
            input #q-find type="search" name="find" value=(text) placeholder="a name, or a part of it" autocomplete="off" maxlength="100";
            button.quiet type="submit" { "Find" }
            span #q-count role="status" { @if !text.is_empty() { (found.len()) " found" } }
            span #q-zoom.actions {}
        }
        @if !text.is_empty() {
            p.meta {
                @for &index in found.iter().take(NAMED_MAX) {
                    @let cell = &map.cells[index];
                    a href=[cell.address.as_ref()] { (cell.name) } " (" (cell.sign.word()) ") "
                }
                @if found.len() > NAMED_MAX { "and " (found.len() - NAMED_MAX) " more" }
                @if found.is_empty() { "No recipe in this picture has " q { (text) } " in its name." }
            }
        }
        div #q-panel hidden aria-live="polite" {}
        p.hint {
            "A recipe stands right of everything it needs; the number above a column counts the steps before it. "
            @if !map.layers.has_all_links { "Lines lead to what decides the column. " }
            span #q-keys {}
        }
    }
}

/// What is not seen of groups of recipes that need each other.
fn knots(map: &QueueMap) -> Markup {
    let sizes: Vec<String> = map.knots().map(|members| members.len().to_string()).collect();
    html! {
        @if !sizes.is_empty() {
            p.hint {
                "Groups of recipes that need each other: " (sizes.join(", ")) " recipes. Along " (map.deferred.len())
                " edges inside them a recipe is built against the previous generation of what it needs"
                @if map.layers.has_all_links { ": the dashed lines" } "."
            }
        }
    }
}

fn critical_path(map: &QueueMap) -> Markup {
    html! {
        @if !map.critical.is_empty() {
            h2 { "The critical path" }
            p.path {
                @for (number, &index) in map.critical.iter().take(NAMED_MAX).enumerate() {
                    @let cell = &map.cells[index];
                    @if number > 0 { " → " }
                    a class=(cell.sign.word()) href=[cell.address.as_ref()] { (cell.name) }
                }
                @if map.critical.len() > NAMED_MAX { " → and " (map.critical.len() - NAMED_MAX) " more" }
            }
        }
    }
}

fn list(map: &QueueMap) -> Markup {
    let levels = map.layers.columns.len();
    let mut by_level: Vec<Vec<usize>> = vec![Vec::new(); levels];
    for (index, place) in map.layers.places.iter().enumerate() {
        if let Some(stack) = place.and_then(|place| by_level.get_mut(place.level)) {
            stack.push(index);
        }
    }
    let graph = &map.world.graph;
    html! {
        @for members in map.knots() {
            p.warning {
                "These need each other, and are built against their previous generation where they cannot wait: "
                @for (number, &member) in members.iter().enumerate() { @if number > 0 { ", " } (graph.source(member)) }
            }
        }
        h2 { "Step by step" }
        ol.levels start="0" {
            @for stack in &by_level {
                li {
                    @for &index in stack {
                        @let cell = &map.cells[index];
                        a.node class=(cell.sign.word()) href=[cell.address.as_ref()] { (cell.name) " " span.phase { (cell.sign.word()) } }
                        @let unresolved = graph.unresolved(map.order[index]);
                        @if !unresolved.is_empty() {
                            span.warning {
                                " nobody offers "
                                (unresolved.iter().map(package::Dependency::short).collect::<Vec<_>>().join(", "))
                            }
                        }
                        " "
                    }
                }
            }
        }
    }
}
