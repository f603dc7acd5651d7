//! The command lines of known clients.

use std::path::Path;

use super::run::{Client, version};
use crate::cli::grade::Recipe;
use crate::failure::Failure;

/// `openssl s_client` sends a request, and has to show the answer. `-ech_config_list` is left out
/// where the records have none. With it `-tls1_3` is needed: s_client offers TLS 1.2 inside ECH
/// otherwise, which RFC 9849 §7.1 has servers refuse.
const OPENSSL: &str = r#"
set -e
list="{ech}"
printf 'GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n' |
  "$0" s_client -quiet -ign_eof -verify_return_error -CAfile '{ca}' -servername '{host}' \
    -verify_hostname '{host}' -alpn http/1.1 ${list:+-tls1_3 -ech_config_list "$list"} \
    -connect '{address}:{endpoint_port}' | grep -q '^HTTP/1.1 200'
"#;

/// The program prints a line for each connection; the last one has the page.
const GO: &str = r#"
set -e
list="{ech}"
"$0" connect -address '{address}:{endpoint_port}' -name '{host}' -ca '{ca}' ${list:+-ech "$list"} \
  -retry -get | tail -n 1 | grep -v '"error":"[^"]' | grep -q '"body":"[^"]'
"#;

/// Names of the testbed are at its addresses; the program looks nothing else up.
const PYTHON: &str = r#"
import socket, ssl, sys, urllib.request
url, ca, address = sys.argv[1:]
look_up = socket.getaddrinfo
socket.getaddrinfo = lambda host, *rest, **more: look_up(address, *rest, **more)
context = ssl.create_default_context(cafile=ca)
with urllib.request.urlopen(url, timeout=15, context=context) as response:
    response.read()
"#;

/// Chromium with a profile made for the occasion, which asks the testbed's DNS over HTTPS alone and
/// trusts its CA. It exits with 0 in any case: the page has to be the server's.
const CHROMIUM: &str = r#"
set -e
home=$(mktemp -d)
trap 'rm -rf "$home"' EXIT
mkdir -p "$home/profile" "$home/.pki/nssdb"
certutil -d "sql:$home/.pki/nssdb" -N --empty-password
certutil -d "sql:$home/.pki/nssdb" -A -t C,, -n testbed -i '{ca}'
printf '{"dns_over_https":{"mode":"secure","templates":"%s"}}' '{doh}' > "$home/profile/Local State"
sandbox=
[ "$(id -u)" != 0 ] || sandbox=--no-sandbox
HOME=$home timeout -k 1 15 "$0" --headless $sandbox --disable-gpu --user-data-dir="$home/profile" \
  --host-resolver-rules='MAP dns.ech.test 127.0.0.1' --dump-dom '{url}?format=json' |
  grep -q '"case"'
"#;

/// The client of a recipe; `program` takes the place of the one in PATH.
pub(super) fn client(recipe: Recipe, program: Option<&Path>) -> Result<Client, Failure> {
    let given = program.map(|program| program.display().to_string());
    let program = |usual: &str| given.clone().unwrap_or_else(|| usual.to_owned());
    let (name, program, asked, command): (&str, String, &str, Vec<String>) = match recipe {
        Recipe::Ech => {
            let own = std::env::current_exe().map_or_else(
                |_| "ech".to_owned(),
                |program| program.display().to_string(),
            );
            let program = given.unwrap_or(own);
            let words = ["get", "-s", "-f", "-o", "/dev/null", "--dns", "{dns}"];
            let command = words_of(
                &program,
                &[&words[..], &["--cacert", "{ca}", "{url}"]].concat(),
            );
            ("ech get", program, "--version", command)
        }
        Recipe::Curl => {
            let program = program("curl");
            let has_ech = has_ech(&program);
            let ech: &[&str] = match has_ech {
                true => &["--ech", "true"],
                false => &[],
            };
            let words = [
                "-q",
                "-s",
                "-f",
                "-o",
                "/dev/null",
                "--cacert",
                "{ca}",
                "--doh-url",
                "{doh}",
                "--resolve",
                "dns.ech.test:{doh_port}:127.0.0.1",
            ];
            let command = words_of(&program, &[&words[..], ech, &["{url}"]].concat());
            ("curl", program, "--version", command)
        }
        Recipe::Openssl => {
            let program = program("openssl");
            let command = shell(OPENSSL, &program);
            ("openssl s_client", program, "version", command)
        }
        Recipe::Go => {
            let program = program("goecho");
            let command = shell(GO, &program);
            ("Go crypto/tls", program, "version", command)
        }
        Recipe::Chromium => {
            if !runs("certutil") {
                return Err(Failure::usage(
                    "--recipe chromium: cannot run certutil, which adds the testbed's CA to the \
                     profile; install it (libnss3-tools)",
                ));
            }
            let program = program("chromium");
            let command = shell(CHROMIUM, &program);
            ("Chromium", program, "--version", command)
        }
        Recipe::Python => {
            let program = program("python3");
            let command = words_of(&program, &["-c", PYTHON, "{url}", "{ca}", "{address}"]);
            ("Python urllib", program, "--version", command)
        }
    };
    let said = version(&program, asked);
    if said.is_none() && recipe != Recipe::Go {
        return Err(Failure::usage(format!(
            "--recipe: cannot run {program}; install it, or name another with --program"
        )));
    }
    Ok(Client {
        name: name.to_owned(),
        version: said,
        command,
    })
}

fn words_of(program: &str, words: &[&str]) -> Vec<String> {
    let words = words.iter().map(|word| (*word).to_owned());
    std::iter::once(program.to_owned()).chain(words).collect()
}

/// A script, which finds the program as `$0`.
fn shell(script: &str, program: &str) -> Vec<String> {
    words_of("sh", &["-c", script, program])
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
