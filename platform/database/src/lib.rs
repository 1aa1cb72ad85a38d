//! SQLite: opening, migrations.
