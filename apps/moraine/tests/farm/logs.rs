//! Logs as whoever waits for a build reads them.

use std::process::Stdio;

use crate::bench::{Bench, Farm, moraine, said, succeed};
use crate::faults::{assert_complete, slow};

#[test]
fn a_followed_log_goes_on_over_a_killed_summit_without_losing_or_doubling_a_byte() {
    let Some(bench) = Bench::new() else { return };
    bench.write_recipe("left", &slow("left", 1));
    bench.commit("release 1");
    let farm = Farm::start(&bench, 1);
    farm.wait("a task", || farm.task("left", 1).is_some());
    let task = farm.task("left", 1).unwrap()["id"].to_string();
    let followed = bench.path("followed");
    let follower = moraine()
        .args(["task", "log", "--follow", "--summit", &farm.dashboard, &task])
        .stdout(fs_err::File::create(&followed).unwrap().into_parts().0)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let seen = || String::from_utf8(fs_err::read(&followed).unwrap()).unwrap();
    farm.wait("some of the log", || seen().contains("line 3 of"));
    farm.kill("summit");
    let output = follower.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    assert_complete(&seen());
    let attempts = farm.attempts("left", 1);
    assert_eq!(seen(), farm.log(attempts.last().unwrap()), "{}", said(&output));

    // What was built is searched as well, by a regular expression and with a pipe that takes every byte.
    let summit = ["--summit", farm.dashboard.as_str()];
    let found = succeed(moraine().args(["task", "log", "--search", "^line (29|30) of"]).args(summit));
    assert!(found.starts_with("left 1.0-1 (task ") && found.contains(": line 30 of 30\n"), "{found}");
    let whole = succeed(moraine().args(["task", "log", &task]).args(summit));
    assert_eq!(whole, seen());
    let none = moraine().args(["task", "log", "--attempt", "9", &task]).args(summit).output().unwrap();
    assert!(
        !none.status.success() && said(&none).contains("there is no attempt 9; there is 1"),
        "{}",
        said(&none)
    );
    // Somebody who comes while Summit is away waits for it as well.
    farm.kill("summit");
    let late = moraine().args(["task", "log", "--follow", &task]).args(summit).output().unwrap();
    assert!(late.status.success(), "{}", said(&late));
    assert_eq!(String::from_utf8_lossy(&late.stdout), seen());
    farm.stop();
    bench.assert_quiet();
}

#[test]
fn row_u7_a_command_says_what_became_of_it() {
    let Some(bench) = Bench::new() else { return };
    bench.write_recipe("right", &slow("right", 1));
    bench.commit("release 1");
    let farm = Farm::start(&bench, 1);
    let summit = ["--summit", farm.dashboard.as_str()];
    farm.wait_phase("right", 1, "building");
    let cancelled = succeed(moraine().args(["task", "cancel", "right"]).args(summit));
    assert!(cancelled.contains("is cancelled"), "{cancelled}");
    assert_eq!(farm.task("right", 1).unwrap()["phase"], "cancelled", "it was so when the command returned");
    for verb in ["cancel", "hold", "release"] {
        let output = moraine().args(["task", verb, "right"]).args(summit).output().unwrap();
        assert_eq!(output.status.code(), Some(4), "{verb}: {}", said(&output));
        assert!(said(&output).contains(&format!("cannot {verb}")), "{}", said(&output));
    }
    let unknown = moraine().args(["task", "retry", "nobody"]).args(summit).output().unwrap();
    assert_eq!(unknown.status.code(), Some(3), "{}", said(&unknown));
    let queue = || succeed(moraine().args(["queue", "--json"]).args(summit));
    succeed(moraine().args(["queue", "pause", "--why", "a new disk"]).args(summit));
    assert!(queue().contains("a new disk"), "{}", queue());
    succeed(moraine().args(["queue", "resume"]).args(summit));
    assert!(!queue().contains("a new disk"), "{}", queue());
    farm.stop();
    bench.assert_quiet();
}
