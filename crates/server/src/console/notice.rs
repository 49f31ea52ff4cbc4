//! What a page says after something was done. The address names the sentence and never holds it, so
//! that nobody can make a page say something with a link.

/// Name → sentence.
const NOTICES: &[(&str, &str)] = &[
    ("approved", "Approved. The agent connects within seconds."),
    ("rejected", "Rejected. The machine gets no credentials."),
    ("quarantined", "Quarantined. Nothing is handed out to the agent until it is restored."),
    ("restored", "Restored. The agent works again."),
    ("revoked", "Revoked. Its stream is closed, its sessions and keys are dead."),
    ("rebound", "Bound to the machine that last showed its identity."),
    ("replaced", "Replaced. The old agent is revoked and its place is taken."),
    ("deleted", "Deleted, with everything that was kept of it. The audit log stays."),
    ("saved", "Saved."),
    ("password", "Your password is changed. Every other session has ended."),
    ("sent", "The command is on its way."),
    ("cancelled", "The command is withdrawn. It was never sent."),
    ("withdrawn", "Withdrawn. Agents that have it are told, and say what came of it."),
    ("started", "Started. This page follows it."),
    ("scheduled", "Saved. The agent is told at once, or when it is back."),
    ("token-revoked", "Revoked. No further machine can ask to join with it."),
    ("key-revoked", "Revoked. The key is refused from now on, and so is what was made with it."),
    ("user-deleted", "Deleted, with every session and key of the user."),
    ("account-made", "Made. Tokens can be bound to it."),
    ("account-deleted", "Deleted. The audit log stays."),
    ("packages-approved", "Approved. Nothing is installed yet: try it, then install it."),
    ("packages-taken-back", "Taken back. What hosts were already told to install goes on."),
    ("sync-asked", "Asked for. Agents with keys begin at once, others with their next heartbeat."),
    ("ended", "The session has ended."),
];

/// The sentence of a name.
pub(super) fn of(name: &str) -> Option<&'static str> {
    NOTICES.iter().find(|(known, _)| *known == name).map(|(_, sentence)| *sentence)
}
