//! The .stone v1 container: reader and writer.
