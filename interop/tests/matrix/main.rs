//! The interop matrix: one test for each cell, in both directions.
//!
//! A cell that cannot exist is printed as ignored, with its reason in brackets; the reasons are
//! those of [`Skip`] and no others. Without peers the run fails and says how to build them.

mod cell;
mod checks;
mod grease;
mod keys;
mod our_client;
mod our_server;
mod peers_alone;
mod split_mode;
mod testbed;
mod web_servers;

use std::process::ExitCode;
use std::sync::Arc;

use cell::Lab;
use echkit_interop::Peers;
use libtest_mimic::{Arguments, Failed, Trial};

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let cells = || {
        let mut cells = peers_alone::cells();
        cells.extend(keys::cells());
        cells.extend(our_client::cells());
        cells.extend(grease::cells());
        cells.extend(our_server::cells());
        cells.extend(split_mode::cells());
        cells.extend(testbed::cells());
        cells.extend(checks::cells());
        cells.extend(web_servers::cells());
        cells
    };
    let trials = if std::env::var("ECHKIT_INTEROP").is_ok_and(|value| value == "skip") {
        println!("interop: nothing is tested against other software, because ECHKIT_INTEROP=skip");
        cells().into_iter().map(|cell| cell.leave_out()).collect()
    } else {
        match Peers::find() {
            Ok(peers) => {
                let lab = Arc::new(Lab::new(peers));
                cells().into_iter().map(|cell| cell.trial(&lab)).collect()
            }
            Err(missing) => {
                let missing = missing.to_string();
                vec![Trial::test("peers_are_built", move || {
                    Err(Failed::from(missing))
                })]
            }
        }
    };
    libtest_mimic::run(&arguments, trials).exit_code()
}
