//! TLS with a private authority: agent and command line trust it by `ca_file`, and nothing else. A
//! renewed certificate is taken up by a server that runs.

use std::path::Path;

use argosy_e2e::{
    database::{Place, on_sqlite},
    process::{Process, free_port, program, run, until},
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use serde_json::Value;

/// Writes `ca.pem`, `cert.pem` and `key.pem` for `localhost`.
fn make_certificates(folder: &Path) {
    make_certificates_until(folder, 2100);
}

/// The same, good until a year begins.
pub(crate) fn make_certificates_until(folder: &Path, year: i32) {
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.distinguished_name.push(DnType::CommonName, "Argosy test authority");
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    let mut server = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    server.not_after = rcgen::date_time_ymd(year, 1, 1);
    server.distinguished_name.push(DnType::CommonName, "localhost");
    let key = KeyPair::generate().unwrap();
    let certificate = server.signed_by(&key, &authority).unwrap();
    std::fs::write(folder.join("ca.pem"), authority.pem()).unwrap();
    std::fs::write(folder.join("cert.pem"), certificate.pem()).unwrap();
    std::fs::write(folder.join("key.pem"), key.serialize_pem()).unwrap();
}

async fn agent_and_command_line_speak_tls(place: Place) {
    let folder = place.data_dir.parent().unwrap().to_owned();
    make_certificates(&folder);
    let path = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let (certificate, key, ca) = (path("cert.pem"), path("key.pem"), path("ca.pem"));
    let port = free_port();
    let url = format!("https://localhost:{port}");
    let listen = format!("127.0.0.1:{port}");
    let data_dir = place.data_dir.to_str().unwrap();
    let arguments = ["--mode", "server", "--listen", &listen, "--data-dir", data_dir];
    let variables = [
        ("ARGOSY_TLS", "files"),
        ("ARGOSY_TLS_CERT_FILE", certificate.as_str()),
        ("ARGOSY_TLS_KEY_FILE", key.as_str()),
    ];
    let _server = Process::start("argosyd", &arguments, &variables, &folder.join("server.log"));
    let admin_key = until("the administrator's key", || async {
        std::fs::read_to_string(place.data_dir.join("admin.key")).ok()
    })
    .await;
    let login = [("ARGOSY_SERVER", url.as_str()), ("ARGOSY_KEY", admin_key.trim())];
    let trusting = |words: &[&str]| -> Vec<String> {
        ["--ca-file", &ca].into_iter().chain(words.iter().copied()).map(str::to_owned).collect()
    };
    let token = until("the server to answer over TLS", || async {
        let arguments = trusting(&["token", "create", "tls", "--auto-approve", "-o", "json"]);
        let output = tokio::process::Command::new(program("argosy"))
            .args(&arguments)
            .envs(login)
            .output()
            .await
            .unwrap();
        let made: Value = serde_json::from_slice(&output.stdout).ok()?;
        Some(made["token"].as_str()?.to_owned())
    })
    .await;

    let state_dir = path("agent");
    let mut variables = vec![
        ("ARGOSY_SERVER_URL", url.as_str()),
        ("ARGOSY_STATE_DIR", state_dir.as_str()),
        ("ARGOSY_BOOTSTRAP_TOKEN", token.as_str()),
        ("ARGOSY_AGENT_NAME", "tls-1"),
    ];
    let enroll = || async {
        let command = tokio::process::Command::new(program("argosy-agent"))
            .args(["enroll", "--no-wait"])
            .envs(variables.iter().copied())
            .output();
        command.await.unwrap()
    };
    let untrusting = enroll().await;
    assert!(!untrusting.status.success(), "an unknown authority must not be trusted");
    variables.push(("ARGOSY_CA_FILE", ca.as_str()));
    let _agent = Process::start("argosy-agent", &["run"], &variables, &folder.join("agent.log"));
    until("the agent to be connected over TLS", || async {
        let arguments = trusting(&["agent", "list", "-o", "json"]);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let agents: Value = serde_json::from_str(&run("argosy", &arguments, &login).await).unwrap();
        (agents[0]["connected"] == true).then_some(())
    })
    .await;
    let send =
        ["command", "send", "tls-1", "subsystem.run", "--param", "subsystem=system", "--wait"];
    let arguments = trusting(&send);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let sent = run("argosy", &arguments, &login).await;
    assert!(sent.contains("succeeded"), "{sent}");
}

/// Who trusts the authority in a folder, and nobody else.
fn trusting(folder: &Path) -> reqwest::Client {
    let authority = std::fs::read(folder.join("ca.pem")).unwrap();
    let authority = reqwest::Certificate::from_pem(&authority).unwrap();
    reqwest::Client::builder().no_proxy().tls_certs_only([authority]).build().unwrap()
}

/// When the certificate ends, as the server tells.
async fn ends(client: &reqwest::Client, port: u16) -> String {
    let url = format!("https://localhost:{port}/metrics");
    let told = client.get(url).send().await.unwrap().text().await.unwrap();
    let name = "argosy_tls_certificate_ends_seconds{source=\"files\"} ";
    let line = told.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap_or_else(|| panic!("{told}")).to_owned()
}

async fn a_renewed_certificate_needs_no_restart_and_ends_no_connection(place: Place) {
    let folder = place.data_dir.parent().unwrap().to_owned();
    make_certificates(&folder);
    let path = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let (certificate, key) = (path("cert.pem"), path("key.pem"));
    let port = free_port();
    let listen = format!("127.0.0.1:{port}");
    let data_dir = place.data_dir.to_str().unwrap();
    let arguments = ["--mode", "server", "--listen", &listen, "--data-dir", data_dir];
    let variables = [
        ("ARGOSY_TLS", "files"),
        ("ARGOSY_TLS_CERT_FILE", certificate.as_str()),
        ("ARGOSY_TLS_KEY_FILE", key.as_str()),
    ];
    let _server = Process::start("argosyd", &arguments, &variables, &folder.join("server.log"));
    let health = format!("https://localhost:{port}/health");
    let answers = async |client: &reqwest::Client| {
        let answer = client.get(&health).send().await.ok()?;
        answer.bytes().await.ok().map(drop)
    };
    let before = trusting(&folder);
    until("the server to answer", || answers(&before)).await;
    // 2100-01-01 and 2101-01-01, as seconds since 1970.
    assert_eq!(ends(&before, port).await, "4102444800");
    make_certificates_until(&folder, 2101);
    let after = trusting(&folder);
    until("the new certificate to be shown", || answers(&after)).await;
    until("its end to be told", async || (ends(&after, port).await == "4133980800").then_some(()))
        .await;
    let newcomer = {
        let stale = tempfile::tempdir().unwrap();
        make_certificates(stale.path());
        trusting(stale.path())
    };
    assert_eq!(answers(&newcomer).await, None, "another authority vouches for nothing here");
    // Its connection was opened under the old certificate, which no new one would get.
    answers(&before).await.expect("the connection that was open goes on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_from_files() {
    on_sqlite(agent_and_command_line_speak_tls).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_from_files_that_change() {
    on_sqlite(a_renewed_certificate_needs_no_restart_and_ends_no_connection).await;
}
