#!/usr/bin/env python3
"""A browser without a screen: follows redirects with cookies and fills login and consent forms.

    python3 browser.py URL USER

prints the address where it ended and the page found there. Standard library only.
"""

import argparse
import sys
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass, field
from html.parser import HTMLParser
from http.cookiejar import CookieJar

STEPS = 30  # more redirects and forms than any login has


@dataclass
class Page:
    """Where a visit ended. The status is 0 for an address that was not fetched."""

    url: str
    status: int
    body: str


@dataclass
class Form:
    action: str
    method: str
    fields: list[tuple[str, str, str]] = field(default_factory=list)  # kind, name, value


class FirstForm(HTMLParser):
    """Reads the first form of a page: its fields, and the first of its buttons that has a name."""

    def __init__(self) -> None:
        super().__init__()
        self.form: Form | None = None
        self.inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag == "form" and self.form is None:
            self.form = Form(values.get("action", ""), values.get("method", "get").lower())
            self.inside = True
        elif self.inside and tag in ("input", "button") and "name" in values:
            self.add(values.get("type", "submit" if tag == "button" else "text"), values, "checked" in values)

    def add(self, kind: str, values: dict[str, str], checked: bool) -> None:
        assert self.form is not None
        ignored = kind in ("button", "reset", "image") or (kind in ("checkbox", "radio") and not checked)
        second_button = kind == "submit" and any(other == "submit" for other, _, _ in self.form.fields)
        if not ignored and not second_button:
            self.form.fields.append((kind, values["name"], values.get("value", "")))

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self.inside = False


class NoRedirects(urllib.request.HTTPRedirectHandler):
    """Leaves redirects to the caller, who must see each of them."""

    def redirect_request(self, *args: object) -> None:
        return None


class Browser:
    def __init__(self, user: str, password: str = "test", stop_at: str | None = None) -> None:
        self.user = user
        self.password = password
        self.stop_at = stop_at
        self.opener = urllib.request.build_opener(NoRedirects(), urllib.request.HTTPCookieProcessor(CookieJar()))

    def visit(self, url: str) -> Page:
        """Goes to the address and on until a page without a form, an error, or an address not to be fetched."""
        data: bytes | None = None
        page = Page(url, 0, "")
        for _ in range(STEPS):
            if self.is_end(url):
                return Page(url, 0, "")
            try:
                page, location = self.fetch(url, data)
            except urllib.error.URLError:  # nobody there: a native client's redirect address, say
                return Page(url, 0, "")
            if location is not None:
                url = urllib.parse.urljoin(url, location)
                data = data if page.status in (307, 308) else None
                continue
            form = first_form(page.body)
            if form is None or page.status >= 400:
                return page
            url, data = self.submission(form, page.url)
        raise RuntimeError(f"gave up after {STEPS} steps at {page.url}")

    def is_end(self, url: str) -> bool:
        return not url.startswith(("http://", "https://")) or (
            self.stop_at is not None and url.startswith(self.stop_at)
        )

    def fetch(self, url: str, data: bytes | None) -> tuple[Page, str | None]:
        try:
            response = self.opener.open(urllib.request.Request(url, data), timeout=30)
        except urllib.error.HTTPError as error:  # redirects arrive here too
            response = error
        with response:
            body = response.read().decode(errors="replace")
            location = response.headers.get("Location") if 300 <= response.status < 400 else None
            return Page(url, response.status, body), location

    def submission(self, form: Form, page_url: str) -> tuple[str, bytes | None]:
        filling = {"text": self.user, "email": self.user, "password": self.password}
        answers = [(name, filling.get(kind, value)) for kind, name, value in form.fields]
        target = urllib.parse.urljoin(page_url, form.action or page_url)
        encoded = urllib.parse.urlencode(answers)
        if form.method == "post":
            return target, encoded.encode()
        return f"{target.partition('?')[0]}?{encoded}", None


def first_form(html: str) -> Form | None:
    parser = FirstForm()
    parser.feed(html)
    return parser.form


def main() -> int:
    parser = argparse.ArgumentParser(description="Drives a login as a browser would, and prints where it ended.")
    parser.add_argument("url", help="where to start, e.g. a device flow's verification_uri_complete")
    parser.add_argument("user", help="typed into text fields")
    parser.add_argument("--password", default="test", help="typed into password fields (default: %(default)s)")
    parser.add_argument("--stop-at", metavar="PREFIX", help="do not fetch an address that begins so: print it and end")
    arguments = parser.parse_args()
    page = Browser(arguments.user, arguments.password, arguments.stop_at).visit(arguments.url)
    print(page.url)
    print(page.body)
    return 1 if page.status >= 400 else 0


if __name__ == "__main__":
    sys.exit(main())
