//! BoringSSL's tests of ECH (BoGo) against our server and client, by the shim in `interop/bogo/shim`.
//!
//! Each run is held to a list in `interop/bogo/` that says which tests are expected not to pass, and
//! which options the shim does not have, each with its reason. A test that fails without being listed
//! fails the run, and so does one that is listed and passes. The long run, which makes every TLS 1.3
//! server test offer ECH, is `make bogo-forced`.

mod list;
mod outcome;
mod run;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Failed, Trial};

use run::Run;

/// The runs: what they are called, their lists, tests and options, and how the tests are counted.
const RUNS: [Run; 3] = [
    Run {
        name: "ech",
        tests: "TLS-ECH-*",
        backend: false,
        loose_errors: false,
        groups: &[("servers", "TLS-ECH-Server*"), ("clients", "TLS-ECH-*")],
        is_long: false,
    },
    Run {
        name: "backend",
        tests: "TLS-ECH-Server-ECHInner*",
        backend: true,
        loose_errors: false,
        groups: &[("backend servers", "*")],
        is_long: false,
    },
    // The names that BoringSSL has for errors of TLS 1.3 say nothing about ECH; alerts are compared.
    Run {
        name: "forced",
        tests: "*-WithoutECH;*-WithECHAccepted;*-WithECHRejected",
        backend: false,
        loose_errors: true,
        groups: &[
            ("without ECH", "*-WithoutECH"),
            ("ECH accepted", "*-WithECHAccepted"),
            ("ECH rejected", "*-WithECHRejected"),
        ],
        is_long: true,
    },
];

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // One runner keeps all cores busy; two would only make timeouts likelier.
    arguments.test_threads = Some(1);
    let trials = if std::env::var("ECHKIT_INTEROP").is_ok_and(|value| value == "skip") {
        println!("bogo: BoringSSL's tests of ECH are not run, because ECHKIT_INTEROP=skip");
        RUNS.iter()
            .map(|run| {
                Trial::test(run.name, || {
                    Err(Failed::from("not run: ECHKIT_INTEROP=skip"))
                })
                .with_kind("skipped: ECHKIT_INTEROP=skip")
                .with_ignored_flag(true)
            })
            .collect()
    } else {
        match echkit_interop::bogo_runner() {
            Ok(runner) => trials(&Arc::from(runner)),
            Err(missing) => {
                let missing = missing.to_string();
                vec![Trial::test("runner_is_built", move || {
                    Err(Failed::from(missing))
                })]
            }
        }
    };
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn trials(runner: &Arc<Path>) -> Vec<Trial> {
    let trial = |run: &'static Run| {
        let runner = Arc::clone(runner);
        let trial = Trial::test(run.name, move || {
            println!("{}", run.carry_out(&runner, &lists())?);
            Ok(())
        });
        match run.is_long {
            true => trial
                .with_kind("long: make bogo-forced")
                .with_ignored_flag(true),
            false => trial,
        }
    };
    RUNS.iter().map(trial).collect()
}

/// The folder of the lists.
fn lists() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("bogo")
}
