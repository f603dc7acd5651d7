//! What a user of curl may try, and what there is instead.

use clap::error::{ContextKind, ContextValue, ErrorKind};

/// Options of curl that `ech get` has not, and what to do.
const OPTIONS: &[(&[&str], &str)] = &[
    (
        &["--doh-url"],
        "name the resolver with --dns https://HOST/PATH",
    ),
    (
        &["--doh-insecure", "--doh-cert-status"],
        "resolvers are always verified; --cacert adds trust",
    ),
    (&["--dns-servers"], "name the resolver with --dns ADDRESS"),
    (
        &["-E", "--cert", "--key", "--cert-type", "--pass"],
        "client certificates are for programs: \
        ClientTlsBuilder::client_certificate in the crate echkit",
    ),
    (
        &["--capath"],
        "set SSL_CERT_DIR, or give one file with --cacert",
    ),
    (&["-T", "--upload-file"], "use -X PUT --data-binary @FILE"),
    (
        &["--json"],
        "--json prints a report; the body is --json-body",
    ),
    (
        &["-r", "--range"],
        "use -H 'Range: bytes=0-99', or -C to resume a download",
    ),
    (&["-D", "--dump-header"], "use -i, or -w '%{header_json}'"),
    (&["-n", "--netrc", "--netrc-file"], "give -u USER:PASSWORD"),
    (
        &["-K", "--config"],
        "option files are not read; put the options on the command line",
    ),
    (
        &[
            "-Z",
            "--parallel",
            "--parallel-max",
            "-:",
            "--next",
            "--url",
        ],
        "one command fetches one URL",
    ),
    (
        &["--http3", "--http3-only"],
        "only HTTP/1.1 and HTTP/2 are supported",
    ),
    (
        &["--http1.0", "-0", "--http0.9"],
        "HTTP/1.1 is the oldest supported version; --http1.1 selects it",
    ),
    (
        &["--http2-prior-knowledge"],
        "--http2 with an http:// URL does so",
    ),
    (
        &[
            "--tlsv1.0",
            "--tlsv1.1",
            "--tlsv1.2",
            "--tlsv1.3",
            "--tls-max",
            "-1",
            "--sslv3",
        ],
        "a ClientHello with ECH offers TLS 1.3 only; with --ech off TLS 1.2 is offered too",
    ),
    (
        &["--ciphers", "--tls13-ciphers", "--curves"],
        "rustls chooses the algorithms",
    ),
    (
        &["--preproxy"],
        "one proxy leads to a server; name it with -x",
    ),
    (
        &["--socks5", "--socks5-hostname", "--socks5-basic"],
        "use -x socks5://HOST:PORT, or socks5h:// for a proxy that looks names up",
    ),
    (
        &["--socks4", "--socks4a", "--socks5-gssapi"],
        "SOCKS proxies are spoken to as version 5, with -x socks5://HOST:PORT",
    ),
    (
        &["--proxy1.0", "--proxy-http2"],
        "HTTP proxies are spoken to as HTTP/1.1, with -x",
    ),
    (
        &["-p", "--proxytunnel"],
        "https:// always goes through a tunnel; http:// goes to the proxy as it is",
    ),
    (
        &[
            "--proxy-basic",
            "--proxy-digest",
            "--proxy-ntlm",
            "--proxy-negotiate",
            "--proxy-anyauth",
        ],
        "-U sends Basic, the only scheme for proxies here; leave it out",
    ),
    (
        &["--proxy-header"],
        "a proxy is sent no headers but Host and Proxy-Authorization (-U)",
    ),
    (
        &["--proxy-capath", "--proxy-ca-native"],
        "give one file with --proxy-cacert; without it --cacert or the system's trust counts",
    ),
    (
        &["--proxy-cert", "--proxy-key", "--proxy-pass"],
        "a proxy is shown no client certificate; give a password with -U",
    ),
    (
        &[
            "--digest",
            "--ntlm",
            "--negotiate",
            "--anyauth",
            "--aws-sigv4",
            "--delegation",
        ],
        "-u sends Basic; other schemes go into -H 'Authorization: …'",
    ),
    (&["--oauth2-bearer"], "use -H 'Authorization: Bearer TOKEN'"),
    (
        &["--location-trusted"],
        "credentials are never sent to another origin",
    ),
    (
        &["--interface", "--local-port"],
        "the system chooses the source address",
    ),
    (
        &["--unix-socket", "--abstract-unix-socket"],
        "give an address with --connect-to or --resolve",
    ),
    (&["-N", "--no-buffer"], "output is not buffered; omit it"),
    (
        &["-#", "--progress-bar"],
        "a progress bar is shown when the body goes to a file and stderr is a terminal",
    ),
    (
        &[
            "--create-dirs",
            "--output-dir",
            "-J",
            "--remote-header-name",
        ],
        "name the file with -o; file names from the server are not used",
    ),
    (
        &["--limit-rate", "-y", "-Y", "--speed-limit", "--speed-time"],
        "speed limits are not supported; -m limits the time",
    ),
    (
        &["--max-filesize"],
        "size limits are not supported; -m limits the time",
    ),
    (
        &["--retry-connrefused", "--retry-all-errors"],
        "--retry covers time-outs, names that do not resolve and some statuses",
    ),
    (
        &["--trace", "--trace-ascii", "--trace-time"],
        "use -v for heads, -vv for the library's log",
    ),
    (
        &["-z", "--time-cond", "--etag-save", "--etag-compare"],
        "use -H 'If-Modified-Since: …' or -H 'If-None-Match: …'",
    ),
    (
        &["-R", "--remote-time"],
        "files keep the time at which they were written",
    ),
    (
        &["-a", "--append", "-l", "-Q", "-P", "--ftp-pasv"],
        "FTP is not supported",
    ),
];

/// The line for the user, where there is more to say than clap does.
pub(crate) fn explain(error: &clap::Error, arguments: &[String]) -> Option<String> {
    let command = arguments.get(1).map(String::as_str);
    if matches!(
        error.kind(),
        ErrorKind::InvalidSubcommand | ErrorKind::UnknownArgument
    ) && command.is_none_or(|command| command != "get")
    {
        // Another command, or none: `ech https://host/` and `ech -v https://host/`.
        let known = command.is_some_and(|name| !name.starts_with('-') && !is_url(name));
        let url = arguments[1..].iter().find(|argument| is_url(argument));
        return url
            .filter(|_| !known || error.kind() == ErrorKind::InvalidSubcommand)
            .map(|url| format!("to fetch a page: ech get {}", without_credentials(url)));
    }
    if error.kind() != ErrorKind::UnknownArgument {
        return None;
    }
    let ContextValue::String(given) = error.get(ContextKind::InvalidArg)? else {
        return None;
    };
    let name = given.split('=').next().unwrap_or(given);
    let (_, instead) = OPTIONS.iter().find(|(names, _)| names.contains(&name))?;
    Some(format!("{name} is not supported: {instead}"))
}

fn is_url(text: &str) -> bool {
    let host = text.split(['/', ':']).next().unwrap_or_default();
    !text.starts_with('-') && (text.contains("://") || (host.contains('.') && !host.ends_with('.')))
}

fn without_credentials(url: &str) -> String {
    match url.rsplit_once('@') {
        Some((before, after)) => match before.split_once("://") {
            Some((scheme, _)) => format!("{scheme}://{after}"),
            None => after.to_owned(),
        },
        None => url.to_owned(),
    }
}
