//! What to build and in which order; the life of a task; who builds it.
