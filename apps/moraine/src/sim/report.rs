//! What came of a simulation, for people and for programs.

use farm::catalogue::Unreadable;
use farm::graph::Graph;
use farm::ids::RecipeId;
use farm::schedule::Policy;
use farm::sim::{BuildEnd, Outcome, clock};
use observe::{Palette, Style, printable};
use serde::Serialize;

use super::keyword;

/// Recipes that were not built and are named on a terminal; `--json` names all.
const UNBUILT_SHOWN_MAX: usize = 10;

/// Columns of a narrow terminal.
const COLUMNS: usize = 80;

/// What is told.
pub(super) struct Report<'a> {
    pub(super) graph: &'a Graph,
    pub(super) unreadable: &'a [Unreadable],
    pub(super) architecture: &'a str,
    pub(super) seed: u64,
    pub(super) remembered: u32,
    /// The first is what was asked for; more are for comparison.
    pub(super) outcomes: &'a [(Policy, Outcome)],
}

/// One simulation, as JSON.
#[derive(Debug, Serialize)]
struct Figures {
    makespan_seconds: f64,
    lower_bound_seconds: f64,
    ratio: f64,
    builds: usize,
    utilisation: f64,
    policy: &'static str,
    critical_path_seconds: f64,
    work_over_capacity_seconds: f64,
    waiting_p50_seconds: f64,
    waiting_p99_seconds: f64,
    ready_most: usize,
    passes: u64,
    starts: usize,
    lost: usize,
    host_faults: usize,
    broke: usize,
    second_starts: usize,
    asked_again: usize,
    builders: Vec<BuilderFigures>,
    critical_path: Vec<String>,
    unbuilt: Vec<Unbuilt>,
}

#[derive(Debug, Serialize)]
struct BuilderFigures {
    name: String,
    places: usize,
    builds: usize,
    utilisation: f64,
}

#[derive(Debug, Serialize)]
struct Unbuilt {
    recipe: String,
    why: String,
    is_root: bool,
}

#[derive(Debug, Serialize)]
struct Answer {
    #[serde(flatten)]
    figures: Option<Figures>,
    recipes: usize,
    unreadable: usize,
    knots: usize,
    architecture: String,
    seed: u64,
    remembered: u32,
    /// The others, when several policies were compared.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    compared: Vec<Figures>,
}

impl Report<'_> {
    /// One object with the figures of the first policy; the others under `compared`.
    pub(super) fn json(&self) -> String {
        let mut figures = self.outcomes.iter().map(|(policy, outcome)| self.figures(*policy, outcome));
        let answer = Answer {
            figures: figures.next(),
            recipes: self.graph.recipes().count(),
            unreadable: self.unreadable.len(),
            knots: self.graph.knots().count(),
            architecture: self.architecture.to_owned(),
            seed: self.seed,
            remembered: self.remembered,
            compared: figures.collect(),
        };
        format!("{}\n", serde_json::to_string_pretty(&answer).unwrap_or_default())
    }

    fn figures(&self, policy: Policy, outcome: &Outcome) -> Figures {
        Figures {
            makespan_seconds: seconds(outcome.makespan_ms),
            lower_bound_seconds: seconds(outcome.bound.makespan_ms()),
            ratio: rounded(outcome.ratio()),
            builds: outcome.published,
            utilisation: rounded(outcome.utilisation),
            policy: keyword(policy),
            critical_path_seconds: seconds(outcome.bound.critical_path_ms),
            work_over_capacity_seconds: seconds(outcome.bound.work_ms),
            waiting_p50_seconds: seconds(outcome.wait_p50_ms),
            waiting_p99_seconds: seconds(outcome.wait_p99_ms),
            ready_most: outcome.ready_most,
            passes: outcome.passes,
            starts: outcome.runs.len(),
            lost: outcome.ended(BuildEnd::Lost),
            host_faults: outcome.ended(BuildEnd::HostFault),
            broke: outcome.ended(BuildEnd::Broke),
            second_starts: outcome.runs.iter().filter(|run| run.is_second).count(),
            asked_again: outcome.asked_again,
            builders: outcome
                .machines
                .iter()
                .map(|machine| BuilderFigures {
                    name: machine.name.clone(),
                    places: machine.lanes,
                    builds: machine.builds,
                    utilisation: rounded(machine.utilisation),
                })
                .collect(),
            critical_path: outcome.bound.critical_path.iter().map(|&recipe| self.name(recipe)).collect(),
            unbuilt: outcome
                .unbuilt
                .iter()
                .map(|left| Unbuilt {
                    recipe: self.name(left.recipe),
                    why: left.why.clone(),
                    is_root: left.is_root,
                })
                .collect(),
        }
    }

    /// At most 80 columns wide, but for what recipes and builders are called.
    pub(super) fn text(&self, palette: Palette) -> String {
        let Some((policy, outcome)) = self.outcomes.first() else { return String::new() };
        let knots: Vec<usize> = self.graph.knots().map(|members| members.len()).collect();
        let mut text = format!(
            "{} recipes for {}, {} of them in {} knots; seed {}\n\n",
            self.graph.recipes().count(),
            printable(self.architecture),
            knots.iter().sum::<usize>(),
            knots.len(),
            self.seed,
        );
        if self.outcomes.len() > 1 {
            text.push_str(&self.table(palette));
        } else {
            text.push_str(&format!(
                "{} builds everything in {}\n",
                keyword(*policy),
                palette.paint(Style::Strong, &clock(outcome.makespan_ms))
            ));
        }
        text.push_str(&Self::bound(outcome));
        text.push_str(&Self::builders(*policy, outcome, palette));
        text.push_str(&Self::troubles(outcome));
        text.push_str(&self.unbuilt(outcome, palette));
        text
    }

    fn table(&self, palette: Palette) -> String {
        let head = format!(
            "{:<14}{:>13}{:>11}{:>9}{:>15}{:>14}",
            "policy", "built in", "to bound", "in use", "half wait", "99 % wait"
        );
        let mut text = format!("{}\n", palette.paint(Style::Strong, &head));
        for (policy, outcome) in self.outcomes {
            text.push_str(&format!(
                "{:<14}{:>13}{:>11.3}{:>7.1} %{:>15}{:>14}\n",
                keyword(*policy),
                clock(outcome.makespan_ms),
                outcome.ratio(),
                outcome.utilisation * 100.0,
                clock(outcome.wait_p50_ms),
                clock(outcome.wait_p99_ms),
            ));
        }
        text.push('\n');
        text
    }

    fn bound(outcome: &Outcome) -> String {
        let bound = &outcome.bound;
        format!(
            "no schedule needs less than {} ({:.3} times that)\n  \
             all work over all builders   {}\n  \
             the longest way              {} ({} builds)\n\
             half of the builds waited at most {} for a place, 99 % at most {}\n\n",
            clock(bound.makespan_ms()),
            outcome.ratio(),
            clock(bound.work_ms),
            clock(bound.critical_path_ms),
            bound.critical_path.len(),
            clock(outcome.wait_p50_ms),
            clock(outcome.wait_p99_ms),
        )
    }

    fn builders(policy: Policy, outcome: &Outcome, palette: Palette) -> String {
        let title = format!("builders under {}", keyword(policy));
        let head = format!("{title:<40}{:>8}{:>9}{:>9}", "places", "builds", "in use");
        let mut text = format!("{}\n", palette.paint(Style::Strong, &head));
        for machine in &outcome.machines {
            text.push_str(&format!(
                "{:<40}{:>8}{:>9}{:>7.1} %\n",
                machine.name,
                machine.lanes,
                machine.builds,
                machine.utilisation * 100.0,
            ));
        }
        let places: usize = outcome.machines.iter().map(|machine| machine.lanes).sum();
        text.push_str(&format!(
            "{:<40}{places:>8}{:>9}{:>7.1} %\n",
            "together",
            outcome.published,
            outcome.utilisation * 100.0
        ));
        text
    }

    fn troubles(outcome: &Outcome) -> String {
        let counted = [
            (outcome.ended(BuildEnd::Lost), "lost with their builder"),
            (outcome.ended(BuildEnd::HostFault), "ended by faults of a builder"),
            (outcome.runs.iter().filter(|run| run.is_second).count(), "started a second time"),
            (outcome.asked_again, "given up and asked for again"),
        ];
        let lines = counted.iter().filter(|(count, _)| *count > 0);
        lines.map(|(count, what)| format!("{count} builds {what}\n")).collect()
    }

    fn unbuilt(&self, outcome: &Outcome, palette: Palette) -> String {
        let mut text = String::new();
        if !self.unreadable.is_empty() {
            let line = format!("\n{} recipes cannot be read and were left out\n", self.unreadable.len());
            text.push_str(&palette.paint(Style::Warning, &line));
        }
        if outcome.unbuilt.is_empty() {
            return text;
        }
        let roots: Vec<_> = outcome.unbuilt.iter().filter(|left| left.is_root).collect();
        let line = format!(
            "{} recipes were not built: {} for reasons of their own, the others wait for these",
            outcome.unbuilt.len(),
            roots.len()
        );
        text.push_str(&format!("\n{}\n", palette.paint(Style::Warning, &line)));
        for left in roots.iter().take(UNBUILT_SHOWN_MAX) {
            let line = format!("  {}: {}", self.name(left.recipe), printable(&left.why));
            text.push_str(&format!("{}\n", shortened(&line)));
        }
        if roots.len() > UNBUILT_SHOWN_MAX {
            text.push_str("  … all of them with --json\n");
        }
        text
    }

    fn name(&self, recipe: RecipeId) -> String {
        printable(self.graph.source(recipe)).into_owned()
    }
}

/// At most a line of a narrow terminal.
fn shortened(line: &str) -> String {
    match line.chars().count() > COLUMNS {
        true => line.chars().take(COLUMNS - 1).chain(['…']).collect(),
        false => line.to_owned(),
    }
}

/// Milliseconds as seconds.
#[expect(clippy::cast_precision_loss, reason = "times of a simulation are far below 2^53 ms")]
fn seconds(milliseconds: u64) -> f64 {
    milliseconds as f64 / 1000.0
}

/// Four places are all that is meant.
fn rounded(share: f64) -> f64 {
    (share * 10_000.0).round() / 10_000.0
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeSet, HashMap};

    use farm::catalogue::{Catalogue, RecipeEntry};
    use farm::graph::HostProvides;
    use farm::sim::{Beginning, Faults, Fleet, Model, Setup, graph, simulate};

    use super::*;

    /// What is told of `policies` over three recipes in a row, the last of which needs what nobody has.
    fn told(policies: &[Policy], tell: impl Fn(&Report<'_>) -> String) -> String {
        let entry = |source: &str, needs: &[&str]| RecipeEntry {
            path: format!("{source}/stone.yaml"),
            content: String::new(),
            source: source.into(),
            version: "1".into(),
            release: 1,
            packages: Vec::new(),
            build_depends: needs.iter().copied().map(package::Dependency::name).collect(),
            run_depends: BTreeSet::new(),
            manifest: None,
        };
        let recipes = vec![entry("zlib", &[]), entry("file", &["zlib"]), entry("nano", &["nowhere"])];
        let catalogue = Catalogue::new(recipes, Vec::new());
        let graph = graph(&catalogue, Beginning::PreviousGeneration, HostProvides::Nothing);
        let fleet: Fleet = "a-builder-with-a-long-name=16:1.0:64G".parse().unwrap();
        let faults = Faults::default();
        let model = Model::new(3, HashMap::new());
        let run = |policy| {
            let architecture = "x86_64";
            let setup = Setup {
                graph: &graph,
                architecture,
                fleet: &fleet,
                model: &model,
                faults: &faults,
                policy,
                past_builds: 0,
            };
            (policy, simulate(&setup))
        };
        let outcomes: Vec<(Policy, Outcome)> = policies.iter().map(|&policy| run(policy)).collect();
        tell(&Report {
            graph: &graph,
            unreadable: &[],
            architecture: "x86_64",
            seed: 3,
            remembered: 0,
            outcomes: &outcomes,
        })
    }

    const ALL: [Policy; 3] = [Policy::CriticalPath, Policy::FirstInFirstOut, Policy::AerynOs];

    #[test]
    fn the_promised_keys_come_first() {
        let text = told(&ALL[..1], |report| report.json());
        let keys: Vec<&str> =
            text.lines().skip(1).filter_map(|line| line.trim().split('"').nth(1)).take(6).collect();
        assert_eq!(
            keys,
            ["makespan_seconds", "lower_bound_seconds", "ratio", "builds", "utilisation", "policy"]
        );
        let answer: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(answer["builds"], 2);
        assert_eq!(answer["unbuilt"][0]["recipe"], "nano");
        assert!(answer["unbuilt"][0]["why"].as_str().unwrap().contains("nowhere"));
        assert!(answer["ratio"].as_f64().unwrap() >= 1.0);
        assert!(answer.get("compared").is_none());
    }

    #[test]
    fn several_policies_stand_side_by_side_in_eighty_columns() {
        let text = told(&ALL, |report| report.text(Palette::plain()));
        for policy in ["critical-path", "fifo", "aerynos"] {
            assert!(text.lines().any(|line| line.starts_with(policy)), "{text}");
        }
        for line in text.lines() {
            assert!(line.chars().count() <= 80, "{} columns: {line}", line.chars().count());
        }
        assert!(!text.contains('\u{1b}'), "no colours unless asked for");
        let answer: serde_json::Value = serde_json::from_str(&told(&ALL, |report| report.json())).unwrap();
        assert_eq!(answer["compared"][1]["policy"], "aerynos");
    }
}
