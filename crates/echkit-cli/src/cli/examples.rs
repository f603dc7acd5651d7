//! Examples and variables at the end of each command's help, and of its manual page.

use clap::{Command, CommandFactory};

use super::Cli;

/// A command line, and what it does.
type Example = (&'static str, &'static str);

/// By the name of the command; those of `ech` itself come first.
const EXAMPLES: &[(&str, &[Example])] = &[
    (
        "ech",
        &[
            ("ech demo", "See ECH hide a name, on this machine alone"),
            (
                "ech lookup example.com",
                "Whether a site publishes a key for ECH",
            ),
            (
                "ech get -v https://example.com/",
                "Fetch a page, and see which name was sent in the clear",
            ),
        ],
    ),
    (
        "get",
        &[
            (
                "ech get --ech require https://example.com/",
                "Fetch a page over ECH, or fail before its name is sent in the clear",
            ),
            (
                "ech get -v -o page.html --dns https://dns.example/dns-query example.com",
                "Look names up over HTTPS, tell on stderr what happened, write the body to a file",
            ),
            (
                "ech get --json https://example.com/",
                "The report and the response as one JSON document",
            ),
            (
                "ech get -s -o /dev/null -w '%{ech_status} %{ech_outer_sni}\\n' https://example.com/",
                "One line for a script",
            ),
            (
                "ech get --ech-config @key.pem --connect-to ::192.0.2.1:8443 https://example.com/",
                "Try a server with its key before DNS has either",
            ),
        ],
    ),
    (
        "trace",
        &[
            (
                "ech trace example.com",
                "Which parts of a visit the network reads, and what ECH hides",
            ),
            (
                "ech trace --html trace.html --pcap trace.pcapng https://example.com/",
                "The same as a page, and as a capture that Wireshark opens and decrypts",
            ),
        ],
    ),
    (
        "check",
        &[
            (
                "ech check example.com",
                "What is wrong with a deployment of ECH, and what to do",
            ),
            (
                "ech check --private --dns https://dns.example/dns-query example.com",
                "The same without showing the name to the network",
            ),
            (
                "ech check --batch hosts.txt --jobs 16 --fail-on warning --json > findings.json",
                "Many hosts, for a monitor: exit code 1 for warnings and errors",
            ),
        ],
    ),
    (
        "grade",
        &[
            (
                "ech grade --recipe curl",
                "What curl does at each case of the testbed",
            ),
            (
                "ech grade --markdown -- ./client --resolver {dns} --ca {ca} {url}",
                "The same of a client of one's own, as a table for its README",
            ),
            (
                "ech grade --only stale,hrr --captures seen -- ./client {url}",
                "Two cases, with what passed in seen/stale.pcapng and seen/hrr.pcapng",
            ),
        ],
    ),
    (
        "explain",
        &[
            (
                "ech explain ECH-KEY-REJECTED",
                "Why a finding matters, and what to do",
            ),
            ("ech explain", "All findings"),
        ],
    ),
    (
        "lookup",
        &[
            (
                "ech lookup example.com",
                "The records, and which ECHConfig clients use",
            ),
            (
                "ech lookup --require-ech --json https://example.com:8443/",
                "For a monitor: exit code 101 when clients find no usable ECHConfig",
            ),
        ],
    ),
    (
        "decode",
        &[
            (
                "ech decode @key.pem",
                "A key file, as `ech keygen` or `openssl ech` writes it",
            ),
            (
                "dig example.com HTTPS | ech decode",
                "The records in what a DNS tool prints",
            ),
            (
                "ech decode --kind hello @hello.bin",
                "A ClientHello from a capture",
            ),
            (
                "ech decode --pcap capture.pcapng",
                "Each ClientHello in a capture, and what can be said of its ECH extension",
            ),
        ],
    ),
    (
        "cache",
        &[
            (
                "ech cache show --ech-cache retry-configs",
                "What is kept, and for how long",
            ),
            ("ech cache clear --ech-cache retry-configs", "Forget it"),
        ],
    ),
    (
        "keygen",
        &[
            (
                "ech keygen public.example -o key.pem",
                "Write a key to a file, and print the record to publish",
            ),
            (
                "ech keygen public.example -o key.pem --site www.example.com --alpn h2",
                "The same, with whole records for DNS",
            ),
            (
                "ech keygen public.example --kem p256 --max-name-length 64",
                "With another KEM and another padding, to stdout",
            ),
        ],
    ),
    (
        "convert",
        &[
            (
                "ech convert key.pem --to caddy -o /var/lib/caddy/.local/share/caddy",
                "Give Caddy a key that a record publishes already",
            ),
            (
                "ech convert ech/configs/77 --to pem -o key.ech",
                "Take a key of Caddy's to another server",
            ),
        ],
    ),
    (
        "rotate",
        &[
            (
                "ech rotate keys --public-name public.example --every 1h --publish-command ./publish.sh",
                "A new key every hour; publish.sh puts $ECH_CONFIG_LIST into DNS",
            ),
            (
                "ech rotate keys --once --reload-command 'systemctl reload nginx'",
                "From a timer: do what is due, and have the server load it",
            ),
            ("ech rotate keys --status", "The keys and their states"),
        ],
    ),
    (
        "route",
        &[
            (
                "ech route --keys keys --public 192.0.2.1:443 --inner-name secret.example=192.0.2.2:443",
                "Forward a hidden name to its server, and all else to the public name's",
            ),
            (
                "ech route --config /etc/ech/route.toml --check",
                "Say all that is wrong with a configuration file",
            ),
        ],
    ),
    (
        "serve",
        &[
            (
                "ech serve --keys keys --site secret.example,cert=secret.pem,root=/srv/www --site public.example,cert=public.pem,status",
                "A hidden site, and the site of the public name, on port 443",
            ),
            (
                "ech serve --config /etc/ech/serve.toml --check",
                "Say all that is wrong with a configuration file",
            ),
        ],
    ),
    (
        "publish",
        &[
            (
                "ech publish www.example.com --keys keys --tsig update.key --wait",
                "Send the key that is published in a directory to the zone's primary server",
            ),
            (
                "ech rotate keys --publish-command 'ech publish www.example.com --keys keys --tsig update.key'",
                "The same whenever keys change",
            ),
            (
                "ech publish www.example.com --ech-config @key.pem",
                "Print the records as they would be, and a script for nsupdate",
            ),
            (
                "ech publish www.example.com --keys keys --tsig update.key --rollback",
                "Put back what was there before",
            ),
        ],
    ),
    (
        "testbed",
        &[
            (
                "ech testbed --only nominal,stale",
                "Serve two cases until Ctrl-C, on free ports",
            ),
            (
                "ech testbed --port 20000 --ca-file ca.pem --pid-file testbed.pid --detach",
                "Serve all cases in the background; `kill $(cat testbed.pid)` ends them",
            ),
            (
                "ech testbed --list --json",
                "The cases, and the outcome expected of a correct client",
            ),
        ],
    ),
    (
        "demo",
        &[(
            "ech demo",
            "One page, fetched without and with ECH, beside what the network saw",
        )],
    ),
    (
        "completions",
        &[(
            "ech completions bash > ~/.local/share/bash-completion/completions/ech",
            "For bash, from the next shell on",
        )],
    ),
    (
        "man",
        &[(
            "ech man ~/.local/share/man/man1",
            "Write the pages to where man(1) finds them",
        )],
    ),
];

/// Variables that no flag stands for.
const ENVIRONMENT: &[(&str, &[Example])] = &[(
    "get",
    &[
        (
            "SSLKEYLOGFILE=FILE",
            "Write the secrets of TLS connections to FILE, so that captures can be decrypted, hidden \
             names included",
        ),
        (
            "SSL_CERT_FILE=FILE, SSL_CERT_DIR=DIR",
            "Trust these certificates instead of the system's, where --cacert does not say",
        ),
        (
            "ECHKIT_LOG=echkit=debug",
            "The library's log, which names no host; -vv shows it as well",
        ),
        ("NO_COLOR=1", "No colours on a terminal"),
    ],
)];

/// The command line, with examples at the end of each help.
pub(crate) fn command() -> Command {
    let mut command = Cli::command();
    let mut names = Vec::new();
    for subcommand in command.get_subcommands() {
        names.push(subcommand.get_name().to_owned());
    }
    for name in names {
        let text = help(&name);
        command = command.mut_subcommand(name, |subcommand| subcommand.after_help(text));
    }
    command.after_help(help("ech"))
}

fn help(name: &str) -> String {
    let mut text = String::new();
    for (title, list) in sections(name) {
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(&format!("{title}:\n"));
        for (line, about) in list {
            text.push_str(&format!("  {line}\n      {about}\n"));
        }
    }
    text
}

/// The same at the end of a manual page.
pub(crate) fn manual(name: &str) -> String {
    let escaped = |text: &str| text.replace('\\', "\\e").replace('-', "\\-");
    let mut text = String::new();
    for (title, list) in sections(name) {
        text.push_str(&format!(".SH {}\n", title.to_uppercase()));
        for (line, about) in list {
            let (line, about) = (escaped(line), escaped(about));
            text.push_str(&format!(".TP\n\\fB{line}\\fR\n{about}\n"));
        }
    }
    text
}

fn sections(name: &str) -> impl Iterator<Item = (&'static str, &'static [Example])> {
    let of = |table: &'static [(&str, &'static [Example])], name: &str| {
        let found = table.iter().find(|(command, _)| *command == name);
        found.map(|(_, list)| *list)
    };
    [
        ("Examples", of(EXAMPLES, name)),
        ("Environment", of(ENVIRONMENT, name)),
    ]
    .into_iter()
    .filter_map(|(title, list)| Some((title, list?)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// The words of a line, as a shell takes them: single quotes alone.
    fn words(line: &str) -> Vec<String> {
        let mut words = vec![String::new()];
        for (index, part) in line.split('\'').enumerate() {
            match index % 2 {
                1 => words.last_mut().unwrap().push_str(part),
                _ => {
                    let mut spaced = part.split(' ');
                    words.last_mut().unwrap().push_str(spaced.next().unwrap());
                    words.extend(spaced.map(str::to_owned));
                }
            }
        }
        words.retain(|word| !word.is_empty());
        words
    }

    #[test]
    fn every_example_is_a_command_line_that_is_taken() {
        for (name, list) in EXAMPLES {
            for (line, _) in *list {
                let line = line.rsplit(" | ").next().unwrap();
                let line = line.split(" > ").next().unwrap();
                let words = words(line);
                let of = words[1] == *name || line.contains(&format!("'ech {name} "));
                assert!(*name == "ech" || of, "{line}");
                let parsed = command().try_get_matches_from(&words);
                assert!(parsed.is_ok(), "{line}: {parsed:?}");
            }
        }
    }

    #[test]
    fn every_command_has_examples() {
        let command = Cli::command();
        for subcommand in command.get_subcommands() {
            let name = subcommand.get_name();
            assert!(help(name).starts_with("Examples:\n  "), "{name}");
        }
    }
}
