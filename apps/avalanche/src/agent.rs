//! The agent: one task that owns a desk for each Summit, and hands every event to the desk that it is for.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use fault::{Fault, Kind};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Interval, MissedTickBehavior, interval};
use wire::Identity;

use crate::connection::{self, SummitNumber, ToDesk};
use crate::desk::{Desk, House};
use crate::growth::GrowthWatch;
use crate::keeper::Program;
use crate::ledger::Event;
use crate::settings::Settings;
use crate::share::{Guest, grants, next_turn, turn_after_end};
use crate::store::{Shelf, Store, StoreError};
use crate::vessel_links::VesselLinks;

/// Events that may wait; their senders wait when there are more.
const EVENTS_MAX: usize = 256;
/// How often the desks look whether it is time for something; heartbeats are seconds apart.
const TICK: Duration = Duration::from_millis(250);
/// How long a Summit has its turn with what is free, when there are several: a few round trips and a placement.
const TURN: Duration = Duration::from_secs(2);
/// How long killed builds may take to end when the agent ends; the kernel needs a moment for large processes.
const ENDING_TIMEOUT: Duration = Duration::from_secs(20);
/// Uploads that go on at once, each over a connection of its own; Vessel serves eight of each builder, and one that broke
/// lingers for a while.
const UPLOADS_MAX: usize = 6;

/// The agent cannot run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AgentError {
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Fault for AgentError {
    fn kind(&self) -> Kind {
        match self {
            AgentError::Store(error) => error.kind(),
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            AgentError::Store(error) => error.hints(),
        }
    }
}

/// Runs until `shutdown` is ready. Builds go on without it, unless `stop_builds` is said; what was built stays for the
/// next start.
pub(crate) async fn run(
    settings: Settings,
    identity: Identity,
    program: Program,
    stop_builds: bool,
    shutdown: impl Future<Output = ()>,
) -> Result<(), AgentError> {
    let store = Store::open(&settings.data)?;
    store.end_drain()?;
    let boulder = settings.boulder.clone();
    // Builds that run have their folders locked; nobody waits for this.
    drop(tokio::task::spawn_blocking(move || boulder.clean()));
    let (connected, mut connection) = mpsc::channel(EVENTS_MAX);
    let (events, mut happened) = mpsc::channel(EVENTS_MAX);
    let shelves: Vec<Shelf> =
        settings.summits.iter().map(|summit| store.shelf(summit.name.as_deref())).collect();
    store.sweep_other_shelves(&shelves)?;
    let house = House {
        growth: GrowthWatch::new(),
        uploads: Arc::new(Semaphore::new(UPLOADS_MAX)),
        links: VesselLinks::default(),
        settings,
        identity,
        store,
        program,
        events,
    };
    let grown = house.growth.grown();
    let mut agent = Agent { desks: Vec::new(), turn: 0, house };
    agent.open_desks(shelves)?;
    let keeping = agent.connect(&connected);
    let mut tick = ticks(TICK);
    let mut turn = ticks(TURN);
    tokio::pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            Some((number, word)) = connection.recv() => agent.at_desk(number, |desk, house, elsewhere| desk.hear(house, word, elsewhere)),
            Some((number, event)) = happened.recv() => agent.happened(number, event),
            () = grown.notified() => agent.at_all(|desk, house| desk.logs_grew(house)),
            _ = tick.tick() => agent.at_all(|desk, house| desk.tick(house)),
            _ = turn.tick() => agent.next_turn(),
        }
    }
    for task in keeping {
        task.abort();
    }
    if !stop_builds {
        tracing::info!(builds = agent.building(), "ending; builds go on, and are found at the next start");
        return Ok(());
    }
    tracing::info!(builds = agent.building(), "ending, and every build with it");
    agent.at_all(|desk, house| desk.handle(house, Event::Stopping));
    let ended = async {
        while agent.building() > 0 {
            match happened.recv().await {
                Some((number, event)) => agent.happened(number, event),
                None => break,
            }
        }
        for desk in &mut agent.desks {
            desk.finish_deletions().await;
        }
    };
    if tokio::time::timeout(ENDING_TIMEOUT, ended).await.is_err() {
        tracing::warn!("some builds have not ended; they are found at the next start");
    }
    Ok(())
}

struct Agent {
    house: House,
    desks: Vec<Desk>,
    /// Whose turn it is with what is free.
    turn: SummitNumber,
}

impl Agent {
    fn open_desks(&mut self, shelves: Vec<Shelf>) -> Result<(), AgentError> {
        for (number, shelf) in shelves.into_iter().enumerate() {
            let survivors = shelf.survivors()?;
            let desk = Desk::open(&self.house, number, shelf, survivors);
            self.desks.push(desk);
        }
        self.share();
        Ok(())
    }

    fn connect(&self, connected: &mpsc::Sender<ToDesk>) -> Vec<tokio::task::JoinHandle<()>> {
        let summits = self.house.settings.summits.iter().enumerate();
        let keep = |(number, summit): (SummitNumber, &crate::settings::SummitSettings)| {
            let summit = connection::Summit {
                number,
                name: summit.name.clone().unwrap_or_default(),
                addresses: summit.addresses.clone(),
                keys: summit.keys.clone(),
                identity: self.house.identity.clone(),
            };
            tokio::spawn(connection::keep(summit, connected.clone()))
        };
        summits.map(keep).collect()
    }

    /// Acts at one desk, which is told how many builds run for the others.
    fn at_desk(&mut self, number: SummitNumber, act: impl FnOnce(&mut Desk, &House, usize)) {
        let all = self.building();
        if let Some(desk) = self.desks.get_mut(number) {
            let elsewhere = all - desk.building();
            act(desk, &self.house, elsewhere);
        }
        self.share();
    }

    fn at_all(&mut self, act: impl Fn(&mut Desk, &House)) {
        for desk in &mut self.desks {
            act(desk, &self.house);
        }
        self.share();
    }

    fn happened(&mut self, number: SummitNumber, event: Event) {
        let has_ended = matches!(event, Event::BuildEnded { .. });
        self.at_desk(number, |desk, house, _| desk.handle(house, event));
        if has_ended {
            self.turn = turn_after_end(&self.guests(), self.turn);
            self.share();
        }
    }

    fn next_turn(&mut self) {
        self.turn = next_turn(&self.guests(), self.turn);
        self.share();
    }

    /// Tells each Summit what it may have, where that has changed. The only Summit has all.
    fn share(&mut self) {
        let is_draining = self.house.store.is_draining();
        if self.desks.len() < 2 && !is_draining {
            for desk in &mut self.desks {
                desk.offer(&self.house, None);
            }
            return;
        }
        let guests = self.guests();
        let slots = if is_draining { 0 } else { self.house.settings.slots };
        for (desk, granted) in self.desks.iter_mut().zip(grants(slots, &guests, self.turn)) {
            desk.offer(&self.house, Some(granted));
        }
    }

    fn guests(&self) -> Vec<Guest> {
        self.desks
            .iter()
            .map(|desk| Guest { running: desk.building(), attached: desk.is_attached() })
            .collect()
    }

    fn building(&self) -> usize {
        self.desks.iter().map(Desk::building).sum()
    }
}

fn ticks(period: Duration) -> Interval {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}
