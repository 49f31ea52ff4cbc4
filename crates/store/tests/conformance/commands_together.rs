//! Commands of many agents by one statement.

use argosy_domain::command::{Command, CommandResult, CommandSeq, CommandState, Outcome};
use argosy_store::{Alike, NewPlace, Said};

use crate::{
    commands::{command, end, get, insert, result},
    common::{Db, at, conformance, id, insert_agents, org},
};

conformance!(
    many_move_by_one_statement_each_over_its_own_state,
    what_is_due_comes_for_many_agents_and_bounded_for_each,
    commands_that_are_alike_are_given_together,
);

async fn many_move_by_one_statement_each_over_its_own_state(db: Db) {
    insert_agents(&db, &["a", "b"]).await;
    insert(&db, &[command("c1", "a", 1), command("c2", "a", 2), command("c3", "b", 1)]).await;
    let (sent, over) = (CommandState::Sent { at: at(200) }, end(Outcome::Expired));
    let over = CommandState::Ended(over);
    let (c1, c2, c3, ghost) = (id("c1"), id("c2"), id("c3"), id("ghost"));
    let moves =
        [(&c1, &sent, "queued"), (&c2, &sent, "sent"), (&c3, &over, "queued"), (&ghost, &sent, "")];
    let mut moved = db.write(async |tx| tx.commands().save_states(&moves).await).await;
    moved.sort_by_key(|command| command.id.to_string());
    assert_eq!(moved.len(), 2, "one was not in the state that was expected");
    assert_eq!((&moved[0].state, &moved[1].state), (&sent, &over));
    assert_eq!(get(&db, "c1").await.unwrap(), moved[0]);
    assert_eq!(get(&db, "c2").await.unwrap().state, CommandState::Queued);
    let said = |agent: &str, command: &str, next: CommandState| Said {
        org: org(),
        agent: id(agent),
        command: id(command),
        next,
    };
    let running = CommandState::Running { at: at(300) };
    let said = [
        said("a", "c1", running.clone()),
        said("b", "c1", running.clone()),
        said("b", "c2", running.clone()),
        said("b", "c3", running.clone()),
    ];
    let said: Vec<_> = said.iter().collect();
    let moved = db.write(async |tx| tx.commands().advance(&said).await).await;
    assert_eq!(
        moved,
        [(c1.clone(), id("a"))].into(),
        "neither another agent's nor one that has ended"
    );
    let (end, bare) = (
        end(Outcome::Failed),
        CommandResult { payload: vec![0, 1, 255], receipt: None, receipt_signature: None },
    );
    let ends = [(&c1, &end, &result(), "running"), (&c2, &end, &bare, "queued")];
    let ended = db.write(async |tx| tx.commands().save_ends(&ends).await).await;
    assert_eq!(ended, [c1.clone(), c2.clone()].into());
    let named = [c1.clone(), c2.clone(), ghost];
    let mut reader = db.store.read("named").await.unwrap();
    let stored = reader.commands().named(&named).await.unwrap();
    assert_eq!(
        (stored[&c1].result.as_ref(), stored[&c2].result.as_ref()),
        (Some(&result()), Some(&bare))
    );
    assert_eq!(stored.len(), 2);
}

async fn what_is_due_comes_for_many_agents_and_bounded_for_each(db: Db) {
    insert_agents(&db, &["a", "b", "c"]).await;
    let received = Command { state: CommandState::Received { at: at(5) }, ..command("a3", "a", 3) };
    let sent = Command { state: CommandState::Sent { at: at(5) }, ..command("b1", "b", 1) };
    let mine = [command("a2", "a", 2), command("a1", "a", 1), received, command("a4", "a", 4)];
    insert(&db, &mine).await;
    insert(&db, &[sent, command("c1", "c", 1)]).await;
    let mut reader = db.store.read("due").await.unwrap();
    let due = reader.commands().due_for(&[id("a"), id("b"), id("ghost")].into(), 2).await.unwrap();
    let ids: Vec<_> = due.iter().map(|due| due.id.as_str()).collect();
    assert_eq!(ids, ["a1", "a2", "b1"], "two at most of each, in order, and nobody else's");
    assert_eq!(due[2].state, CommandState::Sent { at: at(5) });
    let first = command("a1", "a", 1);
    assert_eq!(due[0].params_bytes, u64::try_from(first.params.len()).unwrap());
    assert_eq!((due[0].expires_at, due[0].withdrawn), (first.expires_at, false));
}

async fn commands_that_are_alike_are_given_together(db: Db) {
    insert_agents(&db, &["a", "b"]).await;
    let (a, b, ghost) = (id("a"), id("b"), id("ghost"));
    let named = [&a, &b, &ghost].into();
    let next = db.write(async |tx| tx.commands().next_sequences(&named).await).await;
    assert_eq!(next, [(a.clone(), CommandSeq(1)), (b.clone(), CommandSeq(1))].into());
    let next = db.write(async |tx| tx.commands().next_sequences(&[&b].into()).await).await;
    assert_eq!(next, [(b.clone(), CommandSeq(2))].into());
    let model = command("x", "a", 1);
    let tenant = org();
    let alike = Alike {
        org: &tenant,
        kind: model.kind,
        params: &model.params,
        created_by: &model.created_by,
        created_at: model.created_at,
        expires_at: model.expires_at,
    };
    let places = [
        NewPlace { command: id("one"), agent: a, sequence: CommandSeq(1) },
        NewPlace { command: id("two"), agent: b, sequence: CommandSeq(2) },
    ];
    db.write(async |tx| tx.commands().insert_alike(&alike, &places).await).await;
    let stored = get(&db, "two").await.unwrap();
    let expected = Command { created_at: model.created_at, ..command("two", "b", 2) };
    assert_eq!(stored, expected);
    assert!(get(&db, "one").await.is_some());
}
