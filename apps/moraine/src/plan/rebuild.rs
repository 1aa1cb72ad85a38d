//! `moraine plan rebuild`: over a folder of recipes without a farm, or by asking a Summit that runs.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueEnum};
use farm::graph::{Graph, Supply};
use farm::rebuild::{
    Dependents, FleetMember, RebuildPlan, RebuildRequest, Situation, Why, promised, rebuild_plan,
};
use farm::sim::{Fleet, Machine, SpecError, Width};
use observe::{Palette, Stream, Style, printable, width_columns, write_stdout};
use package::Dependency;

use super::picture::wrapped;
use super::{FolderArguments, PlanError, read};
use crate::history;
use crate::summit_api::SummitArguments;

/// Rounds in which a knot is built at most, unless a project says otherwise.
const ROUNDS_MAX: u32 = 3;

/// Lines of names that are shown of a stage.
const STAGE_LINES_MAX: usize = 4;

/// Recipes whose reasons are shown; all are in the JSON.
const REASONS_MAX: usize = 40;

/// Names that are shown of a reason.
const DEPENDENCIES_MAX: usize = 3;

/// What builders look like, and where figures come from.
const NOTES: &str = "\
With --recipes nothing but the folder is read: what is published is taken to be what the manifests say, nobody knows \
sizes, builders are those of --builders, and times those of --history. Without it Summit is asked, which knows what is published, how long builds \
took, and who builds.

Builders: name=cores:speed:memory, separated by commas. A builder has a place for every four cores, at least one; \
speed is that of one place, 1.0 for the machine that all times refer to.

Dependents:
  direct      who needs a named recipe for its build, or is linked against it
  transitive  those, who needs them, and so on
  abi         who uses a soname, pkg-config module or CMake package that goes away

Examples:
  moraine plan rebuild openssl --dependents abi --recipes recipes --builders a=16:1.0:64G,b=8:0.8:32G
  moraine plan rebuild --all --recipes recipes
  moraine plan rebuild zlib --dependents direct --apply";

#[derive(Debug, Args)]
#[command(after_long_help = NOTES)]
pub(crate) struct RebuildArguments {
    /// Recipes to build again, by name.
    #[arg(value_name = "NAME", required_unless_present = "all")]
    names: Vec<String>,
    /// Who is built again with them; nobody unless given.
    #[arg(long, value_name = "WHO", value_enum, conflicts_with = "all")]
    dependents: Option<Who>,
    /// Build every recipe again.
    #[arg(long, conflicts_with = "names")]
    all: bool,
    /// Plan over this folder of recipes instead of asking Summit.
    #[arg(long, value_name = "DIR")]
    recipes: Option<PathBuf>,
    #[command(flatten)]
    folder: FolderArguments,
    /// Builders to plan for: name=cores:speed:memory,… such as a=16:1.0:64G,b=8:0.8:32G.
    #[arg(long, value_name = "SPEC", requires = "recipes")]
    builders: Option<String>,
    /// Measured builds, one JSON object on each line: {"source","seconds","peak_memory_bytes"?}.
    #[arg(long, value_name = "FILE", requires = "recipes")]
    history: Option<PathBuf>,
    /// The project; the only one that Summit has unless given.
    #[arg(long, value_name = "NAME", conflicts_with = "recipes")]
    project: Option<String>,
    /// Have it done: Summit builds all of it with the next build release.
    #[arg(long, conflicts_with = "recipes")]
    apply: bool,
    #[command(flatten)]
    summit: SummitArguments,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Who {
    /// Those that need a named recipe.
    Direct,
    /// Those, those that need them, and so on.
    Transitive,
    /// Those that use what goes away.
    Abi,
}

impl From<Who> for Dependents {
    fn from(who: Who) -> Self {
        match who {
            Who::Direct => Dependents::Direct,
            Who::Transitive => Dependents::Transitive,
            Who::Abi => Dependents::Abi,
        }
    }
}

/// Makes a rebuild plan, or has Summit make it, and prints it.
///
/// # Errors
/// When a name is unknown, the folder cannot be read, or Summit does not answer.
pub(super) fn rebuild(arguments: &RebuildArguments) -> Result<(), PlanError> {
    let request = RebuildRequest {
        names: arguments.names.clone(),
        dependents: arguments.dependents.map(Dependents::from),
        all: arguments.all,
        architecture: arguments.folder.arch.clone(),
        apply: arguments.apply,
    };
    let plan = match &arguments.recipes {
        Some(folder) => offline(folder, arguments, &request)?,
        None => ask(arguments, &request)?,
    };
    let text = if arguments.summit.json {
        serde_json::to_string(&plan).map_err(PlanError::Json)? + "\n"
    } else {
        text(&plan, Palette::of(Stream::Stdout), width_columns(Stream::Stdout))
    };
    Ok(write_stdout(&text)?)
}

fn offline(
    folder: &Path,
    arguments: &RebuildArguments,
    request: &RebuildRequest,
) -> Result<RebuildPlan, PlanError> {
    let measured = arguments.history.as_deref().map(history::read).transpose()?.unwrap_or_default();
    let catalogue = read(folder, &arguments.folder)?;
    let published = promised(&catalogue);
    let supply = Supply { own: &published, others: &[], host: arguments.folder.host.into() };
    let graph = Graph::new(&catalogue, &supply);
    let fleet = arguments.builders.as_deref().map_or_else(|| Ok(Vec::new()), fleet)?;
    let situation = Situation {
        catalogue: &catalogue,
        graph: &graph,
        published: &published,
        expected: &|source| Duration::try_from_secs_f64(measured.get(source)?.seconds).ok(),
        fleet: &fleet,
        rounds_max: ROUNDS_MAX,
    };
    let mut plan = rebuild_plan(request, &situation)?;
    plan.notes.insert(0, "what is published is taken to be what the manifests in the folder say".into());
    if fleet.is_empty() {
        plan.notes.push("without --builders nobody knows how many hours it takes".into());
    }
    Ok(plan)
}

/// Understands `name=cores:speed:memory,…`, with as many builds at once as the simulator has.
fn fleet(text: &str) -> Result<Vec<FleetMember>, SpecError> {
    let fleet: Fleet = text.parse()?;
    let member = |machine: &Machine| FleetMember {
        name: machine.name.clone(),
        speed: machine.speed,
        places: machine.places(Width::Places),
    };
    Ok(fleet.machines().iter().map(member).collect())
}

fn ask(arguments: &RebuildArguments, request: &RebuildRequest) -> Result<RebuildPlan, PlanError> {
    let summit = arguments.summit.api()?;
    let project = match &arguments.project {
        Some(name) => name.clone(),
        None => {
            let known = summit.projects()?;
            let [only] = known.as_slice() else { return Err(PlanError::Project { known }) };
            only.clone()
        }
    };
    Ok(summit.rebuild(&project, request)?)
}

fn text(plan: &RebuildPlan, palette: Palette, columns: usize) -> String {
    let strong = |text: &str| palette.paint(Style::Strong, text);
    let what =
        if plan.all { "every recipe".to_owned() } else { printable(&plan.names.join(", ")).into_owned() };
    let with = match plan.dependents {
        None => "",
        Some(Dependents::Direct) => " with who needs it",
        Some(Dependents::Transitive) => " with who needs it, near or far",
        Some(Dependents::Abi) => " with who uses what goes away",
    };
    let headline = format!(
        "Rebuild of {what}{with}: {}, {}",
        counted(plan.builds, "build"),
        counted(plan.stages.len(), "stage")
    );
    let mut lines = format!("{}\n", strong(&headline));
    for (number, stage) in plan.stages.iter().enumerate() {
        lines += &format!("\n  stage {}, {}\n", number + 1, counted(stage.recipes.len(), "recipe"));
        let names: Vec<&str> = stage.recipes.iter().map(String::as_str).collect();
        lines += &printable(&wrapped(&names, "    ", columns, STAGE_LINES_MAX));
        for knot in &stage.knots {
            lines += &format!(
                "    {} of them need each other: built in up to {} rounds\n",
                knot.len(),
                plan.forecast.rounds_max
            );
        }
    }
    lines += &changes(plan, &strong("What goes away:"));
    lines += &reasons(plan, &strong("Why each is built:"));
    for left_out in &plan.left_out {
        lines += &format!(
            "\n{}: {}\n",
            palette.paint(Style::Warning, &printable(&left_out.source)),
            printable(&left_out.why)
        );
    }
    lines += &format!("\n{}\n", strong("What it costs:"));
    let forecast = &plan.forecast;
    lines += &format!("  work      {} of the reference machine\n", hours(forecast.work_hours));
    if let Some(expected) = forecast.hours {
        let most = forecast.hours_at_most.filter(|most| *most > expected);
        let most = most
            .map_or_else(String::new, |most| format!(", {} if every knot takes all its rounds", hours(most)));
        let places = format!(
            "{} with {}",
            counted(forecast.builders, "builder"),
            counted(forecast.places as usize, "place")
        );
        lines += &format!("  time      {} on {places}{most}\n", hours(expected));
    }
    let download = &plan.download;
    let size = match download.packages_of_unknown_size {
        unknown if unknown == download.packages => "unknown size".to_owned(),
        _ => mebibytes(download.size_bytes),
    };
    lines += &format!("  download  {size} in {}\n", counted(download.packages, "package"));
    for note in &plan.notes {
        lines += &format!("{} {}\n", palette.paint(Style::Hint, "note:"), printable(note));
    }
    lines += &match plan.ordered {
        Some(ordered) => palette.paint(Style::Good, &format!("Ordered: {}.\n", counted(ordered, "rebuild"))),
        None => "Nothing was changed.\n".to_owned(),
    };
    lines
}

fn changes(plan: &RebuildPlan, headline: &str) -> String {
    let mut lines = String::new();
    for change in plan.changes.iter().filter(|change| !change.gone.is_empty()) {
        let certainty = if change.certain { "goes away" } else { "may go away" };
        lines += &format!("  of {}, {certainty}:\n", change.source);
        for gone in &change.gone {
            let instead: Vec<String> = gone.instead.iter().map(Dependency::short).collect();
            let instead =
                if instead.is_empty() { String::new() } else { format!(", now {}", instead.join(" ")) };
            lines += &format!("    {}{instead}\n", gone.provider.short());
        }
    }
    if lines.is_empty() { lines } else { format!("\n{headline}\n{}", printable(&lines)) }
}

fn reasons(plan: &RebuildPlan, headline: &str) -> String {
    let rows: Vec<String> = plan
        .recipes
        .iter()
        .filter(|member| {
            !member.why.iter().all(|why| matches!(why, Why::Named | Why::All)) || !member.obstacles.is_empty()
        })
        .map(|member| {
            let mut why: Vec<String> = member.why.iter().map(reason).collect();
            why.extend(member.obstacles.iter().map(|obstacle| format!("cannot begin: {obstacle}")));
            format!("  {}: {}\n", member.source, why.join("; "))
        })
        .collect();
    if rows.is_empty() {
        return String::new();
    }
    let mut text =
        format!("\n{headline}\n{}", rows.iter().take(REASONS_MAX).map(String::as_str).collect::<String>());
    if rows.len() > REASONS_MAX {
        text += &format!("  and {} more; --json has all\n", rows.len() - REASONS_MAX);
    }
    text
}

fn reason(why: &Why) -> String {
    match why {
        Why::Named => "named".into(),
        Why::All => "everything was asked for".into(),
        Why::Needs { chain, because } => {
            let of = chain.iter().rev().nth(1).map_or("", String::as_str);
            let way = if chain.len() > 2 { format!(" ({})", chain.join(" → ")) } else { String::new() };
            format!("needs {} of {of}{way}", few(because))
        }
        Why::Uses { of, gone, certain: true } => format!("uses {} of {of}", few(gone)),
        Why::Uses { of, gone, certain: false } => format!("uses {} of {of}, which may go away", few(gone)),
        Why::Broken { of, needs } => format!("is broken: needs {}, which {of} offered once", few(needs)),
    }
}

fn few(dependencies: &[Dependency]) -> String {
    let shown: Vec<String> = dependencies.iter().take(DEPENDENCIES_MAX).map(Dependency::short).collect();
    match dependencies.len().saturating_sub(DEPENDENCIES_MAX) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

fn counted(number: usize, thing: &str) -> String {
    if number == 1 { format!("1 {thing}") } else { format!("{number} {thing}s") }
}

fn hours(hours: f64) -> String {
    if hours < 1.0 { format!("{:.0} minutes", hours * 60.0) } else { format!("{hours:.1} hours") }
}

fn mebibytes(size_bytes: u64) -> String {
    const MEBIBYTE: u64 = 1 << 20;
    format!("{} MiB", size_bytes.div_ceil(MEBIBYTE))
}

#[cfg(test)]
mod tests {
    use fault::Fault;

    use super::*;

    #[test]
    fn builders() {
        let found = fleet("a=16:1.0:64G,b=2:0.5:4G").unwrap();
        let found: Vec<_> =
            found.iter().map(|builder| (builder.name.as_str(), builder.speed, builder.places)).collect();
        assert_eq!(found, [("a", 1.0, 4), ("b", 0.5, 1)]);
        assert!(!fleet("a=16").unwrap_err().hints().is_empty());
    }

    fn dependency(text: &str) -> Dependency {
        text.parse().unwrap()
    }

    #[test]
    fn reasons_are_sentences() {
        let chain = ["zlib", "png", "gtk"].map(String::from).to_vec();
        let gone = vec![dependency("pkgconfig(zlib)")];
        for (why, expect) in [
            (
                Why::Needs { chain, because: vec![dependency("png-devel")] },
                "needs png-devel of png (zlib → png → gtk)",
            ),
            (
                Why::Uses { of: "zlib".into(), gone: gone.clone(), certain: false },
                "uses pkgconfig(zlib) of zlib, which may go away",
            ),
            (
                Why::Broken { of: "zlib".into(), needs: gone },
                "is broken: needs pkgconfig(zlib), which zlib offered once",
            ),
        ] {
            assert_eq!(reason(&why), expect);
        }
        assert_eq!(few(&["a", "b", "c", "d"].map(dependency)), "a, b, c and 1 more");
    }

    #[test]
    fn a_plan_over_a_folder_is_told_to_people() {
        let folder = tempfile::tempdir().unwrap();
        for (name, needs) in [("app", "builddeps: [ zlib-devel ]\n"), ("zlib", "")] {
            let place = folder.path().join(name);
            fs_err::create_dir(&place).unwrap();
            let head =
                format!("name: {name}\nversion: \"1\"\nrelease: 1\nhomepage: h\nlicense: MIT\nsummary: s\n");
            fs_err::write(place.join("stone.yaml"), format!("{head}description: d\n{needs}")).unwrap();
        }
        let arguments = RebuildArguments {
            names: vec!["zlib".into()],
            dependents: Some(Who::Direct),
            all: false,
            recipes: Some(folder.path().to_path_buf()),
            folder: FolderArguments { arch: Some("x86_64".into()), host: super::super::Host::Nothing },
            builders: Some("a=4:1.0:4G".into()),
            history: None,
            summit: SummitArguments::default(),
            project: None,
            apply: false,
        };
        let request = RebuildRequest {
            names: arguments.names.clone(),
            dependents: Some(Dependents::Direct),
            ..RebuildRequest::default()
        };
        let plan = offline(folder.path(), &arguments, &request).unwrap();
        let shown = text(&plan, Palette::plain(), 80);
        for expected in [
            "Rebuild of zlib with who needs it: 2 builds, 2 stages",
            "stage 1, 1 recipe\n    zlib",
            "app: needs zlib-devel of zlib",
            "8 minutes on 1 builder with 1 place",
            "download  unknown size in 0 packages",
            "note: the time of 2 of the builds is not known",
            "Nothing was changed.",
        ] {
            assert!(shown.contains(expected), "{expected:?} in\n{shown}");
        }

        let known = folder.path().join("history.jsonl");
        let line =
            |source: &str, seconds: u32| format!("{{\"source\":\"{source}\",\"seconds\":{seconds}}}\n");
        fs_err::write(&known, line("app", 600) + &line("zlib", 1200)).unwrap();
        let arguments = RebuildArguments { history: Some(known), ..arguments };
        let plan = offline(folder.path(), &arguments, &request).unwrap();
        let shown = text(&plan, Palette::plain(), 80);
        assert!(shown.contains("30 minutes on 1 builder with 1 place"), "{shown}");
        assert!(!shown.contains("is not known"), "{shown}");
    }
}
