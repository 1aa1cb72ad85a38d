//! How long many tasks take to be written down, and to be judged: the rebuild of a whole distribution, twenty times over.
//!
//! Both databases keep what they answer: SQLite with `synchronous = FULL`, PostgreSQL as its defaults say, reached by a
//! socket of this machine.

use std::time::{Duration, Instant};

use database::Address;
use farm::ids::TaskId;
use farm::missing::Reason;
use farm::moment::Moment;
use farm::queue::Readiness;
use farm::task::Event;
use serde::{Deserialize, Serialize};
use summit::store::{NewTask, Store};

use crate::timing;

/// Tasks of one commit.
pub(crate) const TASKS: usize = 80_000;

/// Runs of which the median counts, each with a database of its own.
pub(crate) const RUNS: usize = 3;

/// What was measured.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Figures {
    pub(crate) sqlite: Times,
    /// None where there is no PostgreSQL.
    pub(crate) postgres: Option<Times>,
    /// Processes that wanted to run before.
    pub(crate) load: f64,
    /// Whether this was a release build.
    pub(crate) optimised: bool,
}

/// Of one database, in seconds.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Times {
    pub(crate) made: f64,
    pub(crate) judged: f64,
    pub(crate) read: f64,
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Measures.
pub(crate) fn measure() -> Result<Figures, Failure> {
    let load = crate::machine::Machine::this().load;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let folder = tempfile::tempdir()?;
    let sqlite =
        runtime.block_on(median(|run| Ok(Address::File(folder.path().join(format!("{run}.db"))))))?;
    let postgres = match testkit::Postgres::start() {
        Some(server) => {
            Some(runtime.block_on(median(|_| Ok(Address::parse(&server.database(), folder.path())?)))?)
        }
        None => None,
    };
    Ok(Figures { sqlite, postgres, load, optimised: !cfg!(debug_assertions) })
}

async fn median(address: impl Fn(usize) -> Result<Address, Failure>) -> Result<Times, Failure> {
    let mut runs = Vec::new();
    for run in 0..RUNS {
        runs.push(once(&address(run)?).await?);
    }
    let middle = |of: fn(&Times) -> f64| {
        let mut times: Vec<Duration> = runs.iter().map(|times| Duration::from_secs_f64(of(times))).collect();
        timing::at(&mut times, 50) / 1000.0
    };
    Ok(Times {
        made: middle(|times| times.made),
        judged: middle(|times| times.judged),
        read: middle(|times| times.read),
    })
}

async fn once(address: &Address) -> Result<Times, Failure> {
    let store = Store::open(address).await?;
    let tasks: Vec<NewTask> = (0..TASKS).map(task).collect();
    let begin = Instant::now();
    let (made, _) = store.carry_out(&tasks, &[], Moment(1)).await?;
    let made_seconds = begin.elapsed().as_secs_f64();
    let event = Event::Judged { readiness: Readiness::Ready };
    let events: Vec<(TaskId, Event)> = made.iter().map(|id| (*id, event.clone())).collect();
    let begin = Instant::now();
    let applied = store.apply_many(&events, Moment(2)).await?;
    let judged = begin.elapsed().as_secs_f64();
    let begin = Instant::now();
    let known = store.known_tasks("p", "x86_64").await?;
    let read = begin.elapsed().as_secs_f64();
    if (applied.len(), known.len()) != (TASKS, TASKS) {
        return Err("tasks are missing".into());
    }
    store.close().await;
    Ok(Times { made: made_seconds, judged, read })
}

fn task(number: usize) -> NewTask {
    let source = format!("source-{number}");
    NewTask {
        project: "p".into(),
        channel: "main".into(),
        recipe_path: format!("s/{source}/stone.yaml"),
        source,
        version: "1.0.0".into(),
        release: 1,
        build_release: 1,
        architecture: "x86_64".into(),
        content: "0123456789abcdef0123456789abcdef01234567".into(),
        commit: "0123456789abcdef0123456789abcdef01234567".into(),
        commit_time_seconds: 1_700_000_000,
        reason: Reason::New,
        wave: None,
        round: 0,
        supersedes: Vec::new(),
    }
}
