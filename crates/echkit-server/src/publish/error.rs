//! Why a record was not published.

use std::io;
use std::path::PathBuf;

use echkit::dns::QueryError;
use echkit_proto::dns::{ResponseError, TsigError, UpdateCode};
use echkit_proto::svcb::{DomainName, RecordError};

use crate::site_record::SiteError;

use super::dns_server::DnsServer;

/// Why a record was not published. Each text ends with what became of the record.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// The site is not a host name with or without a port.
    #[error(transparent)]
    Site(#[from] SiteError),
    /// A name could not be looked up.
    #[error("{name}: {error}; nothing was published")]
    LookUp {
        /// The name.
        name: DomainName,
        /// What went wrong.
        error: QueryError,
    },
    /// A server has no address.
    #[error("{0}: the name server has no address; give --server ADDRESS")]
    NoServerAddress(String),
    /// The name is in no zone that is known.
    #[error("{owner}: no zone of it is known to {asked}; give the zone's primary server")]
    NoZone {
        /// The name.
        owner: DomainName,
        /// The server or resolver that was asked.
        asked: String,
    },
    /// A server cannot be reached, or the connection broke.
    #[error("{server}: {error}; nothing was published")]
    Io {
        /// The server.
        server: DnsServer,
        /// What went wrong.
        error: io::Error,
    },
    /// A server's response cannot be used.
    #[error("{server}: its response cannot be used: {error}; nothing was published")]
    Response {
        /// The server.
        server: DnsServer,
        /// What is wrong with it.
        error: ResponseError,
    },
    /// A server refuses to answer, or is not the zone's.
    #[error(
        "{server}: it gave no authoritative answer for {owner} (response code {rcode}); nothing was published"
    )]
    NotAuthoritative {
        /// The server.
        server: DnsServer,
        /// The name that was asked for.
        owner: DomainName,
        /// The response code.
        rcode: u16,
    },
    /// The name is an alias: records of its own would be ignored.
    #[error(
        "{owner}: it is an alias of {target} ({kind}); publish at that name, or replace the alias by ServiceMode records"
    )]
    Alias {
        /// The name.
        owner: DomainName,
        /// What it is an alias of.
        target: DomainName,
        /// The kind of alias.
        kind: &'static str,
    },
    /// A record that is there is malformed, so that clients ignore all of them.
    #[error("{owner}: an HTTPS record that is there is malformed: {error}; mend it first")]
    Malformed {
        /// The name.
        owner: DomainName,
        /// What is wrong with it.
        error: RecordError,
    },
    /// A server does not accept the list.
    #[error(
        "{host}: {address} does not accept this ECHConfigList: {error}; nothing was published: have the server load the key first"
    )]
    NotAccepted {
        /// The site.
        host: DomainName,
        /// The address that was connected to.
        address: String,
        /// What went wrong.
        error: Box<echkit::Error>,
    },
    /// There is nothing to connect to.
    #[error(
        "{host}: {target} has no address to check the list at; nothing was published: publish its addresses first, or check nothing"
    )]
    NothingToCheck {
        /// The site.
        host: DomainName,
        /// The target of the record.
        target: DomainName,
    },
    /// A wildcard has no server of its own.
    #[error(
        "{0}: no connection can check a wildcard; nothing was published: check one of its names yourself, and check nothing here"
    )]
    Wildcard(DomainName),
    /// The record was changed by another program since it was read.
    #[error(
        "{owner}: its HTTPS records were changed meanwhile ({code} from {server}); that change was kept, and nothing was published: run this again"
    )]
    Conflict {
        /// The name.
        owner: DomainName,
        /// The server.
        server: DnsServer,
        /// What it said.
        code: UpdateCode,
    },
    /// The server refuses the update.
    #[error(
        "{server}: it refuses the update of {owner}: {code}; the record is as it was: {way_out}"
    )]
    Refused {
        /// The name.
        owner: DomainName,
        /// The server.
        server: DnsServer,
        /// What it said.
        code: UpdateCode,
        /// What to do.
        way_out: &'static str,
    },
    /// The signature is not accepted, or that of the response is not.
    #[error("{server}: {error}; the update of {owner} counts as not made")]
    Tsig {
        /// The name.
        owner: DomainName,
        /// The server.
        server: DnsServer,
        /// What is wrong.
        error: TsigError,
    },
    /// The response was lost, and what became of the update is unknown.
    #[error(
        "{server}: no response to the update of {owner}, and the record cannot be read: {error}; it may be old or new: run this again"
    )]
    Unknown {
        /// The name.
        owner: DomainName,
        /// The server.
        server: DnsServer,
        /// What went wrong.
        error: Box<Self>,
    },
    /// Records do not fit into a message.
    #[error("{0}: its HTTPS records are too long for one update; nothing was published")]
    TooLong(DomainName),
    /// Some do not show the record yet.
    #[error("{owner}: published, but not shown by {}; resolvers may keep the old record until its TTL is over", .lagging.join("; "))]
    Lagging {
        /// The name.
        owner: DomainName,
        /// Who shows something else, and what was seen.
        lagging: Vec<String>,
    },
    /// The file that remembers what was published cannot be used.
    #[error("{}: {reason}", path.display())]
    History {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        reason: String,
    },
    /// Nothing to go back to.
    #[error("{owner}: {why}; the record was not changed")]
    NoRollback {
        /// The name.
        owner: DomainName,
        /// Why not.
        why: String,
    },
    /// The client that checks cannot be made.
    #[error("{host}: the check cannot be made: {error}; nothing was published")]
    CheckSetup {
        /// The site.
        host: DomainName,
        /// What is wrong.
        error: String,
    },
}
