//! An engine that answers as the Docker Engine API reference says, on a socket of the test's own.

use std::os::unix::fs::PermissionsExt as _;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixListener,
};

use super::*;

const VERSION: &str = r#"{"Platform":{"Name":"Docker Engine - Community"},"Components":[{"Name":
    "Engine","Version":"29.0.1","Details":{}}],"Version":"29.0.1","ApiVersion":"1.52"}"#;
const PODMAN: &str = r#"{"Components":[{"Name":"Podman Engine","Version":"5.4.0"}],
    "Version":"5.4.0","ApiVersion":"1.41"}"#;
const CONTAINERS: &str = r#"[
    {"Id":"8dfafdbc3a40aaaaaaaaaaaaaaaaaaaa","Names":["/old"],"Image":"ubuntu:latest","ImageID":"x",
     "Command":"echo secret","Created":1367854155,"State":"exited","Status":"Exited (0) 2 days ago",
     "Ports":[],"Labels":null,"SizeRw":12288,"Mounts":null},
    {"Id":"9cd87474be90bbbbbbbbbbbbbbbbbbbb","Names":["/shop-web-1"],"Image":"nginx:1.27",
     "Command":"nginx --token hidden","Created":1700000000,"State":"running",
     "Status":"Up 5 minutes (unhealthy)","Ports":[{"IP":"0.0.0.0","PrivatePort":80,
     "PublicPort":8080,"Type":"tcp"},{"PrivatePort":443,"Type":"tcp"}],
     "Labels":{"com.docker.compose.project":"shop","com.docker.compose.service":"web",
     "password":"hunter2"}}]"#;
const IMAGES: &str = r#"[
    {"Id":"sha256:e216a057b1cb1efc11f8a268f37ef62083e70b1b38323ba252e25ac88904a7e8","ParentId":"",
     "RepoTags":["ubuntu:22.04"],"RepoDigests":null,"Created":1644009612,"Size":172064416,
     "SharedSize":-1,"Containers":1},
    {"Id":"sha256:ffff","RepoTags":["<none>:<none>"],"Created":0,"Size":900000000}]"#;

/// An engine in a folder of its own.
struct Engine {
    folder: tempfile::TempDir,
}

impl Engine {
    fn socket(&self) -> PathBuf {
        self.folder.path().join("engine.sock")
    }

    /// Starts one that answers with these bodies, the lists in chunks.
    fn start(version: &'static str, containers: String, images: &'static str) -> Self {
        let engine = Self { folder: tempfile::tempdir().unwrap() };
        let listener = UnixListener::bind(engine.socket()).unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = vec![0; 4_096];
                let count = stream.read(&mut request).await.unwrap();
                let request = String::from_utf8_lossy(&request[..count]).into_owned();
                let asked = request.split(' ').nth(1).unwrap_or_default().to_owned();
                assert!(request.starts_with("GET "), "{request}");
                let answer = match asked.as_str() {
                    "/version" => whole(version),
                    "/containers/json?all=true" => chunked(&containers),
                    "/images/json" => chunked(images),
                    _ => "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_owned(),
                };
                // A client that has read enough hangs up.
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        engine
    }

    async fn report(&self) -> Result<ContainersReport, CollectError> {
        let collector = ContainersCollector { sockets: vec!["/nowhere".into(), self.socket()] };
        let SubsystemReport::Containers(report) = collector.collect().await? else {
            panic!("another report")
        };
        Ok(report)
    }
}

fn whole(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

fn chunked(body: &str) -> String {
    let (one, two) = body.split_at(body.len() / 2);
    format!(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{one}\r\n{:x}\r\n{two}\r\n0\r\n\r\n",
        one.len(),
        two.len()
    )
}

#[tokio::test]
async fn what_an_engine_runs_is_reported_without_what_may_be_secret() {
    let engine = Engine::start(VERSION, CONTAINERS.to_owned(), IMAGES);
    let report = engine.report().await.unwrap();
    let asked = report.engine.clone().unwrap();
    assert_eq!((asked.name.as_str(), asked.version.as_str()), ("docker", "29.0.1"));
    assert_eq!((report.running, report.total, report.unhealthy), (1, 2, 1));
    let web = &report.containers[0];
    assert_eq!((web.id.as_str(), web.name.as_str()), ("9cd87474be90", "shop-web-1"));
    assert_eq!((web.image.as_str(), web.state.as_str()), ("nginx:1.27", "running"));
    assert_eq!(web.health, Some(ContainerHealth::Unhealthy));
    assert_eq!(web.compose_project.as_deref(), Some("shop"));
    assert_eq!(web.compose_service.as_deref(), Some("web"));
    assert_eq!((web.ports[0].private, web.ports[0].public), (80, Some(8080)));
    assert_eq!((web.ports[1].private, web.ports[1].public), (443, None));
    assert_eq!((report.containers[1].health, &report.containers[1].compose_project), (None, &None));
    assert_eq!((report.images_total, report.images[0].size_bytes), (2, 900_000_000));
    assert_eq!((report.images[0].tags.len(), report.images[0].created_at), (0, None));
    assert_eq!(report.images[1].id, "e216a057b1cb");
    assert_eq!(report.images[1].tags, ["ubuntu:22.04"]);
    assert!(!report.truncated);
    let text = serde_json::to_string(&report).unwrap();
    for secret in ["secret", "hidden", "hunter2"] {
        assert!(!text.contains(secret), "{text}");
    }
    SubsystemReport::Containers(report).check().unwrap();
}

#[tokio::test]
async fn podman_says_who_it_is() {
    let engine = Engine::start(PODMAN, "[]".to_owned(), "[]");
    let report = engine.report().await.unwrap();
    assert_eq!(report.engine.unwrap().name, "podman");
    assert_eq!((report.total, report.images_total), (0, 0));
}

#[tokio::test]
async fn a_host_without_an_engine_says_so() {
    let folder = tempfile::tempdir().unwrap();
    // A socket that nobody listens on any more is no engine either.
    let stale = folder.path().join("stale.sock");
    drop(UnixListener::bind(&stale).unwrap());
    let collector = ContainersCollector { sockets: vec![folder.path().join("none.sock"), stale] };
    let report = collector.collect().await.unwrap();
    assert_eq!(report, SubsystemReport::Containers(no_engine()));
}

#[tokio::test]
async fn more_than_fits_is_counted_and_cut() {
    let one = |n: usize| {
        let text = "x".repeat(400);
        let ports: Vec<_> = (1..=40).map(|p| format!(r#"{{"PrivatePort":{p}}}"#)).collect();
        format!(
            r#"{{"Id":"{n}","Names":["/{text}"],"Image":"{text}","State":"running","Status":"{text}","Ports":[{}]}}"#,
            ports.join(",")
        )
    };
    let many: Vec<String> = (0..CONTAINERS_MAX + 5).map(one).collect();
    let engine = Engine::start(VERSION, format!("[{}]", many.join(",")), "[]");
    let report = engine.report().await.unwrap();
    assert_eq!(report.total as usize, CONTAINERS_MAX + 5);
    assert_eq!((report.containers.len(), report.truncated), (CONTAINERS_MAX, true));
    assert_eq!(report.containers[0].ports.len(), PORTS_MAX);
    SubsystemReport::Containers(report).check().unwrap();
}

#[tokio::test]
async fn what_is_no_engine_is_an_error_that_says_so() {
    let engine = Engine::start("<html>", "[]".to_owned(), "[]");
    let error = engine.report().await.unwrap_err().to_string();
    assert!(error.contains("the container engine wrote"), "{error}");
    let engine = Engine::start(VERSION, " ".repeat(9 * 1024 * 1024), "[]");
    let error = engine.report().await.unwrap_err().to_string();
    assert!(error.contains("more than 8388608 bytes"), "{error}");
}

#[tokio::test]
async fn a_socket_that_may_not_be_opened_names_its_group() {
    if rustix::process::geteuid().is_root() {
        // Root may open anything: the sentence is all that can be looked at.
        let closed = CollectError::SocketClosed { path: "/s".into(), group: "docker".into() };
        assert!(closed.to_string().contains("group docker"), "{closed}");
        return;
    }
    let engine = Engine::start(VERSION, "[]".to_owned(), "[]");
    std::fs::set_permissions(engine.socket(), std::fs::Permissions::from_mode(0o000)).unwrap();
    let error = engine.report().await.unwrap_err();
    assert!(matches!(error, CollectError::SocketClosed { .. }), "{error}");
    assert!(error.to_string().contains("group "), "{error}");
}
