//! Linux isolation for builds and for programs of a fresh root.
