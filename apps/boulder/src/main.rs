//! The `boulder` program.

fn main() {}
