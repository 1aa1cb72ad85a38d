use super::*;
use crate::macros::known_targets;
use crate::read::parse;

const RECIPE: &str = "\
name: demo
version: \"1.0\"
release: 2
homepage: https://example.org
license: MIT
emul32: true
upstreams:
  - https://example.org/a/demo-1.0.tar.xz: 0000000000000000000000000000000000000000000000000000000000000000
  - git|https://example.org/data.git: { ref: v1, clonedir: demo-1.0.tar.xz/da ta }
environment: |
  export GREETING=hello
setup: |
  %configure --disable-static
build: |
  %make
install: |
  %make_install
check: |
  echo %(installroot)
profiles:
  - emul32:
      build: |
        %ninja
";

fn recipe(text: &str) -> Recipe {
    parse("stone.yaml", text).unwrap().recipe
}

fn planned(text: &str, target: &str) -> Result<BuildPlan, EvaluateError> {
    let recipe = recipe(text);
    plan(&recipe, &BuildContext::new(&recipe, target))
}

fn script(plan: &BuildPlan, kind: PhaseKind) -> &str {
    &plan.phases.iter().find(|phase| phase.kind == kind).unwrap().script
}

#[test]
fn phases_come_in_order_and_begin_alike() {
    let plan = planned(RECIPE, "x86_64").unwrap();
    let kinds: Vec<PhaseKind> = plan.phases.iter().map(|phase| phase.kind).collect();
    use PhaseKind::{Build, Check, Install, Prepare, Setup};
    assert_eq!(kinds, [Prepare, Setup, Build, Install, Check]);
    assert_eq!(plan.work_directory, "/mason/build/x86_64/demo-1.0.tar.xz");
    for phase in &plan.phases {
        assert!(phase.script.contains("set -o errexit -o pipefail -o nounset\n"));
        assert!(phase.script.contains("export CC=\"clang\""));
        let environment = phase.script.contains("export GREETING=hello\n");
        assert_eq!(environment, phase.kind != Prepare, "{:?}", phase.kind);
    }
    assert!(script(&plan, Setup).contains("cd \"/mason/build/x86_64/demo-1.0.tar.xz\""));
    assert!(script(&plan, Prepare).contains("cd \"/mason/build/x86_64\";"));
    assert!(script(&plan, Check).ends_with("echo /mason/install\n\n"));
}

#[test]
fn a_profile_replaces_single_phases_of_its_target() {
    let recipe = recipe(RECIPE);
    assert_eq!(recipe.targets("x86_64"), ["emul32/x86_64", "x86_64"]);
    let small = planned(RECIPE, "emul32/x86_64").unwrap();
    assert!(script(&small, PhaseKind::Build).contains("ninja -v -C"));
    assert!(script(&small, PhaseKind::Setup).contains("--libdir=/usr/lib32 "));
    assert!(script(&small, PhaseKind::Setup).contains("export CC=\"clang -m32\""));
    let names: Vec<String> = small.implicit_depends().iter().map(ToString::to_string).collect();
    assert!(names.contains(&"name(clang-32bit)".to_owned()) && names.contains(&"binary(ninja)".to_owned()));
    let large = planned(RECIPE, "x86_64").unwrap();
    assert!(script(&large, PhaseKind::Build).contains("make VERBOSE=1 -j1"));
}

#[test]
fn the_callers_toolchain_and_definitions_win() {
    let mut context = BuildContext { toolchain: Toolchain::Gnu, jobs: 7, ..BuildContext::default() };
    context.overrides.insert("locale".into(), "C.UTF-8".into());
    context.overrides.insert("vendorID".into(), "pc-linux-gnu".into());
    let plan = plan(&recipe(RECIPE), &context).unwrap();
    let setup = script(&plan, PhaseKind::Setup);
    for expected in [
        "export LANG=\"C.UTF-8\"",
        "--build=x86_64-pc-linux-gnu",
        "export CC=\"gcc\"",
        "-flto=7",
        "STRIP=\"strip\"",
    ] {
        assert!(setup.contains(expected), "no {expected}");
    }
    assert!(!setup.contains("clang") && !setup.contains("icf"));
    assert!(plan.toolchain_depends.contains(&Dependency::new(DependencyKind::Binary, "gcc")));
}

#[test]
fn caches_are_named_only_when_used() {
    let mut context = BuildContext::default();
    let without = plan(&recipe(RECIPE), &context).unwrap();
    assert!(script(&without, PhaseKind::Build).contains("_export_unless_empty GOCACHE \"\""));
    context.caches = true;
    let with = plan(&recipe(RECIPE), &context).unwrap();
    let build = script(&with, PhaseKind::Build);
    assert!(build.contains("_export_unless_empty GOCACHE \"/mason/gocache\""));
    assert!(build.contains("export PATH=\"/usr/lib/ccache/bin:/usr/bin:/bin\""));
}

#[test]
fn every_target_with_macros_plans() {
    for target in known_targets() {
        planned(RECIPE, target).unwrap_or_else(|error| panic!("{target}: {error}"));
    }
    let error = planned(RECIPE, "emul32/aarch64").unwrap_err();
    assert!(matches!(error, EvaluateError::UnknownTarget { .. }));
    assert!(error.to_string().contains("known targets are x86_64"));
}

#[test]
fn a_fault_in_a_script_points_into_the_recipe() {
    let text = RECIPE.replace("%make_install", "echo a\n  %make_instal");
    let error = planned(&text, "x86_64").unwrap_err().to_string();
    let found = text.lines().position(|line| line.contains("%make_instal")).unwrap();
    assert_eq!(
        error,
        format!(
            "stone.yaml:{0}:3: error: there is no action %make_instal\n {0} |   %make_instal\n    |   ^\n help: did you \
             mean %make_install? For a percent sign write %%",
            found + 1
        )
    );
}

#[test]
fn faults_of_all_phases_are_found() {
    let text = RECIPE.replace("%make\n", "%nix\n").replace("%configure", "%(nothing)");
    let (_, errors) = plan_all(&recipe(&text), &BuildContext::default()).unwrap();
    assert_eq!(errors.len(), 2);
}

#[test]
fn the_same_input_gives_the_same_scripts() {
    let context = BuildContext::default();
    assert_eq!(plan(&recipe(RECIPE), &context), plan(&recipe(RECIPE), &context));
}
