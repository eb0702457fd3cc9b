//! Sends one `GET` to a server of this machine for a while, over connections that are kept alive; then says how fast it was
//! answered, as JSON.
//!
//!     load URL TOKEN CONNECTIONS SECONDS

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::LocalSet;

struct Load {
    address: String,
    request: Vec<u8>,
    until: Instant,
    /// Microseconds of each request that was answered with 200.
    taken: RefCell<Vec<u32>>,
    refused: Cell<u64>,
    bytes: Cell<usize>,
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let (Some(url), Some(token)) = (arguments.next(), arguments.next()) else { panic!("load URL TOKEN CONNECTIONS SECONDS") };
    let mut number = || arguments.next().and_then(|text| text.parse().ok()).expect("a number");
    let (connections, seconds): (u64, u64) = (number(), number());
    let (address, path) = url.strip_prefix("http://").and_then(|rest| rest.split_once('/')).expect("http://HOST:PORT/PATH");
    assert!(address.starts_with("127.0.0.1:"), "to this machine alone");
    let request = format!("GET /{path} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {token}\r\naccept: */*\r\n\r\n");
    let load = Rc::new(Load {
        address: address.to_owned(),
        request: request.into_bytes(),
        until: Instant::now() + Duration::from_secs(seconds),
        taken: RefCell::default(),
        refused: Cell::new(0),
        bytes: Cell::new(0),
    });
    let started = Instant::now();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    LocalSet::new().block_on(&runtime, async {
        let clients: Vec<_> = (0..connections).map(|_| tokio::task::spawn_local(client(Rc::clone(&load)))).collect();
        for client in clients {
            client.await.expect("no client panics");
        }
    });
    let elapsed = started.elapsed().as_secs_f64();
    let mut taken = load.taken.take();
    taken.sort_unstable();
    let at = |share: f64| taken.get((taken.len() as f64 * share) as usize).copied().unwrap_or_default();
    println!(
        r#"{{"taken":{},"refused":{},"bytes":{},"rate":{:.1},"p50_us":{},"p99_us":{}}}"#,
        taken.len(),
        load.refused.get(),
        load.bytes.get(),
        taken.len() as f64 / elapsed,
        at(0.5),
        at(0.99),
    );
}

async fn client(load: Rc<Load>) {
    let mut stream = TcpStream::connect(&load.address).await.expect("a server");
    stream.set_nodelay(true).expect("a socket");
    let mut buffer = vec![0; 2 * 1024 * 1024];
    while Instant::now() < load.until {
        let sent = Instant::now();
        stream.write_all(&load.request).await.expect("a server that reads");
        let (status, length) = answer(&mut stream, &mut buffer).await;
        if status == 200 {
            load.taken.borrow_mut().push(u32::try_from(sent.elapsed().as_micros()).unwrap_or(u32::MAX));
            load.bytes.set(length);
        } else {
            load.refused.set(load.refused.get() + 1);
        }
    }
}

/// The status of the next answer, which is read to its end, and the length of its body.
async fn answer(stream: &mut TcpStream, buffer: &mut [u8]) -> (u16, usize) {
    let mut filled = 0;
    let mut whole = None;
    loop {
        if let Some((status, head, length)) = whole
            && filled >= head + length
        {
            return (status, length);
        }
        let read = stream.read(&mut buffer[filled..]).await.expect("an answer");
        assert!(read > 0, "the server has hung up");
        filled += read;
        if whole.is_none()
            && let Some(end) = buffer[..filled].windows(4).position(|window| window == b"\r\n\r\n")
        {
            let head = std::str::from_utf8(&buffer[..end]).expect("text");
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().expect("a length"))
            });
            let status = head.get(9..12).and_then(|status| status.parse().ok()).expect("a status");
            whole = Some((status, end + 4, length.unwrap_or(0)));
        }
    }
}
