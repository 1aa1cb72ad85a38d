//! A farm over some days: a chain of packages, new releases, and recipes that are wrong.

use testkit::Tarball;

use crate::bench::{Bench, Farm, moraine, recipe, said, succeed};

/// A library in C from an upstream archive; its word is the recipe's, so that a release can change it.
fn lib_a(tarball: &Tarball, release: u64, word: &str) -> String {
    recipe(
        "lib-a",
        release,
        &format!(
            "upstreams:\n    - {}: {}\nbuild: |\n    $CC $CFLAGS -fPIC -shared -Wl,-soname,liba.so.1 $LDFLAGS \
             -DWORD='\"{word}\"' -o liba.so.1 a.c\ninstall: |\n    \
             install -D -m 0755 liba.so.1 %(installroot)/usr/lib/liba.so.1\n    \
             ln -s liba.so.1 %(installroot)/usr/lib/liba.so\n    \
             install -D -m 0644 a.h %(installroot)/usr/include/a.h\n",
            tarball.url(),
            tarball.sha256
        ),
    )
}

const LIB_B: &str = "\
builddeps:
    - lib-a-devel
build: |
    echo '#include <a.h>' > b.c
    echo 'const char *b(void) { return a(); }' >> b.c
    echo 'const char *b(void);' > b.h
    $CC $CFLAGS -fPIC -shared -Wl,-soname,libb.so.1 $LDFLAGS -o libb.so.1 b.c -la
install: |
    install -D -m 0755 libb.so.1 %(installroot)/usr/lib/libb.so.1
    ln -s libb.so.1 %(installroot)/usr/lib/libb.so
    install -D -m 0644 b.h %(installroot)/usr/include/b.h
";

const PROGRAM_C: &str = "\
builddeps:
    - lib-b-devel
build: |
    printf '#include <stdio.h>\\n#include <b.h>\\nint main(void) { puts(b()); return 0; }\\n' > c.c
    $CC $CFLAGS $LDFLAGS -o c c.c -lb
install: |
    install -D -m 0755 c %(installroot)/usr/bin/c
";

/// Installs a header, so that others can ask for its `-devel`, and something for that to go with.
const HEADER: &str = "\
install: |
    install -d %(installroot)/usr/include %(installroot)/usr/share/%(name)
    touch %(installroot)/usr/share/%(name)/here
    echo '#define YES 1' > %(installroot)/usr/include/%(name).h
";

/// Asks for a header of `package`.
fn user_of(package: &str) -> String {
    format!(
        "builddeps:\n    - {package}-devel\ninstall: |\n    \
         install -D -m 0644 /usr/include/{package}.h %(installroot)/usr/share/%(name)/copy.h\n"
    )
}

#[test]
fn a_farm_over_some_days() {
    let Some(bench) = Bench::new() else { return };
    let a_h = "const char *a(void);\n";
    let a_c = "#include \"a.h\"\nconst char *a(void) { return WORD; }\n";
    let tarball = Tarball::pack(&bench.path(""), "a-1.0", &[("a.h", a_h), ("a.c", a_c)]);
    bench.write_recipe("lib-a", &lib_a(&tarball, 1, "one"));
    bench.write_recipe("lib-b", &recipe("lib-b", 1, LIB_B));
    bench.write_recipe("c", &recipe("c", 1, PROGRAM_C));
    bench.commit("three in a chain");

    let farm = Farm::start(&bench, 2);
    first_day(&bench, &farm);
    bench.write_recipe("lib-a", &lib_a(&tarball, 2, "two"));
    bench.commit("a new release");
    a_new_release(&bench, &farm);
    a_change_without_a_release(&bench, &farm);
    recipes_that_are_wrong(&bench, &farm);
    a_source_that_comes_late(&bench, &farm);
    a_second_farm_in_the_same_folder(&bench);
    farm.stop();
    bench.assert_quiet();
}

fn first_day(bench: &Bench, farm: &Farm) {
    farm.wait_idle();
    let order: Vec<String> = farm
        .tasks()
        .iter()
        .map(|task| {
            assert_eq!(task["phase"], "published", "{task:#}\n{}", farm.logs());
            task["source"].as_str().unwrap().to_owned()
        })
        .collect();
    assert_eq!(order.len(), 3, "{order:?}");
    let began = |source: &str| farm.attempts(source, 1)[0]["assigned_ms"].as_u64();
    let ended = |source: &str| farm.attempts(source, 1)[0]["ended_ms"].as_u64();
    assert!(
        ended("lib-a") <= began("lib-b") && ended("lib-b") <= began("c"),
        "a dependent begins afterwards"
    );
    for source in ["lib-a", "lib-b", "c"] {
        let peak = farm.attempts(source, 1)[0]["peak_memory_bytes"].as_u64().unwrap();
        assert!((1 << 20..4 << 30).contains(&peak), "{source}: {peak} bytes for a compiler");
    }

    let root_index = format!("version=stream/volatile,channel=main,arch={}", std::env::consts::ARCH);
    bench.moss_json(&["repo", "add", "farm", &farm.repository, "--root-index", &root_index]);
    let info = bench.moss_json(&["info", "c"]);
    let depends = info["packages"][0]["depends"].as_array().unwrap().clone();
    let soname = format!("soname(libb.so.1({}))", std::env::consts::ARCH);
    assert!(depends.iter().any(|dependency| *dependency == soname), "{depends:?}");

    bench.moss_json(&["install", "--yes-all", "c"]);
    assert_eq!(succeed(bench.moss().args(["run", "--", "/usr/bin/c"])), "one\n");
}

fn a_new_release(bench: &Bench, farm: &Farm) {
    assert_eq!(farm.wake_up(), 1, "only what has a new release is built");
    farm.wait_phase("lib-a", 2, "published");
    farm.wait_idle();
    assert_eq!(farm.tasks().len(), 4, "its dependents are not");
    bench.moss_json(&["sync", "--yes-all"]);
    assert_eq!(succeed(bench.moss().args(["run", "--", "/usr/bin/c"])), "two\n");
}

fn a_change_without_a_release(bench: &Bench, farm: &Farm) {
    bench.write_recipe("lib-b", &format!("# A word for the reader.\n{}", recipe("lib-b", 1, LIB_B)));
    bench.commit("a comment");
    let before = farm.ask("/api/status")["commit"].clone();
    assert_eq!(farm.wake_up(), 0);
    assert_ne!(farm.ask("/api/status")["commit"], before, "the commit was seen");
}

fn recipes_that_are_wrong(bench: &Bench, farm: &Farm) {
    bench.write_recipe("broken", &recipe("broken", 1, HEADER).replace("release: 1", "release: many"));
    let failing = format!("build: |\n    echo about to break\n    exit 7\n{HEADER}");
    bench.write_recipe("bad", &recipe("bad", 1, &failing));
    bench.write_recipe("after-bad", &recipe("after-bad", 1, &user_of("bad")));
    bench.write_recipe("good", &recipe("good", 1, HEADER));
    bench.commit("two wrong, one blocked, one good");
    assert_eq!(farm.wake_up(), 3);
    farm.wait_idle();

    let unreadable = farm.ask("/api/recipes")["unreadable"].clone();
    assert_eq!(unreadable.as_array().map(Vec::len), Some(1), "{unreadable}");
    assert_eq!((&unreadable[0]["path"], &unreadable[0]["line"]), (&"broken/stone.yaml".into(), &3.into()));
    let (status, page) = farm.get("/").unwrap();
    assert!(status == 200 && page.contains("broken/stone.yaml"), "the dashboard shows it");
    assert_eq!(farm.task("good", 1).unwrap()["phase"], "published", "it stops no other");

    let failed = farm.task("bad", 1).unwrap();
    assert_eq!((&failed["phase"], &failed["failure"]["class"]), (&"failed".into(), &"build".into()));
    assert_eq!(failed["failure"]["during"], "build", "{failed:#}");
    let attempts = farm.attempts("bad", 1);
    assert_eq!(attempts.len(), 1, "what the recipe does wrong is not tried again by itself");
    assert!(farm.log(&attempts[0]).contains("about to break"));
    let blocked = farm.task("after-bad", 1).unwrap();
    assert_eq!(blocked["phase"], "blocked", "{blocked:#}");
    assert_eq!(blocked["blocked_by"][0]["task"], failed["id"]);
    assert!(blocked["detail"].as_str().unwrap().contains("bad"), "{blocked:#}");

    retry_is_protected_and_works(farm, &failed["id"].to_string());

    bench.write_recipe("bad", &recipe("bad", 2, HEADER));
    bench.write_recipe("broken", &recipe("broken", 1, HEADER));
    bench.commit("both are right now");
    assert_eq!(farm.wake_up(), 2);
    farm.wait_phase("after-bad", 1, "published");
    farm.wait_phase("broken", 1, "published");
    assert_eq!(farm.task("bad", 2).unwrap()["phase"], "published");
    assert_eq!(farm.task("bad", 1).unwrap()["phase"], "superseded");
    assert_eq!(farm.ask("/api/recipes")["unreadable"].as_array().map(Vec::len), Some(0));
}

fn retry_is_protected_and_works(farm: &Farm, id: &str) {
    let path = format!("/api/tasks/{id}/retry");
    let url = format!("{}{path}", farm.dashboard);
    assert_eq!(
        crate::http::request("POST", &url, &[]).unwrap().0,
        401,
        "without the header nobody asks, and nothing changes"
    );
    assert_eq!(farm.attempts("bad", 1).len(), 1);
    assert_eq!(farm.post(&path).0, 200);
    farm.wait("a second attempt", || farm.attempts("bad", 1).len() == 2);
    farm.wait_phase("bad", 1, "failed");
    let (status, answer) = farm.post("/api/tasks/1/retry");
    assert_eq!(status, 409, "what is published is not built again: {answer}");
}

fn a_source_that_comes_late(bench: &Bench, farm: &Farm) {
    let tarball = Tarball::pack(&bench.path(""), "late-1.0", &[("late.h", "#define LATE 1\n")]);
    let hidden = bench.path("hidden");
    fs_err::rename(&tarball.path, &hidden).unwrap();
    let fields = format!(
        "upstreams:\n    - {}: {}\ninstall: |\n    install -D -m 0644 late.h %(installroot)/usr/include/late.h\n",
        tarball.url(),
        tarball.sha256
    );
    bench.write_recipe("late", &recipe("late", 1, &fields));
    bench.commit("a source that nobody has yet");
    assert_eq!(farm.wake_up(), 1);
    let failed = farm.wait_phase("late", 1, "failed");
    assert_eq!(failed["failure"]["class"], "dependency", "{failed:#}");
    assert!(failed["failure"]["message"].as_str().unwrap().contains("late-1.0.tar.gz"), "{failed:#}");

    fs_err::rename(&hidden, &tarball.path).unwrap();
    assert_eq!(farm.post(&format!("/api/tasks/{}/retry", failed["id"])).0, 200);
    farm.wait_phase("late", 1, "published");
}

fn a_second_farm_in_the_same_folder(bench: &Bench) {
    let mut second = moraine();
    second.args(["up", "--json", "--recipes"]).arg(bench.path("recipes"));
    let refused = second.arg("--data").arg(bench.path("farm")).output().unwrap();
    assert!(
        !refused.status.success() && said(&refused).contains("one is running there"),
        "{}",
        said(&refused)
    );
}
