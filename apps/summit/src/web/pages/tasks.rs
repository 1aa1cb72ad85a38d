//! Lists of tasks: to search, to filter, to sort, page by page.

use axum::extract::State;
use farm::task::Phase;
use maud::{Markup, html};

use super::figures::{badge, in_address, progress, time};
use super::{Entry, Page, Reader};
use crate::store::TaskOrder;
use crate::web::Web;
use crate::web::api::{Asked, ListQuery, asked};
use crate::web::view::TaskView;

/// What is shown, to be put into addresses with one thing changed.
#[derive(Clone)]
struct Choice {
    phase: Option<Phase>,
    project: Option<String>,
    text: String,
    order: TaskOrder,
    page: u64,
    per_page: u64,
}

impl Choice {
    /// What stands behind `?`. Whatever is as it is anyhow is left out, so that equal lists have equal addresses.
    fn query(&self) -> String {
        let mut pairs = vec![format!("phase={}", self.phase.map_or("all", Phase::keyword))];
        if let Some(project) = &self.project {
            pairs.push(format!("project={}", in_address(project)));
        }
        if !self.text.is_empty() {
            pairs.push(format!("q={}", in_address(&self.text)));
        }
        if self.order != TaskOrder::default() {
            pairs.push(format!("sort={}", self.order.keyword()));
        }
        if self.page > 1 {
            pairs.push(format!("page={}", self.page));
        }
        if self.per_page != crate::web::api::PER_PAGE {
            pairs.push(format!("per_page={}", self.per_page));
        }
        pairs.join("&")
    }

    /// The address with something changed, from its first page on.
    fn with(&self, change: impl FnOnce(&mut Self)) -> String {
        let mut changed = Self { page: 1, ..self.clone() };
        change(&mut changed);
        format!("/tasks?{}", changed.query())
    }
}

pub(crate) async fn tasks(State(web): State<Web>, reader: Reader, list: Asked<ListQuery>) -> Page {
    let query = asked(list)?;
    let (filter, page_number, per_page) = query.read()?;
    let status = web.status().await?;
    let counts = web.count_list(filter.project.as_deref()).await?;
    let list = web.task_list(&filter, page_number, per_page).await?;
    let choice = Choice {
        phase: filter.phase,
        project: filter.project.clone(),
        text: filter.text.clone(),
        order: filter.order,
        page: page_number,
        per_page,
    };
    let pages = list.total.div_ceil(per_page).max(1);
    let total: u64 = counts.iter().map(|count| count.tasks).sum();
    let body = html! {
        h1 { "Tasks" }
        (search(&choice))
        nav.filter #filter data-live aria-label="phase" {
            a href=(choice.with(|other| other.phase = None)) aria-current=[choice.phase.is_none().then_some("page")] { "all " span.count { (total) } }
            @for count in &counts {
                @let class = if count.tasks == 0 { "zero" } else { "" };
                a class=(class) href=(choice.with(|other| other.phase = Some(count.phase))) aria-current=[(choice.phase == Some(count.phase)).then_some("page")] {
                    (count.phase) " " span.count { (count.tasks) }
                }
            }
        }
        @if status.projects.len() > 1 {
            nav.filter #projects data-live aria-label="project" {
                a href=(choice.with(|other| other.project = None)) aria-current=[choice.project.is_none().then_some("page")] { "every project" }
                @for other in &status.projects {
                    a href=(choice.with(|choice| choice.project = Some(other.name.clone()))) aria-current=[(choice.project.as_ref() == Some(&other.name)).then_some("page")] {
                        (other.name) " " span.count { (other.open) }
                    }
                }
            }
        }
        div #list data-live {
            @if !choice.text.is_empty() { p.meta { (list.total) " found" } }
            (table(&list.tasks, status.now_ms, Some(&choice), match (choice.phase, choice.text.is_empty()) {
                (_, false) => "No task of that name is here.",
                (None, _) => "There are no tasks: everything in the recipes has been published.",
                (Some(_), _) => "No task is in this state.",
            }))
        }
        nav.paging aria-label="pages" {
            @if page_number > 1 { a href=(choice.with(|other| other.page = page_number - 1)) rel="prev" { "← before" } }
            span { "page " (page_number) " of " (pages) }
            @if page_number < pages { a href=(choice.with(|other| other.page = page_number + 1)) rel="next" { "after →" } }
        }
    };
    Ok(reader.page("Tasks", Entry::Tasks, format!("/api/tasks?{}", choice.query()), body))
}

fn search(choice: &Choice) -> Markup {
    html! {
        form.searchbar method="get" action="/tasks" role="search" {
            input type="hidden" name="phase" value=(choice.phase.map_or("all", Phase::keyword));
            @if let Some(project) = &choice.project { input type="hidden" name="project" value=(project); }
            label.wide { "Recipe" input type="search" name="q" value=(choice.text) maxlength="200" placeholder="a part of its name"; }
            label { "Sorted by" select name="sort" data-submit {
                @for order in TaskOrder::ALL {
                    option value=(order.keyword()) selected[order == choice.order] { (order.words()) }
                }
            } }
            button type="submit" { "Show" }
        }
    }
}

pub(super) fn task_table(tasks: &[TaskView], now_ms: u64, empty: &str) -> Markup {
    table(tasks, now_ms, None, empty)
}

/// A table whose head leads to other orders where there is a choice.
fn table(tasks: &[TaskView], now_ms: u64, choice: Option<&Choice>, empty: &str) -> Markup {
    if tasks.is_empty() {
        return html! { p.empty { (empty) } };
    }
    let place = |task: &TaskView| (task.project.clone(), task.architecture.clone());
    let with_project = tasks.iter().any(|task| place(task) != place(&tasks[0]));
    let head = |name: &str, order: TaskOrder| {
        html! { @match choice {
            Some(choice) if choice.order != order => a href=(choice.with(|other| other.order = order)) { (name) },
            _ => (name),
        } }
    };
    html! {
        div.table { table.tasks {
            thead { tr { th { (head("Recipe", TaskOrder::Name)) } th { "State" } th.wide { "What" } th.right { (head("Time", TaskOrder::Changed)) } } }
            tbody {
                @for task in tasks {
                    tr {
                        td.name {
                            a href=(format!("/tasks/{}", task.id)) { (task.source) } " " small { (task.version) "-" (task.release) }
                            @if with_project { " " small.project { (task.project) " " (task.architecture) } }
                        }
                        td.state { (badge(task.phase)) }
                        td.wide { (detail(task)) }
                        td class=(format!("right {}", task.phase)) {
                            @match task.running_since_ms {
                                Some(_) => (progress(task, now_ms)),
                                None => (time(task.updated_ms)),
                            }
                        }
                    }
                }
            }
        } }
    }
}

/// Names in a list up to which all are shown.
const NAMES_MAX: usize = 6;

/// What a task does, with links to the tasks that it names.
pub(super) fn detail(task: &TaskView) -> Markup {
    html! {
        @if !task.waits_for.is_empty() {
            "waits for "
            @for (number, link) in task.waits_for.iter().take(NAMES_MAX).enumerate() {
                @if number > 0 { ", " }
                a href=(format!("/tasks/{}", link.task)) { (link.source) }
            }
            @if task.waits_for.len() > NAMES_MAX { " and " (task.waits_for.len() - NAMES_MAX) " more" }
        } @else if !task.blocked_by.is_empty() {
            "blocked by "
            @for (number, blocker) in task.blocked_by.iter().take(NAMES_MAX).enumerate() {
                @if number > 0 { "; " }
                @match blocker.task {
                    Some(task) => a href=(format!("/tasks/{task}")) { (blocker.source.as_ref().unwrap_or(&blocker.text)) },
                    None => (blocker.text),
                }
            }
            @if task.blocked_by.len() > NAMES_MAX { " and " (task.blocked_by.len() - NAMES_MAX) " more" }
        } @else { (task.detail) }
    }
}
