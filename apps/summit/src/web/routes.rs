//! Every address that Summit answers at, in two tables: operations of the API, and pages.
//!
//! The router, the access check of every request and `/api/openapi.json` are all made of [`operations`], so that none can
//! say something else than the others. To add an operation:
//!
//! 1. write the handler in `web/api/NAME.rs`: an axum handler with `State(web): State<Web>` that gives
//!    `Result<Json<View>, WebError>`; whoever asks is in `Extension(actor): Extension<Actor>`;
//! 2. derive `schemars::JsonSchema` on what it takes and gives (doc comments become descriptions; `asked` and `told` turn
//!    rejected queries and bodies into errors, and `#[serde(deny_unknown_fields)]` on bodies names mistakes);
//! 3. if it changes something, call `web.hub.audit(&actor, Action::…, "task 7 (nano)", "what became of it").await` after it did;
//! 4. add a line to [`operations`]: `get|post|delete(path, id, summary, Action::…, handler)`, then what applies of
//!    `.query::<Q>()`, `.takes::<B>("{an example}")`, `.gives::<View>()`. The action decides who may: `domain/access`;
//! 5. a new name in braces in a path gets a line in `openapi::path_parameter`; then bring
//!    `docs/openapi.json` up to date: `cargo run -p summit -- openapi > docs/openapi.json`.

use axum::Router;
use axum::http::header;
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{self, MethodRouter};

use access::Action;
use farm::rebuild::{RebuildPlan, RebuildRequest};

use super::api::builders::{BuilderPageView, EnrolmentView, NewBuilder, NewEnrolment, RemovedView};
use super::api::channels::{Promotion, Rollback};
use super::api::hooks::{ForgeView, PushView, WebhookListView};
use super::api::logs::{KeptLogsView, PieceQuery, PieceView};
use super::api::queue::{PauseView, QueueNowView};
use super::api::tasks::{Reason, Urgency};
use super::api::tokens::{NewTokenView, TokenListView, TokenRequest};
use super::api::{ArenaQuery, AuditQuery, ListQuery, ProjectQuery};
use super::check::check;
use super::health::HealthView;
use super::operation::{Operation, delete, get, post};
use super::search::SearchQuery;
use super::session::WhoView;
use super::view::{
    BuilderListView, BuilderView, ChannelListView, DiffQuery, DurationsQuery, DurationsView, GraphView,
    MapQuery, MapView, NeighboursView, PackageView, ProjectListView, QueueView, SignsView, StatusView,
    TaskListView, TaskPageView, TimelineQuery, TimelineView,
};
use super::why::WhyView;
use super::{Web, api, health, live, log_file, openapi, pages, rebuild, session, why};
use crate::channels::{DiffReport, MovedReport};
use crate::store::{AuditPage, BuilderChange, RecipeSummary, TokenRow};
use crate::watcher::LookReport;

/// Every operation of the API.
pub(crate) fn operations() -> Vec<Operation> {
    vec![
        get("/api/status", "status", "How the farm is", Action::Look, api::status).gives::<StatusView>(),
        get("/api/tasks", "list_tasks", "Tasks, the newest first", Action::Look, api::tasks)
            .query::<ListQuery>()
            .gives::<TaskListView>(),
        get("/api/tasks/{id}", "show_task", "One task with its attempts and events", Action::Look, api::task)
            .gives::<TaskPageView>(),
        get(
            "/api/tasks/{id}/why",
            "why",
            "Where a task stands, what is behind it, and what the next step is",
            Action::Look,
            why::why,
        )
        .gives::<WhyView>(),
        post("/api/tasks/{id}/retry", "retry_task", "Try a task again", Action::RetryTask, api::tasks::retry)
            .described("Gives the task as it is afterwards. Refused with 409 unless it failed or was cancelled.")
            .gives::<TaskPageView>(),
        post("/api/tasks/{id}/cancel", "cancel_task", "Cancel a task", Action::CancelTask, api::tasks::cancel)
            .described("Gives the task as it is afterwards. A build that runs is killed with all its processes at once.")
            .takes::<Reason>(r#"{"why": "not this week"}"#)
            .gives::<TaskPageView>(),
        post("/api/tasks/{id}/hold", "hold_task", "Keep a task from starting", Action::HoldTask, api::tasks::hold)
            .described("Gives the task as it is afterwards. What needs it waits until it is released. Refused with 409 unless it is queued.")
            .takes::<Reason>(r#"{"why": "not before the release"}"#)
            .gives::<TaskPageView>(),
        post("/api/tasks/{id}/release", "release_task", "Let a held task start", Action::ReleaseTask, api::tasks::release)
            .described("Gives the task as it is afterwards. Refused with 409 unless it is held.")
            .gives::<TaskPageView>(),
        post(
            "/api/tasks/{id}/priority",
            "set_priority",
            "Say how urgent a task is",
            Action::SetPriority,
            api::tasks::priority,
        )
        .described("Gives the task as it is afterwards. It counts for the task that takes its place as well.")
        .takes::<Urgency>(r#"{"priority": "urgent"}"#)
        .gives::<TaskPageView>(),
        get(
            "/api/tasks/{id}/attempts/{attempt}/log",
            "log_piece",
            "Bytes of a log from an offset on",
            Action::Look,
            api::logs::piece,
        )
        .described("Waits until there are some or the log has ended, but no longer than was said. Whoever asks from `next_offset` on until `ended` has every byte once.")
        .query::<PieceQuery>()
        .gives::<PieceView>(),
        get("/api/logs", "kept_logs", "How many logs are kept, and what they take", Action::Look, api::logs::kept)
            .gives::<KeptLogsView>(),
        get("/api/logs/search", "search_logs", "Lines of logs that match", Action::Look, api::logs::search)
            .described("One line of JSON for each build that prints the text, as it is found, and one at the end.")
            .query::<SearchQuery>()
            .gives_other("application/x-ndjson"),
        get("/api/projects", "list_projects", "Every project", Action::Look, api::projects)
            .gives::<ProjectListView>(),
        post(
            "/api/projects/{name}/rebuild",
            "rebuild",
            "Plan a rebuild, and order it on demand",
            Action::PlanRebuild,
            rebuild::rebuild,
        )
        .described("With `apply` the rebuilds are ordered, which needs the scope `plan`.")
        .takes::<RebuildRequest>(r#"{"names": ["zlib"], "dependents": "direct"}"#)
        .gives::<RebuildPlan>(),
        get("/api/builders", "list_builders", "Every builder", Action::Look, api::builders::list)
            .gives::<BuilderListView>(),
        post("/api/builders", "add_builder", "Let a machine build", Action::AddBuilder, api::builders::add)
            .takes::<NewBuilder>(
                r#"{"name": "ada", "public_key": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "trust": "official"}"#,
            )
            .gives::<BuilderView>(),
        post(
            "/api/builders/enrol",
            "enrol_builder",
            "Make a token with which a machine becomes a builder, once",
            Action::EnrolBuilder,
            api::builders::enrol,
        )
        .described("What its bearer becomes is said here, and never by the machine.")
        .takes::<NewEnrolment>(r#"{"name": "ada", "hours": 24, "features": ["kvm"]}"#)
        .gives::<EnrolmentView>(),
        get("/api/builders/{builder}", "show_builder", "One builder with its last attempts", Action::Look, api::builders::show)
            .gives::<BuilderPageView>(),
        post(
            "/api/builders/{builder}/label",
            "label_builder",
            "Say something else about a builder",
            Action::LabelBuilder,
            api::builders::label,
        )
        .takes::<BuilderChange>(r#"{"add_labels": ["rack-3"], "size": "large"}"#)
        .gives::<BuilderView>(),
        post("/api/builders/{builder}/drain", "drain_builder", "Give a builder no more work", Action::DrainBuilder, api::builders::drain)
            .described("What it builds goes on.")
            .gives::<BuilderView>(),
        post(
            "/api/builders/{builder}/undrain",
            "undrain_builder",
            "Give a builder work again",
            Action::DrainBuilder,
            api::builders::undrain,
        )
        .described("Its faults are forgotten as well, so that a quarantine ends.")
        .gives::<BuilderView>(),
        post("/api/builders/{builder}/remove", "remove_builder", "Shut a builder out", Action::RemoveBuilder, api::builders::remove)
            .described("Its connection is cut, what it builds goes elsewhere, and its key is refused from then on.")
            .gives::<RemovedView>(),
        get("/api/queue/now", "queue_now", "What runs, what comes next, what is held", Action::Look, api::queue::now)
            .gives::<QueueNowView>(),
        post("/api/queue/pause", "pause_queue", "Start nothing more", Action::PauseQueue, api::queue::pause)
            .described("What is being built goes on, and is published. It lasts until it is resumed, also over restarts.")
            .takes::<Reason>(r#"{"why": "the disk of Vessel is being replaced"}"#)
            .gives::<PauseView>(),
        post("/api/queue/resume", "resume_queue", "Start builds again", Action::ResumeQueue, api::queue::resume)
            .gives::<PauseView>(),
        get("/api/queue", "queue", "What is built in which order", Action::Look, api::queue)
            .query::<ArenaQuery>()
            .gives::<QueueView>(),
        get("/api/queue/map", "queue_map", "Where everything stands in the picture of the queue", Action::Look, api::queue::map)
            .query::<MapQuery>()
            .gives::<MapView>(),
        get("/api/queue/signs", "queue_signs", "How everything in the picture of the queue stands", Action::Look, api::queue::signs)
            .described("As short as can be, for those who know the map: a letter for each recipe, in its order.")
            .query::<MapQuery>()
            .gives::<SignsView>(),
        get("/api/queue/neighbours", "queue_neighbours", "Who a recipe needs, and who needs it", Action::Look, api::queue::neighbours)
            .described("`find` is its source name.")
            .query::<MapQuery>()
            .gives::<NeighboursView>(),
        get("/api/timeline", "timeline", "Who built what and when", Action::Look, api::timeline)
            .query::<TimelineQuery>()
            .gives::<TimelineView>(),
        get("/api/durations", "durations", "How long builds of a recipe took", Action::Look, api::durations)
            .query::<DurationsQuery>()
            .gives::<DurationsView>(),
        get("/api/channels", "list_channels", "Where the streams and tags of channels point", Action::Look, api::channels::list)
            .described("As Vessel says it; where it does not answer, what it said last, with the reason.")
            .gives::<ChannelListView>(),
        get("/api/channels/diff", "diff_channel", "What changed between two versions of a channel", Action::Look, api::channels::diff)
            .query::<DiffQuery>()
            .gives::<DiffReport>(),
        post(
            "/api/channels/{channel}/promote",
            "promote_stream",
            "Let a stream follow to a version",
            Action::PromoteStream,
            api::channels::promote,
        )
        .described("Vessel does it; the answer says where the stream was and is. As `moraine channel promote`, which asks Vessel itself.")
        .takes::<Promotion>(r#"{"from": "stream/volatile", "stream": "stable"}"#)
        .gives::<MovedReport>(),
        post(
            "/api/channels/{channel}/rollback",
            "roll_back_stream",
            "Move a stream back",
            Action::RollBackStream,
            api::channels::rollback,
        )
        .described("To where it was before, or to a version. As `moraine channel rollback`, which asks Vessel itself.")
        .takes::<Rollback>(r#"{"stream": "stable"}"#)
        .gives::<MovedReport>(),
        get("/api/plan/graph", "plan_graph", "The build graph in figures", Action::Look, api::plan_graph)
            .query::<ArenaQuery>()
            .gives::<GraphView>(),
        get("/api/recipes", "list_recipes", "Recipes, and files that cannot be read", Action::Look, api::recipes)
            .query::<ProjectQuery>()
            .gives::<RecipeSummary>(),
        get("/api/packages/{source}", "show_package", "A recipe with its builds and what is published of it", Action::Look, api::package)
            .gives::<PackageView>(),
        post("/api/wake-up", "wake_up", "Look at recipes and repositories now", Action::WakeUp, api::wake_up)
            .gives::<LookReport>(),
        get("/api/audit", "audit", "Who did what, the newest first", Action::ReadAudit, api::audit)
            .query::<AuditQuery>()
            .gives::<AuditPage>(),
        get("/api/whoami", "whoami", "Who asks, and what they may do", Action::Greet, session::whoami)
            .gives::<WhoView>(),
        get("/api/tokens", "list_tokens", "Every token, without its secret", Action::ListTokens, api::tokens::list)
            .gives::<TokenListView>(),
        post("/api/tokens", "add_token", "Make a token", Action::AddToken, api::tokens::add)
            .described("The token itself is shown only in this answer. Nobody gives a token a scope that their own has not.")
            .takes::<TokenRequest>(r#"{"name": "ci", "scopes": ["operate"], "expires": "90d"}"#)
            .gives_with::<NewTokenView>(201),
        delete("/api/tokens/{token}", "revoke_token", "Make a token worthless at once", Action::RevokeToken, api::tokens::revoke)
            .gives::<TokenRow>(),
        get("/api/webhooks", "list_webhooks", "How webhooks are delivered", Action::ListWebhooks, api::hooks::list)
            .gives::<WebhookListView>(),
        post("/hooks/forge/{project}", "forge_wake_up", "Say that recipes have changed, as a forge", Action::Greet, api::hooks::forge)
            .described("Understands pushes of GitHub, GitLab, Forgejo and Gitea by their headers, and believes them by their proof that they know the secret of the project. A push to another branch is answered 200 and changes nothing; a look that takes long is answered 202.")
            .takes::<PushView>(r#"{"ref": "refs/heads/main"}"#)
            .gives::<ForgeView>()
            .may_take_longer(),
        get("/health", "health", "How Summit is, with reasons", Action::Greet, health::health)
            .gives::<HealthView>(),
        get("/metrics", "metrics", "Figures for Prometheus", Action::Look, health::metrics)
            .gives_other("application/openmetrics-text"),
        get("/api/openapi.json", "openapi", "This description", Action::Greet, openapi::serve)
            .gives_other("application/json"),
    ]
}

/// Every page and whatever else is no operation of the API.
fn pages() -> Vec<(&'static str, Action, MethodRouter<Web>)> {
    let css = || asset("text/css; charset=utf-8", include_str!("assets/style.css"));
    let colours = || asset("text/css; charset=utf-8", pages::colours());
    let log_script = || asset("text/javascript; charset=utf-8", include_str!("assets/log.js"));
    let script = || asset("text/javascript; charset=utf-8", include_str!("assets/script.js"));
    let pictures = || asset("text/css; charset=utf-8", include_str!("assets/pictures.css"));
    let queue_script = || asset("text/javascript; charset=utf-8", include_str!("assets/queue.js"));
    let icon = || asset("image/svg+xml", include_str!("assets/icon.svg"));
    vec![
        ("/", Action::Look, routing::get(pages::overview)),
        ("/tasks", Action::Look, routing::get(pages::tasks)),
        ("/tasks/{id}", Action::Look, routing::get(pages::task)),
        ("/tasks/{id}/attempts/{attempt}", Action::Look, routing::get(pages::log)),
        ("/tasks/{id}/log/{attempt}", Action::Look, routing::get(log_file::log_file)),
        ("/tasks/{id}/log/{attempt}/rows", Action::Look, routing::get(api::logs::rows)),
        ("/tasks/{id}/log/{attempt}/stream", Action::Look, routing::get(live::log_stream)),
        ("/builders", Action::Look, routing::get(pages::builders)),
        ("/builders/{builder}", Action::Look, routing::get(pages::builder)),
        ("/packages/{name}", Action::Look, routing::get(pages::package)),
        ("/queue", Action::Look, routing::get(pages::queue)),
        ("/durations", Action::Look, routing::get(pages::pictures::durations)),
        ("/channels", Action::Look, routing::get(pages::channels)),
        ("/channels/diff", Action::Look, routing::get(pages::diff)),
        ("/timeline", Action::Look, routing::get(pages::timeline)),
        ("/logs", Action::Look, routing::get(pages::logs)),
        ("/audit", Action::ReadAudit, routing::get(pages::audit)),
        ("/sign-in", Action::Greet, routing::get(session::show)),
        ("/sign-in", Action::Greet, routing::post(session::sign_in)),
        ("/sign-out", Action::Greet, routing::post(session::sign_out)),
        ("/events", Action::Look, routing::get(live::events)),
        ("/colours.css", Action::Greet, routing::get(colours)),
        ("/log.js", Action::Greet, routing::get(log_script)),
        ("/pictures.css", Action::Greet, routing::get(pictures)),
        ("/queue.js", Action::Greet, routing::get(queue_script)),
        ("/style.css", Action::Greet, routing::get(css)),
        ("/script.js", Action::Greet, routing::get(script)),
        ("/icon.svg", Action::Greet, routing::get(icon)),
    ]
}

/// All of it, each behind the check that its action asks for.
pub(super) fn router(web: &Web) -> Router<Web> {
    let operations = operations().into_iter().map(|one| (one.path, one.action, one.id, one.handler));
    let pages = pages().into_iter().map(|(path, action, handler)| (path, action, path, handler));
    let mut router = Router::new();
    for (path, action, route, handler) in operations.chain(pages) {
        let checked = handler.route_layer(from_fn_with_state((web.clone(), action, route), check));
        router = router.route(path, checked);
    }
    router
}

async fn asset(kind: &'static str, text: &'static str) -> Response {
    ([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "max-age=60")], text).into_response()
}
