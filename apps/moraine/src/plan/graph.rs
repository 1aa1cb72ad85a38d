//! `moraine plan graph`: the build graph of a folder of recipes, as figures and as a picture.

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use farm::graph::{Graph, GraphSummary, Supply};
use farm::published::Published;
use observe::{Palette, Stream, Style, printable, width_columns, write_stdout};
use serde::Serialize;

use super::picture::{bars, wrapped};
use super::{FolderArguments, PlanError, read};

/// Lines of names that are shown of a knot.
const KNOT_LINES_MAX: usize = 3;

/// Unresolved dependencies and unreadable recipes that are shown; all are in the JSON.
const ROWS_MAX: usize = 20;

/// The longest bar.
const BAR_COLUMNS: usize = 50;

#[derive(Debug, Args)]
pub(crate) struct GraphArguments {
    /// Folder of recipes: …/stone.yaml, each with its manifest.ARCH.bin beside it.
    #[arg(long, value_name = "DIR")]
    recipes: PathBuf,
    #[command(flatten)]
    folder: FolderArguments,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// The JSON of `moraine plan graph`: what Summit says at `/api/plan/graph` of its own graph, and how long reading took.
#[derive(Debug, Serialize)]
struct GraphReport {
    #[serde(flatten)]
    summary: GraphSummary,
    /// Seconds for reading the folder.
    read_seconds: f64,
}

/// Draws the graph and prints it.
///
/// # Errors
/// When the folder cannot be read.
pub(super) fn graph(arguments: &GraphArguments) -> Result<(), PlanError> {
    let began = Instant::now();
    let catalogue = read(&arguments.recipes, &arguments.folder)?;
    let read_seconds = began.elapsed().as_secs_f64();
    let nothing = Published::default();
    let supply = Supply { own: &nothing, others: &[], host: arguments.folder.host.into() };
    let began = Instant::now();
    let graph = Graph::new(&catalogue, &supply);
    let seconds = began.elapsed().as_secs_f64();
    let report = GraphReport { summary: graph.summary(&catalogue, seconds), read_seconds };
    let text = if arguments.json {
        serde_json::to_string(&report).map_err(PlanError::Json)? + "\n"
    } else {
        text(&report, Palette::of(Stream::Stdout), width_columns(Stream::Stdout))
    };
    Ok(write_stdout(&text)?)
}

fn text(report: &GraphReport, palette: Palette, columns: usize) -> String {
    let strong = |text: &str| palette.paint(Style::Strong, text);
    let GraphReport { summary, read_seconds } = report;
    let mut lines = format!(
        "{} recipes, {} build edges, {} run edges, {} dropped\nread in {:.0} ms, graph and order in {:.1} ms\n",
        strong(&summary.recipes.to_string()),
        summary.build_edges,
        summary.run_edges,
        summary.dropped,
        read_seconds * 1000.0,
        summary.seconds * 1000.0,
    );
    if summary.first_generation_edges > 0 {
        lines += &format!(
            "along {} of the run edges builds wait too, until something is published that serves\n",
            summary.first_generation_edges
        );
    }
    match summary.components.len() {
        0 => lines += "\nNo recipe needs itself by way of others.\n",
        knots => {
            lines += &format!(
                "\n{} {knots}, with {} edges that are built against the previous generation\n",
                strong("Knots of recipes that need each other:"),
                summary.deferred.len()
            );
        }
    }
    for knot in &summary.components {
        lines += &format!("  {} recipes, in build order:\n", knot.len());
        let names: Vec<&str> = knot.iter().map(String::as_str).collect();
        lines += &printable(&wrapped(&names, "    ", columns, KNOT_LINES_MAX));
    }
    lines += &format!("\n{} {}\n", strong("Levels:"), summary.levels);
    let bar_columns = columns.saturating_sub(16).min(BAR_COLUMNS);
    for (level, (width, bar)) in summary.widths.iter().zip(bars(&summary.widths, bar_columns)).enumerate() {
        lines += &format!("  {level:>3} {width:>6}  {bar}\n");
    }
    let rows =
        summary.unresolved.iter().map(|row| format!("{} needs {}", row.recipe, row.dependency.short()));
    lines += &listing(&palette.paint(Style::Warning, "Nobody offers what is needed:"), rows);
    let rows = summary
        .unreadable
        .iter()
        .map(|row| format!("{}:{}:{}: {}", row.path, row.line, row.column, row.message));
    lines += &listing(&palette.paint(Style::Error, "Recipes that cannot be read:"), rows);
    lines
}

/// A headline and at most so many rows; nothing when there are none.
fn listing(headline: &str, rows: impl ExactSizeIterator<Item = String>) -> String {
    let count = rows.len();
    if count == 0 {
        return String::new();
    }
    let mut text = format!("\n{headline} {count}\n");
    for row in rows.take(ROWS_MAX) {
        text += &format!("  {}\n", printable(&row.replace('\n', "\n    ")));
    }
    if count > ROWS_MAX {
        text += &format!("  and {} more; --json has all\n", count - ROWS_MAX);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The report over recipes given as name and build dependencies.
    fn report_of(recipes: &[(&str, &[&str])]) -> GraphReport {
        let folder = tempfile::tempdir().unwrap();
        for (name, needs) in recipes {
            let place = folder.path().join(name);
            fs_err::create_dir(&place).unwrap();
            let needs: String = needs.iter().map(|need| format!("  - {need}\n")).collect();
            let needs = if needs.is_empty() { needs } else { format!("builddeps:\n{needs}") };
            let head =
                format!("name: {name}\nversion: \"1\"\nrelease: 1\nhomepage: h\nlicense: MIT\nsummary: s\n");
            fs_err::write(place.join("stone.yaml"), format!("{head}description: d\n{needs}")).unwrap();
        }
        let catalogue = summit::recipes::read_folder(folder.path(), "x86_64").unwrap();
        let nothing = Published::default();
        let supply = Supply { own: &nothing, others: &[], host: farm::graph::HostProvides::Nothing };
        let graph = Graph::new(&catalogue, &supply);
        GraphReport { summary: graph.summary(&catalogue, 0.001), read_seconds: 0.25 }
    }

    const RECIPES: &[(&str, &[&str])] = &[
        ("app", &["gir-devel", "binary(nothing)"]),
        ("gir", &["glib", "gir"]),
        ("glib", &["gir", "zlib"]),
        ("zlib", &[]),
    ];

    #[test]
    fn the_json_has_its_documented_shape() {
        let json = serde_json::to_value(report_of(RECIPES)).unwrap();
        for key in ["recipes", "build_edges", "run_edges", "dropped", "levels", "seconds", "read_seconds"] {
            assert!(json[key].is_number(), "{key}: {json}");
        }
        assert_eq!(
            json["unresolved"],
            serde_json::json!([{"recipe": "app", "dependency": "binary(nothing)"}])
        );
        assert!(json["components"][0][0].is_string());
    }

    #[test]
    fn people_see_knots_levels_and_what_is_missing() {
        let text = text(&report_of(RECIPES), Palette::plain(), 80);
        for expected in [
            "4 recipes, 4 build edges",
            "0 dropped",
            "2 recipes, in build order:",
            "    1      2  █",
            "app needs binary(nothing)",
        ] {
            assert!(text.contains(expected), "{expected:?} in\n{text}");
        }
    }
}
