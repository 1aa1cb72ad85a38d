//! The `moraine` program.

fn main() {}
