//! `ech check` of `ech serve`: our own server, set up as its page says, has no finding.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Child, Stdio};

use echkit::dns::RecordType;
use echkit_test::dns::{Reply, Script, Server, TTL, https};
use echkit_test::pki::{Authority, pem};

mod bed;

use bed::{command, run};

const HOST: &str = "secret.example";
const OTHER: &str = "another-and-longer-name.example";
const PUBLIC: &str = "public.example";

/// A server that is ended with the test.
struct Running {
    child: Child,
    port: u16,
}

impl Running {
    fn start(config: &Path) -> Self {
        let mut command = command();
        command.args(["serve", "--config", config.to_str().unwrap()]);
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains("serving on") {
            line.clear();
            assert!(lines.read_line(&mut line).unwrap() > 0, "it has ended");
        }
        // What else it says must not fill the pipe.
        std::thread::spawn(move || std::io::copy(&mut lines, &mut std::io::sink()));
        let port = line.rsplit(':').next().unwrap().trim().parse().unwrap();
        Self { child, port }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn our_own_server_has_no_finding() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let authority = Authority::new();
    fs::write(path("ca.pem"), pem("CERTIFICATE", &authority.root())).unwrap();
    let interval = 4 * TTL;
    let mut config = format!(
        "listen = \"127.0.0.1:0\"\nkeys = \"keys\"\n[origin_svcb]\nregeninterval = {interval}\n"
    );
    for name in [HOST, OTHER, PUBLIC] {
        let site = authority.issue(&[name]);
        fs::write(path(&format!("{name}.pem")), site.pem()).unwrap();
        fs::create_dir(path(name)).unwrap();
        fs::write(path(&format!("{name}/index.html")), name).unwrap();
        config.push_str(&format!(
            "[[site]]\nnames = [\"{name}\"]\ncertificate = \"{name}.pem\"\nroot = \"{name}\"\n\
             hsts = \"1d\"\n"
        ));
    }
    fs::write(path("serve.toml"), config).unwrap();
    let keys = path("keys");
    let made = run(&["rotate", &keys, "--once", "--public-name", PUBLIC]).await;
    assert_eq!(made.code, 0, "{}", made.stderr);
    let running = Running::start(Path::new(&path("serve.toml")));

    let (port, ech) = (running.port, made.text().trim());
    let rdata = https(&format!("1 . alpn=h2 port={port} {ech}"));
    let loopback = Ipv4Addr::LOCALHOST.octets().to_vec();
    let zone = [HOST, OTHER, PUBLIC].into_iter().flat_map(|name| {
        let address = Reply::Records(vec![loopback.clone()]);
        let records = match name {
            PUBLIC => Reply::NoData { soa: true },
            _ => Reply::Records(vec![rdata.clone()]),
        };
        [
            (name, RecordType::A, address),
            (name, RecordType::HTTPS, records),
        ]
    });
    let dns = Server::start(Script::new(zone.collect::<Vec<_>>())).await;
    let skipped = "authoritative,http,ECH-DNS-IN-THE-CLEAR,ECH-DNSSEC-MISSING";
    let (dns, ca) = (dns.udp(), path("ca.pem"));
    let ended = run(&[
        "check", HOST, OTHER, "--json", "--skip", skipped, "--dns", &dns, "--cacert", &ca,
    ])
    .await;
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    for host in ended.json()["hosts"].as_array().unwrap() {
        let findings = host["findings"].as_array().unwrap();
        assert!(findings.is_empty(), "{host:#}");
        let passed = host["passed"].to_string();
        for line in [
            "origin-svcb agrees with DNS",
            "a session is resumed with ECH",
        ] {
            assert!(passed.contains(line), "{line}: {passed}");
        }
    }
}
