//! A service that lists records of about 1 KB, 100 a page, as fast as it can: what `tests/bench/sync` pulls from.
//!
//!     list_server [RECORDS [DELAY_MS]]
//!
//! Prints its URL, answers on loopback, and ends when its stdin closes. Every page is made when it is asked for. Under
//! `/link/NAME` a `Link` header leads to the next page, under `/cursor/NAME` a cursor in the body, and under `/page/NAME` the
//! body says how many pages there are. With `since` nothing is new. `/tenths` tells, in seconds, when each tenth of the
//! pages had been asked for, and forgets it.

#![expect(clippy::disallowed_methods, reason = "it is another program, with a clock of its own")]

use std::fmt::Write as _;
use std::io::{Read, Write as _};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use integ::http::serve::{FullResponse, Request, Response, Server};
use url::form_urlencoded;

const PER_PAGE: u64 = 100;

/// Bytes of a record.
const SIZE: usize = 1_000;

const TEXT: &str = "The printer on the second floor takes paper from the wrong tray when it is asked for a letter head, \
    and nobody has found out why. It began on a Monday, after somebody had turned it off and on again; since then every third \
    page comes out grey. We have cleaned it, we have changed the drum, and we have read the manual aloud to it. The people \
    of accounting now walk up to the fourth floor, where the printer is older and kinder, and they would like to have \
    theirs back before the end of the quarter. There is a photograph of the tray in the shared folder, which shows a \
    screw that belongs to nothing. Whoever knows where it comes from is asked to tell the front desk. ";

struct Service {
    records: u64,
    delay: Duration,
    begun: Mutex<Vec<Instant>>,
    asked: Mutex<u64>,
}

fn main() -> std::io::Result<()> {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse().expect("a number"));
    let records = arguments.next().unwrap_or(200_000);
    let delay = Duration::from_millis(arguments.next().unwrap_or(0));
    let service = Arc::new(Service { records, delay, begun: Mutex::default(), asked: Mutex::default() });
    let listener = TcpListener::bind("127.0.0.1:0")?;
    writeln!(std::io::stdout(), "http://{}", listener.local_addr()?)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let _server = Server::start(vec![listener], move |request| Arc::clone(&service).answer(request))?;
        let closed = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()));
        closed.await.map_err(std::io::Error::other)?.map(|_| ())
    })
}

impl Service {
    async fn answer(self: Arc<Self>, request: Request<hyper::body::Bytes>) -> FullResponse {
        let path = request.uri().path();
        let query = |name: &str| {
            let pairs = form_urlencoded::parse(request.uri().query().unwrap_or_default().as_bytes());
            pairs.into_owned().find(|(known, _)| known == name).map(|(_, value)| value)
        };
        if path == "/tenths" {
            let tenths = std::mem::take(&mut *self.begun.lock().expect("one thread"));
            *self.asked.lock().expect("one thread") = 0;
            let seconds: Vec<f64> = tenths.iter().map(|tenth| tenth.duration_since(tenths[0]).as_secs_f64()).collect();
            return answer(200, None, format!("{seconds:?}"));
        }
        if request.headers().get("authorization").is_none_or(|value| value != "Bearer 0123456789abcdef") {
            return answer(401, None, r#"{"message":"no such token"}"#.to_owned());
        }
        let pages = self.records.div_ceil(PER_PAGE);
        let number = |name| query(name).and_then(|text| text.parse::<u64>().ok()).unwrap_or(1);
        let kind = path.split('/').nth(1).unwrap_or_default();
        if kind == "me" {
            return answer(200, None, r#"{"id":"bench"}"#.to_owned());
        }
        if !self.delay.is_zero() {
            tokio::time::sleep(self.delay).await;
        }
        let page = number(if kind == "cursor" { "cursor" } else { "page" });
        let nothing_new = query("since").is_some();
        let last = nothing_new || page >= pages;
        let mut list = String::with_capacity(110 * 1024);
        if nothing_new {
            list.push_str("[]");
        } else {
            self.list(page, pages, &mut list);
        }
        match kind {
            "link" => {
                let next = format!("<{path}?page={}>; rel=\"next\"", page + 1);
                answer(200, (!last).then_some(next), list)
            }
            "cursor" => {
                let next = if last { "null".to_owned() } else { format!("\"{}\"", page + 1) };
                answer(200, None, format!("{{\"items\":{list},\"next\":{next}}}"))
            }
            "page" => answer(200, None, format!("{{\"items\":{list},\"page\":{page},\"pages\":{pages}}}")),
            _ => answer(404, None, "{}".to_owned()),
        }
    }

    fn list(&self, page: u64, pages: u64, list: &mut String) {
        let mut asked = self.asked.lock().expect("one thread");
        if asked.is_multiple_of(pages.div_ceil(10)) || *asked + 1 == pages {
            self.begun.lock().expect("one thread").push(Instant::now());
        }
        *asked += 1;
        let first = (page - 1) * PER_PAGE + 1;
        let mut sign = '[';
        for id in first..(first + PER_PAGE).min(self.records + 1) {
            list.push(sign);
            sign = ',';
            record(id, list).expect("a string takes all");
        }
        list.push(']');
    }
}

fn record(id: u64, list: &mut String) -> Result<(), std::fmt::Error> {
    let begin = list.len();
    let (day, hour, minute, second) = (id / 86_400 % 28 + 1, id / 3_600 % 24, id / 60 % 60, id % 60);
    let month = id / (86_400 * 28) % 12 + 1;
    write!(
        list,
        r#"{{"id":{id},"number":"T-{id:08}","title":"Printer {}","state":"{}","amount":{}.25,"urgent":{},"#,
        id % 977,
        if id.is_multiple_of(3) { "open" } else { "closed" },
        id % 1_000,
        id.is_multiple_of(7),
    )?;
    write!(
        list,
        r#""requester":{{"id":{},"email":"user{}@example.com"}},"labels":["printer","floor {}"],"assignee":null,"#,
        id % 5_003,
        id % 5_003,
        id % 9,
    )?;
    let year = 2020;
    write!(list, r#""updated_at":"{year}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z","body":""#)?;
    let length = SIZE.saturating_sub(list.len() - begin + 2);
    let text = &TEXT[usize::try_from(id % 499).unwrap_or_default()..];
    list.push_str(&text[..text.len().min(length)]);
    list.push_str(&TEXT[..length.saturating_sub(text.len())]);
    list.push_str("\"}");
    Ok(())
}

fn answer(status: u16, link: Option<String>, body: String) -> FullResponse {
    let mut answer = Response::builder().status(status).header("content-type", "application/json");
    if let Some(link) = link {
        answer = answer.header("link", link);
    }
    answer.body(body.into()).unwrap_or_else(|_: hyper::http::Error| unreachable!("headers of our own"))
}
