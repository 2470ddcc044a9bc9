from __future__ import annotations

import ipaddress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tumorctl import InvalidOption, TumorClient
from tumorctl.engines.address import Address, Endpoint, parse_address

LABEL = st.text("abz09-_", min_size=1, max_size=12).filter(lambda label: not {label[0], label[-1]} & {"-"})
NAME = st.builds(lambda labels, last: ".".join([*labels, last]), st.lists(LABEL, max_size=3), st.just("example"))
HOST = st.one_of(NAME, st.ip_addresses(v=4).map(str), st.ip_addresses(v=6).map(str))
ENDPOINT = st.builds(Endpoint, HOST, st.integers(1, 65535))


@given(st.lists(ENDPOINT, min_size=1, max_size=4, unique=True), st.sampled_from([None, True, False]))
def test_what_is_written_is_read_again(endpoints: list[Endpoint], tls: bool | None) -> None:
    address = Address(tuple(endpoints), tls)
    assert parse_address(str(address)) == address
    assert [str(each) for each in address.each()] == [str(Address((one,), tls)) for one in endpoints]
    assert address.has_several == (len(endpoints) > 1)


@given(ENDPOINT)
def test_a_name_for_all_its_addresses(endpoint: Endpoint) -> None:
    address = Address((endpoint,), balanced=True)
    assert parse_address(str(address)) == address
    assert address.has_several


@given(st.text(max_size=40))
@example("127.0.0.1:8001,")
@example("dns:///[::1")
@example("[::1%lo]:8001")
@example("a:\uff18001")  # a digit, but not one of ASCII
def test_anything_else_is_an_invalid_option(text: str) -> None:
    try:
        address = parse_address(text)
    except InvalidOption:
        return
    assert address.endpoints
    assert all(1 <= endpoint.port <= 65535 and endpoint.host for endpoint in address.endpoints)
    assert parse_address(str(address)) == address


@pytest.mark.parametrize(
    "text",
    [
        "",
        "127.0.0.1",
        "host:",
        "host:0",
        "host:65536",
        "host:-1",
        "host:+1",
        ":8001",
        "a b:8001",
        "::1:8001",
        "[127.0.0.1]:8001",
        "1.2.3.4.5:8001",
        "256.1.1.1:8001",
        "host:8001/",
        "http://host:8001",
        "https://host:8001",
        "dns:host:8001",
        "dns:///a:8001,b:8001",
        "dns://8.8.8.8/host:8001",
        "a:8001;b:8001",
        "-host:8001",
        "a" * 64 + ":8001",
    ],
)
def test_what_is_not_an_address_says_what_is(text: str) -> None:
    with pytest.raises(InvalidOption, match=r"server|several"):
        parse_address(text)
    if text:
        with pytest.raises(InvalidOption):
            TumorClient(text)


def test_a_password_in_an_address_is_not_repeated() -> None:
    with pytest.raises(InvalidOption) as caught:
        parse_address("grpcs://me:sesame@host:8001")
    assert "sesame" not in str(caught.value)


def test_the_same_server_twice_is_one() -> None:
    assert parse_address("a:1, b:1 ,a:1").endpoints == (Endpoint("a", 1), Endpoint("b", 1))


@given(st.ip_addresses())
def test_loopback_addresses(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    assert Endpoint(str(ip), 1).is_loopback == ip.is_loopback


@pytest.mark.parametrize(
    ("text", "is_loopback"),
    [
        ("localhost:1", True),
        ("[::1]:1", True),
        ("127.0.0.2:1", True),
        ("dns:///localhost:1", True),
        ("127.0.0.1:1,far.example:1", False),
        ("localhost.example:1", False),
    ],
)
def test_only_this_machine_is_this_machine(text: str, is_loopback: bool) -> None:
    assert parse_address(text).is_loopback is is_loopback
