//! What a world has come to, for programs, for people, and for the documentation.

use std::collections::BTreeMap;

use serde::Serialize;

use super::check::{Spread, Verdict};
use super::stage::Reopening;
use super::usage::Usage;

/// The JSON of `moraine world`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Outcome {
    /// Recipes that were played.
    pub(super) recipes: usize,
    /// Those of them that are published at their release.
    pub(super) published: usize,
    pub(super) false_failures: usize,
    pub(super) orphans: usize,
    pub(super) lost_log_bytes: u64,
    pub(super) duplicates: usize,
    /// Faults that were injected.
    pub(super) faults: usize,
    /// From the first look of Summit until everything was published.
    pub(super) seconds: f64,
    pub(super) assign_ms: Spread,
}

/// What it takes to have every recipe queued and nothing built.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Queued {
    /// Tasks that were open.
    pub(super) tasks: u64,
    /// How soon Summit was there when it was started with them.
    pub(super) reopening: Reopening,
    /// Its resident set afterwards.
    pub(super) summit_bytes: u64,
    /// Vessel's.
    pub(super) vessel_bytes: u64,
}

/// What else was measured.
#[derive(Debug)]
pub(super) struct Details {
    /// How the world was called.
    pub(super) command: String,
    /// What the repository held.
    pub(super) begins_with: String,
    pub(super) scale: u64,
    pub(super) builders: usize,
    pub(super) verdict: Verdict,
    /// What all builds together took, in seconds.
    pub(super) build_seconds: f64,
    /// What services took.
    pub(super) usage: Usage,
    pub(super) queued: Queued,
    /// Faults by kind.
    pub(super) faults: BTreeMap<String, usize>,
}

/// The report as a section in Markdown, which people can read as it is.
pub(super) fn text(outcome: &Outcome, details: &Details) -> String {
    let Details { verdict, .. } = details;
    let milliseconds = |spread: Spread| format!("{} ms, {} ms", spread.p50, spread.p99);
    let builds = f64::from(u32::try_from(verdict.builds).unwrap_or(u32::MAX));
    let builders = f64::from(u32::try_from(details.builders).unwrap_or(u32::MAX)).max(1.0);
    let overhead = (outcome.seconds * builders - details.build_seconds) / builds.max(1.0);
    let mut rows = vec![
        ("begins with".to_owned(), details.begins_with.clone()),
        (
            "recipes published at their release".to_owned(),
            format!("{} of {}", outcome.published, outcome.recipes),
        ),
        ("builds published, attempts".to_owned(), format!("{}, {}", verdict.builds, verdict.attempts)),
        ("faults injected".to_owned(), faults(outcome, details)),
        ("false failures".to_owned(), outcome.false_failures.to_string()),
        ("orphans".to_owned(), outcome.orphans.to_string()),
        ("lost log bytes".to_owned(), outcome.lost_log_bytes.to_string()),
        ("published twice".to_owned(), outcome.duplicates.to_string()),
        ("time".to_owned(), format!("{:.1} s with {} builders", outcome.seconds, details.builders)),
        ("throughput".to_owned(), format!("{:.1} builds/s", builds / outcome.seconds.max(0.001))),
        (
            "builders' time per build beyond the build".to_owned(),
            format!(
                "{:.0} ms (builds themselves: {:.1} s, time scaled by {})",
                overhead * 1000.0,
                details.build_seconds,
                details.scale
            ),
        ),
        ("could run → runs, p50, p99".to_owned(), milliseconds(outcome.assign_ms)),
        ("built → published, p50, p99".to_owned(), milliseconds(verdict.publish_ms)),
        ("needs published → ready, p50, p99".to_owned(), milliseconds(verdict.ready_ms)),
    ];
    rows.extend(machine_rows(details, builds));
    let rows: String = rows.iter().map(|(name, value)| format!("| {name} | {value} |\n")).collect();
    format!("```sh\n{}\n```\n\n| | |\n|---|---|\n{rows}", details.command)
}

/// What services take of the machine.
fn machine_rows(details: &Details, builds: f64) -> Vec<(String, String)> {
    let Details { usage, queued, .. } = details;
    let mebibytes = |size_bytes: u64| size_bytes.div_ceil(1 << 20);
    let per_build =
        |name: &str| f64::from(u32::try_from(usage.processor_ms(name)).unwrap_or(u32::MAX)) / builds.max(1.0);
    let Reopening { open, answers } = queued.reopening;
    vec![
        (
            "processor time per build".to_owned(),
            format!(
                "Summit {:.0} ms, Vessel {:.0} ms, agents with played builds {:.0} ms",
                per_build("summit"),
                per_build("vessel"),
                per_build("agent")
            ),
        ),
        (
            format!("Summit killed and started with {} tasks queued", queued.tasks),
            format!("port open after {} ms, answers after {} ms", open.as_millis(), answers.as_millis()),
        ),
        (
            "resident with all of them queued".to_owned(),
            format!(
                "Summit {} MiB, Vessel {} MiB",
                mebibytes(queued.summit_bytes),
                mebibytes(queued.vessel_bytes)
            ),
        ),
        (
            "largest resident set".to_owned(),
            format!(
                "Summit {} MiB, Vessel {} MiB, an agent {} MiB",
                mebibytes(usage.largest("summit")),
                mebibytes(usage.largest("vessel")),
                mebibytes(usage.largest("agent"))
            ),
        ),
    ]
}

fn faults(outcome: &Outcome, details: &Details) -> String {
    if outcome.faults == 0 {
        return "none".to_owned();
    }
    let kinds: Vec<String> = details.faults.iter().map(|(kind, count)| format!("{count} × {kind}")).collect();
    format!("{} ({})", outcome.faults, kinds.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_json_has_its_documented_shape() {
        let outcome = Outcome {
            recipes: 2,
            published: 2,
            false_failures: 0,
            orphans: 0,
            lost_log_bytes: 0,
            duplicates: 0,
            faults: 0,
            seconds: 1.5,
            assign_ms: Spread { p50: 20, p99: 90 },
        };
        assert_eq!(
            serde_json::to_string(&outcome).unwrap(),
            r#"{"recipes":2,"published":2,"false_failures":0,"orphans":0,"lost_log_bytes":0,"duplicates":0,"faults":0,"seconds":1.5,"assign_ms":{"p50":20,"p99":90}}"#
        );
        let details = Details {
            command: "moraine world".into(),
            begins_with: "nothing".into(),
            scale: 2000,
            builders: 2,
            verdict: Verdict { builds: 3, ..Verdict::default() },
            build_seconds: 1.5,
            usage: Usage::default(),
            queued: Queued { tasks: 7, summit_bytes: 20 << 20, ..Queued::default() },
            faults: BTreeMap::new(),
        };
        let text = text(&outcome, &details);
        for expected in [
            "2 of 2",
            "2.0 builds/s",
            "500 ms",
            "with 7 tasks queued",
            "Summit 20 MiB, Vessel 0 MiB",
            "20 ms, 90 ms",
        ] {
            assert!(text.contains(expected), "{expected}: {text}");
        }
    }
}
