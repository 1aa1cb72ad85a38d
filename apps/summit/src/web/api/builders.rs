//! What people do to builders. Each answers with the builder as it is afterwards.

use std::collections::BTreeSet;
use std::time::Duration;

use access::{Action, Actor};
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::{Extension, Json};
use farm::ids::BuilderId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use wire::PublicKey;

use crate::hub::News;
use crate::store::{
    BuilderChange, BuilderRefusal, BuilderRole, BuilderRow, BuilderSaid, Outcome, StoreError,
};
use crate::web::Web;
use crate::web::api::{Told, told};
use crate::web::error::WebError;
use crate::web::view::{BuilderListView, BuilderView};

/// Attempts of a builder that are told.
const ATTEMPTS_MAX: u64 = 50;

/// How long a token can be presented unless something else is said, and at most.
const HOURS: u64 = 24;
const HOURS_MAX: u64 = 24 * 90;

/// A builder to be.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewBuilder {
    /// Its name: no two have the same.
    name: String,
    /// Its public key, as `avalanche key` prints it.
    public_key: String,
    /// What its key may do: `builder`, or `waker`, which only wakes Summit up.
    role: Option<String>,
    /// Words for people.
    #[serde(default)]
    labels: Vec<String>,
    /// What it has beyond others.
    #[serde(default)]
    features: Vec<String>,
    /// Whether it belongs to the distribution: `official` or `any`.
    trust: Option<String>,
    /// How large it is: `small`, `medium` or `large`.
    size: Option<String>,
}

/// A builder that makes itself known with a token.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewEnrolment {
    /// Its name: no two have the same.
    name: String,
    /// Hours for which the token is good: 24 unless given.
    hours: Option<u64>,
    /// Words for people.
    #[serde(default)]
    labels: Vec<String>,
    /// What it has beyond others.
    #[serde(default)]
    features: Vec<String>,
    /// Whether it belongs to the distribution: `official` or `any`.
    trust: Option<String>,
    /// How large it is: `small`, `medium` or `large`.
    size: Option<String>,
}

/// A token that is good once.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct EnrolmentView {
    name: String,
    /// It is told this once and not kept.
    token: String,
    expires_ms: u64,
    /// The key that the new builder pins.
    summit_key: String,
    /// Where it dials in.
    grpc_address: String,
}

/// A builder that is gone.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct RemovedView {
    name: String,
    public_key: String,
}

/// `/api/builders/NAME`
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct BuilderPageView {
    #[serde(flatten)]
    pub(crate) builder: BuilderView,
    /// Its last attempts, the newest first.
    pub(crate) attempts: Vec<TriedView>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct TriedView {
    pub(crate) task: u64,
    pub(crate) attempt: u64,
    /// What was to be built.
    pub(crate) title: String,
    pub(crate) assigned_ms: u64,
    pub(crate) ended_ms: Option<u64>,
    pub(crate) outcome: Option<Outcome>,
}

type MaybeName = Result<Path<String>, PathRejection>;

fn name(name: MaybeName) -> Result<String, WebError> {
    name.map(|name| name.0)
        .map_err(|error| WebError::BadRequest { what: "the builder", why: error.body_text() })
}

fn said(
    name: String,
    labels: Vec<String>,
    features: Vec<String>,
    trust: Option<String>,
    size: Option<String>,
) -> Result<BuilderSaid, StoreError> {
    let change = BuilderChange { trust, size, ..BuilderChange::default() };
    let (labels, features): (BTreeSet<String>, BTreeSet<String>) =
        (labels.into_iter().collect(), features.into_iter().collect());
    Ok(BuilderSaid { labels, features, ..BuilderSaid::named(&name) }.changed(&change)?)
}

impl Web {
    /// The builder as it is told.
    async fn builder_view(&self, row: &BuilderRow) -> Result<BuilderView, WebError> {
        let mut all = self.builder_list().await?;
        all.retain(|builder| builder.public_key == row.id.0);
        all.pop().ok_or_else(|| StoreError::NotFound { what: format!("builder {:?}", row.said.name) }.into())
    }

    /// A builder, by its name or its key, with what it did.
    pub(crate) async fn builder_page(&self, name: &str) -> Result<BuilderPageView, WebError> {
        let row = self.hub.store.builder(name).await?;
        let attempts = self.hub.store.attempts_of_builder(&row.id, ATTEMPTS_MAX).await?;
        let attempts = attempts.into_iter().map(|tried| TriedView {
            task: tried.attempt.task.0,
            attempt: tried.attempt.id.0,
            title: tried.title,
            assigned_ms: tried.attempt.assigned.0,
            ended_ms: tried.attempt.ended.map(|moment| moment.0),
            outcome: tried.attempt.outcome,
        });
        Ok(BuilderPageView { attempts: attempts.collect(), builder: self.builder_view(&row).await? })
    }

    /// What was changed takes effect now, not only at the next sweep.
    async fn builders_changed(
        &self,
        actor: &Actor,
        action: Action,
        row: &BuilderRow,
        detail: &str,
    ) -> Result<(), WebError> {
        self.hub.audit(actor, action, &format!("builder {} ({})", row.said.name, row.id), detail).await;
        crate::dispatcher::follow_builders(&self.hub).await?;
        self.hub.tell(News::Builders);
        self.hub.dispatch.notify_one();
        Ok(())
    }
}

pub(crate) async fn list(State(web): State<Web>) -> Result<Json<BuilderListView>, WebError> {
    Ok(Json(BuilderListView { builders: web.builder_list().await? }))
}

pub(crate) async fn show(
    State(web): State<Web>,
    builder: MaybeName,
) -> Result<Json<BuilderPageView>, WebError> {
    web.builder_page(&name(builder)?).await.map(Json)
}

pub(crate) async fn add(
    State(web): State<Web>,
    Extension(actor): Extension<Actor>,
    new: Told<NewBuilder>,
) -> Result<Json<BuilderView>, WebError> {
    let NewBuilder { name, public_key, role, labels, features, trust, size } = told(new)?;
    let key: PublicKey = public_key.parse().map_err(|error: wire::PublicKeyError| WebError::BadRequest {
        what: "the key",
        why: error.to_string(),
    })?;
    let mut said = said(name.clone(), labels, features, trust, size)?;
    if let Some(role) = role {
        said.role = BuilderRole::from_keyword(&role).ok_or_else(|| WebError::BadRequest {
            what: "the role",
            why: format!("{role:?} is none; builder and waker are known"),
        })?;
    }
    let id = BuilderId(key.to_string());
    if let Some(owner) = web.hub.owner_of(key) {
        return Err(StoreError::from(BuilderRefusal::OwnKey { name, key: id.0, owner }).into());
    }
    if let Ok(known) = web.hub.store.builder(&id.0).await {
        let refusal = BuilderRefusal::KeyTaken { name, key: id.0, other: known.said.name };
        return Err(StoreError::from(refusal).into());
    }
    let row = web.hub.store.add_builder(&id, &said, false, web.hub.clock.now()).await?;
    web.builders_changed(&actor, Action::AddBuilder, &row, row.said.role.keyword()).await?;
    web.builder_view(&row).await.map(Json)
}

pub(crate) async fn enrol(
    State(web): State<Web>,
    Extension(actor): Extension<Actor>,
    new: Told<NewEnrolment>,
) -> Result<Json<EnrolmentView>, WebError> {
    let NewEnrolment { name, hours, labels, features, trust, size } = told(new)?;
    let hours = hours.unwrap_or(HOURS);
    if hours == 0 || hours > HOURS_MAX {
        let why = format!("1 to {HOURS_MAX} are possible");
        return Err(WebError::BadRequest { what: "the hours", why });
    }
    let said = said(name, labels, features, trust, size)?;
    let now = web.hub.clock.now();
    let expires = now.after(Duration::from_secs(hours * 3600));
    let token = web.hub.store.make_enrolment(&said, expires, now).await?;
    let detail = format!("a token for {hours} h");
    web.hub.audit(&actor, Action::EnrolBuilder, &format!("builder {}", said.name), &detail).await;
    Ok(Json(EnrolmentView {
        name: said.name,
        token,
        expires_ms: expires.0,
        summit_key: web.hub.identity.public_key().to_string(),
        grpc_address: web.hub.grpc_address(),
    }))
}

pub(crate) async fn label(
    State(web): State<Web>,
    Extension(actor): Extension<Actor>,
    builder: MaybeName,
    change: Told<BuilderChange>,
) -> Result<Json<BuilderView>, WebError> {
    let (builder, change) = (name(builder)?, told(change)?);
    let row = web.hub.store.change_builder(&builder, &change, web.hub.clock.now()).await?;
    let said = &row.said;
    let words: Vec<&str> = said.labels.iter().chain(&said.features).map(String::as_str).collect();
    let detail =
        format!("{} {} {} {}", said.name, said.trust.keyword(), said.size.keyword(), words.join(" "));
    web.builders_changed(&actor, Action::LabelBuilder, &row, detail.trim_end()).await?;
    web.builder_view(&row).await.map(Json)
}

pub(crate) async fn drain(
    State(web): State<Web>,
    Extension(actor): Extension<Actor>,
    builder: MaybeName,
) -> Result<Json<BuilderView>, WebError> {
    let row = web.hub.store.drain_builder(&name(builder)?, true).await?;
    web.builders_changed(&actor, Action::DrainBuilder, &row, "drained").await?;
    web.builder_view(&row).await.map(Json)
}

pub(crate) async fn undrain(
    State(web): State<Web>,
    Extension(actor): Extension<Actor>,
    builder: MaybeName,
) -> Result<Json<BuilderView>, WebError> {
    let row = web.hub.store.drain_builder(&name(builder)?, false).await?;
    web.builders_changed(&actor, Action::DrainBuilder, &row, "gets work again").await?;
    web.builder_view(&row).await.map(Json)
}

pub(crate) async fn remove(
    State(web): State<Web>,
    Extension(actor): Extension<Actor>,
    builder: MaybeName,
) -> Result<Json<RemovedView>, WebError> {
    let row = web.hub.store.remove_builder(&name(builder)?, web.hub.clock.now()).await?;
    web.builders_changed(&actor, Action::RemoveBuilder, &row, "its key is refused").await?;
    Ok(Json(RemovedView { name: row.said.name, public_key: row.id.0 }))
}
