//! Everything is killed, one after the other, while builds run.

use serde_json::Value;

use crate::bench::{Bench, Farm, recipe};

/// Lines of a build that takes some seconds; its log shows whether anything of it was lost.
const LINES: usize = 30;

pub(crate) fn slow(name: &str, release: u64) -> String {
    let fields = format!(
        "build: |\n    for line in $(seq 1 {LINES}); do echo \"line $line of {LINES}\"; sleep 0.1; done\n\
         install: |\n    install -d %(installroot)/usr/share/%(name)\n    \
         echo {release} > %(installroot)/usr/share/%(name)/release\n"
    );
    recipe(name, release, &fields)
}

/// Commits the next release of two slow recipes and waits until both are being built and have said something.
fn begin(bench: &Bench, farm: &Farm, release: u64) {
    for name in ["left", "right"] {
        bench.write_recipe(name, &slow(name, release));
    }
    bench.commit(&format!("release {release}"));
    farm.wake_up();
    wait_under_way(farm, release);
}

fn wait_under_way(farm: &Farm, release: u64) {
    for name in ["left", "right"] {
        farm.wait(&format!("{name} under way"), || {
            let attempts = farm.task(name, release).map(|_| farm.attempts(name, release)).unwrap_or_default();
            attempts.last().is_some_and(|attempt| farm.log(attempt).contains("line 2 of"))
        });
    }
}

/// Every line of the build is in the log, once and in order.
pub(crate) fn assert_complete(log: &str) {
    let lines: Vec<&str> = log.lines().filter(|line| line.starts_with("line ")).collect();
    let expected: Vec<String> = (1..=LINES).map(|line| format!("line {line} of {LINES}")).collect();
    assert_eq!(lines, expected, "{log}");
}

fn assert_published(farm: &Farm, name: &str, release: u64, attempts_expected: usize) {
    farm.wait_phase(name, release, "published");
    let attempts = farm.attempts(name, release);
    assert_eq!(attempts.len(), attempts_expected, "{name} {release}: {attempts:#?}\n{}", farm.logs());
    assert_complete(&farm.log(attempts.last().unwrap()));
    for lost in &attempts[..attempts.len() - 1] {
        assert_eq!(lost["outcome"]["outcome"], "failed", "{lost:#}");
        assert_eq!(lost["outcome"]["class"], "lost", "{lost:#}");
    }
}

#[test]
fn every_service_is_killed_while_builds_run() {
    let Some(bench) = Bench::new() else { return };
    for name in ["left", "right"] {
        bench.write_recipe(name, &slow(name, 1));
    }
    bench.commit("release 1");
    let farm = Farm::start(&bench, 2);
    wait_under_way(&farm, 1);
    farm.kill("summit");
    assert_published(&farm, "left", 1, 1);
    assert_published(&farm, "right", 1, 1);

    begin(&bench, &farm, 2);
    farm.kill("vessel");
    assert_published(&farm, "left", 2, 1);
    assert_published(&farm, "right", 2, 1);

    // The build of a killed agent goes on; that of a killed keeper is lost.
    for (release, agent, keeper_too) in [(3, "agent-1", false), (4, "agent-2", true)] {
        begin(&bench, &farm, release);
        let builder_of = |name: &str| farm.task(name, release).unwrap()["builder"].clone();
        let of_killed = if builder_of("left") == agent { "left" } else { "right" };
        let of_other = if of_killed == "left" { "right" } else { "left" };
        assert_ne!(builder_of(of_killed), builder_of(of_other), "both agents build");
        farm.kill(agent);
        if keeper_too {
            farm.kill_keeper(agent);
        }
        assert_published(&farm, of_other, release, 1);
        assert_published(&farm, of_killed, release, if keeper_too { 2 } else { 1 });
    }
    everything_is_killed_while_it_publishes(&bench, &farm, 5);
    assert_histories(&farm, 10);

    the_farm_itself_is_killed(&bench, farm);
}

/// What is built goes on and is published, whoever is killed between the end of the build and its publication.
fn everything_is_killed_while_it_publishes(bench: &Bench, farm: &Farm, release: u64) {
    begin(bench, farm, release);
    farm.wait("a build that publishes", || {
        let phases = ["left", "right"].map(|name| farm.task(name, release).unwrap()["phase"].clone());
        phases.iter().any(|phase| phase == "publishing" || phase == "published")
    });
    for service in ["vessel", "summit", "agent-1", "agent-2"] {
        farm.kill(service);
    }
    for name in ["left", "right"] {
        assert_published(farm, name, release, 1);
    }
}

/// Every build is published once, and nothing else is.
fn assert_histories(farm: &Farm, builds: usize) {
    let channel = farm.channel();
    let histories = channel["histories"].as_array().unwrap();
    // The first one has the C library of the machine. Two builds may land as one.
    assert!(histories.len() <= builds + 1, "{channel:#}");
    let landed: Vec<Value> = farm.tasks().iter().map(|task| task["history"].clone()).collect();
    assert_eq!(landed.len(), builds);
    assert!(landed.iter().all(|history| histories.iter().any(|known| known["id"] == *history)), "{landed:?}");
}

fn the_farm_itself_is_killed(bench: &Bench, farm: Farm) {
    begin(bench, &farm, 6);
    let (dashboard, repository) = (farm.dashboard.clone(), farm.repository.clone());
    farm.kill_all();
    bench.assert_quiet();

    let farm = Farm::start(bench, 2);
    assert_eq!((&farm.dashboard, &farm.repository), (&dashboard, &repository), "the same places");
    assert_published(&farm, "left", 6, 2);
    assert_published(&farm, "right", 6, 2);
    farm.wait_idle();
    assert_histories(&farm, 12);
    farm.stop();
    bench.assert_quiet();
}
