//! The `moss` program.
