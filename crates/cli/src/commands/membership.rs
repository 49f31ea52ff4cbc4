//! `argosy agent approve|reject|revoke|…`: what changes an agent.

use std::collections::BTreeMap;

use argosy_domain::digest::Fingerprint;
use argosy_wire::rest::agents::{
    Agent, Approve, Approved, Rebind, Replace, UpdateAgent, WithReason,
};
use reqwest::Method;

use super::{Context, find};
use crate::{
    args::{LabelChange, Revoke, Successor},
    error::CliError,
    output::{clean, fleet},
};

/// A step that takes a reason.
#[derive(Debug, Clone, Copy)]
pub enum Step {
    /// Turn away who asks to join.
    Reject,
    /// Hand nothing out.
    Quarantine,
    /// End a quarantine, or confirm who is under review.
    Restore,
    /// End the membership.
    Revoke,
}

impl Step {
    fn route(self) -> &'static str {
        match self {
            Self::Reject => "reject",
            Self::Quarantine => "quarantine",
            Self::Restore => "restore",
            Self::Revoke => "revoke",
        }
    }

    fn done(self) -> &'static str {
        match self {
            Self::Reject => "is rejected.",
            Self::Quarantine => "is quarantined: nothing is handed out to it; its work runs on.",
            Self::Restore => "is confirmed as it was; nothing is under review any more.",
            Self::Revoke => "is revoked: its credentials are void.",
        }
    }
}

/// Lets a machine in. What was compared travels with the approval, so that nothing else can be
/// approved by it.
pub async fn approve(
    context: &Context<'_>,
    name: &str,
    fingerprint: Option<Fingerprint>,
    yes: bool,
) -> Result<(), CliError> {
    let agent = find::agent(&context.client, name).await?;
    let compared = match fingerprint {
        Some(fingerprint) => Some(fingerprint.to_string()),
        // The server says why an agent that does not wait cannot be approved.
        None if yes || agent.status != "pending" => None,
        None if context.ask.present() => {
            let question = fleet::approval_question(&context.printer.view(), &agent);
            if !context.ask.confirm(&question).map_err(CliError::Output)? {
                context.printer.note(&format!(
                    "If it is not your machine, turn it away: `argosy agent reject {}`",
                    agent.agent_id
                ));
                return Err(CliError::Declined);
            }
            agent.fingerprint.clone()
        }
        None => {
            return Err(CliError::usage(
                "an approval needs a comparison, and there is nobody to ask",
                "give --fingerprint \"…\" as the machine shows it, or --yes to approve without \
                 comparing",
            ));
        }
    };
    let path = format!("/api/v1/agents/{}/approve", agent.agent_id);
    let body = Approve { fingerprint: compared };
    let approved: Approved = context.client.post(&path, &body).await?;
    let how = if body.fingerprint.is_some() { "" } else { " (nothing was compared)" };
    if approved.api_key.is_none() {
        return report(context, &agent.agent_id, &format!("is approved{how}.")).await;
    }
    context.printer.show(&approved, |_| {
        let key = approved.api_key.as_deref().unwrap_or_default();
        format!("{} is approved{how}.\n\n{}", clean(&agent.name), fleet::handed_over(key))
    })
}

/// Binds an agent to the machine that last showed its identity, after a question.
pub async fn rebind(
    context: &Context<'_>,
    name: &str,
    reason: Option<String>,
    yes: bool,
) -> Result<(), CliError> {
    let agent = find::agent(&context.client, name).await?;
    let machine = agent.review.as_ref().and_then(|review| {
        review.origins.iter().rev().filter_map(|origin| origin.machine.clone()).next()
    });
    let question = fleet::rebind_question(&context.printer.view(), &agent);
    confirm(context, &question, yes)?;
    let path = format!("/api/v1/agents/{}/rebind", agent.agent_id);
    context.client.tell(Method::POST, &path, Some(&Rebind { machine, reason })).await?;
    let done = "is bound to its new machine; the earlier one is shut out.";
    report(context, &agent.agent_id, done).await
}

/// Lets another agent take over, after a question.
pub async fn replace(context: &Context<'_>, to: Successor) -> Result<(), CliError> {
    let agent = find::agent(&context.client, &to.agent).await?;
    let next = find::agent(&context.client, &to.by).await?;
    let question = format!(
        "{} takes over from {}, which loses its credentials for good. Go on?",
        clean(&next.name),
        clean(&agent.name)
    );
    confirm(context, &question, to.yes)?;
    let path = format!("/api/v1/agents/{}/replace", agent.agent_id);
    let body = Replace { agent_id: next.agent_id.clone(), reason: to.reason };
    context.client.tell(Method::POST, &path, Some(&body)).await?;
    report(context, &agent.agent_id, &format!("is replaced by {}.", clean(&next.name))).await
}

/// Takes a step that needs no question.
pub async fn step(
    context: &Context<'_>,
    step: Step,
    name: &str,
    reason: Option<String>,
) -> Result<(), CliError> {
    let agent = find::agent(&context.client, name).await?;
    take(context, step, &agent, reason).await
}

async fn take(
    context: &Context<'_>,
    step: Step,
    agent: &Agent,
    reason: Option<String>,
) -> Result<(), CliError> {
    let path = format!("/api/v1/agents/{}/{}", agent.agent_id, step.route());
    context.client.tell(Method::POST, &path, Some(&WithReason { reason })).await?;
    report(context, &agent.agent_id, step.done()).await
}

/// Ends a membership, after a question.
pub async fn revoke(context: &Context<'_>, to: Revoke) -> Result<(), CliError> {
    let agent = find::agent(&context.client, &to.agent).await?;
    let question = format!(
        "{} loses its credentials for good; to come back it must enrol again. Revoke it?",
        clean(&agent.name)
    );
    confirm(context, &question, to.yes)?;
    take(context, Step::Revoke, &agent, to.reason).await
}

/// Removes an agent, after a question.
pub async fn delete(context: &Context<'_>, name: &str, yes: bool) -> Result<(), CliError> {
    let agent = find::agent(&context.client, name).await?;
    let question =
        format!("{} and all that it reported will be gone. Delete it?", clean(&agent.name));
    confirm(context, &question, yes)?;
    let path = format!("/api/v1/agents/{}", agent.agent_id);
    context.client.tell::<()>(Method::DELETE, &path, None).await?;
    let gone = serde_json::json!({"agent_id": agent.agent_id, "deleted": true});
    context.printer.show(&gone, |_| format!("{} is deleted.", clean(&agent.name)))
}

fn confirm(context: &Context<'_>, question: &str, yes: bool) -> Result<(), CliError> {
    if yes {
        return Ok(());
    }
    if !context.ask.present() {
        let message = "this cannot be undone, and there is nobody to ask";
        return Err(CliError::usage(message, "add --yes"));
    }
    if context.ask.confirm(question).map_err(CliError::Output)? {
        Ok(())
    } else {
        Err(CliError::Declined)
    }
}

/// Gives an agent another name.
pub async fn rename(context: &Context<'_>, name: &str, new_name: String) -> Result<(), CliError> {
    let agent = find::agent(&context.client, name).await?;
    let update = UpdateAgent { name: Some(new_name), labels: None };
    patch(context, &agent, &update).await?;
    report(context, &agent.agent_id, &format!("was called {}.", clean(&agent.name))).await
}

/// Changes labels and leaves the others as they are.
pub async fn label(
    context: &Context<'_>,
    name: &str,
    changes: Vec<LabelChange>,
) -> Result<(), CliError> {
    let agent = find::agent(&context.client, name).await?;
    let labels = apply(agent.labels.clone(), changes);
    let pairs: Vec<String> = labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
    let now = if pairs.is_empty() { "no labels".into() } else { clean(&pairs.join(", ")) };
    let update = UpdateAgent { name: None, labels: Some(labels) };
    patch(context, &agent, &update).await?;
    report(context, &agent.agent_id, &format!("has {now}.")).await
}

fn apply(
    mut labels: BTreeMap<String, String>,
    changes: Vec<LabelChange>,
) -> BTreeMap<String, String> {
    for change in changes {
        match change {
            LabelChange::Set(key, value) => drop(labels.insert(key, value)),
            LabelChange::Remove(key) => drop(labels.remove(&key)),
        }
    }
    labels
}

async fn patch(context: &Context<'_>, agent: &Agent, update: &UpdateAgent) -> Result<(), CliError> {
    let path = format!("/api/v1/agents/{}", agent.agent_id);
    context.client.tell(Method::PATCH, &path, Some(update)).await
}

/// Shows the agent as it is now: for programs the whole of it, for people the change.
async fn report(context: &Context<'_>, id: &str, what: &str) -> Result<(), CliError> {
    let agent: Agent = context.client.get(&format!("/api/v1/agents/{id}"), &[]).await?;
    context.printer.show(&agent, |_| format!("{} {what}", clean(&agent.name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_labels_stay() {
        let before = BTreeMap::from([
            ("env".to_owned(), "test".to_owned()),
            ("old".to_owned(), "1".to_owned()),
            ("team".to_owned(), "a".to_owned()),
        ]);
        let changes = vec![
            LabelChange::Set("env".into(), "prod".into()),
            LabelChange::Remove("old".into()),
            LabelChange::Remove("absent".into()),
        ];
        let after = apply(before, changes);
        let shown: Vec<String> = after.iter().map(|(k, v)| format!("{k}={v}")).collect();
        assert_eq!(shown, ["env=prod", "team=a"]);
    }
}
