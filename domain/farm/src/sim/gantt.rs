//! A simulation as a picture: a lane for every place of every builder, a bar for every build.
//!
//! The picture is one SVG without scripts, fonts or anything from elsewhere. It follows the reader's choice of light or
//! dark, prints in light colours, and says under the mouse what a bar is. All foreign text in it is escaped.

use picture::{escaped, shortened};

use super::outcome::{BuildEnd, BuildRun, Outcome};
use crate::graph::Graph;

pub use picture::clock;

/// All lengths below are in the picture's own units, a little less than a pixel on most screens.
const WIDTH: f64 = 1400.0;
const LABELS_WIDTH: f64 = 150.0;
const MARGIN: f64 = 20.0;
const HEAD_HEIGHT: f64 = 92.0;
const FOOT_HEIGHT: f64 = 34.0;
const LANE_HEIGHT: f64 = 20.0;
const BAR_HEIGHT: f64 = 16.0;
const BUILDER_GAP: f64 = 10.0;

/// Width of a character of the small type, on the safe side.
const CHARACTER_WIDTH: f64 = 6.2;

/// Bars beyond which a browser becomes slow. The shortest are left out, and the picture says how many.
const BARS_MAX: usize = 20_000;

/// Lanes beyond which the picture would be taller than browsers draw. The last are left out, and the picture says so.
const LANES_MAX: usize = 1500;

/// As much of a builder's name as fits beside its lanes.
const NAME_CHARACTERS_MAX: usize = 16;

/// Steps that the axis has at most.
const STEPS_MAX: u64 = 14;

const STYLE: &str = "\
svg { --paper: #ffffff; --ink: #1c2430; --soft: #667180; --line: #dfe4ea; --lane: #f4f6f8; --plain: #4c8fd0;
  --path: #d9553b; --twin: #8a63c9; --lost: #b9c0c9; --broke: #2b2f36; --on: #ffffff;
  background: var(--paper); font: 12px system-ui, sans-serif; }
text { fill: var(--ink); } .soft { fill: var(--soft); } .title { font-size: 17px; font-weight: 600; }
.small { font-size: 10.5px; } .end { text-anchor: end; } .middle { text-anchor: middle; }
.lane { fill: var(--lane); } .grid { stroke: var(--line); stroke-width: 1; }
rect.bar { stroke: var(--paper); stroke-width: .35; } .name { fill: var(--on); font-size: 10.5px; pointer-events: none; }
.plain { fill: var(--plain); } .path { fill: var(--path); } .twin { fill: var(--twin); } .lost { fill: var(--lost); }
.broke { fill: var(--broke); } rect.bar:hover { stroke: var(--ink); stroke-width: 1.5; }
@media (prefers-color-scheme: dark) { svg { --paper: #14181d; --ink: #e6e9ed; --soft: #97a1ad; --line: #2b323b;
  --lane: #1b2027; --plain: #3b78b5; --path: #d8573d; --twin: #8f6bd0; --lost: #4a525c; --broke: #d3d7dc; } }
@media print { svg { --paper: #ffffff; --ink: #000000; --soft: #444444; --line: #cccccc; --lane: #ffffff;
  --plain: #7fb2e5; --path: #d9553b; --twin: #a98adb; --lost: #dddddd; --broke: #333333; --on: #000000;
  print-color-adjust: exact; } rect.lane { stroke: var(--line); } }
";

/// Draws the picture. `title` stands above it.
#[must_use]
pub fn gantt(outcome: &Outcome, graph: &Graph, title: &str) -> String {
    let lanes: usize = outcome.machines.iter().map(|machine| machine.lanes).sum();
    let shown_lanes = lanes.min(LANES_MAX);
    let gaps = f64_of(outcome.machines.len()) * BUILDER_GAP;
    let bottom = HEAD_HEIGHT + f64_of(shown_lanes) * LANE_HEIGHT + gaps;
    let height = bottom + FOOT_HEIGHT;
    let canvas = Canvas {
        milliseconds: outcome.makespan_ms.max(1),
        left: MARGIN + LABELS_WIDTH,
        right: WIDTH - MARGIN,
        bottom,
    };
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height:.0}\" role=\"img\" \
         aria-label=\"{label}\">\n<style>\n{STYLE}</style>\n<text class=\"title\" x=\"{MARGIN}\" y=\"32\">{label}</text>\n",
        label = escaped(title),
    );
    let left_out = outcome.runs.len().saturating_sub(BARS_MAX);
    svg.push_str(&head(outcome, left_out, lanes - shown_lanes));
    let rows = canvas.lanes(&mut svg, outcome);
    canvas.axis(&mut svg);
    let mut bars: Vec<&BuildRun> = outcome.runs.iter().collect();
    if left_out > 0 {
        bars.sort_by_key(|run| std::cmp::Reverse(run.end.0.saturating_sub(run.start.0)));
        bars.truncate(BARS_MAX);
    }
    for run in bars {
        if let Some(&top) = rows.get(run.machine).and_then(|tops| tops.get(run.lane)) {
            canvas.bar(&mut svg, run, graph.source(run.recipe), &outcome.machines[run.machine].name, top);
        }
    }
    svg.push_str("</svg>\n");
    svg
}

/// What the colours mean, and the figures.
fn head(outcome: &Outcome, bars_left_out: usize, lanes_left_out: usize) -> String {
    let mut text = format!(
        "<text class=\"soft\" x=\"{MARGIN}\" y=\"54\">{} built in {}; no schedule can do it in less than {}; {:.1} % of the \
         places in use</text>\n",
        outcome.published,
        clock(outcome.makespan_ms),
        clock(outcome.bound.makespan_ms()),
        outcome.utilisation * 100.0,
    );
    let kinds = [
        ("path", "on the critical path"),
        ("plain", "other builds"),
        ("twin", "second starts"),
        ("lost", "lost or stopped"),
        ("broke", "failed"),
    ];
    let mut left = MARGIN;
    for (class, meaning) in kinds {
        text.push_str(&format!(
            "<rect class=\"{class}\" x=\"{left:.0}\" y=\"65\" width=\"11\" height=\"11\" rx=\"2\"/>\
             <text class=\"small\" x=\"{:.0}\" y=\"74\">{meaning}</text>\n",
            left + 16.0
        ));
        left += 34.0 + f64_of(meaning.len()) * CHARACTER_WIDTH;
    }
    if bars_left_out + lanes_left_out > 0 {
        text.push_str(&format!(
            "<text class=\"small soft\" x=\"{left:.0}\" y=\"74\">not drawn: the {bars_left_out} shortest builds, the last \
             {lanes_left_out} places</text>\n"
        ));
    }
    text
}

struct Canvas {
    milliseconds: u64,
    left: f64,
    right: f64,
    bottom: f64,
}

impl Canvas {
    fn x(&self, milliseconds: u64) -> f64 {
        let share = super::model::float(milliseconds) / super::model::float(self.milliseconds);
        self.left + (self.right - self.left) * share
    }

    /// Draws names and lanes; gives the upper edge of every lane of every builder.
    fn lanes(&self, svg: &mut String, outcome: &Outcome) -> Vec<Vec<f64>> {
        let mut top = HEAD_HEIGHT;
        let mut lanes_left = LANES_MAX;
        let mut rows = Vec::new();
        for machine in &outcome.machines {
            let lanes = machine.lanes.min(lanes_left);
            lanes_left -= lanes;
            if lanes == 0 {
                break;
            }
            svg.push_str(&format!(
                "<text x=\"{MARGIN}\" y=\"{:.1}\">{}</text><text class=\"small soft end\" x=\"{:.1}\" y=\"{:.1}\">{:.0} \
                 %</text>\n",
                top + 13.0,
                escaped(&shortened(&machine.name, NAME_CHARACTERS_MAX)),
                self.left - 8.0,
                top + 13.0,
                machine.utilisation * 100.0,
            ));
            let mut tops = Vec::with_capacity(lanes);
            for _ in 0..lanes {
                svg.push_str(&format!(
                    "<rect class=\"lane\" x=\"{:.1}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{BAR_HEIGHT}\"/>\n",
                    self.left,
                    self.right - self.left,
                ));
                tops.push(top);
                top += LANE_HEIGHT;
            }
            top += BUILDER_GAP;
            rows.push(tops);
        }
        rows
    }

    fn axis(&self, svg: &mut String) {
        let step_ms = picture::step_ms(self.milliseconds, STEPS_MAX);
        for number in 0..=(self.milliseconds / step_ms) {
            let at = self.x(number * step_ms);
            svg.push_str(&format!(
                "<line class=\"grid\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{:.1}\" y2=\"{:.1}\"/>\
                 <text class=\"small soft middle\" x=\"{at:.1}\" y=\"{:.1}\">{}</text>\n",
                HEAD_HEIGHT - 4.0,
                self.bottom,
                self.bottom + 14.0,
                clock(number * step_ms),
            ));
        }
    }

    fn bar(&self, svg: &mut String, run: &BuildRun, source: &str, machine: &str, top: f64) {
        let (start, end) = (self.x(run.start.0), self.x(run.end.0));
        let width = (end - start).max(0.4);
        let class = match run.outcome {
            BuildEnd::Published if run.on_critical_path => "path",
            BuildEnd::Published if run.is_second => "twin",
            BuildEnd::Published => "plain",
            BuildEnd::Broke => "broke",
            BuildEnd::Lost | BuildEnd::HostFault | BuildEnd::Stopped => "lost",
        };
        let name = escaped(source);
        svg.push_str(&format!(
            "<rect class=\"bar {class}\" x=\"{start:.2}\" y=\"{top:.1}\" width=\"{width:.2}\" height=\"{BAR_HEIGHT}\" \
             rx=\"2\"><title>{name} on {}: {} to {}, {}{}</title></rect>\n",
            escaped(machine),
            clock(run.start.0),
            clock(run.end.0),
            clock(run.end.0.saturating_sub(run.start.0)),
            remark(run.outcome),
        ));
        if f64_of(source.chars().count() + 1) * CHARACTER_WIDTH < width && run.outcome == BuildEnd::Published
        {
            svg.push_str(&format!(
                "<text class=\"name\" x=\"{:.1}\" y=\"{:.1}\">{name}</text>\n",
                start + 4.0,
                top + 12.0
            ));
        }
    }
}

fn remark(outcome: BuildEnd) -> &'static str {
    match outcome {
        BuildEnd::Published => "",
        BuildEnd::Lost => ", lost with its builder",
        BuildEnd::HostFault => ", ended by a fault of the builder",
        BuildEnd::Stopped => ", stopped because the other start was faster",
        BuildEnd::Broke => ", cannot be built",
    }
}

fn f64_of(count: usize) -> f64 {
    super::model::float(u64::try_from(count).unwrap_or(u64::MAX))
}
