//! What the credentials go through, and how they are read back.

use argosy_domain::digest::Sha256;
use proptest::prelude::*;

use super::*;

fn enrolling() -> Enrolling {
    Enrolling {
        server_url: "http://localhost:8080".into(),
        pin: ServerPin::Pinned(Fixed([1; 32])),
        server_thumbprint: Fixed([1; 32]),
        token_id: "t1".parse().unwrap(),
        proof: SecretText::new("bootproof_t1_secret".into()),
        name: "web 1".into(),
        key_by_hand: false,
        statement: Signed { payload: b"{}".to_vec(), signature: Fixed([2; 64]) },
    }
}

fn registered() -> Registered {
    Registered {
        server_url: "http://localhost:8080".into(),
        server_thumbprint: Fixed([1; 32]),
        server_identity_key: Fixed([3; 32]),
        server_serial: 0,
        command_serial: 0,
        agent_id: "a1".parse().unwrap(),
        name: "web 1".into(),
        api_key: SecretText::new("agent_a1_secret".into()),
        machine_id: None,
        fingerprint: Fingerprint::of(Sha256::of(b"x")),
        statement_sha256: Fixed([4; 32]),
        account_id: AccountId::DEFAULT,
        org: None,
        continuation: None,
    }
}

fn step(state: Credentials, step: u8) -> Result<Credentials, InvalidStep> {
    match step {
        0 => state.begin(enrolling()),
        1 => state.registered(registered()),
        2 => state.continued(Fixed([9; 32])),
        3 => Ok(state.abandon()),
        4 => state.awaiting_key(registered()),
        _ => state.keyed(SecretText::new("agent_a1_other".into())),
    }
}

#[test]
fn every_state_is_found_again_after_a_restart() {
    let tmp = tempfile::tempdir().unwrap();
    let path = tmp.path().join("state");
    let mut state = Credentials::default();
    assert_eq!(Credentials::load(&StateDir::open(&path).unwrap()).unwrap(), state);
    for next in [0, 1, 2, 3, 0, 4, 5, 2, 3] {
        state = step(state, next).unwrap();
        state.save(&StateDir::open(&path).unwrap()).unwrap();
        let _held = StateDir::open(&path).unwrap();
        assert_eq!(Credentials::peek(&path).unwrap(), state);
    }
}

#[test]
fn a_damaged_file_is_named() {
    let tmp = tempfile::tempdir().unwrap();
    let dir = StateDir::open(&tmp.path().join("state")).unwrap();
    for bytes in [&b""[..], b"{}", b"{\"state\":\"registered\"}"] {
        dir.write(CREDENTIALS_FILE, bytes).unwrap();
        let error = Credentials::load(&dir).unwrap_err();
        assert!(matches!(error, CredentialsError::Damaged), "{error}");
    }
}

#[test]
fn secrets_do_not_show_in_debug() {
    for state in [Credentials::Enrolling(enrolling()), Credentials::Registered(registered())] {
        assert!(!format!("{state:?}").contains("secret"), "{state:?}");
    }
}

proptest! {
    #[test]
    fn only_an_answered_registration_is_ever_registered(
        steps in proptest::collection::vec(0u8..6, 0..12)
    ) {
        let mut state = Credentials::default();
        for next in steps {
            let before = state.clone();
            if let Ok(after) = step(state.clone(), next) {
                let registers = matches!(after, Credentials::Registered(_));
                let was = !matches!(before, Credentials::NotEnrolled);
                prop_assert!(!registers || was, "{before:?} became {after:?}");
                state = after;
            }
        }
    }

    #[test]
    fn no_bytes_break_the_reader(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Credentials::parse(Some(Zeroizing::new(bytes)));
    }
}
