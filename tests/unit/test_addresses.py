"""Where a server that listens somewhere is reached."""

from __future__ import annotations

import pytest

from fhir_dmp.serve import listens_everywhere, reached_at


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8000"),
        ("records.example.org", "http://records.example.org:8000"),
        ("0.0.0.0", "http://127.0.0.1:8000"),
        ("::", "http://[::1]:8000"),
        ("2001:db8::7", "http://[2001:db8::7]:8000"),
    ],
)
def test_a_server_tells_an_address_that_can_be_reached(host, url):
    """All addresses of a machine are none of them; those of IPv6 stand in brackets."""
    assert reached_at(host, 8000) == url


@pytest.mark.parametrize(
    ("host", "everywhere"), [("0.0.0.0", True), ("::", True), ("127.0.0.1", False), ("localhost", False)]
)
def test_who_listens_everywhere_is_told_from_who_names_an_address(host, everywhere):
    """Of the first kind nobody can tell by which name clients come."""
    assert listens_everywhere(host) is everywhere
