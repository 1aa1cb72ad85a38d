//! The pages. Each says what it shows, also when that is nothing.
//!
//! Elements with `data-live` are exchanged for their newest version by the script when news arrive; the pages are
//! complete without it.

use axum::extract::State;
use axum::response::Html;
use farm::ids::AttemptId;
use farm::task::Phase;
use fault::Fault;
use maud::{DOCTYPE, Markup, html};

use super::Web;
use super::api::{self, MaybeId, MaybeQuery};
use super::error::{PageError, WebError};
use super::picture;
use super::view::{AttemptView, BuilderView, ProjectView, StatusView, TaskPageView, TaskView};
use crate::logs::{READ_SIZE_BYTES_MAX, plain_text, whole_lines};
use crate::store::{Outcome, UnreadableRow};

/// Tasks in each list of the overview.
const OVERVIEW_ROWS: u64 = 12;

type Page = Result<Html<String>, PageError>;

pub(crate) async fn overview(State(web): State<Web>) -> Page {
    let status = web.status().await?;
    let names = web.names().await?;
    let running = web.tasks_in(&[Phase::Leased, Phase::Building, Phase::Publishing], &names).await?;
    let mut queued = web.tasks_in(&[Phase::Ready, Phase::Waiting], &names).await?;
    let queued_total = queued.len();
    queued.truncate(usize::try_from(OVERVIEW_ROWS).unwrap_or(usize::MAX));
    let stuck = web.tasks_in(&[Phase::Failed, Phase::Blocked], &names).await?;
    let recent = web.task_list(Some(Phase::Published), None, 1, OVERVIEW_ROWS).await?.tasks;
    let builders = web.builder_list().await?;
    let recipes = web.recipe_summary(None).await?;
    let body = html! {
        div #summary data-live { (summary(&status)) }
        div #running data-live {
            h2 { "Running" }
            (task_table(&running, status.now_ms, "Nothing is being built."))
        }
        div #stuck data-live {
            @if !stuck.is_empty() {
                h2 { "Needs somebody" }
                (task_table(&stuck, status.now_ms, ""))
            }
        }
        div #queued data-live {
            h2 { "Next" @if queued_total > queued.len() { small { " " (queued.len()) " of " (queued_total) } } }
            (task_table(&queued, status.now_ms, "Nothing waits to be built."))
        }
        div #unreadable data-live { (unreadable(&recipes.unreadable)) }
        div #builders data-live {
            h2 { "Builders" }
            (builder_cards(&builders, status.now_ms))
        }
        div #recent data-live {
            h2 { "Published" }
            (task_table(&recent, status.now_ms, "Nothing has been published yet."))
        }
    };
    Ok(page("Overview", &web.farm_name(), body))
}

pub(crate) async fn tasks(State(web): State<Web>, list: MaybeQuery) -> Page {
    let query = api::query(list)?;
    let (phase, page_number, per_page) = query.read()?;
    let project = query.project();
    let status = web.status().await?;
    let counts = web.count_list(project).await?;
    let list = web.task_list(phase, project, page_number, per_page).await?;
    let pages = list.total.div_ceil(per_page).max(1);
    let keyword = phase.map_or("all", Phase::keyword);
    let of_project = project.map(|name| format!("&project={}", in_address(name))).unwrap_or_default();
    let link = |page: u64| format!("/tasks?phase={keyword}{of_project}&page={page}&per_page={per_page}");
    let total: u64 = counts.iter().map(|count| count.tasks).sum();
    let body = html! {
        h1 { "Tasks" }
        nav.filter #filter data-live aria-label="phase" {
            a href=(format!("/tasks?phase=all{of_project}")) aria-current=[(phase.is_none()).then_some("page")] { "all " span.count { (total) } }
            @for count in &counts {
                a href=(format!("/tasks?phase={}{of_project}", count.phase)) aria-current=[(phase == Some(count.phase)).then_some("page")] {
                    (count.phase) " " span.count { (count.tasks) }
                }
            }
        }
        @if status.projects.len() > 1 {
            nav.filter #projects data-live aria-label="project" {
                a href=(format!("/tasks?phase={keyword}")) aria-current=[project.is_none().then_some("page")] { "every project" }
                @for other in &status.projects {
                    a href=(format!("/tasks?phase={keyword}&project={}", in_address(&other.name))) aria-current=[(project == Some(other.name.as_str())).then_some("page")] {
                        (other.name) " " span.count { (other.open) }
                    }
                }
            }
        }
        div #list data-live {
            (task_table(&list.tasks, status.now_ms, match phase {
                None => "There are no tasks: everything in the recipes has been published.",
                Some(_) => "No task is in this state.",
            }))
        }
        nav.paging aria-label="pages" {
            @if page_number > 1 { a href=(link(page_number - 1)) rel="prev" { "← newer" } }
            span { "page " (page_number) " of " (pages) }
            @if page_number < pages { a href=(link(page_number + 1)) rel="next" { "older →" } }
        }
    };
    Ok(page("Tasks", &web.farm_name(), body))
}

pub(crate) async fn task(State(web): State<Web>, id: MaybeId) -> Page {
    let id = api::task_id(id)?;
    let view = web.task_page(id).await?;
    let task = &view.task;
    let now = web.hub.clock.now().0;
    let log = match view.attempts.last() {
        Some(attempt) => Some(log_panel(&web, &view, attempt).await?),
        None => None,
    };
    let body = html! {
        div #head data-live {
            h1 { (task.source) " " small { (task.version) "-" (task.release) } " " (badge(task.phase)) }
            p.lead { (detail(task)) }
            (actions(task))
        }
        div #why data-live {
            p { (view.why.headline) }
            ul {
                @for because in &view.why.because {
                    li {
                        @match because.task {
                            Some(task) => a href=(format!("/tasks/{task}")) { (because.text) },
                            None => (because.text),
                        }
                    }
                }
            }
            p.hint { "Next: " (view.why.next_step) }
        }
        div #facts data-live { (facts(&view, now)) }
        div #attempts data-live {
            h2 { "Attempts" }
            @if view.attempts.is_empty() { p.empty { "It was not handed out yet." } }
            @else { (attempts(&view.attempts, now)) }
        }
        @match log {
            Some(panel) => (panel),
            None => { h2 { "Log" } p.empty { "A log begins when a builder does." } }
        }
        div #history data-live {
            h2 { "What happened" }
            ol.events {
                @for event in &view.events {
                    li { (time(event.at_ms)) " " span.verb { (event.verb) } " → " (badge(event.phase)) }
                }
            }
            @if view.events.is_empty() { p.empty { "Nothing yet." } }
        }
    };
    Ok(page(&format!("{} – task {id}", task.source), &web.farm_name(), body))
}

pub(crate) async fn builders(State(web): State<Web>) -> Page {
    let builders = web.builder_list().await?;
    let now = web.hub.clock.now().0;
    let body = html! {
        h1 { "Builders" }
        div #builders data-live { (builder_cards(&builders, now)) }
        p.hint { "Add one with " code { "summit builder add NAME PUBLIC_KEY --data DIR" } ", while Summit runs." }
    };
    Ok(page("Builders", &web.farm_name(), body))
}

pub(crate) async fn queue(State(web): State<Web>, list: MaybeQuery) -> Page {
    let query = api::query(list)?;
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

/// A page that says why there is no page.
pub(crate) fn error(error: &WebError) -> Markup {
    let chain = fault::chain(error);
    let body = html! {
        h1 { "That did not work" }
        @for (number, message) in chain.iter().enumerate() {
            p.lead { @if number > 0 { "because: " } (message) }
        }
        @for hint in error.hints() { p.hint { (hint) } }
        p { a href="/" { "Back to the overview" } }
    };
    frame("Error", "Summit", &body)
}

fn page(title: &str, project: &str, body: Markup) -> Html<String> {
    Html(frame(title, project, &body).into_string())
}

fn frame(title: &str, project: &str, body: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " · " (project) }
                link rel="icon" href="/icon.svg" type="image/svg+xml";
                link rel="stylesheet" href="/style.css";
                script src="/script.js" defer {}
            }
            body {
                header {
                    a.home href="/" { img src="/icon.svg" alt="" width="24" height="24"; (project) }
                    nav aria-label="pages" {
                        a href="/" { "Overview" }
                        a href="/tasks" { "Tasks" }
                        a href="/queue" { "Order" }
                        a href="/builders" { "Builders" }
                    }
                    span #live role="status" title="whether this page is kept up to date" {}
                }
                main { (body) }
                footer { "Summit " (env!("CARGO_PKG_VERSION")) " · " a href="/api/status" { "JSON" } }
            }
        }
    }
}

fn summary(status: &StatusView) -> Markup {
    let count = |wanted: &[Phase]| -> u64 {
        status.counts.iter().filter(|count| wanted.contains(&count.phase)).map(|count| count.tasks).sum()
    };
    let tiles: [(&str, u64, &str, &str); 5] = [
        (
            "building",
            count(&[Phase::Leased, Phase::Building, Phase::Publishing]),
            "building",
            "/tasks?phase=building",
        ),
        ("queued", count(&[Phase::Ready, Phase::Waiting]), "waiting", "/tasks?phase=waiting"),
        ("blocked", status.blocked, "blocked", "/tasks?phase=blocked"),
        ("failed", count(&[Phase::Failed]), "failed", "/tasks?phase=failed"),
        ("published", count(&[Phase::Published]), "published", "/tasks?phase=published"),
    ];
    let done = count(&[Phase::Published]);
    let total = done + status.open + count(&[Phase::Failed, Phase::Cancelled]);
    html! {
        @if let Some(trouble) = &status.trouble {
            @for line in trouble.lines() { p.warning role="alert" { (line) } }
        }
        @if !status.waiting_for_restart.is_empty() {
            p.hint { "Takes effect at the next start: " (status.waiting_for_restart.join(", ")) }
        }
        div.tiles {
            @for (name, number, class, link) in tiles {
                a class=(if number == 0 { "tile none" } else { class_of_tile(class) }) href=(link) {
                    strong { (number) } " " span { (name) }
                }
            }
        }
        @if total > 0 {
            progress max=(total) value=(done) aria-label="published" { (done) " of " (total) }
        }
        p.meta {
            (status.recipes) " recipes"
            @if status.unreadable > 0 { ", " (status.unreadable) " unreadable" }
            @match &status.commit {
                Some(commit) => { " at " code title=(commit) { (commit.get(..10).unwrap_or(commit)) } " of " (status.branch) }
                None => { " · the recipes were not read yet" }
            }
            " · "
            @match &status.history {
                Some(history) => { (status.published_packages) " packages in history " code { (history) } }
                None => { "nothing published yet" }
            }
            @if let Some(looked) = status.looked_ms { " · looked " (time(looked)) }
        }
        @if status.projects.len() > 1 { (projects(&status.projects)) }
    }
}

fn projects(projects: &[ProjectView]) -> Markup {
    html! {
        table {
            thead { tr { th { "Project" } th { "Channel" } th.wide { "Recipes" } th.right { "Open" } th.right { "Failed" } } }
            tbody {
                @for project in projects {
                    tr {
                        td { a href=(format!("/tasks?project={}", in_address(&project.name))) { (project.name) } }
                        td { (project.channel) }
                        td.wide {
                            @for (number, arena) in project.architectures.iter().enumerate() {
                                @if number > 0 { " · " }
                                (arena.architecture) ": "
                                @match &arena.commit {
                                    Some(commit) => { (arena.recipes) " at " code title=(commit) { (commit.get(..10).unwrap_or(commit)) } " of " (project.branch) }
                                    None => "not read yet",
                                }
                            }
                        }
                        td.right { (project.open) }
                        td.right { (project.failed) }
                    }
                }
            }
        }
    }
}

/// A name or an architecture as a part of an address. Names of projects need nothing; what somebody typed may.
fn in_address(name: &str) -> String {
    let keep = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    name.bytes()
        .map(|byte| if keep(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

fn class_of_tile(phase: &str) -> &'static str {
    match phase {
        "building" => "tile building",
        "waiting" => "tile waiting",
        "blocked" => "tile blocked",
        "failed" => "tile failed",
        _ => "tile published",
    }
}

fn task_table(tasks: &[TaskView], now_ms: u64, empty: &str) -> Markup {
    if tasks.is_empty() {
        return html! { p.empty { (empty) } };
    }
    let place = |task: &TaskView| (task.project.clone(), task.architecture.clone());
    let with_project = tasks.iter().any(|task| place(task) != place(&tasks[0]));
    html! {
        table.tasks {
            thead { tr { th { "Recipe" } th { "State" } th.wide { "What" } th.right { "Time" } } }
            tbody {
                @for task in tasks {
                    tr {
                        td {
                            a href=(format!("/tasks/{}", task.id)) { (task.source) } " " small { (task.version) "-" (task.release) }
                            @if with_project { " " small.project { (task.project) " " (task.architecture) } }
                        }
                        td { (badge(task.phase)) }
                        td.wide { (detail(task)) }
                        td.right {
                            @match task.running_since_ms {
                                Some(since) => (elapsed(since, now_ms)),
                                None => (time(task.updated_ms)),
                            }
                        }
                    }
                }
            }
        }
    }
}

/// What a task does, with links to the tasks that it names.
fn detail(task: &TaskView) -> Markup {
    html! {
        @if !task.waits_for.is_empty() {
            "waits for "
            @for (number, link) in task.waits_for.iter().enumerate() {
                @if number > 0 { ", " }
                a href=(format!("/tasks/{}", link.task)) { (link.source) }
            }
        } @else if !task.blocked_by.is_empty() {
            "blocked by "
            @for (number, blocker) in task.blocked_by.iter().enumerate() {
                @if number > 0 { "; " }
                a href=[blocker.task.map(|task| format!("/tasks/{task}"))] { (blocker.text) }
            }
        } @else { (task.detail) }
    }
}

fn actions(task: &TaskView) -> Markup {
    let retry = matches!(task.phase, Phase::Failed | Phase::Cancelled);
    let cancel = task.phase.is_open() && task.phase != Phase::Publishing;
    html! {
        @if retry || cancel {
            p.actions {
                @if retry { button type="button" data-post=(format!("/api/tasks/{}/retry", task.id)) { "Try again" } }
                @if cancel { button.quiet type="button" data-post=(format!("/api/tasks/{}/cancel", task.id)) { "Cancel" } }
                span.answer role="status" {}
            }
        }
    }
}

fn facts(view: &TaskPageView, now_ms: u64) -> Markup {
    let task = &view.task;
    html! {
        dl.facts {
            div { dt { "Project" } dd { (task.project) ", published to channel " (task.channel) } }
            div { dt { "Why" } dd { (task.reason) } }
            div { dt { "Recipe" } dd { code { (task.recipe) } " at " code title=(task.commit) { (task.commit.get(..10).unwrap_or(&task.commit)) } } }
            div { dt { "For" } dd { (task.architecture) ", build release " (task.build_release) } }
            div { dt { "Made" } dd { (time(task.created_ms)) } }
            @if let Some(builder) = &task.builder { div { dt { "Builder" } dd { (builder) } } }
            @if let Some(since) = task.running_since_ms { div { dt { "Running" } dd { (elapsed(since, now_ms)) } } }
            @if let Some(failure) = &task.failure {
                div.failure { dt { "Failure" } dd { strong { (failure.class) } @if !failure.during.is_empty() { " in " (failure.during) } ": " (failure.message) } }
            }
            @if let Some(history) = &task.history { div { dt { "Published in" } dd { "history " code { (history) } } } }
            @if !view.needed_by.is_empty() {
                div { dt { "Needed by" } dd {
                    @for (number, link) in view.needed_by.iter().enumerate() {
                        @if number > 0 { ", " }
                        a href=(format!("/tasks/{}", link.task)) { (link.source) }
                    }
                } }
            }
        }
    }
}

fn attempts(attempts: &[AttemptView], now_ms: u64) -> Markup {
    html! {
        table {
            thead { tr { th { "Attempt" } th { "Builder" } th.wide { "End" } th { "Log" } th.right { "Memory" } th.right { "Time" } } }
            tbody {
                @for attempt in attempts {
                    tr {
                        td title=(attempt.why) { (attempt.number) }
                        td { (attempt.builder) }
                        td.wide { (outcome(attempt)) }
                        td { a href=(attempt.log_url) { (size(attempt.log_size_bytes)) } @if attempt.log_full { " (cut at its limit)" } }
                        td.right title="at the peak of the build" {
                            @if attempt.peak_memory_bytes > 0 { (size(attempt.peak_memory_bytes)) }
                        }
                        td.right {
                            @let begin = attempt.started_ms.unwrap_or(attempt.assigned_ms);
                            @match attempt.ended_ms {
                                Some(end) => { (duration(end.saturating_sub(begin))) }
                                None => (elapsed(begin, now_ms)),
                            }
                        }
                    }
                }
            }
        }
    }
}

fn outcome(attempt: &AttemptView) -> Markup {
    html! {
        @match &attempt.outcome {
            None if attempt.built_ms.is_some() => "built, is being published",
            None if attempt.started_ms.is_some() => "is being built",
            None => "ordered",
            Some(Outcome::Published { history }) => { "published in history " code { (history) } },
            Some(Outcome::Failed { class, message, during }) => {
                strong { (class) } @if !during.is_empty() { " in " (during) } ": " (message)
            },
            Some(Outcome::Stopped { why }) => (why),
        }
    }
}

/// The end of the newest log; the script goes on from there.
async fn log_panel(web: &Web, view: &TaskPageView, attempt: &AttemptView) -> Result<Markup, WebError> {
    let size_bytes = attempt.log_size_bytes;
    let piece = READ_SIZE_BYTES_MAX as u64;
    let begin = size_bytes.saturating_sub(piece);
    let bytes = web.hub.logs.read(view.task.id, AttemptId(attempt.id), begin).await?;
    // What is cut off at the front begins in the middle of a line.
    let front = match begin {
        0 => 0,
        _ => bytes.iter().position(|&byte| byte == b'\n').map_or(0, |end| end + 1),
    };
    let shown = whole_lines(bytes.get(front..).unwrap_or_default(), attempt.ended_ms.is_some());
    let offset = begin + front as u64 + shown.len() as u64;
    Ok(html! {
        h2 { "Log of attempt " (attempt.number) " " small { a href=(attempt.log_url) { "whole log" } } }
        @if begin > 0 { p.hint { "The last " (size(piece)) " of " (size(size_bytes)) "." } }
        pre.log #log tabindex="0" data-attempt=(attempt.id) data-stream=(format!("{}/stream", attempt.log_url)) data-offset=(offset) {
            (plain_text(shown))
        }
        p.empty #log-state { @if size_bytes == 0 { "The builder has not said anything yet." } }
    })
}

fn unreadable(files: &[UnreadableRow]) -> Markup {
    let with_project = files.iter().any(|file| file.project != files[0].project);
    html! {
        @if !files.is_empty() {
            h2 { "Unreadable recipes" }
            table {
                thead { tr { th { "File" } th.wide { "Problem" } } }
                tbody {
                    @for file in files {
                        tr.failure {
                            td { @if with_project { (file.project) ": " } code { (file.path) @if file.line > 0 { ":" (file.line) @if file.column > 0 { ":" (file.column) } } } }
                            td.wide { @for line in file.message.lines() { div { (line) } } }
                        }
                    }
                }
            }
        }
    }
}

fn builder_cards(builders: &[BuilderView], now_ms: u64) -> Markup {
    if builders.is_empty() {
        return html! { p.empty { "No builder may attach yet: add one with " code { "summit builder add NAME PUBLIC_KEY --data DIR" } "." } };
    }
    html! {
        div.cards {
            @for builder in builders {
                section.card {
                    h3 {
                        (builder.name) " "
                        @if builder.drained { span.badge.blocked { "drained" } }
                        @else if builder.rests_until_ms.is_some() { span.badge.failed { "set aside" } }
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
                    @if let Some(fault) = &builder.fault { p { "last fault: " (fault) } }
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

fn badge(phase: Phase) -> Markup {
    html! { span class=(format!("badge {phase}")) { (phase) } }
}

/// A point in time. The script says how long ago it was, in the reader's own time zone.
fn time(at_ms: u64) -> Markup {
    html! { time data-ms=(at_ms) { (utc(at_ms)) } }
}

/// Time that goes on. The script counts.
fn elapsed(since_ms: u64, now_ms: u64) -> Markup {
    html! { span.elapsed data-since=(since_ms) { (duration(now_ms.saturating_sub(since_ms))) } }
}

/// `1 h 02 min`, `3 min 20 s`, `12 s`.
fn duration(milliseconds: u64) -> String {
    let seconds = milliseconds / 1000;
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds} s"),
        (0, minutes, seconds) => format!("{minutes} min {seconds:02} s"),
        (hours, minutes, _) => format!("{hours} h {minutes:02} min"),
    }
}

/// `2026-07-01 12:34 UTC`. Civil date from days since 1970, by the shift to years that begin in March.
fn utc(at_ms: u64) -> String {
    let minutes = at_ms / 60_000;
    let days = minutes / 1440 + 719_468;
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02} UTC", minutes / 60 % 24, minutes % 60)
}

/// `512 B`, `1.5 KiB`, `31.2 GiB`.
fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut unit = 0;
    let mut tenths = u128::from(bytes) * 10;
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        tenths /= 1024;
        unit += 1;
    }
    match unit {
        0 => format!("{bytes} B"),
        _ => format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_sizes_for_people() {
        for (milliseconds, expect) in
            [(0, "0 s"), (59_999, "59 s"), (200_000, "3 min 20 s"), (3_720_000, "1 h 02 min")]
        {
            assert_eq!(duration(milliseconds), expect);
        }
        for (at_ms, expect) in [
            (0, "1970-01-01 00:00 UTC"),
            (951_782_400_000, "2000-02-29 00:00 UTC"),
            (1_709_251_199_000, "2024-02-29 23:59 UTC"),
            (4_102_444_800_000, "2100-01-01 00:00 UTC"),
        ] {
            assert_eq!(utc(at_ms), expect);
        }
        for (bytes, expect) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1536, "1.5 KiB"),
            (33 << 30, "33.0 GiB"),
            (u64::MAX, "16777215.9 TiB"),
        ] {
            assert_eq!(size(bytes), expect);
        }
    }
}
