//! What tests share: the data folder, skips that say why.
