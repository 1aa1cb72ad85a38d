//! The table: what an actor may do.

use crate::action::{Action, Need};
use crate::actor::{Actor, Scope};

/// Whether somebody may do something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// They may.
    Allowed,
    /// Nobody knows who they are; showing a token might help.
    WhoAreYou,
    /// It is known who they are, and they may not.
    Refused {
        /// The scope that would allow it; none where no token can.
        needs: Option<Scope>,
    },
}

/// Whether `actor` may do `action` in a Summit that is open to the `public` or not.
#[must_use]
pub fn decide(actor: &Actor, action: Action, public: bool) -> Decision {
    let needs = match action.need() {
        Need::Nothing => return Decision::Allowed,
        Need::Sight if public => return Decision::Allowed,
        Need::Sight => Some(Scope::Read),
        Need::Scope(scope) => Some(scope),
        Need::Agent | Need::Forge | Need::Summit => None,
    };
    let may = match actor {
        Actor::Visitor => false,
        Actor::Local | Actor::DataFolder => needs.is_some(),
        Actor::Token { scopes, .. } => needs.is_some_and(|scope| match scope {
            Scope::Read => !scopes.is_empty(),
            _ => scopes.contains(&scope),
        }),
        Actor::Agent { .. } => action == Action::Build,
        // Something was published: others may be able to go on.
        Actor::Vessel => action == Action::WakeUp,
        Actor::Forge { .. } => action == Action::ForgeWakeUp,
        Actor::Configuration => action == Action::Configure || action == Action::AddBuilder,
        Actor::Summit => !matches!(action.need(), Need::Agent | Need::Forge),
    };
    match (may, actor) {
        (true, _) => Decision::Allowed,
        (false, Actor::Visitor) => Decision::WhoAreYou,
        (false, _) => Decision::Refused { needs },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::TokenId;

    /// Every actor, one for each scope that a token can have alone.
    fn actors() -> Vec<(&'static str, Actor)> {
        let token = |scopes: &[Scope]| Actor::Token {
            id: TokenId::new([1; 6]),
            name: "t".into(),
            scopes: scopes.iter().copied().collect(),
        };
        vec![
            ("visitor", Actor::Visitor),
            ("local", Actor::Local),
            ("no scope", token(&[])),
            ("read", token(&[Scope::Read])),
            ("operate", token(&[Scope::Operate])),
            ("plan", token(&[Scope::Plan])),
            ("builders", token(&[Scope::Builders])),
            ("channels", token(&[Scope::Channels])),
            ("admin", token(&[Scope::Admin])),
            ("folder", Actor::DataFolder),
            ("config", Actor::Configuration),
            ("agent", Actor::Agent { key: "k".into() }),
            ("vessel", Actor::Vessel),
            ("forge", Actor::Forge { project: "p".into() }),
            ("summit", Actor::Summit),
        ]
    }

    /// `+` allowed, `?` asked who they are, `-` refused; a column for each of [`actors`], in their order.
    const OPEN: &str = "
        greet            + + + + + + + + + + + + + + +
        look             + + + + + + + + + + + + + + +
        plan_rebuild     ? + - + + + + + + + - - - - +
        order_rebuild    ? + - - - + - - - + - - - - +
        retry_task       ? + - - + - - - - + - - - - +
        cancel_task      ? + - - + - - - - + - - - - +
        hold_task        ? + - - + - - - - + - - - - +
        release_task     ? + - - + - - - - + - - - - +
        set_priority     ? + - - + - - - - + - - - - +
        pause_queue      ? + - - + - - - - + - - - - +
        resume_queue     ? + - - + - - - - + - - - - +
        wake_up          ? + - - + - - - - + - - + - +
        add_builder      ? + - - - - + - - + + - - - +
        enrol_builder    ? + - - - - + - - + - - - - +
        label_builder    ? + - - - - + - - + - - - - +
        drain_builder    ? + - - - - + - - + - - - - +
        remove_builder   ? + - - - - + - - + - - - - +
        promote_stream   ? + - - - - - + - + - - - - +
        roll_back_stream ? + - - - - - + - + - - - - +
        list_tokens      ? + - - - - - - + + - - - - +
        add_token        ? + - - - - - - + + - - - - +
        revoke_token     ? + - - - - - - + + - - - - +
        read_audit       ? + - - - - - - + + - - - - +
        list_webhooks    ? + - - - - - - + + - - - - +
        test_webhook     ? + - - - - - - + + - - - - +
        build            ? - - - - - - - - - - + - - -
        forge_wake_up    ? - - - - - - - - - - - - + -
        configure        ? - - - - - - - - - + - - - +
    ";

    /// The one row that differs where the public may not look.
    const CLOSED_LOOK: &str = "? + - + + + + + + + - - - - +";

    #[test]
    fn every_cell_of_the_table() {
        let mut rows = 0;
        for line in OPEN.lines().filter(|line| !line.trim().is_empty()) {
            let mut words = line.split_whitespace();
            let action = words.next().and_then(Action::from_keyword).unwrap();
            let open: Vec<&str> = words.collect();
            let closed: Vec<&str> = match action {
                Action::Look => CLOSED_LOOK.split(' ').collect(),
                _ => open.clone(),
            };
            assert_eq!((open.len(), closed.len()), (actors().len(), actors().len()), "{line}");
            for (place, (name, actor)) in actors().iter().enumerate() {
                for (public, expect) in [(true, open[place]), (false, closed[place])] {
                    let found = match decide(actor, action, public) {
                        Decision::Allowed => "+",
                        Decision::WhoAreYou => "?",
                        Decision::Refused { .. } => "-",
                    };
                    assert_eq!(found, expect, "{name}, {}, public: {public}", action.keyword());
                }
            }
            rows += 1;
        }
        assert_eq!(rows, Action::ALL.len());
    }

    #[test]
    fn a_refusal_names_the_scope_that_would_do() {
        let read = Actor::Token { id: TokenId::new([1; 6]), name: "t".into(), scopes: [Scope::Read].into() };
        for (action, needs) in [
            (Action::RetryTask, Some(Scope::Operate)),
            (Action::OrderRebuild, Some(Scope::Plan)),
            (Action::ReadAudit, Some(Scope::Admin)),
            (Action::Build, None),
        ] {
            assert_eq!(decide(&read, action, true), Decision::Refused { needs });
        }
    }
}
