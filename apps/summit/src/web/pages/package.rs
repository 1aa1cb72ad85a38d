//! A recipe over time: what is published of it, what it needs and who needs it, how its builds went.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect, Response};
use maud::{Markup, html};

use super::figures::{about, badge, duration, in_address, size, time};
use super::{Entry, Reader, forge};
use crate::store::Outcome;
use crate::web::Web;
use crate::web::error::{PageError, WebError};
use crate::web::view::{
    DurationsQuery, InputsView, OutputView, PackagePlaceView, PackageView, SourceBuildView,
};

/// Where the page of a recipe is.
pub(super) fn address(source: &str) -> String {
    format!("/packages/{}", in_address(source))
}

pub(crate) async fn package(
    State(web): State<Web>,
    reader: Reader,
    name: Result<Path<String>, PathRejection>,
) -> Result<Response, PageError> {
    let Path(name) =
        name.map_err(|error| WebError::BadRequest { what: "the package", why: error.body_text() })?;
    let view = match web.package_view(&name).await {
        Ok(view) => view,
        // A package is found by its own name as well as by that of its recipe.
        Err(error) => {
            return match web.source_of_package(&name).filter(|source| *source != name) {
                Some(source) => Ok(Redirect::to(&address(&source)).into_response()),
                None => Err(error.into()),
            };
        }
    };
    let query = DurationsQuery { source: view.source.clone(), project: None, arch: None };
    let durations = web.durations(&query).await?;
    let body = html! {
        div #head data-live {
            h1 { (view.source) }
            @for place in &view.places { (place_markup(place, view.places.len() > 1)) }
        }
        div #builds data-live {
            h2 { "Builds" @if view.builds.len() >= 100 { " " small { "the last hundred" } } }
            @if view.builds.is_empty() { p.empty { "It was not built yet." } }
            @else {
                (super::pictures::durations_svg(&durations))
                (builds(&view, &web))
            }
        }
        div #lineage data-live {
            @for place in &view.places {
                div.two {
                    section {
                        h2 { "Built with" @if view.places.len() > 1 { " " small { (place.architecture) } } }
                        (inputs(&place.inputs))
                    }
                    section {
                        h2 { "Needed by " small { (place.needed_by.len()) } }
                        @if place.needed_by.is_empty() { p.empty { "No recipe is built with it." } }
                        @else { ul.chips { @for user in &place.needed_by { li { a href=(address(user)) { (user) } } } } }
                    }
                }
            }
        }
    };
    let twin = format!("/api{}", address(&view.source));
    Ok(reader.page(&view.source, Entry::Tasks, twin, body).into_response())
}

fn place_markup(place: &PackagePlaceView, is_one_of_many: bool) -> Markup {
    html! {
        dl.facts {
            @if is_one_of_many { div { dt { "Where" } dd { (place.project) ", " (place.architecture) ", channel " (place.channel) } } }
            div { dt { "Recipe" } dd { @match &place.recipe {
                Some(path) => { @if let (Some(version), Some(release)) = (&place.version, place.release) { (version) "-" (release) " · " } code { (path) } },
                None => "is not in the recipes any more",
            } } }
            div { dt { "Now" } dd { @match (place.task, place.phase) {
                (Some(task), Some(phase)) => { a href=(format!("/tasks/{task}")) { "task " (task) } " " (badge(phase)) },
                _ => "has no task",
            } } }
            div { dt { "A build takes" } dd { @match place.expected_ms { Some(expected) => { "about " (about(expected)) }, None => "not known yet" } } }
            div.whole-row { dt { "Published in channel " (place.channel) } dd { (outputs(&place.outputs)) } }
        }
    }
}

/// Packages that are published.
pub(super) fn outputs(outputs: &[OutputView]) -> Markup {
    html! {
        @if outputs.is_empty() { "nothing yet" } @else {
            ul.chips { @for output in outputs {
                li { (output.name) " " small { (output.version) "-" (output.release) "-" (output.build_release) ", " (size(output.download_size_bytes)) } }
            } }
        }
    }
}

/// What goes into a build.
pub(super) fn inputs(inputs: &InputsView) -> Markup {
    let is_empty = inputs.recipes.is_empty()
        && inputs.from_repository.is_empty()
        && inputs.from_host.is_empty()
        && inputs.unresolved.is_empty();
    html! {
        @if is_empty { p.empty { "It needs no other recipe." } }
        @if !inputs.recipes.is_empty() {
            ul.chips { @for needed in &inputs.recipes { li title=(needed.because.join(", ")) { a href=(address(&needed.source)) { (needed.source) } } } }
        }
        @for (what, texts) in [("from the repository", &inputs.from_repository), ("from the host", &inputs.from_host)] {
            @if !texts.is_empty() { p.meta { (what) ": " (texts.join(", ")) } }
        }
        @if !inputs.unresolved.is_empty() { p.warning { "nobody offers " (inputs.unresolved.join(", ")) } }
    }
}

fn builds(view: &PackageView, web: &Web) -> Markup {
    let config = web.hub.config();
    let recipes =
        |project: &str| config.project(project).map(|project| project.recipes.clone()).unwrap_or_default();
    html! {
        div.table { table {
            thead { tr { th { "Version" } th { "Builder" } th.wide { "End" } th { "Commit" } th.right { "Time" } th.right { "When" } } }
            tbody {
                @for build in &view.builds {
                    tr {
                        td.name { a href=(build.log_page_url) { (build.version) "-" (build.release) "-" (build.build_release) }
                            @if view.places.len() > 1 { " " small { (build.project) " " (build.architecture) } } }
                        td { (build.builder) }
                        td.wide { (end(build)) }
                        td { (forge::commit(&recipes(&build.project), &build.commit)) }
                        td.right { @if let Some(length) = build.duration_ms { (duration(length)) } }
                        td.right { (time(build.assigned_ms)) }
                    }
                }
            }
        } }
    }
}

fn end(build: &SourceBuildView) -> Markup {
    html! {
        @match &build.outcome {
            None => "is being built",
            Some(Outcome::Published { history }) => { "published in history " code { (history) } },
            Some(Outcome::Failed { class, message, during }) => {
                strong { (class) } @if !during.is_empty() { " in " (during) } ": " (message)
            },
            Some(Outcome::Stopped { why }) => (why),
        }
    }
}
