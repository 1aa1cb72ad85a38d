//! Agents that are attached right now.
//!
//! A session has a number. When the end of an old connection is noticed only after the agent came back, the old number
//! removes nothing of the new session.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use farm::ids::{AttemptId, BuilderId};
use farm::moment::Moment;
use farm::schedule::Pressure;
use tokio::sync::{Notify, mpsc};
use wire::summit::{ToAgent, to_agent};
use wire::tonic::Status;

use crate::store::About;

/// Messages that may wait for one agent: an agent that takes none for so long is better disconnected.
pub(crate) const MESSAGES_MAX: usize = 256;

/// Sends to one agent.
pub(crate) type Sender = mpsc::Sender<Result<ToAgent, Status>>;

/// An agent that cannot be written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Clogged;

/// One attached agent.
#[derive(Debug)]
struct Session {
    number: u64,
    sender: Sender,
    close: Arc<Notify>,
    about: About,
    load: Load,
    features: BTreeSet<String>,
    since: Moment,
    /// Reports on what it does not hold.
    refusals: u64,
    /// Attempts whose order was sent on this connection.
    ordered: HashSet<AttemptId>,
    /// Attempts whose upload was asked for on this connection.
    upload_asked: HashSet<AttemptId>,
}

/// What others may know of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Attached {
    pub(crate) id: BuilderId,
    pub(crate) about: About,
    pub(crate) load: Load,
    /// What the agent found that its machine can do.
    pub(crate) features: BTreeSet<String>,
    pub(crate) since: Moment,
}

/// How much of its machine a builder has left, as it said last.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Load {
    /// Free room for builds; 0 when nobody knows.
    pub(crate) disk_free_bytes: u64,
    /// Of all its cores together, over the last minute.
    pub(crate) load_percent: u32,
    /// Free memory; 0 when nobody knows.
    pub(crate) memory_free_bytes: u64,
    /// What its machine waits for.
    pub(crate) pressure: Pressure,
    /// Slots that we may have at once, where the builder shares them with other Summits.
    pub(crate) slots_offered: Option<u32>,
}

impl Load {
    /// Whether a builder that said `self` before may get work now that it did not get then.
    fn gave_way_to(self, now: Load) -> bool {
        let slots = |load: Load| load.slots_offered.unwrap_or(u32::MAX);
        slots(now) > slots(self) || (self.pressure.shortage().is_some() && now.pressure.shortage().is_none())
    }
}

#[derive(Debug, Default)]
struct Inner {
    next_number: u64,
    sessions: HashMap<BuilderId, Session>,
}

/// Every attached agent.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    inner: Mutex<Inner>,
}

impl Sessions {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a session, and ends the one that this builder had before. Returns its number and what is notified when
    /// it is to end.
    pub(crate) fn begin(
        &self,
        id: &BuilderId,
        sender: Sender,
        about: About,
        now: Moment,
    ) -> (u64, Arc<Notify>) {
        let mut inner = self.lock();
        inner.next_number += 1;
        let number = inner.next_number;
        let close = Arc::new(Notify::new());
        let session = Session {
            number,
            sender,
            close: Arc::clone(&close),
            about,
            load: Load::default(),
            features: BTreeSet::new(),
            since: now,
            refusals: 0,
            ordered: HashSet::new(),
            upload_asked: HashSet::new(),
        };
        if let Some(old) = inner.sessions.insert(id.clone(), session) {
            old.close.notify_one();
        }
        (number, close)
    }

    /// Notes how much of its machine a builder has left, and says whether it may get work now that it did not get before.
    pub(crate) fn set_load(&self, id: &BuilderId, load: Load) -> bool {
        let mut inner = self.lock();
        let Some(session) = inner.sessions.get_mut(id) else { return false };
        std::mem::replace(&mut session.load, load).gave_way_to(load)
    }

    /// Notes what a builder's agent found that its machine can do.
    pub(crate) fn set_features(&self, id: &BuilderId, features: BTreeSet<String>) {
        if let Some(session) = self.lock().sessions.get_mut(id) {
            session.features = features;
        }
    }

    /// Counts a report on something that the agent does not hold; how many there were on this connection.
    pub(crate) fn count_refusal(&self, id: &BuilderId) -> u64 {
        let mut inner = self.lock();
        let Some(session) = inner.sessions.get_mut(id) else { return 1 };
        session.refusals = session.refusals.saturating_add(1);
        session.refusals
    }

    /// Ends the session of this number; whether it was still there.
    pub(crate) fn end(&self, id: &BuilderId, number: u64) -> bool {
        let mut inner = self.lock();
        let is_current = inner.sessions.get(id).is_some_and(|session| session.number == number);
        if is_current {
            inner.sessions.remove(id);
        }
        is_current
    }

    /// Ends the sessions of builders that `keep` does not want.
    pub(crate) fn retain(&self, keep: impl Fn(&BuilderId) -> bool) {
        self.lock().sessions.retain(|id, session| {
            let keep = keep(id);
            if !keep {
                session.close.notify_one();
            }
            keep
        });
    }

    /// Everybody who is there.
    pub(crate) fn attached(&self) -> Vec<Attached> {
        let inner = self.lock();
        let attached = inner.sessions.iter().map(|(id, session)| Attached {
            id: id.clone(),
            about: session.about.clone(),
            load: session.load,
            features: session.features.clone(),
            since: session.since,
        });
        attached.collect()
    }

    /// Sends `message` if the builder is there. An agent whose messages pile up is disconnected.
    pub(crate) fn send(&self, id: &BuilderId, message: to_agent::Message) -> Result<(), Clogged> {
        let mut inner = self.lock();
        let Some(session) = inner.sessions.get_mut(id) else { return Ok(()) };
        match session.sender.try_send(Ok(ToAgent { message: Some(message) })) {
            Ok(()) => Ok(()),
            Err(_full_or_gone) => {
                session.close.notify_one();
                inner.sessions.remove(id);
                Err(Clogged)
            }
        }
    }

    /// Whether the order for `attempt` is still to be sent on this connection.
    pub(crate) fn lacks_order(&self, id: &BuilderId, attempt: AttemptId) -> bool {
        self.lock().sessions.get(id).is_some_and(|session| !session.ordered.contains(&attempt))
    }

    /// Whether the order for `attempt` is still to be sent on this connection; it counts as sent afterwards.
    pub(crate) fn take_order(&self, id: &BuilderId, attempt: AttemptId) -> bool {
        self.lock().sessions.get_mut(id).is_some_and(|session| session.ordered.insert(attempt))
    }

    /// Whether the upload of `attempt` is still to be asked for on this connection; it counts as asked afterwards.
    pub(crate) fn take_upload(&self, id: &BuilderId, attempt: AttemptId) -> bool {
        self.lock().sessions.get_mut(id).is_some_and(|session| session.upload_asked.insert(attempt))
    }

    /// The agent has not understood that it is to upload: ask again.
    pub(crate) fn ask_upload_again(&self, id: &BuilderId, attempt: AttemptId) {
        if let Some(session) = self.lock().sessions.get_mut(id) {
            session.upload_asked.remove(&attempt);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begin(sessions: &Sessions, capacity: usize) -> (u64, mpsc::Receiver<Result<ToAgent, Status>>) {
        let (sender, receiver) = mpsc::channel(capacity);
        (sessions.begin(&id(), sender, About::default(), Moment(0)).0, receiver)
    }

    fn id() -> BuilderId {
        BuilderId("a".into())
    }

    fn message() -> to_agent::Message {
        to_agent::Message::Release(wire::summit::Release { attempt_id: 1 })
    }

    #[test]
    fn the_late_end_of_an_old_connection_leaves_the_new_one() {
        let sessions = Sessions::default();
        let (first, _first) = begin(&sessions, 1);
        assert!(sessions.take_order(&id(), AttemptId(1)));
        let (second, _second) = begin(&sessions, 1);
        assert!(!sessions.end(&id(), first));
        assert_eq!(sessions.attached().len(), 1);
        assert!(sessions.take_order(&id(), AttemptId(1)), "a new connection gets the order again");
        assert!(!sessions.take_order(&id(), AttemptId(1)));
        assert!(sessions.end(&id(), second));
        assert!(sessions.attached().is_empty());
    }

    #[test]
    fn more_room_is_noticed() {
        let sessions = Sessions::default();
        let (_, _receiver) = begin(&sessions, 1);
        let offers = |slots| Load { slots_offered: slots, ..Load::default() };
        assert!(!sessions.set_load(&id(), offers(Some(1))), "less than all");
        assert!(!sessions.set_load(&id(), offers(Some(1))));
        assert!(sessions.set_load(&id(), offers(Some(2))));
        assert!(sessions.set_load(&id(), offers(None)));
        let short = Pressure { memory_percent: 99, ..Pressure::default() };
        assert!(!sessions.set_load(&id(), Load { pressure: short, ..Load::default() }));
        assert!(sessions.set_load(&id(), Load::default()));
    }

    #[test]
    fn an_agent_that_takes_nothing_is_disconnected() {
        let sessions = Sessions::default();
        let (_, _receiver) = begin(&sessions, 1);
        assert_eq!(sessions.send(&id(), message()), Ok(()));
        assert_eq!(sessions.send(&id(), message()), Err(Clogged));
        assert!(sessions.attached().is_empty());
        assert_eq!(sessions.send(&id(), message()), Ok(()), "nobody there is nothing to complain about");
    }
}
