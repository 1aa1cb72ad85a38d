//! What operators do with the streams of channels. Vessel does it; here is who asked for it.

use access::{Action, Actor};
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::{Extension, Json};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Asked, Told, asked, told};
use crate::channels::{DiffReport, MovedReport};
use crate::hub::News;
use crate::web::Web;
use crate::web::error::WebError;
use crate::web::view::{ChannelListView, DiffQuery};

/// Characters of a channel, a stream or a version; those of Vessel have at most 128.
const NAME_CHARACTERS_MAX: usize = 200;

/// A stream that is to follow.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Promotion {
    /// The version: `stream/NAME`, `tag/NAME`, `history/ID`, or a name alone.
    from: String,
    /// The stream that moves to it; it is made when there is none.
    stream: String,
    /// The channel of the stream, when it is another one: it gets a history with exactly these packages.
    to_channel: Option<String>,
}

/// A stream that is to go back.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rollback {
    /// The stream that moves.
    stream: String,
    /// The version; where the stream was before when none is named.
    to: Option<String>,
}

type MaybeChannel = Result<Path<String>, PathRejection>;

pub(crate) async fn list(State(web): State<Web>) -> Json<ChannelListView> {
    Json(web.channel_list().await)
}

pub(crate) async fn diff(
    State(web): State<Web>,
    query: Asked<DiffQuery>,
) -> Result<Json<DiffReport>, WebError> {
    web.channel_diff(&asked(query)?).await.map(Json)
}

pub(crate) async fn promote(
    State(web): State<Web>,
    Extension(actor): Extension<Actor>,
    channel: MaybeChannel,
    wish: Told<Promotion>,
) -> Result<Json<MovedReport>, WebError> {
    let (channel, wish) = (name_of(channel)?, told(wish)?);
    let to_channel = wish.to_channel.as_deref().filter(|name| !name.is_empty()).unwrap_or(&channel);
    check_names([&channel, &wish.from, &wish.stream, to_channel])?;
    let moved = web.channels.promote(&web.hub, &channel, &wish.from, &wish.stream, to_channel).await?;
    web.stream_moved(&actor, Action::PromoteStream, &moved).await;
    Ok(Json(moved))
}

pub(crate) async fn rollback(
    State(web): State<Web>,
    Extension(actor): Extension<Actor>,
    channel: MaybeChannel,
    wish: Told<Rollback>,
) -> Result<Json<MovedReport>, WebError> {
    let (channel, wish) = (name_of(channel)?, told(wish)?);
    let to = wish.to.as_deref().filter(|version| !version.is_empty());
    check_names([&channel, &wish.stream, to.unwrap_or("the one before")])?;
    let moved = web.channels.roll_back(&web.hub, &channel, &wish.stream, to).await?;
    web.stream_moved(&actor, Action::RollBackStream, &moved).await;
    Ok(Json(moved))
}

fn name_of(channel: MaybeChannel) -> Result<String, WebError> {
    channel
        .map(|channel| channel.0)
        .map_err(|error| WebError::BadRequest { what: "the channel", why: error.body_text() })
}

/// Refuses what cannot be the name of anything in a channel.
pub(crate) fn check_names<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<(), WebError> {
    let fits = |name: &str| !name.is_empty() && name.chars().count() <= NAME_CHARACTERS_MAX;
    match names.into_iter().all(fits) {
        true => Ok(()),
        false => {
            let why = format!("names have 1 to {NAME_CHARACTERS_MAX} characters");
            Err(WebError::BadRequest { what: "the version", why })
        }
    }
}

impl Web {
    /// Notes who moved a stream, and tells everybody who reads it or looks at it.
    async fn stream_moved(&self, actor: &Actor, action: Action, moved: &MovedReport) {
        let MovedReport { channel, name, from, to, .. } = moved;
        let from = from.as_deref().unwrap_or("nothing");
        let detail = match to {
            Some(to) if moved.changed => format!("{from} → {to}"),
            _ => format!("was at {from} already"),
        };
        self.hub.audit(actor, action, &format!("stream {name} of channel {channel}"), &detail).await;
        if moved.changed {
            self.hub.channel_moved(channel);
            self.hub.tell(News::Channels);
        }
    }
}
