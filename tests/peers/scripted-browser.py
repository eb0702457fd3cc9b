#!/usr/bin/env python3
"""A scripted user agent, to be given as BROWSER: `scripted-browser.py URL`.

It follows redirects with cookies, submits the first form of each page, and catches the redirect to the loopback
redirect_uri, which it delivers as MODE says. MODE is one word, or several joined by commas: each is one delivery of the
same callback, in that order (`wrong-state,allow`: first a forged answer, then the true one).

  allow            as the server sent it
  deny             press the page's deny button; without a page, turn the callback into error=access_denied
  never            do nothing at all, the server is not even asked
  twice            the same as allow,allow
  wrong-state wrong-iss wrong-code             another value
  no-state no-iss duplicate-state duplicate-code     left out, given twice
  forged-error     error=access_denied with a wrong state
  post head        by that method            other-path       to /other
  foreign-host     with a Host header that is not the listener's

BROWSER_LOG names a file that gets one JSON line of what was done. Exit code: 0 every delivery was answered (or, with no
callback in sight, the pages ended well); 3 the last delivery got a status of 400 or above; 4 the server's pages failed or
ended before the callback; 5 the listener could not be reached for the first delivery; 2 wrong usage; 124 over 20 seconds.
"""

import http.client
import http.cookiejar
import json
import os
import re
import signal
import sys
import urllib.error
import urllib.parse
import urllib.request
from html.parser import HTMLParser

BOUND_SECONDS = 20
HOPS = 20
LOOPBACK = {"127.0.0.1", "localhost", "::1"}
DENIAL = re.compile(r"deny|denied|cancel|abort|reject|decline|refuse", re.IGNORECASE)


def replaced(name):
    return lambda pairs: [(key, "wrong-" + value[::-1] if key == name else value) for key, value in pairs]


def dropped(name):
    return lambda pairs: [(key, value) for key, value in pairs if key != name]


def doubled(name):
    return lambda pairs: pairs + [(key, value) for key, value in pairs if key == name]


def wrong_iss(pairs):
    return dropped("iss")(pairs) + [("iss", "https://attacker.example")]


def denied(pairs):
    if any(key == "error" for key, _ in pairs):
        return pairs
    return [("error", "access_denied")] + dropped("code")(pairs)


def unchanged(pairs):
    return pairs


# How each delivery alters the callback's parameters.
ALTERATIONS = {
    "allow": unchanged,
    "deny": denied,
    "wrong-state": replaced("state"),
    "wrong-iss": wrong_iss,
    "wrong-code": replaced("code"),
    "no-state": dropped("state"),
    "no-iss": dropped("iss"),
    "duplicate-state": doubled("state"),
    "duplicate-code": doubled("code"),
    "forged-error": lambda pairs: replaced("state")(denied(pairs)),
    "post": unchanged,
    "head": unchanged,
    "other-path": unchanged,
    "foreign-host": unchanged,
}
METHODS = {"post": "POST", "head": "HEAD"}


class Failure(Exception):
    def __init__(self, code, message):
        super().__init__(message)
        self.code = code


class Forms(HTMLParser):
    """The first form of a page: where it goes, its fields, its buttons (also those outside it that name it)."""

    def __init__(self):
        super().__init__()
        self.form = None
        self.inside = False
        self.button = None

    def handle_starttag(self, tag, attributes):
        given = {name: value or "" for name, value in attributes}
        if tag == "form" and self.form is None:
            self.form = {"id": given.get("id"), "action": given.get("action", ""),
                         "method": given.get("method", "get").upper(), "fields": [], "buttons": []}
            self.inside = True
            return
        if self.form is None or not (self.inside or (self.form["id"] and given.get("form") == self.form["id"])):
            return
        kind = given.get("type", "submit" if tag == "button" else "text").lower()
        if tag in ("button", "input") and kind in ("submit", "image"):
            self.button = {"name": given.get("name"), "value": given.get("value", ""),
                           "words": " ".join([given.get("id", ""), given.get("name", ""), given.get("value", "")])}
            self.form["buttons"].append(self.button)
        elif tag == "input" and given.get("name") and kind not in ("button", "reset"):
            if kind not in ("checkbox", "radio") or "checked" in given:
                self.form["fields"].append((given["name"], given.get("value", "")))

    def handle_data(self, data):
        if self.button is not None:
            self.button["words"] += " " + data

    def handle_endtag(self, tag):
        if tag == "button":
            self.button = None
        elif tag == "form":
            self.inside = False


class NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_):
        return None


def callback_of(url):
    named = urllib.parse.parse_qs(urllib.parse.urlsplit(url).query).get("redirect_uri")
    return named[0] if named else None


class Browser:
    def __init__(self, url, deliveries, did):
        self.url = url
        self.deliveries = deliveries
        self.did = did
        self.denied = False
        self.opener = urllib.request.build_opener(
            NoRedirect, urllib.request.ProxyHandler({}),
            urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()))
        self.callback = callback_of(url)

    def is_callback(self, place):
        there = urllib.parse.urlsplit(place)
        if self.callback:
            expected = urllib.parse.urlsplit(self.callback)
            return there[:2] == expected[:2] and (there.path or "/") == (expected.path or "/")
        # A pushed request or a request object hides the redirect_uri: then any answer to another loopback port is it.
        names = {name for name, _ in urllib.parse.parse_qsl(there.query)}
        return (there.hostname in LOOPBACK and there.netloc != urllib.parse.urlsplit(self.url).netloc
                and bool(names & {"code", "error"}))

    def ask(self, method, url, body=None):
        request = urllib.request.Request(url, data=body, method=method, headers={
            "Accept": "text/html,*/*;q=0.8", "User-Agent": "scripted-browser"})
        try:
            answer = self.opener.open(request)
        except urllib.error.HTTPError as error:
            answer = error
        except OSError as error:
            raise Failure(4, f"{method} {url.split('?')[0]}: {error}") from error
        with answer:
            text = answer.read(1_000_000).decode("utf-8", "replace")
        self.did["steps"].append({"method": method, "url": url.split("?")[0], "status": answer.status})
        return answer, text

    def run(self):
        method, url, body = "GET", self.url, None
        seen = set()
        for _ in range(HOPS):
            answer, text = self.ask(method, url, body)
            if answer.status in (301, 302, 303, 307, 308):
                place = urllib.parse.urljoin(url, answer.headers["Location"] or "")
                if self.is_callback(place):
                    there = urllib.parse.urlsplit(place)
                    pairs = urllib.parse.parse_qsl(there.query, keep_blank_values=True)
                    return self.deliver(there._replace(query="", fragment=""), pairs, "GET")
                if answer.status < 307:
                    method, body = "GET", None
                # The first page may be the caller's own, which leads to the server's.
                self.callback = self.callback or callback_of(place)
                url = place
                continue
            words = plain(text)
            form = first_form(text)
            if form and self.is_callback(urllib.parse.urljoin(url, form["action"])):  # response_mode=form_post
                place = urllib.parse.urlsplit(urllib.parse.urljoin(url, form["action"]))
                return self.deliver(place._replace(query="", fragment=""), form["fields"], form["method"])
            if answer.status >= 400:
                raise Failure(4, f"the page answered {answer.status}: {words[:300]}")
            if form is None or self.denied:
                if self.callback:
                    raise Failure(4, f"the pages ended before the callback: {words[:300]}")
                self.did["page"] = words[:2000]
                return 0
            if (url, words) in seen:
                raise Failure(4, f"the same page again: {words[:300]}")
            seen.add((url, words))
            method, url, pairs = self.fill(form, url)
            encoded = urllib.parse.urlencode(pairs)
            body = encoded.encode() if method == "POST" else None
            if method == "GET":
                url = urllib.parse.urlsplit(url)._replace(query=encoded).geturl()
        raise Failure(4, f"no end after {HOPS} pages")

    def fill(self, form, page_url):
        buttons = form["buttons"]
        denials = [button for button in buttons if DENIAL.search(button["words"])]
        if "deny" in self.deliveries and denials:
            pressed = denials[0]
            self.denied = True
        else:
            pressed = next((button for button in buttons if button not in denials), None)
        pairs = list(form["fields"])
        if pressed:
            self.did["pressed"].append(" ".join(pressed["words"].split()))
            if pressed["name"]:
                pairs.append((pressed["name"], pressed["value"]))
        return form["method"], urllib.parse.urljoin(page_url, form["action"]), pairs

    def deliver(self, place, pairs, method):
        last = None
        for index, how in enumerate(self.deliveries):
            altered = ALTERATIONS[how](pairs)
            record = {"how": how, "method": METHODS.get(how, method), "parameters": [name for name, _ in altered]}
            if how == "deny" and altered is not pairs:
                record["synthetic"] = True
            self.did["delivered"].append(record)
            try:
                send(place, altered, how, record)
            except OSError as error:
                record["error"] = str(error)
                if index == 0:
                    raise Failure(5, f"the listener at {place.netloc}: {error}") from error
            last = record.get("status")
        return 3 if last is not None and last >= 400 else 0


def send(place, pairs, how, record):
    """One delivery, with nothing between us and the wire that could mend the request."""
    path = "/other" if how == "other-path" else place.path or "/"
    encoded = urllib.parse.urlencode(pairs)
    body = encoded.encode() if record["method"] == "POST" else None
    connection = http.client.HTTPConnection(place.hostname, place.port or 80, timeout=10)
    try:
        connection.putrequest(record["method"], path if body is not None else f"{path}?{encoded}",
                              skip_host=True, skip_accept_encoding=True)
        connection.putheader("Host", "attacker.example" if how == "foreign-host" else place.netloc)
        connection.putheader("Accept", "text/html")
        connection.putheader("User-Agent", "scripted-browser")
        connection.putheader("Connection", "close")
        if body is not None:
            connection.putheader("Content-Type", "application/x-www-form-urlencoded")
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        answer = connection.getresponse()
        record["status"] = answer.status
        record["headers"] = {name.lower(): value for name, value in answer.getheaders()}
        record["body"] = answer.read(20_000).decode("utf-8", "replace")
    except http.client.HTTPException as error:
        raise OSError(f"{type(error).__name__}: {error}") from error
    finally:
        connection.close()


def first_form(text):
    parser = Forms()
    parser.feed(text)
    return parser.form


def plain(text):
    return " ".join(re.sub(r"<[^>]*>", " ", re.sub(r"(?s)<(script|style)\b.*?</\1>", " ", text)).split())


def main():
    mode = os.environ.get("MODE") or "allow"
    deliveries = mode.replace("twice", "allow,allow").split(",")
    unknown = [how for how in deliveries if how not in ALTERATIONS and how != "never"]
    if len(sys.argv) != 2 or unknown:
        sys.stderr.write(f"MODE is not {', '.join(unknown)}\n" if unknown else "usage: scripted-browser.py URL\n")
        return 2
    did = {"mode": mode, "url": sys.argv[1], "steps": [], "pressed": [], "delivered": []}

    def too_long(*_):
        raise Failure(124, f"over {BOUND_SECONDS} seconds")

    signal.signal(signal.SIGALRM, too_long)
    signal.alarm(BOUND_SECONDS)
    try:
        code = 0 if "never" in deliveries else Browser(sys.argv[1], deliveries, did).run()
    except Failure as failure:
        code = failure.code
        did["error"] = str(failure)
        sys.stderr.write(f"scripted-browser: {failure}\n")
    signal.alarm(0)
    did["exit"] = code
    if os.environ.get("BROWSER_LOG"):
        with open(os.environ["BROWSER_LOG"], "a", encoding="utf-8") as log:
            log.write(json.dumps(did) + "\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
