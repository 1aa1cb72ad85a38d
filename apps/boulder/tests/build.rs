//! Real builds through the program: a library and a program in C, on a host root.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use package::PackageMeta;
use testkit::Tarball;

const MAKEFILE: &str = "\
all: libgreet.so.1.0 greet
libgreet.so.1.0: greet.c
\t$(CC) $(CFLAGS) -fPIC -shared -Wl,-soname,libgreet.so.1 $(LDFLAGS) -o $@ $<
greet: main.c libgreet.so.1.0
\tln -sf libgreet.so.1.0 libgreet.so.1
\tln -sf libgreet.so.1.0 libgreet.so
\t$(CC) $(CFLAGS) -o $@ $< -L. -lgreet $(LDFLAGS)
install:
\tinstall -D -m 0755 greet $(DESTDIR)/usr/bin/greet
\tinstall -D -m 0755 libgreet.so.1.0 $(DESTDIR)/usr/lib/libgreet.so.1.0
\tln -s libgreet.so.1.0 $(DESTDIR)/usr/lib/libgreet.so.1
\tln -s libgreet.so.1.0 $(DESTDIR)/usr/lib/libgreet.so
\tinstall -D -m 0644 greet.h $(DESTDIR)/usr/include/greet.h
";

const FILES: [(&str, &str); 4] = [
    ("Makefile", MAKEFILE),
    ("greet.h", "const char *greeting(void);\n"),
    ("greet.c", "#include \"greet.h\"\nconst char *greeting(void) { return \"hello from a package\"; }\n"),
    ("main.c", "#include <stdio.h>\n#include \"greet.h\"\nint main(void) { puts(greeting()); return 0; }\n"),
];

struct Bench {
    folder: tempfile::TempDir,
}

impl Bench {
    /// A bench, where the machine can build at all.
    fn new() -> Option<Bench> {
        if !testkit::has_programs(&["cc", "make", "tar", "strip", "objcopy"]) {
            return None;
        }
        Some(Bench { folder: tempfile::tempdir().unwrap() })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn recipe(&self, fields: &str) -> PathBuf {
        let tarball = Tarball::pack(self.folder.path(), "greet-1.0", &FILES);
        let folder = self.path("recipe");
        fs_err::create_dir_all(&folder).unwrap();
        let text = format!(
            "name: greet\nversion: \"1.0\"\nrelease: 3\nhomepage: https://example.org\nlicense: MIT\n\
             summary: Greets\ndescription: Greets whoever asks.\nupstreams:\n    - {}: {}\n{fields}",
            tarball.url(),
            tarball.sha256
        );
        fs_err::write(folder.join("stone.yaml"), text).unwrap();
        folder
    }

    fn build(&self, recipe: &Path, output: &str) -> Output {
        Command::new(env!("CARGO_BIN_EXE_boulder"))
            .arg("build")
            .arg(recipe)
            .args(["--root", "host", "--mirror", "none", "--jobs", "2"])
            .arg("--cache-dir")
            .arg(self.path("cache"))
            .arg("--output")
            .arg(self.path(output))
            .arg("--report")
            .arg(self.path("report.json"))
            .output()
            .unwrap()
    }

    fn report(&self) -> serde_json::Value {
        serde_json::from_slice(&fs_err::read(self.path("report.json")).unwrap()).unwrap()
    }

    fn names(&self, output: &str) -> Vec<String> {
        let mut names: Vec<String> = fs_err::read_dir(self.path(output))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    fn meta(&self, output: &str, name: &str) -> PackageMeta {
        let file = std::io::BufReader::new(fs_err::File::open(self.path(output).join(name)).unwrap());
        let stone = stone::read(file, &stone::Limits::default(), &mut stone::Discard).unwrap();
        PackageMeta::from_records(&stone.metas[0]).unwrap()
    }
}

const PHASES: &str = "\
build: |
    %make CC=\"$CC\" CFLAGS=\"$CFLAGS\" LDFLAGS=\"$LDFLAGS\"
install: |
    %make_install
check: |
    test \"$(LD_LIBRARY_PATH=. ./greet)\" = \"hello from a package\"
packages:
    - \"%(name)-libs\":
        summary: The greeting itself
        paths:
            - /usr/lib/libgreet.so.*
";

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn a_recipe_becomes_split_packages_twice_the_same() {
    let Some(bench) = Bench::new() else { return };
    let recipe = bench.recipe(PHASES);
    for output in ["first", "second"] {
        let result = bench.build(&recipe, output);
        assert!(result.status.success(), "{}", said(&result));
    }
    let names = bench.names("first");
    let arch = std::env::consts::ARCH;
    let expected: Vec<String> = [
        "build-record.json".to_owned(),
        format!("greet-1.0-3-1-{arch}.stone"),
        format!("greet-dbginfo-1.0-3-1-{arch}.stone"),
        format!("greet-devel-1.0-3-1-{arch}.stone"),
        format!("greet-libs-1.0-3-1-{arch}.stone"),
        format!("manifest.{arch}.bin"),
        format!("manifest.{arch}.jsonc"),
    ]
    .into();
    assert_eq!(names, expected);
    for name in names.iter().filter(|name| *name != "build-record.json") {
        let read = |output: &str| fs_err::read(bench.path(output).join(name)).unwrap();
        assert!(read("first") == read("second"), "{name} differs from one build to the next");
    }

    let program = bench.meta("first", &expected[1]);
    let libraries = bench.meta("first", &expected[4]);
    let texts = |set: &std::collections::BTreeSet<package::Dependency>| {
        set.iter().map(ToString::to_string).collect::<Vec<String>>()
    };
    assert!(texts(&program.provides).contains(&"binary(greet)".to_owned()));
    assert!(
        texts(&program.depends).contains(&format!("soname(libgreet.so.1({arch}))")),
        "{:?}",
        program.depends
    );
    assert!(texts(&libraries.provides).contains(&format!("soname(libgreet.so.1({arch}))")));
    assert_eq!((program.source_id.as_str(), program.release, program.build_release), ("greet", 3, 1));
    let report = bench.report();
    assert_eq!(report["outcome"], "built");
    let record: serde_json::Value =
        serde_json::from_slice(&fs_err::read(bench.path("second").join("build-record.json")).unwrap())
            .unwrap();
    assert_eq!(record["peak_memory_bytes"], report["peak_memory_bytes"]);
    assert!(record["peak_memory_bytes"].as_u64().unwrap() > 1 << 20, "a compiler takes more: {record}");
}

#[test]
fn a_failing_phase_is_named_with_its_class() {
    let Some(bench) = Bench::new() else { return };
    let recipe = bench.recipe("build: |\n    echo about to fail\n    exit 7\n");
    let result = bench.build(&recipe, "output");
    assert!(!result.status.success());
    let report = bench.report();
    assert_eq!(report["class"], "build", "{report}");
    assert_eq!(report["phase"], "build");
    assert!(said(&result).contains("exit status 7"), "{}", said(&result));
    assert!(bench.names("output").is_empty(), "nothing is left of a failed build");
}

#[test]
fn the_most_demanding_phase_counts_even_of_a_build_that_fails() {
    let Some(bench) = Bench::new() else { return };
    // tail keeps all of a line without an end.
    let recipe =
        bench.recipe("build: |\n    head -c 67108864 /dev/zero | tail | wc -c\ncheck: |\n    exit 3\n");
    let result = bench.build(&recipe, "output");
    assert!(!result.status.success());
    let report = bench.report();
    assert_eq!(report["phase"], "check", "{}", said(&result));
    let mebibytes = report["peak_memory_bytes"].as_u64().unwrap() >> 20;
    assert!((64..192).contains(&mebibytes), "{report}");
}

#[test]
fn a_dependency_nobody_has_is_named() {
    let Some(bench) = Bench::new() else { return };
    let recipe = bench.recipe("builddeps:\n    - no-such-package-devel\ninstall: |\n    true\n");
    let result = bench.build(&recipe, "output");
    let report = bench.report();
    assert_eq!(report["class"], "dependency", "{report}");
    assert!(said(&result).contains("nobody provides no-such-package-devel"), "{}", said(&result));
}

#[test]
fn a_source_with_other_bytes_is_refused() {
    let Some(bench) = Bench::new() else { return };
    let recipe = bench.recipe(PHASES);
    let file = recipe.join("stone.yaml");
    let text = fs_err::read_to_string(&file).unwrap();
    let (before, after) = text.split_once(".tar.gz: ").unwrap();
    fs_err::write(&file, format!("{before}.tar.gz: {}{}", "0".repeat(64), &after[64..])).unwrap();
    let result = bench.build(&recipe, "output");
    assert!(!result.status.success());
    assert_eq!(bench.report()["phase"], "sources", "{}", said(&result));
    assert!(said(&result).contains("greet-1.0.tar.gz"), "{}", said(&result));
}

#[test]
fn a_build_sees_neither_network_nor_the_rest_of_the_machine() {
    let Some(bench) = Bench::new() else { return };
    let secret = bench.path("secret");
    fs_err::write(&secret, "x").unwrap();
    let recipe = bench.recipe(&format!(
        "install: |\n    \
         if [ -e {} ]; then echo the secret shows; exit 1; fi\n    \
         if touch /usr/share/touched; then echo /usr can be written; exit 1; fi\n    \
         interfaces=$(tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' ')\n    \
         if [ \"$interfaces\" != lo ]; then echo a network: $interfaces; exit 1; fi\n    \
         mkdir -p %(installroot)/usr/share/greet\n    \
         echo ok > %(installroot)/usr/share/greet/ok\n",
        secret.display()
    ));
    let result = bench.build(&recipe, "output");
    assert!(result.status.success(), "{}", said(&result));
}

#[test]
fn headers_alone_need_no_package_that_is_not_made() {
    let Some(bench) = Bench::new() else { return };
    let recipe = bench.recipe("install: |\n    %install_file greet.h %(installroot)%(includedir)/greet.h\n");
    let result = bench.build(&recipe, "output");
    assert!(result.status.success(), "{}", said(&result));
    let name = format!("greet-devel-1.0-3-1-{}.stone", std::env::consts::ARCH);
    assert!(bench.meta("output", &name).depends.is_empty());
}
