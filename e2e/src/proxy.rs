//! A TCP proxy in a test's hands: a network that stops, and a balancer in front of two servers.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, tcp::OwnedReadHalf, tcp::OwnedWriteHalf},
    sync::watch,
    task::JoinHandle,
};

/// Forwards each connection to the first target that accepts it. Ends when dropped.
pub struct Proxy {
    /// Where it listens.
    pub address: SocketAddr,
    flows: watch::Sender<bool>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    /// Starts on a free port of loopback.
    pub async fn start(targets: Vec<SocketAddr>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let flows = watch::Sender::new(true);
        let gate = flows.subscribe();
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(forward(client, targets.clone(), gate.clone()));
            }
        });
        Self { address, flows, accepting }
    }

    /// From now on nothing passes, in neither direction; nobody is told.
    pub fn stop(&self) {
        self.flows.send_replace(false);
    }

    /// What was held up passes, and what comes.
    pub fn go(&self) {
        self.flows.send_replace(true);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn forward(client: TcpStream, targets: Vec<SocketAddr>, mut gate: watch::Receiver<bool>) {
    if gate.wait_for(|flows| *flows).await.is_err() {
        return;
    }
    for target in targets {
        let Ok(server) = TcpStream::connect(target).await else { continue };
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        tokio::select! {
            () = pump(from_client, to_server, gate.clone()) => {}
            () = pump(from_server, to_client, gate) => {}
        }
        return;
    }
}

async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut gate: watch::Receiver<bool>) {
    let mut bytes = vec![0; 16 * 1024];
    while let Ok(count) = from.read(&mut bytes).await {
        let passes = gate.wait_for(|flows| *flows).await.is_ok();
        if count == 0 || !passes || to.write_all(&bytes[..count]).await.is_err() {
            return;
        }
    }
}
