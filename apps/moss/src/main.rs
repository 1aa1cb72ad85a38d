//! The `moss` program.

fn main() {}
