//! Carrying out what waits, in the agent's order, a few at a time.
//!
//! *Invariant:* `started` is on disk before a runner is called; a runner that panics or hangs ends
//! its own command and nothing else.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use argosy_domain::{
    command::{CommandParams, CommandSeq, Outcome},
    digest::Sha256,
    id::CommandId,
    time::{Timestamp, format_span},
};
use futures::FutureExt as _;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{
    EngineEvent, Inner,
    books::{Next, Readiness, readiness},
    outcome::{Ending, RunOutcome},
    receive::{admitted, expired},
    recover::interrupted,
    withdraw::{never_started, stopped},
};
use crate::{
    blocking::blocking,
    journal::{CommandRecord, JournalError, Received, RecordState, Started},
    packages::Request,
    policy_file::LoadedPolicy,
};

/// How often ids of old commands are looked through.
const PURGE_EVERY: Duration = Duration::from_secs(24 * 3600);
/// How long to wait for the server's time, without which nothing is forgotten.
const PURGE_AGAIN: Duration = Duration::from_secs(600);

/// Carries out what waits until `stop` or until the journal fails.
pub(super) async fn run(inner: &Arc<Inner>, stop: CancellationToken) -> Result<(), JournalError> {
    let mut tasks = JoinSet::new();
    let mut purge = tokio::time::interval(PURGE_EVERY);
    loop {
        if let Some(error) = inner.failure() {
            return Err(error);
        }
        let pause = match next(inner) {
            Next::Start(sequence, id, stop) => {
                tasks.spawn(carry_out(Arc::clone(inner), sequence, id, stop));
                continue;
            }
            Next::Wait(pause) => pause,
        };
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            Some(ended) = tasks.join_next() => settle(inner, ended),
            () = inner.wake.notified() => {}
            () = tokio::time::sleep(pause.unwrap_or_default()), if pause.is_some() => {}
            _ = purge.tick() => {
                if !blocking(inner, Inner::purge).await {
                    purge.reset_after(PURGE_AGAIN);
                }
            }
        }
    }
}

fn next(inner: &Inner) -> Next {
    let since_boot = inner.parts.clock.since_boot();
    inner.books().next(inner.parts.concurrency, &inner.parts.boot, since_boot)
}

fn settle(inner: &Inner, ended: Result<Result<(), JournalError>, tokio::task::JoinError>) {
    match ended {
        Ok(Ok(())) => {}
        Ok(Err(error)) => inner.fail(error),
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        // Only `stop` cancels, and then nobody settles any more.
        Err(_) => {}
    }
}

/// One command from its turn to its end.
async fn carry_out(
    inner: Arc<Inner>,
    sequence: CommandSeq,
    id: CommandId,
    stop: CancellationToken,
) -> Result<(), JournalError> {
    let turn = {
        let (id, stop) = (id.clone(), stop.clone());
        blocking(&inner, move |inner| inner.begin(&id, &stop)).await?
    };
    if let Some(Turn { record, params, started_at, policy_sha256 }) = turn {
        inner.emit(EngineEvent::Started(id.clone()));
        let ending = work(&inner, &record, params, &stop).await;
        blocking(&inner, move |inner| {
            let finished = inner.finished(record.of(), Some(started_at), policy_sha256, ending);
            let state = RecordState::Finished(finished);
            inner.parts.journal.update(&CommandRecord { state, ..record })
        })
        .await?;
    }
    inner.books().finish(sequence, id.clone());
    inner.emit(EngineEvent::Finished(id));
    Ok(())
}

/// The runner, contained.
async fn work(
    inner: &Inner,
    record: &CommandRecord,
    params: CommandParams,
    stop: &CancellationToken,
) -> Ending {
    let (runner, id) = (&inner.parts.runner, &record.id);
    let (timeout, stoppable) = (runner.timeout(&params), params.kind().stoppable());
    let request = request_of(&record.state);
    let run = AssertUnwindSafe(async { runner.run(id, params, request).await }).catch_unwind();
    let run = tokio::time::timeout(timeout, run);
    let ended = tokio::select! {
        ended = run => ended,
        () = stop.cancelled(), if stoppable => return stopped(),
    };
    match ended {
        Ok(Ok(outcome)) => outcome.into(),
        Ok(Err(_panic)) => {
            tracing::error!(command = %id, "a command's runner panicked");
            Ending::error(Outcome::Failed, "panicked", "the agent's own code failed")
        }
        Err(_elapsed) => {
            let error = format!("stopped after {}", format_span(timeout));
            RunOutcome::TimedOut { error }.into()
        }
    }
}

/// The command as the server signed it, where that was kept.
fn request_of(state: &RecordState) -> Option<Request> {
    let RecordState::Started(Started { params, order: Some(order), .. }) = state else {
        return None;
    };
    Some(Request { order: order.clone(), params: String::from_utf8(params.clone()).ok()? })
}

/// A command that is marked as started and is to be done now.
struct Turn {
    record: CommandRecord,
    params: CommandParams,
    started_at: Timestamp,
    policy_sha256: Sha256,
}

impl Inner {
    /// Looks at the command, the clock and the policy once more, and makes `started` (or the end)
    /// durable. None when it is over.
    fn begin(
        &self,
        id: &CommandId,
        stop: &CancellationToken,
    ) -> Result<Option<Turn>, JournalError> {
        let journal = &self.parts.journal;
        let unknown = || JournalError::Unknown { id: id.clone() };
        let record = journal.get(id)?.ok_or_else(unknown)?;
        let policy = self.parts.policy.load();
        let now = self.parts.clock.now();
        let (state, params, started_at) = match &record.state {
            RecordState::Received(_) if stop.is_cancelled() => {
                return self.end(record, None, policy.sha256, never_started());
            }
            RecordState::Received(received) => match self.may_start(&record, received, &policy) {
                Ok(params) => (record.state.clone().start(now), params, now),
                Err(ending) => return self.end(record, None, policy.sha256, ending),
            },
            RecordState::Started(started) => {
                let at = started.at;
                match admitted(&record.kind, &started.params, &policy) {
                    Ok(params) => (record.state.clone().repeat(), params, at),
                    // It ran before the crash; now the host's owner does not want it any more.
                    Err(_refusal) => {
                        return self.end(record, Some(at), policy.sha256, interrupted());
                    }
                }
            }
            RecordState::Finished(_) | RecordState::Acknowledged(_) => return Ok(None),
        };
        let state = state.map_err(|_| unknown())?;
        let record = CommandRecord { state, ..record };
        journal.update(&record)?;
        Ok(Some(Turn { record, params, started_at, policy_sha256: policy.sha256 }))
    }

    fn may_start(
        &self,
        record: &CommandRecord,
        received: &Received,
        policy: &LoadedPolicy,
    ) -> Result<CommandParams, Ending> {
        match self.at_this_moment(|now| readiness(&received.window, now)) {
            Readiness::Expired => Err(expired()),
            Readiness::Ready | Readiness::Later(_) | Readiness::Unknown => {
                admitted(&record.kind, &received.params, policy)
            }
        }
    }

    fn end(
        &self,
        record: CommandRecord,
        started_at: Option<Timestamp>,
        policy_sha256: Sha256,
        ending: Ending,
    ) -> Result<Option<Turn>, JournalError> {
        let finished = self.finished(record.of(), started_at, policy_sha256, ending);
        let state = RecordState::Finished(finished);
        self.parts.journal.update(&CommandRecord { state, ..record })?;
        Ok(None)
    }

    /// Forgets ids of old commands by the server's time: a host's clock may be years off. Whether
    /// that time is known.
    pub(super) fn purge(&self) -> bool {
        let server_now = self.books().server_time.at(self.parts.clock.since_boot());
        let Some(now) = server_now else { return false };
        match self.parts.journal.purge(now) {
            Ok(0) => {}
            Ok(forgotten) => tracing::info!(forgotten, "ids of old commands were forgotten"),
            Err(error) => self.fail(error),
        }
        true
    }
}
