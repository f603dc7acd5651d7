//! The shim between BoringSSL's TLS test runner (BoGo) and echkit.
//!
//! The runner starts one process for each test, tells it by options what to do and what to expect,
//! and is the other side of its connections. A server is an
//! [`EchServer`](echkit_tls::server::EchServer) with its sans-IO handshake; a client is a
//! [`ClientTls`](echkit_tls::client::ClientTls) whose bytes pass the guard. Both run on a blocking
//! socket.
//!
//! Exit codes: 0 for connections that ended well, 1 for those that failed, with the reason on
//! standard error, 89 for an option that this shim does not have, 90 for an unmet expectation.

mod client;
mod credentials;
mod exchange;
mod expectations;
mod failure;
mod options;
mod server;
mod socket;
mod verifiers;

use std::process::ExitCode;

use failure::Failure;
use options::{Command, Options};

fn main() -> ExitCode {
    let result = match options::parse(std::env::args().skip(1)) {
        Ok(Command::IsHandshakerSupported) => {
            println!("No");
            Ok(())
        }
        Ok(Command::Connect(options)) => connect(&options),
        Err(failure) => Err(failure),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

/// Makes the first connection and those that resume its session.
fn connect(options: &Options) -> Result<(), Failure> {
    let mut side: Box<dyn Side> = match options.is_server {
        true => Box::new(server::Server::new(options)?),
        false => Box::new(client::Client::default()),
    };
    for round in 0..=options.resumptions {
        let mut socket = socket::Socket::connect(options)?;
        let is_resumption = round > 0;
        let connection = match is_resumption {
            true => &options.resumed,
            false => &options.initial,
        };
        side.connect(&mut socket, connection, is_resumption)?;
    }
    Ok(())
}

/// A client or a server, with the sessions that its next connection may resume.
trait Side {
    /// Makes one connection, from the handshake to its end.
    fn connect(
        &mut self,
        socket: &mut socket::Socket,
        options: &options::ConnectionOptions,
        is_resumption: bool,
    ) -> Result<(), Failure>;
}
