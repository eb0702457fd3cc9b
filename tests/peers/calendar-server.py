#!/usr/bin/env python3
"""Calendars that answer as Google Calendar and Microsoft Graph do, and what a second calculation makes of them.

    calendar-server.py [SEED]

Prints one line, {"url": "http://127.0.0.1:PORT", "year": 2024}, when ready, and stops when its stdin closes. The calendars
are iCalendar texts of the year 2024: three time zones with clock changes of their own, of which Asia/Almaty's rules changed
on 1 March, series with moved, cancelled and added occurrences, days, nights, and 150 random events. The `icalendar` and
`recurring_ical_events` packages read and expand them.

    GET /expected?vendor=google|graph&calendars=a,b&from=T&to=T&minutes=N[&hours=09:00-17:00&zone=Z]

answers with busy, conflicts and slots, worked out minute by minute.

    GET /fault?calendar=ID&kind=KIND    late, broken, forbidden, cut, error, missing, changing, or none

makes trouble for one calendar. `/requests` lists what was asked since the last look. Events may be added and deleted as the
vendors let clients do it: `/created` lists them, `/bodies` what was sent, and `/latency?ms=N` is how long an addition takes, half
of it after the event is there. `/touch?title=T` changes the next event that is read, once it was read.
"""

import datetime as dt
import json
import random
import sys
import threading
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from zoneinfo import ZoneInfo

import icalendar
import recurring_ical_events

UTC = dt.timezone.utc
YEAR = 2024
ZONES = {"work": "Europe/Berlin", "team": "America/New_York", "remote": "Asia/Almaty"}
# As Exchange names them; the last one has kept its IANA name, which Graph allows.
WINDOWS = {
    "Europe/Berlin": "W. Europe Standard Time",
    "America/New_York": "Eastern Standard Time",
    "Asia/Almaty": "Asia/Almaty",
}
PAGE = 40
SERIES = {
    "work": """
BEGIN:VEVENT
UID:weekly
SUMMARY:Team meeting
DTSTART;TZID=Europe/Berlin:20240108T090000
DTEND;TZID=Europe/Berlin:20240108T094500
RRULE:FREQ=WEEKLY;COUNT=45
EXDATE;TZID=Europe/Berlin:20240401T090000,20241028T090000
RDATE;TZID=Europe/Berlin:20240403T130000,20241030T130000
END:VEVENT
BEGIN:VEVENT
UID:weekly
SUMMARY:Team meeting, moved
RECURRENCE-ID;TZID=Europe/Berlin:20240325T090000
DTSTART;TZID=Europe/Berlin:20240326T150000
DTEND;TZID=Europe/Berlin:20240326T160000
END:VEVENT
BEGIN:VEVENT
UID:nights
SUMMARY:Night shift
DTSTART;TZID=Europe/Berlin:20240106T220000
DTEND;TZID=Europe/Berlin:20240107T060000
RRULE:FREQ=WEEKLY;INTERVAL=2;COUNT=24
END:VEVENT
BEGIN:VEVENT
UID:holidays
SUMMARY:Holidays
DTSTART;VALUE=DATE:20240329
DTEND;VALUE=DATE:20240402
END:VEVENT
BEGIN:VEVENT
UID:clocks
SUMMARY:The day the clocks go back
DTSTART;VALUE=DATE:20241027
DTEND;VALUE=DATE:20241028
END:VEVENT
BEGIN:VEVENT
UID:birthday
SUMMARY:Birthday
TRANSP:TRANSPARENT
DTSTART;VALUE=DATE:20240115
DTEND;VALUE=DATE:20240116
RRULE:FREQ=MONTHLY
END:VEVENT
""",
    "team": """
BEGIN:VEVENT
UID:standup
SUMMARY:Stand-up
DTSTART;TZID=America/New_York:20240102T100000
DTEND;TZID=America/New_York:20240102T101500
RRULE:FREQ=WEEKLY;BYDAY=TU,TH;COUNT=100
EXDATE;TZID=America/New_York:20240312T100000
END:VEVENT
BEGIN:VEVENT
UID:standup
SUMMARY:Stand-up, later
RECURRENCE-ID;TZID=America/New_York:20241105T100000
DTSTART;TZID=America/New_York:20241105T160000
DTEND;TZID=America/New_York:20241105T170000
END:VEVENT
BEGIN:VEVENT
UID:release
SUMMARY:Release day
DTSTART;VALUE=DATE:20240110
DTEND;VALUE=DATE:20240111
RRULE:FREQ=MONTHLY
END:VEVENT
""",
    # At 09:00 by the clock: the clock lost an hour on 1 March.
    "remote": """
BEGIN:VEVENT
UID:almaty
SUMMARY:Call with Almaty
DTSTART;TZID=Asia/Almaty:20240103T090000
DTEND;TZID=Asia/Almaty:20240103T100000
RRULE:FREQ=WEEKLY;COUNT=50
END:VEVENT
BEGIN:VEVENT
UID:nauryz
SUMMARY:Nauryz
DTSTART;VALUE=DATE:20240321
DTEND;VALUE=DATE:20240324
END:VEVENT
""",
}


class Event:
    """One occurrence. `start` and `end` are dates, or times with a zone."""

    def __init__(self, calendar, component, number):
        self.calendar = calendar
        self.uid = str(component["UID"])
        self.title = str(component.get("SUMMARY", ""))
        self.start, self.end = component["DTSTART"].dt, component["DTEND"].dt
        self.all_day = not isinstance(self.start, dt.datetime)
        self.id = f"{self.uid}-{number}"
        self.free = str(component.get("TRANSP", "OPAQUE")) == "TRANSPARENT"
        self.status = str(component.get("STATUS", "CONFIRMED"))
        self.declined = "X-DECLINED" in component
        self.showas = str(component.get("X-SHOWAS", ""))
        self.original = component["RECURRENCE-ID"].dt if "RECURRENCE-ID" in component else self.start

    def span(self):
        """The instants at which it starts and ends; days are those of its calendar."""
        if not self.all_day:
            return self.start.astimezone(UTC), self.end.astimezone(UTC)
        zone = ZoneInfo(ZONES[self.calendar])
        return tuple(dt.datetime.combine(day, dt.time(), zone).astimezone(UTC) for day in (self.start, self.end))

    def busy(self):
        return not (self.free or self.declined or self.status == "CANCELLED")


def random_events(calendar, seed):
    chance = random.Random(f"{seed} {calendar}")
    lines = []
    for number in range(50):
        day = dt.datetime(YEAR, 1, 1) + dt.timedelta(days=chance.randrange(366))
        lines += ["BEGIN:VEVENT", f"UID:random-{calendar}-{number}", f"SUMMARY:Random {number}"]
        if chance.random() < 0.15:
            length = dt.timedelta(days=chance.randint(1, 3))
            lines += [f"DTSTART;VALUE=DATE:{day:%Y%m%d}", f"DTEND;VALUE=DATE:{day + length:%Y%m%d}"]
        else:
            zone = chance.choice([*ZONES.values(), "Pacific/Auckland", "Asia/Kolkata"])
            begins = day + dt.timedelta(minutes=15 * chance.randrange(96))
            start = begins.replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)
            end = start + dt.timedelta(minutes=15 * chance.randint(0, 60))
            lines += [f"DTSTART:{start:%Y%m%dT%H%M%SZ}", f"DTEND:{end:%Y%m%dT%H%M%SZ}"]
        kind = chance.random()
        if kind < 0.1:
            lines += ["TRANSP:TRANSPARENT", f"X-SHOWAS:{chance.choice(['free', 'workingElsewhere'])}"]
        elif kind < 0.2:
            lines += ["STATUS:CANCELLED"]
        elif kind < 0.3:
            lines += ["X-DECLINED:TRUE"]
        elif kind < 0.4:
            lines += ["STATUS:TENTATIVE"]
        elif kind < 0.45:
            lines += ["X-SHOWAS:oof"]
        lines += ["END:VEVENT"]
    return "\n".join(lines)


def read_calendars(seed):
    events = {}
    for name in ZONES:
        text = "BEGIN:VCALENDAR\nVERSION:2.0\nPRODID:test\n" + SERIES[name].strip() + "\n" + random_events(name, seed)
        text = (text + "\nEND:VCALENDAR\n").replace("\n", "\r\n")
        calendar = icalendar.Calendar.from_ical(text)
        first, last = dt.datetime(YEAR - 1, 12, 1, tzinfo=UTC), dt.datetime(YEAR + 1, 2, 1, tzinfo=UTC)
        found = recurring_ical_events.of(calendar).between(first, last)
        events[name] = [Event(name, component, number) for number, component in enumerate(found)]
    return events


def stamp(time):
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def google_time(time):
    if isinstance(time, dt.datetime):
        zone = getattr(time.tzinfo, "key", None)
        return {"dateTime": time.isoformat()} | ({"timeZone": zone} if zone else {})
    return {"date": time.isoformat()}


def google_event(event):
    answer = "declined" if event.declined else "accepted"
    found = {
        "kind": "calendar#event",
        "id": event.id,
        "iCalUID": event.uid,
        "etag": '"1"',
        "status": {"CANCELLED": "cancelled", "TENTATIVE": "tentative"}.get(event.status, "confirmed"),
        "summary": event.title,
        "start": google_time(event.start),
        "end": google_time(event.end),
        "recurringEventId": event.uid,
        "originalStartTime": google_time(event.original),
        "attendees": [{"email": "me@example.com", "self": True, "responseStatus": answer}],
    }
    if event.free:
        found["transparency"] = "transparent"
    return found


def graph_event(event):
    def time(value):
        if event.all_day:
            return {"dateTime": f"{value.isoformat()}T00:00:00.0000000", "timeZone": "UTC"}
        return {"dateTime": value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.0000000"), "timeZone": "UTC"}

    tentative = "tentative" if event.status == "TENTATIVE" else "busy"
    zone = ZONES[event.calendar]
    return {
        "id": event.id,
        "iCalUId": event.uid,
        "@odata.etag": 'W/"1"',
        "subject": event.title,
        "isAllDay": event.all_day,
        "isCancelled": event.status == "CANCELLED",
        "showAs": event.showas or ("free" if event.free else tentative),
        "sensitivity": "normal",
        "start": time(event.start),
        "end": time(event.end),
        "originalStart": stamp(event.original) if isinstance(event.original, dt.datetime) else None,
        "originalStartTimeZone": WINDOWS[zone] if event.all_day else "UTC",
        "responseStatus": {"response": "declined" if event.declined else "accepted"},
        "attendees": [],
    }


class Minutes:
    """A window minute by minute: the second calculation, which knows no intervals."""

    def __init__(self, start, end):
        self.start, self.end = start, end
        self.busy = bytearray(int((end - start).total_seconds() // 60))

    def mark(self, start, end):
        first = max(0, int((start - self.start).total_seconds() // 60))
        last = min(len(self.busy), int((end - self.start).total_seconds() // 60))
        for minute in range(first, last):
            self.busy[minute] = 1

    def runs(self, value, allowed=None):
        """The stretches of minutes with a value, as times."""
        found, begin = [], None
        for minute in range(len(self.busy) + 1):
            inside = minute < len(self.busy) and self.busy[minute] == value and (not allowed or allowed(minute))
            if inside and begin is None:
                begin = minute
            elif not inside and begin is not None:
                found.append((begin, minute))
                begin = None
        return found

    def at(self, minute):
        return stamp(self.start + dt.timedelta(minutes=minute))

    def spans(self, runs):
        return [[self.at(first), self.at(last)] for first, last in runs]


def merge(below, above):
    """As a PATCH does: null empties."""
    for name, value in above.items():
        if isinstance(value, dict) and isinstance(below.get(name), dict):
            merge(below[name], value)
        elif value is None:
            below.pop(name, None)
        else:
            below[name] = value


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, seed):
        super().__init__(("127.0.0.1", 0), Handler)
        self.events = read_calendars(seed)
        self.faults, self.requests, self.lock, self.count = {}, [], threading.Lock(), 0
        # What clients added, by vendor, calendar and id.
        self.created, self.latency = {}, 0.0
        # The bodies of requests that write, and a title that somebody else gives to the next event that is read.
        self.bodies, self.touch = [], None

    def handle_error(self, request, client_address):
        # A client that does not wait for a late answer is what is tested.
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)

    def expected(self, query):
        names = query["calendars"].split(",")
        start, end = (dt.datetime.fromisoformat(query[name]).astimezone(UTC) for name in ("from", "to"))
        events = [event for name in names for event in self.events[name] if event.busy()]
        one, each = Minutes(start, end), {}
        for name in names:
            own = Minutes(start, end)
            for event in events:
                if event.calendar == name:
                    own.mark(*event.span())
                    one.mark(*event.span())
            each[name] = own.spans(own.runs(1))
        pairs = []
        for index, first in enumerate(events):
            for second in events[index + 1 :]:
                begin = max(start, first.span()[0], second.span()[0])
                finish = min(end, first.span()[1], second.span()[1])
                if begin < finish and (first.uid, first.original) != (second.uid, second.original):
                    pairs.append([stamp(begin), stamp(finish), sorted([first.id, second.id])])
        allowed = None
        if "hours" in query:
            first, last = (dt.time.fromisoformat(part) for part in query["hours"].split("-"))
            zone = ZoneInfo(query["zone"])

            def allowed(minute):
                return first <= (start + dt.timedelta(minutes=minute)).astimezone(zone).time() < last

        length = int(query["minutes"])
        slots = [run for run in one.runs(0, allowed) if run[1] - run[0] >= length]
        return {"busy": each, "conflicts": sorted(pairs), "slots": one.spans(slots)}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def reply(self, document, status=200, cut=False):
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if cut else body)
        if cut:
            self.close_connection = True

    def do_GET(self):
        self.answer({})

    def do_DELETE(self):
        self.answer({})

    def do_PATCH(self):
        self.do_POST()

    def do_POST(self):
        self.answer(json.loads(self.rfile.read(int(self.headers.get("content-length") or 0)) or b"{}"))

    def answer(self, body):
        url = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(url.query))
        path = [urllib.parse.unquote(part) for part in url.path.strip("/").split("/")]
        server = self.server
        if path == ["expected"]:
            return self.reply(server.expected(query))
        if path == ["fault"]:
            server.faults[query["calendar"]] = query["kind"]
            return self.reply({})
        if path == ["requests"]:
            with server.lock:
                asked, server.requests = server.requests, []
            return self.reply(asked)
        if path == ["latency"]:
            server.latency = int(query["ms"]) / 1000
            return self.reply({})
        if path == ["bodies"]:
            return self.reply(server.bodies)
        if path == ["touch"]:
            server.touch = query["title"]
            return self.reply({})
        if path == ["created"]:
            with server.lock:
                names = ("vendor", "calendar", "id")
                return self.reply([dict(zip(names, key)) | event for key, event in server.created.items()])
        with server.lock:
            server.requests.append(f"{self.command} {self.path}")
            if body:
                server.bodies.append({"method": self.command, "path": self.path, "body": body})
        match path:
            case ["calendar", "v3", *rest]:
                return self.google(rest, query, body)
            case ["v1.0", "me", *rest]:
                return self.graph(rest, query, body)
        return self.reply({"error": {"message": "not found"}}, 404)

    def trouble(self, calendar):
        """Does what the fault of a calendar says; True if that was the whole answer."""
        kind = self.server.faults.get(calendar)
        if kind == "late":
            # Longer than the clients of the tests wait.
            time.sleep(4)
        elif kind == "broken":
            self.reply({"error": {"code": 501, "message": "not today"}}, 501)
        elif kind == "forbidden":
            self.reply({"error": {"code": 403, "message": "no access to this calendar"}}, 403)
        elif kind == "cut":
            self.reply({"items": [{"id": "x" * 200}], "value": []}, cut=True)
        return kind in {"broken", "forbidden", "cut"}

    def within(self, calendar, start, end):
        found = [event for event in self.server.events[calendar] if event.span()[1] > start and event.span()[0] < end]
        return sorted(found, key=lambda event: event.span())

    def add(self, vendor, calendar, event, known):
        """Adds an event unless `known` finds it; what was there, and whether it was there."""
        half = self.server.latency / 2
        # What the service takes: clients are killed meanwhile.
        time.sleep(half)
        with self.server.lock:
            there = next((found for key, found in self.server.created.items() if key[0] == vendor and known(key, found)), None)
            if there is None:
                self.server.created[vendor, calendar, event["id"]] = event
        # And what its answer takes.
        time.sleep(half)
        return there or event, there is not None

    def single(self, vendor, calendar, name):
        """One event that was added: read or deleted."""
        with self.server.lock:
            found = next(
                (key for key in self.server.created if key[0] == vendor and key[2] == name and calendar in (None, key[1])), None
            )
            event = self.server.created.get(found)
            if event is None or event.get("deleted"):
                return self.reply({"error": {"code": 404, "message": "Not Found"}}, 404)
            etag = "etag" if vendor == "google" else "@odata.etag"
            title = "summary" if vendor == "google" else "subject"
            if self.command != "GET" and self.headers.get("if-match") not in (None, event[etag]):
                return self.reply({"error": {"code": 412, "message": "Precondition Failed"}}, 412)
            if self.command == "PATCH":
                merge(event, self.server.bodies[-1]["body"])
                event[etag] += "+"
            if self.command == "GET" and self.server.touch:
                before, self.server.touch, touched = dict(event), None, self.server.touch
                event[title] = touched
                event[etag] += "+"
                return self.reply(before)
            if self.command == "DELETE":
                event["deleted"] = True
                self.send_response(204)
                self.send_header("content-length", "0")
                return self.end_headers()
        return self.reply(event)

    def added(self, vendor, calendar, start, end):
        """The events that were added and are within a window."""

        def instant(time):
            text = time["dateTime"][:19] if "timeZone" in time and vendor == "graph" else time["dateTime"]
            found = dt.datetime.fromisoformat(text)
            return found if found.tzinfo else found.replace(tzinfo=ZoneInfo(time["timeZone"]))

        with self.server.lock:
            events = [event for key, event in self.server.created.items() if key[:2] == (vendor, calendar)]
        events = [event for event in events if not event.get("deleted")]
        return [event for event in events if instant(event["end"]) > start and instant(event["start"]) < end]

    def page(self, calendar, items, query):
        """One page, and the number of the next; a calendar that keeps changing has another event each time."""
        if self.server.faults.get(calendar) == "changing":
            with self.server.lock:
                self.server.count += 1
            items = items + [items[0] | {"id": f"new-{self.server.count}"}]
            size = 2
        else:
            size = PAGE
        first = int(query.get("pageToken") or query.get("$skip") or 0)
        more = first + size if first + size < len(items) else None
        return items[first : first + size], more

    def google(self, rest, query, body):
        match rest:
            case ["calendars", "primary"]:
                return self.reply({"id": "me@example.com", "timeZone": ZONES["work"]})
            case ["users", "me", "calendarList"]:
                items = [
                    {"id": name, "summary": name, "timeZone": zone, "primary": name == "work", "accessRole": "owner"}
                    for name, zone in ZONES.items()
                ]
                return self.reply({"items": items})
            case ["calendars", name, "events"] if self.command == "POST":
                name = "work" if name == "primary" else name
                event = {"id": f"random{len(self.server.created)}", "status": "confirmed", "etag": '"1"'} | body
                event, duplicate = self.add("google", name, event, lambda key, _: key[1:] == (name, event["id"]))
                if duplicate:
                    error = {"code": 409, "errors": [{"reason": "duplicate"}], "message": "The requested identifier already exists."}
                    return self.reply({"error": error}, 409)
                return self.reply(event)
            case ["calendars", name, "events", event]:
                return self.single("google", "work" if name == "primary" else name, event)
            case ["calendars", name, "events"]:
                name = "work" if name == "primary" else name
                if name not in ZONES:
                    return self.reply({"error": {"code": 404, "message": "Not Found"}}, 404)
                if self.trouble(name):
                    return None
                start, end = (dt.datetime.fromisoformat(query[key]) for key in ("timeMin", "timeMax"))
                items = [google_event(event) for event in self.within(name, start, end)]
                items += self.added("google", name, start, end)
                page, more = self.page(name, items, query)
                answer = {"kind": "calendar#events", "timeZone": ZONES[name], "items": page}
                if self.server.faults.get(name) == "error":
                    del answer["items"]
                return self.reply(answer | ({"nextPageToken": str(more)} if more else {}))
            case ["freeBusy"]:
                return self.google_busy(body)
        return self.reply({"error": {"code": 404, "message": "Not Found"}}, 404)

    def google_busy(self, body):
        start, end = (dt.datetime.fromisoformat(body[name]) for name in ("timeMin", "timeMax"))
        calendars = {}
        for item in body["items"]:
            name = "work" if item["id"] == "primary" else item["id"]
            fault = self.server.faults.get(name)
            if fault in {"error", "changing"} or name not in ZONES:
                calendars[item["id"]] = {"errors": [{"domain": "global", "reason": "notFound"}], "busy": []}
                continue
            if self.trouble(name):
                return None
            if fault != "missing":
                # Google joins what overlaps, and cuts it off at the window.
                busy = Minutes(start, end)
                for event in filter(Event.busy, self.within(name, start, end)):
                    busy.mark(*event.span())
                spans = busy.spans(busy.runs(1))
                calendars[item["id"]] = {"busy": [{"start": first, "end": last} for first, last in spans]}
        return self.reply({"kind": "calendar#freeBusy", "calendars": calendars})

    def graph(self, rest, query, body):
        match rest:
            case [] | [""]:
                return self.reply({"id": "me", "userPrincipalName": "me@example.com"})
            case ["calendars"]:
                items = [{"id": name, "name": name, "isDefaultCalendar": name == "work", "canEdit": True} for name in ZONES]
                return self.reply({"value": items})
            case ["events"] if self.command == "POST":
                return self.graph_create("work", body)
            case ["calendars", name, "events"] if self.command == "POST":
                return self.graph_create(name, body)
            case ["events", event]:
                return self.single("graph", None, event)
            case ["calendarView"]:
                return self.graph_view("work", query)
            case ["calendars", name, "calendarView"] if name in ZONES:
                return self.graph_view(name, query)
            case ["calendar", "getSchedule"]:
                return self.graph_schedule(body)
        return self.reply({"error": {"code": "ErrorItemNotFound", "message": "not found"}}, 404)

    def graph_view(self, name, query):
        if self.trouble(name):
            return None
        start, end = (dt.datetime.fromisoformat(query[key]) for key in ("startDateTime", "endDateTime"))
        items = [graph_event(event) for event in self.within(name, start, end)]
        items += self.added("graph", name, start, end)
        page, more = self.page(name, items, query)
        answer = {"value": page}
        fault = self.server.faults.get(name)
        if fault == "error":
            answer["error"] = {"code": "ErrorTimeoutExpired", "message": "the mailbox did not answer"}
        elif fault == "missing":
            answer = {"@odata.context": "nothing else"}
        if more:
            rest = urllib.parse.urlencode(query | {"$skip": more})
            path = urllib.parse.urlsplit(self.path).path
            answer["@odata.nextLink"] = f"https://graph.microsoft.com{path}?{rest}"
        return self.reply(answer)

    def graph_create(self, name, body):
        event = body | {"id": f"AAMk{len(self.server.created)}=", "@odata.etag": 'W/"1"', "isCancelled": False}
        transaction = body.get("transactionId")
        event, duplicate = self.add(
            "graph", name, event, lambda _, found: transaction and found.get("transactionId") == transaction
        )
        if duplicate:
            error = {"code": "ErrorDuplicateTransactionId", "message": "the transaction id was used before"}
            return self.reply({"error": error}, 409)
        return self.reply(event, 201)

    def graph_schedule(self, body):
        start, end = (dt.datetime.fromisoformat(body[name]["dateTime"][:19] + "+00:00") for name in ("startTime", "endTime"))
        schedules = []
        for address in body["schedules"]:
            name = address.split("@")[0]
            if name not in ZONES or self.server.faults.get(name) == "error":
                error = {"message": f"no mailbox {address}", "responseCode": "ErrorMailRecipientNotFound"}
                schedules.append({"scheduleId": address, "error": error})
                continue
            if self.server.faults.get(name) == "missing":
                continue
            items = []
            for event in self.within(name, start, end):
                first, last = (time.strftime("%Y-%m-%dT%H:%M:%S.0000000") for time in event.span())
                status = "busy" if event.busy() else "free"
                span = {"start": {"dateTime": first, "timeZone": "UTC"}, "end": {"dateTime": last, "timeZone": "UTC"}}
                items.append({"status": status} | span)
            schedules.append({"scheduleId": address, "availabilityView": "", "scheduleItems": items})
        return self.reply({"value": schedules})


def main():
    seed = sys.argv[1] if len(sys.argv) > 1 else "1"
    server = Server(seed)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(json.dumps({"url": f"http://127.0.0.1:{server.server_address[1]}", "year": YEAR}), flush=True)
    sys.stdin.read()


main()
