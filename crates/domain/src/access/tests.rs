//! Who may do what: examples, and what holds for any scopes.

use proptest::{prelude::*, sample::select};

use super::*;

fn key(scopes: Scopes) -> Caller {
    Caller::Key {
        key: "k".parse().unwrap(),
        owner: "user:ada".into(),
        org: OrgId::default_org(),
        scopes,
    }
}

#[test]
fn write_implies_the_nouns_verbs_and_no_others() {
    let scopes = Scopes::parse(["agents:write"]).unwrap();
    assert!(scopes.grant(Permission::AgentsRevoke));
    assert!(scopes.grant(Permission::AgentsRead));
    assert!(!scopes.grant(Permission::TokensRead));
    assert_eq!(Scopes::parse(["agents:fly"]), Err(UnknownScope("agents:fly".into())));
}

#[test]
fn no_key_covers_more_than_it_has() {
    let operator = Role::Operator.scopes();
    assert!(Role::Admin.scopes().cover(&operator));
    assert!(operator.cover(&Role::Viewer.scopes()));
    assert!(!Role::Viewer.scopes().cover(&operator));
    let every = Scopes::parse(Permission::ALL.map(Permission::scope)).unwrap();
    assert!(!every.cover(&Role::Admin.scopes()), "`*` also grants what does not exist yet");
}

#[test]
fn another_tenants_things_do_not_exist() {
    let other: OrgId = "other".parse().unwrap();
    let target = Target { org: &other, agent: None };
    let admin = key(Role::Admin.scopes());
    assert_eq!(decide(&admin, Permission::AgentsRead, target), Decision::Hide);
}

#[test]
fn an_agent_does_only_its_own() {
    let org = OrgId::default_org();
    let (own, other): (AgentId, AgentId) = ("a".parse().unwrap(), "b".parse().unwrap());
    let caller = |status| Caller::Agent {
        agent: own.clone(),
        org: org.clone(),
        account: AccountId::DEFAULT,
        assurance: Assurance::ApiKey,
        status,
        session: None,
        reach: Reach::Full,
    };
    let approved = caller(AgentStatus::Approved);
    let at = |agent| Target { org: &org, agent: Some(agent) };
    assert_eq!(decide(&approved, Permission::DiscoveryCreate, at(&own)), Decision::Allow);
    assert_eq!(decide(&approved, Permission::DiscoveryCreate, at(&other)), Decision::Forbid);
    for permission in Permission::ALL {
        if permission != Permission::DiscoveryCreate {
            assert_eq!(decide(&approved, permission, at(&own)), Decision::Forbid);
        }
    }
    let quarantined = caller(AgentStatus::Quarantined);
    assert_eq!(decide(&quarantined, Permission::DiscoveryCreate, at(&own)), Decision::Forbid);
}

/// Any set of scopes that a key may have.
fn scopes() -> impl Strategy<Value = Scopes> {
    let mut names: Vec<String> = vec!["*".to_owned()];
    for permission in Permission::ALL {
        let (noun, _) = permission.scope().split_once(':').unwrap();
        names.extend([permission.scope().to_owned(), format!("{noun}:write"), format!("{noun}:*")]);
    }
    proptest::collection::vec(select(names), 0..6)
        .prop_map(|names| Scopes::parse(names.iter().map(String::as_str)).unwrap())
}

fn any_agent() -> impl Strategy<Value = Caller> {
    let assurance = select(vec![Assurance::ApiKey, Assurance::ProofOfPossession]);
    let (org, agent) = (select(vec!["default", "other"]), select(vec!["a", "b"]));
    (org, agent, assurance, select(AgentStatus::ALL.to_vec())).prop_map(
        |(org, agent, assurance, status)| Caller::Agent {
            agent: agent.parse().unwrap(),
            org: org.parse().unwrap(),
            account: AccountId::DEFAULT,
            assurance,
            status,
            session: None,
            reach: Reach::Full,
        },
    )
}

fn union(one: &Scopes, other: &Scopes) -> Scopes {
    Scopes::parse(one.iter().chain(other.iter())).unwrap()
}

proptest! {
    #[test]
    fn more_scopes_never_allow_less(
        one in scopes(),
        more in scopes(),
        permission in select(Permission::ALL.to_vec()),
    ) {
        let org = OrgId::default_org();
        let target = Target { org: &org, agent: None };
        let allowed = |scopes| decide(&key(scopes), permission, target) == Decision::Allow;
        prop_assert!(!allowed(one.clone()) || allowed(union(&one, &more)));
        prop_assert_eq!(allowed(union(&one, &more)), allowed(one) || allowed(more));
    }

    #[test]
    fn what_a_key_may_mint_can_do_nothing_that_it_cannot(
        minter in scopes(),
        minted in scopes(),
        third in scopes(),
    ) {
        let org = OrgId::default_org();
        let target = Target { org: &org, agent: None };
        let allowed = |scopes: &Scopes, p| decide(&key(scopes.clone()), p, target) == Decision::Allow;
        if minter.cover(&minted) {
            for permission in Permission::ALL {
                prop_assert!(!allowed(&minted, permission) || allowed(&minter, permission));
            }
            // Nor by minting in turn.
            prop_assert!(!minted.cover(&third) || minter.cover(&third));
        }
        prop_assert!(minter.cover(&minter) && union(&minter, &minted).cover(&minted));
    }

    #[test]
    fn nobody_sees_another_tenants_things(
        scopes in scopes(),
        agent in any_agent(),
        permission in select(Permission::ALL.to_vec()),
        owner in select(vec![None, Some("a"), Some("b")]),
    ) {
        let owner: Option<AgentId> = owner.map(|id| id.parse().unwrap());
        for caller in [key(scopes), agent] {
            for org in ["default", "other", "third"] {
                let org: OrgId = org.parse().unwrap();
                let target = Target { org: &org, agent: owner.as_ref() };
                let decision = decide(&caller, permission, target);
                prop_assert_eq!(decision == Decision::Hide, caller.org() != Some(&org));
            }
        }
    }

    #[test]
    fn an_agent_is_allowed_its_own_only_and_only_while_approved(
        caller in any_agent(),
        permission in select(Permission::ALL.to_vec()),
        owner in select(vec!["a", "b"]),
    ) {
        let owner: AgentId = owner.parse().unwrap();
        let Caller::Agent { agent, org, status, .. } = &caller else { unreachable!() };
        let target = Target { org, agent: Some(&owner) };
        if decide(&caller, permission, target) == Decision::Allow {
            prop_assert_eq!(agent, &owner);
            prop_assert_eq!(*status, AgentStatus::Approved);
            prop_assert_eq!(permission, Permission::DiscoveryCreate);
        }
    }
}

#[test]
fn what_two_sets_grant_is_in_both() {
    let key = Scopes::parse(["agents:write", "keys:create"]).unwrap();
    let operator = Role::Operator.scopes();
    let both = key.clone().within(&operator);
    for permission in Permission::ALL {
        let wanted = key.grant(permission) && operator.grant(permission);
        assert_eq!(both.grant(permission), wanted, "{permission:?}");
    }
    assert_eq!(key.clone().within(&Role::Admin.scopes()), key, "as it was written");
}

#[test]
fn a_user_has_the_role_and_nothing_before_a_new_password() {
    let org = OrgId::default_org();
    let target = Target { org: &org, agent: None };
    for role in Role::ALL {
        assert_eq!(Role::parse(role.as_str()), Some(role));
        let user = |must_change_password| Caller::User {
            user: "u".parse().unwrap(),
            name: "ada".parse().unwrap(),
            org: org.clone(),
            role,
            session: "s".parse().unwrap(),
            must_change_password,
        };
        for permission in Permission::ALL {
            let granted = role.scopes().grant(permission);
            let expected = if granted { Decision::Allow } else { Decision::Forbid };
            assert_eq!(decide(&user(false), permission, target), expected);
            assert_eq!(decide(&user(true), permission, target), Decision::Forbid);
        }
    }
}
