//! The table of findings: the one source of their ids, severities and explanations.

use core::fmt;
use core::str::FromStr;

use serde::{Serialize, Serializer};

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
#[expect(
    clippy::exhaustive_enums,
    reason = "a fifth degree would change what `--fail-on` means"
)]
pub enum Severity {
    /// For information; nothing has to be done.
    Note,
    /// Works, and could be better.
    Advice,
    /// Some clients fail, or the host's name may be shown.
    Warning,
    /// ECH does not work here.
    Error,
}

impl Severity {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Advice => "advice",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }

    /// So many findings of it.
    pub fn counted(self, count: usize) -> String {
        match (self, count) {
            (_, 1) | (Self::Advice, _) => format!("{count} {self}"),
            _ => format!("{count} {self}s"),
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A family of probes, which are run or left out together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ProbeFamily {
    /// The HTTPS records and how they are reached.
    Records,
    /// The ECHConfigs in the records.
    Configs,
    /// The public_name of each config.
    PublicName,
    /// The published key, at each address.
    Key,
    /// A key that the server cannot have: rejection and retry_configs.
    Rejection,
    /// ECH through a HelloRetryRequest.
    HelloRetry,
    /// The protocols of the records against those of the server.
    Alpn,
    /// The page of the host, over ECH.
    Page,
    /// `/.well-known/origin-svcb` of the host, over ECH, against DNS.
    OriginSvcb,
    /// Sessions that are resumed with ECH.
    Resumption,
    /// The site of the public_name, as anyone may visit it.
    PublicSite,
    /// The authoritative servers of the zone, each asked for itself. Shows the host's name.
    Authoritative,
    /// GREASE in place of ECH. Shows the host's name.
    Grease,
    /// A connection without ECH. Shows the host's name.
    Plain,
    /// A connection by TLS 1.2. Shows the host's name.
    Tls12,
    /// The host without TLS, as `http://HOST/`. Shows the host's name.
    Http,
    /// What the hosts of one run have in common.
    Batch,
}

impl ProbeFamily {
    /// All families, in the order in which they run.
    pub const ALL: &'static [Self] = &[
        Self::Records,
        Self::Configs,
        Self::PublicName,
        Self::Key,
        Self::Rejection,
        Self::HelloRetry,
        Self::Alpn,
        Self::Page,
        Self::OriginSvcb,
        Self::Resumption,
        Self::PublicSite,
        Self::Authoritative,
        Self::Grease,
        Self::Plain,
        Self::Tls12,
        Self::Http,
        Self::Batch,
    ];

    /// Its name, as `--only` and `--skip` take it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Records => "records",
            Self::Configs => "configs",
            Self::PublicName => "public-name",
            Self::Key => "key",
            Self::Rejection => "rejection",
            Self::HelloRetry => "hello-retry",
            Self::Alpn => "alpn",
            Self::Page => "page",
            Self::OriginSvcb => "origin-svcb",
            Self::Resumption => "resumption",
            Self::PublicSite => "public-site",
            Self::Authoritative => "authoritative",
            Self::Grease => "grease",
            Self::Plain => "plain",
            Self::Tls12 => "tls12",
            Self::Http => "http",
            Self::Batch => "batch",
        }
    }

    /// Whether its probes show the host's name in the clear.
    pub fn shows_host(self) -> bool {
        matches!(
            self,
            Self::Authoritative | Self::Grease | Self::Plain | Self::Tls12 | Self::Http
        )
    }
}

impl fmt::Display for ProbeFamily {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What there is to say of a finding, wherever it is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Explanation {
    /// The stable id.
    pub id: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// The probes that find it.
    pub family: ProbeFamily,
    /// The section that says how it ought to be.
    pub rfc: &'static str,
    /// What is wrong, in a few words.
    pub title: &'static str,
    /// Why it matters.
    pub why: &'static str,
    /// What to do.
    pub mend: &'static str,
}

macro_rules! findings {
    ($($(#[$doc:meta])* $name:ident = $id:literal, $severity:ident, $family:ident, $rfc:literal,
        $title:literal, $why:literal, $mend:literal;)+) => {
        /// What can be found.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum FindingId {
            $(#[doc = $title] $name,)+
        }

        impl FindingId {
            /// Every finding, in the order of the table.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// What there is to say of it.
            pub fn explanation(self) -> &'static Explanation {
                match self {
                    $(Self::$name => &Explanation {
                        id: $id,
                        severity: Severity::$severity,
                        family: ProbeFamily::$family,
                        rfc: $rfc,
                        title: $title,
                        why: $why,
                        mend: $mend,
                    },)+
                }
            }
        }
    };
}

findings! {
    RecordMissing = "ECH-RECORD-MISSING", Error, Records, "RFC 9848 §3",
        "there is no HTTPS record",
        "Clients learn ECH keys from the HTTPS record. Without one they connect in the clear.",
        "Publish an HTTPS record with `ech`. `ech keygen --site HOST` prints one.";
    RecordMalformed = "ECH-RECORD-MALFORMED", Error, Records, "RFC 9460 §2.2",
        "an HTTPS record is malformed",
        "Clients reject the whole record set when one record is malformed, so that no client uses ECH.",
        "Correct or remove the record. `ech decode` reads what the DNS server serves.";
    RecordWithoutEch = "ECH-RECORD-WITHOUT-ECH", Error, Records, "RFC 9848 §3",
        "no usable HTTPS record has ech",
        "Clients find no key, and connect in the clear.",
        "Add the parameter `ech` to every HTTPS record. `ech keygen` prints it.";
    RecordPartial = "ECH-RECORD-PARTIAL", Warning, Records, "RFC 9848 §8",
        "some HTTPS records have ech and others do not",
        "An attacker who blocks the endpoints with ECH moves clients to one without it.",
        "Give every HTTPS record of the host an `ech` parameter, or remove the others.";
    RecordUnusable = "ECH-RECORD-UNUSABLE", Warning, Records, "RFC 9460 §8",
        "an HTTPS record is passed over",
        "Clients ignore a record with a mandatory parameter or protocols that they do not know, or with port 0.",
        "Remove what clients do not know from `mandatory`, and list a protocol in `alpn` that clients speak.";
    AliasLoop = "ECH-ALIAS-LOOP", Error, Records, "RFC 9460 §2.4.2",
        "the AliasMode records form a loop",
        "The chain never reaches a record with a key, so that clients connect in the clear.",
        "Let the last alias of the chain name a host that has a ServiceMode record.";
    AliasTooLong = "ECH-ALIAS-TOO-LONG", Error, Records, "RFC 9460 §3.1",
        "the chain of AliasMode records is too long",
        "Clients follow a few aliases (echkit 8) and then connect as if there were no records.",
        "Let the host's alias name the end of the chain.";
    AliasNowhere = "ECH-ALIAS-NOWHERE", Error, Records, "RFC 9460 §2.5.1",
        "an AliasMode record says that the service is not available",
        "The target `.` of an alias means that there is no service here.",
        "Let the alias name a host, or publish a ServiceMode record (priority above 0) in its place.";
    AliasMode = "ECH-ALIAS-MODE", Advice, Records, "RFC 9460 §2.4.2",
        "the records are reached through AliasMode",
        "Some clients do not follow it: Chromium and curl connect without ECH, or not at all where the host has no \
         addresses of its own.",
        "Publish a ServiceMode record at the host's own name, with the target and the `ech` of the alias's end.";
    DotAtPort = "ECH-DOT-AT-PORT", Error, Records, "RFC 9460 §2.5.2",
        "the target `.` at a port's own name leads nowhere",
        "At `_PORT._https.HOST` the target `.` means that very name, which has no address.",
        "Write the host's name as the target.";
    TargetWithoutAddress = "ECH-TARGET-WITHOUT-ADDRESS", Error, Records, "RFC 9460 §3",
        "the target of a record has no address",
        "Clients cannot connect to the endpoint.",
        "Give the target A or AAAA records, or name another target.";
    TtlTooLong = "ECH-TTL-TOO-LONG", Warning, Records, "RFC 9849 §8.1.1",
        "the records live longer than one day",
        "Resolvers serve an old key for as long. A key that is replaced in an emergency stays published.",
        "Set a TTL between 5 minutes and 1 hour, and keep each key on the servers longer than that.";
    TtlLong = "ECH-TTL-LONG", Advice, Records, "RFC 9849 §8.1.1",
        "the records live longer than one hour",
        "Keys often rotate every hour. Every client that holds an older record needs another round trip.",
        "Set a TTL of 1 hour or less.";
    DnsInTheClear = "ECH-DNS-IN-THE-CLEAR", Note, Records, "RFC 9849 §10.2",
        "this check asked its resolver in the clear",
        "Whoever watches a plain DNS query learns the name that ECH hides. This is about the resolver of this check, \
         not about the deployment.",
        "Give an encrypted resolver with `--dns` (tls://, https://, quic:// or h3://).";
    DnssecMissing = "ECH-DNSSEC-MISSING", Note, Records, "RFC 9460 §12",
        "the resolver does not say that the HTTPS records were validated by DNSSEC",
        "Without DNSSEC an attacker between resolver and zone can remove or replace the records, and with them ECH. A \
         resolver that says so is only as good as the way to it: over plain DNS anyone can set that bit (AD).",
        "Sign the zone, where its operator can. If it is signed, ask a resolver that validates, over an encrypted transport.";
    ListUnusable = "ECH-LIST-UNUSABLE", Error, Configs, "RFC 9849 §4",
        "no config of an ECHConfigList is usable",
        "Clients send GREASE in place of ECH, and the host's name in the clear.",
        "Publish a config of version 0xfe0d with a common suite: X25519, HKDF-SHA256, AES-128-GCM.";
    ConfigInvalid = "ECH-CONFIG-INVALID", Warning, Configs, "RFC 9849 §4",
        "an ECHConfig is invalid",
        "Clients pass it over, and some reject the whole list.",
        "Remove it from the record. Publish the list that your server's key tool prints.";
    ConfigMandatoryExtension = "ECH-CONFIG-MANDATORY-EXTENSION", Warning, Configs, "RFC 9849 §4.2",
        "an ECHConfig has a mandatory extension that is unknown",
        "Clients that do not know a mandatory extension pass the config over; none is in use today.",
        "Publish the config without the extension.";
    ConfigOversized = "ECH-CONFIG-OVERSIZED", Warning, Configs, "RFC 9849 §4",
        "an ECHConfig is oversized",
        "Clients limit the size of a config, and answers of this size are lost on some networks.",
        "Remove extensions from the config.";
    ConfigUnknown = "ECH-CONFIG-UNKNOWN", Note, Configs, "RFC 9849 §4",
        "an ECHConfig has an unknown version, KEM or suite",
        "Clients pass it over. A config for other clients looks like this, and so does one that is there as GREASE.",
        "Nothing, if it is there on purpose. Otherwise remove it.";
    ListLarge = "ECH-LIST-LARGE", Advice, Configs, "RFC 9460 §4.1",
        "the ECHConfigList is larger than 1000 bytes",
        "The DNS answer does not fit into a UDP message of 1232 bytes, so that it is asked for again over TCP.",
        "Publish fewer configs. With a post-quantum key nothing can be done.";
    PublicNameIsHost = "ECH-PUBLIC-NAME-IS-HOST", Error, PublicName, "RFC 9849 §6.1.7",
        "the public_name is the host itself",
        "The outer ClientHello shows the public_name, so that ECH hides nothing.",
        "Make a key with another public_name, shared by many hosts.";
    PublicNameContainsHost = "ECH-PUBLIC-NAME-CONTAINS-HOST", Warning, PublicName, "RFC 9849 §10.1",
        "the public_name contains the host's name",
        "Whoever reads the public_name can guess the host.",
        "Make a key with a public_name that says nothing of the host.";
    PublicNameUnresolved = "ECH-PUBLIC-NAME-UNRESOLVED", Advice, PublicName, "RFC 9849 §8.1.1",
        "the public_name has no address",
        "ECH works all the same, but a name that does not exist stands out in a ClientHello, and clients that \
         reach the server by it find nothing.",
        "Give the public_name the addresses of the server.";
    PublicNameElsewhere = "ECH-PUBLIC-NAME-ELSEWHERE", Note, PublicName, "RFC 9849 §8.1.1",
        "the public_name has other addresses than the host",
        "ECH works all the same. A name in the clear that belongs to other addresses stands out, where an observer looks \
         it up. Names with many addresses show a few at a time.",
        "Nothing, if both are addresses of the same servers. Otherwise give the public_name the addresses of the host.";
    PublicNameCertificate = "ECH-PUBLIC-NAME-CERTIFICATE", Error, PublicName, "RFC 9849 §6.1.7",
        "the server has no valid certificate for the public_name",
        "A rejection is trusted only under that certificate. Without it clients that hold an old key fail.",
        "Give the server a valid certificate for the public_name, at every address.";
    AddressUnreachable = "ECH-ADDRESS-UNREACHABLE", Warning, Key, "RFC 9460 §3",
        "an address does not accept connections",
        "Clients lose time there before they try another address.",
        "Start the server there, or remove the address from DNS.";
    NoAddressReachable = "ECH-NO-ADDRESS-REACHABLE", Error, Key, "RFC 9460 §3",
        "no address of the records accepts connections",
        "Clients that use the records cannot connect.",
        "Start the server, open its port, or correct the addresses and ports in DNS.";
    KeyRejected = "ECH-KEY-REJECTED", Error, Key, "RFC 9849 §7.1",
        "the server rejects the published key",
        "Every client needs a second connection, if it can connect at all.",
        "Publish the config of a key that this server holds, or install the published key here.";
    EchDisabled = "ECH-DISABLED", Error, Key, "RFC 9849 §6.1.6",
        "the server does not do ECH",
        "It answers for the public_name and sends no retry_configs: clients take ECH for disabled, and \
         show the host's name. A server with other keys that sends no retry_configs looks the same; \
         Caddy 2.11 is one.",
        "Turn ECH on at this address, with the key that the record publishes, or remove `ech` from the record.";
    Tls13Missing = "ECH-TLS13-MISSING", Error, Key, "RFC 9849 §6.1",
        "the server does not speak TLS 1.3",
        "ECH needs TLS 1.3. Clients that use the record fail.",
        "Turn TLS 1.3 on, or remove `ech` from the record.";
    HandshakeFails = "ECH-HANDSHAKE-FAILS", Error, Key, "RFC 9849 §8.1.2",
        "a connection with ECH fails",
        "The server, or something before it, does not survive a ClientHello with ECH.",
        "Look into the server's log, and bypass load balancers and firewalls to find the one that fails.";
    LargeHello = "ECH-LARGE-HELLO", Error, Key, "RFC 9849 §8.1.2",
        "a large ClientHello with ECH fails, and a small one works",
        "Browsers send a post-quantum key share, so that the ClientHello takes more than one packet. The server, or \
         something before it, does not read on.",
        "Update the server. Look for a load balancer or firewall that expects the whole ClientHello in one packet.";
    HostCertificate = "ECH-HOST-CERTIFICATE", Error, Key, "RFC 9849 §6.1.5",
        "the certificate under ECH is not valid for the host",
        "The server accepts ECH, and clients refuse its certificate.",
        "Choose the certificate by the name in the inner ClientHello, and renew it if it has expired.";
    RejectionFails = "ECH-REJECTION-FAILS", Error, Rejection, "RFC 9849 §7.1",
        "a connection with a key that the server does not have fails",
        "A client with an old key has to be answered under the public_name. Here it cannot connect.",
        "Let the server answer ECH that it cannot open as the public_name's site, with its current configs, well formed, for retry.";
    RetryMissing = "ECH-RETRY-MISSING", Warning, Rejection, "RFC 9849 §7.1",
        "a rejection has no retry_configs",
        "A client with an old key takes ECH for disabled, and shows the host's name.",
        "Have the server send its current configs (in Go: `SendAsRetry`; OpenSSL: load the key for retry).";
    RetryMalformed = "ECH-RETRY-MALFORMED", Error, Rejection, "RFC 9849 §4",
        "the retry_configs are malformed",
        "A client with an old key cannot connect.",
        "Give the server an ECHConfigList as its key tool wrote it.";
    RetryUnusable = "ECH-RETRY-UNUSABLE", Error, Rejection, "RFC 9849 §6.1.6",
        "no config of the retry_configs is usable",
        "A client with an old key cannot use ECH, or hides nothing with it.",
        "Have the server send a config of version 0xfe0d with a common suite and a public_name that is not the host.";
    RetryFails = "ECH-RETRY-FAILS", Error, Rejection, "RFC 9849 §6.1.6",
        "the retry_configs do not work",
        "A client with an old key follows them and fails.",
        "Have the server send the configs of keys that it holds.";
    RetryLoop = "ECH-RETRY-LOOP", Error, Rejection, "RFC 9849 §6.1.6",
        "the retry_configs are answered with other retry_configs",
        "Clients try again once. The machines behind this address hold different keys.",
        "Install the same keys on every machine behind the address.";
    RetryDiffers = "ECH-RETRY-DIFFERS", Advice, Rejection, "RFC 9849 §7.1",
        "the retry_configs are none of the published configs",
        "This is so during a rotation. If it lasts, clients that retry and others use different keys.",
        "Publish the configs that the server sends for retry.";
    HelloRetryBroken = "ECH-HRR-BROKEN", Error, HelloRetry, "RFC 9849 §7.1.1",
        "ECH fails after a HelloRetryRequest",
        "Clients whose first key share the server does not take cannot use ECH.",
        "Update the server. If there are several, bring both ClientHellos of a connection to one machine.";
    AlpnNotSpoken = "ECH-ALPN-NOT-SPOKEN", Warning, Alpn, "RFC 9460 §7.1",
        "the server does not speak a protocol of the record",
        "Clients that choose it fail.",
        "Turn the protocol on, or remove it from `alpn`; `http/1.1` is implied unless `no-default-alpn` is there.";
    AlpnUnlisted = "ECH-ALPN-UNLISTED", Advice, Alpn, "RFC 9460 §7.1",
        "the server speaks HTTP/2 and the record does not say so",
        "Clients that plan by the record cannot know.",
        "Add `h2` to `alpn`.";
    Http3NotChecked = "ECH-H3-NOT-CHECKED", Note, Alpn, "RFC 9460 §7.1",
        "HTTP/3 is not checked",
        "The record lists `h3`, and this check connects over TCP alone.",
        "Nothing. Check the endpoint over QUIC by other means.";
    RedirectToHttp = "ECH-REDIRECT-TO-HTTP", Warning, Page, "RFC 9849 §10.1",
        "the page over ECH redirects to http",
        "Clients that follow it leave TLS, and show the host's name and the path in the clear.",
        "Redirect to an `https` URL. Behind a proxy, tell the application that its clients use TLS.";
    RedirectToPublicName = "ECH-REDIRECT-TO-PUBLIC-NAME", Warning, Page, "RFC 9849 §7.1",
        "the page over ECH redirects to the public_name",
        "The server, or the application behind it, takes the name of the outer ClientHello for that of the site.",
        "Choose the site by the name in the inner ClientHello and by the request's host.";
    RedirectElsewhere = "ECH-REDIRECT-ELSEWHERE", Note, Page, "RFC 9849 §10.1",
        "the page over ECH redirects to another host",
        "Clients connect to that host next. Without ECH there, its name tells what was visited here.",
        "Check that host too.";
    HstsMissing = "ECH-HSTS-MISSING", Advice, Page, "RFC 6797 §7.1",
        "the page over ECH has no Strict-Transport-Security",
        "Clients that do not read the HTTPS record follow `http` links in the clear each time, and show the host's name.",
        "Send `Strict-Transport-Security: max-age=31536000` with every response over TLS.";
    OriginSvcbMalformed = "ECH-ORIGIN-SVCB-MALFORMED", Warning, OriginSvcb, "draft-ietf-tls-wkech §5",
        "/.well-known/origin-svcb is malformed",
        "A zone factory that reads it changes nothing, so that DNS keeps old keys.",
        "Serve a JSON object with `regeninterval` and `endpoints`, whose parameters have the values of presentation form.";
    OriginSvcbFails = "ECH-ORIGIN-SVCB-FAILS", Warning, OriginSvcb, "draft-ietf-tls-wkech §6.2",
        "the configs in /.well-known/origin-svcb do not work",
        "A zone factory that reads it publishes keys that the server rejects, or refuses to.",
        "Write the document from the keys that the server holds.";
    OriginSvcbDiffers = "ECH-ORIGIN-SVCB-DIFFERS", Advice, OriginSvcb, "draft-ietf-tls-wkech §6.2",
        "/.well-known/origin-svcb differs from DNS",
        "This is so for a time after each change. If it lasts, no zone factory reads it any more.",
        "Look into what writes the zone, or remove the document if nothing does.";
    TtlAboveRegeninterval = "ECH-TTL-ABOVE-REGENINTERVAL", Advice, OriginSvcb, "draft-ietf-tls-wkech §6.2",
        "the records live longer than the keys do",
        "Resolvers serve a key after the origin has made a new one. Clients then need another round trip.",
        "Set a TTL below `regeninterval`; half of it is the draft's example.";
    ResumptionFails = "ECH-RESUMPTION-FAILS", Error, Resumption, "RFC 8446 §2.2",
        "a connection with ECH that offers a session ticket fails",
        "Clients that come back fail, or have to connect again without their ticket.",
        "Let every machine behind the address take, or ignore, the tickets of the others, and update the server.";
    NoResumption = "ECH-NO-RESUMPTION", Note, Resumption, "RFC 8446 §2.2",
        "sessions are not resumed with ECH",
        "Each connection does a whole handshake. That costs time, and shows nothing.",
        "Nothing, or turn session tickets on. Several machines need the same ticket key.";
    ResumedAcrossNames = "ECH-RESUMED-ACROSS-NAMES", Note, Resumption, "RFC 8446 §4.6.1",
        "a session of the host is resumed for another name",
        "A client that offers a ticket of one site to another gets a session that was never authenticated for it. Browsers \
         do not offer it.",
        "Nothing for one site alone. Servers that compare the name of a ticket with that of the ClientHello do not do this; \
         OpenSSL 4, Go and Caddy do.";
    PublicCertificateNamesHost = "ECH-PUBLIC-CERTIFICATE-NAMES-HOST", Advice, PublicSite, "RFC 9849 §10.1",
        "the certificate of the public_name names the host",
        "A client that connects to the address under the public_name reads in its certificate which hosts are there; over \
         TLS 1.2 an eavesdropper does.",
        "Use a certificate for the public_name that has no other names.";
    PublicSiteNamesHost = "ECH-PUBLIC-SITE-NAMES-HOST", Advice, PublicSite, "RFC 9849 §10.1",
        "the page of the public_name names the host in a header",
        "A visitor of the public_name learns which host is behind it. A redirect to the host also sends clients there.",
        "Serve a page of its own under the public_name, without redirects and headers that name other hosts.";
    NameServersDiffer = "ECH-NAME-SERVERS-DIFFER", Warning, Authoritative, "RFC 1034 §4.3.5",
        "the authoritative servers have different HTTPS records",
        "Which key a client gets depends on the server that its resolver asks. Old keys must open hellos until all \
         servers have the new one.",
        "Look into the transfers between the servers. `ech publish --wait` waits until all of them agree.";
    NameServerSilent = "ECH-NAME-SERVER-SILENT", Warning, Authoritative, "RFC 1034 §4.2.1",
        "an authoritative server gives no answer",
        "Resolvers that ask it lose time, and some take the HTTPS records for missing.",
        "Start the server, have it load the zone and answer over TCP, or remove its NS record.";
    ResolverDiffers = "ECH-RESOLVER-DIFFERS", Advice, Authoritative, "RFC 9849 §8.1.1",
        "the resolver shows other HTTPS records than the authoritative servers have",
        "It keeps an older answer until its TTL has passed, or it changes answers.",
        "Keep the old key on the servers for the TTL. If it does not pass, look into the resolver.";
    GreaseIntolerant = "ECH-GREASE-INTOLERANT", Error, Grease, "RFC 9849 §6.2",
        "a connection with GREASE fails, and one without works",
        "Browsers send GREASE to every host whose record they do not have.",
        "Update the server or the middlebox before it, which must ignore what it does not know.";
    PlainCutOff = "ECH-PLAIN-CUT-OFF", Warning, Plain, "RFC 9849 §8.1.1",
        "clients without ECH cannot connect",
        "Most clients have no ECH, and those with it may not see the record.",
        "Serve the host without ECH too, with its certificate.";
    Tls12CutOff = "ECH-TLS12-CUT-OFF", Note, Tls12, "RFC 9849 §8.1.1",
        "clients with TLS 1.2 alone cannot connect",
        "Old clients fail. This may be on purpose.",
        "Nothing, unless old clients matter: then turn TLS 1.2 on.";
    HttpServesPage = "ECH-HTTP-SERVES-PAGE", Warning, Http, "RFC 9460 §9.5",
        "the host serves pages without TLS",
        "Clients that are given an `http` URL and do not read the HTTPS record show the host's name and all that they \
         read. ECH hides nothing of it.",
        "Redirect every `http` URL to `https`, and send Strict-Transport-Security there.";
    HttpAnswered = "ECH-HTTP-ANSWERED", Note, Http, "RFC 9460 §9.5",
        "the host answers without TLS, and serves no page there",
        "A first visit to an `http` URL shows the host's name before it is redirected, in clients that do not read the \
         HTTPS record. Strict-Transport-Security prevents later ones.",
        "Nothing, or close port 80. Browsers' preload lists prevent the first visit too.";
    AnonymitySetOfOne = "ECH-ANONYMITY-SET-OF-ONE", Advice, Batch, "RFC 9849 §10.1",
        "no other host of this run has the same public_name",
        "The public_name then tells the host as well as its own name would.",
        "Use one key, with one public_name, for all hosts of a server.";
    FirstFlightTells = "ECH-FIRST-FLIGHT-TELLS", Advice, Batch, "RFC 9849 §6.1.3",
        "the size of the server's first flight tells the host from others",
        "Its size is that of the certificates, and no other host of this run under the same key has it. The network sees \
         it although the certificate is encrypted.",
        "Pad the first flight, where the server can. Otherwise use one certificate, or chains of one size, for all hosts \
         of the key.";
}

impl FindingId {
    /// The stable id, such as `ECH-KEY-REJECTED`.
    pub fn as_str(self) -> &'static str {
        self.explanation().id
    }
}

impl fmt::Display for FindingId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Serialize for FindingId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl FromStr for FindingId {
    type Err = UnknownFinding;

    /// Reads an id in upper or lower case.
    fn from_str(text: &str) -> Result<Self, UnknownFinding> {
        let known = Self::ALL
            .iter()
            .find(|id| id.as_str().eq_ignore_ascii_case(text));
        known
            .copied()
            .ok_or_else(|| UnknownFinding(text.to_owned()))
    }
}

/// A text that is not the id of a finding.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}: not the id of a finding; `ech explain` lists them")]
pub struct UnknownFinding(String);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn ids_are_unique_and_are_read_back() {
        for (index, id) in FindingId::ALL.iter().enumerate() {
            assert_eq!(id.as_str().parse::<FindingId>().unwrap(), *id);
            assert_eq!(
                id.as_str().to_lowercase().parse::<FindingId>().unwrap(),
                *id
            );
            let others = &FindingId::ALL[..index];
            assert!(others.iter().all(|other| other.as_str() != id.as_str()));
            let explanation = id.explanation();
            assert!(explanation.id.starts_with("ECH-"));
            let (text, section) = explanation.rfc.split_once(" §").unwrap();
            let number = text.strip_prefix("RFC ");
            let is_rfc = number.is_some_and(|number| number.parse::<u16>().is_ok());
            assert!((is_rfc || text.starts_with("draft-ietf-")) && !section.is_empty());
            assert!(ProbeFamily::ALL.contains(&explanation.family));
        }
        let error = "ECH-NOTHING".parse::<FindingId>().unwrap_err();
        assert!(error.to_string().starts_with("ECH-NOTHING: "));
    }
}
