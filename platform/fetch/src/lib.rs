//! HTTP, git and distribution mirrors; the source cache keyed by digest.
