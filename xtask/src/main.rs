//! Automation with logic in it.

fn main() {}
