//! Searching the logs of many builds: which print a text, and what changed since the build before.
//!
//! Logs are looked at on threads that may wait, the newest first, for a bounded time and a bounded number of hits. When
//! whoever asked has gone, the search ends at the next block it would have read.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use farm::ids::{AttemptId, BuilderId, TaskId};
use farm::moment::Moment;
use farm::task::Phase;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::Web;
use super::error::WebError;
use crate::logs::search::{Found, Pattern, search};
use crate::store::{LogFilter, LogRow, Outcome};

/// Searches at once; each may keep a core busy.
pub(super) const SEARCHES_MAX: usize = 2;

/// How long a search may take, unless less is asked for.
const SECONDS_MAX: u64 = 30;

/// How long one takes unless said otherwise: a page is waited for.
const SECONDS: u64 = 8;

/// Lines that are found, unless said otherwise, and at most.
const HITS: usize = 200;
const HITS_MAX: usize = 2000;

/// Lines of one log that are shown when many are searched.
const HITS_OF_LOG: usize = 5;

/// Attempts that are read from the database at once.
const ROWS: u64 = 100;

/// Answers that wait for a slow reader; then the search does.
const LINES_MAX: usize = 16;

/// How far back a search goes unless said otherwise.
const SINCE: &str = "7d";

/// What is to be searched for, as it is asked.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
pub(crate) struct SearchQuery {
    /// The text.
    #[serde(default)]
    pub(crate) q: String,
    /// Present when the text is a regular expression.
    pub(crate) regex: Option<String>,
    /// Only builds of this source.
    pub(crate) source: Option<String>,
    /// Only builds of this project.
    pub(crate) project: Option<String>,
    /// Only builds whose task stands there.
    pub(crate) phase: Option<String>,
    /// How far back: `12h`, `7d`, `4w`, or milliseconds since 1970; `7d` unless said otherwise.
    pub(crate) since: Option<String>,
    /// Only this task.
    pub(crate) task: Option<u64>,
    /// Only this attempt.
    pub(crate) attempt: Option<u64>,
    /// Most lines that are found.
    pub(crate) hits_max: Option<usize>,
    /// Longest time in seconds.
    pub(crate) seconds_max: Option<u64>,
}

/// What is to be searched for.
#[derive(Debug)]
struct Search {
    pattern: Pattern,
    filter: LogFilter,
    hits_max: usize,
    hits_of_log: usize,
    deadline: Instant,
}

/// One line of the answer.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SearchLine {
    /// A log in which something was found.
    Log(Box<LogHits>),
    /// The search is over.
    End(SearchEnd),
}

/// A build that prints it.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct LogHits {
    pub(crate) build: BuildView,
    pub(crate) hits: Vec<HitView>,
    /// Whether more lines of it match.
    pub(crate) more: bool,
    /// The build of the same source before it; none when there is none.
    pub(crate) before: Option<BeforeView>,
}

/// A build.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct BuildView {
    pub(crate) task: u64,
    pub(crate) attempt: u64,
    pub(crate) project: String,
    pub(crate) source: String,
    pub(crate) version: String,
    pub(crate) release: u64,
    pub(crate) build_release: u64,
    pub(crate) architecture: String,
    pub(crate) commit: String,
    pub(crate) builder: String,
    pub(crate) assigned_ms: u64,
    /// `published`, `failed`, `stopped` or `running`.
    pub(crate) outcome: String,
    /// The page of its log.
    pub(crate) page_url: String,
}

/// A line that matches.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct HitView {
    /// Its number, from 1.
    pub(crate) line: u64,
    pub(crate) text: String,
    /// Where in the text the match begins and ends, in bytes.
    pub(crate) matched: (usize, usize),
}

/// The build before one that prints something.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct BeforeView {
    pub(crate) build: BuildView,
    /// Whether it printed that too; none when there was no time to look.
    pub(crate) prints_it: Option<bool>,
    /// Whether the recipe is another one since.
    pub(crate) recipe_changed: bool,
}

/// How a search ended.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub(crate) struct SearchEnd {
    /// Logs that were looked at.
    pub(crate) logs: u64,
    /// Their bytes.
    pub(crate) searched_bytes: u64,
    /// Lines that were found.
    pub(crate) hits: usize,
    pub(crate) seconds: f64,
    /// Why older logs were not looked at: `time` or `hits`; none when all were.
    pub(crate) stopped_by: Option<String>,
}

impl SearchQuery {
    fn read(&self, now: Moment) -> Result<Search, WebError> {
        let named = |name: &Option<String>| name.clone().filter(|name| !matches!(name.as_str(), "" | "all"));
        for (what, name) in [("the recipe", &self.source), ("the project", &self.project)] {
            // No database takes it as a text.
            if name.as_ref().is_some_and(|name| name.contains('\0')) {
                return Err(WebError::BadRequest { what, why: "a name has no NUL in it".into() });
            }
        }
        let phase = named(&self.phase)
            .map(|keyword| {
                Phase::from_keyword(&keyword).ok_or_else(|| WebError::BadRequest {
                    what: "the phase",
                    why: format!(
                        "{keyword:?} is none; known are {}",
                        Phase::ALL.map(Phase::keyword).join(", ")
                    ),
                })
            })
            .transpose()?;
        // Whoever names a build wants its log however old it is.
        let is_named = self.task.is_some() || self.attempt.is_some();
        let since = match named(&self.since) {
            Some(since) => Some(parse_since(&since, now)?),
            None if is_named => None,
            None => Some(parse_since(SINCE, now)?),
        };
        let filter = LogFilter {
            source: named(&self.source),
            project: named(&self.project),
            phase,
            since,
            task: self.task.map(TaskId),
            attempt: self.attempt.map(AttemptId),
        };
        let hits_max = self.hits_max.unwrap_or(HITS).clamp(1, HITS_MAX);
        let seconds = self.seconds_max.unwrap_or(SECONDS).clamp(1, SECONDS_MAX);
        Ok(Search {
            pattern: Pattern::new(&self.q, self.regex.is_some())?,
            filter,
            hits_max,
            hits_of_log: if is_named { hits_max } else { HITS_OF_LOG.min(hits_max) },
            deadline: Instant::now() + Duration::from_secs(seconds),
        })
    }
}

fn parse_since(text: &str, now: Moment) -> Result<Moment, WebError> {
    let wrong = || WebError::BadRequest {
        what: "the time",
        why: format!("{text:?} is none; it is a number and h, d or w, or milliseconds since 1970"),
    };
    const HOUR_MS: u64 = 3_600_000;
    let unit = match text.as_bytes().last() {
        Some(b'h') => HOUR_MS,
        Some(b'd') => 24 * HOUR_MS,
        Some(b'w') => 7 * 24 * HOUR_MS,
        _ => return text.parse().map(Moment).map_err(|_| wrong()),
    };
    let count: u64 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
    Ok(Moment(now.0.saturating_sub(count.saturating_mul(unit))))
}

/// Begins a search; its answers come as they are found, and the last is [`SearchLine::End`] unless the search fails.
pub(crate) fn begin(
    web: &Web,
    query: &SearchQuery,
) -> Result<mpsc::Receiver<Result<SearchLine, WebError>>, WebError> {
    let search = query.read(web.hub.clock.now())?;
    let place = web.searches.clone().try_acquire_owned().map_err(|_| WebError::TooMany)?;
    let (sender, receiver) = mpsc::channel(LINES_MAX);
    let web = web.clone();
    tokio::spawn(async move {
        let _place = place;
        let begun = Instant::now();
        let mut end = SearchEnd::default();
        let last = match run(&web, search, &sender, &mut end).await {
            Ok(()) => {
                end.seconds = begun.elapsed().as_secs_f64();
                Ok(SearchLine::End(end))
            }
            Err(error) => Err(error),
        };
        // Whoever has gone needs no end.
        drop(sender.send(last).await);
    });
    Ok(receiver)
}

type Sender = mpsc::Sender<Result<SearchLine, WebError>>;

async fn run(web: &Web, search: Search, sender: &Sender, end: &mut SearchEnd) -> Result<(), WebError> {
    let builders = web.hub.store.builder_names().await?;
    let names: HashMap<BuilderId, String> = builders.into_iter().collect();
    let pattern = Arc::new(search.pattern);
    let mut before = AttemptId(u64::MAX);
    loop {
        let rows = web.hub.store.logs(&search.filter, before, ROWS).await?;
        let Some(last) = rows.last() else { return Ok(()) };
        before = last.attempt;
        for row in rows {
            let room = search.hits_max.saturating_sub(end.hits);
            let hits_max = search.hits_of_log.min(room);
            let found = look(web, &row, &pattern, hits_max, search.deadline, sender).await?;
            end.logs += 1;
            end.searched_bytes += found.searched_bytes;
            end.hits += found.hits.len();
            if !found.hits.is_empty() {
                let before = before_of(web, &row, &pattern, search.deadline, sender, &names).await?;
                let hits = found.hits.into_iter().map(|hit| HitView {
                    line: hit.line,
                    text: hit.text,
                    matched: hit.matched,
                });
                let log =
                    LogHits { build: build(&row, &names), hits: hits.collect(), more: found.more, before };
                if sender.send(Ok(SearchLine::Log(Box::new(log)))).await.is_err() {
                    return Ok(());
                }
            }
            if found.given_up || Instant::now() >= search.deadline {
                end.stopped_by = Some("time".into());
                return Ok(());
            }
            if end.hits >= search.hits_max {
                end.stopped_by = Some("hits".into());
                return Ok(());
            }
        }
    }
}

/// Looks into one log, on a thread that may wait. One that cannot be read has nothing in it, and is complained about.
async fn look(
    web: &Web,
    row: &LogRow,
    pattern: &Arc<Pattern>,
    hits_max: usize,
    deadline: Instant,
    sender: &Sender,
) -> Result<Found, WebError> {
    let (pattern, sender) = (Arc::clone(pattern), sender.clone());
    let found = web.hub.logs.with_reader(row.task, row.attempt, move |reader| {
        search(reader, &pattern, hits_max, &|| !sender.is_closed() && Instant::now() < deadline)
    });
    Ok(found.await.unwrap_or_else(|error| {
        tracing::warn!(error = fault::chain(&error).join(": "), "a log cannot be searched");
        Found::default()
    }))
}

async fn before_of(
    web: &Web,
    row: &LogRow,
    pattern: &Arc<Pattern>,
    deadline: Instant,
    sender: &Sender,
    names: &HashMap<BuilderId, String>,
) -> Result<Option<BeforeView>, WebError> {
    let Some(before) = web.hub.store.build_before(row).await? else { return Ok(None) };
    let found = look(web, &before, pattern, 1, deadline, sender).await?;
    let prints_it = (!found.hits.is_empty() || !found.given_up).then_some(!found.hits.is_empty());
    let recipe_changed = before.content != row.content;
    Ok(Some(BeforeView { build: build(&before, names), prints_it, recipe_changed }))
}

fn build(row: &LogRow, names: &HashMap<BuilderId, String>) -> BuildView {
    let outcome = match &row.outcome {
        Some(Outcome::Published { .. }) => "published".to_owned(),
        Some(Outcome::Failed { during, .. }) if !during.is_empty() => format!("failed in {during}"),
        Some(Outcome::Failed { .. }) => "failed".into(),
        Some(Outcome::Stopped { .. }) => "stopped".into(),
        None => "running".into(),
    };
    BuildView {
        task: row.task.0,
        attempt: row.attempt.0,
        project: row.project.clone(),
        source: row.source.clone(),
        version: row.version.clone(),
        release: row.release,
        build_release: row.build_release,
        architecture: row.architecture.clone(),
        commit: row.commit.clone(),
        builder: names.get(&row.builder).cloned().unwrap_or_else(|| row.builder.0.clone()),
        assigned_ms: row.assigned.0,
        outcome,
        page_url: format!("/tasks/{}/attempts/{}", row.task, row.attempt),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_searches_are_bounded_or_refused() {
        let now = Moment(1_000_000_000_000);
        let read = |query: SearchQuery| query.read(now);
        let query = |q: &str| SearchQuery { q: q.into(), ..SearchQuery::default() };
        let usual = read(query("x")).unwrap();
        assert_eq!(usual.filter.since, Some(Moment(now.0 - 7 * 24 * 3_600_000)));
        assert_eq!((usual.hits_max, usual.hits_of_log), (HITS, HITS_OF_LOG));
        let many = read(SearchQuery { hits_max: Some(usize::MAX), task: Some(1), ..query("x") }).unwrap();
        assert_eq!((many.hits_max, many.hits_of_log, many.filter.since), (HITS_MAX, HITS_MAX, None));
        for (since, expect) in [
            ("2h", Some(now.0 - 7_200_000)),
            ("99999999999999999w", Some(0)),
            ("12345", Some(12_345)),
            ("h", None),
            ("yesterday", None),
            ("1é", None),
            ("-1d", None),
        ] {
            let moment = read(SearchQuery { since: Some(since.into()), ..query("x") }).ok();
            assert_eq!(moment.and_then(|search| search.filter.since).map(|since| since.0), expect, "{since}");
        }
        assert!(read(query("")).is_err());
        assert!(read(SearchQuery { source: Some("a\0".into()), ..query("x") }).is_err());
        assert!(read(SearchQuery { phase: Some("<b>".into()), ..query("x") }).is_err());
        assert!(read(SearchQuery { regex: Some(String::new()), ..query("(") }).is_err());
    }
}
