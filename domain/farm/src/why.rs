//! Why a task stands where it stands, and what happens next.
//!
//! [`explain`] takes what is known about a task at one moment and answers for people: a headline, what is behind it, and
//! always the next step, which is a command, a page, a person, or the moment when it goes on by itself. There is an answer
//! for every state and every reason. It decides nothing: the reasons are those that made the decisions elsewhere.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::failure::{FAULTS_MAX, FailureClass};
use crate::ids::{AttemptId, BuilderId, TaskId};
use crate::moment::Moment;
use crate::queue::Blocker;
use crate::queue::what_of_knot;
use crate::schedule::{Unplaced, duration, size};
use crate::task::{Lease, Phase, State, Tries, Twin};

/// How many of a list are named; the others are counted.
const NAMED_MAX: usize = 5;

/// How a machine becomes a builder.
const ADD_BUILDER: &str = "`moraine builder enrol NAME` prints a token that is good once, and the two commands that the new machine has to run with \
     it";

/// What is known about a task.
pub struct Snapshot<'a> {
    /// Its number.
    pub task: TaskId,
    /// What it builds, as people call it: source, version and release.
    pub title: &'a str,
    /// Path of its recipe.
    pub recipe_path: &'a str,
    /// Why it was made, in a line.
    pub made_because: &'a str,
    /// Where it stands.
    pub state: &'a State,
    /// The nearest open tasks that have to be published before it; for a waiting one.
    pub waits_on: &'a [Ahead],
    /// Open tasks below it, near or far, that wait for no other: what holds it up in the end.
    pub held_up_by: &'a [Ahead],
    /// Why no builder gets it; for a ready one, none when it is handed out next.
    pub unplaced: Option<&'a Unplaced>,
    /// Its attempts, the first one first.
    pub attempts: &'a [Tried],
    /// How many open tasks wait for it.
    pub holds_up: usize,
    /// When the build that runs will be done, by experience.
    pub expected_end: Option<Moment>,
    /// Who paused the whole queue; nothing is started then.
    pub paused: Option<&'a Paused>,
    /// What Summit cannot do: read recipes or repository, for a task that was not built; publish, for one that was.
    pub trouble: Option<&'a str>,
    /// What the repository, which has all that was built, waits for before it publishes it.
    pub held_back: Option<&'a str>,
    /// Names of builders, for people.
    pub name_of: &'a dyn Fn(&BuilderId) -> String,
    /// Now.
    pub now: Moment,
}

/// Nothing is started, because somebody wants it so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Paused {
    /// Who.
    pub by: String,
    /// Why, in a line; empty when nothing was said.
    pub why: String,
    /// Since then.
    pub since: Moment,
}

/// A task that has to be published first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ahead {
    /// Its number.
    pub task: TaskId,
    /// Its source name.
    pub source: String,
    /// Where it stands.
    pub phase: Phase,
    /// When its build will be done, by experience.
    pub expected_end: Option<Moment>,
    /// Why no builder gets it; for a ready one.
    pub unplaced: Option<Unplaced>,
}

/// An attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tried {
    /// Its number.
    pub attempt: AttemptId,
    /// Who had it.
    pub builder: BuilderId,
    /// Why that builder got it.
    pub why: String,
    /// What became of it; none while it runs.
    pub outcome: Option<String>,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Explanation {
    /// Where the task stands, a sentence.
    pub headline: String,
    /// What is behind that, the most important first.
    pub because: Vec<Because>,
    /// What is to be done and by whom, or when it goes on by itself.
    pub next_step: String,
}

/// Something that is behind it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Because {
    /// A sentence.
    pub text: String,
    /// The task that it is about, if that is another one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task: Option<TaskId>,
}

impl Because {
    fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), task: None }
    }
}

/// Explains a task.
#[must_use]
pub fn explain(snapshot: &Snapshot<'_>) -> Explanation {
    let mut answer = match snapshot.state {
        State::Waiting { tries } => waiting(snapshot, tries),
        State::Blocked { by, tries } => blocked(snapshot, by, tries),
        State::Ready { since, tries } => ready(snapshot, *since, tries),
        State::Held { by, why, since, tries } => held(snapshot, by, why, *since, tries),
        State::Leased { lease } => leased(snapshot, lease),
        State::Building { lease, since, twin } => building(snapshot, lease, *since, twin.as_ref()),
        State::Publishing { lease, artefacts, since } => publishing(snapshot, lease, artefacts.len(), *since),
        State::Published { attempt, history } => published(snapshot, *attempt, history),
        State::Failed { attempt, class, message, during } => {
            failed(snapshot, *attempt, *class, message, during)
        }
        State::Cancelled { why } => cancelled(snapshot, why),
        State::Superseded { by } => superseded(snapshot, *by),
    };
    if let (Some(paused), Phase::Waiting | Phase::Blocked | Phase::Held) =
        (snapshot.paused, snapshot.state.phase())
    {
        answer.because.push(Because::new(format!("Besides, {}.", paused_by(paused, snapshot.now))));
    }
    if let (Some(trouble), Phase::Waiting | Phase::Blocked) = (snapshot.trouble, snapshot.state.phase()) {
        answer
            .because
            .push(Because::new(format!("Besides, Summit does not know how things stand now: {trouble}")));
    }
    if !matches!(snapshot.state, State::Published { .. } | State::Superseded { .. }) {
        if !snapshot.made_because.is_empty() {
            answer.because.push(Because::new(format!("Why it is built: {}.", snapshot.made_because)));
        }
        match snapshot.holds_up {
            0 => {}
            1 => answer.because.push(Because::new("One other task waits for it.")),
            count => answer.because.push(Because::new(format!("{count} other tasks wait for it."))),
        }
    }
    answer
}

fn waiting(snapshot: &Snapshot<'_>, tries: &Tries) -> Explanation {
    let title = snapshot.title;
    if snapshot.waits_on.is_empty() {
        return Explanation {
            headline: format!("{title} was just made, or what it waited for was just published."),
            because: behind(snapshot, tries),
            next_step: "Nothing to do: Summit looks at it within seconds. If it stays so for a minute, the dashboard's first page says \
                 what Summit cannot read."
                .into(),
        };
    }
    let names: Vec<&str> = snapshot.waits_on.iter().map(|ahead| ahead.source.as_str()).collect();
    let named = snapshot.waits_on.iter().take(NAMED_MAX);
    let mut because: Vec<Because> = named.map(|ahead| where_it_is(snapshot, ahead)).collect();
    if snapshot.waits_on.len() > NAMED_MAX {
        because.push(Because::new(format!("And for {} more.", snapshot.waits_on.len() - NAMED_MAX)));
    }
    because.extend(behind(snapshot, tries));
    Explanation {
        headline: format!("{title} waits until {} published.", is_or_are(&names)),
        because,
        next_step: going_on(snapshot),
    }
}

/// What a waiting task waits for in the end, and whether somebody has to do something about that.
fn going_on(snapshot: &Snapshot<'_>) -> String {
    // What nobody builds tells more about the rest of the wait than what is nearly done; and of that, what does not go
    // on by itself.
    let idle = |ahead: &&Ahead| !ahead.phase.is_running();
    let stuck = |ahead: &&Ahead| ahead.unplaced.as_ref().is_some_and(needs_somebody);
    let roots = snapshot.held_up_by;
    let name = |builder: &BuilderId| (snapshot.name_of)(builder);
    if let Some(root) = roots.iter().find(|ahead| ahead.phase == Phase::Held) {
        return format!(
            "Nothing to do for this task itself, but it will not go on by itself: what holds it up in the end is {}, and somebody holds that. \
             `moraine task release {}` lets it start.",
            root.source, root.task
        );
    }
    if snapshot.paused.is_some() {
        return RESUME.into();
    }
    if let Some(root) = roots.iter().find(stuck) {
        let why = root.unplaced.as_ref().map(|unplaced| told(unplaced, &name)).unwrap_or_default();
        return format!(
            "Nothing to do for this task itself, but it will not go on by itself: what holds it up in the end is {}: {why}. \
             `moraine why {}` says what to do.",
            root.source, root.task
        );
    }
    if let Some(root) = roots.iter().find(idle) {
        return format!(
            "Nothing to do: it goes on by itself. First of all {} has to be built: `moraine why {}`.",
            root.source, root.task
        );
    }
    match roots.iter().max_by_key(|root| (root.expected_end, std::cmp::Reverse(root.task))) {
        Some(Ahead { expected_end: Some(end), source, .. }) if *end > snapshot.now => format!(
            "Nothing to do: it goes on by itself. {source} is expected to be done in about {}.",
            left(*end, snapshot.now)
        ),
        Some(root) => format!("Nothing to do: it goes on by itself when {} is published.", root.source),
        None => "Nothing to do: it goes on by itself.".into(),
    }
}

/// Whether a ready task stays where it is until somebody does something.
fn needs_somebody(unplaced: &Unplaced) -> bool {
    match unplaced {
        Unplaced::NoBuilder
        | Unplaced::NoArchitecture { .. }
        | Unplaced::NoFeature { .. }
        | Unplaced::NotTrusted
        | Unplaced::NoMemory { .. }
        | Unplaced::NoDisk { .. }
        | Unplaced::Drained { .. } => true,
        Unplaced::Resting { .. }
        | Unplaced::Pressed { .. }
        | Unplaced::Quarantined { .. }
        | Unplaced::ReservedFor { .. }
        | Unplaced::HeldFor { .. }
        | Unplaced::Busy { .. } => false,
    }
}

fn where_it_is(snapshot: &Snapshot<'_>, ahead: &Ahead) -> Because {
    let Ahead { task, source, phase, expected_end, .. } = ahead;
    let text = match (phase, expected_end) {
        (Phase::Building, Some(end)) if *end > snapshot.now => {
            format!("{source} is being built, for about {} more.", left(*end, snapshot.now))
        }
        (Phase::Building, _) => format!("{source} is being built."),
        (Phase::Publishing, _) => format!("{source} is built and on its way into the repository."),
        (Phase::Leased, _) => format!("{source} was just given to a builder."),
        (Phase::Ready, _) => format!("{source} waits for a builder."),
        (Phase::Waiting, _) => format!("{source} waits for others itself."),
        (Phase::Held, _) => format!("{source} is held by somebody."),
        (phase, _) => format!("{source} is {phase}."),
    };
    Because { text, task: Some(*task) }
}

fn blocked(snapshot: &Snapshot<'_>, by: &[Blocker], tries: &Tries) -> Explanation {
    let mut because: Vec<Because> = by.iter().take(NAMED_MAX).map(reason).collect();
    if by.len() > NAMED_MAX {
        because.push(Because::new(format!("And {} more.", by.len() - NAMED_MAX)));
    }
    because.extend(behind(snapshot, tries));
    let headline = format!("{} cannot be built until somebody does something.", snapshot.title);
    let next_step = match by {
        [blocker] => mend(snapshot, blocker),
        [first, ..] => format!(
            "First: {} All {} reasons have to go: ask again after each.",
            mend(snapshot, first),
            by.len()
        ),
        [] => "Nothing to do: Summit looks at it again within seconds.".into(),
    };
    Explanation { headline, because, next_step }
}

fn reason(blocker: &Blocker) -> Because {
    match blocker {
        Blocker::Task { task, source } => {
            let text = format!(
                "{source} has to be published first, and its task {task} failed, was stopped, or cannot start."
            );
            Because { text, task: Some(*task) }
        }
        Blocker::Unresolved { dependency } => Because::new(format!(
            "It needs {} to be built, and neither a recipe nor a repository nor the builders' own systems offer that.",
            dependency.as_written()
        )),
        Blocker::Uninstallable { dependency, package, needs } => Because::new(format!(
            "It needs {} to be built, which cannot be installed: package {package} needs {}, and nobody offers that.",
            dependency.as_written(),
            needs.as_written()
        )),
        Blocker::Knot { source, dependency } => {
            let what = what_of_knot(source, dependency.as_ref());
            Because::new(format!(
                "It needs {what}, and {source} needs this package too, near or far: to break the circle an earlier build of \
                 {source} is needed, and nobody has one."
            ))
        }
        Blocker::Unreadable { path } => {
            Because::new(format!("It needs what the recipe {path} makes, and that cannot be read."))
        }
    }
}

/// What removes a blocker.
fn mend(snapshot: &Snapshot<'_>, blocker: &Blocker) -> String {
    let recipe = snapshot.recipe_path;
    match blocker {
        Blocker::Task { task, source } => format!(
            "`moraine why {task}` says what {source} needs. This task goes on by itself as soon as that one does."
        ),
        Blocker::Unresolved { dependency } => format!(
            "The maintainer of {recipe}: correct the dependency {} in it and push, or add a recipe that offers it. Or the farm's operator: name \
             a repository that has it in a `[[project.repository]]` of Summit's configuration (`id`, and `index_uri` or `base_uri`), or \
             say with `host_provides` that builders have it. It goes on by itself then.",
            dependency.as_written()
        ),
        Blocker::Uninstallable { package, needs, .. } => format!(
            "Whoever looks after {package}: add a recipe that offers {}, or rebuild {package} without it. It goes on by itself \
             when that is published.",
            needs.as_written()
        ),
        Blocker::Knot { source, .. } => format!(
            "The farm's operator: name a repository that has {source} in a `[[project.repository]]` of Summit's configuration, \
             with `bootstrap = true`; it is used only until {source} is built here. It goes on by itself then."
        ),
        Blocker::Unreadable { path } => format!(
            "The maintainer of {path}: correct it and push; the dashboard's first page says what is wrong with it. It goes on by \
             itself then."
        ),
    }
}

fn ready(snapshot: &Snapshot<'_>, since: Moment, tries: &Tries) -> Explanation {
    let waits = duration(snapshot.now.0.saturating_sub(since.0));
    let name = |builder: &BuilderId| (snapshot.name_of)(builder);
    let mut because = Vec::new();
    let (headline, next_step) = match (snapshot.paused, snapshot.unplaced) {
        (Some(paused), _) => {
            because.push(Because::new(format!("{}.", capital(&paused_by(paused, snapshot.now)))));
            ("could be built, and nothing is started".to_owned(), RESUME.to_owned())
        }
        (None, None) => (
            "is the next that a builder gets".to_owned(),
            "Nothing to do: it begins within seconds.".to_owned(),
        ),
        (None, Some(unplaced)) => {
            let headline = match unplaced {
                Unplaced::Resting { .. } => {
                    "waits a little, after an attempt that came to nothing through no fault of its own"
                }
                _ => {
                    because.push(Because::new(format!("{}.", capital(&told(unplaced, &name)))));
                    "could be built, and waits for a builder"
                }
            };
            (headline.to_owned(), placing(snapshot, unplaced, tries, &name))
        }
    };
    because.push(Because::new(format!("Everything that it needs has been there for {waits}.")));
    because.extend(behind(snapshot, tries));
    Explanation { headline: format!("{} {headline}.", snapshot.title), because, next_step }
}

/// What lets a paused queue go on.
const RESUME: &str = "The farm's operator: `moraine queue resume` lets builds start again. What is being built goes on meanwhile, and is published.";

/// That the queue is paused, as a part of a sentence.
fn paused_by(paused: &Paused, now: Moment) -> String {
    let lasted = duration(now.0.saturating_sub(paused.since.0));
    let why = if paused.why.is_empty() { String::new() } else { format!(": {}", paused.why) };
    format!("the queue was paused by {} {lasted} ago{why}", paused.by)
}

fn held(snapshot: &Snapshot<'_>, by: &str, why: &str, since: Moment, tries: &Tries) -> Explanation {
    let lasted = duration(snapshot.now.0.saturating_sub(since.0));
    let mut because = vec![Because::new(match why {
        "" => format!("{by} has held it for {lasted}, and gave no reason."),
        why => format!("{by} has held it for {lasted}: {why}"),
    })];
    because.extend(behind(snapshot, tries));
    Explanation {
        headline: format!("{} is held: it does not start until somebody releases it.", snapshot.title),
        because,
        next_step: format!(
            "Whoever holds it: `moraine task release {}` lets it start, as soon as it can.",
            snapshot.task
        ),
    }
}

/// The reason with the builders' names instead of their keys.
fn told(unplaced: &Unplaced, name: &dyn Fn(&BuilderId) -> String) -> String {
    let named = |builder: &BuilderId| BuilderId(name(builder));
    match unplaced {
        Unplaced::ReservedFor { builder, until } => {
            Unplaced::ReservedFor { builder: named(builder), until: *until }.to_string()
        }
        Unplaced::HeldFor { builder, until } => {
            Unplaced::HeldFor { builder: named(builder), until: *until }.to_string()
        }
        Unplaced::Drained { builder } => Unplaced::Drained { builder: named(builder) }.to_string(),
        Unplaced::Quarantined { builder, until } => {
            Unplaced::Quarantined { builder: named(builder), until: *until }.to_string()
        }
        other => other.to_string(),
    }
}

/// What gives a ready task to a builder.
fn placing(
    snapshot: &Snapshot<'_>,
    unplaced: &Unplaced,
    tries: &Tries,
    name: &dyn Fn(&BuilderId) -> String,
) -> String {
    let now = snapshot.now;
    match unplaced {
        Unplaced::Resting { until } => {
            let elsewhere = match &tries.avoid {
                Some(builder) => format!(", rather not on {}", name(builder)),
                None => String::new(),
            };
            format!("Nothing to do: it is tried again by itself in {}{elsewhere}.", left(*until, now))
        }
        Unplaced::NoBuilder => format!(
            "The farm's operator: start one of the builders that `moraine builder list` shows, or add one: {ADD_BUILDER}. A farm of \
             `moraine up` has builders of its own with `--agents 2`."
        ),
        Unplaced::NoArchitecture { architecture } => {
            format!("The farm's operator: add a builder for {architecture}: {ADD_BUILDER}.")
        }
        Unplaced::NoFeature { features } => {
            let names: Vec<&str> = features.iter().map(String::as_str).collect();
            format!(
                "The farm's operator: if a machine that builds has {}, say so: `moraine builder label NAME {}`. Or add such a machine: {ADD_BUILDER}.",
                names.join(" and "),
                names.iter().map(|name| format!("--feature {name}")).collect::<Vec<_>>().join(" ")
            )
        }
        Unplaced::NotTrusted => format!(
            "The farm's operator: start a machine of the distribution; or say that one is: `moraine builder label NAME --trust official`. Or add \
             one, with `--trust official`: {ADD_BUILDER}."
        ),
        Unplaced::NoMemory { needed_bytes, .. } => format!(
            "The farm's operator: add a builder with at least {} of memory: {ADD_BUILDER}. Or, if that is more than it needs: lower `memory` in the \
             `[[project.requirement]]` that asks for it.",
            size(*needed_bytes)
        ),
        Unplaced::NoDisk { needed_bytes, .. } => {
            format!(
                "The farm's operator: make room for {} on the disk of a builder, or lower `disk` in the `[[project.requirement]]` that \
                 asks for it.",
                size(*needed_bytes)
            )
        }
        Unplaced::Quarantined { builder, until } => {
            let name = name(builder);
            format!(
                "{name} is tried again by itself in {}, and fails again unless its fault is mended. The farm's operator: `moraine builder show \
                 {name}` shows the fault; when it is mended, `moraine builder undrain {name}` gives it work at once.",
                left(*until, now)
            )
        }
        Unplaced::Pressed { .. } => "Nothing to do: it begins when such a builder has caught up. The dashboard's page /builders shows what \
             each waits for."
            .into(),
        Unplaced::Drained { builder } => format!(
            "The farm's operator: `moraine builder list` shows who is drained; `moraine builder undrain {}` gives it work again.",
            name(builder)
        ),
        Unplaced::ReservedFor { builder, until } | Unplaced::HeldFor { builder, until } => format!(
            "Nothing to do: it begins when {} has room, in about {}.",
            name(builder),
            left(*until, now)
        ),
        Unplaced::Busy { ahead, until } => {
            let turn = match ahead {
                0 => "it is the next of its kind".to_owned(),
                1 => "one more urgent task goes before it".to_owned(),
                ahead => format!("{ahead} more urgent tasks go before it"),
            };
            let free = match until {
                Some(until) => format!("; the next place is free in about {}", left(*until, now)),
                None => String::new(),
            };
            format!("Nothing to do: {turn}{free}. More builders would make it sooner.")
        }
    }
}

fn leased(snapshot: &Snapshot<'_>, lease: &Lease) -> Explanation {
    let builder = (snapshot.name_of)(&lease.claim.builder);
    let mut because = assigned(snapshot, lease.claim.attempt);
    because.extend(behind(snapshot, &lease.tries));
    Explanation {
        headline: format!("{} was given to {builder}, which has not begun yet.", snapshot.title),
        because,
        next_step: format!(
            "Nothing to do: if {builder} does not begin or answer within {}, another attempt is made by itself.",
            left(lease.until, snapshot.now)
        ),
    }
}

fn building(snapshot: &Snapshot<'_>, lease: &Lease, since: Moment, twin: Option<&Twin>) -> Explanation {
    let builder = (snapshot.name_of)(&lease.claim.builder);
    let lasted = duration(snapshot.now.0.saturating_sub(since.0));
    let mut because = assigned(snapshot, lease.claim.attempt);
    if let Some(twin) = twin {
        let other = (snapshot.name_of)(&twin.claim.builder);
        because.push(Because::new(format!(
            "It took so long that {other} builds it as well; the first that is done is published, and the other is stopped."
        )));
        because.extend(assigned(snapshot, twin.claim.attempt));
    }
    because.extend(behind(snapshot, &lease.tries));
    let page = log_page(snapshot, lease.claim.attempt);
    let next_step = match snapshot.expected_end {
        Some(end) if end > snapshot.now => {
            format!(
                "Nothing to do: judging by earlier builds it is done in about {}. Its log: {page}.",
                left(end, snapshot.now)
            )
        }
        Some(end) => format!(
            "Nothing has to be done: it has taken {} longer than expected, and Summit ends it when it reaches a limit. Its log \
             shows whether it still gets on: {page}.",
            duration(snapshot.now.0.saturating_sub(end.0))
        ),
        None => format!(
            "Nothing to do: it ends by itself. How long it takes is not known, for it was never built before. Its log: {page}."
        ),
    };
    Explanation {
        headline: format!("{builder} has been building {} for {lasted}.", snapshot.title),
        because,
        next_step,
    }
}

fn publishing(snapshot: &Snapshot<'_>, lease: &Lease, files: usize, since: Moment) -> Explanation {
    let builder = (snapshot.name_of)(&lease.claim.builder);
    let lasted = duration(snapshot.now.0.saturating_sub(since.0));
    if let Some(reason) = snapshot.held_back {
        return Explanation {
            headline: format!("{} was built {lasted} ago, and is held back by the repository.", snapshot.title),
            because: vec![Because::new(format!("It needs to run what is not there: {reason}"))],
            next_step: "Nothing to do if that is built or on its way: it is published by itself, together with what it needs. \
                        If it is not, mend the recipe of the one that needs it or of the one that offers it; the operator of the \
                        repository can also let it go: `vessel channel release-held`."
                .into(),
        };
    }
    if let Some(trouble) = snapshot.trouble {
        return Explanation {
            headline: format!("{} was built {lasted} ago, and cannot be published.", snapshot.title),
            because: vec![Because::new(format!("Publishing comes to nothing: {trouble}"))],
            next_step:
                "The farm's operator: mend that. What was built is kept, and is published by itself then."
                    .into(),
        };
    }
    let mut because = vec![Because::new(match files {
        0 => format!("{builder} has built it."),
        1 => format!("{builder} has built it, and uploads one file."),
        _ => format!("{builder} has built it, and uploads {files} files."),
    })];
    because.extend(behind(snapshot, &lease.tries));
    Explanation {
        headline: format!(
            "{} is built, and has been on its way into the repository for {lasted}.",
            snapshot.title
        ),
        because,
        next_step: format!(
            "Nothing to do: it is published when all files are there, or tried again by itself. If {builder} and Vessel are both \
             running and it stays so for an hour, the farm's operator should read the messages of Vessel, the repository server."
        ),
    }
}

fn published(snapshot: &Snapshot<'_>, attempt: AttemptId, history: &str) -> Explanation {
    Explanation {
        headline: format!("{} is published, in version {history} of the repository.", snapshot.title),
        because: assigned(snapshot, attempt),
        next_step: "Nothing to do: users get it with their next update.".into(),
    }
}

fn failed(
    snapshot: &Snapshot<'_>,
    attempt: AttemptId,
    class: FailureClass,
    message: &str,
    during: &str,
) -> Explanation {
    let task = snapshot.task;
    let where_ = if during.is_empty() { String::new() } else { format!(", in the phase {during}") };
    let mut because = vec![Because::new(format!("{}{where_}: {message}", capital(class_text(class))))];
    because.extend(earlier(snapshot, Some(attempt)));
    let again = try_again(task);
    let recipe = snapshot.recipe_path;
    let page = log_page(snapshot, attempt);
    let limit = |key: &str| {
        format!(
            "Look at the end of the log ({page}). If the build is in order and needs more, the farm's operator raises {key} under \
             `[limits]` of Summit's configuration; then {again}. Otherwise its maintainer corrects {recipe} and pushes."
        )
    };
    let next_step = match class {
        FailureClass::Build => format!(
            "The maintainer of {recipe}: read the end of the log ({page}), correct the recipe and push; the new commit makes a new \
             task by itself. If it was bad luck: {again}."
        ),
        FailureClass::Dependency => format!(
            "The maintainer of {recipe}: the message names what could not be had; correct the dependency and push. If it was missing \
             only for a while: {again}."
        ),
        FailureClass::TimeLimit => limit("`time_seconds`"),
        FailureClass::Silence => limit("`silence_seconds`"),
        FailureClass::LogLimit => limit("`log_bytes` (and starts Summit again)"),
        FailureClass::SizeLimit => limit("`output_bytes`"),
        FailureClass::DiskLimit => limit("`disk_bytes`"),
        FailureClass::OutOfMemory => format!(
            "Look at the end of the log ({page}). If the build is in order, the farm's operator raises `memory_bytes` under `[limits]` of \
             Summit's configuration; where that is 0 it was the machine that had no more, and `memory` in a `[[project.requirement]]` \
             gives it a larger one. Then {again}. Otherwise its maintainer lets {recipe} build with fewer jobs at once, and pushes."
        ),
        FailureClass::HostFault | FailureClass::Lost => format!(
            "The recipe is not to blame. The farm's operator: `moraine builder list` shows the last fault of each builder; mend it, then \
             {again}."
        ),
        FailureClass::StoreFault => format!(
            "The recipe is not to blame. The farm's operator: the messages of Vessel, the repository server, say why it does not take \
             the files; mend that, then {again}."
        ),
        FailureClass::Cancelled => format!("Somebody stopped it. When it is wanted after all: {again}."),
        FailureClass::Unsupported => format!(
            "The farm's operator: add a builder that can do it, then {again}. Or the maintainer of {recipe}: ask for less, and push."
        ),
    };
    let headline = match class.is_infrastructure() {
        true => format!("{} failed because of the farm, not because of its recipe.", snapshot.title),
        false => format!("{} could not be built.", snapshot.title),
    };
    Explanation { headline, because, next_step }
}

/// A class as the beginning of a sentence.
fn class_text(class: FailureClass) -> &'static str {
    match class {
        FailureClass::Build => "the build ended with an error",
        FailureClass::Dependency => "a build dependency is not to be had",
        FailureClass::TimeLimit => "it took longer than a build may",
        FailureClass::Silence => "it said nothing for longer than a build may",
        FailureClass::LogLimit => "it said more than a build may",
        FailureClass::SizeLimit => "it wrote more than a build may",
        FailureClass::OutOfMemory => "it needed more memory than it may have",
        FailureClass::DiskLimit => "it took more room on the disk than a build may",
        FailureClass::HostFault => "builders had faults several times; the last one",
        FailureClass::StoreFault => "the repository refused several times what was built; the last time",
        FailureClass::Lost => "builders were lost several times while they built it; the last time",
        FailureClass::Cancelled => "somebody stopped it",
        FailureClass::Unsupported => "no builder can do what the recipe asks for",
    }
}

fn cancelled(snapshot: &Snapshot<'_>, why: &str) -> Explanation {
    let mut because = vec![Because::new(format!("The reason given: {why}"))];
    because.extend(earlier(snapshot, None));
    Explanation {
        headline: format!("{} was stopped by somebody.", snapshot.title),
        because,
        next_step: format!(
            "When it is wanted after all: {}. A commit that changes {} makes a new task as well.",
            try_again(snapshot.task),
            snapshot.recipe_path
        ),
    }
}

fn superseded(snapshot: &Snapshot<'_>, by: Option<TaskId>) -> Explanation {
    match by {
        Some(by) => Explanation {
            headline: format!("{} is not built any more: task {by} took its place.", snapshot.title),
            because: vec![Because { text: "A newer task builds the same recipe.".into(), task: Some(by) }],
            next_step: format!("Look at the task that took its place: `moraine why {by}`."),
        },
        None => Explanation {
            headline: format!("{} is not built any more: nobody asks for it.", snapshot.title),
            because: vec![Because::new("The recipe was removed, or the repository has what it asks for.")],
            next_step: "Nothing to do. If it should be built, put the recipe back, or order a rebuild: `moraine plan rebuild NAME --apply`."
                .into(),
        },
    }
}

/// Why the builder of an attempt got it.
fn assigned(snapshot: &Snapshot<'_>, attempt: AttemptId) -> Vec<Because> {
    let tried = snapshot.attempts.iter().find(|tried| tried.attempt == attempt);
    let tried = tried.filter(|tried| !tried.why.is_empty());
    tried
        .map(|tried| {
            let name = (snapshot.name_of)(&tried.builder);
            Because::new(format!("Why {name} got it: {}.", tried.why))
        })
        .into_iter()
        .collect()
}

/// What went wrong before, for a task that is still under way.
fn behind(snapshot: &Snapshot<'_>, tries: &Tries) -> Vec<Because> {
    let mut because = earlier(snapshot, None);
    if tries.faults > 0 {
        because.push(Because::new(format!(
            "{} in a row came to nothing through the farm's fault; at {FAULTS_MAX} it fails, unless builders merely declined it.",
            if tries.faults == 1 { "One attempt".into() } else { format!("{} attempts", tries.faults) }
        )));
    }
    because
}

/// The last attempts that came to something, but for the one that is told already.
fn earlier(snapshot: &Snapshot<'_>, told: Option<AttemptId>) -> Vec<Because> {
    let over = snapshot.attempts.iter().filter(|tried| Some(tried.attempt) != told);
    let over: Vec<(&Tried, &String)> =
        over.filter_map(|tried| Some((tried, tried.outcome.as_ref()?))).collect();
    let last = over.len().saturating_sub(NAMED_MAX);
    let text = |&(tried, outcome): &(&Tried, &String)| {
        Because::new(format!("Earlier attempt on {}: {outcome}", (snapshot.name_of)(&tried.builder)))
    };
    over.get(last..).unwrap_or_default().iter().map(text).collect()
}

fn try_again(task: TaskId) -> String {
    format!("`moraine task retry {task}` tries it again")
}

fn log_page(snapshot: &Snapshot<'_>, attempt: AttemptId) -> String {
    format!("/tasks/{}/attempts/{attempt} in the dashboard", snapshot.task)
}

fn left(until: Moment, now: Moment) -> String {
    duration(until.0.saturating_sub(now.0).max(1))
}

fn is_or_are(names: &[&str]) -> String {
    let more = names.len().saturating_sub(NAMED_MAX);
    match (names, more) {
        ([one], _) => format!("{one} is"),
        (names, 0) => match names.split_last() {
            Some((last, others)) => format!("{} and {last} are", others.join(", ")),
            None => "everything is".into(),
        },
        (names, more) => format!("{} and {more} more are", names[..NAMED_MAX].join(", ")),
    }
}

fn capital(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().map_or_else(String::new, |first| first.to_uppercase().chain(characters).collect())
}

#[cfg(test)]
mod tests;
