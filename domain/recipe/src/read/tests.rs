use proptest::prelude::*;

use super::*;
use crate::model::Upstream;

const HEAD: &str = "name: demo\nversion: \"1.0\"\nrelease: 2\nhomepage: https://x\nlicense: MIT\n";
const HASH: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

fn parsed(rest: &str) -> Parsed {
    parse("stone.yaml", &format!("{HEAD}{rest}")).unwrap_or_else(|error| panic!("{error}"))
}

/// The messages of the errors or warnings of a recipe, each with its place.
fn said(text: &str) -> Vec<String> {
    let problems = match parse("stone.yaml", text) {
        Ok(parsed) => parsed.warnings,
        Err(error) => error.into_problems(),
    };
    problems
        .iter()
        .map(|problem| format!("{}:{}: {}", problem.line, problem.column, problem.message))
        .collect()
}

fn check_said(rest: &str, expect: &[&str]) {
    assert_eq!(said(&format!("{HEAD}{rest}")), expect, "{rest}");
}

#[test]
fn every_key_is_read() {
    let recipe = parsed(
        "summary: S\ndescription: |\n  D\n  E\nbuilddeps: [ binary(x), y ]\ncheckdeps: [ z ]\nrundeps: [ \"%(name)-libs\" ]\n\
         rundeps-exclude: [ a.* ]\nprovides-exclude: [ b ]\nconflicts: [ c ]\npaths: [ /usr/bin ]\n\
         toolchain: gnu\ncspgo: true\nsamplepgo: true\ndebug: false\nstrip: false\nnetworking: true\ncompressman: true\n\
         lastrip: false\nemul32: true\nmold: true\narchitectures: [ native ]\ntuning:\n  - lto: full\n  - icf: false\n  - sections\n\
         setup: a\nbuild: b\ninstall: c\ncheck: d\nworkload: e\nenvironment: f\n\
         profiles:\n  - emul32:\n      build: g\n      builddeps: [ h ]\npackages:\n  - \"%(name)-x\":\n      summary: X\n",
    )
    .recipe;
    assert_eq!((recipe.name.as_str(), recipe.version.as_str(), recipe.release), ("demo", "1.0", 2));
    assert_eq!(recipe.licenses, ["MIT"]);
    assert_eq!(recipe.package.description.as_deref(), Some("D\nE\n"));
    let all: Vec<String> = recipe.all_build_depends().iter().map(Dependency::short).collect();
    assert_eq!(all, ["binary(x)", "h", "y", "z"]);
    let options = Options {
        toolchain: Toolchain::Gnu,
        cspgo: true,
        samplepgo: true,
        debug: false,
        strip: false,
        networking: true,
        compressman: true,
        lastrip: false,
        emul32: true,
        mold: true,
    };
    assert_eq!(recipe.options, options);
    let settings: Vec<(&str, &TuningSetting)> =
        recipe.tuning.iter().map(|choice| (choice.group.as_str(), &choice.setting)).collect();
    let full = TuningSetting::Choice("full".into());
    assert_eq!(
        settings,
        [("lto", &full), ("icf", &TuningSetting::Disabled), ("sections", &TuningSetting::Enabled)]
    );
    assert_eq!(recipe.profile("emul32/x86_64").and_then(|fields| fields.build.as_deref()), Some("g"));
    assert_eq!(recipe.profile("x86_64"), None);
    assert_eq!(recipe.packages[0].0.as_str(), "%(name)-x");
    assert_eq!(recipe.architectures, ["native"]);
    assert!(recipe.has_workload());
}

#[test]
fn a_version_is_the_text_that_was_written() {
    for (written, version, warned) in [
        ("1.10", "1.10", true),
        ("059", "059", true),
        ("1e5", "1e5", true),
        ("\"1.10\"", "1.10", false),
        ("1.9", "1.9", false),
        ("20250516", "20250516", false),
        ("1.10.0", "1.10.0", false),
        ("2025-11-05", "2025-11-05", false),
    ] {
        let text = HEAD.replace("\"1.0\"", written);
        let parsed = parse("stone.yaml", &text).unwrap();
        assert_eq!(
            (parsed.recipe.version.as_str(), !parsed.warnings.is_empty()),
            (version, warned),
            "{written}"
        );
    }
}

#[test]
fn identity_must_be_there_and_usable() {
    let without = |key: &str| {
        HEAD.lines().filter(|line| !line.starts_with(key)).map(|line| format!("{line}\n")).collect::<String>()
    };
    for key in ["name", "version", "release", "homepage", "license"] {
        assert_eq!(said(&without(key)), [format!("1:1: the key {key:?} is missing")]);
    }
    for (key, value, expect) in [
        ("name", "../x", "name \"../x\" cannot be used: it must begin with a letter or digit"),
        ("name", "", "name is empty"),
        ("version", ".1", "version \".1\" cannot be used: it must begin with a digit"),
        ("version", "v1", "version \"v1\" does not begin with a digit"),
        ("version", "1/2", "version \"1/2\" cannot be used: it must not contain '/'"),
        ("release", "0", "release must be a whole number from 1, not \"0\""),
        ("release", "-1", "release must be a whole number from 1, not \"-1\""),
        ("release", "one", "release must be a whole number from 1, not \"one\""),
        (
            "release",
            "99999999999999999999",
            "release must be a whole number from 1, not \"99999999999999999999\"",
        ),
        ("homepage", "", "homepage is empty"),
        ("license", "~", "license is empty"),
        ("license", "[]", "license names nothing"),
        ("license", "{ a: b }", "license must be a text, not a map"),
    ] {
        let messages = said(&format!("{}{key}: {value}\n", without(key)));
        assert_eq!(messages.len(), 1, "{key}: {value}");
        assert!(messages[0].ends_with(expect), "{messages:?}");
    }
    assert_eq!(said("- a\n"), ["1:1: a recipe is a map of keys, not a list"]);
    assert_eq!(parse("stone.yaml", &HEAD.replace(": 2", ": 010")).unwrap().recipe.release, 10);
}

#[test]
fn all_errors_are_named_at_once_in_the_order_of_the_file() {
    let text = "license: MIT\nname: _\nversion: -x\nrelease: 0\n";
    let places: Vec<String> = said(text).iter().map(|message| message[..4].to_owned()).collect();
    assert_eq!(places, ["1:1:", "2:7:", "3:10", "4:10"]);
}

#[test]
fn unknown_keys_are_warnings_with_a_suggestion() {
    let warnings = parsed("tune:\n  - lto: full\nextract: no\n").warnings;
    let shown: Vec<(usize, Option<&str>)> =
        warnings.iter().map(|warning| (warning.line, warning.help.as_deref())).collect();
    assert_eq!(shown[0], (6, Some("did you mean \"tuning\"?")));
    assert_eq!(shown[1].0, 8);
    check_said(
        "packages:\n  - x:\n      license: MIT\nprofiles:\n  - emul32:\n      rundeps: []\n",
        &[
            "8:7: unknown key \"license\" of a package is ignored",
            "11:7: unknown key \"rundeps\" of a profile is ignored",
        ],
    );
}

#[test]
fn switches_and_the_old_words_for_them() {
    for (word, on, warned) in [
        ("true", Some(true), false),
        ("\"true\"", Some(true), false),
        ("False", Some(false), false),
        ("yes", Some(true), true),
        ("off", Some(false), true),
        ("\"yes\"", None, false),
        ("1", None, false),
        ("[]", None, false),
    ] {
        let result = parse("stone.yaml", &format!("{HEAD}networking: {word}\n"));
        match on {
            Some(on) => {
                let parsed = result.unwrap();
                assert_eq!(
                    (parsed.recipe.options.networking, !parsed.warnings.is_empty()),
                    (on, warned),
                    "{word}"
                );
            }
            None => assert!(result.unwrap_err().to_string().contains("must be true or false"), "{word}"),
        }
    }
    check_said("networking:\n", &["6:11: \"networking\" is empty and has no effect"]);
}

#[test]
fn of_several_pairs_the_first_by_name_is_taken() {
    let text = "packages:\n  - b:\n      summary: B\n    a:\n      summary: A\n";
    let parsed = parsed(text);
    assert_eq!(parsed.recipe.packages.len(), 1);
    assert_eq!(parsed.recipe.packages[0].0.as_str(), "a");
    check_said(text, &["7:5: \"b\" is ignored: its entry of packages already names \"a\""]);
}

#[test]
fn kinds_of_paths_have_no_effect() {
    check_said(
        "paths:\n  - /usr/bin/a: exe\n  - /usr/bin/b: any\n  - /usr/bin/c\n",
        &["7:17: the kind \"exe\" of a path has no effect; the path is matched whatever it is"],
    );
    check_said("paths:\n  - /usr/bin/a: file\n", &["7:17: \"file\" is not a kind of path"]);
}

#[test]
fn upstreams_are_read_with_their_defaults() {
    let recipe = parsed(&format!(
        "upstreams:\n  - https://h/a-1.tar.xz: {HASH}\n  - https://h/b: {{ hash: {}, rename: c.zip, stripdirs: 0, unpack: no, \
         unpackdir: d/e/ }}\n  - git|https://h/f.git: v1\n  - git|https://h/g: {{ ref: main, clonedir: x/y }}\n",
        HASH.to_uppercase()
    ))
    .recipe;
    let archive = |url: &str, rename: Option<&str>, strip_components, unpack, directory: Option<&str>| {
        Upstream::Archive {
            url: url.into(),
            sha256: HASH.into(),
            rename: rename.map(str::to_owned),
            strip_components,
            unpack,
            unpack_directory: directory.map(str::to_owned),
        }
    };
    let git = |url: &str, reference: &str, directory: Option<&str>| Upstream::Git {
        url: url.into(),
        reference: reference.into(),
        clone_directory: directory.map(str::to_owned),
    };
    assert_eq!(
        recipe.upstreams,
        [
            archive("https://h/a-1.tar.xz", None, 1, true, None),
            archive("https://h/b", Some("c.zip"), 0, false, Some("d/e")),
            git("https://h/f.git", "v1", None),
            git("https://h/g", "main", Some("x/y")),
        ]
    );
    let places: Vec<(&str, Option<&str>)> =
        recipe.upstreams.iter().map(|upstream| (upstream.file_name(), upstream.build_directory())).collect();
    assert_eq!(
        places,
        [("a-1.tar.xz", Some("a-1.tar.xz")), ("c.zip", None), ("f.git", Some("f.git")), ("g", Some("x/y"))]
    );
}

#[test]
fn upstreams_that_cannot_be_used() {
    for (upstream, expect) in [
        (format!("ftp:x: {HASH}"), "is not a URL"),
        (format!("https://h/: {HASH}"), "cannot be a file name"),
        ("https://h/a: 1234".to_owned(), "is not the 64 hexadecimal digits"),
        ("https://h/a: { rename: b }".to_owned(), "has no hash"),
        ("https://h/a: { ref: v1 }".to_owned(), "only for git upstreams"),
        (format!("https://h/a: {{ hash: {HASH}, rename: ../b }}"), "must not contain a slash"),
        (format!("https://h/a: {{ hash: {HASH}, unpackdir: /etc }}"), "must not begin with a slash"),
        (format!("https://h/a: {{ hash: {HASH}, unpackdir: a/../.. }}"), "must not contain \".\" or \"..\""),
        (format!("https://h/a: {{ hash: {HASH}, stripdirs: 256 }}"), "from 0 to 255"),
        ("git|https://h/a: { hash: x }".to_owned(), "not for git upstreams"),
        ("git|https://h/a: \"--upload-pack=x\"".to_owned(), "must not begin with \"-\""),
        ("git|https://h/a: { ref: v1, clonedir: .. }".to_owned(), "must not contain \".\" or \"..\""),
        ("git|https://h/..: v1".to_owned(), "cannot be a file name"),
        (format!("https://h/a: {HASH}\n  - https://i/a: {HASH}"), "two upstreams have the file name \"a\""),
        ("just-text".to_owned(), "must be `name: …`"),
    ] {
        let messages = said(&format!("{HEAD}upstreams:\n  - {upstream}\n"));
        assert!(messages.iter().any(|message| message.contains(expect)), "{upstream}: {messages:?}");
    }
    check_said(
        "upstreams:\n  - git|https://h/a: { ref: v1, unpackdir: x, staging: no }\n",
        &[
            "7:33: unpackdir is ignored for a git upstream",
            "7:47: unknown key \"staging\" of a git upstream is ignored",
        ],
    );
}

#[test]
fn scripts_know_their_lines() {
    let recipe =
        parsed("build: |\n\n    one\n      two %x\ncheck: >\n  folded\n  text\ninstall: \"a %b\"\n").recipe;
    let place = |text: &Option<Text>, part: &str| {
        let text = text.as_ref().unwrap();
        text.position(text.find(part).unwrap())
    };
    assert_eq!(place(&recipe.build.build, "%x"), Position { line: 9, column: 11 });
    assert_eq!(place(&recipe.build.install, "%b"), Position { line: 13, column: 13 });
    assert_eq!(place(&recipe.build.check, "text").line, 11);
}

#[test]
fn a_script_at_the_end_of_a_file_ends_with_a_newline() {
    for end in ["", "\n", "\n\n"] {
        assert_eq!(parsed(&format!("build: |\n  %make{end}")).recipe.build.build.as_deref(), Some("%make\n"));
    }
}

#[test]
fn empty_values_are_no_values() {
    check_said(
        "builddeps:\nbuild:\nenvironment: (null)\npackages:\n  - x:\n",
        &[
            "6:10: \"builddeps\" is empty and has no effect",
            "7:6: \"build\" is empty and has no effect",
            "10:6: \"x\" is empty and has no effect",
        ],
    );
    check_said("rundeps: |\n  - dbus\n", &["7:3: rundeps must be a list, not a text"]);
    check_said(
        "builddeps: [ library(x) ]\n",
        &[
            "6:14: cannot read dependency \"library(x)\": \"library\" is not a kind; known are name, soname, pkgconfig, interpreter, \
         cmake, python, binary, sysbinary, pkgconfig32",
        ],
    );
    check_said(
        "rundeps-exclude: [ \"(\" ]\n",
        &["6:21: \"(\" is not a regular expression and excludes nothing"],
    );
}

#[test]
fn shown_as_one_json_object() {
    let recipe =
        parsed("builddeps: [ zlib-devel ]\npackages:\n  - \"%(name)-x\":\n      summary: X of %(name)\n")
            .recipe;
    let json = serde_json::to_value(&recipe).unwrap();
    assert_eq!(json["build_depends"], serde_json::json!(["name(zlib-devel)"]));
    assert_eq!(json["packages"][0]["name"], "demo");
    assert_eq!(json["packages"][1]["name"], "demo-x");
    assert_eq!(json["packages"][1]["summary"], "X of demo");
    assert_eq!(json["options"]["toolchain"], "llvm");
    assert_eq!(json["release"], 2);
}

/// Text that looks like a recipe, so that it gets further than the first line.
fn recipe_like() -> impl Strategy<Value = String> {
    let fragments = prop::sample::select(vec![
        "name: demo\n",
        "version: 1.10\n",
        "release: 1\n",
        "homepage: h\n",
        "license: MIT\n",
        "license:\n",
        "build: |\n",
        "  %make\n",
        "    %(name)\n",
        "packages:\n",
        "  - \"%(name)-x\":\n",
        "      paths:\n",
        "        - /usr/*\n",
        "upstreams:\n",
        "  - git|https://h/x: y\n",
        "  - https://h/x: { hash: a }\n",
        "tuning:\n",
        "  - lto: full\n",
        "- ",
        ": ",
        "\n",
        "  ",
        "[",
        "]",
        "{",
        "}",
        "&a ",
        "*a ",
        "!t ",
        "<<: ",
        "|",
        ">-\n",
        "\"",
        "'",
        "#",
        "%",
        "\t",
        "\r\n",
        "---\n",
        "?",
        "\u{feff}",
        "\0",
        "ä",
    ]);
    prop::collection::vec(fragments, 0..40).prop_map(|fragments| fragments.concat())
}

proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(text in any::<String>()) {
        let _result = parse("stone.yaml", &text);
    }

    #[test]
    fn no_text_like_a_recipe_makes_it_panic_or_point_outside(text in recipe_like()) {
        let problems = match parse("stone.yaml", &text) {
            Ok(parsed) => {
                let mut problems = crate::check::check(&parsed.recipe, "x86_64");
                problems.extend(parsed.warnings);
                problems
            }
            Err(error) => error.into_problems(),
        };
        let lines = text.split(['\n', '\r']).count();
        for problem in problems {
            prop_assert!(problem.line >= 1 && problem.line <= lines + 1, "{problem}");
            prop_assert!(problem.column >= 1, "{problem}");
        }
    }
}
