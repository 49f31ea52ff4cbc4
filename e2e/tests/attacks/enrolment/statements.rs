//! Attack 4: somebody in the middle changes what an agent signed.

use std::collections::BTreeMap;

use argosy_config::host::OsEntropy;
use argosy_domain::entropy::random_bytes;
use argosy_e2e::{
    agent::{TestAgent, registration_body},
    database::Place,
    on_both,
    server::TestServer,
};
use argosy_wire::{
    bytes::{Fixed, encode},
    problem::Code,
    sign::{Purpose, Signed, Statement as _, sign_payload},
    statement::ServerPin,
    token::{TokenProof, TokenString},
};
use serde_json::{Value, json};

use super::{Books, WAYS, Way, bare, entry, raw_with_statement, refusal, refused, register};

/// A fresh agent with a machine id, and what it signed for the token.
fn victim(token: &TokenString) -> (TestAgent, Signed) {
    let mut agent = TestAgent::new("victim");
    agent.machine_id = Some(Fixed(random_bytes(&OsEntropy)));
    let signed = Signed::new(&agent.key, &agent.statement(token));
    (agent, signed)
}

fn fields(signed: &Signed) -> BTreeMap<String, String> {
    serde_json::from_slice(&signed.payload).unwrap()
}

/// The statement with one field changed, in canonical form, under the signature of before.
fn swapped(signed: &Signed, field: &str, value: &str) -> Signed {
    let mut all = fields(signed);
    assert_ne!(all.insert(field.to_owned(), value.to_owned()).as_deref(), Some(value));
    Signed { payload: serde_json::to_vec(&all).unwrap(), signature: signed.signature }
}

async fn a_changed_statement_does_not_verify(place: Place) {
    let server = TestServer::start(&place).await;
    let text = server.token(json!({ "max_uses": 2 })).await;
    let token = TokenString::parse(&text).unwrap();
    let (agent, signed) = victim(&token);
    let bytes = encode(&random_bytes::<32>(&OsEntropy));
    let other_key = TestAgent::new("middle").public_key().to_string();
    let swaps = [
        ("encryption_key", bytes.as_str()),
        ("identity_key", &other_key),
        ("machine_id", &bytes),
        ("device_signing_key", &bytes),
        ("name", "middle"),
        ("server", &bytes),
        ("server", "tofu"),
        ("account_id", "2"),
        ("hostname", "elsewhere"),
        ("platform", "linux-arm64"),
        ("version", "9.9.9"),
        ("release_root_sha256", &bytes),
        ("nonce", &bytes),
    ];
    let books = Books::of(&server).await;
    let mut expected = Vec::new();
    for way in WAYS {
        for (field, value) in swaps {
            let forged = swapped(&signed, field, value);
            let name = if field == "name" { value } else { &agent.name };
            // With the victim's proof, with one that fits the new bytes, and with the token itself.
            let seen = token.prove(&signed.payload).to_text();
            let fitting = token.prove(&forged.payload).to_text();
            for shown in [&seen, &fitting, &text] {
                let body = registration_body(name, shown, &forged);
                refused(&server, way, &body, Code::Unauthenticated, None).await;
                expected.push(refusal(Code::Unauthenticated));
            }
        }
        let mut all = fields(&signed);
        all.remove("machine_id").unwrap();
        let payload = serde_json::to_vec(&all).unwrap();
        let body = registration_body(&agent.name, &text, &Signed { payload, ..signed.clone() });
        refused(&server, way, &body, Code::Unauthenticated, None).await;
        expected.push(refusal(Code::Unauthenticated));
    }
    books.only_recorded(&expected).await;
    let target = format!("token:{}", token.id);
    let entries = server.audit("enrolment.refused").await;
    assert!(entries.iter().all(|entry| entry["target"] == target.as_str()));
    let body = registration_body(&agent.name, &token.prove(&signed.payload).to_text(), &signed);
    register(&server, Way::Rest, &body).await.unwrap();
}

async fn a_signature_of_another_purpose_or_form_does_not_verify(place: Place) {
    let server = TestServer::start(&place).await;
    let text = server.token(json!({})).await;
    let token = TokenString::parse(&text).unwrap();
    let (agent, signed) = victim(&token);
    let proof = token.prove(&signed.payload).to_text();
    let books = Books::of(&server).await;
    let mut expected = Vec::new();
    for way in WAYS {
        for purpose in Purpose::ALL.into_iter().filter(|purpose| *purpose != Purpose::Enrolment) {
            let signature = sign_payload(&agent.key, purpose, &signed.payload);
            let body =
                registration_body(&agent.name, &proof, &Signed { signature, ..signed.clone() });
            refused(&server, way, &body, Code::Unauthenticated, None).await;
            expected.push(refusal(Code::Unauthenticated));
        }
        for bad in [[0; 64], [255; 64]] {
            let body = registration_body(
                &agent.name,
                &proof,
                &Signed { signature: Fixed(bad), ..signed.clone() },
            );
            refused(&server, way, &body, Code::Unauthenticated, None).await;
            expected.push(refusal(Code::Unauthenticated));
        }
    }
    books.only_recorded(&expected).await;
}

async fn a_statement_signed_anew_has_another_fingerprint(place: Place) {
    let server = TestServer::start(&place).await;
    for way in WAYS {
        let text = server.token(json!({})).await;
        let token = TokenString::parse(&text).unwrap();
        let (agent, signed) = victim(&token);
        let name = format!("{way:?}");
        let mut statement = agent.statement(&token);
        let own = argosy_wire::statement::EnrolmentStatement::fingerprint(&signed.payload);
        let middle = TestAgent::new(&name);
        statement.identity_key = middle.public_key();
        statement.name.clone_from(&name);
        let forged = Signed::new(&middle.key, &statement);

        // What the victim sent admits nothing but what the victim signed.
        let books = Books::of(&server).await;
        let seen = token.prove(&signed.payload);
        let body = registration_body(&name, &seen.to_text(), &forged);
        refused(&server, way, &body, Code::InvalidToken, None).await;
        books.only_recorded(&[refusal(Code::InvalidToken)]).await;

        // With the token itself it gets as far as the comparison of fingerprints.
        let taken =
            register(&server, way, &registration_body(&name, &text, &forged)).await.unwrap();
        assert_ne!(taken.fingerprint.unwrap(), own.to_string());
        let books = Books::of(&server).await;
        let compared = json!({ "fingerprint": own.to_string() });
        let answer = server.decide(&taken.agent_id, "approve", compared).await;
        answer.refused(409, "fingerprint_mismatch");
        books.only_recorded(&[("agent.fingerprint_mismatch", "")]).await;
        let entry = entry(&server, "agent.fingerprint_mismatch", &taken.agent_id).await;
        assert_eq!(entry["detail"]["compared"], own.to_string().as_str());
        let api_key = taken.api_key.unwrap();
        let middle = TestAgent { api_key, agent_id: taken.agent_id, ..middle };
        middle.begin(&server).await.refused(403, "not_approved");
    }
}

async fn a_proof_fits_one_statement_and_one_token(place: Place) {
    let server = TestServer::start(&place).await;
    let parse = |text: &str| TokenString::parse(text).unwrap();
    let token = parse(&server.token(json!({ "max_uses": 2 })).await);
    let other = parse(&server.token(json!({})).await);
    let agent = TestAgent::new("victim");
    let (first, second) = (agent.statement(&token), agent.statement(&token));
    let (first, second) = (Signed::new(&agent.key, &first), Signed::new(&agent.key, &second));
    let for_other = Signed::new(&agent.key, &agent.statement(&other));
    let seen = token.prove(&first.payload);
    let moved = TokenProof { id: other.id.clone(), mac: seen.mac };
    let (seen, moved) = (seen.to_text(), moved.to_text());
    let books = Books::of(&server).await;
    for way in WAYS {
        for body in [
            registration_body("victim", &seen, &second),
            registration_body("victim", &moved, &for_other),
            bare("victim", &seen),
        ] {
            refused(&server, way, &body, Code::InvalidToken, None).await;
        }
        for body in [
            registration_body("victim", &moved, &first),
            registration_body("victim", &other.reveal(), &first),
        ] {
            refused(&server, way, &body, Code::Invalid, Some("bootstrap_token")).await;
        }
    }
    books.only_recorded(&[refusal(Code::InvalidToken); 6]).await;
}

async fn only_canonical_bytes_are_a_statement(place: Place) {
    let server = TestServer::start(&place).await;
    let text = server.token(json!({})).await;
    let token = TokenString::parse(&text).unwrap();
    let (agent, signed) = victim(&token);
    let canonical = String::from_utf8(signed.payload.clone()).unwrap();
    let inner = canonical.strip_prefix('{').unwrap().strip_suffix('}').unwrap();
    let (head, rest) = inner.split_once(',').unwrap();
    let forms = [
        format!("{{ {inner}}}"),
        format!("{canonical}\n"),
        format!("{{{rest},{head}}}"),
        format!("{{{inner},\"zone\":\"x\"}}"),
        format!("{{{inner},{head}}}"),
        canonical.replace("\"account_id\":\"1\"", "\"account_id\":\"01\""),
        canonical.replace("\"account_id\":\"1\"", "\"account_id\":1"),
        canonical.replace("\"name\":\"victim\"", "\"name\":\"victi\\u006d\""),
        canonical.replace("\"name\":\"victim\"", "\"name\":null"),
        canonical.replace("\"nonce\"", "\"none\""),
        String::new(),
        "[]".to_owned(),
        "{}".to_owned(),
        "\u{feff}{}".to_owned(),
    ];
    let books = Books::of(&server).await;
    for way in WAYS {
        for form in &forms {
            assert_ne!(*form, canonical);
            let payload = form.clone().into_bytes();
            let signature = sign_payload(&agent.key, Purpose::Enrolment, &payload);
            let signed = Signed { payload, signature };
            let proof = token.prove(&signed.payload).to_text();
            let body = registration_body("victim", &proof, &signed);
            refused(&server, way, &body, Code::Invalid, Some("statement")).await;
        }
    }
    books.only_recorded(&[]).await;
}

/// A body with one more field.
fn with(mut body: Value, field: &str, value: Value) -> Value {
    body[field] = value;
    body
}

async fn a_request_that_differs_from_its_statement_names_the_field(place: Place) {
    let server = TestServer::start(&place).await;
    let text = server.token(json!({})).await;
    let (agent, signed) = victim(&TokenString::parse(&text).unwrap());
    let body = registration_body("victim", &text, &signed);
    let other = encode(&random_bytes::<32>(&OsEntropy));
    let key = |usage: &str, key: &str| json!([{ "use": usage, "public_key": key }]);
    let own = agent.public_key().to_string();
    let differing = [
        ("name", json!("other"), "name"),
        ("account_id", json!(2), "account_id"),
        ("version", json!("0.2.0"), "version"),
        ("hostname", json!("elsewhere"), "hostname"),
        ("platform", json!("linux-arm64"), "platform"),
        ("keys", key("identity", &other), "keys[0].public_key"),
        ("keys", key("encryption", &own), "keys[0].public_key"),
        ("keys", key("device-signing", &own), "keys[0].public_key"),
    ];
    let books = Books::of(&server).await;
    for way in WAYS {
        for (field, value, named) in &differing {
            let body = with(body.clone(), field, value.clone());
            refused(&server, way, &body, Code::Invalid, Some(named)).await;
        }
    }
    let body_of = |field, value| with(body.clone(), field, value);
    let rest_only = [
        (body_of("machine_id", json!(other)), "machine_id"),
        (body_of("statement_signature", Value::Null), "statement_signature"),
        (body_of("statement", Value::Null), "statement"),
        (with(bare("victim", &text), "keys", key("identity", &own)), "statement"),
    ];
    for (body, named) in rest_only {
        refused(&server, Way::Rest, &body, Code::Invalid, Some(named)).await;
    }
    books.only_recorded(&[]).await;
    let same = with(body, "keys", key("identity", &own));
    register(&server, Way::Rpc, &same).await.unwrap();
}

async fn a_statement_for_another_server_is_refused(place: Place) {
    let server = TestServer::start(&place).await;
    let text = server.token(json!({})).await;
    let token = TokenString::parse(&text).unwrap();
    let (agent, _) = victim(&token);
    let mut statement = agent.statement(&token);
    assert_eq!(statement.server, ServerPin::Pinned(server.app.keyring().thumbprint()));
    statement.server = ServerPin::Pinned(Fixed(random_bytes(&OsEntropy)));
    let signed = Signed::new(&agent.key, &statement);
    assert_eq!(signed.payload, statement.to_payload());
    let proof = token.prove(&signed.payload).to_text();
    let books = Books::of(&server).await;
    for way in WAYS {
        for shown in [&text, &proof] {
            let body = registration_body("victim", shown, &signed);
            refused(&server, way, &body, Code::Invalid, Some("statement.server")).await;
        }
    }
    books.only_recorded(&[]).await;
    register(&server, Way::Rest, &raw_with_statement(&agent, &text)).await.unwrap();
}

async fn a_device_key_proves_itself(place: Place) {
    let server = TestServer::start(&place).await;
    for way in WAYS {
        let text = server.token(json!({})).await;
        let token = TokenString::parse(&text).unwrap();
        let agent = TestAgent::new(&format!("{way:?}"));
        let device = TestAgent::new("device");
        let mut statement = agent.statement(&token);
        statement.device_signing_key = Some(device.public_key());
        let signed = Signed::new(&agent.key, &statement);
        let proof = |key| sign_payload(key, Purpose::Enrolment, &signed.payload).to_string();
        let bare = registration_body(&agent.name, &text, &signed);
        let shown = device.public_key().to_string();
        let listed = |proof: String| {
            let key = json!([{ "use": "device-signing", "public_key": shown, "proof": proof }]);
            with(bare.clone(), "keys", key)
        };
        let books = Books::of(&server).await;
        refused(&server, way, &bare, Code::Invalid, Some("keys")).await;
        refused(&server, way, &listed(proof(&agent.key)), Code::Unauthenticated, None).await;
        books.only_recorded(&[refusal(Code::Unauthenticated)]).await;
        register(&server, way, &listed(proof(&device.key))).await.unwrap();
    }
}

on_both!(
    a_device_key_proves_itself,
    a_changed_statement_does_not_verify,
    a_signature_of_another_purpose_or_form_does_not_verify,
    a_statement_signed_anew_has_another_fingerprint,
    a_proof_fits_one_statement_and_one_token,
    only_canonical_bytes_are_a_statement,
    a_request_that_differs_from_its_statement_names_the_field,
    a_statement_for_another_server_is_refused,
);
