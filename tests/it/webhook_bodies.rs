//! Bodies of webhooks: every content type, character set, encoding and size up to the connector's limit. Random requests that
//! the vendors' SDKs sign are taken, and stored byte for byte.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::Instant;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use integ::clock::{self, Timestamp};
use integ::connector::Catalogue;
use integ::model::EventId;
use integ::signing::request::WebhookRequest;
use serde_json::{Value, json};
use url::Url;

use crate::webhook::{Listening, post};
use crate::webhook_sdk::{SCHEMES, Scheme, World, is_here};

/// Numbers that look random, and are the same for the same seed (xorshift64*).
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.roll() >> 33).unwrap() % end
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        std::iter::repeat_with(|| self.roll().to_le_bytes()).flatten().take(length).collect()
    }
}

/// Schemes whose SDKs take a body as bytes; the others take texts, which are UTF-8.
const BY_BYTES: [&str; 7] = ["twilio-json", "discord", "google", "typeform", "quickbooks", "whatsapp", "jira"];

/// Those that no SDK signs: the published formula does.
const BY_FORMULA: [&str; 7] = ["slack", "discord", "google", "typeform", "trello", "quickbooks", "jira"];

const KINDS: [&str; 20] = [
    "application/json",
    "application/json; charset=utf-8",
    "application/json; charset=ISO-8859-1",
    "application/json;charset=\"UTF-16LE\"",
    "application/vnd.api+json",
    "application/cloudevents+json; charset=UTF-8",
    "text/json",
    "application/x-www-form-urlencoded",
    "application/x-www-form-urlencoded; charset=windows-1252",
    "text/xml; charset=ISO-8859-15",
    "application/soap+xml; charset=utf-16",
    "application/xml",
    "text/plain",
    "text/plain; charset=Shift_JIS",
    "text/csv; header=present",
    "multipart/form-data; boundary=x",
    "application/octet-stream",
    "image/png",
    "application/json; charset=klingon",
    "",
];

const CODINGS: [&str; 8] = ["", "", "gzip", "deflate", "bare", "false gzip", "cut gzip", "br"];

/// A text, which is JSON more often than not.
fn text(dice: &mut Dice, size: usize) -> String {
    let filler: String =
        std::iter::repeat_with(|| dice.of(&["x", " ", "é", "日", "🎉", "\\\"", "0", "%41"])).take(size / 2).collect();
    let id = format!("{:016x}", dice.roll());
    match dice.below(9) {
        0 => format!(r#"{{"id":"{id}","type":"invoice.paid","text":"{filler}"}}"#),
        1 => format!(r#"{{"id":"{id}","type":"a.b","text":"Thanks \ud83d","at":1e400,"n":1.10,"f":"{filler}"}}"#),
        2 => format!(r#"{{"id":"{id}","deep":{}1{}}}"#, "[".repeat(200), "]".repeat(200)),
        3 => format!("\u{feff}[{{\"id\":\"{id}\",\"f\":[\"{filler}\"]}}]"),
        4 => format!("<?xml version=\"1.0\" encoding=\"ISO-8859-1\"?><e id=\"{id}\">{}</e>", filler.replace('"', "")),
        5 => format!("id={id}&tag=a&tag=b&{}", form(dice, size)),
        6 => format!("{id} {filler}"),
        7 => format!("{{\"id\":\"{id}\",\"broken\":[1,2"),
        _ => [String::new(), "null".to_owned(), "\r\n".to_owned(), "0".to_owned()][dice.below(4)].clone(),
    }
}

/// Names in ASCII, as vendors have them.
fn form(dice: &mut Dice, size: usize) -> String {
    let mut pairs = url::form_urlencoded::Serializer::new(String::new());
    for number in 0..=size / 20 {
        let name = dice.of(&["From", "To", "Body", "list[]", "a b"]);
        pairs.append_pair(name, &format!("{number} {}", dice.of(&["é", "x=y&z", "", "+49", "🎉"])));
    }
    pairs.finish()
}

/// A body in the form that a scheme can sign, with its content type and encoding.
fn body(dice: &mut Dice, scheme: &Scheme, most: usize, largest: bool) -> (Vec<u8>, &'static str, &'static str) {
    let size = match dice.below(100) {
        _ if largest => most,
        0 => dice.below(1024 * 1024),
        1..10 => dice.below(100 * 1024),
        _ => dice.below(2000),
    };
    let kind = dice.of(&KINDS);
    if scheme.name == "twilio-form" {
        return (form(dice, size.min(20_000)).into_bytes(), KINDS[7], "");
    }
    let is_text = !BY_BYTES.contains(&scheme.name);
    let mut bytes = match dice.below(4) {
        _ if is_text => text(dice, size).into_bytes(),
        0 => dice.bytes(size),
        1 => text(dice, size).encode_utf16().flat_map(u16::to_le_bytes).collect(),
        2 => text(dice, size).chars().map(|c| u8::try_from(c).unwrap_or(0xe9)).collect(),
        _ => text(dice, size).into_bytes(),
    };
    if largest {
        bytes.resize(most, b' ');
    }
    bytes.truncate(most);
    if is_text {
        // Half a character is not text.
        let length = String::from_utf8_lossy(&bytes).trim_end_matches('\u{fffd}').len();
        bytes.truncate(length);
    }
    if bytes.is_empty() && is_text && !BY_FORMULA.contains(&scheme.name) {
        // Some libraries sign no empty body.
        bytes.push(b' ');
    }
    let coding = if is_text || largest { dice.of(&["", "identity", "false gzip"]) } else { dice.of(&CODINGS) };
    let (bytes, named) = match coding {
        "gzip" => (gzip(&bytes), "gzip"),
        "cut gzip" => {
            let whole = gzip(&bytes);
            (whole[..whole.len() / 2].to_vec(), "gzip")
        }
        "false gzip" => (bytes, "gzip"),
        "deflate" => {
            let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(&bytes).unwrap();
            (encoder.finish().unwrap(), "deflate")
        }
        "bare" => {
            let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(&bytes).unwrap();
            (encoder.finish().unwrap(), "deflate")
        }
        other => (bytes, other),
    };
    (bytes, kind, named)
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// What one scheme is sent with.
struct Sending<'s> {
    scheme: &'s Scheme,
    sample: WebhookRequest,
    key: Value,
    most: usize,
}

/// A request with a random body, not yet signed, and the id of its delivery.
fn random_request(dice: &mut Dice, sending: &Sending<'_>, largest: bool) -> (String, WebhookRequest) {
    let (body, kind, coding) = body(dice, sending.scheme, sending.most, largest);
    let mut request = WebhookRequest { body, ..sending.sample.clone() };
    request.headers.retain(|(name, _)| !["content-type", "webhook-id"].contains(&name.to_ascii_lowercase().as_str()));
    let id = format!("msg_{:016x}", dice.roll());
    for (name, value) in [("Content-Type", kind), ("Content-Encoding", coding)] {
        if !value.is_empty() {
            request.set_header(name, value);
        }
    }
    for name in ["X-GitHub-Delivery", "X-Atlassian-Webhook-Identifier", "Idempotency-Key"] {
        if request.single_header(name).is_some() {
            request.set_header(name, &id);
        }
    }
    (id, request)
}

/// Sends a request that must be taken, and returns the line of its event.
fn taken(url: &Url, request: &WebhookRequest, listening: &mut Listening, what: &dyn Fn(&str) -> String) -> Value {
    let status = post(url, request);
    assert!(status.is_some_and(|status| status / 100 == 2), "{}", what(&format!("{status:?}")));
    let line = listening.event();
    let told = (&line["event"], &line["verified"], &line["conflict"]);
    assert_eq!(told, (&json!("received"), &json!(true), &Value::Null), "{}", what(&line.to_string()));
    line
}

/// `INTEG_TEST_ROUNDS=10000 cargo test --test it random_bodies -- --nocapture` sends so many.
#[test]
fn random_bodies_that_the_vendors_sdks_sign_are_taken_and_stored_byte_for_byte() {
    const TOGETHER: usize = 40;
    // No divisor in common with the number of schemes, so that each gets its turn.
    const LARGEST_EVERY: usize = 271;
    if !is_here() {
        return;
    }
    let rounds: usize = std::env::var("INTEG_TEST_ROUNDS").map_or(240, |rounds| rounds.parse().unwrap());
    let mut world = World::new();
    let mut listening = Listening::start(&world.home, "", None);
    let catalogue = Catalogue::new(std::path::Path::new("/nonexistent"));
    // PayPal must be asked about each event, which another test does.
    let schemes = SCHEMES.iter().filter(|scheme| !matches!(scheme.name, "endpoint" | "paypal"));
    let sendings: Vec<Sending<'_>> = schemes
        .map(|scheme| {
            let connector = catalogue.get(scheme.to.trim_end_matches("-rule")).unwrap();
            let most = connector.webhook.as_ref().unwrap().max_body_mib as usize * 1024 * 1024;
            let sample = world.sample(scheme, &listening.url(scheme.to));
            Sending { scheme, sample, key: world.key(scheme, false), most }
        })
        .collect();
    let seed = u64::from_ne_bytes(clock::random::<8>()) | 1;
    let store = crate::vault::shared_store(&world.home);
    let (mut dice, started) = (Dice(seed), Instant::now());
    let (mut bytes, mut largest_body, mut again) = (0, 0, 0);
    let mut by: BTreeMap<&str, usize> = BTreeMap::new();
    let mut done = 0;
    while done < rounds {
        let mut batch = Vec::new();
        let count = TOGETHER.min(rounds - done);
        for index in 0..count {
            let total = sendings.len();
            let sending = &sendings[(done + index) % total];
            // The largest that the connector allows, now and then.
            let largest = (done + index) % LARGEST_EVERY == 7 && sending.scheme.name != "twilio-form";
            let (id, request) = random_request(&mut dice, sending, largest);
            batch.push((sending.scheme, id, sending.key.clone(), request));
        }
        let at = Timestamp::now().as_second();
        let wishes: Vec<Value> = batch
            .iter()
            .map(|(scheme, id, key, request)| {
                json!({ "sign": scheme.name, "key": key, "at": at, "url": request.url, "id": id,
                        "body64": STANDARD.encode(&request.body) })
            })
            .collect();
        let signed = world.peer.ask(&json!({ "batch": wishes }));
        for ((scheme, .., mut request), signed) in batch.into_iter().zip(signed.as_array().unwrap()) {
            for (name, value) in signed["headers"].as_object().unwrap() {
                request.set_header(name, value.as_str().unwrap());
            }
            let url: Url = signed["url"].as_str().unwrap().parse().unwrap();
            let what = |why: &str| {
                let start = String::from_utf8_lossy(&request.body[..request.body.len().min(300)]).into_owned();
                format!(
                    "{why}, seed {seed}: {} {} bytes {:?} {start}",
                    scheme.name,
                    request.body.len(),
                    request.headers
                )
            };
            let line = taken(&url, &request, &mut listening, &what);
            assert_eq!(line["connection"], scheme.to, "{}", what(&line.to_string()));
            again += usize::from(line["duplicate"] == true);
            let id = EventId(line["id"].as_i64().unwrap());
            let kept = crate::vault::wait(store.events().raw_request(id)).unwrap().unwrap();
            assert!(kept.body == request.body, "{}", what("another body is stored"));
            bytes += kept.body.len();
            largest_body = largest_body.max(kept.body.len());
            *by.entry(if BY_FORMULA.contains(&scheme.name) { "formula" } else { "SDK" }).or_default() += 1;
            done += 1;
        }
    }
    let figures = json!({
        "requests": done, "schemes": sendings.len(), "seconds": started.elapsed().as_secs(), "bytes": bytes,
        "largest_body": largest_body, "repeated": again, "signed_by": by,
    });
    println!("figures: {figures}");
}
