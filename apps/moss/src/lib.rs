//! Package manager: installs atomically, with rollback.
