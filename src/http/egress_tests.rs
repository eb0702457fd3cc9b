use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::str::FromStr;
use std::sync::Mutex;
use std::time::Duration;

use super::*;
use crate::http::{Client, HttpError, Request, Route};

fn special(text: &str) -> bool {
    classify(text.parse().unwrap()) != AddressClass::Public
}

/// The addresses beside a block: one before its first, one after its last.
fn neighbours(block: IpNet) -> Vec<IpAddr> {
    match block {
        IpNet::V4(block) => {
            let (first, last) = (u32::from(block.network()), u32::from(block.broadcast()));
            let beside = [first.checked_sub(1), last.checked_add(1)];
            beside.into_iter().flatten().map(|bits| Ipv4Addr::from(bits).into()).collect()
        }
        IpNet::V6(block) => {
            let (first, last) = (u128::from(block.network()), u128::from(block.broadcast()));
            let beside = [first.checked_sub(1), last.checked_add(1)];
            beside.into_iter().flatten().map(|bits| Ipv6Addr::from(bits).into()).collect()
        }
    }
}

#[test]
fn fault_074_every_block_is_refused_from_its_first_address_to_its_last() {
    for (block, _) in blocks() {
        assert_ne!(classify(block.network()), AddressClass::Public, "{block}");
        assert_ne!(classify(block.broadcast()), AddressClass::Public, "{block}");
    }
}

#[test]
fn what_lies_beside_a_block_is_public_unless_another_block_holds_it() {
    let mut public = 0;
    for address in blocks().flat_map(|(block, _)| neighbours(block)) {
        let held = blocks().any(|(block, _)| block.contains(&address));
        let outside = matches!(address, IpAddr::V6(address) if !GLOBAL_UNICAST.contains(&address));
        assert_eq!(classify(address) != AddressClass::Public, held || outside, "{address}");
        public += usize::from(!held && !outside);
    }
    assert!(public > 25, "the edges are edges: {public}");
}

#[test]
fn fault_074_addresses_that_have_been_used_to_get_in_are_refused() {
    for address in [
        "127.0.0.1",
        "127.255.255.254",
        "0.0.0.0",
        "0.1.2.3",
        "10.0.0.1",
        "172.16.0.1",
        "172.31.255.255",
        "192.168.1.1",
        "100.64.0.1",
        "100.100.100.200",
        "169.254.169.254",
        "169.254.170.2",
        "168.63.129.16",
        "192.0.0.192",
        "198.18.0.1",
        "224.0.0.1",
        "239.255.255.250",
        "255.255.255.255",
        "::",
        "::1",
        "::127.0.0.1",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "::ffff:0:127.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::7f00:1",
        "64:ff9b:1:ffff::1",
        "2002:7f00:1::",
        "2002:a9fe:a9fe::1",
        "2001:0:7f00:1::",
        "2001:db8::1",
        "2001:10::1",
        "2001:20::1",
        "3fff::1",
        "fc00::1",
        "fd00:ec2::254",
        "fd20:ce::254",
        "fe80::1",
        "fe80::a9fe:a9fe",
        "fec0::1",
        "ff02::1",
        "100::1",
        "5f00::1",
        "4000::1",
        "8000::1",
        "1::1",
    ] {
        assert!(special(address), "{address}");
    }
    for address in [
        "1.1.1.1",
        "8.8.8.8",
        "9.255.255.255",
        "11.0.0.0",
        "172.15.255.255",
        "172.32.0.0",
        "192.167.255.255",
        "192.169.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "223.255.255.255",
        "2606:4700:4700::1111",
        "2001:4860:4860::8888",
        "2001:200::1",
        "2a00:1450::1",
        "2003::1",
        "3ffe:ffff::1",
    ] {
        assert!(!special(address), "{address}");
    }
}

#[test]
fn fault_075_a_notation_does_not_hide_an_address() {
    let guard = EgressGuard::new(&[]);
    for host in [
        "127.0.0.1",
        "127.1",
        "127.0.1",
        "0177.0.0.1",
        "0x7f.0.0.1",
        "0x7f000001",
        "2130706433",
        "017700000001",
        "127.0.0.1.",
        "１２７.０.０.１",
        "127。0。0。1",
        "①②⑦.⓪.⓪.①",
        "0",
        "0x0",
        "[::1]",
        "[0:0:0:0:0:0:0:1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::127.0.0.1]",
        "[fd00:ec2::254]",
        "169.254.169.254",
        "0xa9fea9fe",
        "2852039166",
        "%31%32%37.0.0.1",
    ] {
        let url = Url::parse(&format!("https://{host}/")).unwrap_or_else(|error| panic!("{host}: {error}"));
        assert!(guard.check(&url).is_err(), "{host}: {url}");
    }
    for host in
        ["[fe80::1%25eth0]", "[fe80::1%eth0]", "256.0.0.1", "1.2.3.4.5", "0x100000000", "a b", "[::1", "127.0.0.1%00"]
    {
        assert!(Url::parse(&format!("https://{host}/")).is_err(), "{host}");
    }
}

/// Answers with one list after another; the last one for ever.
struct Rebinding {
    answers: Vec<Vec<SocketAddr>>,
    asked: Mutex<usize>,
}

impl Rebinding {
    fn new(answers: &[&[&str]]) -> Arc<Self> {
        let answers =
            answers.iter().map(|list| list.iter().map(|text| (text.parse::<IpAddr>().unwrap(), 0).into()).collect());
        Arc::new(Self { answers: answers.collect(), asked: Mutex::new(0) })
    }
}

impl Resolve for Rebinding {
    fn resolve(&self, _: Name) -> Resolving {
        let mut asked = self.asked.lock().unwrap();
        let answer = self.answers[(*asked).min(self.answers.len() - 1)].clone();
        *asked += 1;
        Box::pin(async move { Ok(Box::new(answer.into_iter()) as Addrs) })
    }
}

/// Answers every request with 204, and says on which addresses it was reached.
fn listener(address: &str) -> (u16, Arc<Mutex<Vec<SocketAddr>>>) {
    let listener = TcpListener::bind((address, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let reached = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&reached);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            noted.lock().unwrap().push(stream.local_addr().unwrap());
            let _ = stream.read(&mut [0; 1024]);
            let _ = stream.write_all(b"HTTP/1.1 204 -\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
        }
    });
    (port, reached)
}

fn send(guard: EgressGuard, url: &str) -> Result<u16, HttpError> {
    let client = Client::guarded(Duration::from_secs(10), guard);
    // Past the route, which leaves plain http to this machine's own names: what is judged here is the guard.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let request = Request::new("POST", Url::parse(url).unwrap());
    runtime.block_on(client.send(request, &Route::Live)).map(|response| response.status)
}

fn allow(list: &[&str]) -> Vec<AllowedAddress> {
    list.iter().map(|text| AllowedAddress::from_str(text).unwrap()).collect()
}

#[test]
fn a_listener_of_this_machine_is_reached_only_where_it_is_allowed() {
    let (port, reached) = listener("127.0.0.1");
    for host in ["127.0.0.1", "localhost"] {
        let url = format!("http://{host}:{port}/");
        let refused = send(EgressGuard::new(&[]), &url).unwrap_err();
        assert!(matches!(refused, HttpError::EgressRefused(EgressRefusal { .. })), "{refused:?}");
        assert!(reached.lock().unwrap().is_empty());
    }
    assert_eq!(send(EgressGuard::new(&allow(&["127.0.0.0/8"])), &format!("http://127.1:{port}/")).unwrap(), 204);
    assert_eq!(
        send(EgressGuard::new(&allow(&["localhost", "::1"])), &format!("http://localhost:{port}/")).unwrap(),
        204
    );
    assert!(
        send(EgressGuard::new(&allow(&["10.0.0.0/8", "other.internal"])), &format!("http://127.0.0.1:{port}/"))
            .is_err()
    );
    assert_eq!(reached.lock().unwrap().len(), 2);
}

#[test]
fn fault_076_the_address_that_was_checked_is_the_one_that_is_called() {
    let (port, reached) = listener("0.0.0.0");
    let url = format!("http://localhost:{port}/");
    // Harmless when it is checked, and somewhere else by the time a second look would connect.
    let resolver = Rebinding::new(&[&["127.0.0.2"], &["127.0.0.1"]]);
    let guard = EgressGuard::resolving_by(&allow(&["127.0.0.2"]), Arc::clone(&resolver) as _);
    assert_eq!(send(guard, &url).unwrap(), 204);
    assert_eq!(*resolver.asked.lock().unwrap(), 1, "asked once");
    assert_eq!(reached.lock().unwrap()[0].ip(), "127.0.0.2".parse::<IpAddr>().unwrap());
    // The other way round: the second answer is checked as well.
    let resolver = Rebinding::new(&[&["127.0.0.2"], &["127.0.0.1"]]);
    let client = Client::guarded(Duration::from_secs(10), EgressGuard::resolving_by(&allow(&["127.0.0.2"]), resolver));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let post = || client.send(Request::new("POST", Url::parse(&url).unwrap()), &Route::Live);
    assert_eq!(runtime.block_on(post()).unwrap().status, 204);
    assert!(matches!(runtime.block_on(post()), Err(HttpError::EgressRefused(_))));
    assert_eq!(reached.lock().unwrap().len(), 2);
}

#[test]
fn fault_077_one_private_answer_among_public_ones_refuses_the_host() {
    let (port, reached) = listener("127.0.0.1");
    for answers in [["127.0.0.1", "93.184.216.34"], ["93.184.216.34", "127.0.0.1"]] {
        let resolver = Rebinding::new(&[&answers]);
        let refused = send(EgressGuard::resolving_by(&[], resolver), &format!("http://localhost:{port}/")).unwrap_err();
        let HttpError::EgressRefused(refusal) = refused else { panic!("{refused:?}") };
        assert_eq!(refusal.address, "127.0.0.1".parse::<IpAddr>().unwrap());
    }
    assert!(reached.lock().unwrap().is_empty());
}

#[test]
fn localhost_is_this_machine_and_nobody_is_asked() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for name in ["localhost", "LOCALHOST.", "app.localhost"] {
        let found = runtime.block_on(SystemResolver.resolve(name.parse().unwrap())).unwrap();
        let addresses: Vec<String> = found.map(|address| address.ip().to_string()).collect();
        assert_eq!(addresses, ["127.0.0.1", "::1"], "{name}");
    }
    for name in ["notlocalhost", "localhost.example", ""] {
        assert!(!is_localhost(name), "{name}");
    }
}
