//! The `vessel` program.

fn main() {}
