"""The rules by which an adapter makes one connection: what DNS says, where to connect, what to offer, and
what follows from a rejection. No sockets, no clocks: libraries bring theirs."""

from __future__ import annotations

import socket
import ssl as _std
import typing

from . import _echkit
from ._answers import Retries
from ._attempts import Attempt
from ._connection_report import ConnectionAttempt, ConnectionReport
from ._context import discovery_error, warn_of_failed
from ._discovery import Answer, Endpoint, IPAddress
from .ssl import ECHRejectedError, ECHStatus


class Place(typing.NamedTuple):
    """One address of one endpoint."""

    endpoint: Endpoint
    address: IPAddress

    @property
    def port(self) -> int:
        return self.endpoint.port

    @property
    def peer(self) -> tuple[str, int]:
        return str(self.address), self.endpoint.port

    def __str__(self) -> str:
        host = f"[{self.address}]" if self.address.version == 6 else str(self.address)
        return f"{host}:{self.port}"


class Connecting:
    """One connection under way, from what DNS said to a handshake that has finished.

    Raises ``ECHDiscoveryError`` where no ClientHello may be sent, and ``socket.gaierror`` where DNS
    gives no address.
    """

    def __init__(
        self,
        answer: Answer,
        mode: typing.Literal["prefer", "require"],
        retries: Retries,
        *,
        server_name: str | None = None,
        by_hand: _echkit.EchConfigList | None = None,
        proxied: bool = False,
    ) -> None:
        self.answer = answer
        self.mode = mode
        self.proxied = proxied
        self.server_name = _ascii(server_name or answer.discovery.host)
        self._retries = retries
        self._by_hand = by_hand
        self._again: Attempt | None = None
        self._tried: list[ConnectionAttempt] = []
        self._warnings: list[str] = []
        self._tls_error: Exception | None = None
        self._hiding, self._plain = self._places()

    @property
    def host(self) -> str:
        return self.answer.discovery.host

    @property
    def _required(self) -> bool:
        return self.mode == "require"

    def _places(self) -> tuple[list[Place], list[Place]]:
        """Those with ECH, and those without."""
        found = self.answer.discovery
        by_hand = self._offer_by_hand()
        if by_hand is None:
            _, refusal = self.answer.found.offer_to(None, self._required)
            if refusal is not None:
                raise discovery_error(f"{self.host}: {refusal}", found)
        every = [Place(e, address) for e in found.endpoints for address in e.addresses]
        if not every:
            why = found.error or "DNS gives no address"
            if found.records:
                raise discovery_error(f"{self.host}: {why}", found)
            raise socket.gaierror(socket.EAI_NONAME, f"{self.host}: {why}")
        if by_hand is not None:
            return every, []
        hiding = [p for p in every if p.endpoint.ech_usable and self._offer_of(p) is not None]
        plain = [p for p in every if not p.endpoint.ech_usable]
        return hiding, [] if self._required else plain

    def _offer_by_hand(self) -> _echkit.EchConfigList | None:
        if self._by_hand is None or not self._required:
            return self._by_hand
        return self._hiding_one(self._by_hand, "the ECHConfig that was set")

    def _hiding_one(self, offer: _echkit.EchConfigList, what: str) -> _echkit.EchConfigList:
        """The configs with another public_name than the host itself."""
        hiding = offer.hiding(self.server_name)
        if hiding is None:
            raise discovery_error(
                f"{self.host}: ECH is required, and the public_name of {what} is "
                f"{self.server_name} itself",
                self.answer.discovery,
            )
        return hiding

    def _offer_of(self, place: Place) -> _echkit.EchConfigList | None:
        return self.answer.found.offer_to((place.address, place.port), self._required)[0]

    # Where to.

    def places(self) -> list[Place]:
        """Where to connect now: to whichever answers first. Without ECH only when none with ECH could
        be reached (RFC 9848 §5.1)."""
        if self._again is not None:
            return [self._again.place]
        return list(self._hiding or self._plain)

    def unreachable(self, place: Place, error: Exception) -> None:
        """No connection could be made there."""
        self._tried.append(ConnectionAttempt(*place.peer, "none", str(error) or repr(error)))
        if self._again is not None:
            raise error
        self._forget(lambda other: other == place)

    def go_on(self, error: Exception) -> None:
        """Raises where nothing is left to try: the error of TLS, if there was one."""
        if not self.places():
            raise self._tls_error or error

    def _forget(self, gone: typing.Callable[[Place], bool]) -> None:
        had = bool(self._hiding)
        self._hiding = [place for place in self._hiding if not gone(place)]
        if had and not self._hiding and self._plain:
            self._warnings.append(
                "no endpoint with ECH could be reached; the connection is to one without"
            )
        elif not had:
            self._plain = [place for place in self._plain if not gone(place)]

    # What to offer.

    def attempt(self, place: Place) -> Attempt:
        """The handshake at a place that was reached."""
        again, self._again = self._again, None
        if again is not None:
            return again
        by_hand = self._offer_by_hand()
        if by_hand is not None:
            return Attempt(place, self.server_name, by_hand, "manual")
        if place not in self._hiding:
            warn_of_failed(self.answer.discovery, stacklevel=5)
            return Attempt(place, self.server_name, None, "none", grease=True)
        offer = self._offer_of(place)
        assert offer is not None
        instead = self._retries.instead_of(self.answer, offer)
        if self._required:
            instead = instead.hiding(self.server_name) or offer
        return Attempt(place, self.server_name, instead, "dns" if instead == offer else "cache")

    def failed(self, attempt: Attempt, error: Exception) -> None:
        """What follows from an error; raises where nothing is left to try."""
        place = attempt.place
        self._tried.append(ConnectionAttempt(*place.peer, attempt.source, str(error) or repr(error)))
        if attempt.made is None:
            # A proxy's refusal, for one.
            self._forget(lambda other: other == place)
            self.go_on(error)
            return
        if attempt.offer is not None:
            # No error from here on is a reason to drop ECH (RFC 9849 §6.1.6).
            self._plain = []
        if attempt.offer is not None and attempt.source != "manual":
            configs = error.retry_configs if isinstance(error, ECHRejectedError) else None
            self._retries.failed(attempt.offer, configs)
        if isinstance(error, ECHRejectedError):
            self._again = self._after_rejection(attempt, error)
            return
        if attempt.grease and _may_be_grease(error):
            # Nothing is hidden here. The server may not take the extension, or TLS 1.3.
            self._warnings.append(f"the server ended a connection with GREASE ({error})")
            self._again = Attempt(place, self.server_name, None, "none")
            return
        if isinstance(error, _std.SSLCertVerificationError) and attempt.offer is not None:
            error = self._explained(attempt, error)
        self._tls_error = self._tls_error or error
        broken = not isinstance(error, _std.SSLError) or isinstance(error, _std.SSLEOFError)
        self._forget(
            lambda other: other == place or (not broken and other.endpoint == place.endpoint)
        )
        self.go_on(error)

    def _after_rejection(self, attempt: Attempt, error: ECHRejectedError) -> Attempt:
        """The one more connection after an authenticated rejection (RFC 9849 §6.1.6)."""
        place, retries = attempt.place, attempt.retries + 1
        if attempt.retries:
            raise _rejected(error, f"{self.host}: the server at {place} rejected the ECHConfig that it "
                            "had just sent; its ECH keys are misconfigured")
        if not error.retry_configs:
            if self._required:
                raise _rejected(error, f"{self.host}: ECH is required, and the server at {place} has "
                                "switched it off")
            self._warnings.append("the server has switched ECH off, and proved that it is the server")
            return Attempt(place, self.server_name, None, "disabled", retries=retries)
        try:
            new = _echkit.EchConfigList(error.retry_configs)
        except OSError as unusable:
            if self._required:
                raise _rejected(error, f"{self.host}: ECH is required, and none of the retry_configs "
                                f"of the server at {place} can be used: {unusable}") from error
            self._warnings.append(f"the server's retry_configs cannot be used: {unusable}")
            return Attempt(place, self.server_name, None, "none", grease=True, retries=retries)
        if self._required:
            new = self._hiding_one(new, "the retry_configs")
        return Attempt(place, self.server_name, new, "retry", retries=retries)

    def _explained(
        self, attempt: Attempt, error: _std.SSLCertVerificationError
    ) -> _std.SSLCertVerificationError:
        """The same error; where it is about the public_name, with what that means."""
        made = attempt.made
        outer = made.get_ech_status()[2] if made is not None else None
        if outer is None or outer not in error.verify_message:
            return error
        text = (
            f"{self.host}: the server at {attempt.place} does not hold the key that DNS publishes, and "
            f"its certificate is not for {outer}: {error.verify_message} The record and the address may "
            "come from different views of DNS"
        )
        told = _std.SSLCertVerificationError(error.errno or _std.SSL_ERROR_SSL, text)
        told.verify_code, told.verify_message = error.verify_code, error.verify_message
        told.library, told.reason = error.library, error.reason
        told.__cause__ = error
        return told

    # The outcome.

    def succeeded(self, attempt: Attempt) -> ConnectionReport:
        """The report of a handshake that has finished, which its socket or object has from now on."""
        made = attempt.made
        if made is None:
            raise RuntimeError(
                f"{self.host}: the connection was not made with a context of echkit; "
                "use echkit.create_default_context()"
            )
        code, inner, outer = made.get_ech_status()
        status: typing.Literal["accepted", "grease", "disabled", "not_offered"] = "not_offered"
        if code == ECHStatus.ECH_STATUS_SUCCESS:
            status = "accepted"
        elif attempt.source == "disabled":
            status = "disabled"
        elif attempt.grease and code == ECHStatus.ECH_STATUS_GREASE:
            status = "grease"
        source = "none" if attempt.source == "disabled" else attempt.source
        address, port = attempt.place.peer
        found = self.answer.discovery
        report = ConnectionReport(
            origin=found.origin,
            mode=self.mode,
            status=status,
            source=source,
            inner_sni=inner if status == "accepted" else None,
            outer_sni=outer,
            retries=attempt.retries,
            address=address,
            port=port,
            proxied=self.proxied,
            warnings=(*found.warnings, *self._warnings),
            attempts=(*self._tried, ConnectionAttempt(address, port, source, None)),
            discovery=found,
        )
        if made.owner is not None:
            made.owner.ech_report = report
        return report


def _ascii(name: str) -> str:
    """A name as contexts are given it."""
    name = name.rstrip(".").lower()
    return name if name.isascii() else name.encode("idna").decode("ascii")


def _may_be_grease(error: Exception) -> bool:
    """Whether a connection without GREASE may succeed after this error."""
    if isinstance(error, (_std.SSLCertVerificationError, TimeoutError)):
        return False
    return isinstance(error, OSError)


def _rejected(error: ECHRejectedError, text: str) -> ECHRejectedError:
    told = ECHRejectedError(_std.SSL_ERROR_SSL, text)
    told.library, told.reason = error.library, error.reason
    told.retry_configs = error.retry_configs
    return told
