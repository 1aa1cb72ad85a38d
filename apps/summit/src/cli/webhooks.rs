//! `summit webhook test`: whether a receiver hears Summit.

use std::path::PathBuf;

use clap::Subcommand;
use fault::{Fault, Kind};
use observe::write_stdout;

use crate::clock::Clock;
use crate::config::Config;
use crate::webhooks::{WebhookError, tell, test_body};

#[derive(Debug, Subcommand)]
pub(super) enum WebhookCommand {
    /// Send one message for a test, and say what the receiver answers.
    Test {
        /// Its name in the configuration.
        name: String,
        /// The configuration file.
        #[arg(long)]
        config: PathBuf,
    },
}

/// There is no such webhook.
#[derive(Debug, thiserror::Error)]
#[error("cannot find a webhook {0:?} in the configuration")]
struct NoWebhook(String);

impl Fault for NoWebhook {
    fn kind(&self) -> Kind {
        Kind::NotFound
    }
}

pub(super) fn run(command: WebhookCommand) -> Result<(), Box<dyn Fault>> {
    let WebhookCommand::Test { name, config } = command;
    let config = Config::load(&config)?;
    let hook =
        config.webhooks.iter().find(|hook| hook.name == name).ok_or_else(|| NoWebhook(name.clone()))?;
    let now = Clock::system().now();
    let told: Result<u16, WebhookError> =
        tell(hook, &format!("moraine_test_{}", now.0), &test_body(now), now);
    let status = told?;
    Ok(write_stdout(&format!("{name} was told, and {} answers {status}\n", hook.url))?)
}
