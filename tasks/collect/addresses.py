"""Connections that are made to public addresses only: what is connected to is the very address that was looked at."""

from __future__ import annotations

import ipaddress
import socket
import time
from typing import Any

from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, PoolManager, Retry
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import NameResolutionError, NewConnectionError
from urllib3.util.connection import create_connection

from tasks.core.errors import ConfigError, printable
from tasks.core.events import notice
from tasks.core.urls import bare

LONGEST_WAIT = 60
"""Seconds that a busy server is waited for between two attempts, however long it asks for."""


def is_public(address: str) -> bool:
    """Whether an IP address is one of the internet's, not of this machine or a network of its own."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        ip = ip.ipv4_mapped or ip.sixtofour or ip
    return ip.is_global and not ip.is_multicast


class _Public:
    """Of a connection to a host: refuses one of whose addresses any is private (`ConfigError`)."""

    def _new_conn(self: Any) -> socket.socket:
        try:
            found = socket.getaddrinfo(self._dns_host, self.port, type=socket.SOCK_STREAM)
        except socket.gaierror as error:
            raise NameResolutionError(self.host, self, error) from error
        addresses = list(dict.fromkeys(str(info[4][0]) for info in found))
        for address in addresses:
            if not is_public(address):
                raise ConfigError(
                    f"a redirect leads to {self.host}, which is the private address {address}: take the URL out, or "
                    "name the page that it leads to; private_redirects=true of the source lets it through"
                )
        for address in addresses:
            try:
                return create_connection(
                    (address, self.port), self.timeout, self.source_address, self.socket_options
                )  # a name would be looked up once more, and might have become another address
            except OSError as error:
                refused = NewConnectionError(self, f"cannot connect to {address}: {error}")
        raise refused


class _PublicHTTP(_Public, HTTPConnection):
    pass


class _PublicHTTPS(_Public, HTTPSConnection):
    pass


class _PublicHTTPPool(HTTPConnectionPool):
    ConnectionCls = _PublicHTTP


class _PublicHTTPSPool(HTTPSConnectionPool):
    ConnectionCls = _PublicHTTPS


class PublicPools(PoolManager):
    """Connects to public addresses only."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.pool_classes_by_scheme = {"http": _PublicHTTPPool, "https": _PublicHTTPSPool}


class Patient(Retry):
    """Waits as long as a busy server asks for, up to `LONGEST_WAIT`, and says so."""

    def sleep_for_retry(self, response: Any) -> bool:
        """Sleep, if the answer asks for it."""
        asked = self.get_retry_after(response)
        if not asked:
            return False
        wait = min(asked, LONGEST_WAIT)
        longer = f", though it asks for {asked:,.0f} s" if asked > wait else ""
        busy = f"{response.geturl()}: the server is busy ({response.status}): asked again in {wait:.0f} s{longer}"
        notice(printable(bare(busy)))
        time.sleep(wait)
        return True
