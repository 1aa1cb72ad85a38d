//! The pages. Each says what it shows, also when that is nothing.
//!
//! Elements with `data-live` are exchanged for their newest version by the script when news arrive; the pages are
//! complete without it.

mod audit;
mod builder;
mod builders;
mod channels;
mod colours;
mod figures;
mod forge;
mod frame;
pub(crate) mod log;
mod logs;
mod order;
mod overview;
mod package;
pub(crate) mod pictures;
mod task;
mod tasks;
mod timeline;

use axum::response::Html;

use super::error::PageError;

pub(crate) use audit::audit;
pub(crate) use builder::builder;
pub(crate) use builders::builders;
pub(crate) use channels::{channels, diff};
pub(crate) use colours::colours;
pub(crate) use frame::{Entry, NoPage, Reader};
pub(crate) use log::log;
pub(crate) use logs::logs;
pub(crate) use order::queue;
pub(crate) use overview::overview;
pub(crate) use package::package;
pub(crate) use task::task;
pub(crate) use tasks::tasks;
pub(crate) use timeline::timeline;

type Page = Result<Html<String>, PageError>;
