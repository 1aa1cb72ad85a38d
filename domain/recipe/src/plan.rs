//! From a recipe to the scripts that build it.
//!
//! [`plan`] is a pure function of the recipe and a [`BuildContext`]: it touches nothing and the same input gives the
//! same scripts, byte by byte. Profile guided optimisation is not planned yet: a recipe with a `workload` is built in
//! one plain stage, and [`crate::check()`] says so.

use std::collections::{BTreeMap, BTreeSet};

use package::{Dependency, DependencyKind};

use crate::error::EvaluateError;
use crate::expand::{ExpandError, Expanded, Expander};
use crate::macros::{Language, Macros};
use crate::model::{BuildFields, Recipe, Text, Toolchain, Upstream};
use crate::prepare;
use crate::problem::Severity;
use crate::tuning;

/// What a build depends on besides the recipe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildContext {
    /// The target: an architecture such as `x86_64`, or `emul32/x86_64`.
    pub target: String,
    /// How many jobs run side by side.
    pub jobs: usize,
    /// The compilers: the recipe's wish, or what the build root has.
    pub toolchain: Toolchain,
    /// The time that files of the build get, in seconds since 1970.
    pub source_date_epoch: u64,
    /// Where things are inside the build root.
    pub paths: BuildPaths,
    /// Whether compiler caches are used.
    pub caches: bool,
    /// Definitions that replace those of the macros, such as `vendorID`, `locale` or `path`.
    pub overrides: BTreeMap<String, String>,
}

impl Default for BuildContext {
    /// One job for `x86_64` with clang, time 0, the usual paths, no caches, no overrides.
    fn default() -> Self {
        Self {
            target: "x86_64".to_owned(),
            jobs: 1,
            toolchain: Toolchain::default(),
            source_date_epoch: 0,
            paths: BuildPaths::default(),
            caches: false,
            overrides: BTreeMap::new(),
        }
    }
}

impl BuildContext {
    /// The default for this target, with the compilers that the recipe asks for.
    #[must_use]
    pub fn new(recipe: &Recipe, target: impl Into<String>) -> Self {
        Self { target: target.into(), toolchain: recipe.options.toolchain, ..Self::default() }
    }

    /// The architecture of the target.
    #[must_use]
    pub fn architecture(&self) -> &str {
        self.target.rsplit_once('/').map_or(&self.target, |(_, architecture)| architecture)
    }
}

/// Absolute paths inside the build root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildPaths {
    /// The recipe's helper files.
    pub package_directory: String,
    /// The fetched sources.
    pub source_directory: String,
    /// What the recipe installs.
    pub install_root: String,
    /// One folder for each target is made in it.
    pub build_directory: String,
    /// The folder that holds the compiler caches.
    pub cache_directory: String,
}

impl Default for BuildPaths {
    fn default() -> Self {
        Self {
            package_directory: "/mason/recipe/pkg".to_owned(),
            source_directory: "/mason/sourcedir".to_owned(),
            install_root: "/mason/install".to_owned(),
            build_directory: "/mason/build".to_owned(),
            cache_directory: "/mason".to_owned(),
        }
    }
}

/// The scripts of one target, and what they need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildPlan {
    /// The target.
    pub target: String,
    /// The compilers.
    pub toolchain: Toolchain,
    /// What to run, in order. A phase that the recipe does not have is not there.
    pub phases: Vec<Phase>,
    /// The folder of this target. The preparation makes it; it must not hold anything of an earlier build.
    pub build_directory: String,
    /// Where the phases after the preparation begin.
    pub work_directory: String,
    /// Where the recipe installs to.
    pub install_root: String,
    /// What the actions in the scripts need.
    pub action_depends: BTreeSet<Dependency>,
    /// What unpacking the sources needs.
    pub archive_depends: BTreeSet<Dependency>,
    /// The compilers' packages.
    pub toolchain_depends: BTreeSet<Dependency>,
}

impl BuildPlan {
    /// Everything that the build root needs beyond its base packages and what the recipe names itself.
    #[must_use]
    pub fn implicit_depends(&self) -> BTreeSet<Dependency> {
        [&self.action_depends, &self.archive_depends, &self.toolchain_depends]
            .into_iter()
            .flatten()
            .cloned()
            .collect()
    }
}

/// One script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Phase {
    /// Which.
    pub kind: PhaseKind,
    /// Text for bash; it needs nothing of the environment.
    pub script: String,
    /// A directory that exists when the script begins: where its commands run, or for the preparation the one above.
    pub work_directory: String,
}

/// The phases, in the order they run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PhaseKind {
    /// Unpacks the sources.
    Prepare,
    /// Patches and configures.
    Setup,
    /// Builds.
    Build,
    /// Installs.
    Install,
    /// Tests.
    Check,
}

impl PhaseKind {
    /// The word for logs.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Prepare => "prepare",
            Self::Setup => "setup",
            Self::Build => "build",
            Self::Install => "install",
            Self::Check => "check",
        }
    }
}

/// Plans the build of a recipe for one target.
///
/// # Errors
/// The first fault found: an unknown target, tuning choice or macro.
pub fn plan(recipe: &Recipe, context: &BuildContext) -> Result<BuildPlan, EvaluateError> {
    let (plan, mut errors) = plan_all(recipe, context)?;
    if errors.is_empty() { Ok(plan) } else { Err(errors.swap_remove(0)) }
}

/// Plans and collects the faults of all phases; `Err` is what prevents planning at all.
pub(crate) fn plan_all(
    recipe: &Recipe,
    context: &BuildContext,
) -> Result<(BuildPlan, Vec<EvaluateError>), EvaluateError> {
    let macros = Macros::for_target(&context.target)?;
    let toolchain = context.toolchain;
    let build_directory = format!("{}/{}", context.paths.build_directory, context.target);
    let work_directory = match recipe.upstreams.iter().find_map(Upstream::build_directory) {
        Some(directory) => format!("{build_directory}/{directory}"),
        None => build_directory.clone(),
    };
    let mut expander = Expander {
        macros: &macros,
        values: values(recipe, context, toolchain, &build_directory),
        overrides: &context.overrides,
    };
    let flags = tuning::resolve(recipe, &macros, toolchain)?;
    for language in Language::ALL {
        let text =
            flags.get(&language).into_iter().flatten().map(String::as_str).collect::<Vec<_>>().join(" ");
        let expanded = expander.expand_inside(&text).map_err(macros_error)?;
        expander.values.insert(flags_value(language), expanded.text);
    }

    expander.values.insert("workdir", build_directory.clone());
    let prologue = expander.expand_inside("%scriptBase").map_err(macros_error)?.text;
    let script = format!(
        "mkdir -p -- {}\n{prologue}\n{}",
        prepare::quote(&build_directory),
        prepare::script(&recipe.upstreams, &context.paths, &build_directory)
    );
    let prepare =
        Phase { kind: PhaseKind::Prepare, script, work_directory: context.paths.build_directory.clone() };

    expander.values.insert("workdir", work_directory.clone());
    let mut plan = BuildPlan {
        target: context.target.clone(),
        toolchain,
        phases: vec![prepare],
        build_directory,
        work_directory,
        install_root: context.paths.install_root.clone(),
        action_depends: BTreeSet::new(),
        archive_depends: prepare::depends(&recipe.upstreams),
        toolchain_depends: toolchain_depends(recipe, context, toolchain),
    };
    let errors = add_phases(recipe, &expander, &mut plan)?;
    Ok((plan, errors))
}

fn add_phases(
    recipe: &Recipe,
    expander: &Expander<'_>,
    plan: &mut BuildPlan,
) -> Result<Vec<EvaluateError>, EvaluateError> {
    let mut errors = Vec::new();
    let mut expand = |text: &Text| {
        expander.expand(text).map_err(|error| recipe_error(recipe, text, error)).unwrap_or_else(|error| {
            errors.push(error);
            Expanded::default()
        })
    };
    let prologue = expander.expand_inside("%scriptBase").map_err(macros_error)?.text;
    let profile = recipe.profile(&plan.target);
    let field = |get: fn(&BuildFields) -> &Option<Text>| {
        profile.and_then(|profile| get(profile).as_ref()).or_else(|| get(&recipe.build).as_ref())
    };
    // Functions that the environment defines are run by the phases, so what they need counts.
    let environment = field(|fields| &fields.environment).map(&mut expand).map(|expanded| {
        plan.action_depends.extend(expanded.dependencies);
        expanded.text
    });
    for (kind, text) in [
        (PhaseKind::Setup, field(|fields| &fields.setup)),
        (PhaseKind::Build, field(|fields| &fields.build)),
        (PhaseKind::Install, field(|fields| &fields.install)),
        (PhaseKind::Check, field(|fields| &fields.check)),
    ] {
        let Some(text) = text else { continue };
        let expanded = expand(text);
        plan.action_depends.extend(expanded.dependencies);
        let parts = [Some(prologue.as_str()), environment.as_deref(), Some(&expanded.text)];
        let mut script = parts.into_iter().flatten().collect::<Vec<_>>().join("\n");
        script.push('\n');
        plan.phases.push(Phase { kind, script, work_directory: plan.work_directory.clone() });
    }
    Ok(errors)
}

/// The built-in values of section 3.4 of the format, by name without the underscore. Flags and the working directory
/// come later.
fn values(
    recipe: &Recipe,
    context: &BuildContext,
    toolchain: Toolchain,
    build_directory: &str,
) -> BTreeMap<&'static str, String> {
    let paths = &context.paths;
    let cache = |name: &str| format!("{}/{name}", paths.cache_directory);
    let optional_cache = |name: &str| if context.caches { cache(name) } else { String::new() };
    let mut values = BTreeMap::from([
        ("name", recipe.name.clone()),
        ("version", recipe.version.clone()),
        ("release", recipe.release.to_string()),
        ("jobs", context.jobs.max(1).to_string()),
        ("pkgdir", paths.package_directory.clone()),
        ("sourcedir", paths.source_directory.clone()),
        ("installroot", paths.install_root.clone()),
        ("buildroot", build_directory.to_owned()),
        ("sourcedateepoch", context.source_date_epoch.to_string()),
        ("compiler_cache", cache("ccache")),
        ("scompiler_cache", cache("sccache")),
        ("compiler_go_cache", optional_cache("gocache")),
        ("compiler_go_mod_cache", optional_cache("gomodcache")),
        ("compiler_cargo_cache", optional_cache("cargocache")),
        ("compiler_zig_cache", optional_cache("zigcache")),
        ("rustc_wrapper", if context.caches { "/usr/bin/sccache".to_owned() } else { String::new() }),
        (
            "compiler_path",
            if context.caches { "/usr/lib/ccache/bin:/usr/bin:/bin" } else { "/usr/bin:/bin" }.to_owned(),
        ),
        ("compiler_ld", linker(recipe, toolchain).to_owned()),
        ("pgo_stage", "NONE".to_owned()),
        ("pgo_dir", format!("{build_directory}-pgo")),
    ]);
    let names = match toolchain {
        Toolchain::Llvm => LLVM_TOOLS,
        Toolchain::Gnu => GNU_TOOLS,
    };
    values.extend(names.iter().map(|(name, tool)| (*name, (*tool).to_owned())));
    values
}

const LLVM_TOOLS: &[(&str, &str)] = &[
    ("compiler_c", "clang"),
    ("compiler_cxx", "clang++"),
    ("compiler_objc", "clang"),
    ("compiler_objcxx", "clang++"),
    ("compiler_cpp", "clang-cpp"),
    ("compiler_objcpp", "clang -E -"),
    ("compiler_objcxxcpp", "clang++ -E"),
    ("compiler_d", "ldc2"),
    ("compiler_ar", "llvm-ar"),
    ("compiler_objcopy", "llvm-objcopy"),
    ("compiler_nm", "llvm-nm"),
    ("compiler_ranlib", "llvm-ranlib"),
    ("compiler_strip", "llvm-strip"),
];

const GNU_TOOLS: &[(&str, &str)] = &[
    ("compiler_c", "gcc"),
    ("compiler_cxx", "g++"),
    ("compiler_objc", "gcc"),
    ("compiler_objcxx", "g++"),
    ("compiler_cpp", "gcc -E"),
    ("compiler_objcpp", "gcc -E"),
    ("compiler_objcxxcpp", "g++ -E"),
    ("compiler_d", "ldc2"),
    ("compiler_ar", "gcc-ar"),
    ("compiler_objcopy", "objcopy"),
    ("compiler_nm", "gcc-nm"),
    ("compiler_ranlib", "gcc-ranlib"),
    ("compiler_strip", "strip"),
];

fn linker(recipe: &Recipe, toolchain: Toolchain) -> &'static str {
    match toolchain {
        _ if recipe.options.mold => "ld.mold",
        Toolchain::Llvm => "ld.lld",
        Toolchain::Gnu => "ld.bfd",
    }
}

fn flags_value(language: Language) -> &'static str {
    match language {
        Language::C => "cflags",
        Language::Cxx => "cxxflags",
        Language::Fortran => "fflags",
        Language::Linker => "ldflags",
        Language::D => "dflags",
        Language::Rust => "rustflags",
        Language::Vala => "valaflags",
        Language::Go => "goflags",
    }
}

fn toolchain_depends(recipe: &Recipe, context: &BuildContext, toolchain: Toolchain) -> BTreeSet<Dependency> {
    let binary = |name: &str| Dependency::new(DependencyKind::Binary, name);
    let package = |name: &str| Dependency::name(name);
    let mut depends = match toolchain {
        Toolchain::Llvm => vec![package("clang")],
        Toolchain::Gnu => vec![binary("ld.bfd"), binary("gcc"), binary("g++")],
    };
    if recipe.options.emul32 {
        depends.push(package("glibc-32bit-devel"));
        match toolchain {
            Toolchain::Llvm => depends.push(package("clang-32bit")),
            Toolchain::Gnu => depends.extend([package("gcc-32bit"), package("libstdc++-32bit-devel")]),
        }
    }
    if recipe.options.mold {
        depends.push(binary("mold"));
    }
    if context.caches {
        depends.extend([binary("ccache"), binary("sccache")]);
    }
    depends.into_iter().collect()
}

fn recipe_error(recipe: &Recipe, text: &Text, error: ExpandError) -> EvaluateError {
    let at = text.position(error.offset_bytes);
    let problem = recipe.source.problem(Severity::Error, at, error.message).with_help(error.help);
    EvaluateError::Recipe { problem: Box::new(problem), trace: error.trace }
}

fn macros_error(error: ExpandError) -> EvaluateError {
    EvaluateError::Macros { message: error.message, trace: error.trace }
}

#[cfg(test)]
mod tests;
