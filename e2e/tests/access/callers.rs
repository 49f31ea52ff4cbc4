//! One caller of each kind, and the credentials that it shows.

use std::collections::{BTreeMap, BTreeSet};

use argosy_domain::access::{Permission, Role};
use argosy_e2e::{agent::TestAgent, server::TestServer, user::TestUser};
use argosy_server::rpc;
use reqwest::Method;
use serde_json::json;

use crate::{
    routes::{self, Need},
    rpcs,
};

/// A kind of caller: a column of the matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Shows nothing.
    Nobody,
    /// A key of role viewer.
    Viewer,
    /// A key of role operator.
    Operator,
    /// A key of role admin.
    Admin,
    /// A key with exactly the scope that is asked for, the first where several are accepted.
    OnlyThisScope,
    /// A key with every scope but those that are accepted.
    AllButThisScope,
    /// An approved agent without keys, about itself.
    Keyless,
    /// The same before its approval.
    Pending,
    /// An approved agent with keys, in session, about itself.
    InSession,
    /// The bare API key of the same.
    BareKey,
    /// The administrator of another organisation.
    OtherAdmin,
    /// A user of role viewer who has logged in.
    UserViewer,
    /// A user of role operator who has logged in.
    UserOperator,
    /// A user of role admin who has logged in.
    UserAdmin,
    /// An administrator who owes a new password.
    UserOwing,
}

impl Kind {
    /// Every kind, in the order of the columns.
    pub(crate) const ALL: [Self; 15] = [
        Self::Nobody,
        Self::Viewer,
        Self::Operator,
        Self::Admin,
        Self::OnlyThisScope,
        Self::AllButThisScope,
        Self::Keyless,
        Self::Pending,
        Self::InSession,
        Self::BareKey,
        Self::OtherAdmin,
        Self::UserViewer,
        Self::UserOperator,
        Self::UserAdmin,
        Self::UserOwing,
    ];

    /// The heading of its column.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Nobody => "nobody",
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
            Self::OnlyThisScope => "only this scope",
            Self::AllButThisScope => "all but this scope",
            Self::Keyless => "agent without keys",
            Self::Pending => "the same, pending",
            Self::InSession => "agent in session",
            Self::BareKey => "its bare key",
            Self::OtherAdmin => "other admin",
            Self::UserViewer => "user viewer",
            Self::UserOperator => "user operator",
            Self::UserAdmin => "user admin",
            Self::UserOwing => "user who owes a password",
        }
    }
}

impl Kind {
    /// The name of the user that a caller is.
    fn user(self) -> Option<&'static str> {
        match self {
            Self::UserViewer => Some("viewer"),
            Self::UserOperator => Some("operator"),
            Self::UserAdmin => Some("admin"),
            Self::UserOwing => Some("owing"),
            Self::Nobody
            | Self::Viewer
            | Self::Operator
            | Self::Admin
            | Self::OnlyThisScope
            | Self::AllButThisScope
            | Self::Keyless
            | Self::Pending
            | Self::InSession
            | Self::BareKey
            | Self::OtherAdmin => None,
        }
    }
}

/// A user of each role, and one with a password that an administrator knows.
async fn users(server: &TestServer) -> BTreeMap<&'static str, TestUser> {
    let mut users = BTreeMap::new();
    for role in ["viewer", "operator", "admin"] {
        users.insert(role, TestUser::make(server, &format!("the-{role}"), role).await);
    }
    users.insert("owing", TestUser::make_owing(server, "the-owing", "admin").await);
    users
}

/// One caller of each kind.
pub(crate) struct Callers {
    keys: BTreeMap<&'static str, String>,
    only: BTreeMap<String, String>,
    but: BTreeMap<Vec<String>, String>,
    /// Approved, without keys.
    pub(crate) keyless: TestAgent,
    /// Waits for approval, without keys.
    pub(crate) pending: TestAgent,
    /// Approved, with keys, in session.
    pub(crate) keyed: TestAgent,
    /// Of another organisation.
    pub(crate) other_admin: String,
    users: BTreeMap<&'static str, TestUser>,
}

/// An API key with scopes.
pub(crate) async fn key_with(server: &TestServer, scopes: &[&str]) -> String {
    let body = json!({ "name": "test", "scopes": scopes });
    let answer = server.client.post("/api/v1/auth/keys", &server.admin_key, &body).await;
    answer.expect(201)["key"].as_str().unwrap().to_owned()
}

/// An agent that registers with a raw token and has no keys.
pub(crate) async fn keyless(server: &TestServer, name: &str) -> TestAgent {
    let mut agent = TestAgent::new(name);
    let body = json!({ "name": name, "bootstrap_token": server.token(json!({})).await });
    let answer = server.client.post_anonymous("/api/v1/agents/register", &body).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    (agent.agent_id, agent.api_key) = (answer.text("agent_id"), answer.text("api_key"));
    agent
}

/// The same, approved.
pub(crate) async fn approved_keyless(server: &TestServer, name: &str) -> TestAgent {
    let agent = keyless(server, name).await;
    server.decide(&agent.agent_id, "approve", json!({})).await.expect(200);
    agent
}

/// Every set of scopes of which some call accepts any one.
async fn needs(server: &TestServer) -> BTreeSet<Vec<String>> {
    let routes = routes::all(server).await.into_iter().map(|route| route.need);
    let procedures = rpc::procedures().into_iter().map(|procedure| rpcs::rpc(&procedure).need);
    routes
        .chain(procedures)
        .filter_map(|need| match need {
            Need::Scopes(scopes) => Some(scopes),
            Need::Nothing | Need::Somebody => None,
        })
        .collect()
}

impl Callers {
    /// Makes one of each.
    pub(crate) async fn make(server: &TestServer) -> Self {
        let (mut keys, mut only, mut but) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        for (name, role) in
            [("viewer", Role::Viewer), ("operator", Role::Operator), ("admin", Role::Admin)]
        {
            let scopes = role.scopes();
            let scopes: Vec<&str> = scopes.iter().collect();
            keys.insert(name, key_with(server, &scopes).await);
        }
        let every = Permission::ALL.map(Permission::scope);
        for scope in every {
            only.insert(scope.to_owned(), key_with(server, &[scope]).await);
        }
        for accepted in needs(server).await {
            let others = every.into_iter().filter(|scope| !accepted.iter().any(|a| a == scope));
            let key = key_with(server, &others.collect::<Vec<_>>()).await;
            but.insert(accepted, key);
        }
        Self {
            keys,
            only,
            but,
            keyless: approved_keyless(server, "keyless").await,
            pending: keyless(server, "pending").await,
            keyed: TestAgent::in_session(server, "keyed").await,
            other_admin: server.other_organisation().await.admin_key,
            users: users(server).await,
        }
    }

    /// A user's session may have ended with a call.
    pub(crate) async fn refresh(&mut self, server: &TestServer, kind: Kind) {
        if let Some(user) = kind.user().and_then(|name| self.users.get_mut(name)) {
            user.log_in(server).await;
        }
    }

    /// The session of a caller who is a user.
    pub(crate) fn session(&self, kind: Kind) -> Option<&str> {
        Some(self.users[kind.user()?].session_id())
    }

    /// The agent that a caller is.
    pub(crate) fn agent(&self, kind: Kind) -> Option<&str> {
        match kind {
            Kind::Keyless => Some(&self.keyless.agent_id),
            Kind::Pending => Some(&self.pending.agent_id),
            Kind::InSession | Kind::BareKey => Some(&self.keyed.agent_id),
            Kind::Nobody
            | Kind::Viewer
            | Kind::Operator
            | Kind::Admin
            | Kind::OnlyThisScope
            | Kind::AllButThisScope
            | Kind::OtherAdmin
            | Kind::UserViewer
            | Kind::UserOperator
            | Kind::UserAdmin
            | Kind::UserOwing => None,
        }
    }

    /// The headers that a caller shows for a call. Where no scope is asked for, some key with one
    /// and some key with nearly all stand for the two kinds with scopes.
    pub(crate) fn credentials(
        &self,
        server: &TestServer,
        kind: Kind,
        need: &Need,
        (method, path): (&Method, &str),
    ) -> Vec<(&'static str, String)> {
        let accepted = match need {
            Need::Scopes(scopes) => scopes.clone(),
            Need::Nothing | Need::Somebody => vec!["audit:read".to_owned()],
        };
        let key = match kind {
            Kind::Nobody => return Vec::new(),
            Kind::InSession => {
                let proof = self.keyed.proof(server, method.as_str(), path);
                let session = format!("DPoP {}", self.keyed.session);
                return vec![("authorization", session), ("dpop", proof)];
            }
            Kind::Viewer => &self.keys["viewer"],
            Kind::Operator => &self.keys["operator"],
            Kind::Admin => &self.keys["admin"],
            Kind::OnlyThisScope => &self.only[&accepted[0]],
            Kind::AllButThisScope => &self.but[&accepted],
            Kind::Keyless => &self.keyless.api_key,
            Kind::Pending => &self.pending.api_key,
            Kind::BareKey => &self.keyed.api_key,
            Kind::OtherAdmin => &self.other_admin,
            Kind::UserViewer | Kind::UserOperator | Kind::UserAdmin | Kind::UserOwing => {
                return self.users[kind.user().unwrap_or_default()].headers(method);
            }
        };
        vec![("authorization", format!("Bearer {key}"))]
    }
}
