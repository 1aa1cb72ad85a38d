//! Looks at the configuration again while Summit runs.
//!
//! It looks at every poll, and at once when asked (SIGHUP). A version that can be used takes effect, except for the few
//! keys that need a restart, which are named. One that cannot be used is shown, and what was said before counts.

use std::sync::Arc;
use std::time::Duration;

use access::{Action, Actor};
use farm::ids::BuilderId;
use tokio::time::timeout;

use crate::config::files::Contents;
use crate::config::{BuilderConfig, Config, ConfigError, ConfigFiles, Loaded};
use crate::hub::{ConfigState, Hub};
use crate::store::{BuilderSaid, StoreError};

/// Looks for ever. The configuration that runs was read from `files`; without any nothing ever changes.
pub(crate) async fn run(hub: Arc<Hub>, files: Option<ConfigFiles>) {
    let Some(files) = files else { return std::future::pending().await };
    let mut known = None;
    loop {
        match look(&hub, &files, &mut known).await {
            Ok(()) => {}
            Err(Trouble::File(error)) => {
                let trouble = fault::chain(&*error).join(": ");
                let state = ConfigState { trouble: Some(trouble.clone()), ..hub.config_state() };
                if hub.set_config_state(state) {
                    tracing::error!(%trouble, "the configuration cannot be used; what it said before counts");
                }
            }
            Err(Trouble::Store(error)) => {
                known = None;
                tracing::error!(
                    error = fault::chain(&error).join(": "),
                    "cannot take over the configuration; trying again"
                );
            }
        }
        let poll = Duration::from_secs(u64::from(hub.config().poll_seconds));
        // Asked or not makes no difference to what is found.
        drop(timeout(poll, hub.look_at_config.notified()).await);
    }
}

enum Trouble {
    File(Box<ConfigError>),
    Store(StoreError),
}

/// One look. `known` is what the files said the last time.
async fn look(hub: &Hub, files: &ConfigFiles, known: &mut Option<Contents>) -> Result<(), Trouble> {
    let reading = {
        let files = files.clone();
        tokio::task::spawn_blocking(move || files.read()).await
    };
    // Only at the end of the program is it not carried out.
    let Ok(read) = reading else { return Ok(()) };
    let contents = read.map_err(|error| {
        // When it is back, it is looked at whatever it says.
        *known = None;
        Trouble::File(Box::new(error))
    })?;
    if known.as_ref() == Some(&contents) {
        return Ok(());
    }
    let loaded = files.understand(&contents);
    *known = Some(contents);
    let loaded = loaded.map_err(|error| Trouble::File(Box::new(error)))?;
    take_over(hub, loaded).await.map_err(Trouble::Store)
}

async fn take_over(hub: &Hub, loaded: Loaded) -> Result<(), StoreError> {
    let running = hub.config();
    let (config, waiting) = loaded.config.taking_over_from(&running);
    let state = ConfigState { trouble: None, waiting_for_restart: waiting };
    if hub.set_config_state(state.clone()) && !state.waiting_for_restart.is_empty() {
        tracing::warn!(
            keys = state.waiting_for_restart.join(", "),
            "these keys take effect at the next start"
        );
    }
    if config == *running {
        return Ok(());
    }
    for note in &loaded.notes {
        tracing::warn!("{note}");
    }
    let_in(hub, &config).await?;
    tracing::info!(
        projects = config.projects.len(),
        builders = config.builders.len(),
        "the configuration changed"
    );
    hub.set_config(config);
    Ok(())
}

/// Lets the builders of the configuration attach, and those that it names no more attach no more.
pub(crate) async fn let_in(hub: &Hub, config: &Config) -> Result<(), StoreError> {
    let now = hub.clock.now();
    let id = |builder: &BuilderConfig| BuilderId(builder.public_key.to_string());
    let named: Vec<BuilderId> = config.builders.iter().map(id).collect();
    for gone in hub.store.keep_configured(&named, now).await? {
        let subject = format!("builder {} ({})", gone.said.name, gone.id);
        hub.audit(
            &Actor::Configuration,
            Action::RemoveBuilder,
            &subject,
            "the configuration names it no more",
        )
        .await;
    }
    for builder in &config.builders {
        let said = BuilderSaid {
            name: builder.name.clone(),
            features: builder.features.clone(),
            trust: builder.trust,
            size: builder.size,
            ..BuilderSaid::default()
        };
        hub.store.add_builder(&id(builder), &said, true, now).await?;
    }
    hub.dispatch.notify_one();
    Ok(())
}
