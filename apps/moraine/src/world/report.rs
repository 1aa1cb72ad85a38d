//! What a world has come to, for programs, for people, and for the documentation.

use std::collections::BTreeMap;

use serde::Serialize;

use super::check::{Spread, Verdict};

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
    /// The largest resident set of each service, in bytes.
    pub(super) sizes: BTreeMap<String, u64>,
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
    let size = |name: &str| {
        let of_kind = details.sizes.iter().filter(|(service, _)| service.starts_with(name));
        of_kind.map(|(_, size_bytes)| *size_bytes).max().unwrap_or(0).div_ceil(1 << 20)
    };
    let sizes = format!(
        "Summit {} MiB, Vessel {} MiB, an agent {} MiB",
        size("summit"),
        size("vessel"),
        size("agent")
    );
    rows.push(("largest resident set".to_owned(), sizes));
    let rows: String = rows.iter().map(|(name, value)| format!("| {name} | {value} |\n")).collect();
    format!("```sh\n{}\n```\n\n| | |\n|---|---|\n{rows}", details.command)
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
            sizes: [("agent-1".to_owned(), 20 << 20)].into(),
            faults: BTreeMap::new(),
        };
        let text = text(&outcome, &details);
        for expected in ["2 of 2", "2.0 builds/s", "500 ms", "an agent 20 MiB", "20 ms, 90 ms"] {
            assert!(text.contains(expected), "{expected}: {text}");
        }
    }
}
