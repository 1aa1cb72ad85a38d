//! The `summit` program.

fn main() {}
