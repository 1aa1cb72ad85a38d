//! `moraine plan graph`: the build graph of a folder of recipes, as figures and as a picture.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use farm::catalogue::{Catalogue, Unreadable};
use farm::graph::{Graph, Supply};
use farm::ids::RecipeId;
use farm::published::Published;
use observe::{Palette, Stream, Style, printable, width_columns, write_stdout};
use package::Dependency;
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

/// The JSON of `moraine plan graph`.
#[derive(Debug, Serialize)]
struct GraphReport {
    recipes: usize,
    /// Pairs of recipes of which one needs the other to be built.
    build_edges: usize,
    /// Pairs of recipes of which packages of one need packages of the other at run time.
    run_edges: usize,
    /// Build dependencies that the graph neither has as an edge nor tells to be missing.
    dropped: usize,
    /// Build dependencies that nobody offers.
    unresolved: Vec<UnresolvedRow>,
    /// Source names of the members of each knot, in build order.
    components: Vec<Vec<String>>,
    levels: usize,
    /// Seconds for graph and order, without reading.
    seconds: f64,
    /// Seconds for reading the folder.
    read_seconds: f64,
    /// Recipes on each level, from those that need nothing.
    widths: Vec<usize>,
    /// Build edges inside knots along which a recipe is built against the previous generation of the other.
    deferred: usize,
    unreadable: Vec<UnreadableRow>,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
struct UnresolvedRow {
    recipe: String,
    dependency: Dependency,
}

#[derive(Debug, Serialize)]
struct UnreadableRow {
    path: String,
    line: u32,
    column: u32,
    message: String,
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
    let report = report(&catalogue, &graph, seconds, read_seconds);
    let text = if arguments.json {
        serde_json::to_string(&report).map_err(PlanError::Json)? + "\n"
    } else {
        text(&report, Palette::of(Stream::Stdout), width_columns(Stream::Stdout))
    };
    Ok(write_stdout(&text)?)
}

fn report(catalogue: &Catalogue, graph: &Graph, seconds: f64, read_seconds: f64) -> GraphReport {
    let source = |id: RecipeId| graph.source(id).to_owned();
    let unresolved = graph.recipes().flat_map(|id| {
        let row = move |dependency| UnresolvedRow { recipe: source(id), dependency };
        graph.unresolved(id).into_iter().map(row)
    });
    let mut unresolved: Vec<UnresolvedRow> = unresolved.collect();
    unresolved.sort_unstable();
    let mut widths = vec![0; graph.level_count()];
    for id in graph.recipes() {
        widths[graph.level(id)] += 1;
    }
    let row = |file: &Unreadable| UnreadableRow {
        path: file.path.clone(),
        line: file.line,
        column: file.column,
        message: file.message.clone(),
    };
    GraphReport {
        recipes: graph.len(),
        build_edges: graph.edge_count(),
        run_edges: graph.run_edge_count(),
        dropped: dropped(catalogue, graph),
        unresolved,
        components: graph.knots().map(|knot| knot.iter().map(|&id| source(id)).collect()).collect(),
        levels: graph.level_count(),
        seconds,
        read_seconds,
        widths,
        deferred: graph.recipes().map(|id| graph.deferred(id).count()).sum(),
        unreadable: catalogue.unreadable().iter().map(row).collect(),
    }
}

/// Counts what was lost on the way from recipes to edges, by looking for each build dependency of each recipe.
fn dropped(catalogue: &Catalogue, graph: &Graph) -> usize {
    let of_recipe = |entry: &farm::catalogue::RecipeEntry| {
        let Some(id) = graph.by_source(&entry.source) else { return entry.build_depends.len() };
        let mut told: BTreeSet<Dependency> =
            graph.needs(id).flat_map(|needed| graph.because(id, needed)).collect();
        told.extend(graph.unresolved(id));
        told.extend(graph.from_repository(id));
        told.extend(graph.from_host(id));
        let mut lost = entry.build_depends.iter().filter(|dependency| !told.contains(dependency)).peekable();
        if lost.peek().is_none() {
            return 0;
        }
        // What a recipe offers itself makes no edge.
        let own = entry.offers();
        lost.filter(|dependency| !own.contains(dependency)).count()
    };
    catalogue.recipes().iter().map(|entry| of_recipe(entry)).sum()
}

fn text(report: &GraphReport, palette: Palette, columns: usize) -> String {
    let strong = |text: &str| palette.paint(Style::Strong, text);
    let mut lines = format!(
        "{} recipes, {} build edges, {} run edges, {} dropped\nread in {:.0} ms, graph and order in {:.1} ms\n",
        strong(&report.recipes.to_string()),
        report.build_edges,
        report.run_edges,
        report.dropped,
        report.read_seconds * 1000.0,
        report.seconds * 1000.0,
    );
    match report.components.len() {
        0 => lines += "\nNo recipe needs itself by way of others.\n",
        knots => {
            lines += &format!(
                "\n{} {knots}, with {} edges that are built against the previous generation\n",
                strong("Knots of recipes that need each other:"),
                report.deferred
            );
        }
    }
    for knot in &report.components {
        lines += &format!("  {} recipes, in build order:\n", knot.len());
        let names: Vec<&str> = knot.iter().map(String::as_str).collect();
        lines += &printable(&wrapped(&names, "    ", columns, KNOT_LINES_MAX));
    }
    lines += &format!("\n{} {}\n", strong("Levels:"), report.levels);
    let bar_columns = columns.saturating_sub(16).min(BAR_COLUMNS);
    for (level, (width, bar)) in report.widths.iter().zip(bars(&report.widths, bar_columns)).enumerate() {
        lines += &format!("  {level:>3} {width:>6}  {bar}\n");
    }
    let rows = report.unresolved.iter().map(|row| format!("{} needs {}", row.recipe, row.dependency.short()));
    lines += &listing(&palette.paint(Style::Warning, "Nobody offers what is needed:"), rows);
    let rows = report
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
        report(&catalogue, &graph, 0.001, 0.25)
    }

    const RECIPES: &[(&str, &[&str])] = &[
        ("app", &["gir-devel", "binary(nothing)"]),
        ("gir", &["glib", "gir"]),
        ("glib", &["gir", "zlib"]),
        ("zlib", &[]),
    ];

    #[test]
    fn figures() {
        let report = report_of(RECIPES);
        assert_eq!((report.recipes, report.build_edges, report.run_edges, report.dropped), (4, 4, 0, 0));
        let unresolved =
            UnresolvedRow { recipe: "app".into(), dependency: "binary(nothing)".parse().unwrap() };
        assert_eq!(report.unresolved, [unresolved]);
        let mut knot = report.components[0].clone();
        knot.sort_unstable();
        assert_eq!((report.components.len(), knot), (1, vec!["gir".to_owned(), "glib".to_owned()]));
        assert_eq!((report.levels, report.widths.as_slice(), report.deferred), (3, &[1, 2, 1][..], 1));
    }

    #[test]
    fn the_json_has_its_documented_shape() {
        let json = serde_json::to_value(report_of(RECIPES)).unwrap();
        for key in ["recipes", "build_edges", "run_edges", "dropped", "levels", "seconds"] {
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
