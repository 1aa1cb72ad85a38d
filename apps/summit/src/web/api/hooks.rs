//! Webhooks: those of forges that wake Summit up, and how its own are delivered.

use std::time::Duration;

use access::{Action, Actor};
use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::forge::{Said, understand};
use crate::store::{StoreError, WebhookRow};
use crate::watcher::{LookError, ProjectLook};
use crate::web::Web;
use crate::web::error::WebError;
use crate::{forge, secrets};

/// How long a forge waits for what a look finds. They give up after ten seconds.
const LOOK_PATIENCE: Duration = Duration::from_secs(8);

/// What of a forge's message matters; the rest is as the forge has it.
#[derive(Debug, Deserialize, JsonSchema)]
#[expect(dead_code, reason = "described here; read by the part that knows forges")]
pub(crate) struct PushView {
    /// The reference that moved, such as `refs/heads/main`.
    #[serde(rename = "ref")]
    reference: String,
}

/// What became of it.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ForgeView {
    /// What was done, in a sentence.
    said: String,
    /// What the look found.
    look: Option<ProjectLook>,
    /// Where to see what a look finds that takes longer.
    at: Option<String>,
}

/// How webhooks are delivered.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct WebhookListView {
    webhooks: Vec<WebhookRow>,
}

pub(crate) async fn list(State(web): State<Web>) -> Result<Json<WebhookListView>, WebError> {
    Ok(Json(WebhookListView { webhooks: web.hub.store.webhooks().await? }))
}

pub(crate) async fn forge(
    State(web): State<Web>,
    project: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<(StatusCode, Json<ForgeView>), WebError> {
    let Path(name) =
        project.map_err(|error| WebError::BadRequest { what: "the project", why: error.body_text() })?;
    let config = web.hub.config();
    let project = config.project(&name);
    let known = project.and_then(|project| Some((project, project.wake_up_secret_file.clone()?)));
    // Who does not know the secret is not told which projects there are.
    let Some((project, file)) = known else {
        return Err(
            StoreError::NotFound { what: format!("project {name:?} with a wake_up_secret_file") }.into()
        );
    };
    let read = tokio::task::spawn_blocking(move || secrets::read(&file)).await;
    let secret = read.map_err(|_| WebError::Look(LookError::Stopping))??;
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let (forge, said) = match understand(header, &body, &secret) {
        Ok(understood) => understood,
        Err(forge::Disbelief::Garbled(name)) => {
            return Err(WebError::BadRequest { what: "the push", why: format!("{name} says no `ref`") });
        }
        Err(disbelief) => return Err(WebError::Forge(disbelief)),
    };
    let actor = Actor::Forge { project: project.name.clone() };
    web.judge(&actor, Action::ForgeWakeUp)?;
    let answer = |said: String, look, at| ForgeView { said, look, at };
    let is_ours = said == Said::Pushed { branch: project.branch.clone() };
    if !is_ours {
        let nothing = answer("nothing to do here".into(), None, None);
        return Ok((StatusCode::OK, Json(nothing)));
    }
    let (reply, found) = oneshot::channel();
    let watcher = web.hub.watchers().get(&project.name).cloned();
    let is_asked = match watcher {
        Some(watcher) => watcher.looks.send(reply).await.is_ok(),
        None => false,
    };
    if !is_asked {
        return Err(LookError::Stopping.into());
    }
    let subject = format!("project {}", project.name);
    web.hub
        .audit(
            &actor,
            Action::ForgeWakeUp,
            &subject,
            &format!("{} says that {} moved", forge.name, project.branch),
        )
        .await;
    match timeout(LOOK_PATIENCE, found).await {
        Ok(found) => {
            let look = found.unwrap_or(Err(LookError::Stopping))?;
            let said = format!("looked: {} new tasks", look.new_tasks.len());
            Ok((StatusCode::OK, Json(answer(said, Some(look), None))))
        }
        Err(_still_looking) => {
            let answer = answer("the look takes longer".into(), None, Some("/api/projects".into()));
            Ok((StatusCode::ACCEPTED, Json(answer)))
        }
    }
}
