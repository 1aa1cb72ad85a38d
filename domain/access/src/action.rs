//! What can be asked for, and what that needs.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::actor::Scope;

/// Something that can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// See what everybody sees: the sign-in page, style and script, health, the description of the API.
    Greet,
    /// See tasks, logs, builders, recipes, figures.
    Look,
    /// Have a rebuild planned, without anything being ordered.
    PlanRebuild,
    /// Order a rebuild.
    OrderRebuild,
    /// Try a task again.
    RetryTask,
    /// Cancel a task.
    CancelTask,
    /// Keep a queued task from starting.
    HoldTask,
    /// Let a task that is held go on.
    ReleaseTask,
    /// Say how urgent a task is.
    SetPriority,
    /// Start nothing more.
    PauseQueue,
    /// Start again.
    ResumeQueue,
    /// Look at recipes and repositories now.
    WakeUp,
    /// Let a builder attach.
    AddBuilder,
    /// Prepare that a machine makes itself a builder, once.
    EnrolBuilder,
    /// Say what a builder has.
    LabelBuilder,
    /// Give a builder no more work, or give it work again.
    DrainBuilder,
    /// Let a builder attach no more.
    RemoveBuilder,
    /// Let a stream follow to a version.
    PromoteStream,
    /// Move a stream back.
    RollBackStream,
    /// See which tokens there are.
    ListTokens,
    /// Make a token.
    AddToken,
    /// Make a token worthless.
    RevokeToken,
    /// See who did what.
    ReadAudit,
    /// See how webhooks are delivered.
    ListWebhooks,
    /// Send a webhook for a test.
    TestWebhook,
    /// Take a build, report on it, send its log.
    Build,
    /// Say that recipes of one project have changed.
    ForgeWakeUp,
    /// Use another configuration.
    Configure,
}

/// What an action needs of whoever asks for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Nothing.
    Nothing,
    /// A token of any scope, unless Summit is open to the public.
    Sight,
    /// A token with this scope, or to be an operator otherwise.
    Scope(Scope),
    /// To be a build agent.
    Agent,
    /// To be a forge.
    Forge,
    /// To be Summit or its configuration.
    Summit,
}

impl Action {
    /// Every action.
    pub const ALL: [Action; 28] = [
        Action::Greet,
        Action::Look,
        Action::PlanRebuild,
        Action::OrderRebuild,
        Action::RetryTask,
        Action::CancelTask,
        Action::HoldTask,
        Action::ReleaseTask,
        Action::SetPriority,
        Action::PauseQueue,
        Action::ResumeQueue,
        Action::WakeUp,
        Action::AddBuilder,
        Action::EnrolBuilder,
        Action::LabelBuilder,
        Action::DrainBuilder,
        Action::RemoveBuilder,
        Action::PromoteStream,
        Action::RollBackStream,
        Action::ListTokens,
        Action::AddToken,
        Action::RevokeToken,
        Action::ReadAudit,
        Action::ListWebhooks,
        Action::TestWebhook,
        Action::Build,
        Action::ForgeWakeUp,
        Action::Configure,
    ];

    /// As it is written.
    #[must_use]
    pub fn keyword(self) -> &'static str {
        match self {
            Action::Greet => "greet",
            Action::Look => "look",
            Action::PlanRebuild => "plan_rebuild",
            Action::OrderRebuild => "order_rebuild",
            Action::RetryTask => "retry_task",
            Action::CancelTask => "cancel_task",
            Action::HoldTask => "hold_task",
            Action::ReleaseTask => "release_task",
            Action::SetPriority => "set_priority",
            Action::PauseQueue => "pause_queue",
            Action::ResumeQueue => "resume_queue",
            Action::WakeUp => "wake_up",
            Action::AddBuilder => "add_builder",
            Action::EnrolBuilder => "enrol_builder",
            Action::LabelBuilder => "label_builder",
            Action::DrainBuilder => "drain_builder",
            Action::RemoveBuilder => "remove_builder",
            Action::PromoteStream => "promote_stream",
            Action::RollBackStream => "roll_back_stream",
            Action::ListTokens => "list_tokens",
            Action::AddToken => "add_token",
            Action::RevokeToken => "revoke_token",
            Action::ReadAudit => "read_audit",
            Action::ListWebhooks => "list_webhooks",
            Action::TestWebhook => "test_webhook",
            Action::Build => "build",
            Action::ForgeWakeUp => "forge_wake_up",
            Action::Configure => "configure",
        }
    }

    /// The action of this keyword.
    #[must_use]
    pub fn from_keyword(keyword: &str) -> Option<Self> {
        Action::ALL.into_iter().find(|action| action.keyword() == keyword)
    }

    /// What it needs.
    #[must_use]
    pub fn need(self) -> Need {
        match self {
            Action::Greet => Need::Nothing,
            Action::Look => Need::Sight,
            // It costs time, so visitors may not.
            Action::PlanRebuild => Need::Scope(Scope::Read),
            Action::OrderRebuild => Need::Scope(Scope::Plan),
            Action::RetryTask
            | Action::CancelTask
            | Action::HoldTask
            | Action::ReleaseTask
            | Action::SetPriority
            | Action::PauseQueue
            | Action::ResumeQueue
            | Action::WakeUp => Need::Scope(Scope::Operate),
            Action::AddBuilder
            | Action::EnrolBuilder
            | Action::LabelBuilder
            | Action::DrainBuilder
            | Action::RemoveBuilder => Need::Scope(Scope::Builders),
            Action::PromoteStream | Action::RollBackStream => Need::Scope(Scope::Channels),
            Action::ListTokens
            | Action::AddToken
            | Action::RevokeToken
            | Action::ReadAudit
            | Action::ListWebhooks
            | Action::TestWebhook => Need::Scope(Scope::Admin),
            Action::Build => Need::Agent,
            Action::ForgeWakeUp => Need::Forge,
            Action::Configure => Need::Summit,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actions_are_read_as_they_are_written() {
        let mut keywords: Vec<_> = Action::ALL.map(Action::keyword).to_vec();
        for action in Action::ALL {
            assert_eq!(Action::from_keyword(action.keyword()), Some(action));
            assert_eq!(serde_json::to_value(action).unwrap(), action.keyword());
        }
        keywords.sort_unstable();
        keywords.dedup();
        assert_eq!(keywords.len(), Action::ALL.len());
        assert_eq!(Action::from_keyword("dance"), None);
    }
}
