//! A browser without scripts: cookies, links, forms and redirects.

use std::collections::BTreeMap;

use url::{Url, form_urlencoded};

use crate::server::client::{Client, Reply};

/// A browser at one server.
pub struct Browser {
    client: Client,
    url: Url,
    pub cookies: BTreeMap<String, String>,
}

/// A page.
pub struct Page {
    pub status: u16,
    /// Its path with the query.
    pub path: String,
    pub text: String,
    pub reply: Reply,
}

/// A form, with the fields that a browser would send.
#[derive(Clone, Debug)]
pub struct Form {
    pub action: String,
    pub fields: Vec<(String, String)>,
    /// What its further buttons do in place of its action: method and path.
    pub others: Vec<(String, String)>,
}

impl std::fmt::Debug for Page {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}\n{}", self.status, self.path, self.text)
    }
}

/// The value of an attribute of a tag, decoded.
fn attribute(tag: &str, name: &str) -> Option<String> {
    let start = tag.find(&format!(" {name}=\""))? + name.len() + 3;
    let end = tag[start..].find('"')?;
    Some(decoded(&tag[start..start + end]))
}

/// A text with the entities that pages have.
pub fn decoded(text: &str) -> String {
    text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&#39;", "'").replace("&amp;", "&")
}

/// The tags of a name, without their brackets.
fn tags<'t>(text: &'t str, name: &str) -> Vec<&'t str> {
    let begin = format!("<{name}");
    let is_whole = |rest: &&str| rest.starts_with([' ', '>']);
    let rests = text.split(begin.as_str()).skip(1).filter(is_whole);
    rests.map(|rest| rest.split('>').next().unwrap()).collect()
}

impl Page {
    /// The forms on the page that are sent to the server.
    pub fn forms(&self) -> Vec<Form> {
        let parts = self.text.split("<form ").skip(1).map(|rest| rest.split("</form>").next().unwrap());
        parts.filter_map(form_of).collect()
    }

    /// The form that goes to a path.
    pub fn form(&self, action: &str) -> Form {
        let found = self.forms().into_iter().find(|form| form.action == action);
        found.unwrap_or_else(|| panic!("no form goes to {action}: {self:?}"))
    }

    /// The form of a route of the API, by its method and path.
    pub fn form_of(&self, method: &str, path: &str) -> Form {
        let action = format!("/dashboard/do{path}");
        let fits = |form: &Form| form.action == action && form.value("_method") == Some(method);
        let found = self.forms().into_iter().find(fits);
        found.unwrap_or_else(|| panic!("no form does {method} {path}: {self:?}"))
    }

    /// Where its links lead, within the server.
    pub fn links(&self) -> Vec<String> {
        let links = tags(&self.text, "a").into_iter().filter_map(|tag| attribute(tag, "href"));
        links.filter(|href| href.starts_with('/')).collect()
    }

    /// The files that it loads.
    pub fn files(&self) -> Vec<String> {
        let styles = tags(&self.text, "link").into_iter().filter_map(|tag| attribute(tag, "href"));
        styles.chain(tags(&self.text, "script").into_iter().filter_map(|tag| attribute(tag, "src"))).collect()
    }

    /// The URL of a link with this text, which may lead elsewhere.
    pub fn link(&self, label: &str) -> String {
        let end = format!(">{label}</a>");
        let before = self.text.split(&end).next().filter(|before| before.len() < self.text.len());
        let tag = before.and_then(|before| before.rsplit("<a ").next());
        let tag = tag.unwrap_or_else(|| panic!("no link is called {label}: {self:?}"));
        attribute(&format!(" {tag}"), "href").unwrap()
    }
}

fn form_of(text: &str) -> Option<Form> {
    let head = text.split('>').next()?;
    let head = format!(" {head}");
    if attribute(&head, "method").as_deref() != Some("post") {
        return None;
    }
    let mut fields = Vec::new();
    for tag in tags(text, "input") {
        let kind = attribute(tag, "type").unwrap_or_default();
        let is_sent = !["checkbox", "radio"].contains(&kind.as_str()) || tag.split(' ').any(|word| word == "checked");
        if let (true, Some(name)) = (is_sent, attribute(tag, "name")) {
            fields.push((name, attribute(tag, "value").unwrap_or_default()));
        }
    }
    for part in text.split("<select").skip(1) {
        let name = attribute(part.split('>').next()?, "name")?;
        let options = tags(part.split("</select>").next()?, "option");
        let chosen = options.iter().find(|tag| tag.split(' ').any(|word| word == "selected")).or(options.first());
        fields.extend(chosen.map(|tag| (name, attribute(tag, "value").unwrap_or_default())));
    }
    for part in text.split("<textarea").skip(1) {
        let (head, rest) = part.split_once('>')?;
        fields.push((attribute(head, "name")?, decoded(rest.split("</textarea>").next()?)));
    }
    let buttons = tags(text, "button").into_iter();
    let others = buttons.filter_map(|tag| Some((attribute(tag, "value")?, attribute(tag, "formaction")?))).collect();
    Some(Form { action: attribute(&head, "action")?, fields, others })
}

impl Form {
    pub fn value(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The same as a further button sends it.
    pub fn other(mut self, action: &str) -> Self {
        let (method, action) = self.others.iter().find(|(_, known)| known == action).cloned().unwrap();
        self.fields.push(("_method".to_owned(), method));
        self.action = action;
        self
    }

    /// The same with another value in a field.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.fields.retain(|(known, _)| known != name);
        self.fields.push((name.to_owned(), value.to_owned()));
        self
    }
}

impl Browser {
    pub fn new(url: &str) -> Self {
        Self { client: Client::new(url, None), url: Url::parse(url).unwrap(), cookies: BTreeMap::new() }
    }

    pub fn origin(&self) -> String {
        self.url.origin().ascii_serialization()
    }

    /// Opens a page of the server, and follows redirects.
    pub fn open(&mut self, target: &str) -> Page {
        self.request("GET", target, &[], None)
    }

    /// Sends a form with other values in some fields.
    pub fn submit(&mut self, form: &Form, values: &[(&str, &str)]) -> Page {
        let form = values.iter().fold(form.clone(), |form, (name, value)| form.with(name, value));
        let origin = self.origin();
        self.send(&form, &[("origin", &origin), ("sec-fetch-site", "same-origin")])
    }

    /// Sends a form with these headers in place of a browser's own.
    pub fn send(&mut self, form: &Form, headers: &[(&str, &str)]) -> Page {
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(&form.fields).finish();
        self.request("POST", &form.action, headers, Some(body.as_bytes()))
    }

    fn request(&mut self, method: &str, target: &str, headers: &[(&str, &str)], body: Option<&[u8]>) -> Page {
        let mut url = self.url.join(target).unwrap();
        if url.host_str() == Some("localhost") && url.port() == self.url.port() {
            // The same server, under the name that some services want.
            url.set_host(self.url.host_str()).unwrap();
        }
        assert_eq!(url.origin(), self.url.origin(), "{target} leads elsewhere");
        let path = url[url::Position::BeforePath..url::Position::AfterQuery].to_owned();
        let cookies: Vec<String> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let cookies = cookies.join("; ");
        let mut all = vec![("cookie", cookies.as_str())];
        if body.is_some() {
            all.push(("content-type", "application/x-www-form-urlencoded"));
        }
        all.extend(headers);
        let reply = self.client.send_bytes(method, &path, &all, body);
        for (_, cookie) in reply.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("set-cookie")) {
            let (name, value) = cookie.split(';').next().unwrap().split_once('=').unwrap();
            match value {
                "" => drop(self.cookies.remove(name)),
                value => drop(self.cookies.insert(name.to_owned(), value.to_owned())),
            }
        }
        if let Some(location) = reply.header("location").filter(|_| reply.status == 303) {
            let location = url.join(location).unwrap().to_string();
            return self.request("GET", &location, &[], None);
        }
        let text = String::from_utf8_lossy(&reply.body).into_owned();
        Page { status: reply.status, path, text, reply }
    }
}
