//! One world: a sync, `api`, `call` and plain requests to `sandbox run` see the same records, also those that were created,
//! changed and deleted, and another account sees none of it.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::Value;

use crate::harness::{Home, Running, finish};
use crate::sync::records;

/// The values by which a record is compared.
type Seen = BTreeSet<Vec<String>>;

/// What a service lists, by each way of asking.
struct World<'a> {
    home: &'a Home,
    connection: &'a str,
    address: String,
    token: String,
    /// Keeps the emulation running.
    _server: Running,
}

/// How a list is read.
struct List {
    /// What `api` and plain requests ask for.
    path: String,
    /// The stream, and what its records have that are in this list.
    stream: &'static str,
    within: Option<(&'static str, String)>,
    records: &'static str,
    compared: &'static [&'static str],
}

impl<'a> World<'a> {
    fn new(home: &'a Home, connection: &'a str) -> Self {
        let connector = connection.split('@').next().unwrap();
        let mut server = Running::start(home.command(["sandbox", "run", connector, "--json"]));
        let origin = server.event()["origin"].as_str().unwrap().trim_end_matches('/').to_owned();
        let address = origin.strip_prefix("http://").unwrap().to_owned();
        let token = home.ok(&format!("token {connection}")).trim().to_owned();
        Self { home, connection, address, token, _server: server }
    }

    /// The status, the headers and the body of a plain request.
    fn get(&self, path: &str) -> (u16, String, Value) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let head = format!(
            "GET {path} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {}\r\nconnection: close\r\n\r\n",
            self.address, self.token
        );
        stream.write_all(head.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, head.to_owned(), serde_json::from_str(body).unwrap_or_default())
    }

    /// A whole list by plain requests, from page to page as the service says it.
    fn plain(&self, list: &List) -> Seen {
        let mut seen = Seen::new();
        let mut path = list.path.clone();
        loop {
            let (status, head, body) = self.get(&path);
            assert_eq!(status, 200, "{path}: {body}");
            let items = body.pointer(list.records).unwrap().as_array().unwrap();
            seen.extend(items.iter().map(|record| list.values(record)));
            let separator = if list.path.contains('?') { '&' } else { '?' };
            let next =
                body.pointer("/response_metadata/next_cursor").and_then(Value::as_str).filter(|next| !next.is_empty());
            path = if let Some((_, link)) = head.split_once("link: <") {
                let link = link.split('>').next().unwrap();
                format!("/{}", link.splitn(4, '/').nth(3).unwrap())
            } else if let Some(next) = next {
                format!("{}{separator}cursor={next}", list.path)
            } else if body["has_more"] == true {
                format!("{}{separator}starting_after={}", list.path, items.last().unwrap()["id"].as_str().unwrap())
            } else {
                return seen;
            };
        }
    }

    fn by_api(&self, list: &List) -> Seen {
        let path = list.path.strip_prefix("/api").unwrap_or(&list.path);
        let pages = self.home.ok(&format!("api {} {path} --paginate", self.connection));
        let pages = serde_json::Deserializer::from_str(&pages).into_iter::<Value>();
        let mut seen = Seen::new();
        for page in pages {
            let page = page.unwrap();
            let items = page.pointer(list.records).or(Some(&page)).and_then(Value::as_array);
            seen.extend(items.unwrap_or_else(|| panic!("{path}: {page}")).iter().map(|record| list.values(record)));
        }
        seen
    }

    fn by_sync(&self, list: &List) -> Seen {
        let stored = records(self.home, &format!("{}/{}", self.connection, list.stream));
        let is_within = |record: &&Value| match &list.within {
            Some((at, text)) => record.pointer(at).and_then(Value::as_str).is_some_and(|known| known.contains(text)),
            None => true,
        };
        stored.values().filter(is_within).map(|record| list.values(record)).collect()
    }

    /// Syncs, and compares what each way of asking shows.
    fn compare(&self, lists: &[List]) -> Vec<Seen> {
        for list in lists {
            self.home.ok(&format!("sync {}/{} --mode full", self.connection, list.stream));
        }
        let compared = lists.iter().map(|list| {
            let (plain, api, synced) = (self.plain(list), self.by_api(list), self.by_sync(list));
            assert!(!plain.is_empty(), "{}", list.path);
            assert_eq!(plain, api, "{} by api", list.path);
            assert_eq!(plain, synced, "{} by sync", list.path);
            plain
        });
        compared.collect()
    }
}

impl List {
    fn values(&self, record: &Value) -> Vec<String> {
        self.compared.iter().map(|at| record.pointer(at).map_or_else(String::new, Value::to_string)).collect()
    }
}

fn result(home: &Home, line: &str) -> Value {
    home.json(&format!("call {line}"))["result"].clone()
}

#[test]
fn a_repository_of_github_is_the_same_by_every_way() {
    let home = Home::new();
    home.ok("connect github --sandbox");
    let world = World::new(&home, "github");
    let within = || Some(("/url", "/repos/acme-sandbox/website-1/".to_owned()));
    let list =
        |path: &str, stream, within, compared| List { path: path.to_owned(), stream, within, records: "", compared };
    let lists = [
        list("/user/repos", "repositories", None, &["/id", "/full_name", "/updated_at"][..]),
        list("/repos/acme-sandbox/website-1/issues", "issues", within(), &["/id", "/number", "/title", "/updated_at"]),
        list(
            "/repos/acme-sandbox/website-1/issues/comments?per_page=5",
            "issue_comments",
            within(),
            &["/id", "/body", "/updated_at"],
        ),
    ];
    let before = world.compare(&lists);
    assert_eq!((before[0].len(), before[1].len(), before[2].len()), (25, 12, 12));
    let at = "owner=acme-sandbox repo=website-1";
    let created = result(&home, &format!("github issues.create {at} title=Created labels=bug"));
    result(&home, &format!("github issues.update {at} issue_number=3 title=Changed state=closed"));
    let comment = result(&home, &format!("github issues.create_comment {at} issue_number=3 body=First"));
    result(&home, &format!("github issues.update_comment {at} comment_id={} body=Second", comment["comment_id"]));
    let gone = before[2].first().unwrap()[0].clone();
    home.ok(&format!("call github issues.delete_comment {at} comment_id={gone}"));
    let after = world.compare(&lists);
    let titles: BTreeSet<&str> = after[1].iter().map(|record| record[2].as_str()).collect();
    assert!(titles.contains("\"Created\"") && titles.contains("\"Changed\""), "{titles:?}");
    assert!(titles.len() > 8, "titles differ: {titles:?}");
    let bodies: Vec<&str> = after[2].iter().map(|record| record[1].as_str()).collect();
    assert!(bodies.contains(&"\"Second\"") && !bodies.contains(&"\"First\""), "{bodies:?}");
    assert!(after[2].iter().all(|record| record[0] != gone) && after[2].len() == 12);
    // One record by itself, by its number and by what leads to it; and one that is not there.
    let (_, _, issue) = world.get(&format!("/repos/acme-sandbox/website-1/issues/{}", created["issue_number"]));
    assert_eq!((&issue["title"], &issue["id"]), (&"Created".into(), &created["id"]));
    let (_, _, repository) = world.get("/repos/acme-sandbox/website-7");
    let id = repository["id"].to_string();
    let known = before[0].iter().any(|known| known[0] == id);
    assert!(known && repository["name"] == "website-7", "{repository}");
    for missing in ["/repos/acme-sandbox/website-99", "/repos/acme-sandbox/website-1/issues/999999"] {
        let (status, _, body) = world.get(missing);
        assert_eq!((status, body["message"].as_str()), (404, Some("Not Found")), "{missing}");
    }
    let missing = home.run(&format!("call github issues.update {at} issue_number=77777 title=x --json"));
    assert_eq!(missing.error_code(), "vendor_not_found");
    // A filter, an order and a size; what the service does not know is ignored.
    let (_, _, closed) = world.get("/repos/acme-sandbox/website-1/issues?state=closed&nonsense=1");
    assert_eq!(closed.as_array().unwrap().len(), 1);
    let (_, _, two) = world.get("/repos/acme-sandbox/website-1/issues?per_page=2&sort=updated&direction=desc");
    let times: Vec<&str> = two.as_array().unwrap().iter().map(|issue| issue["updated_at"].as_str().unwrap()).collect();
    assert!(times.len() == 2 && times[0] >= times[1], "{times:?}");
}

#[test]
fn customers_of_stripe_are_the_same_by_every_way() {
    let home = Home::new();
    home.ok("connect stripe --sandbox");
    let world = World::new(&home, "stripe");
    let list =
        |path: &str, stream, compared| List { path: path.to_owned(), stream, within: None, records: "/data", compared };
    let lists = [
        list("/v1/customers?limit=50", "customers", &["/id", "/email", "/created"][..]),
        list("/v1/charges", "charges", &["/id", "/amount", "/customer", "/created"]),
    ];
    let before = world.compare(&lists);
    let id = |record: &Vec<String>| record[0].trim_matches('"').to_owned();
    let (changed, gone) = (id(before[0].first().unwrap()), id(before[0].last().unwrap()));
    let amounts: BTreeSet<&String> = before[1].iter().map(|charge| &charge[1]).collect();
    assert!(amounts.len() > 50, "{} amounts", amounts.len());
    let customers: BTreeSet<&String> = before[0].iter().map(|customer| &customer[0]).collect();
    assert!(before[1].iter().all(|charge| customers.contains(&charge[2])), "every charge is of a customer");
    let created = result(&home, "stripe customers.create email=new@example.org")["customer"].clone();
    result(&home, &format!("stripe customers.update customer={changed} email=changed@example.org"));
    assert_eq!(result(&home, &format!("stripe customers.delete customer={gone}"))["deleted"], true);
    let after = world.compare(&lists);
    assert_eq!(after[0].len(), before[0].len());
    let mail = |id: &str| after[0].iter().find(|record| record[0].contains(id)).map(|record| record[1].clone());
    assert_eq!(mail(created.as_str().unwrap()).as_deref(), Some("\"new@example.org\""));
    assert_eq!(mail(&changed).as_deref(), Some("\"changed@example.org\""));
    assert_eq!(mail(&gone), None);
    let (_, _, found) = world.get("/v1/customers?email=new%40example.org");
    assert_eq!(found["data"].as_array().unwrap().len(), 1, "{found}");
    assert_eq!(world.get(&format!("/v1/customers/{gone}")).0, 404);
    home.ok("sandbox reset stripe");
    assert_eq!(world.plain(&lists[0]).len(), before[0].len());
}

#[test]
fn two_teams_of_slack_are_two_worlds() {
    let home = Home::new();
    let scopes =
        "--scope channels:read --scope channels:history --scope users:read --scope chat:write --scope channels:manage";
    for account in ["acme", "beta"] {
        let said = home.ok(&format!("connect slack@{account} --sandbox {scopes}"));
        assert!(said.contains(if account == "acme" { "as Acme (sandbox)" } else { "as Beta (sandbox)" }), "{said}");
    }
    let world = World::new(&home, "slack@acme");
    let channels = || List {
        path: "/api/conversations.list".to_owned(),
        stream: "channels",
        within: None,
        records: "/channels",
        compared: &["/id", "/name", "/updated"],
    };
    let channel = world.plain(&channels()).first().unwrap()[0].trim_matches('"').to_owned();
    let messages = List {
        path: format!("/api/conversations.history?channel={channel}"),
        stream: "messages",
        within: Some(("/channel", channel.clone())),
        records: "/messages",
        compared: &["/ts", "/text", "/user"],
    };
    let lists = [channels(), messages];
    let before = world.compare(&lists);
    let ts: Vec<String> = before[1].iter().map(|message| message[0].trim_matches('"').to_owned()).collect();
    let posted = result(&home, &format!("slack@acme chat.postMessage channel={channel} text=Posted"));
    result(&home, &format!("slack@acme chat.update channel={channel} ts={} text=Edited", ts[0]));
    result(&home, &format!("slack@acme chat.delete channel={channel} ts={}", ts[1]));
    result(&home, "slack@acme conversations.create name=launch");
    let after = world.compare(&lists);
    assert_eq!((after[0].len(), after[1].len()), (before[0].len() + 1, before[1].len()));
    let texts: Vec<(&str, &str)> =
        after[1].iter().map(|message| (message[0].trim_matches('"'), message[1].as_str())).collect();
    assert!(texts.contains(&(posted["ts"].as_str().unwrap(), "\"Posted\"")) && texts.contains(&(&ts[0], "\"Edited\"")));
    assert!(texts.iter().all(|(known, _)| *known != ts[1]));
    // GET and POST are the same to Slack.
    for method in ["GET", "POST"] {
        assert_eq!(home.json(&format!("api slack@acme auth.test -X {method}"))["team"], "Acme");
    }
    let other = World::new(&home, "slack@beta");
    let theirs = other.plain(&channels());
    assert_eq!(theirs.len(), before[0].len());
    let ids = |of: &Seen| of.iter().map(|record| record[0].clone()).collect::<BTreeSet<_>>();
    assert!(ids(&theirs).is_disjoint(&ids(&after[0])), "accounts share channels");
    let missing = home.run(&format!("call slack@acme chat.update channel={channel} ts=1.000001 text=x --json"));
    assert!(missing.stderr.contains("message_not_found"), "{missing:?}");
}

#[test]
fn accounts_differ_in_every_form_and_a_scope_that_does_not_exist_is_refused() {
    let home = Home::new();
    let account = |connection: &str| home.json(&format!("status {connection}"))["connections"][0]["account"].clone();
    for (line, id, name) in [
        ("google-sheets@zoe", "10", "zoe@example.com"),
        ("gmail@zoe", "zoe@example.com", "zoe@example.com"),
        ("github@my-team", "", "my-team"),
        ("stripe@my-team", "acct_", "My Team"),
    ] {
        home.ok(&format!("connect {line} --sandbox"));
        let account = account(line);
        assert!(account["id"].as_str().unwrap().starts_with(id), "{account}");
        assert_eq!(account["name"], name, "{line}");
    }
    let subject = account("google-sheets@zoe")["id"].as_str().unwrap().to_owned();
    assert!(subject.len() == 21 && subject.bytes().all(|byte| byte.is_ascii_digit()), "{subject}");
    home.ok("connect jira --sandbox");
    let url = home.json("token jira --format json")["parts"]["site_url"].clone();
    assert_eq!(url, "https://acme-sandbox.atlassian.net");
    for line in ["connect slack --sandbox --scope nope", "connect github --sandbox --device --no-browser --scope nope"]
    {
        let refused = home.run(&format!("{line} --json"));
        assert!(refused.code != 0 && refused.stderr.contains("invalid_scope"), "{refused:?}");
        let connector = line.split(' ').nth(1).unwrap();
        assert!(refused.stderr.contains(&format!("integ connector show {connector}")), "{refused:?}");
    }
    assert_eq!(home.run("token slack").code, 3);
}

#[test]
fn the_readme_prints_what_the_sandbox_prints() {
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let start = "$ integ connect github --sandbox\n";
    let block = readme.split("```console\n").find(|block| block.starts_with(start)).unwrap();
    let block = block.split("```").next().unwrap();
    let home = Home::new();
    let mut commands = 0;
    for example in block.split("$ integ ").skip(1) {
        let (command, shown) = example.split_once('\n').unwrap();
        let words = shlex::split(command).unwrap();
        let ran = finish(home.command(words));
        assert_eq!(ran.code, 0, "{command}: {ran:?}");
        let printed: Vec<&str> = ran.stdout.lines().collect();
        let shown: Vec<&str> = shown.lines().collect();
        assert!(printed.starts_with(&shown), "{command} prints {printed:?}, not {shown:?}");
        commands += 1;
    }
    assert_eq!(commands, 4);
}
