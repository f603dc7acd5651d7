//! A zone at a real DNS server on loopback, and an ECH server that the zone leads to.
#![allow(dead_code, reason = "each test binary uses its part of it")]

use std::fs;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use echkit::connect::Connector;
use echkit::dns::{Resolver, ResolverOptions};
use echkit::server::{Acceptor, EchKeyHandle};
use echkit::tls::{ClientTls, Trust};
use echkit::{EchMode, Origin};
use echkit_proto::dns::RecordType;
use echkit_proto::svcb::Record;
use echkit_server::{DnsServer, KeyDirectory};
use echkit_test::pki::{Authority, pem};

/// The name that is hidden, and its zone.
pub(crate) const SITE: &str = "hidden-site.zone.test";
/// Far longer than any machine needs: a test that fails waits for it.
pub(crate) const LONG: Duration = Duration::from_secs(120);

/// The key that may update the zone, and one that may not.
pub(crate) const KEY: &str = "hmac-sha256:update.key:c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0";
pub(crate) const OTHER_KEY: &str = "hmac-sha256:other.key:b3RoZXJvdGhlcm90aGVyb3RoZXI=";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Software {
    Knot,
    Bind,
}

impl Software {
    pub(crate) const ALL: [Self; 2] = [Self::Knot, Self::Bind];

    fn program(self) -> &'static str {
        match self {
            Self::Knot => "knotd",
            Self::Bind => "named",
        }
    }

    /// Where it is, if it is here. What is missing is said, and nothing is tested with it.
    pub(crate) fn find(self) -> Option<PathBuf> {
        let paths = std::env::var_os("PATH").unwrap_or_default();
        let more = [PathBuf::from("/usr/sbin"), PathBuf::from("/usr/local/sbin")];
        let mut places = std::env::split_paths(&paths).chain(more);
        let found = places.find_map(|place| {
            let path = place.join(self.program());
            path.is_file().then_some(path)
        });
        if found.is_none() {
            assert!(
                std::env::var_os("ECHKIT_NAME_SERVERS").is_none_or(|set| set != "required"),
                "{} is not here",
                self.program()
            );
            eprintln!(
                "skipped: {} is not installed (scripts/prepare name-servers)",
                self.program()
            );
        }
        found
    }
}

/// A running DNS server with the zone.
pub(crate) struct NameServer {
    child: Child,
    pub(crate) address: SocketAddr,
    pub(crate) directory: tempfile::TempDir,
}

impl Drop for NameServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl NameServer {
    /// Serves a zone with these lines; `None` where the software is not installed.
    pub(crate) async fn start(software: Software, lines: &str) -> Option<Self> {
        let program = software.find()?;
        // Another program may take the port in between.
        for _ in 0..5 {
            let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
            if let Some(started) = Self::start_once(software, &program, address, lines).await {
                return Some(started);
            }
        }
        panic!("{software:?} does not start");
    }

    /// Serves the zone with these lines at 127.0.0.2 and the same port. By Knot: BIND listens at the
    /// addresses of interfaces alone. `None` where it is not installed.
    pub(crate) async fn beside(&self, lines: &str) -> Option<Self> {
        let address = SocketAddr::from(([127, 0, 0, 2], self.address.port()));
        let program = Software::Knot.find()?;
        let started = Self::start_once(Software::Knot, &program, address, lines).await;
        assert!(started.is_some(), "Knot does not start");
        started
    }

    async fn start_once(
        software: Software,
        program: &Path,
        address: SocketAddr,
        lines: &str,
    ) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let dir = directory.path().to_str().unwrap().to_owned();
        let zone = format!(
            "$ORIGIN zone.test.\n@ 60 IN SOA ns.zone.test. admin.zone.test. 1 3600 600 86400 1\n\
             @ 60 IN NS ns\nns 60 IN A 127.0.0.1\n{lines}"
        );
        fs::write(format!("{dir}/zone.test.zone"), zone).unwrap();
        fs::create_dir(format!("{dir}/db")).unwrap();
        let (text, arguments) = match software {
            Software::Knot => (
                knot(&dir, address),
                vec!["-c".to_owned(), format!("{dir}/conf")],
            ),
            Software::Bind => {
                let flags = ["-g", "-n", "1", "-c"].map(str::to_owned);
                (
                    bind(&dir, address),
                    [&flags[..], &[format!("{dir}/conf")]].concat(),
                )
            }
        };
        fs::write(format!("{dir}/conf"), text).unwrap();
        let log = fs::File::create(format!("{dir}/log")).unwrap();
        let child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut started = Self {
            child,
            address,
            directory,
        };
        let end = Instant::now() + LONG;
        let (server, apex) = (DnsServer::new(address), "zone.test".parse().unwrap());
        loop {
            let answer = server.query(&apex, RecordType::SOA).await;
            if answer.is_ok_and(|answer| answer.authoritative && answer.rcode == 0) {
                return Some(started);
            }
            if started.child.try_wait().unwrap().is_some() || Instant::now() > end {
                let log = fs::read_to_string(started.directory.path().join("log"));
                eprintln!("{software:?} ended: {}", log.unwrap_or_default());
                return None;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The records of a name, as its server has them.
    pub(crate) async fn records(&self, name: &str) -> Vec<Record> {
        let server = DnsServer::new(self.address);
        let name = name.parse().unwrap();
        let answer = server.query(&name, RecordType::HTTPS).await.unwrap();
        let https = answer.answers.iter();
        let https = https.filter(|record| record.kind == RecordType::HTTPS);
        let mut records: Vec<Record> = https
            .map(|record| Record::parse(&record.rdata).unwrap())
            .collect();
        records.sort_by_key(|record| record.priority);
        records
    }
}

fn knot(dir: &str, address: SocketAddr) -> String {
    let key = |text: &str| {
        let parts: Vec<&str> = text.split(':').collect();
        format!(
            "  - id: {}\n    algorithm: {}\n    secret: {}\n",
            parts[1], parts[0], parts[2]
        )
    };
    format!(
        "server:\n    rundir: \"{dir}\"\n    listen: {}@{}\n\
         log:\n  - target: stderr\n    any: info\n\
         database:\n    storage: \"{dir}/db\"\n\
         key:\n{}{}acl:\n  - id: update\n    key: update.key\n    action: update\n\
         zone:\n  - domain: zone.test\n    file: \"{dir}/zone.test.zone\"\n    acl: update\n    \
         zonefile-sync: -1\n    zonefile-load: whole\n    journal-content: changes\n",
        address.ip(),
        address.port(),
        key(KEY),
        key(OTHER_KEY)
    )
}

fn bind(dir: &str, address: SocketAddr) -> String {
    let key = |text: &str| {
        let parts: Vec<&str> = text.split(':').collect();
        format!(
            "key \"{}\" {{ algorithm {}; secret \"{}\"; }};\n",
            parts[1], parts[0], parts[2]
        )
    };
    format!(
        "options {{ directory \"{dir}\"; listen-on port {} {{ {}; }}; \
         listen-on-v6 {{ none; }}; pid-file none; session-keyfile none; recursion no; \
         dnssec-validation no; notify no; }};\ncontrols {{ }};\n{}{}\
         zone \"zone.test\" {{ type primary; file \"{dir}/zone.test.zone\"; \
         allow-update {{ key update.key; }}; }};\n",
        address.port(),
        address.ip(),
        key(KEY),
        key(OTHER_KEY)
    )
}

/// A port that is free over UDP and TCP.
fn free_port() -> u16 {
    loop {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = tcp.local_addr().unwrap().port();
        if UdpSocket::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// A server with ECH for [`SITE`], whose keys are those of a directory.
pub(crate) struct Web {
    pub(crate) port: u16,
    pub(crate) folder: tempfile::TempDir,
    pub(crate) keys: KeyDirectory,
    pub(crate) handle: EchKeyHandle,
    pub(crate) authority: Authority,
}

impl Web {
    /// With the keys that `ech rotate` made first.
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let keys = folder.path().join("keys");
        let made = super::bed::command()
            .arg("rotate")
            .arg(&keys)
            .args(["--once", "--public-name", "public.test"])
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
        let keys = KeyDirectory::open(keys).unwrap();
        let handle = EchKeyHandle::new(keys.load().unwrap());
        let authority = Authority::new();
        let site = authority.issue(&[SITE, "public.test"]);
        let config = rustls::ServerConfig::builder_with_provider(echkit::server::provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(site.chain(), site.key.clone_key())
            .unwrap();
        let acceptor = Acceptor::new(Arc::new(config), handle.clone()).unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                let acceptor = acceptor.clone();
                tokio::spawn(async move { acceptor.accept(tcp).await.is_ok() });
            }
        });
        let root = pem("CERTIFICATE", &authority.root());
        fs::write(folder.path().join("ca.pem"), root).unwrap();
        fs::write(folder.path().join("update.key"), KEY).unwrap();
        Self {
            port,
            folder,
            keys,
            handle,
            authority,
        }
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    /// Two records with parameters of all kinds.
    pub(crate) fn lines(&self) -> String {
        let port = self.port;
        format!(
            "hidden-site 1 IN HTTPS 1 . port={port} ipv4hint=127.0.0.1 key667=\"hello\"\n\
             hidden-site 1 IN HTTPS 2 ns port={port} alpn=\"http/1.1,h2\"\n\
             hidden-site 1 IN A 127.0.0.1\nalias 1 IN HTTPS 0 hidden-site\n\
             cname 1 IN CNAME hidden-site\n"
        )
    }

    /// Has the server read the directory.
    pub(crate) fn reload(&self) {
        self.handle.store(self.keys.load().unwrap());
    }

    /// Connects as a client does that knows only the name. Its resolver keeps answers as long as
    /// their TTL says.
    pub(crate) fn client(&self, name_server: SocketAddr) -> Connector {
        let resolver =
            Resolver::from_uri(&format!("udp://{name_server}"), &ResolverOptions::default());
        Connector::builder()
            .ech(EchMode::Require)
            .resolver(resolver.unwrap())
            .tls(ClientTls::builder().trust(Trust::certificates([self.authority.root()]).unwrap()))
            .build()
            .unwrap()
    }
}

pub(crate) fn origin() -> Origin {
    Origin::parse(&format!("https://{SITE}/")).unwrap()
}
