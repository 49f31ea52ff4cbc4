//! The states of an agent against the table of DESIGN §5, in random walks.

use super::*;
use proptest::prelude::*;

fn closure() -> Closure {
    Closure { by: Decider("user:a".into()), at: Timestamp::from_seconds(2), reason: None }
}

fn approval() -> Approval {
    Approval { by: Decider("user:a".into()), at: Timestamp::from_seconds(1), fingerprint: None }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Approve,
    Reject,
    Expire,
    Cancel,
    Quarantine,
    Restore,
    Revoke,
}

fn take(state: AgentState, step: Step) -> Result<AgentState, InvalidTransition> {
    let at = Timestamp::from_seconds(3);
    match step {
        Step::Approve => state.approve(approval()),
        Step::Reject => state.reject(closure()),
        Step::Expire => state.expire(at),
        Step::Cancel => state.cancel(at),
        Step::Quarantine => state.quarantine(closure()),
        Step::Restore => state.restore(),
        Step::Revoke => state.revoke(closure()),
    }
}

fn steps() -> impl Strategy<Value = Step> {
    prop_oneof![
        Just(Step::Approve),
        Just(Step::Reject),
        Just(Step::Expire),
        Just(Step::Cancel),
        Just(Step::Quarantine),
        Just(Step::Restore),
        Just(Step::Revoke)
    ]
}

/// Where a step leads, as the design has it: `pending → approved | rejected | expired | cancelled`;
/// `approved ⇄ quarantined`; either → `revoked`.
fn leads(from: AgentStatus, step: Step) -> Option<AgentStatus> {
    let table = [
        (AgentStatus::Pending, Step::Approve, AgentStatus::Approved),
        (AgentStatus::Pending, Step::Reject, AgentStatus::Rejected),
        (AgentStatus::Pending, Step::Expire, AgentStatus::Expired),
        (AgentStatus::Pending, Step::Cancel, AgentStatus::Cancelled),
        (AgentStatus::Approved, Step::Quarantine, AgentStatus::Quarantined),
        (AgentStatus::Quarantined, Step::Restore, AgentStatus::Approved),
        (AgentStatus::Approved, Step::Revoke, AgentStatus::Revoked),
        (AgentStatus::Quarantined, Step::Revoke, AgentStatus::Revoked),
    ];
    table.into_iter().find(|row| (row.0, row.1) == (from, step)).map(|row| row.2)
}

proptest! {
    #[test]
    fn an_agent_goes_where_the_table_leads(walk in proptest::collection::vec(steps(), 0..24)) {
        let mut state = AgentState::Pending { since: Timestamp::from_seconds(0) };
        for step in walk {
            let before = state.clone();
            let expected = leads(before.status(), step);
            match take(state.clone(), step) {
                Ok(next) => {
                    prop_assert_eq!(Some(next.status()), expected);
                    // Who left never returns, and an approval is never made anew on the way.
                    prop_assert!(before.status().is_live());
                    let stood = before.approval().is_some();
                    prop_assert!(!stood || next.approval().is_none_or(|a| *a == approval()));
                    state = next;
                }
                Err(refused) => {
                    prop_assert_eq!(expected, None);
                    prop_assert_eq!(refused.from, before.status());
                }
            }
        }
    }
}

#[test]
fn health_follows_the_last_heartbeat() {
    let now = Timestamp::from_seconds(10_000);
    let seen = |s: i64| Some(Timestamp::from_seconds(10_000 - s));
    assert_eq!(Health::at(now, seen(299)), Health::Healthy);
    assert_eq!(Health::at(now, seen(300)), Health::Stale);
    assert_eq!(Health::at(now, seen(900)), Health::Offline);
    assert_eq!(Health::at(now, None), Health::Offline);
    assert_eq!(Health::at(now, seen(-60)), Health::Healthy, "a clock that jumped back");
}

#[test]
fn names_of_states_are_read_back() {
    for status in AgentStatus::ALL {
        assert_eq!(AgentStatus::parse(status.as_str()), Some(status));
    }
}
