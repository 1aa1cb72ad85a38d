# The verbs of this project; `just --list` shows them. Logic lives in xtask and in .ci/run, not here.

# Format, lint and compare generated code, as the continuous integration does.
check:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- -D warnings
    cargo run --quiet -p xtask -- gen --check

# All tests.
test:
    cargo test --workspace

# Write the code that is generated from other files.
gen:
    cargo run --quiet -p xtask -- gen

# Format everything.
format:
    cargo fmt --all

# The whole way from recipes to a running program.
demo *arguments:
    cargo run --release -- demo {{arguments}}

# A farm of one's own recipes on this machine.
farm recipes *arguments:
    cargo run --release -- up --recipes {{recipes}} {{arguments}}

# Measure what the farm's decisions cost, and write docs/benchmarks.md.
bench *arguments:
    cargo run --release --quiet -p bench -- {{arguments}}

# Let a real farm rebuild the whole pack with played builds, with and without faults, and write docs/world.md.
world *arguments:
    .ci/world {{arguments}}

# Everything that must hold before a change lands.
ci:
    .ci/run
