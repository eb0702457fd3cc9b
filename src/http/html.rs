//! The pages that integ shows in a browser: one design, no scripts.
//!
//! What comes from outside is escaped with [`escape`] by the caller; [`policy`] lets nothing of a page
//! run or load should one forget.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::hash;

const STYLE: &str = "\
:root{color-scheme:light dark;--ink:#1d2330;--soft:#5b6475;--line:#dfe3ea;--back:#f3f5f8;--card:#fff;--on:#fff;--go:#1f5fd6;\
--good:#1a7f37;--bad:#c4302b}\
@media(prefers-color-scheme:dark){:root{--ink:#e8ebf1;--soft:#9aa4b5;--line:#2f3745;--back:#12161d;--card:#1a202a;\
--on:#0b1220;--go:#5b93ff;--good:#3fb950;--bad:#f2756a}}\
*{box-sizing:border-box}\
body{margin:0;min-height:100vh;display:grid;grid-template-columns:minmax(0,1fr);place-items:center;padding:24px;\
background:var(--back);color:var(--ink);\
font:16px/1.5 system-ui,sans-serif}\
main{width:100%;min-width:0;max-width:440px;background:var(--card);border:1px solid var(--line);border-radius:14px;padding:28px;\
overflow-wrap:anywhere}\
.mark{display:inline-block;padding:2px 10px;border-radius:99px;background:#f5b800;color:#221a00;\
font-size:12px;font-weight:700;letter-spacing:.1em}\
.name{font-size:13px;font-weight:700;letter-spacing:.06em;color:var(--soft)}\
.sign{display:grid;place-items:center;width:44px;height:44px;margin:18px 0 0;border-radius:50%;color:var(--on);\
font-size:22px;font-weight:700}\
.good{background:var(--good)}.bad{background:var(--bad)}.wait{background:var(--go)}\
main:has(details){max-width:860px;align-self:start}\
h1{margin:14px 0 6px;font-size:21px;line-height:1.3}\
h2{margin:28px 0 4px;font-size:17px;line-height:1.3}\
a{color:var(--go)}\
details{padding:10px 0;border-top:1px solid var(--line)}\
summary{cursor:pointer;color:var(--soft)}\
details p{margin-top:10px}\
p{margin:0 0 14px;color:var(--soft)}\
b{color:var(--ink)}\
pre{margin:0 0 14px;padding:11px 14px;border:1px solid var(--line);border-radius:9px;background:var(--back);\
color:var(--ink);font:13px/1.5 ui-monospace,monospace;white-space:pre;overflow-x:auto;user-select:all}\
ul{list-style:none;margin:0 0 18px;padding:0;border-top:1px solid var(--line)}\
li{padding:9px 0;border-bottom:1px solid var(--line)}\
code{display:block;color:var(--soft);font:13px/1.5 ui-monospace,monospace}\
label{display:flex;gap:8px;margin:0 0 18px}\
input[type=text],input[type=password],select{width:100%;padding:10px;border:1px solid var(--line);border-radius:9px;\
background:var(--back);color:var(--ink);font:inherit}\
input[name=user_code]{letter-spacing:.12em;text-transform:uppercase}\
.row{display:flex;gap:10px}\
button{flex:1;padding:11px;border:1px solid var(--line);border-radius:9px;background:transparent;color:var(--ink);\
font:inherit;font-weight:600;cursor:pointer}\
button.allow{border-color:var(--go);background:var(--go);color:var(--on)}\
button:focus-visible,input:focus-visible,select:focus-visible,summary:focus-visible,a:focus-visible{outline:3px solid #f5b800;outline-offset:2px}\
footer{margin-top:18px;font-size:13px;color:var(--soft)}";

/// A whole page. `title` is text, `body` HTML.
pub fn document(title: &str, body: &str) -> String {
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width,initial-scale=1\"><title>{}</title><style>{STYLE}</style></head>\
         <body><main>{body}</main></body></html>",
        escape(title),
    )
}

/// The content policy of a [`document`]: its own style, and nothing else. Forms are the page's business.
pub fn policy() -> String {
    let style = STANDARD.encode(hash::sha256(STYLE.as_bytes()));
    format!("default-src 'none'; style-src 'sha256-{style}'; base-uri 'none'; frame-ancestors 'none'")
}

/// Text as it may stand in a page, between tags or in a quoted attribute.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            // Control and direction characters would reorder or hide what a person reads.
            '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}' => out.push('\u{FFFD}'),
            c if c.is_control() && !matches!(c, '\n' | '\t') => out.push('\u{FFFD}'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_outside_stays_text() {
        let hostile = "<script>alert(1)</script>\"'&\u{202e}\u{1b}";
        let escaped = escape(hostile);
        assert_eq!(escaped, "&lt;script&gt;alert(1)&lt;/script&gt;&quot;&#39;&amp;\u{FFFD}\u{FFFD}");
        assert!(document(hostile, "").contains(&format!("<title>{escaped}</title>")));
    }

    #[test]
    fn the_policy_names_the_style_of_the_page_by_its_hash() {
        let page = document("x", "");
        let style = page.split("<style>").nth(1).unwrap().split("</style>").next().unwrap();
        let hash = STANDARD.encode(hash::sha256(style.as_bytes()));
        assert!(policy().contains(&format!("style-src 'sha256-{hash}'")) && !policy().contains("unsafe"));
    }
}
