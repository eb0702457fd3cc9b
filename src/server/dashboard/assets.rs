//! The style and the script of the pages. Their names have a digest of the content, so that browsers keep them for ever.

use std::sync::LazyLock;

use hyper::body::Bytes;

use crate::hash::sha256;
use crate::hex;
use crate::http::serve::{FullResponse, Response, StatusCode, header, plain};

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");
const ICON: &str = include_str!("icon.svg");

static STYLE_NAME: LazyLock<String> = LazyLock::new(|| named(STYLE, "css"));
static SCRIPT_NAME: LazyLock<String> = LazyLock::new(|| named(SCRIPT, "js"));
static ICON_NAME: LazyLock<String> = LazyLock::new(|| named(ICON, "svg"));

fn named(content: &str, extension: &str) -> String {
    format!("{}.{extension}", hex::encode(&sha256(content.as_bytes())[..8]))
}

pub(super) fn style(base: &str) -> String {
    format!("{base}/dashboard/assets/{}", *STYLE_NAME)
}

pub(super) fn script(base: &str) -> String {
    format!("{base}/dashboard/assets/{}", *SCRIPT_NAME)
}

pub(super) fn icon(base: &str) -> String {
    format!("{base}/dashboard/assets/{}", *ICON_NAME)
}

/// Answers a request for a file.
pub(super) fn respond(name: &str) -> FullResponse {
    let (content_type, content) = match name {
        name if name == *STYLE_NAME => ("text/css; charset=utf-8", STYLE),
        name if name == *SCRIPT_NAME => ("text/javascript; charset=utf-8", SCRIPT),
        name if name == *ICON_NAME => ("image/svg+xml", ICON),
        _ => return plain(StatusCode::NOT_FOUND, "Not found"),
    };
    let mut response = Response::new(Bytes::from_static(content.as_bytes()).into());
    for (name, value) in [
        (header::CONTENT_TYPE, content_type),
        (header::CACHE_CONTROL, "public, max-age=31536000, immutable"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
    ] {
        response.headers_mut().insert(name, header::HeaderValue::from_static(value));
    }
    response
}
