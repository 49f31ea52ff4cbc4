//! Packages: approved, tried and installed by real processes, also where one of them dies meanwhile.
//! A script stands for apt; the agent's own tests have a real one.

use std::{
    fs,
    os::{fd::OwnedFd, unix::fs::PermissionsExt as _, unix::net::UnixListener},
    path::PathBuf,
    process::{Command, Stdio},
    sync::{Arc, Mutex},
};

use argosy_e2e::{
    database::{Place, raw},
    on_both,
    process::{program, until},
};
use serde_json::{Value, json};

use crate::fleet::{AgentProcess, Fleet};

/// Says what it would do, or does it: the version of bash is a file.
const APT_GET: &str = r#"#!/bin/sh
case " $* " in
*" -s "*) echo "Inst bash [5.1] (5.2 local [amd64])" ;;
*) echo "$*" >> "$(dirname "$0")/effects"; printf 5.2 > "$(dirname "$0")/version" ;;
esac
"#;
const APT_CACHE: &str = r#"#!/bin/sh
printf 'bash:\n  Installed: %s\n' "$(cat "$(dirname "$0")/version")"
"#;
const POLICY: &str =
    "[commands]\nallow = [\"updates.install\"]\n[subsystems]\nallow = [\"system\"]\n";

struct Scene {
    fleet: Fleet,
    agent: AgentProcess,
    id: String,
    folder: PathBuf,
    /// The next helper dies here.
    failpoint: Arc<Mutex<Option<&'static str>>>,
}

/// Starts a helper for each connection, as systemd does.
fn listen(folder: &std::path::Path, failpoint: Arc<Mutex<Option<&'static str>>>) {
    let listener = UnixListener::bind(folder.join("helper.sock")).unwrap();
    let settings = folder.join("package-helper.toml");
    std::thread::spawn(move || {
        while let Ok((connection, _)) = listener.accept() {
            let mut helper = Command::new(program("argosy-agent"));
            helper.args(["package-helper", "--settings"]).arg(&settings);
            let at = failpoint.lock().unwrap().take();
            helper.env_clear().envs(at.map(|at| ("ARGOSY_FAILPOINT", at)));
            helper.stdin(Stdio::from(OwnedFd::from(connection)));
            helper.status().unwrap();
        }
    });
}

impl Scene {
    async fn new(place: &Place, policy: &str) -> Self {
        let fleet = Fleet::start(place, "server").await;
        let folder = fleet.folder.join("host");
        fs::create_dir_all(&folder).unwrap();
        for (name, text) in [("apt-get", APT_GET), ("apt-cache", APT_CACHE)] {
            fs::write(folder.join(name), text).unwrap();
            fs::set_permissions(folder.join(name), fs::Permissions::from_mode(0o755)).unwrap();
        }
        fs::write(folder.join("policy.toml"), policy).unwrap();
        let failpoint = Arc::<Mutex<Option<&'static str>>>::default();
        listen(&folder, Arc::clone(&failpoint));
        let token = fleet.token(json!({ "auto_approve": true })).await;
        let variables = ["policy.toml", "helper.sock", "package-helper.toml"];
        let keys =
            ["ARGOSY_POLICY_FILE", "ARGOSY_PACKAGE_HELPER_SOCKET", "ARGOSY_PACKAGE_HELPER_FILE"];
        let variables = keys.into_iter().zip(variables).map(|(key, file)| {
            let path = folder.join(file).to_str().unwrap().to_owned();
            (key, &*path.leak())
        });
        let variables: &'static [_] = variables.collect::<Vec<_>>().leak();
        let agent = AgentProcess::start_with(&fleet, &token, variables);
        let id = fleet.connected().await;
        let scene = Self { fleet, agent, id, folder, failpoint };
        scene.settings().await;
        let insert = format!(
            "INSERT INTO pending_packages (agent_id, name, architecture, org_id, installed, \
             available, security, repository) VALUES ('{}', 'bash', 'amd64', 'default', '5.1', \
             '5.2', TRUE, 'local')",
            scene.id
        );
        raw(place, &insert).await;
        let body = json!({ "selector": { "all": true }, "security": true });
        scene.fleet.post("/api/v1/updates/approve", &body).await;
        scene
    }

    async fn settings(&self) {
        let keys = self.fleet.get("/.well-known/argosy/keys").await;
        let path = |name: &str| self.folder.join(name).display().to_string();
        let settings = format!(
            "server_pin = {}\nagent_id = {:?}\nagent_user = \"0\"\npolicy_file = {:?}\n\
             state_dir = {:?}\n[apt]\napt_get = {:?}\napt_cache = {:?}\n",
            keys["thumbprint"],
            self.id,
            path("policy.toml"),
            path("ledger"),
            path("apt-get"),
            path("apt-cache"),
        );
        fs::write(self.folder.join("package-helper.toml"), settings).unwrap();
    }

    /// The host is as it was before anything was installed.
    fn reset(&self) {
        fs::write(self.folder.join("version"), "5.1").unwrap();
        fs::write(self.folder.join("effects"), "").unwrap();
    }

    fn effects(&self) -> Vec<String> {
        let text = fs::read_to_string(self.folder.join("effects")).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    async fn install(&self, dry_run: bool) -> String {
        let body = json!({ "selector": { "all": true }, "dry_run": dry_run });
        let fan_out = self.fleet.post("/api/v1/updates/install", &body).await;
        let path = format!("/api/v1/fan-outs/{}/commands", fan_out["id"].as_str().unwrap());
        until("the command", async || {
            let page = self.fleet.get(&path).await;
            page["items"][0]["id"].as_str().map(str::to_owned)
        })
        .await
    }

    async fn over(&self, command: &str) -> Value {
        let ends = ["succeeded", "failed", "timed_out", "rejected", "lost", "expired"];
        self.fleet.command_in(command, &ends).await
    }
}

fn report(over: &Value) -> Value {
    over["result"]["report"]["packages"][0].clone()
}

fn bash(outcome: &str) -> Value {
    json!({ "name": "bash", "architecture": "amd64", "from": "5.1", "to": "5.2", "outcome": outcome })
}

async fn an_installation_happens_once_whoever_dies(place: Place) {
    let mut scene = Scene::new(&place, POLICY).await;
    scene.reset();
    let dry_run_first = json!({ "selector": { "all": true } });
    scene.fleet.refused("/api/v1/updates/install", &dry_run_first, 409).await;
    let tried = scene.over(&scene.install(true).await).await;
    assert_eq!((&tried["state"], report(&tried)), (&json!("succeeded"), bash("would_install")));
    assert!(scene.effects().is_empty());

    for (agent_dies, helper_dies, state, effects) in [
        (None, None, "succeeded", 1),
        (Some("install.asking"), None, "succeeded", 1),
        (Some("install.answered"), None, "succeeded", 1),
        (None, Some("packages.begun"), "failed", 0),
        (None, Some("packages.installed"), "succeeded", 1),
    ] {
        scene.reset();
        let case = format!("{agent_dies:?} {helper_dies:?}");
        if let Some(failpoint) = agent_dies {
            scene.agent.kill().await;
            scene.agent.start_with_failpoint(failpoint);
            scene.fleet.agent("the agent to be back", |a| a["connected"] == true).await;
        }
        *scene.failpoint.lock().unwrap() = helper_dies;
        let command = scene.install(false).await;
        if agent_dies.is_some() {
            scene.agent.ended().await;
            scene.agent.start_again();
        }
        let over = scene.over(&command).await;
        assert_eq!(
            (over["state"].as_str(), scene.effects().len()),
            (Some(state), effects),
            "{case}: {over}"
        );
        assert_eq!(over["receipt_available"], true, "{case}");
        if state == "failed" {
            assert_eq!(over["result"]["code"], "interrupted", "{case}: {over}");
            continue;
        }
        assert_eq!(report(&over)["outcome"], "installed", "{case}: {over}");
        let argv = scene.effects().remove(0);
        assert!(argv.ends_with("--no-remove --only-upgrade install -- bash:amd64=5.2"), "{argv}");
    }
}

async fn a_host_that_does_not_want_it_rejects_it_with_the_rule(place: Place) {
    let scene = Scene::new(&place, "[subsystems]\nallow = [\"system\"]\n").await;
    scene.reset();
    let refused = async |rule: &str| {
        let over = scene.over(&scene.install(true).await).await;
        assert_eq!(over["state"], "rejected", "{over}");
        assert!(over["detail"].as_str().unwrap().contains(rule), "{over}");
    };
    refused("commands.allow does not list updates.install").await;
    let policy = |text: String| fs::write(scene.folder.join("policy.toml"), text).unwrap();
    policy(format!("{POLICY}[updates]\ndeny = [\"ba*\"]\n"));
    refused("updates.deny lists ba*: bash").await;
    // The helper believes its own file, not the agent.
    policy(POLICY.to_owned());
    let settings = scene.folder.join("package-helper.toml");
    let text = fs::read_to_string(&settings).unwrap();
    fs::write(&settings, text.replace(&scene.id, "another-agent")).unwrap();
    refused("it is for another agent").await;
    assert!(scene.effects().is_empty());

    // An agent that is root installs by itself only where the policy says so.
    fs::write(&settings, text).unwrap();
    fs::remove_file(scene.folder.join("helper.sock")).unwrap();
    let over = scene.over(&scene.install(true).await).await;
    assert_eq!(
        (&over["state"], &over["result"]["code"]),
        (&json!("failed"), &json!("package_helper"))
    );
    policy(format!("{POLICY}[updates]\nin_process = true\n"));
    let over = scene.over(&scene.install(true).await).await;
    assert_eq!((&over["state"], report(&over)), (&json!("succeeded"), bash("would_install")));
}

on_both!(
    an_installation_happens_once_whoever_dies,
    a_host_that_does_not_want_it_rejects_it_with_the_rule,
);
