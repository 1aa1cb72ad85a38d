//! Every real recipe, its old versions that readers disagree about, and what the reference tool made of them.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test's helpers fail by panicking, as the tests themselves do"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;

use recipe::{BuildContext, Parsed, Problem, Severity};

/// The text files of the data pack by path, the binary manifests left out.
struct Pack {
    files: BTreeMap<String, String>,
}

impl Pack {
    fn open() -> Option<Self> {
        let path = testkit::data()?.join("recipes-dev.tar.zst");
        let Ok(file) = fs_err::File::open(&path) else {
            testkit::skip("recipes-dev.tar.zst");
            return None;
        };
        let mut archive = tar::Archive::new(zstd::Decoder::new(file).unwrap());
        let mut files = BTreeMap::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let path = entry.path().unwrap().to_string_lossy().into_owned();
            if !entry.header().entry_type().is_file() || path.ends_with(".bin") {
                continue;
            }
            let mut text = String::new();
            entry.read_to_string(&mut text).unwrap();
            let (_, inner) = path.trim_start_matches("./").split_once('/').unwrap();
            files.insert(inner.to_owned(), text);
        }
        Some(Self { files })
    }

    fn ending<'p>(&'p self, name: &'p str) -> impl Iterator<Item = (&'p str, &'p str)> {
        self.files
            .iter()
            .filter(move |(path, _)| path.starts_with("recipes/") && path.ends_with(name))
            .map(|(path, text)| (path.as_str(), text.as_str()))
    }

    fn recipes(&self) -> Vec<(&str, Parsed)> {
        self.ending("/stone.yaml")
            .map(|(path, text)| (path, recipe::parse(path, text).unwrap_or_else(|error| panic!("{error}"))))
            .collect()
    }

    fn json(&self, path: &str) -> serde_json::Value {
        serde_json::from_str(&self.files[path]).unwrap()
    }
}

/// What a message is about, without the name in it.
fn class(problem: &Problem) -> String {
    let mut class = String::new();
    for (number, part) in problem.message.split('"').enumerate() {
        class.push_str(if number % 2 == 1 && !problem.message.starts_with("unknown key") {
            "_"
        } else {
            part
        });
    }
    if class.contains("is a number to other readers") {
        "version is a number to other readers".into()
    } else {
        class
    }
}

#[test]
fn every_recipe_is_read_and_its_slips_are_named() {
    let Some(pack) = Pack::open() else { return };
    let recipes = pack.recipes();
    assert_eq!(recipes.len(), 1341);
    let mut classes: BTreeMap<String, usize> = BTreeMap::new();
    for problem in recipes.iter().flat_map(|(_, parsed)| &parsed.warnings) {
        assert_eq!(problem.severity, Severity::Warning);
        *classes.entry(class(problem)).or_default() += 1;
    }
    let expect = [
        ("_ is empty and has no effect", 1),
        ("unknown key dependencies of the recipe is ignored", 1),
        ("unknown key homepage of a package is ignored", 1),
        ("unknown key license of a package is ignored", 8),
        ("unknown key staging of a git upstream is ignored", 3),
        ("unknown key test of the recipe is ignored", 1),
        ("unknown key tune of the recipe is ignored", 6),
        ("version _ does not begin with a digit", 2),
        ("version is a number to other readers", 1),
    ];
    let found: Vec<(&str, usize)> = classes.iter().map(|(class, count)| (class.as_str(), *count)).collect();
    assert_eq!(found, expect);
}

#[test]
fn every_recipe_is_evaluated_for_all_its_targets() {
    let Some(pack) = Pack::open() else { return };
    let mut left: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for (path, parsed) in pack.recipes() {
        for problem in recipe::check(&parsed.recipe, "x86_64") {
            left.entry(problem.message).or_default().insert(path);
        }
    }
    let found: Vec<(&str, usize)> =
        left.iter().map(|(message, paths)| (message.as_str(), paths.len())).collect();
    let expect =
        [("profile guided optimisation is not done yet: the recipe is built in one plain stage", 10)];
    assert_eq!(found, expect, "{left:#?}");
}

#[test]
fn facts_agree_with_an_independent_reader() {
    let Some(pack) = Pack::open() else { return };
    let graph = pack.json("facts/graph.json");
    let facts: BTreeMap<&str, &serde_json::Value> = graph["recipes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|fact| (fact["dir"].as_str().unwrap(), fact))
        .collect();
    let strings = |value: &serde_json::Value| -> BTreeSet<String> {
        value.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
    };
    let mut differences = Vec::new();
    for (path, Parsed { recipe, .. }) in pack.recipes() {
        let directory = path.trim_start_matches("recipes/").trim_end_matches("/stone.yaml");
        let fact = facts[directory];
        assert_eq!(recipe.name, fact["name"].as_str().unwrap(), "{path}");
        assert_eq!(recipe.version, fact["version"].as_str().unwrap(), "{path}");
        assert_eq!(Some(recipe.release), fact["release"].as_u64(), "{path}");
        assert_eq!(Some(recipe.options.emul32), fact["emul32"].as_bool(), "{path}");
        assert_eq!(Some(recipe.options.networking), fact["networking"].as_bool(), "{path}");
        let named: BTreeSet<String> =
            recipe.all_build_depends().iter().map(|depend| depend.short()).collect();
        let implicit: BTreeSet<String> = recipe
            .targets("x86_64")
            .into_iter()
            .map(|target| recipe::plan(&recipe, &BuildContext::new(&recipe, target)).unwrap())
            .flat_map(|plan| plan.implicit_depends())
            .map(|depend| depend.short())
            .collect();
        for (what, ours, theirs) in [
            ("builddeps", named, strings(&fact["builddeps"])),
            ("implicit", implicit, strings(&fact["implicit"])),
        ] {
            if ours != theirs {
                let more: Vec<_> = ours.difference(&theirs).collect();
                let less: Vec<_> = theirs.difference(&ours).collect();
                differences.push(format!("{directory} {what}: more {more:?}, less {less:?}"));
            }
        }
    }
    assert!(differences.is_empty(), "{}\n{}", differences.len(), differences.join("\n"));
}

#[test]
fn files_go_into_the_packages_that_the_reference_tool_chose() {
    let Some(pack) = Pack::open() else { return };
    let (mut files, mut differences) = (0, Vec::new());
    for (path, Parsed { recipe, .. }) in pack.recipes() {
        let manifest = path.replace("stone.yaml", "manifest.x86_64.jsonc");
        let Some(text) = pack.files.get(&manifest) else { continue };
        let (_, json) = text.split_once("*/").unwrap();
        let manifest: serde_json::Value = serde_json::from_str(json).unwrap();
        let rules = recipe::package_rules(&recipe, &BuildContext::new(&recipe, "x86_64")).unwrap();
        for (package, content) in manifest["packages"].as_object().unwrap() {
            for file in content["files"].as_array().into_iter().flatten() {
                files += 1;
                let file = file.as_str().unwrap();
                let assigned = rules.assign(file);
                if assigned != Some(package) {
                    differences.push(format!("{path}: {file} is in {package}, not in {assigned:?}"));
                }
            }
        }
    }
    assert!(files > 500_000, "{files}");
    let unexplained: Vec<&String> =
        differences.iter().filter(|difference| !is_older_than_templates(difference)).collect();
    assert!(unexplained.is_empty(), "{} of {files}: {unexplained:#?}", unexplained.len());
    assert_eq!(differences.len() - unexplained.len(), 15, "{differences:#?}");
}

/// Some manifests were made before the reference tool's template of `-devel` named these folders.
fn is_older_than_templates(difference: &str) -> bool {
    difference.contains(": /usr/share/vala/vapi/") || difference.contains(": /usr/share/cmake/CLI11/")
}

/// Runs a text as bash does a script, with nothing of our environment, and gives what it printed.
fn bash(arguments: &[&str], script: &str) -> Option<std::process::Output> {
    std::process::Command::new("bash").args(arguments).arg("-c").arg(script).env_clear().output().ok()
}

#[test]
fn scripts_are_what_bash_understands() {
    let Some(pack) = Pack::open() else { return };
    // A tenth of them holds every kind of script.
    for (path, Parsed { recipe, .. }) in pack.recipes().into_iter().step_by(10) {
        for phase in recipe::plan(&recipe, &BuildContext::new(&recipe, "x86_64")).unwrap().phases {
            let Some(output) = bash(&["-n"], &phase.script) else { return testkit::skip("bash") };
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{path} {}: {said}", phase.kind.label());
        }
    }
}

#[test]
fn a_planned_build_runs() {
    let folder = std::env::temp_dir().join(format!("moraine-recipe-{}", std::process::id()));
    let place = |name: &str| folder.join(name).display().to_string();
    let text = "name: demo\nversion: \"1.0\"\nrelease: 1\nhomepage: h\nlicense: MIT\nupstreams:\n  \
                - https://h/demo 1.0.tar: \
                0000000000000000000000000000000000000000000000000000000000000000\n"
        .replace("demo 1.0", "demo-1.0")
        + "environment: |\n  export GREETING=hello\nsetup: |\n  test -f greeting.in\nbuild: |\n  \
           sed \"s/WHAT/$GREETING/\" greeting.in > greeting\ninstall: |\n  %install_file greeting \
           %(installroot)%(datadir)/demo/greeting\n  %tmpfiles \"d /run/demo\"\n  %tmpfiles \"d /run/other\"\n";
    let recipe = recipe::parse("stone.yaml", &text).unwrap().recipe;
    let mut context = BuildContext { toolchain: recipe::Toolchain::Gnu, ..BuildContext::default() };
    context.paths.source_directory = place("sources");
    context.paths.build_directory = place("build");
    context.paths.install_root = place("install");
    context.overrides.insert("locale".into(), "C.UTF-8".into());
    let source = format!(
        "set -e; export PATH=/usr/bin:/bin; mkdir -p '{0}/sources' '{0}/x/demo-1.0'; \
         echo 'WHAT world' > '{0}/x/demo-1.0/greeting.in'; tar -cf '{0}/sources/demo-1.0.tar' -C '{0}/x' demo-1.0",
        folder.display()
    );
    let Some(made) = bash(&[], &source) else { return testkit::skip("bash") };
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    for phase in recipe::plan(&recipe, &context).unwrap().phases {
        let output = bash(&[], &phase.script).unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {said}", phase.kind.label());
    }
    let read = |path: &str| fs_err::read_to_string(folder.join("install").join(path)).unwrap();
    assert_eq!(read("usr/share/demo/greeting"), "hello world\n");
    assert_eq!(read("usr/lib/tmpfiles.d/demo.conf"), "d /run/demo\nd /run/other\n");
    fs_err::remove_dir_all(&folder).unwrap();
}

/// What becomes of an old version that readers disagree about.
#[derive(Debug, PartialEq)]
enum Verdict {
    /// Read without a word.
    Read,
    /// Read, with these words in each warning.
    Warned(&'static str),
    /// Refused, with these words in the first error.
    Refused(&'static str),
}

#[test]
fn old_versions_that_readers_disagree_about() {
    let Some(pack) = Pack::open() else { return };
    let verdicts = [
        // The last line of a block at the end of a file without a newline: the same script to a shell.
        ("ambiguous scalar .check", Verdict::Read),
        ("ambiguous scalar .install", Verdict::Read),
        // Words that were switches in YAML 1.1: read as their authors meant them.
        ("ambiguous scalar .emul32 (bool)", Verdict::Warned("yes means true")),
        ("ambiguous scalar .networking (bool)", Verdict::Warned("yes means true")),
        ("ambiguous scalar .tuning[].icf (bool)", Verdict::Warned("no means false")),
        ("ambiguous scalar .upstreams[].unpack (bool)", Verdict::Warned("no means false")),
        ("reject: invalid boolean: expected true or false", Verdict::Warned("yes means true")),
        (
            "reject: upstreams[0]: data did not match any variant of untagged enum Fields",
            Verdict::Warned("no means false"),
        ),
        // A key that nothing reads.
        ("ambiguous scalar .upstreams[].staging (bool)", Verdict::Warned("unknown key \"staging\"")),
        // A version is text.
        ("ambiguous scalar .version", Verdict::Warned("version 059 is a number to other readers")),
        // What is needed and not there, or has another shape, is refused by both.
        (
            "reject: data did not match any variant of untagged enum Value",
            Verdict::Refused("license is empty"),
        ),
        ("reject: did not find expected key", Verdict::Refused("name is empty")),
        (
            "reject: invalid type: string \"- dbus\\n\", expected a sequence",
            Verdict::Refused("rundeps must be a list"),
        ),
        ("reject: invalid type: unit value, expected a string", Verdict::Refused("homepage is empty")),
    ];
    let index = pack.json("oddities/index.json");
    let mut seen = BTreeSet::new();
    for entry in index.as_array().unwrap() {
        let file = entry["file"].as_str().unwrap();
        let class = entry["cls"].as_str().unwrap();
        let (_, expect) =
            verdicts.iter().find(|(name, _)| *name == class).unwrap_or_else(|| panic!("{class}"));
        seen.insert(class);
        match (recipe::parse(file, &pack.files[&format!("oddities/{file}")]), expect) {
            (Ok(parsed), Verdict::Read) => assert_eq!(parsed.warnings, [], "{file}"),
            (Ok(parsed), Verdict::Warned(words)) => {
                assert!(!parsed.warnings.is_empty(), "{file}");
                for warning in &parsed.warnings {
                    assert!(warning.message.contains(words), "{file}: {}", warning.message);
                }
            }
            (Err(error), Verdict::Refused(words)) => {
                assert!(error.problems()[0].message.contains(words), "{file}: {error}");
            }
            (result, expect) => panic!("{file} ({class}): {expect:?}, but {result:?}"),
        }
    }
    assert_eq!(seen.len(), verdicts.len());
}

/// A small generator of numbers, so that a failure comes again with the same seed.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(limit.max(1)).unwrap()).unwrap()
    }
}

#[test]
fn damaged_recipes_are_read_or_refused() {
    let Some(pack) = Pack::open() else { return };
    let texts: Vec<&str> = pack.ending("/stone.yaml").map(|(_, text)| text).collect();
    let mut numbers = Numbers(0x5eed_0f4e_c19e_5000);
    for _ in 0..3_000 {
        let mut characters: Vec<char> = texts[numbers.below(texts.len())].chars().collect();
        let other: Vec<char> = texts[numbers.below(texts.len())].chars().collect();
        for _ in 0..=numbers.below(4) {
            let place = numbers.below(characters.len());
            match numbers.below(5) {
                0 => characters.truncate(place),
                1 => {
                    let end = (place + 1 + numbers.below(40)).min(characters.len());
                    characters.drain(place.min(end)..end);
                }
                2 => {
                    let start = numbers.below(other.len());
                    let end = (start + numbers.below(80)).min(other.len());
                    characters.splice(place..place, other[start..end].iter().copied());
                }
                3 => characters.insert(
                    place,
                    [':', '-', ' ', '\n', '"', '%', '(', '[', '{', '|', '\t', '&', '#'][numbers.below(13)],
                ),
                _ => {
                    if let Some(character) = characters.get_mut(place) {
                        *character =
                            char::from_u32(u32::try_from(numbers.below(0x3000)).unwrap()).unwrap_or('?');
                    }
                }
            }
        }
        let text: String = characters.into_iter().collect();
        match recipe::parse("stone.yaml", &text) {
            Ok(parsed) => {
                // Whatever was read can be evaluated and shown.
                let _problems = recipe::check(&parsed.recipe, "x86_64");
                serde_json::to_string(&parsed.recipe).unwrap();
            }
            Err(error) => assert!(error.problems().iter().all(|problem| problem.line >= 1), "{error}"),
        }
    }
}

#[test]
fn every_monitoring_file_is_read() {
    let Some(pack) = Pack::open() else { return };
    let (mut count, mut with_id, mut with_feed, mut without_cpe) = (0, 0, 0, 0);
    for (path, text) in pack.ending("/monitoring.yaml") {
        let parsed = recipe::monitoring::parse(path, text).unwrap_or_else(|error| panic!("{error}"));
        assert!(parsed.warnings.is_empty(), "{path}: {:?}", parsed.warnings);
        count += 1;
        with_id += usize::from(parsed.monitoring.releases.id.is_some());
        with_feed += usize::from(parsed.monitoring.releases.rss.is_some());
        without_cpe += usize::from(parsed.monitoring.security.cpe.is_empty());
    }
    assert_eq!((count, with_id, with_feed, without_cpe), (1337, 1300, 673, 910));
}
