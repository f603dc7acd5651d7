//! The servers that are measured, and the files that all of them serve.

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use echkit_proto::key::EchKey;
use echkit_server::write_caddy_key;
use echkit_test::in_memory::{self, PUBLIC, Pki, SECRET};
use echkit_test::lab;
use echkit_test::pki::pem;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;
use tower_http::services::ServeDir;
use tower_service::Service;

use crate::{STOCK, system};

/// The files, and how many bytes they have.
pub(crate) const SMALL: (&str, usize) = ("/small.html", 1024);
pub(crate) const LARGE: (&str, usize) = ("/large.bin", 1 << 30);

/// Far above what a server needs to start.
const PATIENCE: Duration = Duration::from_secs(60);

/// A key, a certificate and files.
pub(crate) struct Bed {
    folder: tempfile::TempDir,
    pub(crate) key: EchKey,
}

impl Bed {
    pub(crate) fn new() -> Self {
        let bed = Self {
            folder: tempfile::tempdir().unwrap(),
            key: in_memory::ech_key(7),
        };
        let site = Pki::of(&[SECRET, PUBLIC]).site;
        bed.write("site.crt", pem("CERTIFICATE", &site.cert));
        bed.write("site.key", pem("PRIVATE KEY", site.key.secret_der()));
        for name in ["www", "keys"] {
            std::fs::create_dir(bed.path(name)).unwrap();
        }
        bed.write("keys/key.ech", bed.key.to_pem().unwrap().as_str());
        for (name, len) in [SMALL, LARGE] {
            let file = std::fs::File::create(bed.path("www").join(&name[1..])).unwrap();
            file.set_len(len as u64).unwrap();
        }
        bed
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file that nobody else can read, as servers want their keys.
    fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        #[cfg(unix)]
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600))
            .unwrap();
        path
    }

    pub(crate) fn ech(&self, program: &Path) -> WebServer {
        let text = format!(
            "listen = \"127.0.0.1:0\"\nkeys = \"keys\"\n\
             [[site]]\nnames = [\"{SECRET}\"]\ncertificate = \"site.crt\"\nkey = \"site.key\"\n\
             root = \"www\"\n\
             [[site]]\nnames = [\"{PUBLIC}\"]\ncertificate = \"site.crt\"\nkey = \"site.key\"\n\
             status = true\n\
             [limits]\nhandshakes_per_address = 10000\nconnections_per_address = 10000\n"
        );
        let config = self.write("serve.toml", text);
        let mut command = Command::new(program);
        command.args(["serve", "--config"]).arg(config);
        WebServer::that_tells("ech serve", true, command)
    }

    pub(crate) fn caddy(&self, program: &Path) -> WebServer {
        let storage = self.path("storage");
        write_caddy_key(&storage, &self.key, false).unwrap();
        let at = lab::unused_address();
        let port = at.port();
        let tls = format!(
            "tls {} {}",
            self.path("site.crt").display(),
            self.path("site.key").display()
        );
        let text = format!(
            "{{\n admin off\n persist_config off\n auto_https disable_redirects\n https_port {port}\n \
             storage file_system {}\n ech {PUBLIC}\n servers {{\n  protocols h1 h2\n }}\n}}\n\
             {SECRET}:{port} {{\n bind 127.0.0.1\n {tls}\n root * {}\n file_server\n}}\n\
             {PUBLIC}:{port} {{\n bind 127.0.0.1\n {tls}\n respond public\n}}\n",
            storage.display(),
            self.path("www").display(),
        );
        let config = self.write("Caddyfile", text);
        let log = std::fs::File::create(self.path("caddy.log")).unwrap();
        let child = Command::new(program)
            .args(["run", "--adapter", "caddyfile", "--config"])
            .arg(config)
            .env("XDG_DATA_HOME", self.path("data"))
            .env("XDG_CONFIG_HOME", self.path("config"))
            .stderr(log)
            .spawn()
            .unwrap();
        let server = WebServer::new("Caddy", true, at, child);
        let begun = Instant::now();
        while TcpStream::connect(at).is_err() {
            assert!(
                begun.elapsed() < PATIENCE,
                "Caddy does not listen:\n{}",
                std::fs::read_to_string(self.path("caddy.log")).unwrap()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        server
    }

    /// This program as [`run_stock`].
    pub(crate) fn stock(&self) -> WebServer {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.env(STOCK, self.folder.path());
        WebServer::that_tells("rustls and hyper, no ECH", false, command)
    }
}

/// A server that runs until this is dropped.
pub(crate) struct WebServer {
    pub(crate) name: &'static str,
    pub(crate) has_ech: bool,
    pub(crate) address: SocketAddr,
    child: Child,
}

impl WebServer {
    fn new(name: &'static str, has_ech: bool, address: SocketAddr, child: Child) -> Self {
        Self {
            name,
            has_ech,
            address,
            child,
        }
    }

    /// One whose first line on standard error ends with its address.
    fn that_tells(name: &'static str, has_ech: bool, mut command: Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut errors = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        errors.read_line(&mut line).unwrap();
        // What it says later is shown, and never waits for a reader.
        std::thread::spawn(move || std::io::copy(&mut errors, &mut std::io::stderr()));
        let address = line.trim().rsplit(' ').next().unwrap().parse();
        let address = address.unwrap_or_else(|_| panic!("{name} does not listen: {line}"));
        Self::new(name, has_ech, address, child)
    }

    /// The CPU time that it has taken so far.
    pub(crate) fn cpu(&self) -> Duration {
        system::cpu_time(self.child.id())
    }
}

impl Drop for WebServer {
    fn drop(&mut self) {
        // One that is gone already needs no end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A server of rustls, hyper and tower-http with their defaults: what `ech serve` stands on.
pub(crate) fn run_stock(folder: &Path) {
    let chain = CertificateDer::from_pem_file(folder.join("site.crt")).unwrap();
    let key = PrivateKeyDer::from_pem_file(folder.join("site.key")).unwrap();
    let mut config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![chain], key)
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let files = ServeDir::new(folder.join("www"));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        eprintln!("serving on {}", listener.local_addr().unwrap());
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            let (acceptor, files) = (acceptor.clone(), files.clone());
            tokio::spawn(async move {
                tcp.set_nodelay(true).unwrap();
                let Ok(stream) = acceptor.accept(tcp).await else {
                    return;
                };
                let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                let service = service_fn(move |request| files.clone().call(request));
                let io = TokioIo::new(stream);
                // Clients leave as they like.
                let _ = match http2 {
                    true => {
                        let builder = http2::Builder::new(TokioExecutor::new());
                        builder.serve_connection(io, service).await
                    }
                    false => http1::Builder::new().serve_connection(io, service).await,
                };
            });
        }
    });
}
