//! In which order things are built.

use axum::extract::State;
use maud::html;

use super::figures::in_address;
use super::{Page, page};
use crate::web::Web;
use crate::web::api::{ArenaQuery, Asked, asked};
use crate::web::picture;

pub(crate) async fn queue(State(web): State<Web>, list: Asked<ArenaQuery>) -> Page {
    let query = asked(list)?;
    let arena = web.arena(query.project(), query.architecture())?;
    let config = web.hub.config();
    let arenas: Vec<(&str, &str)> = config
        .projects
        .iter()
        .flat_map(|project| project.architectures.iter().map(|one| (project.name.as_str(), one.as_str())))
        .collect();
    let is_shown =
        |name: &str, architecture: &str| (name, architecture) == (&arena.project, &arena.architecture);
    let queue = web.queue_view(arena.clone()).await?;
    let body = html! {
        h1 { "Build order" }
        @if arenas.len() > 1 {
            nav.filter aria-label="project" {
                @for &(name, architecture) in &arenas {
                    a href=(format!("/queue?project={}&arch={}", in_address(name), in_address(architecture))) aria-current=[is_shown(name, architecture).then_some("page")] {
                        (name) " " (architecture)
                    }
                }
            }
        }
        div #queue data-live {
            @if queue.nodes.is_empty() {
                p.empty { "Nothing waits, is built, or failed." }
            } @else {
                p.hint {
                    "A recipe stands right of everything it needs. "
                    @if queue.shortened { "Recipes that are published are left out." }
                }
                @if let Some(picture) = picture::draw(&queue) { (picture) }
                @for knot in &queue.knots {
                    p.warning { "These need each other, and are built against their previous generation: " (knot.join(", ")) }
                }
                h2 { "Level by level" }
                @let levels = queue.nodes.iter().map(|node| node.level).max().unwrap_or(0);
                ol.levels start="0" {
                    @for level in 0..=levels {
                        li {
                            @for node in queue.nodes.iter().filter(|node| node.level == level) {
                                @let phase = node.phase.map_or("none", |phase| phase.keyword());
                                a.node class=(phase) href=[node.task.map(|task| format!("/tasks/{task}"))] {
                                    (node.source) " " span.phase { (phase) }
                                }
                                @if !node.unresolved.is_empty() {
                                    span.warning { " nobody offers " (node.unresolved.join(", ")) }
                                }
                                " "
                            }
                        }
                    }
                }
            }
        }
    };
    Ok(page("Build order", &web.farm_name(), body))
}
