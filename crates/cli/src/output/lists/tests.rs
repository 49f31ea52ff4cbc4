//! Lists as tables.

use super::*;
use crate::output::tests::plain as view;
use argosy_wire::rest::tokens::TokenCommands;

fn token() -> Token {
    Token {
        id: "t-1".into(),
        name: "web".into(),
        state: "active".into(),
        account_id: None,
        uses: 2,
        max_uses: 10,
        auto_approve: false,
        require_proof: true,
        labels: Default::default(),
        created_by: "user:ada".into(),
        created_at: "2026-11-22T11:00:00Z".into(),
        expires_at: "2026-11-22T17:00:00Z".into(),
    }
}

#[test]
fn tokens_show_their_seats_and_their_end() {
    assert_eq!(
        tokens(&view(), &[token()]),
        "NAME  STATE   USES  ACCOUNT  ADMITS     EXPIRES  BY        ID\n\
         web   active  2/10  any      with keys  in 5h    user:ada  t-1"
    );
}

#[test]
fn a_fresh_token_comes_with_what_to_do_on_the_machine_and_here() {
    let created = CreatedToken {
        token: "boot_t-1_secret".into(),
        about: token(),
        commands: TokenCommands { binary: "argosy-agent enroll \\\n  --server x".into() },
    };
    let text = created_token(&view(), &created);
    for part in [
        "  boot_t-1_secret\n",
        "for 10 machines",
        "  argosy-agent enroll \\\n    --server x",
        "argosy agent approve NAME",
    ] {
        assert!(text.contains(part), "{part} is missing in\n{text}");
    }
}

#[test]
fn a_key_list_tells_never_used_and_never_expiring() {
    let key = ApiKey {
        revoked_at: None,
        age_days: 0,
        rotation_due: false,
        created_by: None,
        parent_id: None,
        id: "k-1".into(),
        prefix: "argosy_k-1".into(),
        name: "ci".into(),
        owner: "user:ada".into(),
        scopes: vec!["agents:read".into()],
        created_at: "2026-11-22T11:00:00Z".into(),
        expires_at: None,
        last_used_at: None,
    };
    let text = keys(&view(), std::slice::from_ref(&key));
    assert!(text.contains("k-1") && text.matches("never").count() == 2, "{text}");
    let created = created_key(&view(), &CreatedKey { key: "argosy_k-1_s".into(), about: key });
    assert!(created.contains("\n  argosy_k-1_s\n") && created.contains("until it is revoked"));
}

#[test]
fn audit_details_are_short_and_cannot_steer_the_terminal() {
    let entry = AuditEntry {
        id: "e-1".into(),
        at: "2026-11-22T11:59:00Z".into(),
        actor: "user:ada".into(),
        action: "agent.approved".into(),
        target: Some("agent:a\u{1b}[2J".into()),
        detail: serde_json::json!({"from": null, "name": "x".repeat(200)}),
        source: None,
        trace_id: None,
    };
    let text = audit(&view(), &[entry]);
    assert!(text.contains("name=xxx") && text.contains('…') && !text.contains('\u{1b}'), "{text}");
}

#[test]
fn every_empty_list_says_something() {
    for text in [
        tokens(&view(), &[]),
        keys(&view(), &[]),
        audit(&view(), &[]),
        crate::output::discovery::resources(&view(), &[]),
        crate::output::discovery::tree(&view(), &[]),
        crate::output::discovery::jobs(&view(), &[]),
        accounts(&view(), &[]),
    ] {
        assert!(text.starts_with("No "), "{text}");
    }
}
