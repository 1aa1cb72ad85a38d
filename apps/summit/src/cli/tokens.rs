//! `summit token`: who may change things over the API, on the data folder itself.

use std::path::Path;

use access::{Action, Actor, Scope};
use clap::Subcommand;
use farm::moment::Moment;
use fault::Fault;
use observe::write_stdout;
use serde_json::json;

use crate::clock::Clock;
use crate::store::{StoreError, TokenRow, lifetime};

#[derive(Debug, Subcommand)]
pub(super) enum TokenCommand {
    /// Make a token and show it, once.
    Add {
        /// What to call it.
        name: String,
        /// What it allows: read, operate, plan, builders, channels, admin. Can be given several times.
        #[arg(long = "scope", value_name = "SCOPE", required = true)]
        scopes: Vec<Scope>,
        /// How long it lives: 12h, 90d, 8w, or never.
        #[arg(long, default_value = "365d")]
        expires: String,
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// List tokens, without their secrets.
    List {
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Make a token worthless at once, with all sessions that were begun with it.
    Revoke {
        /// Its name or id.
        token: String,
    },
}

pub(super) async fn run(data: &Path, command: TokenCommand) -> Result<(), Box<dyn Fault>> {
    let store = crate::open_store(data).await?;
    let (now, actor) = (Clock::system().now(), Actor::DataFolder);
    let text = match command {
        TokenCommand::Add { name, scopes, expires, json } => {
            let life = lifetime(&expires).map_err(StoreError::from)?;
            let (token, row) = store.add_token(&name, &scopes.into_iter().collect(), life, now).await?;
            let subject = format!("token {} ({})", row.name, row.id);
            store.note(&actor, Action::AddToken, &subject, &scopes_of(&row), false, now).await?;
            match json {
                true => format!(
                    "{}\n",
                    json!({ "token": token.reveal(), "id": row.id, "name": row.name,
                        "scopes": row.scopes, "expires_ms": row.expires_ms })
                ),
                false => format!("{}\n", token.reveal()),
            }
        }
        TokenCommand::List { json } => {
            let tokens = store.tokens().await?;
            if json { format!("{}\n", json!({ "tokens": tokens })) } else { text_of(&tokens, now) }
        }
        TokenCommand::Revoke { token } => {
            let row = store.revoke_token(&token, now).await?;
            let subject = format!("token {} ({})", row.name, row.id);
            store.note(&actor, Action::RevokeToken, &subject, "revoked", false, now).await?;
            format!("{} ({}) is worth nothing any more\n", row.name, row.id)
        }
    };
    store.close().await;
    Ok(write_stdout(&text)?)
}

fn scopes_of(token: &TokenRow) -> String {
    token.scopes.iter().map(|scope| scope.keyword()).collect::<Vec<_>>().join(", ")
}

fn text_of(tokens: &[TokenRow], now: Moment) -> String {
    if tokens.is_empty() {
        return "no tokens; make one with `summit token add NAME --scope SCOPE`\n".into();
    }
    let line = |token: &TokenRow| {
        let state = match (token.revoked_ms, token.is_valid(now)) {
            (Some(_), _) => "  revoked",
            (None, false) => "  expired",
            (None, true) => "",
        };
        format!("{}  {}  {}{state}\n", token.id, observe::printable(&token.name), scopes_of(token))
    };
    tokens.iter().map(line).collect()
}
