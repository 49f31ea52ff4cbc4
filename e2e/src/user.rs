//! A user of a test's server: logs in, and keeps the cookie and the token that go with each call.

use reqwest::Method;
use serde_json::{Value, json};

use crate::{http::Answer, server::TestServer};

/// A user and the session.
#[derive(Debug, Clone)]
pub struct TestUser {
    /// The user's id.
    pub id: String,
    /// The name at login.
    pub name: String,
    /// The password.
    pub password: String,
    /// `name=value` of the cookie.
    pub cookie: String,
    /// What goes with it.
    pub csrf: String,
}

/// `name=value` of the cookie that an answer sets.
pub fn cookie_of(answer: &Answer) -> String {
    let set = answer.headers["set-cookie"].to_str().unwrap();
    set.split(';').next().unwrap().to_owned()
}

impl TestUser {
    /// Makes a user whose password the administrator knows, and logs in.
    pub async fn make_owing(server: &TestServer, name: &str, role: &str) -> Self {
        let body = json!({ "name": name, "role": role });
        let made = server.client.post("/api/v1/users", &server.admin_key, &body).await.expect(201);
        let text = |field: &str| made[field].as_str().unwrap().to_owned();
        let (cookie, csrf) = (String::new(), String::new());
        let (id, name, password) = (text("id"), text("name"), text("password"));
        let mut user = Self { id, name, password, cookie, csrf };
        user.log_in(server).await;
        user
    }

    /// Makes a user who has chosen a password and logged in.
    pub async fn make(server: &TestServer, name: &str, role: &str) -> Self {
        let mut user = Self::make_owing(server, name, role).await;
        let chosen = format!("chosen by {name}, really");
        user.change_password(server, &chosen).await.expect(200);
        user
    }

    /// Sends name and a password.
    pub async fn try_log_in(server: &TestServer, name: &str, password: &str) -> Answer {
        let body = json!({ "name": name, "password": password });
        let headers = [("content-type", "application/json")];
        server.client.send(Method::POST, "/api/v1/auth/login", &headers, Some(&body)).await
    }

    /// Logs in.
    pub async fn log_in(&mut self, server: &TestServer) {
        let answer = Self::try_log_in(server, &self.name, &self.password).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        self.take(&answer);
    }

    /// Takes the session that an answer begins.
    pub fn take(&mut self, answer: &Answer) {
        self.cookie = cookie_of(answer);
        self.csrf = answer.body["user"]["csrf_token"].as_str().unwrap().to_owned();
    }

    /// Chooses another password, and goes on with the session that begins.
    pub async fn change_password(&mut self, server: &TestServer, new: &str) -> Answer {
        let body = json!({ "current_password": self.password, "new_password": new });
        let answer = self.post(server, "/api/v1/auth/password", &body).await;
        if answer.status == 200 {
            new.clone_into(&mut self.password);
            self.take(&answer);
        }
        answer
    }

    /// The public part of the session.
    pub fn session_id(&self) -> &str {
        self.cookie.split_once('=').unwrap().1.rsplit_once('.').unwrap().0
    }

    /// What the console shows with a call.
    pub fn headers(&self, method: &Method) -> Vec<(&'static str, String)> {
        let mut headers = vec![("cookie", self.cookie.clone())];
        if !method.is_safe() {
            headers.push(("x-csrf-token", self.csrf.clone()));
            headers.push(("sec-fetch-site", "same-origin".to_owned()));
        }
        headers
    }

    /// A call of the console.
    pub async fn call(
        &self,
        server: &TestServer,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Answer {
        let headers = self.headers(&method);
        let mut headers: Vec<(&str, &str)> =
            headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        if body.is_some() {
            headers.push(("content-type", "application/json"));
        }
        server.client.send(method, path, &headers, body).await
    }

    /// A page of the console.
    pub async fn page(&self, server: &TestServer, path: &str) -> Answer {
        let headers = [("cookie", self.cookie.as_str()), ("sec-fetch-site", "same-origin")];
        server.client.send(Method::GET, path, &headers, None).await
    }

    /// A form of the console, with the token that its page holds.
    pub async fn submit(&self, server: &TestServer, path: &str, fields: &[(&str, &str)]) -> Answer {
        let headers = [("cookie", self.cookie.as_str()), ("sec-fetch-site", "same-origin")];
        let mut fields = fields.to_vec();
        fields.push(("csrf", &self.csrf));
        server.client.send_form(path, &headers, &fields).await
    }

    /// `GET` of the console.
    pub async fn get(&self, server: &TestServer, path: &str) -> Answer {
        self.call(server, Method::GET, path, None).await
    }

    /// `POST` of the console.
    pub async fn post(&self, server: &TestServer, path: &str, body: &Value) -> Answer {
        self.call(server, Method::POST, path, Some(body)).await
    }
}
