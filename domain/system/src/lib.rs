//! The client's decisions: resolve, merge file trees, transactions.
