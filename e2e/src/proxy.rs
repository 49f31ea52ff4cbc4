//! A TCP proxy in a test's hands: a network that stops, cuts, corrupts, crawls or goes dead without a word,
//! what does to HTTP/2 what proxies do, and a balancer in front of several servers.

use std::{
    collections::{HashSet, VecDeque},
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, tcp::OwnedReadHalf, tcp::OwnedWriteHalf},
    sync::watch,
    task::JoinHandle,
};

/// What the network does. Connections are numbered as they come.
#[derive(Debug, Clone, Copy)]
struct Weather {
    flows: bool,
    /// Connections up to this one are cut.
    cut_up_to: u64,
    /// Nothing passes on connections up to this one.
    dead_up_to: u64,
    /// On connections up to this one a byte of so many is another.
    corrupt_up_to: u64,
    corrupt_every: u64,
    /// Bytes pass in pieces of this size, with a pause after each.
    piece_bytes: usize,
    pause: Duration,
    http2: Http2,
}

/// What becomes of connections that begin with HTTP/2. Those with HTTP/1.1 pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Http2 {
    /// They pass.
    Passes,
    /// They are answered as a proxy does that speaks HTTP/1.1 only.
    Refused,
    /// They are cut after this time.
    CutAfter(Duration),
    /// An answer comes through once it is whole, as with a proxy that collects answers.
    Collected,
}

/// How a connection over HTTP/2 begins (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0";

const FINE: Weather = Weather {
    flows: true,
    cut_up_to: 0,
    dead_up_to: 0,
    corrupt_up_to: 0,
    corrupt_every: u64::MAX,
    piece_bytes: usize::MAX,
    pause: Duration::ZERO,
    http2: Http2::Passes,
};

/// Forwards each connection to one target that accepts it. Ends when dropped.
pub struct Proxy {
    /// Where it listens.
    pub address: SocketAddr,
    weather: watch::Sender<Weather>,
    counts: Arc<Counts>,
    accepting: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Counts {
    connections: AtomicU64,
    passed: AtomicU64,
    corrupted: AtomicU64,
}

/// One connection's view.
#[derive(Clone)]
struct Line {
    number: u64,
    /// Answers of HTTP/2 are collected.
    collects: bool,
    weather: watch::Receiver<Weather>,
    counts: Arc<Counts>,
}

impl Proxy {
    /// Starts on a free port of loopback.
    pub async fn start(targets: Vec<SocketAddr>) -> Self {
        Self::begin(targets, false).await
    }

    /// A plain TCP balancer: each connection goes to the next target in turn that accepts it.
    pub async fn balancer(targets: Vec<SocketAddr>) -> Self {
        Self::begin(targets, true).await
    }

    /// On the way to a database. Answers the database's address by this way too.
    pub async fn before(database_url: &str) -> (Self, String) {
        let (head, tail) = database_url.rsplit_once('/').unwrap();
        let (scheme, host) =
            head.rsplit_once('@').unwrap_or_else(|| head.split_once("://").unwrap());
        let joint = if head.contains('@') { "@" } else { "://" };
        let proxy = Self::start(tokio::net::lookup_host(host).await.unwrap().collect()).await;
        let url = format!("{scheme}{joint}{}/{tail}", proxy.address);
        (proxy, url)
    }

    async fn begin(targets: Vec<SocketAddr>, in_turn: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let weather = watch::Sender::new(FINE);
        let counts = Arc::new(Counts::default());
        let (view, counted) = (weather.subscribe(), Arc::clone(&counts));
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let number = counted.connections.fetch_add(1, Relaxed) + 1;
                let line = Line {
                    number,
                    collects: false,
                    weather: view.clone(),
                    counts: Arc::clone(&counted),
                };
                let mut targets = targets.clone();
                if in_turn {
                    let turn = usize::try_from(number).unwrap() % targets.len();
                    targets.rotate_left(turn);
                }
                tokio::spawn(admit(client, targets, line));
            }
        });
        Self { address, weather, counts, accepting }
    }

    fn so_far(&self) -> u64 {
        self.counts.connections.load(Relaxed)
    }

    /// From now on nothing passes, in neither direction; nobody is told.
    pub fn stop(&self) {
        self.weather.send_modify(|weather| weather.flows = false);
    }

    /// From now on new connections over HTTP/2 fare so.
    pub fn http2(&self, rule: Http2) {
        self.weather.send_modify(|weather| weather.http2 = rule);
    }

    /// What was held up passes, and what comes.
    pub fn go(&self) {
        self.weather.send_modify(|weather| weather.flows = true);
    }

    /// Ends every connection that there is.
    pub fn cut(&self) {
        let all = self.so_far();
        self.weather.send_modify(|weather| weather.cut_up_to = all);
    }

    /// Every connection that there is goes dead: open for both sides, and nothing passes ever again.
    pub fn forget(&self) {
        let all = self.so_far();
        self.weather.send_modify(|weather| weather.dead_up_to = all);
    }

    /// On every connection that there is, one byte of so many arrives as another.
    pub fn corrupt(&self, every: u64) {
        let all = self.so_far();
        self.weather.send_modify(|weather| {
            (weather.corrupt_up_to, weather.corrupt_every) = (all, every);
        });
    }

    /// Bytes that arrived as others.
    pub fn corrupted(&self) -> u64 {
        self.counts.corrupted.load(Relaxed)
    }

    /// Bytes pass in pieces of a size, with a pause after each.
    pub fn crawl(&self, piece_bytes: usize, pause: Duration) {
        self.weather.send_modify(|weather| {
            (weather.piece_bytes, weather.pause) = (piece_bytes, pause);
        });
    }

    /// Bytes pass as they come again.
    pub fn hurry(&self) {
        self.crawl(usize::MAX, Duration::ZERO);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn admit(mut client: TcpStream, targets: Vec<SocketAddr>, line: Line) {
    let rule = line.weather.borrow().http2;
    if rule == Http2::Passes || !begins_http2(&client).await {
        return forward(client, targets, line).await;
    }
    match rule {
        Http2::Passes => {}
        Http2::Collected => forward(client, targets, Line { collects: true, ..line }).await,
        Http2::Refused => {
            let no = b"HTTP/1.1 505 HTTP Version Not Supported\r\ncontent-length: 0\r\n\r\n";
            // Whoever has gone needs no answer.
            let _ = client.write_all(no).await;
        }
        Http2::CutAfter(time) => {
            let _cut = tokio::time::timeout(time, forward(client, targets, line)).await;
        }
    }
}

/// Looks at the first bytes, and leaves them where they are.
async fn begins_http2(client: &TcpStream) -> bool {
    let mut bytes = [0; PREFACE.len()];
    loop {
        match client.peek(&mut bytes).await {
            Ok(0) | Err(_) => return false,
            Ok(count) if !PREFACE.starts_with(&bytes[..count]) => return false,
            Ok(count) if count == PREFACE.len() => return true,
            Ok(_) => tokio::task::yield_now().await,
        }
    }
}

async fn forward(client: TcpStream, targets: Vec<SocketAddr>, mut line: Line) {
    if line.weather.wait_for(|weather| weather.flows).await.is_err() {
        return;
    }
    for target in targets {
        let Ok(server) = TcpStream::connect(target).await else { continue };
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        let (number, mut weather) = (line.number, line.weather.clone());
        tokio::select! {
            () = pump(from_client, to_server, line.clone()) => {}
            () = answer(from_server, to_client, line) => {}
            _ = weather.wait_for(|weather| weather.cut_up_to >= number) => {}
        }
        return;
    }
}

async fn answer(from: OwnedReadHalf, to: OwnedWriteHalf, line: Line) {
    if line.collects {
        // Whichever side ends, the connection does.
        let _ended = collect(from, to).await;
    } else {
        pump(from, to, line).await;
    }
}

/// Frames of an answer (RFC 9113, section 6) wait in order until the first one's stream has ended; what
/// belongs to the connection passes.
async fn collect(mut from: OwnedReadHalf, mut to: OwnedWriteHalf) -> std::io::Result<()> {
    const HEADER_BYTES: usize = 9;
    const DATA: u8 = 0;
    const HEADERS: u8 = 1;
    const RESET: u8 = 3;
    const CONTINUATION: u8 = 9;
    const END_STREAM: u8 = 1;
    let (mut waiting, mut ended) = (VecDeque::new(), HashSet::new());
    loop {
        let mut frame = vec![0; HEADER_BYTES];
        from.read_exact(&mut frame).await?;
        let length = u32::from_be_bytes([0, frame[0], frame[1], frame[2]]);
        let (kind, flags) = (frame[3], frame[4]);
        let stream = [frame[5], frame[6], frame[7], frame[8]];
        frame.resize(HEADER_BYTES + length as usize, 0);
        from.read_exact(&mut frame[HEADER_BYTES..]).await?;
        if ![DATA, HEADERS, RESET, CONTINUATION].contains(&kind) {
            to.write_all(&frame).await?;
            continue;
        }
        waiting.push_back((stream, frame));
        if kind == RESET || ([DATA, HEADERS].contains(&kind) && flags & END_STREAM != 0) {
            ended.insert(stream);
        }
        while let Some((_, frame)) = waiting.pop_front_if(|(stream, _)| ended.contains(stream)) {
            to.write_all(&frame).await?;
        }
    }
}

async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut line: Line) {
    let mut bytes = vec![0; 16 * 1024];
    while let Ok(count) = from.read(&mut bytes).await {
        let mut rest = &mut bytes[..count];
        if rest.is_empty() {
            return;
        }
        while !rest.is_empty() {
            let number = line.number;
            let passes = |weather: &Weather| weather.flows && weather.dead_up_to < number;
            let Ok(weather) = line.weather.wait_for(passes).await.map(|weather| *weather) else {
                return;
            };
            let piece = rest.len().min(weather.piece_bytes);
            line.spoil(&mut rest[..piece], &weather);
            if to.write_all(&rest[..piece]).await.is_err() {
                return;
            }
            rest = &mut rest[piece..];
            if !weather.pause.is_zero() {
                tokio::time::sleep(weather.pause).await;
            }
        }
    }
}

impl Line {
    fn spoil(&self, bytes: &mut [u8], weather: &Weather) {
        for byte in bytes {
            let passed = self.counts.passed.fetch_add(1, Relaxed) + 1;
            if self.number <= weather.corrupt_up_to && passed.is_multiple_of(weather.corrupt_every)
            {
                *byte ^= 0x10;
                self.counts.corrupted.fetch_add(1, Relaxed);
            }
        }
    }
}
