//! The report, as Markdown.

use farm::sim::clock;

use crate::machine::Machine;
use crate::makespan::{BUILDERS, FAULTS, Row, SEEDS};
use crate::{large, logs, makespan, publish, real, refresh, store};

/// The whole report.
pub(crate) fn render(
    machine: &Machine,
    real: &real::Figures,
    makespans: &makespan::Figures,
    large: &large::Figures,
    logs: &logs::Figures,
    store: &store::Figures,
) -> String {
    format!(
        "# What the farm's decisions cost\n\n\
         Written by `just bench`, which measures again and replaces this file; the recipes are those of the pack that\n\
         `MORAINE_DATA` names ({} recipes). Measured on {} cores of {}, {} GiB of memory, in a release build.\n\
         All times are by the clock on the wall: others that use the machine make them longer. At the beginning {:.1}\n\
         processes wanted to run; above a half or so the figures are of little use.\n\n\
         {}\n{}\n{}\n{}\n{}",
        real.recipes,
        machine.cores,
        machine.processor,
        machine.memory_gib,
        machine.load,
        of_real(real),
        of_makespans(makespans),
        of_large(large),
        of_logs(logs),
        of_store(store),
    )
}

/// The report with this section in the place of the one of the same title, or at its end.
pub(crate) fn with_section(report: &str, section: &str) -> String {
    let title = section.lines().next().unwrap_or_default();
    let mut kept: Vec<&str> = Vec::new();
    let mut is_inside = false;
    for line in report.lines() {
        if line.starts_with("## ") {
            is_inside = line == title;
        }
        if !is_inside {
            kept.push(line);
        }
    }
    format!("{}\n\n{section}", kept.join("\n").trim_end())
}

/// A table row: what, what it is, what it should be, whether it is.
fn row(what: &str, is: &str, target: &str, met: bool, elsewhere: &str) -> String {
    let verdict = if met { "yes" } else { "**no**" };
    format!("| {what} | {is} | {target} | {verdict} | {elsewhere} |\n")
}

const HEAD: &str =
    "| what | ours | target | met | AerynOS's Summit, same kind of machine |\n|---|---|---|---|---|\n";

fn of_real(real: &real::Figures) -> String {
    let knots: Vec<String> = real.knots.iter().map(ToString::to_string).collect();
    let mut text = format!(
        "## All real recipes, every one of them queued\n\n\
         {} recipes, {} build edges, {} run edges, {} levels, knots of {} recipes. Medians of {} runs after one that\n\
         does not count; files in the page cache; the folder is read on all cores, everything else on one.\n\n{HEAD}",
        real.recipes,
        real.edges,
        real.run_edges,
        real.levels,
        knots.join(" and "),
        real::RUNS,
    );
    text.push_str(&row(
        "recipes and manifests of a folder into a catalogue",
        &format!("{:.0} ms", real.catalogue_ms),
        "300 ms",
        real.catalogue_ms <= 300.0,
        "12.6 s",
    ));
    text.push_str(&row(
        "graph and order from cold",
        &format!("{:.1} ms", real.order_ms),
        "20 ms",
        real.order_ms < 20.0,
        "3.26 s",
    ));
    text.push_str(&row(
        "one changed recipe, until it is known whose turn changed: half",
        &format!("{:.2} ms", real.change_p50_ms),
        "1 ms",
        real.change_p50_ms < 1.0,
        "3.26 s",
    ));
    text.push_str(&row(
        "the same: 99 of 100",
        &format!("{:.2} ms", real.change_p99_ms),
        "1 ms",
        real.change_p99_ms < 1.0,
        "3.26 s",
    ));
    text.push_str(&row(
        "one finished task, until it is known who may start: half",
        &format!("{:.4} ms", real.done_p50_ms),
        "1 ms",
        real.done_p50_ms < 1.0,
        "3.26 s",
    ));
    text.push_str(&row(
        "the same: the worst of all",
        &format!("{:.2} ms", real.done_worst_ms),
        "1 ms",
        real.done_worst_ms < 1.0,
        "3.26 s",
    ));
    text.push_str(&row("edges dropped", &real.dropped.to_string(), "0", real.dropped == 0, "343"));
    text.push_str(&format!(
        "\nThe order from cold is: graph {:.2} ms, queue {:.2} ms, longest ways {:.2} ms, ready tasks into the scheduler\n\
         {:.2} ms. A change is a new release of one recipe that needs one thing more, tried for {} recipes; comparing the\n\
         new catalogue with the graph is part of it. Dropped edges are counted against the definition, without the graph:\n\
         pairs of a recipe and another one that offers something it needs. {} edges inside knots are not waited for: along\n\
         them a recipe is built against the previous generation of the other, and each is shown.\n",
        real.graph_ms, real.queue_ms, real.paths_ms, real.offers_ms, real.changes, real.deferred,
    ));
    text
}

/// What the databases take.
pub(crate) fn of_store(figures: &store::Figures) -> String {
    let mut text = format!(
        "## Many tasks at once, written down\n\n\
         {} tasks in one transaction, as a rebuild of everything makes them, then all of them judged ready with their events\n\
         in another one, then read for planning. Medians of {} runs, each with a database of its own on this disk, which keeps\n\
         what was answered; PostgreSQL by its socket, with the settings that it comes with. When this was measured {:.1}\n\
         processes of others wanted to run as well{}.\n\n\
         | what | ours | target | met | best known elsewhere |\n|---|---|---|---|---|\n",
        store::TASKS,
        store::RUNS,
        figures.load,
        if figures.optimised { "" } else { ", and our code was not optimised" },
    );
    let mut of = |name: &str, times: &store::Times| {
        for (what, seconds) in [("made", times.made), ("judged", times.judged), ("read", times.read)] {
            text.push_str(&row(
                &format!("{name}: {what}"),
                &format!("{seconds:.2} s"),
                "5 s",
                seconds < 5.0,
                "nobody says",
            ));
        }
    };
    of("SQLite", &figures.sqlite);
    match &figures.postgres {
        Some(times) => of("PostgreSQL", times),
        None => text.push_str("\nPostgreSQL was not measured: this machine has none.\n"),
    }
    text
}

/// The section about publishing.
pub(crate) fn of_publish(figures: &publish::Figures) -> String {
    let mut text = format!(
        "## Publishing\n\n\
         A whole Vessel with its database, its store on this disk and its signatures; packages as the manifests of the pack\n\
         describe them, again under other names where there are too few. One package: medians of {} publications. When this\n\
         was measured {:.1} processes of others wanted to run as well{}.\n\n\
         | what | ours | target | met | best known elsewhere |\n|---|---|---|---|---|\n",
        publish::RUNS,
        figures.load,
        if figures.optimised { "" } else { ", and our code was not optimised" },
    );
    let mut seconds = |what: &str, is: f64, target: f64, elsewhere: &str| {
        text.push_str(&row(what, &format!("{is:.3} s"), &format!("{target} s"), is <= target, elsewhere));
    };
    let (small, large) = (&figures.small, &figures.large);
    let into = |count: usize| format!("one package into {count}");
    seconds(&into(publish::SMALL), small.one, 2.0, "1.3 s (AerynOS)");
    seconds(
        &format!("… of that, making its indexes, at {}", publish::SMALL),
        small.indexes,
        0.1,
        "nobody says",
    );
    seconds(&into(publish::LARGE), large.one, 2.0, "minutes to hourly");
    seconds(
        &format!("… of that, making its indexes, at {}", publish::LARGE),
        large.indexes,
        2.0,
        "nobody says",
    );
    let at_once = format!("{} packages at once", publish::AT_ONCE);
    seconds(&at_once, figures.at_once, 5.0, "3,000 in 13 s, 3,993 fail (AerynOS)");
    seconds(&format!("rollback at {}", publish::LARGE), large.rollback, 1.0, "not offered");
    let mut bytes = |what: &str, is: u64, target: u64, elsewhere: &str| {
        let shown = |bytes: u64| format!("{} bytes", grouped(bytes));
        text.push_str(&row(what, &shown(is), &shown(target), is <= target, elsewhere));
    };
    let at = |what: &str| format!("{what}, {} packages", publish::SMALL);
    bytes(&at("whole index"), small.compact_bytes, 600 << 10, "1,890 KB (AerynOS)");
    let [delta, statement, pointer] = figures.week;
    let week = format!("a week's update: {} packages changed", publish::WEEK);
    bytes(&at(&week), delta + statement + pointer, 40 << 10, "1,890 KB (AerynOS)");
    let [first, unchanged, after] = figures.refresh;
    let over = |what: &str, cost: refresh::Cost| format!("{what} over HTTP, {} requests", cost.requests);
    bytes(&over("a first refresh", first), first.bytes, 620 << 10, "1,890 KB (AerynOS)");
    bytes(&over("a week later", after), after.bytes, 40 << 10, "1,890 KB (AerynOS)");
    bytes(&over("nothing changed", unchanged), unchanged.bytes, 2 << 10, "one request (rattler)");
    text.push_str(&format!(
        "\nBytes over HTTP are those of whole answers with their heads, as Moss gets them with a pinned key.\n\
         At {} packages the plain `stone.index` has {} bytes, texts {}, lists of files {}, a delta of one package {}.\n",
        publish::SMALL,
        grouped(small.plain_bytes),
        grouped(small.texts_bytes),
        grouped(small.files_bytes),
        grouped(small.delta_bytes),
    ));
    text
}

/// A number with commas.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn of_makespans(makespans: &makespan::Figures) -> String {
    let mut text = format!(
        "## How long a fleet takes for all of them\n\n\
         `moraine sim --recipes DIR --builders {BUILDERS} --seed N`, for the seeds {} to {}: every recipe is built once,\n\
         against the previous generation of every package. The lower bound is the larger of the longest way through the\n\
         graph on the fastest builder and all work spread evenly over all builders. Times are drawn with a heavy tail\n\
         (`moraine sim --help` says how); the scheduler knows three earlier builds of each recipe, each off by up to a\n\
         sixth, unless said otherwise. AerynOS's way is simulated with one build per builder on all its cores, which Amdahl's law\n\
         makes faster, and with its choice by size class and number.\n\n\
         | policy | to the bound: mean | best | worst | mean makespan | places in use | not built |\n\
         |---|---|---|---|---|---|---|\n",
        SEEDS.start(),
        SEEDS.end(),
    );
    for row in &makespans.rows {
        text.push_str(&of_policy(row));
    }
    let met = makespans.rows.first().is_some_and(|row| mean(&row.ratios) <= 1.08);
    text.push_str(&format!(
        "\nThe target is at most 1.08 with four unequal builders: {}. Hydra's queue runner is at 1.17 on its own farm. The\n\
         longest way is up to {:.2} times as long as all work spread evenly, in the worst of these worlds. Faults are `{FAULTS}`.\n",
        if met { "met in the mean" } else { "**missed in the mean**" },
        makespans.critical_path_share,
    ));
    text
}

fn of_policy(row: &Row) -> String {
    let best = row.ratios.iter().copied().fold(f64::INFINITY, f64::min);
    let worst = row.ratios.iter().copied().fold(0.0, f64::max);
    let count = u64::try_from(row.makespans_ms.len()).unwrap_or(1).max(1);
    format!(
        "| {} | {:.3} | {best:.3} | {worst:.3} | {} | {:.1} % | {} |\n",
        row.name,
        mean(&row.ratios),
        clock(row.makespans_ms.iter().sum::<u64>() / count),
        mean(&row.utilisations) * 100.0,
        row.unbuilt,
    )
}

fn mean(values: &[f64]) -> f64 {
    let count = u32::try_from(values.len()).unwrap_or(1).max(1);
    values.iter().sum::<f64>() / f64::from(count)
}

fn of_large(large: &large::Figures) -> String {
    let mut text = format!(
        "## A thousand builders\n\n\
         {} made-up recipes with {} build edges, {} builders with {} places, run once by the simulator with the real graph,\n\
         queue, scheduler and task steps, in a process of its own: a knot that all others need, and above it 35,000 columns\n\
         in which each recipe needs the one below, its neighbours and what everybody uses. At most {} recipes could be\n\
         started at one moment. No database and no network: what Summit adds is not in these figures.\n\n\
         | what | ours | target | met | best known elsewhere |\n|---|---|---|---|---|\n",
        large.recipes, large.edges, large.builders, large.places, large.ready_most,
    );
    text.push_str(&row(
        "from what made an assignment possible to the decision: half",
        &format!("{:.2} ms", large.assigned_p50_ms),
        "20 ms",
        large.assigned_p50_ms < 20.0,
        "0.6 s (Hydra), 1 s (OBS)",
    ));
    text.push_str(&row(
        "the same: 99 of 100",
        &format!("{:.2} ms", large.assigned_p99_ms),
        "250 ms",
        large.assigned_p99_ms < 250.0,
        "15 s (Koji)",
    ));
    text.push_str(&row(
        &format!("scheduler's share of a core, {} and more runnable", large::BUSY),
        &format!("{:.2} %", large.busy_core_share * 100.0),
        "3 %",
        large.busy_core_share < 0.03,
        "11 % (Hydra)",
    ));
    text.push_str(&row(
        "memory of graph, queue, scheduler, history and tasks at the peak",
        &format!("{} MiB", large.farm_mib),
        "250 MB",
        large.farm_mib * 1_048_576 <= 250_000_000,
        "1.0 GB (Hydra)",
    ));
    text.push_str(&format!(
        "\nAssignments: {}; the longest decision took {:.1} ms: the one in which the bottom is done and all places are filled at\n\
         once, which is more than a hundredth of all assignments. The first, with everything new, {:.0} ms, and the graph before it\n\
         {:.1} s. The share of a core is computed, not sampled: the wall time of all decisions, {:.0} µs for each build with all\n\
         its events, over the time of the simulated clock, {:.1} hours at {:.1} builds a second; while {} and more were\n\
         runnable ({} in the mean) it is the figure above, over the whole run {:.2} %. The peak of the process is {} MiB; {} MiB of\n\
         it are the catalogue that the benchmark made up and holds meanwhile, {} MiB the graph, and some 30 MiB what the\n\
         simulator notes down for its own report.\n",
        large.assignments,
        large.assigned_worst_ms,
        large.begin_ms,
        large.graph_seconds,
        large.us_per_build,
        large.virtual_hours,
        large.builds_per_second,
        large::BUSY,
        large.busy_ready_mean,
        large.core_share * 100.0,
        large.peak_mib,
        large.catalogue_mib,
        large.graph_mib,
    ));
    text
}

/// From a build to whoever looks at it.
pub(crate) fn of_logs(logs: &logs::Figures) -> String {
    let mut text = format!(
        "## From a line of a build to the browser\n\n\
         A real Summit with SQLite and this disk; {} builders that speak the protocol over TLS, each writing {} lines a second of\n\
         {} bytes and sending what has gathered whenever the last piece is acknowledged; viewers that read the live stream of the\n\
         log page, each over a connection of its own. Measured from the moment when the build has written the line to the one when the\n\
         viewer's socket holds it, on the disk and as rows in colours by then. Everything runs on the two cores of this machine at\n\
         once, viewers too; when this was measured {:.1} processes of others wanted to run as well.\n\n\
         | what | ours | target | met | best known elsewhere |\n|---|---|---|---|---|\n",
        logs::BUILDS,
        1000 / logs::LINE_EVERY.as_millis().max(1),
        logs::LINE_BYTES,
        logs.load,
    );
    let many = format!("{} viewers", logs::VIEWERS);
    for (who, latency) in [("one viewer", &logs.one), (many.as_str(), &logs.many)] {
        let half = format!("{:.1} ms", latency.p50_ms);
        text.push_str(&row(
            &format!("{who}: half of the lines"),
            &half,
            "250 ms",
            latency.p50_ms < 250.0,
            "nobody says",
        ));
        let most = format!("{:.1} ms", latency.p99_ms);
        text.push_str(&row("the same: 99 of 100", &most, "250 ms", latency.p99_ms < 250.0, "nobody says"));
    }
    text.push_str(&format!(
        "\nLines seen: {} by the one, {} by the many; the slowest took {:.0} and {:.0} ms. A browser is sent rows at most 25 times a\n\
         second, which is some 20 ms of the half. Pieces are gathered for 4 ms before the disk is made to keep them. When all builders\n\
         write as fast as pieces of 63 KiB are acknowledged, one at a time for each, {:.0} MiB a second are kept.\n",
        logs.one.lines, logs.many.lines, logs.one.worst_ms, logs.many.worst_ms, logs.mib_per_second,
    ));
    text
}
