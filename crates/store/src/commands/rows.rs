//! A command as a row, and back.

use argosy_domain::{
    command::{
        Command, CommandKind, CommandResult, CommandSeq, CommandState, End, Outcome, Withdrawal,
    },
    time::Timestamp,
};

use crate::{error::StoreError, value::Row};

pub(super) fn state(row: &Row) -> Result<CommandState, StoreError> {
    let at = || row.get("state_at");
    let name: String = row.get("state")?;
    Ok(match name.as_str() {
        "queued" => CommandState::Queued,
        "sent" => CommandState::Sent { at: at()? },
        "received" => CommandState::Received { at: at()? },
        "running" => CommandState::Running { at: at()? },
        outcome => CommandState::Ended(End {
            outcome: Outcome::parse(outcome).ok_or_else(|| row.corrupt("state"))?,
            at: at()?,
            detail: row.optional("end_detail")?,
        }),
    })
}

pub(super) fn state_at(state: &CommandState) -> Option<Timestamp> {
    match state {
        CommandState::Queued => None,
        CommandState::Sent { at }
        | CommandState::Received { at }
        | CommandState::Running { at } => Some(*at),
        CommandState::Ended(end) => Some(end.at),
    }
}

pub(super) fn end_detail(state: &CommandState) -> Option<&str> {
    match state {
        CommandState::Ended(end) => end.detail.as_deref(),
        CommandState::Queued
        | CommandState::Sent { .. }
        | CommandState::Received { .. }
        | CommandState::Running { .. } => None,
    }
}

fn result(row: &Row) -> Result<Option<CommandResult>, StoreError> {
    let Some(payload) = row.optional("result_payload")? else {
        return Ok(None);
    };
    let receipt = row.optional("receipt")?;
    Ok(Some(CommandResult {
        payload,
        receipt,
        receipt_signature: row.optional("receipt_signature")?,
    }))
}

fn withdrawal(row: &Row) -> Result<Option<Withdrawal>, StoreError> {
    let Some(at) = row.optional("withdrawn_at")? else { return Ok(None) };
    Ok(Some(Withdrawal { by: row.get("withdrawn_by")?, at }))
}

pub(super) fn command(row: &Row) -> Result<Command, StoreError> {
    Ok(Command {
        id: row.get("id")?,
        org: row.get("org_id")?,
        agent: row.get("agent_id")?,
        kind: row.parsed("kind", |name| CommandKind::parse(name).ok())?,
        params: row.get("params")?,
        params_sha256: row.get("params_sha256")?,
        sequence: CommandSeq(row.get("sequence")?),
        created_by: row.get("created_by")?,
        created_at: row.get("created_at")?,
        expires_at: row.get("expires_at")?,
        idempotency_key: row.optional("idempotency_key")?,
        state: state(row)?,
        withdrawn: withdrawal(row)?,
        result: result(row)?,
    })
}
