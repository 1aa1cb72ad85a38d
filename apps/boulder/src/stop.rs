//! Ending in order when somebody ends this program.
//!
//! SIGTERM kills the sandbox at once and lets the build end as a failed one, so that its report says how much memory it
//! took. Outside a sandbox there is nothing to tell, and the signal does what it always does. A signal is the matter of
//! the whole process, and so is what is kept here.

use std::io::Read;
use std::sync::{Mutex, MutexGuard, PoisonError};

use sandbox::Killer;
use signal_hook::consts::SIGTERM;
use signal_hook::low_level::{emulate_default_handler, pipe};

/// What is to be ended.
#[derive(Debug)]
enum State {
    Outside,
    Inside(Killer),
    Stopped,
}

static STATE: Mutex<State> = Mutex::new(State::Outside);

fn state() -> MutexGuard<'static, State> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// From now on this process ends in order.
pub(crate) fn listen() -> std::io::Result<()> {
    let (mut told, teller) = std::io::pipe()?;
    pipe::register(SIGTERM, teller)?;
    // It waits as long as the process lives.
    std::thread::Builder::new().name("stop".to_owned()).spawn(move || {
        let mut byte = [0];
        while told.read_exact(&mut byte).is_ok() {
            match std::mem::replace(&mut *state(), State::Stopped) {
                State::Inside(killer) => killer.kill(),
                // An error would leave the process running, which its supervisor ends by other means.
                State::Outside | State::Stopped => drop(emulate_default_handler(SIGTERM)),
            }
        }
    })?;
    Ok(())
}

/// A sandbox runs, which this ends until [`left`] is said.
pub(crate) fn entered(killer: Killer) {
    let mut state = state();
    match *state {
        State::Stopped => killer.kill(),
        State::Outside | State::Inside(_) => *state = State::Inside(killer),
    }
}

/// No sandbox runs any more.
pub(crate) fn left() {
    let mut state = state();
    if matches!(*state, State::Inside(_)) {
        *state = State::Outside;
    }
}
