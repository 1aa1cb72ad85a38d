//! Build agent: takes orders, builds, streams the log, uploads.
