//! Indexes, histories, streams and the layout of a published tree.
