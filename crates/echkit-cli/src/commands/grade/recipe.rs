//! The command lines of known clients.

use std::path::Path;
use std::time::Duration;

use super::run::{Client, version};
use crate::cli::grade::Recipe;
use crate::failure::Failure;

const OPENSSL: &str = include_str!("recipes/openssl.sh");
const GO: &str = include_str!("recipes/go.sh");
const NSS: &str = include_str!("recipes/nss.sh");
const CHROMIUM: &str = include_str!("recipes/chromium.sh");
const FIREFOX: &str = include_str!("recipes/firefox.py");
const URLLIB: &str = include_str!("recipes/urllib.py");
const NIQUESTS: &str = include_str!("recipes/niquests.py");
const CURL_CFFI: &str = include_str!("recipes/curl_cffi.py");

/// How long a client may take, unless the caller says how long.
const USUAL: Duration = Duration::from_secs(20);
/// Firefox starts anew for each case.
const BROWSER: Duration = Duration::from_secs(100);

/// How long a client may take where the caller does not say.
pub(super) fn limit(recipe: Option<Recipe>) -> Duration {
    match recipe {
        Some(Recipe::Firefox) => BROWSER,
        _ => USUAL,
    }
}

/// A client before it was started.
struct Known {
    name: &'static str,
    program: String,
    /// What has it print its version, where anything has.
    asked: &'static [&'static str],
    /// What has to be there, for the error that says that it is not.
    needs: &'static str,
    command: Vec<String>,
}

/// The client of a recipe; `program` takes the place of the one in PATH.
pub(super) fn client(recipe: Recipe, program: Option<&Path>) -> Result<Client, Failure> {
    let known = known(recipe, program);
    let Known { program, asked, .. } = &known;
    let said = version(program, asked);
    let runs = match asked.is_empty() {
        true => runs(program),
        false => said.is_some(),
    };
    let needs_database = [Recipe::Chromium, Recipe::Firefox, Recipe::Nss].contains(&recipe);
    let why = match (runs, needs_database && !self::runs("certutil")) {
        (true, false) => {
            return Ok(Client {
                name: known.name.to_owned(),
                version: said,
                command: known.command,
            });
        }
        (false, _) => format!(
            "cannot run {program}{}; install it, or name another with --program",
            known.needs
        ),
        (true, true) => {
            "cannot run certutil, which makes a database with the testbed's CA; install it \
                         (libnss3-tools)"
                .to_owned()
        }
    };
    Err(Failure::usage(format!("--recipe: {why}")))
}

fn known(recipe: Recipe, program: Option<&Path>) -> Known {
    let given = program.map(|program| program.display().to_string());
    let usual = |usual: &str| given.clone().unwrap_or_else(|| usual.to_owned());
    match recipe {
        Recipe::Ech => {
            let own = std::env::current_exe().map(|program| program.display().to_string());
            let program = usual(own.as_deref().unwrap_or("ech"));
            let words = ["get", "-s", "-f", "-o", "/dev/null", "--dns", "{dns}"];
            let words = [&words[..], &["--cacert", "{ca}", "{url}"]].concat();
            Known {
                name: "ech get",
                asked: &["--version"],
                needs: "",
                command: words_of(&program, &words),
                program,
            }
        }
        Recipe::Curl => {
            let program = usual("curl");
            let resolve = "dns.ech.test:{doh_port}:127.0.0.1";
            let words = ["-q", "-s", "-f", "-o", "/dev/null", "--cacert", "{ca}"];
            let doh = ["--doh-url", "{doh}", "--resolve", resolve];
            let ech: &[&str] = match has_ech(&program) {
                true => &["--ech", "true"],
                false => &[],
            };
            let words = [&words[..], &doh, ech, &["{url}"]].concat();
            Known {
                name: "curl",
                asked: &["--version"],
                needs: "",
                command: words_of(&program, &words),
                program,
            }
        }
        Recipe::CurlCffi => {
            let words = ["{host}", "{ca}", "{address}", "{endpoint_port}", "{ech}"];
            let program = usual("python3");
            Known {
                name: "curl_cffi",
                asked: &[
                    "-c",
                    "import curl_cffi; print('curl_cffi', curl_cffi.__version__, \
                     curl_cffi.Curl().version().decode().split(' zlib')[0])",
                ],
                needs: " with the package curl_cffi",
                command: python(&program, CURL_CFFI, &words),
                program,
            }
        }
        Recipe::Openssl => shell("openssl s_client", usual("openssl"), &["version"], OPENSSL),
        Recipe::Go => shell("Go crypto/tls", usual("goecho"), &[], GO),
        Recipe::Nss => shell("NSS tstclnt", usual("tstclnt"), &[], NSS),
        Recipe::Chromium => shell("Chromium", usual("chromium"), &["--version"], CHROMIUM),
        Recipe::Firefox => {
            let program = usual("firefox-esr");
            let words = [&program, "{url}", "{ca}", "{doh}"];
            Known {
                name: "Firefox",
                asked: &["--version"],
                needs: "",
                command: python("python3", FIREFOX, &words),
                program,
            }
        }
        Recipe::Niquests => {
            let program = usual("python3");
            Known {
                name: "niquests",
                asked: &[
                    "-c",
                    "import niquests, importlib.metadata as m; \
                     print('niquests', m.version('niquests'), 'rtls', m.version('rtls'))",
                ],
                needs: " with the packages niquests and rtls",
                command: python(&program, NIQUESTS, &["{url}", "{ca}", "{dns}"]),
                program,
            }
        }
        Recipe::Python => {
            let program = usual("python3");
            Known {
                name: "Python urllib",
                asked: &["--version"],
                needs: "",
                command: python(&program, URLLIB, &["{url}", "{ca}", "{address}"]),
                program,
            }
        }
    }
}

/// A client behind a script, which finds the program as `$0`.
fn shell(
    name: &'static str,
    program: String,
    asked: &'static [&'static str],
    script: &str,
) -> Known {
    Known {
        name,
        asked,
        needs: "",
        command: words_of("sh", &["-c", script, &program]),
        program,
    }
}

fn python(interpreter: &str, script: &str, words: &[&str]) -> Vec<String> {
    words_of(interpreter, &[&["-c", script], words].concat())
}

fn words_of(program: &str, words: &[&str]) -> Vec<String> {
    let words = words.iter().map(|word| (*word).to_owned());
    std::iter::once(program.to_owned()).chain(words).collect()
}

/// Whether a program can be started.
fn runs(program: &str) -> bool {
    let mut command = std::process::Command::new(program);
    let command = command.stdin(std::process::Stdio::null());
    command.output().is_ok()
}

/// Whether this curl lists ECH among its features.
fn has_ech(program: &str) -> bool {
    let output = std::process::Command::new(program)
        .arg("--version")
        .output();
    output.is_ok_and(|output| {
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let features = text.lines().find(|line| line.starts_with("Features:"));
        features.is_some_and(|line| line.split_whitespace().any(|word| word == "ECH"))
    })
}
