//! The one error report, tracing, terminals.
