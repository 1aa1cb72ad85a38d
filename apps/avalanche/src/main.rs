//! The `avalanche` program.

fn main() {}
