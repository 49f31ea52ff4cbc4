//! Commands: order, fences and ends.

use argosy_domain::{
    command::{
        Command, CommandKind, CommandResult, CommandSeq, CommandState, End, Outcome, Withdrawal,
    },
    digest::Sha256,
    id::{JournalId, OrgId},
};
use argosy_store::{CommandFilter, PageRequest, Said, StoreError};

use crate::common::{Db, at, conformance, id, insert_agents, org};

conformance!(
    every_state_of_a_command_survives,
    sequences_rise_without_gaps_or_twins,
    open_commands_come_in_order,
    a_state_is_fenced_by_the_one_before,
    what_the_agent_says_moves_a_command_on_and_never_back,
    queued_commands_expire_and_sent_ones_do_not,
    an_idempotency_key_names_one_command,
    lists_are_filtered_and_tenant_bound,
    what_was_sent_is_withdrawn_once,
    commands_of_which_nothing_is_heard_are_found,
    an_agent_shows_one_journal_or_another,
);

pub(crate) fn command(name: &str, agent: &str, sequence: i64) -> Command {
    let params = br#"{"subsystem":"system"}"#.to_vec();
    Command {
        id: id(name),
        org: org(),
        agent: id(agent),
        kind: CommandKind::SubsystemRun,
        params_sha256: Sha256::of(&params),
        params,
        sequence: CommandSeq(sequence),
        created_by: "user:ada".into(),
        created_at: at(100 + sequence),
        expires_at: at(1_000),
        idempotency_key: None,
        state: CommandState::Queued,
        withdrawn: None,
        result: None,
    }
}

pub(crate) fn end(outcome: Outcome) -> End {
    End { outcome, at: at(300), detail: Some("it was so".into()) }
}

pub(crate) fn result() -> CommandResult {
    CommandResult {
        payload: b"{}".to_vec(),
        receipt: Some(b"receipt".to_vec()),
        receipt_signature: Some(vec![0, 255]),
    }
}

pub(crate) async fn insert(db: &Db, commands: &[Command]) {
    db.write(async |tx| {
        for command in commands {
            tx.commands().insert(command).await?;
        }
        Ok(())
    })
    .await;
}

pub(crate) async fn get(db: &Db, name: &str) -> Option<Command> {
    db.store.read("get").await.unwrap().commands().get(&org(), &id(name)).await.unwrap()
}

async fn every_state_of_a_command_survives(db: Db) {
    insert_agents(&db, &["a"]).await;
    let mut states = vec![
        CommandState::Queued,
        CommandState::Sent { at: at(1) },
        CommandState::Received { at: at(2) },
        CommandState::Running { at: at(3) },
    ];
    states.extend(Outcome::ALL.map(|outcome| CommandState::Ended(end(outcome))));
    for (n, state) in states.into_iter().enumerate() {
        let name = format!("c{n}");
        let stored = Command {
            state,
            idempotency_key: Some(name.clone()),
            result: (n % 2 == 0).then(result),
            ..command(&name, "a", i64::try_from(n).unwrap())
        };
        insert(&db, std::slice::from_ref(&stored)).await;
        assert_eq!(get(&db, &name).await, Some(stored));
    }
    db.raw("UPDATE commands SET state_at = NULL WHERE state = 'sent'").await;
    let mut reader = db.store.read("get").await.unwrap();
    let got = reader.commands().get(&org(), &id("c1")).await;
    let named = StoreError::CorruptRow { table: "commands", column: "state_at" }.to_string();
    assert_eq!(got.unwrap_err().to_string(), named);
}

async fn sequences_rise_without_gaps_or_twins(db: Db) {
    insert_agents(&db, &["a", "b"]).await;
    let tasks = (0..20).map(|n| {
        let db = db.clone();
        tokio::spawn(async move {
            let mut tx = db.store.write("next").await.unwrap();
            let sequence = tx.commands().next_sequence(&id("a")).await.unwrap().unwrap();
            if n % 4 == 0 {
                return None;
            }
            tx.commit().await.unwrap();
            Some(sequence.0)
        })
    });
    let mut given = Vec::new();
    for task in tasks.collect::<Vec<_>>() {
        given.extend(task.await.unwrap());
    }
    given.sort_unstable();
    assert_eq!(given, (1..=15).collect::<Vec<_>>());
    let next = db
        .write(async |tx| {
            assert!(tx.commands().raise_sequence(&id("a"), CommandSeq(40)).await?);
            assert!(!tx.commands().raise_sequence(&id("a"), CommandSeq(40)).await?);
            assert_eq!(tx.commands().next_sequence(&id("ghost")).await?, None);
            let b = tx.commands().next_sequence(&id("b")).await?;
            Ok((tx.commands().next_sequence(&id("a")).await?, b))
        })
        .await;
    assert_eq!(next, (Some(CommandSeq(41)), Some(CommandSeq(1))));
}

async fn open_commands_come_in_order(db: Db) {
    insert_agents(&db, &["a", "b"]).await;
    let ended =
        Command { state: CommandState::Ended(end(Outcome::Succeeded)), ..command("ended", "a", 2) };
    let sent = Command { state: CommandState::Sent { at: at(5) }, ..command("sent", "a", 1) };
    let others = [command("third", "a", 3), command("other", "b", 1)];
    insert(&db, &[others[0].clone(), ended, sent, others[1].clone()]).await;
    let open = async |limit| {
        let mut reader = db.store.read("open").await.unwrap();
        let open = reader.commands().open_for(&id("a"), limit).await.unwrap();
        open.iter().map(|command| command.id.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(open(10).await, ["sent", "third"]);
    assert_eq!(open(1).await, ["sent"]);
    db.write(async |tx| tx.commands().resequence(&id("sent"), CommandSeq(9)).await).await;
    assert_eq!(open(10).await, ["third", "sent"]);
    let mut reader = db.store.read("count").await.unwrap();
    assert_eq!(reader.commands().count_open(&id("a")).await.unwrap(), 2);
    let asked = [id("a"), id("b"), id("a"), id("ghost")];
    let counts = reader.commands().count_open_of(&asked).await.unwrap();
    assert_eq!(counts, [(id("a"), 2), (id("b"), 1)].into());
    assert!(reader.commands().count_open_of(&[]).await.unwrap().is_empty());
    assert_eq!(reader.commands().count_open_in(Some(&org())).await.unwrap(), 3);
    assert_eq!(reader.commands().count_open_in(Some(&id("other"))).await.unwrap(), 0);
    assert_eq!(reader.commands().count_open_in(None).await.unwrap(), 3);
}

async fn a_state_is_fenced_by_the_one_before(db: Db) {
    insert_agents(&db, &["a"]).await;
    insert(&db, &[command("c", "a", 1)]).await;
    let sent = CommandState::Sent { at: at(200) };
    let save = async |state: &CommandState, expected: &str| {
        db.write(async |tx| tx.commands().save_state(&id("c"), state, expected).await).await
    };
    assert!(save(&sent, "queued").await);
    assert!(!save(&CommandState::Queued, "queued").await);
    let finish = async |expected: &str| {
        let end = end(Outcome::Failed);
        let ends = [(&id("c"), &end, &result(), expected)];
        !db.write(async |tx| tx.commands().save_ends(&ends).await).await.is_empty()
    };
    assert!(!finish("running").await);
    assert!(finish("sent").await);
    let stored = get(&db, "c").await.unwrap();
    assert_eq!(stored.state, CommandState::Ended(end(Outcome::Failed)));
    assert_eq!(stored.result, Some(result()));
}

async fn what_the_agent_says_moves_a_command_on_and_never_back(db: Db) {
    insert_agents(&db, &["a", "b"]).await;
    insert(&db, &[command("c", "a", 1)]).await;
    let (received, running) =
        (CommandState::Received { at: at(300) }, CommandState::Running { at: at(400) });
    let advance = async |agent: &str, command: &str, next: &CommandState| {
        let next = next.clone();
        let said = Said { org: org(), agent: id(agent), command: id(command), next };
        !db.write(async |tx| tx.commands().advance(&[&said]).await).await.is_empty()
    };
    assert!(!advance("b", "c", &received).await, "another agent's");
    assert!(!advance("a", "none", &received).await);
    assert!(advance("a", "c", &received).await);
    assert!(!advance("a", "c", &received).await, "said again");
    assert!(advance("a", "c", &running).await);
    assert!(!advance("a", "c", &running).await && !advance("a", "c", &received).await);
    assert_eq!(get(&db, "c").await.unwrap().state, running);
    let end = end(Outcome::Succeeded);
    let ends = [(&id("c"), &end, &result(), "running")];
    db.write(async |tx| tx.commands().save_ends(&ends).await).await;
    assert!(!advance("a", "c", &running).await, "an end stands");
    assert_eq!(get(&db, "c").await.unwrap().state, CommandState::Ended(end));
}

async fn queued_commands_expire_and_sent_ones_do_not(db: Db) {
    insert_agents(&db, &["a"]).await;
    let sent = Command { state: CommandState::Sent { at: at(5) }, ..command("sent", "a", 1) };
    let later = Command { expires_at: at(1_001), ..command("later", "a", 3) };
    insert(&db, &[sent, command("due", "a", 2), later]).await;
    let expire = async |s| db.write(async |tx| tx.commands().expire_queued(at(s)).await).await;
    assert_eq!(expire(999).await, []);
    assert_eq!(expire(1_000).await, [id("due")]);
    assert_eq!(expire(1_000).await, []);
    let expired = End { outcome: Outcome::Expired, at: at(1_000), detail: None };
    assert_eq!(get(&db, "due").await.unwrap().state, CommandState::Ended(expired));
}

async fn an_idempotency_key_names_one_command(db: Db) {
    insert_agents(&db, &["a"]).await;
    let key = Some("k".to_owned());
    let first = Command { idempotency_key: key.clone(), ..command("c", "a", 1) };
    insert(&db, std::slice::from_ref(&first)).await;
    let mut reader = db.store.read("find").await.unwrap();
    let found = reader.commands().find_by_idempotency_key(&org(), "k").await.unwrap();
    assert_eq!(found, Some(first));
    drop(reader);
    let second = Command { idempotency_key: key, ..command("d", "a", 2) };
    let mut tx = db.store.write("twice").await.unwrap();
    let twice = tx.commands().insert(&second).await;
    let Err(StoreError::Conflict { what: "command_idempotency_key" }) = twice else {
        panic!("{twice:?}");
    };
    let after = tx.commands().count_open(&id("a")).await;
    assert!(matches!(after, Err(StoreError::Aborted)), "both databases stop here: {after:?}");
    assert!(matches!(tx.commit().await, Err(StoreError::Aborted)));
}

async fn lists_are_filtered_and_tenant_bound(db: Db) {
    insert_agents(&db, &["a", "b"]).await;
    let sent = Command { state: CommandState::Sent { at: at(5) }, ..command("sent", "a", 2) };
    insert(&db, &[command("one", "a", 1), sent, command("other", "b", 3)]).await;
    let other_org: OrgId = id("other");
    db.write(async |tx| tx.orgs().create(&other_org, "Other", at(1)).await).await;
    let listed = async |org: OrgId, filter: CommandFilter| {
        let mut reader = db.store.read("list").await.unwrap();
        let page = PageRequest::first(10);
        let page = reader.commands().list(&org, &filter, &page).await.unwrap();
        page.items.iter().map(|command| command.id.to_string()).collect::<Vec<_>>()
    };
    let all = CommandFilter::default();
    assert_eq!(listed(org(), all.clone()).await, ["other", "sent", "one"]);
    assert!(listed(other_org.clone(), all.clone()).await.is_empty());
    let of_a = CommandFilter { agent: Some(id("a")), ..all.clone() };
    assert_eq!(listed(org(), of_a.clone()).await, ["sent", "one"]);
    let queued_of_a = CommandFilter { states: vec!["queued".into()], ..of_a.clone() };
    assert_eq!(listed(org(), queued_of_a).await, ["one"]);
    let both = CommandFilter { states: vec!["lost".into(), "queued".into()], ..all.clone() };
    assert_eq!(listed(org(), both.clone()).await, ["other", "one"]);
    let of_b = CommandFilter {
        agent: Some(id("b")),
        since: Some(command("x", "b", 3).created_at),
        ..both
    };
    assert_eq!(listed(org(), of_b).await, ["other"]);
    let later = CommandFilter { since: Some(at(1_000_000)), ..all };
    assert!(listed(org(), later).await.is_empty());
    let mut reader = db.store.read("get").await.unwrap();
    assert_eq!(reader.commands().get(&other_org, &id("one")).await.unwrap(), None);
    drop(reader);
    let mut tx = db.store.write("cross").await.unwrap();
    let cross = argosy_domain::command::Command { org: other_org, ..command("x", "a", 9) };
    let refused = tx.commands().insert(&cross).await;
    assert!(matches!(refused, Err(StoreError::BrokenReference)), "{refused:?}");
}

fn withdrawal(second: i64) -> Withdrawal {
    Withdrawal { by: "user:ada".into(), at: at(second) }
}

async fn what_was_sent_is_withdrawn_once(db: Db) {
    insert_agents(&db, &["a"]).await;
    let running = Command { state: CommandState::Running { at: at(5) }, ..command("run", "a", 1) };
    let over =
        Command { state: CommandState::Ended(end(Outcome::Failed)), ..command("over", "a", 3) };
    insert(&db, &[running, command("new", "a", 2), over]).await;
    let withdraw = async |name: &str, second: i64| {
        db.write(async |tx| tx.commands().withdraw(&id(name), &withdrawal(second)).await).await
    };
    assert!(!withdraw("new", 7).await, "it was not sent: it simply ends");
    assert!(!withdraw("over", 7).await);
    assert!(withdraw("run", 7).await);
    assert!(!withdraw("run", 8).await, "once");
    assert_eq!(get(&db, "run").await.unwrap().withdrawn, Some(withdrawal(7)));
    let mut reader = db.store.read("due").await.unwrap();
    let due = reader.commands().due_for(&[id("a")].into(), 9).await.unwrap();
    let due: Vec<_> = due.iter().map(|command| command.id.as_str()).collect();
    assert_eq!(due, ["run", "new"], "the agent is to be told");
}

async fn commands_of_which_nothing_is_heard_are_found(db: Db) {
    insert_agents(&db, &["a"]).await;
    let sent = Command { state: CommandState::Sent { at: at(5) }, ..command("sent", "a", 1) };
    let got = Command { state: CommandState::Received { at: at(5) }, ..command("got", "a", 2) };
    let got = Command { expires_at: at(900), ..got };
    let over = Command { state: CommandState::Ended(end(Outcome::Lost)), ..command("o", "a", 4) };
    insert(&db, &[sent, got, command("queued", "a", 3), over]).await;
    let overdue = async |second: i64| {
        let found = db.write(async |tx| tx.commands().overdue(at(second)).await).await.into_iter();
        found.map(|command| command.id.to_string()).collect::<Vec<_>>()
    };
    assert!(overdue(900).await.is_empty());
    assert_eq!(overdue(901).await, ["got"]);
    assert_eq!(overdue(1_001).await, ["got", "sent"]);
}

async fn an_agent_shows_one_journal_or_another(db: Db) {
    insert_agents(&db, &["a"]).await;
    let journal = |name: &str| -> JournalId { id(name) };
    let save = async |name: &str| {
        let whose = (&org(), &id("a"));
        db.write(async |tx| tx.commands().save_journal(whose, &journal(name), at(1)).await).await
    };
    assert!(!save("j1").await, "the first is no other");
    assert!(!save("j1").await);
    assert!(save("j2").await);
    let mut reader = db.store.read("journal").await.unwrap();
    assert_eq!(reader.commands().journal(&id("a")).await.unwrap(), Some(journal("j2")));
    assert_eq!(reader.commands().journal(&id("b")).await.unwrap(), None);
    assert_eq!(reader.commands().sequence(&id("b")).await.unwrap(), None);
}
