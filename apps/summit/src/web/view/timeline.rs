//! Who built what and when, and how long builds of one recipe took.

use std::time::Duration;

use farm::failure::FailureClass;
use farm::ids::{AttemptId, TaskId};
use farm::moment::Moment;
use picture::{Bar, Builder, Ending};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Names;
use crate::store::{AttemptRow, Built, Outcome};
use crate::web::Web;
use crate::web::error::WebError;

/// Which stretch of time.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TimelineQuery {
    /// How many hours: 24 unless given, 720 at most.
    pub(crate) hours: Option<u64>,
    /// Where it ends, in milliseconds since 1970; now unless given.
    pub(crate) until_ms: Option<u64>,
}

/// Builds of which recipe.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DurationsQuery {
    /// Its source name.
    pub(crate) source: String,
    /// The project; all of them unless given.
    pub(crate) project: Option<String>,
    /// The architecture; all of them unless given.
    pub(crate) arch: Option<String>,
}

/// Hours of a timeline unless others are asked for.
pub(crate) const HOURS: u64 = 24;

/// A month: beyond that, bars are thinner than a pixel.
const HOURS_MAX: u64 = 720;

/// Attempts that are read: as many as the store looks at.
const LOOKED_AT_MAX: u64 = 20_000;

/// Attempts that are shown; each costs about 300 bytes of a page.
const ATTEMPTS_MAX: usize = 1_000;

/// Attempts of one recipe that are shown: more points than the eye tells apart.
const POINTS_MAX: u64 = 120;

/// How far a build may be from what is expected of it and be no surprise, in hundredths: experience scatters by about a
/// third, see `farm::estimate`.
const SURPRISE_HUNDREDTHS: u64 = 35;

/// `/api/timeline`
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct TimelineView {
    pub(crate) from_ms: u64,
    pub(crate) until_ms: u64,
    pub(crate) now_ms: u64,
    pub(crate) hours: u64,
    pub(crate) builders: Vec<TimelineBuilder>,
    /// The oldest first.
    pub(crate) attempts: Vec<TimelineAttempt>,
    /// Attempts that are not shown because they are too many: the shortest.
    pub(crate) left_out: usize,
    /// How many hundredths of all places were in use, for each hundredth part of the time.
    pub(crate) usage_percent: Vec<u64>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct TimelineBuilder {
    pub(crate) name: String,
    pub(crate) places: u32,
}

/// An attempt in a timeline or a history.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct TimelineAttempt {
    pub(crate) task: TaskId,
    pub(crate) attempt: AttemptId,
    pub(crate) source: String,
    pub(crate) version: String,
    pub(crate) release: u64,
    pub(crate) architecture: String,
    /// Name of the builder.
    pub(crate) builder: String,
    pub(crate) start_ms: u64,
    /// None while it goes on.
    pub(crate) end_ms: Option<u64>,
    /// How long it was expected to take on that builder, as far as is known now.
    pub(crate) expected_ms: Option<u64>,
    /// In a word: running, published, failed, lost or stopped.
    pub(crate) ending: &'static str,
    /// Why it came to nothing.
    pub(crate) message: Option<String>,
    #[serde(skip)]
    kind: Kind,
}

/// [`Ending`], for what is no JSON.
#[derive(Debug, Clone, Copy)]
struct Kind(Ending);

/// How long builds of a recipe took.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct DurationsView {
    pub(crate) source: String,
    /// The oldest first.
    pub(crate) attempts: Vec<TimelineAttempt>,
    /// What is expected of the next build, on the reference machine.
    pub(crate) expected_ms: Option<u64>,
    /// The middle of those that were published.
    pub(crate) median_ms: Option<u64>,
    pub(crate) now_ms: u64,
}

impl Web {
    pub(crate) async fn timeline(&self, query: &TimelineQuery) -> Result<TimelineView, WebError> {
        let now = self.hub.clock.now().0;
        let hours = query.hours.unwrap_or(HOURS).clamp(1, HOURS_MAX);
        let until = query.until_ms.unwrap_or(now).min(now);
        let from = until.saturating_sub(hours * 3_600_000);
        let names = self.names().await?;
        let rows = self.hub.store.attempts_since(Moment(from), LOOKED_AT_MAX).await?;
        let mut attempts: Vec<TimelineAttempt> =
            rows.into_iter().map(|(row, built)| self.timeline_attempt(row, built, &names)).collect();
        attempts.retain(|attempt| attempt.start_ms < until);
        let left_out = attempts.len().saturating_sub(ATTEMPTS_MAX);
        if left_out > 0 {
            attempts.sort_by_key(|attempt| std::cmp::Reverse(attempt.length_ms(now)));
            attempts.truncate(ATTEMPTS_MAX);
        }
        attempts.sort_by_key(|attempt| (attempt.start_ms, attempt.attempt.0));
        let mut builders: Vec<TimelineBuilder> = self
            .builder_list()
            .await?
            .into_iter()
            .map(|builder| TimelineBuilder { name: builder.name, places: builder.slots })
            .collect();
        // Those that were removed are told of as long as they have something to be seen.
        for attempt in &attempts {
            if builders.iter().all(|builder| builder.name != attempt.builder) {
                builders.push(TimelineBuilder { name: attempt.builder.clone(), places: 1 });
            }
        }
        builders.sort_by(|one, other| one.name.cmp(&other.name));
        let mut view = TimelineView {
            from_ms: from,
            until_ms: until,
            now_ms: now,
            hours,
            builders,
            attempts,
            left_out,
            usage_percent: Vec::new(),
        };
        let (lanes, bars) = view.drawn();
        let drawn = picture::Timeline { from_ms: from, to_ms: until, builders: &lanes, bars: &bars };
        view.usage_percent = picture::usage(&drawn, 100);
        Ok(view)
    }

    /// How long the newest builds of a source took, for a page about it.
    pub(crate) async fn durations(&self, query: &DurationsQuery) -> Result<DurationsView, WebError> {
        let source = query.source.as_str();
        let names = self.names().await?;
        let (project, architecture) = (query.project.as_deref(), query.arch.as_deref());
        let rows = self.hub.store.attempts_of_source(source, project, architecture, POINTS_MAX).await?;
        let architecture = rows.first().map(|(_, built)| built.architecture.clone());
        let mut attempts: Vec<TimelineAttempt> =
            rows.into_iter().map(|(row, built)| self.timeline_attempt(row, built, &names)).collect();
        attempts.reverse();
        let expected = architecture
            .and_then(|architecture| self.hub.with_board(|board| board.expected(source, &architecture)));
        let now_ms = self.hub.clock.now().0;
        let mut view = DurationsView {
            source: source.to_owned(),
            attempts,
            expected_ms: expected.map(milliseconds),
            median_ms: None,
            now_ms,
        };
        view.median_ms = picture::median_ms(&view.points());
        Ok(view)
    }

    fn timeline_attempt(&self, row: AttemptRow, built: Built, names: &Names) -> TimelineAttempt {
        let ending = ending(&row);
        let expected = self.hub.with_board(|board| {
            let reference = board.expected(&built.source, &built.architecture)?;
            Duration::try_from_secs_f64(reference.as_secs_f64() / board.speed(&row.builder).max(0.01)).ok()
        });
        TimelineAttempt {
            task: row.task,
            attempt: row.id,
            builder: names.builder(&row.builder),
            start_ms: row.started.unwrap_or(row.assigned).0,
            end_ms: row.ended.map(|ended| ended.0),
            expected_ms: expected.map(milliseconds),
            ending: ending.word(),
            message: match row.outcome {
                Some(Outcome::Failed { message, .. }) => Some(message),
                Some(Outcome::Stopped { why }) => Some(why),
                Some(Outcome::Published { .. }) | None => None,
            },
            kind: Kind(ending),
            source: built.source,
            version: built.version,
            release: built.release,
            architecture: built.architecture,
        }
    }
}

impl TimelineAttempt {
    pub(crate) fn length_ms(&self, now_ms: u64) -> u64 {
        self.end_ms.unwrap_or(now_ms).saturating_sub(self.start_ms)
    }

    fn title(&self, now_ms: u64) -> String {
        let mut title = format!(
            "{} {}-{} on {}: {}, {}",
            self.source,
            self.version,
            self.release,
            self.builder,
            picture::clock(self.length_ms(now_ms)),
            self.ending
        );
        if let Some(expected) = self.expected_ms {
            title.push_str(&format!(" (expected {})", picture::clock(expected)));
        }
        if let Some(message) = &self.message {
            title.push_str(&format!(": {message}"));
        }
        title
    }

    fn address(&self) -> String {
        format!("/tasks/{}", self.task)
    }
}

impl TimelineView {
    /// As the picture takes it.
    pub(crate) fn drawn(&self) -> (Vec<Builder>, Vec<Bar>) {
        let builder = |builder: &TimelineBuilder| Builder {
            name: builder.name.clone(),
            places: usize::try_from(builder.places).unwrap_or(usize::MAX),
        };
        let bar = |attempt: &TimelineAttempt| {
            let index = self.builders.iter().position(|builder| builder.name == attempt.builder)?;
            let is_running = attempt.end_ms.is_none();
            Some(Bar {
                builder: index,
                start_ms: attempt.start_ms,
                end_ms: attempt.end_ms.unwrap_or(self.now_ms),
                expected_end_ms: attempt
                    .expected_ms
                    .filter(|_| is_running)
                    .map(|expected| attempt.start_ms + expected),
                ending: attempt.kind.0,
                name: attempt.source.clone(),
                address: attempt.address(),
                title: attempt.title(self.now_ms),
            })
        };
        (self.builders.iter().map(builder).collect(), self.attempts.iter().filter_map(bar).collect())
    }
}

impl DurationsView {
    /// As the picture takes it.
    pub(crate) fn points(&self) -> Vec<picture::Point> {
        let point = |attempt: &TimelineAttempt| picture::Point {
            start_ms: attempt.start_ms,
            length_ms: attempt.length_ms(self.now_ms),
            ending: attempt.kind.0,
            address: attempt.address(),
            title: attempt.title(self.now_ms),
        };
        self.attempts.iter().map(point).collect()
    }

    /// What is expected, and the shortest and longest that would be no surprise.
    pub(crate) fn expected_band_ms(&self) -> Option<(u64, u64, u64)> {
        let expected = self.expected_ms?;
        let most = expected.saturating_mul(100 + SURPRISE_HUNDREDTHS) / 100;
        Some((expected.saturating_mul(100) / (100 + SURPRISE_HUNDREDTHS), expected, most))
    }
}

fn ending(row: &AttemptRow) -> Ending {
    match &row.outcome {
        None => Ending::Running,
        Some(Outcome::Published { .. }) => Ending::Published,
        Some(Outcome::Stopped { .. } | Outcome::Failed { class: FailureClass::Cancelled, .. }) => {
            Ending::Stopped
        }
        Some(Outcome::Failed { class, .. }) if class.is_infrastructure() => Ending::Lost,
        Some(Outcome::Failed { .. }) => Ending::Failed,
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
